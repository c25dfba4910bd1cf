"""Rules on the tasks of a training log, at their bounds, and what either stage asks of all of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gates.dynamics import (
    FINDINGS,
)
from gates.dynamics_tasks import (
    judge_ablation_gaps,
    judge_agreement,
    judge_read_losses,
    judge_write_losses,
    task_keys,
)
from gates.gate import Accept
from gates.stage3.test_s36_dynamics import judge_stage3_log
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4.test_p15_dynamics import judge_stage4_log
from gates.stage4.thresholds import Stage4Thresholds
from harness.dynamics_losses import MeasuredLoss, Uniform
from harness.errors import MissingInputError
from tests.accepting import accepting, notes
from tests.curves import curve, log_of
from tests.log_rules import FALLING, GROWING, LIMITS, told, value

# ---------------------------------------------------------------------- tasks


def test_tasks_without_a_loss_are_told() -> None:
    accept = accepting()
    keys = task_keys(accept, log_of({"t2a_avg": curve([1.0])}), ("t2a", "t2i"))

    assert keys == {"t2a": "t2a_avg"}
    assert notes(accept) == "The log holds no training loss of t2i."
    quiet = accepting()
    task_keys(quiet, log_of({"t2a_avg": curve([1.0])}), ("t2a",))
    assert quiet.details == {}


def writes(values: Sequence[float] | np.ndarray, ranges: dict[Any, float] | None = None) -> Accept:
    accept = accepting()
    uniform = Uniform(12.0, {"t2a": 7.0} if ranges is None else ranges)
    log = log_of({"t2a_avg": curve(values)})
    judge_write_losses(accept, log, {"t2a": "t2a_avg"}, uniform, LIMITS, max_share=0.9, max_first_share=1.5)
    return accept


def test_a_write_loss_between_uniform_guesses() -> None:
    accept = writes(np.concatenate([np.full(10, 11.0), np.full(30, 3.0)]))

    assert value(accept, "t2a.loss_of_uniform_range") == (pytest.approx(3 / 7), 40)
    assert value(accept, "t2a.start_of_uniform_vocabulary") == (pytest.approx(11 / 12), 40)
    assert accept.failures == []


def test_a_write_loss_that_ends_near_uniform_or_begins_above_it() -> None:
    assert told(writes(np.full(40, 6.5))) == [("write loss near uniform", "t2a_avg", 40, 6.5)]
    started = writes(np.concatenate([np.full(10, 20.0), np.full(30, 3.0)]))
    assert told(started) == [("first losses implausible", "t2a_avg", 1, 20.0)]
    assert "at most 1.5 of 12" in started.failures[0]
    assert "at most 0.9 of 7" in writes(np.full(40, 6.5)).failures[0]


def test_a_write_loss_without_reference_or_values_is_not_judged() -> None:
    assert writes(np.full(40, 6.5), {}).measurements == []
    assert writes([math.nan]).measurements == []
    accept = accepting()
    log = log_of({"t2i_avg": curve([math.nan]), "t2a_avg": curve(FALLING)})
    uniform = Uniform(12.0, {"t2i": 7.0, "t2a": 7.0})
    keys: dict[Any, str] = {"t2i": "t2i_avg", "t2a": "t2a_avg"}
    judge_write_losses(accept, log, keys, uniform, LIMITS, max_share=0.9, max_first_share=1.5)
    assert [m.name for m in accept.measurements] == ["t2a.loss_of_uniform_range", "t2a.start_of_uniform_vocabulary"]


def reads(values: Sequence[float] | np.ndarray) -> Accept:
    accept = accepting()
    judge_read_losses(
        accept, log_of({"a2t_avg": curve(values)}), {"a2t": "a2t_avg"}, LIMITS,
        floor_nats=0.25, notable_nats=0.5, max_cliff_pct=50.0,
    )  # fmt: skip
    return accept


@pytest.mark.parametrize(
    ("end", "gone", "noted"), [(0.2, True, False), (0.25, False, True), (0.5, False, False), (0.6, False, False)]
)
def test_a_read_loss_that_falls_to_nothing(end: float, gone: bool, noted: bool) -> None:
    accept = reads(np.full(40, end))

    assert value(accept, "read_losses_gone") == (int(gone), 1)
    assert told(accept) == ([("read loss gone", "a2t_avg", 40, end)] if gone else [])
    assert ("or a leak" in notes(accept)) is noted


def test_a_read_loss_that_falls_off_a_cliff() -> None:
    values = np.full(40, 4.0)
    values[20:] = 1.9
    accept = reads(values)

    assert told(accept) == [("read loss falls off a cliff", "a2t_avg", 21, 1.9)]
    assert "at most 50 % less than the 4 of the line before" in accept.details[FINDINGS][0]["expected"]
    values[20:] = 2.01
    assert told(reads(values)) == []
    values[20:] = 1.99
    assert len(told(reads(values))) == 1
    values[:] = 4.0 * 0.9 ** np.arange(40)
    values[20:] *= 0.5
    (found,) = [each for each in reads(values).details[FINDINGS] if "cliff" in each["what"]]
    assert (found["step"], found["expected"]) == (21, f"at most 50 % less than the {values[19]:.4g} of the line before")
    noisy = 4.0 * np.exp(np.random.default_rng(3).normal(size=40))
    assert told(reads(noisy)) == []  # half of it goes from many lines to the next


def test_read_losses_without_values_are_counted_and_not_judged() -> None:
    assert value(reads([math.nan]), "read_losses_gone") == (0, 1)
    accept = accepting()
    log = log_of({"a2t_avg": curve([math.nan]), "i2t_avg": curve(np.full(40, 0.1))})
    judge_read_losses(
        accept, log, {"a2t": "a2t_avg", "i2t": "i2t_avg"}, LIMITS,
        floor_nats=0.25, notable_nats=0.5, max_cliff_pct=50.0,
    )  # fmt: skip
    assert told(accept) == [("read loss gone", "i2t_avg", 40, 0.1)]


def ablation_gaps(**series: Sequence[float]) -> tuple[Accept, list[MissingInputError]]:
    accept = accepting()
    log = log_of({key: curve(values, first=10, stride=10) for key, values in series.items()})
    return accept, judge_ablation_gaps(accept, log, min_last_nats=0.1, max_drop_pct=25.0)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((0.1, 0.4), []),
        ((1.0, 0.75), []),
        ((1.0, 0.749), [("gap shrinks", "delta_shuffle_a2t", 20, 0.749)]),
        ((1.0, 0.751), []),
        ((0.4, 0.29), [("gap shrinks", "delta_shuffle_a2t", 20, 0.29)]),
        ((0.05, 0.1), [("no gap", "delta_shuffle_a2t", 20, 0.1)]),
        ((0.05, 0.11), []),
        ((0.1, 0.8, 0.5), [("gap shrinks", "delta_shuffle_a2t", 30, 0.5)]),
    ],
)
def test_gaps_grow_or_hold(values: tuple[float, ...], found: list[tuple[str, str, int, float]]) -> None:
    accept, unmeasured = ablation_gaps(delta_shuffle_a2t=values)

    assert unmeasured == []
    assert told(accept) == found
    assert value(accept, "delta_shuffle_a2t_first") == (values[0], len(values))
    assert value(accept, "delta_shuffle_a2t_last") == (values[-1], len(values))
    assert value(accept, "gaps_that_shrink") == (len(found), 1)


def test_the_largest_gap_is_named_with_its_step() -> None:
    accept, _ = ablation_gaps(delta_noise_i2t=(0.1, 0.8, 0.5))

    assert accept.details[FINDINGS][0]["expected"] == "at most 25 % below the 0.8 of step 20"


def test_gaps_of_write_tasks_or_of_one_evaluation_do_not_tell() -> None:
    for series in ({}, {"delta_shuffle_a2t": (0.4,)}, {"delta_empty_t2a": (0.1, 0.2)},
                   {"delta_shuffle_a2t": (0.4, math.nan)}):  # fmt: skip
        accept, unmeasured = ablation_gaps(**series)
        assert accept.measurements == []
        assert len(unmeasured) == 1
    accept, unmeasured = ablation_gaps(delta_shuffle=(0.1, 0.2))
    assert value(accept, "gaps_that_shrink") == (0, 1)


@dataclass
class Checkpoint:
    """What of one the rule on the loss now looks at."""

    measured: MeasuredLoss | None
    max_examples: int | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)
    bundle = SimpleNamespace(step=40)

    @property
    def settings(self) -> Any:
        return SimpleNamespace(max_examples=self.max_examples)

    def held_out_loss(self, task: str, n: int) -> MeasuredLoss | None:
        self.asked.append((task, n))
        return self.measured


def agreement(key: str, logged: float, now: float | None, *, source: str = "dev", smoke: int | None = None) -> Accept:
    accept = accepting()
    measured = None if now is None else MeasuredLoss("a2t", now, 64, source)
    log = log_of({key: curve([9.0, logged], first=39), "t2a_avg": curve([math.nan])})
    judge_agreement(accept, Checkpoint(measured, smoke), log, ("i2t", "t2a", "a2t"), LIMITS)  # type: ignore[arg-type]
    return accept


@pytest.mark.parametrize(
    ("logged", "now", "agrees"),
    [
        (1.0, 1.009, True),
        (1.0, 0.9901, True),
        (0.5, 0.509, True),
        (0.5, 0.511, False),
        (5.0, 5.049, True),
        (5.0, 5.06, False),
        (100.2, 101.21, True),
        (100.2, 101.215, False),
    ],
)
def test_a_dev_loss_agrees_within_a_hundredth(logged: float, now: float, agrees: bool) -> None:
    accept = agreement("dev_loss_a2t", logged, now)

    assert not accept.failures if agrees else accept.failures
    assert value(accept, "a2t.logged_loss_off") == (pytest.approx(abs(logged - now)), 64)
    assert "(the dev loss)" in notes(accept)
    if not agrees:
        assert told(accept) == [("logged loss is not the loss now", "dev_loss_a2t", 40, logged)]


@pytest.mark.parametrize(
    ("logged", "now", "agrees"),
    [
        (1.0, 1.9, True),
        (1.0, 2.1, False),
        (2.1, 1.0, False),
        (1.9, 1.0, True),
        (0.05, 0.149, True),
        (0.05, 0.151, False),
    ],
)
def test_an_average_of_training_agrees_within_a_factor(logged: float, now: float, agrees: bool) -> None:
    accept = agreement("a2t_avg", logged, now, source="golden")

    assert not accept.failures if agrees else accept.failures
    assert "(the average of training)" in notes(accept)


@pytest.mark.parametrize(
    ("trained", "off"),
    [(4.0, 3.0), (2.05, 1.05), (1.9, None), (0.2, None)],
)
def test_beside_a_dev_loss_an_average_of_training_is_no_multiple_of_the_loss_now(
    trained: float, off: float | None
) -> None:
    accept = accepting()
    log = log_of({"dev_loss_a2t": curve([1.0], first=40), "a2t_avg": curve([9.0, trained], first=39)})
    judge_agreement(accept, Checkpoint(MeasuredLoss("a2t", 1.0, 64, "dev")), log, ("a2t",), LIMITS)  # type: ignore[arg-type]

    assert value(accept, "a2t.logged_loss_off") == (0.0, 64)
    far = [("logged loss is not the loss now", "a2t_avg", 40, trained)]
    assert told(accept) == (far if off else [])
    # Far below the loss now it may be: what was trained on is known better.
    assert ("training_loss_off" in names(accept)) is (trained > 1.0)


def test_without_a_dev_loss_an_average_of_training_is_compared_once() -> None:
    accept = agreement("a2t_avg", 1.5, 1.0)
    assert [m.name for m in accept.measurements] == ["a2t.training_loss_off"]


def test_losses_that_cannot_be_compared_are_told() -> None:
    for accept in (
        agreement("dev_loss_a2t", 1.0, 9.0, source="golden"),
        agreement("dev_loss_a2t", 1.0, 9.0, smoke=3),
    ):
        assert accept.measurements == []
        assert "dev_loss_a2t is of 128 dev examples, which were not measured." in notes(accept)
    none = agreement("a2t_avg", 1.0, None)
    assert none.measurements == []
    assert "a2t_avg was not compared" in notes(none)
    assert agreement("a2t_avg", math.nan, 1.0).details == {}


# ---------------------------------------------------------------------- both stages


def names(accept: Accept) -> set[str]:
    """Of what was judged, and of the ablation gaps; the first and last of every curve are shown beside them."""
    found = [m.name.rpartition(".")[2] for m in accept.measurements]
    return {name for name in found if not name.endswith(("_first", "_last")) or name.startswith("delta_")}


SHARED = {"not_a_number", "lines_out_of_order", "gaps", "loss_spikes", "losses_risen", "losses_stuck",
          "losses_that_do_not_fall", "norm_jumps", "rates_off"}  # fmt: skip
BESIDE = {"emb_norm_mean": curve(GROWING), "lr": curve(np.linspace(1, 0.1, 40))}


def test_stage_4_judges_write_losses_and_read_losses() -> None:
    accept = accepting()
    log = log_of({"t2a_avg": curve(FALLING), "a2t_avg": curve(FALLING), **BESIDE})
    unmeasured = judge_stage4_log(accept, log, Uniform(12.0, {"t2a": 7.0}), None, 40, Stage4Thresholds())

    assert unmeasured == []
    assert names(accept) == SHARED | {"loss_of_uniform_range", "start_of_uniform_vocabulary", "read_losses_gone"}
    assert accept.failures == []
    assert value(accept, "losses_that_do_not_fall")[1] == 1


def test_stage_4_without_write_losses_or_a_token_space_is_not_judged_in_full() -> None:
    accept = accepting()
    unmeasured = judge_stage4_log(accept, log_of({"a2t_avg": curve(FALLING)}), None, None, 40, Stage4Thresholds())

    assert [each.found for each in unmeasured] == ["no training loss of t2a or t2i"]
    assert "loss_of_uniform_range" not in names(accept)


def test_stage_3_judges_reading_and_its_gap() -> None:
    accept = accepting()
    gap = curve([0.1, 0.4], first=20, stride=20)
    log = log_of({"loss": curve(np.full(40, 5.0)), "a2t_avg": curve(FALLING), "delta_shuffle_a2t": gap, **BESIDE})
    limits = Stage3Thresholds(max_equal_share=1.5)
    unmeasured = judge_stage3_log(accept, log, None, 40, limits)

    assert unmeasured == []
    assert accept.failures == []  # by task the loss falls: the overall one need not
    assert names(accept) == SHARED | {"gaps_that_shrink", "delta_shuffle_a2t_first", "delta_shuffle_a2t_last"}


def test_stage_3_without_losses_by_task_takes_the_one_over_all() -> None:
    accept = accepting()
    flat = judge_stage3_log(accept, log_of({"loss": curve(np.full(40, 5.0))}), None, 40, Stage3Thresholds())

    assert ("flat loss", "loss", 40, 5.0) in told(accept)
    assert len(flat) == 1  # no ablation gaps
    nothing = judge_stage3_log(accepting(), log_of({"lr": curve(FALLING)}), None, 40, Stage3Thresholds())
    assert [each.found for each in nothing][-1] == "no training loss"
