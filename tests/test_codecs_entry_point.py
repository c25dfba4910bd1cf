"""A user's own codec, as docs/codecs.md says: that page's own code in a package that importlib.metadata finds."""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from harness.codecs.registry import load_audio_codec, origin_of
from harness.decoder import Decoder
from harness.errors import CodecError
from harness.evidence import EvidenceStore
from harness.examples import Example, build_sequence
from harness.files import file_sha256
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import token_space_object

PAGE = Path(__file__).parents[1] / "docs" / "codecs.md"
N_TONES = 16


@dataclass(frozen=True)
class Installed:
    """The user's package on the path, and a codecs' folder for it."""

    codecs: Path

    @property
    def config(self) -> Path:
        return self.codecs / "audio" / "tones.json"


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    project = tomllib.loads(_block("toml"))["project"]
    site, info = tmp_path / "site", tmp_path / "site" / "tone_codec-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    (site / "tone_codec.py").write_text(_block("python"))
    monkeypatch.syspath_prepend(str(site))
    codecs = tmp_path / "codecs"
    (codecs / "audio").mkdir(parents=True)
    (codecs / "audio" / "tones.json").write_text('{"sample_rate": 8000}')
    yield Installed(codecs)
    sys.modules.pop("tone_codec", None)


def _space(**audio: object) -> TokenSpace:
    raw = token_space_object(audio_codec={"kind": "tones", "codebook_size": N_TONES} | audio)
    last = raw["ranges"].pop("AUDIO_CB1")
    return parse_token_space(raw | {"vocab_size_total": last["start"]})


def test_its_codec_decodes_what_a_checkpoint_wrote(installed: Installed, tmp_path: Path) -> None:
    space = _space(weights_sha256=file_sha256(installed.config))
    meta = {"n_frames": 3, "n_codebooks": 1, "sample_rate": 8000, "channels": 1}
    ids = space.to_ids("audio", np.array([[1, 15, 4]])).astype(np.int64)
    example = Example("tones", "t2a", "user", build_sequence("t2a", [1], ids, space), None, None, meta)
    decode = Decoder(space, installed.codecs, EvidenceStore(tmp_path / "evidence"))

    good, bad = decode([example] * 2, [ids, ids[:2]], label="tones")

    assert good.reason is None
    assert bad.reason == "cut off: 2 ids and no end tag, 3 expected: max_new is too small"
    codec = load_audio_codec(space, installed.codecs)
    codes = np.array([[[1, 15, 4]]])
    assert np.array_equal(codec.encode(codec.decode(codes)), codes)


def test_its_package_and_version_are_part_of_the_evidence(installed: Installed) -> None:
    assert origin_of({"kind": "tones"}) == "tones tone-codec 1.0"


def test_its_weights_are_checked_and_its_own_errors_are_passed_on(installed: Installed) -> None:
    with pytest.raises(CodecError, match="1 files, none with the declared sha256"):
        load_audio_codec(_space(weights_sha256="0" * 64), installed.codecs)
    installed.config.unlink()
    with pytest.raises(CodecError, match=r"found FileNotFoundError .* from tone_codec:open_codec"):
        load_audio_codec(_space(), installed.codecs)


def test_its_codebooks_must_be_the_token_spaces(installed: Installed) -> None:
    """The tiny token space has two."""
    space = parse_token_space(token_space_object(audio_codec={"kind": "tones", "codebook_size": N_TONES}))

    with pytest.raises(CodecError, match=r"1 codebooks of 16 codes; expected codebooks of \[16, 16\] codes"):
        load_audio_codec(space, installed.codecs)


def test_its_kind_is_among_those_that_an_unknown_one_is_told(installed: Installed) -> None:
    with pytest.raises(CodecError, match=r"one of \['encodec', 'seed', 'tones', 'vq'\]"):
        load_audio_codec(_space(kind="tone"), installed.codecs)
