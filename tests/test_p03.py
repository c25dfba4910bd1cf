"""P0.3: the failures that the field saw in free generation, each planted in a real tiny checkpoint and told by name."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.bundle import open_bundle
from harness.examples import WRITE_TASKS, Task, read_examples, regions
from harness.files import write_jsonl
from harness.model import backbone_and_head, load_model
from harness.token_space import TokenSpace, parse_token_space
from tests.gating import run_gate
from tests.tiny import Tiny, edit_json, write_space

# Above any other logit of a tiny model: the row is the mean hidden state before the first id, times this.
LOUD = 50.0


def _write_first(tiny: Tiny, first: dict[Task, int]) -> None:
    """Make the checkpoint, served free, begin every block of a task with one id, by that id's row of the head."""
    edit_json(tiny.ckpt / "bundle.json", decoding="free")
    bundle = open_bundle(tiny.ckpt)
    backbone, _ = backbone_and_head(load_model(bundle, device="cpu", dtype="float32"))
    rows = load_file(tiny.ckpt / "trainable_rows.safetensors")
    for task, token_id in first.items():
        states = []
        for example in read_examples(tiny.golden, tiny.space, [task]):
            prompt = example.input_ids[: regions(example, tiny.space).content.start]
            with torch.no_grad():
                states.append(backbone(input_ids=torch.from_numpy(prompt)[None]).last_hidden_state[0, -1])
        rows["lm_head"][token_id - tiny.space.text_vocab_size] = LOUD * torch.stack(states).mean(0)
    save_file(rows, tiny.ckpt / "trainable_rows.safetensors")


SOUNDS: dict[str, tuple[Callable[[TokenSpace], int], str]] = {
    "codebook mismatch": (lambda space: space.audio[1].start, "codebook mismatch: 104 at position 0 is of AUDIO_CB1"),
    "no AUDIO range": (
        lambda space: space.special("text_end"),
        "id in no AUDIO range: 49 at position 0 is of <|text_e",
    ),
    "empty output": (lambda space: space.end_id("audio"), "empty output: the end tag came first"),
}
PICTURES: dict[str, tuple[Callable[[TokenSpace], int], str]] = {
    "not IMAGE": (lambda space: space.audio[0].start, "id not in IMAGE range: 88 at position 0 is of AUDIO_CB0"),
    "end of sound": (
        lambda space: space.special("aud_start"),
        "id not in IMAGE range: 52 at position 0 is of <|aud_st",
    ),
    "empty output": (lambda space: space.end_id("image"), "empty output: the end tag came first"),
}


@pytest.mark.parametrize(("sound", "picture"), list(zip(SOUNDS, PICTURES, strict=True)))
def test_what_the_field_saw_is_told_by_name(pytester: pytest.Pytester, tiny: Tiny, sound: str, picture: str) -> None:
    wrong_sound, says_sound = SOUNDS[sound]
    wrong_picture, says_picture = PICTURES[picture]
    _write_first(tiny, {"t2a": wrong_sound(tiny.space), "t2i": wrong_picture(tiny.space)})

    found = run_gate(pytester, "P0.3", tiny.ckpt)

    assert found["outcome"] == "fail"
    rates = {m["name"]: m["value"] for m in found["measurements"]}
    assert rates == {"t2a.decode_success_rate": 0, "t2i.decode_success_rate": 0}
    notes = {row["id"]: row["note"] for row in found["details"]["worst"]}
    assert len(notes) == 24
    assert all(note.startswith(says_sound) for id_, note in notes.items() if "t2a" in id_)
    assert all(note.startswith(says_picture) for id_, note in notes.items() if "t2i" in id_)
    gallery = {sample["id"]: sample for sample in found["details"]["gallery"]}
    assert {id_: sample["reason"] for id_, sample in gallery.items()} == notes
    assert all(sample["file"] is None and sample["reference"] for sample in gallery.values())
    assert _table(found) == _counted({"t2a": says_sound, "t2i": says_picture})


def _table(found: dict[str, Any]) -> list[list[Any]]:
    (table,) = (table for table in found["details"]["tables"] if table["title"] == "What did not decode")
    assert table["columns"] == ["fault", "t2a", "t2i"]
    rows: list[list[Any]] = table["rows"]
    return rows


def _counted(says: dict[str, str]) -> list[list[Any]]:
    faults = list(dict.fromkeys(reason.partition(":")[0] for reason in says.values()))
    return [[fault, *(12 if says[task].startswith(fault) else 0 for task in WRITE_TASKS)] for fault in faults]


def test_the_advice_keeps_the_order_of_the_spec(pytester: pytest.Pytester, tiny: Tiny) -> None:
    """Section C: wrong token types first, then the length; what concerns codecs comes after."""
    edit_json(tiny.ckpt / "bundle.json", decoding="free")

    advice = run_gate(pytester, "P0.3", tiny.ckpt)["advice"]

    assert [each.partition(":")[0].partition(" (")[0] for each in advice] == [
        "Wrong token types", "Length mismatch, or cut off", "One long chunk", "Golden meta",
        "The codec raised, not finite, or wrong form",
    ]  # fmt: skip
    assert "constrained decoding" in advice[0]
    assert "slice exactly the expected count" in advice[1]


def test_constrained_everything_decodes_and_is_kept(pytester: pytest.Pytester, tiny: Tiny) -> None:
    found = run_gate(pytester, "P0.3", tiny.ckpt)

    assert found["outcome"] == "pass"
    assert found["details"]["worst"] == []
    assert "tables" not in found["details"]
    suffixes = {sample["task"]: sample["file"].rpartition(".")[2] for sample in found["details"]["gallery"]}
    assert suffixes == {"t2a": "wav", "t2i": "png"}
    for sample in found["details"]["gallery"]:
        assert (pytester.path / "out" / sample["file"]).stat().st_size > 50
        assert (pytester.path / "out" / sample["reference"]).stat().st_size > 50


def _reweigh(tiny: Tiny, codec: str, value: float, ending: str = "bias") -> None:
    """Change some weights of a codec's decoder, in a token space that declares no hash of it."""
    weights = tiny.root / "codecs" / codec / "model.safetensors"
    tensors = load_file(weights)
    for name in tensors:
        if "decoder" in name and name.endswith(ending):
            tensors[name][:] = value
    save_file(tensors, weights)
    raw = json.loads((tiny.ckpt / "token_space.json").read_text())
    del raw["audio_codec" if codec == "audio" else "image_tokenizer"]["weights_sha256"]
    write_space(tiny.ckpt, parse_token_space(raw))


def test_a_codec_that_overflows_fails_every_sound_and_no_picture(pytester: pytest.Pytester, tiny: Tiny) -> None:
    _reweigh(tiny, "audio", 1e38, "weight_g")

    found = run_gate(pytester, "P0.3", tiny.ckpt)

    assert found["outcome"] == "fail"
    assert _table(found) == [["not finite", 12, 0]]


@pytest.mark.parametrize("codec", ["audio", "image"])
def test_a_codec_of_nan_proves_nothing(pytester: pytest.Pytester, tiny: Tiny, codec: str) -> None:
    _reweigh(tiny, codec, float("nan"))

    found = run_gate(pytester, "P0.3", tiny.ckpt)

    assert found["outcome"] == "error"
    assert "that are not finite; expected finite weights" in found["details"]["reason"]
    assert "unexpected" not in found["details"]


def test_a_damaged_codec_is_a_known_defect(pytester: pytest.Pytester, tiny: Tiny) -> None:
    (tiny.root / "codecs" / "image" / "config.json").unlink()

    found = run_gate(pytester, "P0.3", tiny.ckpt)

    assert found["outcome"] == "error"
    assert "the vq codec of the token space. Use the codec that made the shards." in found["details"]["reason"]
    assert "unexpected" not in found["details"]


LIES: dict[str, tuple[Task, dict[str, int], str]] = {
    "a frame too many": ("t2a", {"n_frames": 5, "n_samples": 80}, "it says 10 ids, the example's own medium has 8"),
    "a frame too few": ("t2a", {"n_frames": 3, "n_samples": 48}, "it says 6 ids, the example's own medium has 8"),
    "a tenth of it": ("t2a", {"n_samples": 6}, "it says 6 samples, which are no 4 frames of 16"),
    "a picture's end tag": ("t2i", {"n_tokens": 7}, "it says 7 ids, the example's own medium has 6"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_golden_meta_that_lies_promises_nothing(pytester: pytest.Pytester, tiny: Tiny, name: str) -> None:
    task, change, says = LIES[name]
    (file,) = tiny.golden.glob(f"golden_{task}_*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[3]["audio_meta" if task == "t2a" else "image_meta"] |= change
    write_jsonl(file, rows)

    found = run_gate(pytester, "P0.3", tiny.ckpt)

    assert found["outcome"] == "fail"
    assert [(row["id"], row["note"]) for row in found["details"]["worst"]] == [
        (f"golden-{task}-3", f"golden meta: {says}")
    ]


def test_what_max_new_tokens_cuts_off_is_not_decoded(pytester: pytest.Pytester, tiny: Tiny) -> None:
    (tiny.ckpt / "generation_config.json").write_text('{"max_new_tokens": 7}')

    found = run_gate(pytester, "P0.3", tiny.ckpt)

    assert _table(found) == [["cut off", 12, 0]]
    assert "raise it or remove it" in found["advice"][1]
