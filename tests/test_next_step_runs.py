"""What the next step knows of the run, at its bounds: its trend, its tier, its stability, and what was heard."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gates.next_step.decode import decode_first
from gates.next_step.hard import first_hard_failure
from gates.next_step.promising import unstable
from gates.next_step.prompts import beside, bit_equal, heard
from gates.next_step.trained import Trained, what_was_trained
from gates.next_step.trend import Trend, logged_gaps, trend_of
from gates.stage3.thresholds import Stage3Thresholds
from harness.files import write_json
from harness.results import GateResult, Measurement
from harness.training_record import TrainingRecord
from tests.next_steps import figure, result

LIMITS = Stage3Thresholds()
NAN = math.nan


# ---------------------------------------------------------------------- trend


def logged(*pairs: tuple[float | None, float | None]) -> tuple[GateResult, ...]:
    found = []
    for i, (first, last) in enumerate(pairs):
        found += [figure(f"delta_{i}_first", first), figure(f"delta_{i}_last", last)]
    return (result("S3.6", "pass", *found, figure("loss_first", 9.0), figure("loss_last", 3.0)),)


@pytest.mark.parametrize(
    ("first", "last", "state"),
    [
        (0.5, 0.56, "growing"), (0.5, 0.54, "plateau"), (1.0, 1.1, "plateau"), (-0.5, 0.01, "growing"),
        (-0.5, 0.0, "plateau"), (-0.5, -0.1, "plateau"), (0.1, 0.1101, "growing"), (0.1, 0.1099, "plateau"),
    ],
)  # fmt: skip
def test_a_gap_grows_by_a_tenth(first: float, last: float, state: str) -> None:
    assert trend_of(logged((first, last)), Trained(), LIMITS).state == state


def test_one_gap_that_grows_is_enough_and_two_are_told() -> None:
    trend = trend_of(logged((0.5, 0.5), (0.1, 0.9), (0.2, 0.2)), Trained(), LIMITS)

    assert trend.state == "growing"
    assert trend.figures == ("delta_0 0.50 to 0.50 in the log", "delta_1 0.10 to 0.90 in the log")


def test_gaps_need_both_ends_and_a_log() -> None:
    assert logged_gaps(logged((0.5, None), (None, 0.5), (0.1, 0.2))) == {"delta_2": (0.1, 0.2)}
    assert trend_of((), Trained(), LIMITS) == Trend("unknown")
    assert trend_of(logged((0.5, NAN)), Trained(), LIMITS) == Trend("unknown")


# ---------------------------------------------------------------------- the run


def record(**changes: Any) -> TrainingRecord:
    fields = {"stage": 3, "step": 100, "train_rows": 8_192, "effective_batch": 32, "max_steps": 600, "stopped": "steps"}
    return TrainingRecord.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("changes", "running", "early"),
    [
        ({"stopped": "running"}, True, True),
        ({"stopped": "running", "step": 255}, True, True),
        ({"stopped": "running", "step": 256}, True, False),
        ({"stopped": "running", "step": 600}, False, False),
        ({"stopped": "running", "train_rows": 2_048, "step": 64}, True, False),
        ({"stopped": "running", "train_rows": 99_999, "step": 256}, True, False),
        ({"stopped": "steps", "step": 1}, False, False),
    ],
)
def test_a_run_is_early_until_it_has_seen_the_rows_of_tier_b(changes: Any, running: bool, early: bool) -> None:
    trained = Trained(record(**changes))

    assert (trained.running, trained.too_early) == (running, early)


def test_of_an_unknown_run_nothing_is_known() -> None:
    unknown = Trained()

    assert (unknown.running, unknown.too_early, unknown.plateaued, unknown.rows_seen) == (False, False, False, 0)
    assert (unknown.tier, unknown.share_of("t2a"), unknown.small_backbone(8.0)) == (None, None, None)
    assert Trained(record()).rows_seen == 3_200


@pytest.mark.parametrize(
    ("name", "small"),
    [("Qwen3-0.6B", True), ("qwen3-8b", False), ("qwen3-7.9b", True), ("tiny-600m", True), ("big-9000m", False),
     ("smollm-135m", True), ("8bit", False), ("llama", False), (7, False)],
)  # fmt: skip
def test_a_backbone_is_small_by_its_name(name: Any, small: bool) -> None:
    assert Trained(record(config={"backbone": name})).small_backbone(8.0) == (name if small else None)


@pytest.mark.parametrize(
    ("shares", "share"),
    [({"t2a": 1, "a2t": 3}, 25.0), ({"t2a": 1, "t2i": 1}, 100.0), ({"a2t": 2}, 0.0), ({"t2a": 0}, None),
     ({"t2a": 0.25, "a2t": 0.5}, pytest.approx(100 / 3)), ({"t2a": "x"}, None), (None, None), ("half", None)],
)  # fmt: skip
def test_the_share_of_tasks_in_the_mix(shares: Any, share: float | None) -> None:
    assert Trained(record(config={"mix": {"shares": shares}})).share_of("t2a", "t2i") == share


def test_the_record_beside_a_checkpoint(tmp_path: Path) -> None:
    bundle: Any = SimpleNamespace(path=tmp_path)

    assert what_was_trained(None, "stage3") == Trained()
    assert what_was_trained(bundle, "stage3") == Trained()
    write_json(tmp_path / "training.json", record().model_dump())
    assert what_was_trained(bundle, "stage3") == Trained(record())
    assert what_was_trained(bundle, "stage4").problem == "training.json tells of stage 3"
    (tmp_path / "training.json").write_text("{}")
    broken = what_was_trained(bundle, "stage3")
    assert broken.record is None
    assert broken.unknown.startswith("training.json cannot be used (")


# ---------------------------------------------------------------------- stage 3, promising


def pair(delta: tuple[float, float, float], wins: tuple[float, float, float], name: str = "shuffled", task: str = "a2t",
         at_least: float = 0.8) -> list[Measurement]:  # fmt: skip
    return [
        figure(f"{task}.delta_{name}", *delta, op=">=", threshold=0.1, unit="nats/token"),
        figure(f"{task}.win_rate_{name}", *wins, op=">=", threshold=at_least, unit="share"),
    ]


STRONG = ((0.5, 0.4, 0.6), (0.95, 0.9, 0.98))


def doubts(*extra: GateResult, **conditions: Any) -> list[str]:
    found = [m for task in ("a2t", "i2t") for name, each in ({"shuffled": STRONG} | conditions).items()
             for m in pair(*each, name, task)]  # fmt: skip
    return unstable((result("S3.4", "pass", *found), *extra), LIMITS)


def test_a_run_is_stable_where_nothing_is_in_doubt() -> None:
    assert doubts(result("S3.6")) == []


def test_what_makes_a_run_unstable() -> None:
    dynamics = result("S3.6")
    assert doubts() == ["S3.6, the training log, was not judged"]
    assert doubts(result("S3.6", "not_run")) == doubts(result("S3.6", "error")) == doubts()
    assert doubts(result("S3.6", "fail"))[0].startswith("S3.6 dynamics is red")
    unproven = doubts(dynamics, swapped=((0.15, 0.05, 0.25), (0.95, 0.9, 0.98)))
    assert unproven == ["a2t Δ swapped and i2t Δ swapped is not proven"]
    assert doubts(dynamics, shuffled=((0.4, 0.3, 0.5), (0.95, 0.9, 0.98))) == []  # a quarter of it
    assert doubts(dynamics, shuffled=((0.4, 0.29, 0.5), (0.95, 0.9, 0.98))) == [
        f"{task} Δ shuffled is known to ± 26 % only" for task in ("a2t", "i2t")
    ]


@pytest.mark.parametrize(
    "delta", [(NAN, 0.4, 0.6), (0.0, 0.2, 0.6), (-0.5, 0.2, 0.6), (0.5, -math.inf, 0.6), (0.5, 0.4, math.inf)]
)
def test_a_spread_may_not_be_known(delta: Any) -> None:
    assert "the spread of a2t Δ shuffled is not known" in doubts(result("S3.6"), shuffled=(delta, STRONG[1]))


def test_without_the_ablation_no_spread_is_known() -> None:
    assert unstable((result("S3.6"),), LIMITS) == [
        f"the spread of {task} Δ shuffled is not known" for task in ("a2t", "i2t")
    ]


def test_three_unproven_figures_are_named() -> None:
    borderline = ((0.15, 0.05, 0.25), (0.85, 0.75, 0.9))
    (told,) = doubts(result("S3.6"), swapped=borderline)

    assert told == "a2t Δ swapped, a2t win rate swapped and i2t Δ swapped is not proven"


# ---------------------------------------------------------------------- stage 4


def prompts(*figures: Measurement) -> GateResult:
    return result("P0.4", "fail", *figures)


def test_a_prompt_is_heard_above_a_coin() -> None:
    def low(value: float) -> GateResult:
        return prompts(figure("t2a.win_rate_shuffled", 0.6, value, 0.9))

    assert heard(low(0.51), "t2a", "shuffled") is True
    assert heard(low(0.5), "t2a", "shuffled") is False
    assert heard(low(0.5), "t2a", "empty") is None


@pytest.mark.parametrize(
    ("delta", "wins", "equal"), [(0.0, 0.0, True), (0.0, 0.5, False), (0.1, 0.0, False), (None, 0.0, False)]
)
def test_losses_are_bit_equal_where_no_example_wins_by_anything(delta: float | None, wins: float, equal: bool) -> None:
    gate = prompts(figure("t2a.delta_empty", delta), figure("t2a.win_rate_empty", wins))

    assert bit_equal(gate, "t2a", "empty") is equal
    assert not bit_equal(prompts(figure("t2a.delta_empty", 0.0)), "t2a", "empty")


def test_words_are_told_of_tasks_that_fell_short() -> None:
    nearest = [figure(f"{task}.win_rate_nearest", 0.4, unit="share") for task in ("t2a", "t2i")]
    short = figure("t2a.win_rate_shuffled", 0.5, 0.4, 0.6, op=">=", threshold=0.7)
    proven = figure("t2i.win_rate_shuffled", 0.9, 0.8, 0.95, op=">=", threshold=0.7)

    assert beside(prompts(short, proven, *nearest)) == ("t2a win rate nearest 0.40",)


def test_a_single_hard_failure_is_found_and_of_several_the_first_comes_first() -> None:
    bundle, identity = result("P0.0", "fail"), result("P0.1", "fail")
    one, two = first_hard_failure((bundle,), ["P0.1", "P0.0"]), first_hard_failure((bundle, identity), ["P0.1", "P0.0"])

    assert one is not None
    assert two is not None
    assert (one.why, two.why) == ("Found", "P0.1 identity comes first")
    assert first_hard_failure((result("P0.0"),), ["P0.0"]) is None


def test_the_first_fault_in_the_order_of_mending_is_named() -> None:
    rows = [["empty output", 1, 2], ["codebook mismatch", 3, None], ["length mismatch", 9, 9], ["cut off", 1, 1]]
    gate = result(
        "P0.3", "fail", figure("t2a.decode_success_rate", 50.0, op=">=", threshold=100), tables=[{"rows": rows}]
    )
    step = decode_first(gate, constrained=False)

    assert step is not None
    assert "first of all for “empty output”" in step.why
    assert step.figures[1:3] == ("empty output 3", "codebook mismatch 3")
    assert len(step.figures) <= 4
