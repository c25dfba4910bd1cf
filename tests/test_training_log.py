"""train_log.jsonl: lines are added, a resume takes back those of steps that are trained again, nothing is NaN."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.errors import HarnessError
from training.log import TrainLog, check_finite, norms
from training.rows import SplitEmbedding, SplitHead


@pytest.fixture
def log(tmp_path: Path) -> TrainLog:
    """A log of steps 0, 2, 4, an evaluation of 4, and 6."""
    log = TrainLog(tmp_path / "train_log.jsonl")
    log.start(0)
    for step, values in ((0, {"delta": 0.0}), (2, {"loss": 1.5}), (4, {"loss": 1.25}), (4, {"delta": 0.5}), (6, {})):
        log.append(step, values)
    return log


def _steps(log: TrainLog) -> list[int]:
    return [json.loads(line)["step"] for line in log.lines()]


def test_a_line_holds_its_step_first_and_its_values_as_they_are(log: TrainLog) -> None:
    assert log.path.read_text().splitlines()[1] == '{"step": 2, "loss": 1.5}'
    assert _steps(log) == [0, 2, 4, 4, 6]


def test_a_resume_keeps_lines_up_to_its_step_with_the_evaluation_there(log: TrainLog) -> None:
    log.start(4)
    assert _steps(log) == [0, 2, 4, 4]

    log.append(6, {"loss": 1.0})
    assert json.loads(log.lines()[-1]) == {"step": 6, "loss": 1.0}


def test_a_run_that_begins_begins_its_log(log: TrainLog) -> None:
    log.start(0)

    assert log.path.read_text() == ""


def test_a_line_that_a_crash_cut_short_is_dropped_by_a_resume(log: TrainLog) -> None:
    with log.path.open("a") as file:
        file.write('{"step": 8, "lo')
    assert _steps(log) == [0, 2, 4, 4, 6]

    log.start(6)
    log.append(8, {})
    assert _steps(log) == [0, 2, 4, 4, 6, 8]


def test_a_resume_without_a_log_starts_one(tmp_path: Path) -> None:
    log = TrainLog(tmp_path / "train_log.jsonl")
    log.start(50)

    assert (log.lines(), log.path.is_file()) == ([], True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_line_holds_what_json_does_not(value: float, log: TrainLog) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.append(8, {"loss": value})

    assert _steps(log) == [0, 2, 4, 4, 6]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_named_with_step_and_cure(value: float) -> None:
    said = r"training, step 7: found a, c not finite; expected finite losses.*Lower optim\.lr_rows"
    with pytest.raises(HarnessError, match=said):
        check_finite(7, {"a": value, "b": 1.0, "c": value}, "training")

    check_finite(7, {"b": 1e30}, "training")


def test_norms_are_of_the_new_rows_alone() -> None:
    text = torch.full((5, 4), 100.0)
    embedding = SplitEmbedding(text, nn.Parameter(torch.tensor([[3.0, 4, 0, 0], [0, 0, 0, 1]]).bfloat16()))
    head = SplitHead(text, nn.Parameter(torch.full((3, 4), 2.0)))

    assert norms(embedding, head) == {
        "emb_norm_mean": 3.0,
        "emb_norm_std": pytest.approx(2.0 * 2**0.5),
        "head_norm_mean": 4.0,
        "head_norm_std": 0.0,
    }
