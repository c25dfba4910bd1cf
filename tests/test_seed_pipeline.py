"""SEED ids to pictures: through an unCLIP pipeline from disk, through the registry, and through P0.3 as a whole."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.codecs.registry import load_image_codec
from harness.codecs.seed import SeedCodec, load_seed
from harness.codecs.seed_config import write_config
from harness.errors import CodecError
from harness.examples import TASKS, build_sequence
from harness.files import file_sha256, write_jsonl
from harness.token_space import TokenSpace, parse_token_space
from tests.gating import run_gate
from tests.seed_codec import NATIVE, TINY, random_codes, write_pipeline, write_seed_codec
from tests.tiny import IMAGE_CODES, Tiny, token_space_object, write_space, write_tiny


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole SEED codec that no test may change."""
    return write_seed_codec(tmp_path_factory.mktemp("seed") / "image")


@pytest.fixture(scope="module")
def codec(shared_folder: Path) -> SeedCodec:
    return load_seed(shared_folder).ready_to_decode()


@pytest.fixture
def folder(shared_folder: Path, tmp_path: Path) -> Path:
    """A whole SEED codec of the test's own, to break."""
    return Path(shutil.copytree(shared_folder, tmp_path / "image"))


def _space(**declared: Any) -> TokenSpace:
    return parse_token_space(token_space_object(image_tokenizer={"kind": "seed"} | declared))


def test_pictures_have_the_promised_size_and_content(codec: SeedCodec) -> None:
    pictures = codec.decode(random_codes(2))

    assert (pictures.shape, pictures.dtype) == ((2, 24, 24, 3), np.uint8)
    assert pictures.std() > 1


def test_a_picture_depends_on_its_codes_and_not_on_its_place(shared_folder: Path, codec: SeedCodec) -> None:
    codes = random_codes(3)
    together = codec.decode(codes)

    alone = load_seed(shared_folder).decode(codes[2:])

    assert np.array_equal(alone[0], together[2])


def test_every_picture_starts_from_noise_of_its_own(codec: SeedCodec) -> None:
    embedding = codec.embed(random_codes(1))[0]

    drawn = [codec.pipeline.draw(embedding, seed) for seed in (1, 1, 2)]

    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_the_embedding_steers_the_picture(codec: SeedCodec) -> None:
    first, second = codec.embed(random_codes(2))

    assert not np.array_equal(codec.pipeline.draw(first, 0), codec.pipeline.draw(second, 0))


def test_the_pipeline_is_given_what_the_configuration_says(folder: Path) -> None:
    codes = random_codes(1)
    changes: list[dict[str, Any]] = [{}, {"steps": 3}, {"guidance": 1.0}, {"noise_level": 900}]
    drawn = set()
    for change in changes:
        write_config(TINY.model_copy(update=change), folder)
        drawn.add(load_seed(folder).decode(codes).tobytes())

    assert len(drawn) == len(changes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_draws_too(folder: Path, dtype: str) -> None:
    write_config(TINY.model_copy(update={"unclip_dtype": dtype}), folder)

    assert load_seed(folder).decode(random_codes(1)).std() > 1


@pytest.mark.parametrize(
    ("declared", "size"),
    [({}, 24), ({"image_size": NATIVE}, NATIVE), ({"proc_size": [20, 28], "image_size": 9}, (20, 28))],
    ids=["config.json", "the field's image_size", "proc_size"],
)
def test_the_token_space_says_the_size(folder: Path, declared: dict[str, Any], size: int | tuple[int, int]) -> None:
    codec = load_image_codec(_space(**declared), folder.parent)

    wanted = (size, size) if isinstance(size, int) else size
    assert codec.proc_size == wanted
    assert codec.decode(random_codes(1)).shape == (1, *wanted, 3)


def test_a_size_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(CodecError, match=r"proc_size \[24\]; expected pixels"):
        load_image_codec(_space(proc_size=[24]), folder.parent)


def test_the_published_image_encoder_need_not_be_there(folder: Path, codec: SeedCodec) -> None:
    shutil.rmtree(folder / "unclip" / "image_encoder")
    shutil.rmtree(folder / "unclip" / "feature_extractor")

    assert np.array_equal(load_seed(folder).decode(random_codes(1)), codec.decode(random_codes(1)))


def test_without_diffusers_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "diffusers" else find(name))

    with pytest.raises(CodecError, match=r"diffusers not installed.*pip install 'modality-gates\[seed\]'"):
        load_image_codec(_space(), folder.parent)


def _no_pipeline(folder: Path) -> None:
    shutil.rmtree(folder / "unclip")


def _other_embeddings(folder: Path) -> None:
    shutil.rmtree(folder / "unclip")
    write_pipeline(folder / "unclip", embed_dim=48)


def _pickles(folder: Path) -> None:
    for file in (folder / "unclip").rglob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))


def _own_code(folder: Path) -> None:
    (folder / "unclip" / "unet" / "mine.py").write_text("raise SystemExit('run')")


def _foreign_library(folder: Path) -> None:
    _edit_index(folder, unet=["antigravity", "UNet"])


def _no_unet(folder: Path) -> None:
    _edit_index(folder, unet=None)


def _edit_index(folder: Path, **changes: Any) -> None:
    path = folder / "unclip" / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_pipeline, r"unclip: found no model_index\.json"),
        (_other_embeddings, "a pipeline for embeddings of 48; expected 64, which config.json says"),
        (_pickles, "what diffusers cannot open .*saved as safetensors"),
        (_own_code, r"code of its own \(\*\.py\)"),
        (_foreign_library, r"code of its own \(unet\)"),
        (_no_unet, "found no unet"),
    ],
    ids=["absent", "other embeddings", "pickles", "own code", "foreign library", "a part absent"],
)
def test_a_pipeline_that_will_not_do_is_an_error_of_the_codec(folder: Path, damage: Any, message: str) -> None:
    damage(folder)

    with pytest.raises(CodecError, match=message):
        load_image_codec(_space(), folder.parent)


def test_a_pickle_in_place_of_the_weights_is_refused_with_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "seed_quantizer.pt")

    with pytest.raises(
        CodecError, match=r"no model\.safetensors but seed_quantizer\.pt: a pickle .*harness\.codecs\.seed_convert"
    ):
        load_image_codec(_space(), folder.parent)


def _bundle(root: Path) -> Tiny:
    """The tiny bundle, with SEED for its image tokenizer and SEED's 32 ids in every picture."""
    tiny = write_tiny(root, n_golden=4)
    shutil.rmtree(root / "codecs" / "image")
    codec = write_seed_codec(root / "codecs" / "image", codebook_size=IMAGE_CODES)
    image = {"kind": "seed", "image_size": 24, "weights_sha256": file_sha256(codec / "model.safetensors")}
    space = parse_token_space(tiny.space.raw | {"image_tokenizer": image})
    for folder in (tiny.ckpt, root / "stage3" / "checkpoint_10", tiny.shards):
        write_space(folder, space)
    for task in TASKS:
        (path,) = tiny.golden.glob(f"golden_{task}_*.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write_jsonl(path, [_retold(row, space, number) for number, row in enumerate(rows)])
    return Tiny(root, space, tiny.ckpt, tiny.base, tiny.golden, tiny.shards)


def _retold(row: dict[str, Any], space: TokenSpace, number: int) -> dict[str, Any]:
    row["token_space_sha256"] = space.sha256
    if row["task"] in ("t2i", "i2t"):
        media = space.to_ids("image", random_codes(1, number, IMAGE_CODES)[0])
        ids = build_sequence(row["task"], np.array([1, 2, 3 + number]), media, space).tolist()
        row |= {"input_ids": ids, "length": len(ids), "image_meta": {"n_tokens": 32, "proc_size": [24, 24]}}
    return row


def test_p03_decodes_what_a_checkpoint_writes_in_seed_ids(pytester: pytest.Pytester, tmp_path: Path) -> None:
    tiny = _bundle(tmp_path / "bundle")

    gate = run_gate(pytester, "P0.3", tiny.ckpt)

    assert gate["outcome"] == "pass", gate["details"]
    pictures = [sample for sample in gate["details"]["gallery"] if sample["task"] == "t2i"]
    assert len(pictures) == 4
    for sample in pictures:
        for name in ("file", "reference"):
            with Image.open(pytester.path / "out" / sample[name]) as picture:
                assert picture.size == (24, 24)


def test_p03_is_an_error_and_no_failure_where_the_pipeline_is_missing(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    tiny = _bundle(tmp_path / "bundle")
    shutil.rmtree(tiny.root / "codecs" / "image" / "unclip")

    gate = run_gate(pytester, "P0.3", tiny.ckpt)

    assert gate["outcome"] == "error"
    assert "no model_index.json" in json.dumps(gate)
