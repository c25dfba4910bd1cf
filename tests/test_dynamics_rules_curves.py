"""Rules on the curves of a training log, at their bounds: losses, norms, learning rates."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from gates.dynamics import (
    FINDINGS,
)
from gates.dynamics_curves import judge_losses, judge_movement, judge_norms, judge_rates
from gates.dynamics_thresholds import LogThresholds
from gates.gate import Accept
from harness.dynamics import levels
from harness.train_log_merge import Series
from harness.training_record import LearningRates, TrainingRecord
from tests.accepting import accepting, notes
from tests.curves import curve, log_of
from tests.log_rules import FALLING, GROWING, LIMITS, told, value

# ---------------------------------------------------------------------- losses


def losses_of(values: Sequence[float] | np.ndarray, limits: LogThresholds = LIMITS, key: str = "loss") -> Accept:
    accept = accepting()
    judge_losses(accept, log_of({key: curve(values), "lr": curve(np.ones(3))}), limits)
    return accept


def test_a_healthy_loss() -> None:
    accept = losses_of(FALLING)

    assert value(accept, "loss_spikes") == (0, 40)
    assert value(accept, "losses_risen") == value(accept, "losses_stuck") == (0, 1)


def test_a_spike_is_told_with_what_came_before() -> None:
    values = FALLING.copy()
    values[20] *= 3
    accept = losses_of(values)

    assert value(accept, "loss_spikes")[0] == 1
    assert told(accept) == [("spike", "loss", 21, pytest.approx(values[20]))]
    assert f"about {np.median(values[15:20]):.4g} as before" in accept.details[FINDINGS][0]["expected"]


def test_what_came_before_a_spike_is_all_there_is_where_it_comes_early() -> None:
    values = np.full(40, 3.0)
    values[:4] = [3.3, 3.1, 3.0, 9.0]

    found = losses_of(values).details[FINDINGS][0]
    assert (found["step"], found["expected"].split(" (")[0]) == (4, "about 3.1 as before")


def test_a_step_up_that_stays_is_a_spike_of_its_first_line() -> None:
    values = np.full(40, 3.0)
    values[20:] *= 1.2

    assert ("spike", "loss", 21) in [each[:3] for each in told(losses_of(values))]


def test_a_loss_is_judged_by_what_is_left_of_it() -> None:
    accept = losses_of([math.nan, -1.0])

    assert value(accept, "loss_spikes") == (0, 0)
    assert value(accept, "losses_risen") == (0, 0)


def risen(end: float, best: float = 1.0, **changes: float) -> bool:
    values = np.concatenate([np.full(35, best), np.full(5, end)])
    limits = LIMITS.model_copy(update={"max_line_score": 1e9, **changes})
    return ("risen loss", "loss", 40, end) in told(losses_of(values, limits))


def test_a_risen_loss_exceeds_all_three_bounds() -> None:
    assert risen(1.2)
    assert not risen(1.05)  # per cent
    assert not risen(0.024, 0.02)  # nats
    assert not risen(1.2, loss_noise_floor=0.2)  # noise
    assert risen(1.2, max_loss_rise_pct=19.9)
    assert not risen(1.25, max_loss_rise_pct=25.0)
    assert not risen(1.25, max_loss_rise_nats=0.25)
    assert risen(1.25, max_loss_rise_nats=0.24)


@pytest.mark.parametrize(("n", "length", "stuck"), [(8, 5, True), (8, 4, False), (40, 20, True), (40, 19, False)])
def test_a_stuck_loss_is_one_value_for_five_lines_and_half_of_all(n: int, length: int, stuck: bool) -> None:
    values = np.linspace(4.0, 3.0, n)
    values[2 : 2 + length] = values[2]
    limits = LIMITS.model_copy(update={"max_line_score": 1e9})
    accept = losses_of(values, limits)

    assert value(accept, "losses_stuck")[0] == stuck
    if stuck:
        assert told(accept) == [("stuck loss", "loss", 3, f"{values[2]:.6g} {length} times in a row")]


def movement(values: Sequence[float] | np.ndarray, *, first: int = 1, counted: bool = True, **changes: float) -> Accept:
    accept = accepting()
    log = log_of({"loss": curve(values, first=first)}, counted=counted)
    judge_movement(accept, log, ["loss"], LIMITS.model_copy(update=changes), min_fall_pct=10.0)
    return accept


def fallen(share: float, n: int = 40) -> np.ndarray:
    """A loss whose last quarter is a share of the rest."""
    return np.concatenate([np.full(n - n // 4, 2.0), np.full(n // 4, 2.0 * share)])


def test_a_loss_that_falls_as_asked() -> None:
    accept = movement(fallen(0.8))

    assert value(accept, "losses_that_do_not_fall") == (0, 1)
    assert (accept.unclear, accept.failures) == ([], [])


def test_a_loss_that_falls_by_less_is_flat() -> None:
    accept = movement(fallen(0.95))

    assert told(accept) == [("flat loss", "loss", 40, pytest.approx(1.9))]
    assert "at least 10 % below the 2 it began at" in accept.details[FINDINGS][0]["expected"]
    assert accept.unclear == []


def test_a_fall_of_nearly_as_much_is_not_enough() -> None:
    assert [each[0] for each in told(movement(fallen(0.9005)))] == ["flat loss"]


def test_losses_behind_one_that_is_hardly_logged_are_judged() -> None:
    accept = accepting()
    log = log_of({"loss": curve([2.0]), "t2a_avg": curve(fallen(1.0))})
    judge_movement(accept, log, ["loss", "t2a_avg"], LIMITS, min_fall_pct=10.0)

    assert [each[:2] for each in told(accept)] == [("flat loss", "t2a_avg")]


def test_a_fall_of_just_so_much_is_enough() -> None:
    assert movement(fallen(0.5), max_line_score=1e9).failures == []
    accept = accepting()
    judge_movement(accept, log_of({"loss": curve(fallen(0.5))}), ["loss"], LIMITS, min_fall_pct=50.0)
    assert (accept.failures, accept.unclear) == ([], [])


def test_of_few_lines_a_fall_that_is_not_seen_is_unclear_and_one_far_from_it_is_flat() -> None:
    near = movement(fallen(0.91, 12))
    assert near.failures == []
    assert len(near.unclear) == 1
    assert "12 lines with this noise are too few to tell" in near.unclear[0]
    assert "loss is 1.82 at step 12" in near.unclear[0]
    far = movement(fallen(0.999, 12))
    assert [each[0] for each in told(far)] == ["flat loss"]
    assert far.unclear == []


@pytest.mark.parametrize(("may_be_pct", "flat"), [(9.95, True), (10.05, False)])
def test_of_few_lines_a_fall_is_flat_where_its_error_does_not_reach_what_is_asked(
    may_be_pct: float, flat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = fallen(0.95, 12)
    seen = levels(curve(values), LIMITS.loss_noise_floor)
    edge = dataclasses.replace(seen, fall_error=may_be_pct / 100 - seen.fall)
    monkeypatch.setattr("gates.dynamics_curves.levels", lambda *_: edge)

    accept = movement(values)
    assert (bool(accept.failures), bool(accept.unclear)) == (flat, not flat)


@pytest.mark.parametrize(("n", "flat"), [(29, False), (30, True)])
def test_thirty_lines_make_a_trend(n: int, flat: bool) -> None:
    # Noise of a tenth, and a fall of nearly ten per cent: of thirty lines that is flat, of fewer it is unclear.
    accept = movement(fallen(0.92, n), loss_noise_floor=0.1)

    assert bool(accept.failures) is flat
    assert bool(accept.unclear) is not flat


def test_a_fall_that_noise_could_make_is_unclear() -> None:
    for accept in (movement(fallen(0.8, 12), loss_noise_floor=0.2), movement(fallen(0.8), min_loss_fall_score=99.0)):
        assert accept.failures == []
        assert len(accept.unclear) == 1


def test_a_fall_that_is_no_more_than_noise_is_flat_however_large() -> None:
    rng = np.random.default_rng(5)
    values = np.exp(rng.normal(size=60))
    values[-10:] = np.median(values[:10]) * 0.8
    accept = movement(values, max_flat_loss_score=99.0, min_loss_fall_score=99.0)

    assert [each[0] for each in told(accept)] == ["flat loss"]


def test_one_line_does_not_tell_whether_it_moves() -> None:
    accept = movement([2.0])

    assert value(accept, "losses_that_do_not_fall") == (0, 0)
    assert "logged at 1 step" in notes(accept)
    assert value(movement([2.0, 1.0]), "losses_that_do_not_fall")[1] == 1


def test_of_a_log_that_begins_late_no_fall_is_asked() -> None:
    late = movement(fallen(1.0), first=20)
    assert late.measurements == []
    assert "the log begins later" in notes(late)
    assert movement(fallen(1.0), first=20, counted=False).failures


# ---------------------------------------------------------------------- norms, rates


def norms_of(values: Sequence[float] | np.ndarray, **changes: float) -> Accept:
    accept = accepting()
    judge_norms(accept, log_of({"emb_norm_mean": curve(values)}), LIMITS.model_copy(update=changes))
    return accept


def test_norms_that_grow_smoothly() -> None:
    assert value(norms_of(GROWING), "norm_jumps") == (0, 40)


@pytest.mark.parametrize("factor", [1.5, 1 / 1.5])
def test_a_norm_that_stands_out_either_way(factor: float) -> None:
    values = GROWING.copy()
    values[20] *= factor
    found = told(norms_of(values))

    assert ("norm jump", "emb_norm_mean", 21) in [each[:3] for each in found]
    assert f"about {values[19]:.4g} as before" in norms_of(values).details[FINDINGS][0]["expected"]


def test_a_norm_that_steps_and_stays() -> None:
    values = GROWING.copy()
    values[20:] *= 1.3

    assert [each[:3] for each in told(norms_of(values))] == [("norm jump", "emb_norm_mean", 21)]


def test_norms_beyond_measure_are_held_against_a_tenth_of_the_log() -> None:
    def ends(last: float) -> list[str]:
        values = np.exp(np.linspace(0, math.log(last), 45))
        return [what for what, *_ in told(norms_of(values, max_line_score=1e9))]

    begun = 44 / 40  # of the growth from line 4 to the last
    assert ends(10.1**begun) == ["norm blown up or gone"]
    assert ends(9.9**begun) == []
    assert ends(10.1**-begun) == ["norm blown up or gone"]
    accept = norms_of(np.exp(np.linspace(0, math.log(100), 45)))
    assert "of step 5" in accept.details[FINDINGS][-1]["expected"]
    assert told(accept)[-1] == ("norm blown up or gone", "emb_norm_mean", 45, pytest.approx(100))
    assert told(norms_of([1.0, *np.full(9, 20.0)], max_line_score=1e9)) == []  # of ten lines the second is the first


def test_norms_that_never_move_are_dead_where_there_are_lines_enough() -> None:
    assert told(norms_of(np.ones(5))) == [("dead norms", "emb_norm_mean", 5, 1.0)]
    assert told(norms_of(np.ones(4))) == []


def test_one_norm_that_moves_is_enough() -> None:
    accept = accepting()
    judge_norms(accept, log_of({"emb_norm_mean": curve(np.ones(40)), "head_norm_mean": curve(GROWING)}), LIMITS)

    assert value(accept, "norm_jumps") == (0, 80)


@pytest.mark.parametrize("series", [{}, {"emb_norm_mean": curve([math.nan])}])
def test_a_log_without_norms_says_so(series: dict[str, Series]) -> None:
    accept = accepting()
    judge_norms(accept, log_of({"loss": curve(FALLING), **series}), LIMITS)

    assert accept.measurements == []
    assert "no norms" in notes(accept)


def rates_of(values: Sequence[float] | np.ndarray, record: TrainingRecord | None = None) -> Accept:
    accept = accepting()
    judge_rates(accept, log_of({"lr": curve(values)}), record, LIMITS)
    return accept


def declared(peak: float) -> TrainingRecord:
    rates = {"lr": LearningRates(schedule="constant", peak=peak, warmup_steps=0, max_steps=40)}
    return TrainingRecord(stage=4, step=40, train_rows=1, effective_batch=1, max_steps=40, learning_rates=rates)


def test_a_recorded_schedule_is_held_to_by_a_share_of_its_peak() -> None:
    values = np.full(40, 2.0)
    values[[3, 5]] = [2.0199, 1.9799]
    accept = rates_of(values, declared(2.0))

    assert told(accept) == [("rate off its schedule", "lr", 6, 1.9799)]
    assert value(accept, "rates_off") == (1, 40)
    assert accept.details[FINDINGS][0]["expected"].startswith("2 by its constant schedule")


def test_rates_without_a_record() -> None:
    assert value(rates_of(np.linspace(1, 0.1, 40)), "rates_off") == (0, 40)
    assert told(rates_of([1.0, -1.0, 1.0])) == [("negative rate", "lr", 2, -1.0)]
    assert told(rates_of([1.0, 0.5, 0.0])) == []
    jumped = rates_of([*np.full(10, 1.0), *np.full(10, 5.0)])
    assert told(jumped) == [("rate jumps", "lr", 11, 5.0)]
    assert rates_of([math.nan]).failures == []
    assert "no learning rate" in notes(_no_rates())


def _no_rates() -> Accept:
    accept = accepting()
    judge_rates(accept, log_of({"loss": curve(FALLING)}), None, LIMITS)
    assert accept.measurements == []
    return accept


@pytest.mark.parametrize(
    ("n", "zeros", "found"), [(10, 3, True), (10, 2, False), (40, 4, True), (40, 3, False), (101, 10, False)]
)
def test_a_rate_of_nothing_for_three_lines_and_a_tenth_of_all(n: int, zeros: int, found: bool) -> None:
    values = np.linspace(1, 0.5, n)
    values[n - zeros :] = 1e-10  # below a share of 1e-9 of the peak

    assert told(rates_of(values)) == ([("rate of 0", "lr", n - zeros + 1, f"0 on {zeros} lines")] if found else [])


def test_a_small_rate_is_no_rate_of_nothing() -> None:
    assert told(rates_of([1.0, 0.5, 2e-9, 2e-9, 2e-9])) == []
    assert told(rates_of([1e-6, 1e-6, 1e-15, 1e-15])) == []


def test_a_constant_rate_is_said() -> None:
    assert "lr is 0.5 on every line" in notes(rates_of([0.5] * 3))
    assert "every line" not in notes(rates_of([0.5] * 2))
    assert "every line" not in notes(rates_of([0.5, 0.5, 0.4]))
