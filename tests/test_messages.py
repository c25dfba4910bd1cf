"""The wording of the errors that users meet first: each names the place, what was found and expected, and the fix.

`{root}` stands for the bundle's folder. Whoever changes a sentence changes it here, knowingly.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness.bundle import open_bundle
from harness.codecs.registry import load_audio_codec, load_image_codec
from harness.errors import HarnessError, MissingInputError
from harness.examples import read_examples, regions
from harness.files import read_json, write_json
from harness.held_out import audit_held_out
from harness.model import load_model, read_rows
from harness.progress import silent
from harness.token_space import read_token_space
from tests.tiny import SPECIALS, TEXT, Tiny, edit_json


@dataclass(frozen=True)
class Case:
    """What is broken, what is then asked for, and the sentence that comes back."""

    name: str
    breaks: Callable[[Tiny], object]
    asks: Callable[[Tiny], object]
    says: str


def _opened(tiny: Tiny) -> Any:
    return open_bundle(tiny.ckpt)


def _loaded(tiny: Tiny) -> Any:
    return load_model(_opened(tiny), device="cpu", dtype="float32")


def _golden(tiny: Tiny) -> Any:
    return [regions(example, tiny.space) for example in read_examples(tiny.golden, tiny.space)]


def _without(*names: str) -> Callable[[Tiny], object]:
    """Remove files or folders below the bundle's root."""

    def remove(tiny: Tiny) -> None:
        for name in names:
            path = tiny.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def _with_pickled_rows(tiny: Tiny) -> None:
    (tiny.ckpt / "trainable_rows.safetensors").rename(tiny.ckpt / "trainable_rows.pt")


def _first_golden(**changes: Any) -> Callable[[Tiny], object]:
    """Change keys of the first golden t2i example."""

    def change(tiny: Tiny) -> None:
        file = tiny.golden / "golden_t2i_12.jsonl"
        first, *others = file.read_text().splitlines()
        file.write_text("\n".join([json.dumps(json.loads(first) | changes), *others]) + "\n")

    return change


def _audio_kind(kind: str) -> Callable[[Tiny], object]:
    """Another kind of audio codec in the checkpoint's own token space, its sidecar renewed."""

    def change(tiny: Tiny) -> None:
        declared = tiny.space.raw | {"audio_codec": {"kind": kind}}
        write_json(tiny.ckpt / "token_space.json", declared)
        (tiny.ckpt / "token_space.sha256").unlink()

    return change


CKPT = "{root}/stage4/checkpoint_20"
T2I = "{root}/golden/golden_t2i_12.jsonl"
CASES = [
    Case(
        "bundle-missing", _without("stage4"), _opened,
        f"{CKPT}: found no such folder; expected a checkpoint folder. Check the path given to --ckpt.",
    ),
    Case(
        "misspelt-key", lambda tiny: edit_json(tiny.ckpt / "bundle.json", shardz="../../shards"), _opened,
        f"{CKPT}/bundle.json: found shardz: Extra inputs are not permitted; expected a checkpoint-bundle/1 object. "
        "Correct that key.",
    ),
    Case(
        "no-weights",
        _without("stage4/checkpoint_20/trainable_rows.safetensors", "stage4/checkpoint_20/adapter"), _opened,
        f"{CKPT}: found no weights; expected trainable_rows.safetensors beside trainable_rows.json, config.json with "
        "model.safetensors, or adapter_config.json with its adapter. Point --ckpt at the checkpoint's own folder.",
    ),
    Case(
        "pickle", _with_pickled_rows, _opened,
        f"{CKPT}/trainable_rows.pt: found a pickle; expected trainable_rows.safetensors. A pickle can run code when it "
        f"is opened: convert it with `gates init {CKPT}`.",
    ),
    Case(
        "row-range", lambda tiny: edit_json(tiny.ckpt / "trainable_rows.json", row_end=100),
        lambda tiny: read_rows(tiny.ckpt, tiny.space),
        f"{CKPT}/trainable_rows.json: found rows 48 to 100; expected rows 48 to 120, as the token space says. "
        "The checkpoint was trained on another token space: use the one it was trained with.",
    ),
    Case(
        "base-without-safetensors", _without("base/model.safetensors"), _loaded,
        "{root}/base: found no .safetensors file; expected model.safetensors. Save the model as safetensors.",
    ),
    Case(
        "adapter-without-weights", _without("stage4/checkpoint_20/adapter/adapter_model.safetensors"), _loaded,
        f"{CKPT}/adapter: found no adapter_model.safetensors; expected an adapter saved as safetensors. "
        "Save the adapter again.",
    ),
    Case(
        "sidecar", lambda tiny: edit_json(tiny.shards / "token_space.json", created_utc="2027"),
        lambda tiny: read_token_space(tiny.shards),
        "{root}/shards/token_space.json: found content with sha256 {sha256}; expected {sha256}, as its own "
        "token_space.sha256 says. One of the two was edited after the other was written: restore both from the shards.",
    ),
    Case(
        "no-special", lambda tiny: None, lambda tiny: tiny.space.special("vid_end"),
        "token space: found no special token for the role 'vid_end' among {anything}; expected a token spelled "
        "<|vid_end|> or <vid_end>. Add it to special_tokens and rebuild shards and checkpoint with it.",
    ),
    Case(
        "no-json", lambda tiny: (tiny.root / "x.json").write_text("{"), lambda tiny: read_json(tiny.root / "x.json"),
        "{root}/x.json: found text that is not JSON ({anything}); expected JSON. Restore the file.",
    ),
    Case(
        "input-not-named", lambda tiny: None, lambda tiny: _opened(tiny).input("train_log"),
        f"{CKPT}: found no 'train_log' in bundle.json; expected the path of train_log. Add it there, or pass "
        "--train-log.",
    ),
    Case(
        "input-not-there", _without("shards"), lambda tiny: _opened(tiny).input("shards"),
        "{root}/shards: found nothing; expected the bundle's shards. Correct bundle.json, or pass --shards.",
    ),
    Case(
        "shards-empty",
        lambda tiny: [file.unlink() for file in tiny.shards.iterdir()],
        lambda tiny: audit_held_out(_opened(tiny), silent),
        "{root}/shards: found no Parquet file and no tar; expected the Stage 2 shards. Point --shards at the folder "
        "that holds them.",
    ),
    Case(
        "example-task", _first_golden(task="t2v"), _golden,
        f"{T2I}:1: found task: Input should be 'a2t', 'i2t', 't2a' or 't2i'; expected an example. Correct or drop the "
        "line.",
    ),
    Case(
        "example-outside-vocabulary", _first_golden(input_ids=[1, 151_800]), _golden,
        f"{T2I}:1 (golden-t2i-0): found ids from 1 to 151800; expected ids from 0 to 119. Tokenise it again.",
    ),
    Case(
        "example-labels",
        _first_golden(input_ids=[48, 1, 49, 55, 50, 64, 51], labels=[-100, 1, -100, -100, 50, 64, 51]), _golden,
        f"{T2I}:1 (golden-t2i-0): found label 1 at position 1; expected -100 there: the target block and nothing else "
        "is supervised. Write the example again with its target's labels.",
    ),
    Case(
        "example-cut-off", _first_golden(input_ids=[48, 1, 49, 55, 50, 64]), _golden,
        "example golden-t2i-0 (t2i): found a block of 2 ids at position 4 that is not one <|img_start|> … <|img_end|>; "
        "expected <|img_start|> … <|img_end|> with no special inside. Build the sequence as its task prescribes.",
    ),
    Case(
        "example-without-json", lambda tiny: (tiny.golden / "golden_t2i_12.jsonl").write_text("id,task\n"), _golden,
        f"{T2I}:1: found text that is not JSON ({{anything}}); expected one object a line. Drop the line.",
    ),
    Case(
        "example-twice", _first_golden(id="golden-t2i-1"), _golden,
        "{root}/golden: found the id 'golden-t2i-1' twice; expected one example an id. Make the ids unique.",
    ),
    Case(
        "codec-kind", _audio_kind("mimi"), lambda tiny: load_audio_codec(_opened(tiny).space, tiny.root / "codecs"),
        "{root}/codecs/audio: found audio codec of kind 'mimi'; expected one of ['encodec', 'seed', 'vq']. Declare "
        "`kind` in the token space, or register the codec as an entry point in 'modality_gates.codecs'.",
    ),
    Case(
        "codec-weights", lambda tiny: (tiny.root / "codecs/image/model.safetensors").write_bytes(b"other"),
        lambda tiny: load_image_codec(tiny.space, tiny.root / "codecs"),
        "{root}/codecs/image/model.safetensors: found sha256 {sha256}; expected {sha256}, as the token space says. "
        "Use the codec that made the shards.",
    ),
]  # fmt: skip


def _pattern(says: str, tiny: Tiny) -> str:
    escaped = re.escape(says).replace(re.escape("{root}"), re.escape(str(tiny.root)))
    return escaped.replace(re.escape("{sha256}"), "[0-9a-f]{64}").replace(re.escape("{anything}"), ".+")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_error_names_place_found_expected_and_fix(case: Case, tiny: Tiny) -> None:
    case.breaks(tiny)

    with pytest.raises(HarnessError, match=f"^{_pattern(case.says, tiny)}$"):
        case.asks(tiny)


def test_a_missing_input_is_told_apart_from_a_broken_one(tiny: Tiny) -> None:
    with pytest.raises(MissingInputError):
        _opened(tiny).input("train_log")


def test_the_tiny_token_space_is_the_one_that_the_sentences_speak_of(tiny: Tiny) -> None:
    assert (TEXT, SPECIALS, tiny.space.vocab_size_total) == (48, 16, 120)
