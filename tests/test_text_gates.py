"""S3.5 and P1.4: text that is the base's passes, whatever new rows do; text that suffered fails, with the figure."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

from harness.files import write_json, write_jsonl
from harness.text_eval import read_text_eval
from tests.field_layout import FIELD, write_field_layout
from tests.forms import EMBEDDING, HEAD, Tensors, edit_tensors
from tests.forms import write_whole as write_merged
from tests.gating import run_gate
from tests.parameter_files import NORM, stage3_rows, write_fingerprint, write_whole
from tests.tiny import TEXT, Tiny, edit_json, write_tiny
from training.rows import load_base
from training.surgery import text_only

N_TEXTS = 96


@pytest.fixture(scope="module")
def shared_fluent(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny bundle whose base has a text ability: the texts are its own, and its head is sure of them."""
    tiny = write_tiny(tmp_path_factory.mktemp("fluent"))
    edit_tensors(tiny.base / "model.safetensors", _scaled(HEAD, 30))
    model = Qwen3ForCausalLM.from_pretrained(tiny.base)
    starts = torch.randint(0, TEXT, (N_TEXTS, 2), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        ids = model.generate(starts, max_new_tokens=10, do_sample=True, pad_token_id=0, eos_token_id=None)
    rows = [{"id": f"own-{i}", "input_ids": row, "source": f"part {i % 2}"} for i, row in enumerate(ids.tolist())]
    write_jsonl(tiny.root / "text_eval.jsonl", rows)
    return tiny


@pytest.fixture
def fluent(shared_fluent: Tiny, tmp_path: Path) -> Tiny:
    """The same, to break."""
    root = tmp_path / "fluent"
    shutil.copytree(shared_fluent.root, root)
    ckpt = root / shared_fluent.ckpt.relative_to(shared_fluent.root)
    return Tiny(root, shared_fluent.space, ckpt, root / "base", root / "golden", root / "shards")


def _scaled(name: str, factor: float) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: tensors[name] * factor})


def _scale_adapter(tiny: Tiny, factor: float) -> None:
    def edit(tensors: Tensors) -> None:
        tensors.update({n: t * factor for n, t in tensors.items() if "lora_B" in n})

    edit_tensors(tiny.ckpt / "adapter" / "adapter_model.safetensors", edit)


def _figure(gate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [m for m in gate["measurements"] if m["name"] == name]
    figure: dict[str, Any] = found
    return figure


def _text_eval(tiny: Tiny) -> str:
    return f"--text-eval={tiny.root / 'text_eval.jsonl'}"


# ---------------------------------------------------------------------- S3.5


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_new_rows_over_an_untouched_base_leave_text_exactly_as_it_was(
    pytester: pytest.Pytester, tmp_path: Path, tied: bool
) -> None:
    tiny = write_tiny(tmp_path / "tiny", tied=tied, adapter=False)

    gate = run_gate(pytester, "S3.5", stage3_rows(tiny))

    assert gate["outcome"] == "pass", gate["details"]
    assert _figure(gate, "text_logit_gap")["value"] == 0
    change = _figure(gate, "text_perplexity_change")
    assert (change["value"], change["low"], change["high"]) == (0, 0, 0)
    assert "Text logits are the base's, bit for bit." in gate["details"]["notes"]


def test_a_whole_model_of_the_same_text_rows_passes(pytester: pytest.Pytester, tiny: Tiny) -> None:
    gate = run_gate(pytester, "S3.5", write_whole(tiny, 3), _text_eval(tiny))

    assert gate["outcome"] == "pass", gate["details"]
    assert _figure(gate, "text_logit_gap")["value"] == 0


def _flip_bit_of_head_row_5(tensors: Tensors) -> None:
    tensors[HEAD].view(torch.int32)[5, 3] ^= 1 << 22  # the highest bit of the fraction


CHANGED = {
    "one bit of a head row": (_flip_bit_of_head_row_5, "in the logit of row 5."),
    "layer norm": (lambda tensors: tensors.update({NORM: tensors[NORM] * 1.01}), "differs most"),
    "an embedding row": (lambda tensors: tensors[EMBEDDING][7].add_(0.01), "differs most"),
}


@pytest.mark.parametrize(("edit", "told"), CHANGED.values(), ids=CHANGED)
def test_a_change_of_text_fails_with_the_largest_difference(
    pytester: pytest.Pytester, tiny: Tiny, edit: Callable[[Tensors], Any], told: str
) -> None:
    ckpt = write_whole(tiny, 3)
    edit_tensors(ckpt / "model.safetensors", edit)

    gate = run_gate(pytester, "S3.5", ckpt, _text_eval(tiny))

    assert gate["outcome"] == "fail"
    assert "text_logit_gap is" in gate["details"]["reason"]
    assert _figure(gate, "text_logit_gap")["value"] > 1e-6
    assert any(told in note for note in gate["details"]["notes"]), gate["details"]["notes"]


def test_the_gap_is_that_of_whole_logits(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, 3)
    edit_tensors(ckpt / "model.safetensors", lambda tensors: tensors.update({NORM: tensors[NORM] * 1.01}))

    gate = run_gate(pytester, "S3.5", ckpt, _text_eval(tiny))

    texts = read_text_eval(tiny.root / "text_eval.jsonl", tiny.space, [tiny.base]).examples[:16]
    models = [Qwen3ForCausalLM.from_pretrained(folder) for folder in (ckpt, tiny.base)]
    gaps = []
    for text in texts:
        with torch.inference_mode():
            ours, theirs = (model(torch.tensor(text.ids[None, :-1])).logits[..., :TEXT] for model in models)
        gaps.append(float((ours - theirs).abs().max()))
    assert _figure(gate, "text_logit_gap")["value"] == pytest.approx(max(gaps), abs=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_text_that_is_no_number_fails(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, 3)
    edit_tensors(ckpt / "model.safetensors", lambda tensors: tensors[HEAD][3].fill_(float("nan")))

    gate = run_gate(pytester, "S3.5", ckpt, _text_eval(tiny))

    assert gate["outcome"] == "fail"
    assert "text_logit_gap could not be computed from 16 examples" in gate["details"]["reason"]


def _greedy_new_rows(ckpt: Path) -> None:
    """New head rows so large that they take nearly all probability, whatever the text."""
    edit_tensors(ckpt / "trainable_rows.safetensors", _scaled("lm_head", 120))


def test_a_wider_softmax_alone_raises_no_alarm_in_stage_3(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = stage3_rows(tiny)
    _greedy_new_rows(ckpt)

    gate = run_gate(pytester, "S3.5", ckpt)

    assert gate["outcome"] == "pass", gate["details"]
    assert _figure(gate, "probability_outside_text")["value"] > 0.99
    assert _figure(gate, "text_perplexity_change_whole_softmax")["value"] > 100


# ---------------------------------------------------------------------- P1.4


def test_an_adapter_that_ruins_text_fails(pytester: pytest.Pytester, fluent: Tiny) -> None:
    _scale_adapter(fluent, 3)

    gate = run_gate(pytester, "P1.4", fluent.ckpt)

    assert gate["outcome"] == "fail"
    assert "text_perplexity_change is" in gate["details"]["reason"]
    change = _figure(gate, "text_perplexity_change")
    assert change["low"] > 2
    assert change["confidence"] == "refuted"
    (table,) = gate["details"]["tables"]
    assert [row[0] for row in table["rows"]] == ["part 0", "part 1"]
    assert len(gate["details"]["worst"]) == 10


@pytest.mark.parametrize("wide", [False, True], ids=["rows as trained", "rows that take all probability"])
def test_an_adapter_that_barely_touches_text_passes(pytester: pytest.Pytester, fluent: Tiny, wide: bool) -> None:
    _scale_adapter(fluent, 0.003)
    if wide:
        _greedy_new_rows(fluent.ckpt)

    gate = run_gate(pytester, "P1.4", fluent.ckpt)

    assert gate["outcome"] == "pass", gate["details"]
    change = _figure(gate, "text_perplexity_change")
    assert change["low"] < change["value"] < change["high"] <= 2
    assert change["value"] != 0
    assert change["confidence"] == "proven"


def test_too_few_texts_cannot_pass(pytester: pytest.Pytester, fluent: Tiny) -> None:
    _scale_adapter(fluent, 0.1)
    lines = (fluent.root / "text_eval.jsonl").read_text().splitlines()
    (fluent.root / "text_eval.jsonl").write_text(lines[0] + "\n")

    gate = run_gate(pytester, "P1.4", fluent.ckpt)

    assert gate["outcome"] != "pass"


def test_the_change_is_that_of_transformers_own_losses(pytester: pytest.Pytester, fluent: Tiny) -> None:
    ckpt = write_merged(fluent, padding=8)
    gate = run_gate(pytester, "P1.4", ckpt, _text_eval(fluent))

    texts = read_text_eval(fluent.root / "text_eval.jsonl", fluent.space, [fluent.base]).examples
    total = {}
    for folder in (ckpt, fluent.base):
        model = Qwen3ForCausalLM.from_pretrained(folder)
        with torch.inference_mode():
            logits = [model(torch.tensor(text.ids[None])).logits[0, :-1, :TEXT] for text in texts]
        pairs = zip(logits, texts, strict=True)
        total[folder] = sum(float(-at.log_softmax(-1)[range(len(at)), text.ids[1:]].sum()) for at, text in pairs)
    n_tokens = sum(text.n_tokens for text in texts)
    expected = 100 * (np.exp((total[ckpt] - total[fluent.base]) / n_tokens) - 1)
    assert _figure(gate, "text_perplexity_change")["value"] == pytest.approx(expected, abs=1e-3)


# ---------------------------------------------------------------------- inputs


@pytest.mark.parametrize("gate_id", ["S3.5", "P1.4"])
def test_without_text_the_gate_is_not_run_and_names_the_option(
    pytester: pytest.Pytester, tiny: Tiny, gate_id: str
) -> None:
    bundle = json.loads((tiny.ckpt / "bundle.json").read_text())
    del bundle["text_eval"]
    write_json(tiny.ckpt / "bundle.json", bundle)

    gate = run_gate(pytester, gate_id, tiny.ckpt)

    assert gate["outcome"] == "not_run"
    assert "--text-eval" in gate["details"]["reason"]


def test_a_media_id_among_text_is_an_error_that_names_it(pytester: pytest.Pytester, tiny: Tiny) -> None:
    write_jsonl(tiny.root / "text_eval.jsonl", [{"id": "mixed", "input_ids": [1, 2, TEXT + 20]}])

    gate = run_gate(pytester, "P1.4", tiny.ckpt)

    assert gate["outcome"] == "error"
    assert f"(mixed): found id {TEXT + 20}, which is IMAGE" in gate["details"]["reason"]


def test_texts_too_short_to_score_are_named(pytester: pytest.Pytester, tiny: Tiny) -> None:
    with (tiny.root / "text_eval.jsonl").open("a") as file:
        file.write('{"id": "stub", "input_ids": [4]}\n')

    gate = run_gate(pytester, "S3.5", stage3_rows(tiny))

    assert gate["outcome"] == "pass"
    assert any(
        note.startswith("1 texts of fewer than two tokens") and "stub" in note for note in gate["details"]["notes"]
    )


# ---------------------------------------------------------------------- the fingerprint in the base's place


@pytest.fixture
def alone(fluent: Tiny) -> Path:
    """A whole model without its base, whose fingerprint the vocabulary surgery wrote."""
    ckpt = write_whole(fluent, 3, base=False)
    record = text_only(load_base(fluent.base), fluent.base, fluent.root / "text_eval.jsonl", fluent.space)
    edit_json(ckpt / "base_fingerprint.json", text_only=record)
    edit_json(ckpt / "bundle.json", text_eval="../../text_eval.jsonl")
    return ckpt


def _without_examples(ckpt: Path) -> None:
    """text_only as older versions of the vocabulary surgery wrote it."""
    file = ckpt / "base_fingerprint.json"
    record = json.loads(file.read_text())["text_only"]
    edit_json(file, text_only={key: record[key] for key in ("loss", "n_tokens", "text_eval_sha256")})


def test_the_fingerprint_stands_in_for_the_base(pytester: pytest.Pytester, alone: Path) -> None:
    gate = run_gate(pytester, "S3.5", alone)

    assert gate["outcome"] == "pass", gate["details"]
    assert _figure(gate, "text_loss_gap")["value"] < 1e-6
    assert _figure(gate, "text_perplexity_change")["confidence"] == "proven"
    assert any("base_fingerprint.json says of the base" in note for note in gate["details"]["notes"])


@pytest.mark.parametrize("gate_id", ["S3.5", "P1.4"])
def test_changed_text_fails_against_the_fingerprint_too(pytester: pytest.Pytester, alone: Path, gate_id: str) -> None:
    edit_tensors(alone / "model.safetensors", lambda tensors: tensors.update({NORM: tensors[NORM] * 2}))

    gate = run_gate(pytester, gate_id, alone)

    assert gate["outcome"] == "fail"


def test_a_smoke_run_holds_its_few_texts_against_the_fingerprint(pytester: pytest.Pytester, alone: Path) -> None:
    gate = run_gate(pytester, "S3.5", alone, "--max-examples=5")

    assert gate["outcome"] == "pass", gate["details"]
    assert _figure(gate, "text_perplexity_change")["n"] == 5


@pytest.mark.parametrize("gate_id", ["S3.5", "P1.4"])
def test_an_older_fingerprint_gives_the_mean_and_proves_nothing(
    pytester: pytest.Pytester, alone: Path, gate_id: str
) -> None:
    _without_examples(alone)

    gate = run_gate(pytester, gate_id, alone)

    assert gate["outcome"] == "error"
    change = _figure(gate, "text_perplexity_change")
    assert abs(change["value"]) < 0.01
    assert (change["low"], change["high"], change["n"]) == (None, None, N_TEXTS)
    assert "has no interval" in gate["details"]["reason"]
    assert "--base" in gate["details"]["reason"]


def test_an_older_fingerprint_still_refutes(pytester: pytest.Pytester, alone: Path) -> None:
    _without_examples(alone)
    edit_tensors(alone / "model.safetensors", lambda tensors: tensors.update({NORM: tensors[NORM] * 2}))

    assert run_gate(pytester, "P1.4", alone)["outcome"] == "fail"


def test_the_base_wins_over_the_fingerprint(pytester: pytest.Pytester, alone: Path) -> None:
    _without_examples(alone)
    edit_json(alone / "bundle.json", base="../../base")

    gate = run_gate(pytester, "P1.4", alone)

    assert gate["outcome"] == "pass", gate["details"]
    assert any(note.startswith("Held against the base,") for note in gate["details"]["notes"])


def _of_another_file(record: dict[str, Any]) -> None:
    record["text_eval_sha256"] = "0" * 64
    record.pop("examples")


def _of_other_texts(record: dict[str, Any]) -> None:
    record["examples"] = record["examples"][1:]


def _in_bfloat16(record: dict[str, Any]) -> None:
    record["dtype"] = "bfloat16"


def _loss_in_words(record: dict[str, Any]) -> None:
    record["loss"] = "small"


UNUSABLE = {
    "of another file": (_of_another_file, "not_run", "found the mean loss of 1056 tokens of text_eval 000000000000"),
    "of other texts": (_of_other_texts, "not_run", "found no loss of 1 of 96 texts (first: 'own-0')"),
    "in another precision": (_in_bfloat16, "not_run", "Pass --base, or --dtype bfloat16."),
    "damaged": (_loss_in_words, "error", "found text_only.loss: Input should be a valid number"),
}


@pytest.mark.parametrize(("edit", "outcome", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_record_that_cannot_be_used_says_why(
    pytester: pytest.Pytester, alone: Path, edit: Callable[[dict[str, Any]], None], outcome: str, says: str
) -> None:
    record = json.loads((alone / "base_fingerprint.json").read_text())["text_only"]
    edit(record)
    edit_json(alone / "base_fingerprint.json", text_only=record)

    gate = run_gate(pytester, "P1.4", alone)

    assert gate["outcome"] == outcome
    assert says in gate["details"]["reason"]


def test_a_fingerprint_without_text_is_a_missing_input(pytester: pytest.Pytester, tiny: Tiny) -> None:
    ckpt = write_whole(tiny, 3, base=False)
    write_fingerprint(tiny, ckpt)
    write_jsonl(tiny.root / "text_eval.jsonl", [{"id": "a", "input_ids": [1, 2, 3]}])

    gate = run_gate(pytester, "S3.5", ckpt, _text_eval(tiny))

    assert gate["outcome"] == "not_run"
    assert "found no text_only; expected the base's text-only losses. Pass --base." in gate["details"]["reason"]


# ---------------------------------------------------------------------- evidence, the field


def test_the_base_is_measured_once_for_all_its_checkpoints(pytester: pytest.Pytester, tiny: Tiny) -> None:
    run_gate(pytester, "P1.4", tiny.ckpt)
    before = {path.name for path in (pytester.path / "out" / "evidence").glob("*.npz")}
    _scale_adapter(tiny, 0.5)

    run_gate(pytester, "P1.4", tiny.ckpt)

    after = {path.name for path in (pytester.path / "out" / "evidence").glob("*.npz")}
    assert len(before) == 2
    assert len(after - before) == 1


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field's own files are not beside this checkout")
def test_the_fields_checkpoint_is_judged_on_text_given_by_an_option(pytester: pytest.Pytester, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from gates.cli import app
    from harness.token_space import read_token_space

    layout = write_field_layout(tmp_path / "lumo", read_token_space(FIELD / "token_space.json"))
    CliRunner().invoke(app, ["init", str(layout.stage3)])
    rng = np.random.default_rng(0)
    texts = [{"id": f"t{i}", "input_ids": rng.integers(0, 151_669, 12).tolist()} for i in range(8)]
    write_jsonl(tmp_path / "text.jsonl", texts)

    gate = run_gate(pytester, "S3.5", layout.stage3, f"--text-eval={tmp_path / 'text.jsonl'}")

    assert gate["outcome"] == "pass", gate["details"]
    assert _figure(gate, "text_logit_gap")["value"] == 0  # over a base whose tables are padded beyond its tokens
