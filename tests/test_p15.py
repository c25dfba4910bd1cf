"""P1.5: a healthy log passes, a sick one or one of other weights warns, and what a log does not say is not passed."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.examples import TASKS
from harness.files import write_json, write_jsonl
from harness.settings import Settings
from tests.gating import run_gate
from tests.tiny import Tiny, edit_json
from tests.training_logs import Rows, write_jsonl_log, write_text_log

N_DEV = 6


@pytest.fixture(scope="module")
def losses(shared_tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What the tiny checkpoint's losses are, on its golden examples."""
    settings = Settings(
        device="cpu", dtype="float32", seed=0, batch_tokens=8192, max_examples=None, out=tmp_path_factory.mktemp("out")
    )
    checkpoint = Checkpoint(open_bundle(shared_tiny.ckpt), settings)
    found = {task: checkpoint.held_out_loss(task, N_DEV) for task in TASKS}
    return {task: each.value for task, each in found.items() if each}


@pytest.fixture
def thresholds(pytester: pytest.Pytester) -> str:
    """Nothing was learned by the tiny checkpoint: only how its log is held together is looked at."""
    return f"--thresholds={pytester.makefile('.toml', 'max_write_loss_of_uniform = 9.0')}"


def _with_dev(tiny: Tiny) -> None:
    """A dev set of the first golden examples of every task."""
    rows = []
    for file in sorted(tiny.golden.glob("*.jsonl")):
        rows += [json.loads(line) for line in file.read_text().splitlines()][:N_DEV]
    write_jsonl(tiny.root / "dev.jsonl", [row | {"id": f"dev-{row['id']}"} for row in rows])
    edit_json(tiny.ckpt / "bundle.json", dev="../../dev.jsonl")


def _log(tiny: Tiny, rows: Rows, write: Any = write_jsonl_log) -> str:
    return f"--train-log={write(tiny.root / 'train_log.jsonl', rows)}"


def _rows(losses: dict[str, float], **dev: float) -> Rows:
    """A run that came down to these losses at step 20, with dev losses evaluated at the last step."""
    rows: Rows = []
    for step in range(1, 21):
        row = {f"{task}_avg": loss * (1 + 0.5 * (1 - step / 20)) for task, loss in losses.items()}
        rows.append({"step": step, **row, "head_norm_mean": 1 + step / 100, "lr": 1e-3 / step})
    return [*rows, *([{"step": 20, **dev}] if dev else [])]


def _dev(losses: dict[str, float]) -> dict[str, float]:
    return {f"dev_loss_{task}": loss for task, loss in losses.items()}


def _notes(gate: dict[str, Any]) -> str:
    return "\n".join(gate["details"].get("notes", []))


def _judged(gate: dict[str, Any]) -> dict[str, float]:
    return {m["name"]: m["value"] for m in gate["measurements"] if m["op"]}


def test_a_log_of_this_very_checkpoint_passes(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str
) -> None:
    _with_dev(tiny)

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, _rows(losses, **_dev(losses))), thresholds)

    assert gate["outcome"] == "pass", gate["details"]
    judged = _judged(gate)
    assert all(judged[f"{task}.logged_loss_off"] < 1e-5 for task in TASKS)
    assert judged["rates_off"] == judged["gaps"] == judged["loss_spikes"] == 0
    assert "dev_loss_a2t (the dev loss)" in _notes(gate)
    curve = gate["details"]["curves"]["t2a_avg"]
    assert curve["steps"] == list(range(1, 21))
    assert curve["values"][-1] == pytest.approx(losses["t2a"])
    (figures,) = [table for table in gate["details"]["tables"] if table["title"] == "The training log"]
    assert [row[0] for row in figures["rows"]][:2] == ["a2t_avg", "i2t_avg"]
    assert "Uniform guessing costs 4.787 nats/token over the vocabulary" in figures["note"]


@pytest.mark.parametrize("off", [0.06, 0.5, 3.0])
def test_a_dev_loss_of_other_weights_is_found(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str, off: float
) -> None:
    _with_dev(tiny)
    dev = _dev(losses) | {"dev_loss_t2i": losses["t2i"] - off}

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, _rows(losses, **dev)), thresholds)

    assert gate["outcome"] == "fail"
    assert "t2i.logged_loss_off" in gate["details"]["reason"]
    assert "dev_loss_t2i at step 20" in gate["details"]["reason"]
    assert [f["key"] for f in gate["details"]["findings"]] == ["dev_loss_t2i"]


@pytest.mark.parametrize(("factor", "outcome"), [(1.3, "pass"), (4, "fail"), (0.25, "fail")])
def test_averages_of_training_are_held_coarsely(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str, factor: float, outcome: str
) -> None:
    rows = [row | {"a2t_avg": factor * row["a2t_avg"]} for row in _rows(losses)]

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, rows), thresholds)

    assert gate["outcome"] == outcome, gate["details"]
    assert f"on {12} golden examples" in _notes(gate)  # there is no dev set


def test_an_older_evaluation_is_not_this_checkpoints(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str
) -> None:
    _with_dev(tiny)
    rows = _rows(losses)
    rows[9] |= {"dev_loss_a2t": 99.0}

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, rows), thresholds)

    assert gate["outcome"] == "pass", gate["details"]
    assert "a2t_avg (the average of training)" in _notes(gate)


def test_a_smoke_run_does_not_compare_other_examples(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str
) -> None:
    _with_dev(tiny)
    log = _log(tiny, _rows(losses, **_dev(dict.fromkeys(losses, 50.0))))

    gate = run_gate(pytester, "P1.5", tiny.ckpt, log, thresholds, "--max-examples=3")

    assert gate["outcome"] == "pass", gate["details"]
    assert "dev_loss_a2t is of 128 dev examples, which were not measured" in _notes(gate)


def test_what_comes_after_the_checkpoint_is_not_its_own(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str
) -> None:
    rows = [*_rows(losses), {"step": 21, "t2a_avg": float("nan")}, {"step": 400, "t2a_avg": 99.0}]

    assert run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, rows), thresholds)["outcome"] == "pass"


def test_a_sick_log_warns_and_names_where(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str
) -> None:
    rows = _rows(losses)
    rows[10]["t2a_avg"] *= 5
    rows[12]["head_norm_mean"] = float("nan")

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, rows, write_text_log), thresholds)

    assert (gate["outcome"], gate["priority"]) == ("fail", "P1")
    assert "spike: t2a_avg at step 11" in gate["details"]["reason"]
    assert "no number: head_norm_mean at step 13 is nan, expected a number above 0" in gate["details"]["reason"]
    (table,) = [each for each in gate["details"]["tables"] if each["title"] == "What a healthy log has not"]
    assert [row[:3] for row in table["rows"]] == [["no number", "head_norm_mean", 13], ["spike", "t2a_avg", 11]]
    assert gate["details"]["curves"]["head_norm_mean"]["values"][12] is None


def test_write_losses_near_uniform_warn(pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float]) -> None:
    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, _rows(losses)))

    assert gate["outcome"] == "fail"
    assert "write loss near uniform: t2a_avg at step 20" in gate["details"]["reason"]
    assert "0.9 of 2.773, uniform over its range" in gate["details"]["reason"]  # ln 16


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        pytest.param(
            [{"step": i, "loss": 3.0 - i / 10} for i in range(1, 21)],
            "found no training loss of t2a or t2i",
            id="one-loss",
        ),
        pytest.param([{"loss": 3.0 - i / 10} for i in range(20)], "found no step in any line", id="no-steps"),
    ],
)
def test_what_the_log_does_not_say_is_not_passed(
    pytester: pytest.Pytester, tiny: Tiny, rows: Rows, reason: str
) -> None:
    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, rows))

    assert gate["outcome"] == "not_run"
    assert reason in gate["details"]["reason"]


def test_a_fault_stands_even_where_something_else_is_not_said(pytester: pytest.Pytester, tiny: Tiny) -> None:
    rows = [{"step": i, "loss": float("nan") if i == 7 else 3.0 - i / 10} for i in range(1, 21)]

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, rows))

    assert gate["outcome"] == "fail"
    assert "Not judged: " in _notes(gate)


def test_without_a_log_it_is_not_run(pytester: pytest.Pytester, shared_tiny: Tiny) -> None:
    gate = run_gate(pytester, "P1.5", shared_tiny.ckpt)

    assert gate["outcome"] == "not_run"
    assert "pass --train-log" in gate["details"]["reason"]


def test_a_log_that_is_none_is_an_error(pytester: pytest.Pytester, tiny: Tiny) -> None:
    (tiny.root / "empty.log").write_text("")

    gate = run_gate(pytester, "P1.5", tiny.ckpt, f"--train-log={tiny.root / 'empty.log'}")

    assert gate["outcome"] == "error"
    assert "expected a training log" in gate["details"]["reason"]


def test_the_rate_is_held_against_training_json(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], thresholds: str
) -> None:
    rates = {"lr": {"schedule": "constant", "peak": 1e-3, "warmup_steps": 0, "max_steps": 20, "floor": 0.0}}
    record = {
        "format": "training-record/1",
        "stage": 4,
        "step": 20,
        "train_rows": 1,
        "effective_batch": 1,
        "max_steps": 20,
    }
    write_json(tiny.ckpt / "training.json", record | {"learning_rates": rates})

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, _rows(losses)), thresholds)

    assert gate["outcome"] == "fail"
    assert "rate off its schedule: lr at step 2 is 0.0005, expected 0.001 by its constant" in gate["details"]["reason"]


def test_long_curves_are_thinned_and_keep_their_spikes(
    pytester: pytest.Pytester, tiny: Tiny, losses: dict[str, float], tmp_path: Path
) -> None:
    edit_json(tiny.ckpt / "bundle.json", step=5000)
    rows = [{"step": i, "t2a_avg": 90.0 if i == 3333 else 9.0 - i / 1000} for i in range(1, 5001)]

    gate = run_gate(pytester, "P1.5", tiny.ckpt, _log(tiny, rows))

    curve = gate["details"]["curves"]["t2a_avg"]
    assert len(curve["steps"]) <= 400
    assert curve["values"][curve["steps"].index(3333)] == 90.0
