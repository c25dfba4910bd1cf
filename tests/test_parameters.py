"""S3.3 and P0.5: what moved is found, counted, named, and told apart; what only looks different passes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from harness.faults.weights import reshard
from harness.files import write_json
from tests import parameter_files as files
from tests.forms import EMBEDDING as EMBED
from tests.forms import HEAD, Tensors, edit_tensors, write_adapter_form
from tests.gating import findings, run_gate
from tests.parameter_files import NORM, PROJECTION, Defect, write_whole
from tests.tiny import TEXT, Tiny, edit_json, write_tiny


@dataclass(frozen=True)
class Case:
    """A defect of a whole stage 3 model and what the gate has to say.

    Attributes:
        defect: what is done to model.safetensors.
        reason: of the failure.
        told: in the findings or notes, held against the base.
    """

    defect: Defect
    reason: str
    told: str


CASES = {
    "one bit of an embedding row": Case(
        files.flip_bit(EMBED, 17), "text_rows_changed is 1 rows", "1 of 48 text rows of the embedding moved"
    ),
    "one bit of a head row": Case(files.flip_bit(HEAD, 5), "text_rows_changed is 1 rows", "looks like isolated values"),
    "weight decay of the head": Case(
        files.decay(HEAD), "text_rows_changed is 48 rows", "weight decay (the base's times 0.99)"
    ),
    "bf16 round trip": Case(
        files.round_trip(EMBED, torch.bfloat16), "text_rows_changed is 48 rows", "exact in BF16"
    ),
    "f16 round trip": Case(files.round_trip(HEAD, torch.float16), "text_rows_changed is 48 rows", "exact in F16"),
    "shifted table": Case(
        files.shift(HEAD, 3), "text_rows_changed is 45 rows", "shifted table (row i is the base's row i +3)"
    ),
    "re-initialised head": Case(files.redraw(HEAD), "text_rows_changed is 48 rows", "looks like re-initialised"),
    "momentum on four rows": Case(
        files.nudge(EMBED, slice(8, 12), 1e-4), "text_rows_changed is 4 rows", "looks like momentum"
    ),
    "trained head": Case(files.nudge(HEAD, slice(0, TEXT), 1e-3), "text_rows_changed is 48 rows", "like training"),
    "NaN in a text row": Case(files.put(EMBED, (3, 3), float("nan")), "text_rows_changed is 1 rows", "embed row 3"),
    "one frozen norm weight": Case(files.put(NORM, (2,), 1.001), "frozen_tensors_changed is 1 tensors", NORM),
    "frozen weights decayed": Case(files.decay(PROJECTION, 0.999), "frozen_tensors_changed is 1", "weight decay"),
    "frozen tensor of other type": Case(
        files.cast(NORM, torch.bfloat16), "frozen_tensors_changed is 1", "stored as BF16, the base's as F32"
    ),
    "frozen tensor of other shape": Case(files.reshape(NORM), "frozen_tensors_changed is 1", "shape [2, 16]"),
    "missing tensor": Case(files.drop(NORM), "missing_tensors is 1", f"{NORM}: missing"),
    "missing head": Case(files.drop(HEAD), "missing_tensors is 1", f"{HEAD}: missing"),
    "extra tensor": Case(files.add("model.extra"), "unexpected_tensors is 1", "model.extra"),
}  # fmt: skip


def _told(gate: dict[str, Any]) -> str:
    return "\n".join([findings(gate), *gate["details"].get("notes", [])])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_change_is_found_and_told_against_the_base(pytester: pytest.Pytester, tiny: Tiny, case: Case) -> None:
    ckpt = write_whole(tiny, stage=3)
    edit_tensors(ckpt / "model.safetensors", case.defect)

    gate = run_gate(pytester, "S3.3", ckpt)

    assert gate["outcome"] == "fail"
    assert case.reason in gate["details"]["reason"]
    assert case.told in _told(gate)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_change_is_found_against_the_fingerprint_alone(pytester: pytest.Pytester, tiny: Tiny, case: Case) -> None:
    ckpt = write_whole(tiny, stage=3, base=False)
    shutil.rmtree(tiny.base)
    edit_tensors(ckpt / "model.safetensors", case.defect)

    gate = run_gate(pytester, "S3.3", ckpt)

    assert gate["outcome"] == "fail"
    assert case.reason in gate["details"]["reason"]


@pytest.mark.parametrize("name", ["shifted table", "frozen tensor of other type", "frozen tensor of other shape"])
def test_hashes_tell_a_shift_another_type_and_shape(pytester: pytest.Pytester, tiny: Tiny, name: str) -> None:
    ckpt = write_whole(tiny, stage=3, base=False)
    edit_tensors(ckpt / "model.safetensors", CASES[name].defect)

    assert CASES[name].told in _told(run_gate(pytester, "S3.3", ckpt))


def test_offenders_are_named_by_their_text_and_change(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, stage=3)
    Tokenizer(WordLevel({f"word{i}": i for i in range(TEXT)}, "word0")).save(str(ckpt / "tokenizer.json"))
    edit_tensors(ckpt / "model.safetensors", files.nudge(HEAD, slice(17, 19), 1e-4))

    worst = run_gate(pytester, "S3.3", ckpt)["details"]["worst"]

    assert [(row["id"], row["prompt"]) for row in worst] == [("lm_head row 17", "word17"), ("lm_head row 18", "word18")]
    assert "largest change 0.000" in worst[0]["note"]


def test_the_advice_is_that_of_the_pattern(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, stage=3)
    edit_tensors(ckpt / "model.safetensors", files.decay(HEAD))

    notes = run_gate(pytester, "S3.3", ckpt)["details"]["notes"]

    assert any(note.startswith("weight decay: Weight decay moves rows whose gradient is masked") for note in notes)


def test_a_base_that_is_not_the_fingerprinted_one_fails(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = files.stage3_rows(tiny)
    files.write_fingerprint(tiny, ckpt)
    edit_json(ckpt / "bundle.json", base_fingerprint="base_fingerprint.json")
    edit_tensors(tiny.base / "model.safetensors", files.flip_bit(EMBED, 7))

    gate = run_gate(pytester, "S3.3", ckpt)

    assert gate["outcome"] == "fail"
    assert "embed row 7" in findings(gate)


def test_more_than_rows_in_a_rows_file_fails(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = files.stage3_rows(tiny)
    edit_tensors(ckpt / "trainable_rows.safetensors", files.add("model.norm.weight"))

    assert "unexpected_tensors is 1" in run_gate(pytester, "S3.3", ckpt)["details"]["reason"]


def test_stage_3_with_an_adapter_fails(pytester: pytest.Pytester, tiny: Tiny) -> None:
    assert "adapted_modules is 4" in run_gate(pytester, "S3.3", tiny.ckpt)["details"]["reason"]


def test_no_base_and_no_fingerprint_is_not_run(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, stage=3, base=False)
    edit_json(ckpt / "bundle.json", base_fingerprint=None)

    gate = run_gate(pytester, "S3.3", ckpt)

    assert gate["outcome"] == "not_run"
    assert "--base" in gate["details"]["reason"]


def test_a_fingerprint_of_another_token_space_is_refused(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, stage=3, base=False)
    file = ckpt / "base_fingerprint.json"
    rows = json.loads(file.read_text())["text_rows"]
    edit_json(file, text_rows=rows | {"embed": rows["embed"][:-1]})

    gate = run_gate(pytester, "S3.3", ckpt)

    assert gate["outcome"] == "error"
    assert "47 rows of embed" in gate["details"]["reason"]


# ---------------------------------------------------------------------- harmless variants


def _resave(tiny: Tiny) -> None:
    tensors = load_file(tiny.base / "model.safetensors")
    save_file(dict(reversed(tensors.items())), tiny.base / "model.safetensors", metadata={"resaved": "yes"})


def _pad_tables(tiny: Tiny) -> None:
    for file in (tiny.base / "model.safetensors", tiny.root / "whole/checkpoint_30/model.safetensors"):
        tensors = load_file(file)
        for name in (EMBED, HEAD):
            tensors[name] = torch.cat([tensors[name], torch.zeros(8, 32)])
        save_file(tensors, file, metadata={"format": "pt"})


HARMLESS = {
    "as it is": lambda tiny: None,
    "resaved base": _resave,
    "resharded base": lambda tiny: reshard(tiny.base),
    "resharded checkpoint": lambda tiny: reshard(tiny.root / "whole/checkpoint_30"),
    "padded tables": _pad_tables,
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("base", [True, False], ids=["base", "fingerprint alone"])
def test_a_harmless_whole_model_passes(pytester: pytest.Pytester, tiny: Tiny, change: Any, base: bool) -> None:
    ckpt = write_whole(tiny, stage=3, base=base)
    change(tiny)

    assert run_gate(pytester, "S3.3", ckpt)["outcome"] == "pass"


@pytest.mark.parametrize("base", [True, False], ids=["base", "fingerprint alone"])
def test_a_tied_whole_model_passes(pytester: pytest.Pytester, tmp_path: Path, base: bool) -> None:
    tiny = write_tiny(tmp_path / "tied", tied=True, n_golden=2, adapter=False)

    assert run_gate(pytester, "S3.3", write_whole(tiny, stage=3, base=base))["outcome"] == "pass"


def test_new_rows_of_another_type_pass(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = files.stage3_rows(tiny)
    edit_tensors(ckpt / "trainable_rows.safetensors", files.cast("embeddings", torch.bfloat16))

    assert run_gate(pytester, "S3.3", ckpt)["outcome"] == "pass"


# ---------------------------------------------------------------------- the adapter


def _zero_b(tensors: Tensors) -> None:
    for name in tensors:
        if "lora_B" in name:
            tensors[name].zero_()


def test_an_attached_adapter_passes(pytester: pytest.Pytester, tiny: Tiny) -> None:
    gate = run_gate(pytester, "P0.5", tiny.ckpt)

    assert gate["outcome"] == "pass"
    assert {m["name"]: m["value"] for m in gate["measurements"]}["adapter_logit_change"] > 0


ADAPTER_DEFECTS = {
    "B is zero": (_zero_b, "adapter_logit_change is 0", "all zeros in 4 of 4 adapted modules"),
    "a saved table": (
        files.add("base_model.model.lm_head.modules_to_save.weight"), "unexpected_tensors is 1", "modules_to_save"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("defect", "reason", "told"), ADAPTER_DEFECTS.values(), ids=ADAPTER_DEFECTS)
def test_a_defect_of_the_adapter_fails(
    pytester: pytest.Pytester, tiny: Tiny, defect: Defect, reason: str, told: str
) -> None:
    edit_tensors(tiny.ckpt / "adapter" / "adapter_model.safetensors", defect)

    gate = run_gate(pytester, "P0.5", tiny.ckpt)

    assert gate["outcome"] == "fail"
    assert reason in gate["details"]["reason"]
    assert told in findings(gate)


def test_stage_4_without_an_adapter_fails(pytester: pytest.Pytester, tiny: Tiny) -> None:
    shutil.rmtree(tiny.ckpt / "adapter")
    bundle = json.loads((tiny.ckpt / "bundle.json").read_text())
    write_json(tiny.ckpt / "bundle.json", {name: value for name, value in bundle.items() if name != "lora"})

    assert "adapted_modules is 0" in run_gate(pytester, "P0.5", tiny.ckpt)["details"]["reason"]


# ---------------------------------------------------------------------- an adapter that holds the vocabulary's rows


@pytest.mark.parametrize("trained_tokens", [False, True], ids=["whole tables", "trained tokens"])
def test_an_adapter_with_its_own_rows_passes(pytester: pytest.Pytester, tiny: Tiny, trained_tokens: bool) -> None:
    gate = run_gate(pytester, "P0.5", write_adapter_form(tiny, trained_tokens=trained_tokens))

    assert gate["outcome"] == "pass"
    assert {m["name"]: m["value"] for m in gate["measurements"]}["modality_rows_moved"] > 0


def test_a_text_row_in_an_adapters_table_fails(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_adapter_form(tiny)
    (file,) = ckpt.rglob("adapter_model.safetensors")
    name = next(name for name in load_file(file) if "lm_head" in name and "lora" not in name)
    edit_tensors(file, files.flip_bit(name, 5))

    gate = run_gate(pytester, "P0.5", ckpt)

    assert "text_rows_changed is 1 rows" in gate["details"]["reason"]
    assert "lm_head row 5" in findings(gate)


def test_a_trained_text_token_fails(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_adapter_form(tiny, trained_tokens=True)
    (file,) = ckpt.rglob("adapter_config.json")
    ids = json.loads(file.read_text())["trainable_token_indices"]
    edit_json(file, trainable_token_indices={table: [5, *rows[1:]] for table, rows in ids.items()})
    bundle = json.loads((ckpt / "bundle.json").read_text())
    write_json(ckpt / "bundle.json", {name: value for name, value in bundle.items() if name != "parent"})

    gate = run_gate(pytester, "P0.5", ckpt)

    assert "unexpected_tensors is 1" in gate["details"]["reason"]
    assert "adapter: the row of text token 5" in findings(gate)


# ---------------------------------------------------------------------- merged


def test_a_merge_in_float32_passes(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, stage=4, lora=True)
    edit_tensors(ckpt / "model.safetensors", lambda tensors: files.merge_adapter(tiny, tensors))

    gate = run_gate(pytester, "P0.5", ckpt)

    assert gate["outcome"] == "pass"
    assert [m["n"] for m in gate["measurements"] if m["name"] == "merge_error"] == [4]


def _merge_all_but_one(tiny: Tiny, tensors: Tensors) -> None:
    kept = tensors[PROJECTION]
    files.merge_adapter(tiny, tensors)
    tensors[PROJECTION] = kept


def _merge_and_flip(tiny: Tiny, tensors: Tensors) -> None:
    files.merge_adapter(tiny, tensors)
    files.flip_bit(HEAD, 5)(tensors)


MERGES = {
    "double alpha": (lambda tiny, t: files.merge_adapter(tiny, t, scale=4.0), "merge_error", "it holds 2 times"),
    "in bf16": (
        lambda tiny, t: files.merge_adapter(tiny, t, dtype=torch.bfloat16), "merge_error", "rounded in BF16"
    ),
    "one module left out": (_merge_all_but_one, "merge_error", f"{PROJECTION}: "),
    "a text row moved too": (_merge_and_flip, "text_rows_changed is 1 rows", "lm_head row 5"),
}  # fmt: skip


@pytest.mark.parametrize(("merge", "reason", "told"), MERGES.values(), ids=MERGES)
def test_a_wrong_merge_fails(pytester: pytest.Pytester, tiny: Tiny, merge: Any, reason: str, told: str) -> None:
    ckpt = write_whole(tiny, stage=4, lora=True)
    edit_tensors(ckpt / "model.safetensors", lambda tensors: merge(tiny, tensors))

    gate = run_gate(pytester, "P0.5", ckpt)

    assert gate["outcome"] == "fail"
    assert reason in gate["details"]["reason"]
    assert told in findings(gate)


def test_a_merge_of_no_known_adapter_is_a_change_of_frozen_tensors(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, stage=4)
    edit_tensors(ckpt / "model.safetensors", lambda tensors: files.merge_adapter(tiny, tensors))

    gate = run_gate(pytester, "P0.5", ckpt)

    assert "frozen_tensors_changed is 4" in gate["details"]["reason"]
    assert "pass it with --lora" in " ".join(gate["advice"])


def test_a_merge_cannot_be_told_without_the_base(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, stage=4, base=False, lora=True)
    edit_tensors(ckpt / "model.safetensors", lambda tensors: files.merge_adapter(tiny, tensors))

    gate = run_gate(pytester, "P0.5", ckpt)

    assert gate["outcome"] == "not_run"
    assert "--base" in gate["details"]["reason"]
