"""training.json: read at the border, described, and no part of what a checkpoint's figures depend on."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gates.cli import app
from gates.next_step import what_was_trained
from harness.bundle import open_bundle
from harness.bundle_audit import audit_bundle
from harness.checkpoint import Checkpoint
from harness.errors import BundleError, HarnessError
from harness.files import write_json
from harness.settings import Settings
from harness.training_record import RECORD_NAME, read_training_record
from tests.forms import write_adapter_form, write_whole
from tests.gating import run_gates
from tests.tiny import Tiny

RECORD: dict[str, Any] = {
    "format": "training-record/1", "stage": 3, "step": 650, "train_rows": 8192, "sources": {"clotho": 8192},
    "effective_batch": 16, "max_steps": 2000, "stopped": "plateau", "config": {"backbone": "qwen3-0.6b"},
}  # fmt: skip


def write_record(folder: Path, **changes: Any) -> Path:
    """RECORD beside a checkpoint, with some keys changed."""
    write_json(folder / RECORD_NAME, RECORD | changes)
    return folder


def test_a_record_is_read(tmp_path: Path) -> None:
    rates = {"lr": {"schedule": "cosine", "peak": 1e-3, "warmup_steps": 20, "max_steps": 2000}}

    record = read_training_record(write_record(tmp_path, learning_rates=rates))

    assert record is not None
    assert (record.train_rows, record.step, record.stopped, record.sources) == (8192, 650, "plateau", {"clotho": 8192})
    assert record.learning_rates["lr"].floor == 0.0


def test_only_what_a_run_must_say_is_required(tmp_path: Path) -> None:
    least = {name: RECORD[name] for name in ("stage", "step", "train_rows", "effective_batch", "max_steps")}
    write_json(tmp_path / RECORD_NAME, least)

    record = read_training_record(tmp_path)

    assert record is not None
    assert (record.stopped, record.sources, record.config, record.eval_every) == ("running", {}, {}, 0)


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_training_record(tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"rows": 8192}, "rows: Extra inputs are not permitted", id="unknown-key"),
        pytest.param({"format": "training-record/2"}, "format: Input should be 'training-record/1'", id="format"),
        pytest.param({"stage": 2}, "stage: Input should be 3 or 4", id="stage"),
        pytest.param({"train_rows": "8192"}, "train_rows: Input should be a valid integer", id="text-for-a-number"),
        pytest.param({"train_rows": -1}, "train_rows: Input should be greater than or equal to 0", id="negative"),
        pytest.param({"effective_batch": 0}, "effective_batch: Input should be greater than 0", id="no-batch"),
        pytest.param({"stopped": "done"}, "stopped: Input should be 'running', 'steps', 'plateau'", id="stopped"),
        pytest.param({"learning_rates": {"lr": {"peak": 1.0}}}, "lr.schedule: Field required", id="rate"),
    ],
)
def test_a_malformed_record_names_the_key(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    write_record(tmp_path, **changes)

    with pytest.raises(BundleError) as raised:
        read_training_record(tmp_path)

    assert says in str(raised.value)
    assert str(tmp_path / RECORD_NAME) in str(raised.value)
    assert "it is optional" in str(raised.value)


def test_what_is_no_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text("{", encoding="utf-8")

    with pytest.raises(HarnessError, match=RECORD_NAME):
        read_training_record(tmp_path)


@pytest.mark.parametrize("form", ["rows", "whole", "modules_to_save", "trainable_tokens"])
def test_a_record_is_no_defect_and_no_evidence_is_lost_by_it(tiny: Tiny, form: str) -> None:
    ckpt = _checkpoint(tiny, form)
    before = _digests(ckpt, tiny.root)
    defects = audit_bundle(ckpt).defects

    write_record(ckpt, stage=4)

    assert audit_bundle(ckpt).defects == defects
    after = _digests(ckpt, tiny.root)
    assert after["weights"] == before["weights"]
    assert after["checkpoint"] != before["checkpoint"], "the record is part of what a verdict is bound to"


def test_inspect_tells_the_run(tiny: Tiny) -> None:
    assert _inspected(tiny.ckpt) is None

    write_record(tiny.ckpt)

    told = _inspected(tiny.ckpt)
    assert told is not None
    assert told["tier"] == "B"
    assert told["summary"] == "tier B (8,192 rows), step 650 of 2,000, 16 sequences a step, stopped: plateau"


def test_inspect_tells_a_malformed_record_and_does_not_crash(tiny: Tiny) -> None:
    write_record(tiny.ckpt, stopped="done")

    told = _inspected(tiny.ckpt)

    assert told is not None
    assert "stopped: Input should be" in told["problem"]


def test_stage_4_has_no_tier(tiny: Tiny) -> None:
    write_record(tiny.ckpt, stage=4, stopped="running")

    told = _inspected(tiny.ckpt)

    assert told is not None
    assert told["tier"] is None
    assert told["summary"] == "8,192 rows, step 650 of 2,000, 16 sequences a step, still running"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({}, None, id="sound"),
        pytest.param({"stopped": "done"}, "training.json cannot be used (stopped: Input should be", id="malformed"),
        pytest.param({"stage": 4}, "training.json tells of stage 4", id="other-stage"),
    ],
)
def test_the_decision_does_without_a_record_it_cannot_use(
    tiny: Tiny, changes: dict[str, Any], problem: str | None
) -> None:
    write_record(tiny.ckpt, **changes)

    trained = what_was_trained(open_bundle(tiny.ckpt), "stage3")

    assert trained.tier == ("B" if problem is None else None)
    assert trained.problem is None if problem is None else str(trained.problem).startswith(problem)


def test_the_verdict_rests_on_the_record(pytester: pytest.Pytester, tiny: Tiny) -> None:
    write_record(tiny.ckpt, stopped="steps", step=2000)

    _, verdict = run_gates(pytester, "stage3", tiny.ckpt, "-k", "text_depends_on_the_media")

    assert verdict["verdict"] == "REJECT"
    assert "S3.4 modality_ablation failed; not measured: " in verdict["next_step"]
    assert "After tier B (8,192 rows), " in verdict["next_step"]


def _checkpoint(tiny: Tiny, form: str) -> Path:
    if form == "rows":
        return tiny.ckpt
    return write_whole(tiny) if form == "whole" else write_adapter_form(tiny, trained_tokens=form == "trainable_tokens")


def _digests(ckpt: Path, root: Path) -> dict[str, str]:
    settings = Settings(device="cpu", dtype="float32", seed=0, batch_tokens=512, max_examples=None, out=root / "out")
    checkpoint = Checkpoint(open_bundle(ckpt), settings)
    return {"weights": checkpoint.weights_sha256, "checkpoint": checkpoint.sha256}


def _inspected(ckpt: Path) -> dict[str, Any] | None:
    result = CliRunner().invoke(app, ["inspect", str(ckpt), "--json", "--quick"])
    assert result.exit_code == 0, result.output
    told: dict[str, Any] | None = json.loads(result.stdout)["training"]
    return told
