"""Figures of a log beside its curves, to the digit: its steps, its learning rates, and the loss at its end."""

import math

import numpy as np
import pytest

from harness.dynamics_losses import LoggedLoss, logged_loss, measure_loss
from harness.dynamics_rates import expected_rates, longest_zero, rate_jumps
from harness.dynamics_steps import Gap, begins_after, ends_before, gaps, silences, steps_of
from harness.examples import Task
from harness.token_space import TokenSpace
from harness.train_log_merge import Series
from harness.training_record import LearningRates
from tests.curves import curve, log_of
from tests.packed import example

MEDIAN_ERROR = math.sqrt(math.pi / 2)  # of a median over that of a mean, normal noise


# ---------------------------------------------------------------------- steps


def steps_at(distances: list[int], first: int = 10) -> np.ndarray:
    return np.cumsum([first, *distances])


@pytest.mark.parametrize(("distance", "n"), [(15, 0), (16, 1)])
def test_a_gap_is_more_than_the_factor(distance: int, n: int) -> None:
    assert len(gaps(steps_at([10, 10, 10, distance, 10, 10, 10]), 1.5)) == n


def test_four_lines_have_a_usual_distance_and_three_have_none() -> None:
    assert gaps(steps_at([10, 10, 70]), 1.5) == [Gap(30, 100, 10.0)]
    assert gaps(steps_at([10, 70]), 1.5) == []


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("distance", "n"), [(45, 0), (46, 1)])
def test_what_is_usual_is_the_longer_side_of_five(turned: bool, distance: int, n: int) -> None:
    side = [10, 10, 30, 30, 30, 10, 10]  # the median of the nearest five is 30, of four or six it is 20
    distances = [*side, distance, *([10] * 8)]

    found = gaps(steps_at(distances[::-1] if turned else distances), 1.5)

    assert len([gap for gap in found if gap.stop - gap.start == distance]) == n


def test_a_shorter_last_distance_is_not_usual() -> None:
    # 60 and 20: without the last one 60 is what comes after 50.
    assert gaps(steps_at([50, 50, 50, 60, 20]), 1.1) == [Gap(160, 220, 50.0)]
    assert gaps(steps_at([50, 50, 50, 50, 50]), 1.5) == []
    assert gaps(steps_at([20, 20, 20, 60, 30]), 1.5) == [Gap(70, 130, 20.0)]  # shorter than the one before it is enough


def test_a_log_that_goes_on_more_seldom_has_no_gap_at_its_end() -> None:
    assert gaps(steps_at([20, 20, 60, 60, 60, 60]), 1.4) == []


def test_a_log_by_the_clock_has_to_stand_out_from_its_own_spread() -> None:
    distances = [10, 14, 6, 12, 8, 10, 14, 6, 12, 8]  # a robust deviation of 1.4826 * 2
    spread = 6 * 1.4826 * 2

    assert gaps(steps_at([*distances, 10 + int(spread), *distances]), 1.5) == []
    assert len(gaps(steps_at([*distances, 12 + int(spread), *distances]), 1.5)) == 1


@pytest.mark.parametrize(("first", "late"), [(15, False), (16, True)])
def test_a_log_begins_late_beyond_the_factor(first: int, late: bool) -> None:
    assert begins_after(steps_at([10, 10, 10, 30, 30, 30, 30, 30], first), 1.5) is late
    assert begins_after(steps_at([10], first), 1.5) is late
    assert not begins_after(np.array([first]), 0.1)


@pytest.mark.parametrize(("beyond", "found"), [(15, False), (16, True)])
def test_a_log_ends_early_beyond_the_factor(beyond: int, found: bool) -> None:
    steps = steps_at([30, 30, 30, 30, 30, 10, 10, 10])
    last = int(steps[-1])

    assert ends_before(steps, last + beyond, 1.5) == (Gap(last, last + beyond, 10.0) if found else None)
    assert ends_before(steps[-1:], last + beyond, 1.5) is None
    assert ends_before(steps[-2:], last + beyond, 1.5) == (Gap(last, last + beyond, 10.0) if found else None)
    later = steps_at([10, 10, 10, 30, 30, 30, 30, 30])
    assert ends_before(later, int(later[-1]) + 45, 1.5) is None


def silence_of(kept: list[int], share: float, n: int = 100) -> list[tuple[int, int]]:
    steps = np.arange(1, n + 1)
    found = silences(Series(np.array(kept), np.ones(len(kept))), steps, share)
    return [(gap.start, gap.stop) for gap in found]


def test_a_silence_is_longer_than_its_share_and_than_three_usual_distances() -> None:
    every = list(range(1, 101))

    assert silence_of(every[:40] + every[49:], 0.1) == [(40, 50)]
    assert silence_of(every[:40] + every[48:], 0.1) == []  # 9 of 99 steps
    assert silence_of(every[:97], 0.001) == []  # three usual distances
    assert silence_of(every[:96], 0.001) == [(96, 100)]
    assert silence_of([1, 2, 3], 0.1) == []
    assert silence_of([1, 2, 3, 4], 0.1) == [(4, 100)]


def test_the_end_of_a_silence_says_nothing_of_what_is_usual() -> None:
    # Four lines a step apart, then nothing: 3 of 9 steps are more than a share and three times the usual distance.
    assert silence_of([1, 2, 3, 4], 0.3, n=10) == [(4, 10)]
    assert silence_of([1, 3, 5, 7], 0.1, n=14) == [(7, 14)]
    assert silence_of([1, 3, 5, 7], 0.1, n=13) == []
    assert silence_of([1, 2, 3, 4], 5 / 9, n=10) == [(4, 10)]
    assert silence_of([1, 2, 3, 4], 6 / 9, n=10) == []
    # Two steps apart in the median of all the distances before it, whether it is the first or the last that differs.
    assert silence_of([1, 2, 3, 6, 9], 0.1, n=15) == []
    assert silence_of([1, 2, 3, 6, 9], 0.1, n=16) == [(9, 16)]


def test_a_gap_of_the_log_is_no_silence_of_a_key() -> None:
    steps = np.array([1, 2, 3, 4, 5, 90, 91])

    assert silences(Series(steps[:6], np.ones(6)), steps, 0.1) == []
    assert silences(Series(steps[:5], np.ones(5)), steps, 0.1) == [Gap(5, 91, 1.0)]


def test_steps_of_several_keys_are_each_there_once() -> None:
    assert steps_of([curve([1.0, 1.0], first=3), curve([1.0], first=1)]).tolist() == [1, 3, 4]
    assert steps_of([]).tolist() == []


# ---------------------------------------------------------------------- rates


def rates(schedule: str, *steps: int, warmup: int = 4, floor: float = 0.2, most: int = 12) -> list[float]:
    declared = LearningRates(schedule=schedule, peak=2.0, warmup_steps=warmup, max_steps=most, floor=floor)  # type: ignore[arg-type]
    return [float(rate) for rate in expected_rates(declared, np.array(steps))]


def test_rates_rise_to_the_peak_and_fall_to_the_floor() -> None:
    assert rates("linear", 1, 2, 4, 5, 9, 13, 99) == pytest.approx([0.5, 1.0, 2.0, 2.0, 1.2, 0.4, 0.4])
    assert rates("cosine", 5, 7, 9, 13) == pytest.approx([2.0, 0.4 + 1.6 * (1 + math.sqrt(0.5)) / 2, 1.2, 0.4])
    assert rates("constant", 1, 4, 5, 99) == pytest.approx([0.5, 2.0, 2.0, 2.0])


def test_rates_without_warm_up_or_decay() -> None:
    assert rates("linear", 1, 2, warmup=0, most=2) == pytest.approx([2.0, 1.2])
    assert rates("linear", 4, 5, 6, warmup=4, most=4) == pytest.approx([2.0, 2.0, 0.4])
    assert rates("linear", 1, 2, warmup=1, most=3) == pytest.approx([2.0, 2.0])


def test_the_longest_stretch_of_zeros() -> None:
    assert longest_zero(np.array([0.0, 0, 1, 0])) == (0, 2)
    assert longest_zero(np.array([0.0, 1, 0, 0])) == (2, 2)
    assert longest_zero(np.array([0.0])) == (0, 1)
    assert longest_zero(np.array([-1.0, 2.0])) == (0, 0)


def jumping(*values: float) -> list[int]:
    return [int(i) for i in rate_jumps(curve(values), 3.0)]


def test_a_rate_alone_is_above_both_neighbours_times_the_factor() -> None:
    falling = [8.0, 7.0, 6.0, 5.0]

    assert jumping(1, 2, 3, 4, 13, 4, 4, 4) == [4]
    assert jumping(1, 2, 3, 4, 12, 4, 4, 4) == []
    assert jumping(1, 2, 3, 4, 13, 5, 4, 4) == []
    assert jumping(1, 2, 3, 4, 13, 4, 4) == []  # seven lines may be a warm-up
    assert jumping(*falling, 25, *falling) == [4]


def test_a_rate_beyond_all_before_is_no_schedule_once_rates_have_settled() -> None:
    assert jumping(2, 2, 7) == [2]
    assert jumping(2, 2, 6) == []
    assert jumping(2, 7, 30) == []  # still rising
    assert jumping(2, 1, 5) == []  # below three times what was
    assert jumping(2, 1, 7) == [2]
    assert jumping(2, 2) == []
    assert jumping(0, 0, 5, 5) == [2]
    assert jumping(0, 0, 0.5, 0.5) == [2]
    assert jumping(2, 5, 4, 16) == [3]  # settled is what no longer rises, also above where it began
    for negative in (-1, -0.5, 0):
        assert jumping(-9, -9, negative) == []
    assert jumping() == jumping(1) == []


# ---------------------------------------------------------------------- losses


def test_the_logged_loss_is_that_of_dev_examples_at_that_very_step() -> None:
    log = log_of({"dev_loss_t2a": curve([6.0, 5.0, 4.0], first=8), "t2a_avg": curve([6.0, 3.0, 2.0], first=8)})

    assert logged_loss(log, "t2a", 10) == LoggedLoss("t2a", "dev_loss_t2a", 10, 4.0, held_out=True)
    assert logged_loss(log, "t2a", None) == LoggedLoss("t2a", "dev_loss_t2a", 10, 4.0, held_out=True)
    assert logged_loss(log, "t2a", 11) == LoggedLoss("t2a", "t2a_avg", 10, 2.0, held_out=False)
    assert logged_loss(log, "t2i", 10) is None


def test_a_log_without_steps_is_taken_to_end_at_the_checkpoint() -> None:
    log = log_of({"dev_loss_t2a": curve([5.0, 4.0])}, counted=False)

    assert logged_loss(log, "t2a", 2000) == LoggedLoss("t2a", "dev_loss_t2a", 2, 4.0, held_out=True)


def test_an_evaluation_key_without_values_says_nothing() -> None:
    log = log_of({"dev_loss_t2a": curve([]), "t2a_avg": curve([3.0])})

    found = logged_loss(log, "t2a", 1)
    assert found is not None
    assert found.key == "t2a_avg"


@pytest.mark.parametrize(("task", "modality"), [("t2a", "audio"), ("t2i", "image"), ("a2t", None)])
def test_the_loss_now_is_the_mean_over_examples(space: TokenSpace, task: Task, modality: str | None) -> None:
    asked: dict[str, object] = {}

    class Scores:
        nll = np.array([1.0, 2.0, 6.0])

    def score_them(_: object, *, label: str, modality: str | None) -> Scores:
        asked.update(label=label, modality=modality)
        return Scores()

    examples = [example(task, i, space) for i in range(3)]
    found = measure_loss(task, examples, "dev", score_them, space)  # type: ignore[arg-type]

    assert (found.value, found.n, found.source, found.task) == (3.0, 3, "dev", task)
    assert asked == {"label": f"{task}: held-out loss", "modality": modality}
