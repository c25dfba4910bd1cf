"""What is measured of a curve: levels, noise, lines that stand out, gaps, schedules, uniform guessing."""

import math

import numpy as np
import pytest

from harness.dynamics import dips, jumps, levels, longest_equal, noise, positive, scores, spikes
from harness.dynamics_losses import uniform_losses
from harness.dynamics_rates import expected_rates, longest_zero, rate_jumps
from harness.dynamics_steps import Gap, begins_after, ends_before, gaps, silences
from harness.token_space import parse_token_space
from harness.train_log_keys import Kind, kind_of, task_loss_key, task_of
from harness.train_log_merge import Series
from harness.training_record import LearningRates
from tests.tiny import token_space_object
from tests.training_logs import field_space

FLOOR = 0.02


def _series(values: list[float] | np.ndarray, stride: int = 50) -> Series:
    return Series(stride * np.arange(1, len(values) + 1), np.asarray(values, dtype=np.float64))


# ---------------------------------------------------------------------- curves


def test_noise_is_that_of_lines_whatever_the_trend() -> None:
    rng = np.random.default_rng(0)
    flat = np.exp(0.3 * rng.normal(size=4000))
    falling = flat * np.exp(-np.linspace(0, 5, 4000))

    assert noise(flat, FLOOR) == pytest.approx(0.3, rel=0.05)
    assert noise(falling, FLOOR) == pytest.approx(noise(flat, FLOOR), rel=0.02)
    assert noise(np.linspace(9, 5, 40), FLOOR) == FLOOR


def test_a_score_of_few_lines_is_a_small_one() -> None:
    ratio = np.array([6.0])

    found = [float(scores(ratio, n)[0]) for n in (3, 4, 12, 40, 10_000)]

    assert found == sorted(found)
    assert found[0] < 2
    assert found[-1] == pytest.approx(6.0, abs=0.01)
    assert math.isfinite(float(scores(np.array([1e9]), 10_000)[0]))


def test_a_falling_curve_has_no_spikes_however_steep() -> None:
    values = 12.0 * np.exp(-0.5 * np.arange(40))

    assert spikes(values, FLOOR).max() < 1
    assert dips(1 / values, FLOOR).max() < 1


@pytest.mark.parametrize("at", [1, 7, 20, 38, 39])
def test_one_line_stands_out_alone(at: int) -> None:
    values = np.linspace(5.1, 5.0, 40)
    values[at] *= 1.5

    scored = spikes(values, FLOOR)

    assert scored.argmax() == at
    assert scored[at] > 8
    assert np.delete(scored, at).max() < 1
    assert dips(1 / values, FLOOR)[at] == pytest.approx(scored[at])


def test_a_jump_is_told_from_early_growth() -> None:
    steps = 50 * np.arange(1, 41)
    growing = Series(steps, 0.5 * (steps / 50.0) ** 0.3)  # by a quarter at first, by a hundredth at the end
    jumping = Series(steps, growing.values * np.where(np.arange(40) >= 25, 1.2, 1.0))

    assert np.abs(jumps(growing, FLOOR)).max() < 1
    assert jumps(jumping, FLOOR).argmax() == 24  # the change from line 24 to 25
    assert jumps(jumping, FLOOR).max() > 5
    assert jumps(Series(steps, 1 / jumping.values), FLOOR).min() < -5


def test_levels_are_those_of_several_lines() -> None:
    values = np.full(100, 2.0)
    values[50:] = 1.0
    values[60:70] = 0.5
    values[[0, -1]] = 99.0

    found = levels(_series(values), FLOOR)

    assert (found.start, found.end, found.best, found.best_step) == (2.0, 1.0, 0.5, 3500)
    assert (found.fall, found.rise) == (0.5, 1.0)
    assert found.rise_score > 8


def test_noise_makes_levels_wide_and_falls_unclear() -> None:
    rng = np.random.default_rng(1)

    dead = [levels(_series(np.exp(0.35 * rng.normal(size=160))), FLOOR).fall_score for _ in range(200)]
    falling = [
        levels(_series(np.exp(0.35 * rng.normal(size=160) - np.linspace(0, 1, 160))), FLOOR).fall_score
        for _ in range(200)
    ]

    assert np.quantile(dead, 0.9) < 2.5
    assert min(falling) > 3


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0], [3.0, 2.0, 1.0], [1e-300, 1e299], [5e-324, 5e-324, 1.0]])
def test_short_and_extreme_curves_have_figures(values: list[float]) -> None:
    curve = positive(_series(values))

    assert np.isfinite(spikes(curve.values, FLOOR)).all()
    assert np.isfinite(jumps(curve, FLOOR)).all()
    assert math.isfinite(levels(curve, FLOOR).rise_score)


def test_the_longest_run_of_one_value() -> None:
    assert longest_equal(np.array([1.0, 2, 2, 2, 1, 1])) == (1, 3)
    assert longest_equal(np.array([])) == (0, 0)


def test_positive_leaves_out_what_no_loss_can_be() -> None:
    assert positive(_series([1.0, math.nan, 0.0, -1.0, math.inf, 1e301, 2.0])).values.tolist() == [1.0, 2.0]


# ---------------------------------------------------------------------- steps


def _gaps(steps: list[int] | np.ndarray) -> list[Gap]:
    return gaps(np.array(steps), 1.5)


@pytest.mark.parametrize("missing", [1, 2, 10])
@pytest.mark.parametrize("at", [1, 12, 25])
def test_missing_lines_are_a_gap(missing: int, at: int) -> None:
    steps = 50 * np.arange(1, 41)

    (gap,) = _gaps(np.delete(steps, slice(at, at + missing)))

    assert gap == Gap(int(steps[at - 1]), int(steps[at + missing]), 50.0)


@pytest.mark.parametrize(
    "steps",
    [
        [*range(10, 200, 10), *range(200, 2000, 50)],
        [1, *range(50, 2001, 50)],
        np.cumsum(np.random.default_rng(0).integers(20, 60, size=60)),
        [10, 20, 100],
        [5],
    ],
    ids=["logged-less-often-later", "first-step-as-well", "by-the-clock", "three-lines", "one-line"],
)
def test_no_line_is_missing(steps: list[int]) -> None:
    assert _gaps(steps) == []


def test_a_log_that_ends_early_or_begins_late() -> None:
    steps = 50 * np.arange(1, 31)

    assert ends_before(steps, 2000, 1.5) == Gap(1500, 2000, 50.0)
    assert ends_before(steps, 1550, 1.5) is None
    assert not begins_after(steps, 1.5)
    assert begins_after(steps + 50, 1.5)


def test_a_key_that_falls_silent() -> None:
    steps = 10 * np.arange(1, 101)
    rng = np.random.default_rng(0)
    now_and_then = np.sort(rng.choice(steps, 60, replace=False))

    assert silences(Series(steps[:60], np.ones(60)), steps, 0.1) == [Gap(600, 1000, 10.0)]
    assert silences(Series(np.delete(steps, slice(30, 45)), np.ones(85)), steps, 0.1) == [Gap(300, 460, 10.0)]
    assert silences(Series(now_and_then, np.ones(60)), steps, 0.1) == []
    # Where no other line is either, that is a gap of the log and not of the key.
    assert silences(Series(steps[[0, 1, 2, 99]], np.ones(4)), steps[[0, 1, 2, 99]], 0.1) == []


# ---------------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.55, 0.1]),
        ("cosine", [0.5, 1.0, 1.0, 0.55, 0.1]),
    ],
)
def test_schedules_at_steps_counted_from_one(schedule: str, expected: list[float]) -> None:
    declared = LearningRates(schedule=schedule, peak=1.0, warmup_steps=2, max_steps=12, floor=0.1)  # type: ignore[arg-type]

    assert expected_rates(declared, np.array([1, 2, 3, 8, 13])) == pytest.approx(expected)


def test_expected_rates_are_the_trainers_own() -> None:
    from training.schedule import share_of_peak

    for schedule in ("constant", "cosine", "linear"):
        declared = LearningRates(schedule=schedule, peak=0.01, warmup_steps=7, max_steps=90, floor=0.05)  # type: ignore[arg-type]
        own = [0.01 * share_of_peak(schedule, t, max_steps=90, warmup_steps=7, floor=0.05) for t in range(90)]
        assert expected_rates(declared, np.arange(1, 91)) == pytest.approx(own, rel=1e-12)


def test_rates_that_no_schedule_explains() -> None:
    cosine = 0.5 * (1 + np.cos(np.linspace(0, np.pi, 40)))
    warm = np.minimum(1, np.arange(1, 41) / 10) * cosine
    restarts = np.tile(cosine[::4], 4)
    alone, higher = cosine.copy(), cosine.copy()
    alone[35], higher[20:] = 1.0, 5.0

    for usual in (cosine, warm, restarts, 0.1 ** (np.arange(40) // 10), np.ones(40), np.zeros(40)):
        assert len(rate_jumps(_series(usual), 3.0)) == 0
    assert rate_jumps(_series(alone), 3.0).tolist() == [35]
    assert 20 in rate_jumps(_series(higher), 3.0)


def test_the_longest_stretch_of_zero() -> None:
    assert longest_zero(np.array([0.0, 1, 0, 0, 0, 1, 0])) == (2, 3)
    assert longest_zero(np.array([1.0, 2])) == (0, 0)


# ---------------------------------------------------------------------- uniform guessing, keys


def test_uniform_guessing_over_the_vocabulary_and_over_the_range() -> None:
    found = uniform_losses(field_space())

    assert found.vocabulary == pytest.approx(math.log(164_021))
    assert found.ranges == pytest.approx({"t2a": math.log(1_024), "t2i": math.log(8_192)})


def test_a_token_space_without_images_has_no_such_reference() -> None:
    obj = token_space_object()
    image = obj["ranges"].pop("IMAGE")
    for name in ("AUDIO_CB0", "AUDIO_CB1"):
        for end in ("start", "end"):
            obj["ranges"][name][end] -= image["size"]
    obj["vocab_size_total"] -= image["size"]

    assert uniform_losses(parse_token_space(obj)).ranges == pytest.approx({"t2a": math.log(16)})


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        *((key, "loss") for key in ("loss", "loss_mean", "train_loss", "t2i_avg", "text_avg", "loss_a2t", "t2a")),
        *((key, "held_out") for key in ("eval_loss", "dev_loss_a2t", "val_loss", "text_loss", "text_loss_whole")),
        *((key, "norm") for key in ("emb_norm_mean", "head_norm_mean", "row_norm")),
        *((key, "rate") for key in ("lr", "learning_rate", "lr_lora", "rows_lr")),
        ("head_norm_std", "spread"), ("grad_norm", "gradient"), ("train_grad_norm", "gradient"),
        ("delta_shuffle_a2t", "gap"), ("win_noise_i2t", "win"),
        *((key, None) for key in ("epoch", "avg", "glossary", "tokens_per_second", "norm", "max_grad_norm_clip")),
    ],
)  # fmt: skip
def test_what_keys_stand_for(key: str, kind: Kind | None) -> None:
    assert kind_of(key) == kind


def test_tasks_of_keys() -> None:
    assert [task_of(key) for key in ("delta_shuffle_a2t", "t2i_avg", "loss", "at2i")] == ["a2t", "t2i", None, None]
    assert task_loss_key(["loss", "loss_t2a", "t2a"], "t2a") == "loss_t2a"
    assert task_loss_key(["loss"], "t2a") is None


def test_a_last_line_that_comes_early_makes_no_gap_of_the_lines_before_it() -> None:
    """A run of 160 steps that logs every 50 ends with a line of its own."""
    assert _gaps([50, 100, 150, 160]) == []
    assert [(gap.start, gap.stop) for gap in _gaps([50, 100, 150, 300, 350, 360])] == [(150, 300)]
