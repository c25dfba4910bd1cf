"""Logged learning rates: usual schedules are left alone, what no schedule has is found, a recorded one is held to."""

import math
from pathlib import Path
from typing import Any

import pytest

from harness.training_record import LearningRates, TrainingRecord
from tests.training_logs import Rows, judged, spec_rows, whats

ROWS = spec_rows()


def _with_rate(rate: Any) -> Rows:
    return [row | {"lr": rate(i)} for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("rate", "what"),
    [
        pytest.param(lambda i: 0.0, "rate of 0", id="zero"),
        pytest.param(lambda i: 1e-3 if i < 25 else 0.0, "rate of 0", id="zero-from-there"),
        pytest.param(lambda i: -1e-3 if i == 7 else 1e-3, "negative rate", id="negative"),
        pytest.param(lambda i: 1e-2 if i == 20 else 1e-3 * (1 - i / 50), "rate jumps", id="one-line"),
        pytest.param(lambda i: 1e-2 if i >= 20 else 1e-3, "rate jumps", id="for-good"),
    ],
)
def test_rates_that_no_schedule_has(tmp_path: Path, rate: Any, what: str) -> None:
    assert whats(judged(tmp_path, _with_rate(rate))) == {what}


@pytest.mark.parametrize(
    "rate",
    [
        pytest.param(lambda i: 1e-3 * (39 - i) / 39, id="linear-to-0"),
        pytest.param(lambda i: 1e-3 * 0.1 ** (i // 15), id="by-steps"),
        pytest.param(lambda i: 1e-3 * min(1, (i + 1) / 5) * min(1, (40 - i) / 10), id="warmup-stable-decay"),
        pytest.param(lambda i: 1e-3 * 0.5 * (1 + math.cos(math.pi * (i % 13) / 13)), id="restarts"),
    ],
)
def test_rates_of_usual_schedules(tmp_path: Path, rate: Any) -> None:
    assert judged(tmp_path, _with_rate(rate))["healthy"]


def test_a_constant_rate_is_said_and_no_fault(tmp_path: Path) -> None:
    seen = judged(tmp_path, _with_rate(lambda i: 1e-3))

    assert seen["healthy"]
    assert any("lr is 0.001 on every line" in note for note in seen["notes"])


def _record(schedule: str = "cosine") -> TrainingRecord:
    rates = {"schedule": schedule, "peak": 1e-3, "warmup_steps": 100, "max_steps": 2000, "floor": 0.1}
    return TrainingRecord.model_validate(
        {
            "stage": 4, "step": 2000, "train_rows": 1, "effective_batch": 1, "max_steps": 2000,
            "learning_rates": {"lr": LearningRates.model_validate(rates)},
        }
    )  # fmt: skip


def _cosine(row: dict[str, Any]) -> float:
    done = row["step"] - 1
    course = (done - 100) / 1900
    return 1e-3 * ((done + 1) / 100 if done < 100 else 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * course)))


def test_rates_are_held_against_the_recorded_schedule(tmp_path: Path) -> None:
    rows = [row | {"lr": _cosine(row)} for row in ROWS]

    assert judged(tmp_path, rows, record=_record())["healthy"]
    assert whats(judged(tmp_path, rows, record=_record("linear"))) == {"rate off its schedule"}
    flat = judged(tmp_path, _with_rate(lambda i: 1e-3), record=_record())
    assert whats(flat) == {"rate off its schedule"}
    assert "cosine schedule (training.json)" in flat["findings"][0]["expected"]
