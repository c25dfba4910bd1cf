"""How a log's curves are judged: losses that spike, rise, stand still or stick; norms that jump; rates off schedule."""

from collections.abc import Iterable

import numpy as np

from gates.dynamics import Finding, count, of_kind
from gates.dynamics_thresholds import LogThresholds
from gates.gate import Accept
from harness.dynamics import dips, jumps, levels, longest_equal, positive, spikes
from harness.dynamics_rates import expected_rates, longest_zero, rate_jumps
from harness.dynamics_steps import begins_after, steps_of
from harness.train_log import TrainLog
from harness.train_log_merge import Series
from harness.training_record import LearningRates, TrainingRecord

MIN_EQUAL_LINES = 5
MIN_ZERO_LINES = 3
RESTING = 1e-9  # a rate below this share of its peak is 0


def judge_losses(accept: Accept, log: TrainLog, limits: LogThresholds) -> None:
    """No training loss spikes, jumps up, ends far above its best, or sticks to one value."""
    losses = {key: positive(each) for key, each in of_kind(log, "loss").items()}
    losses = {key: each for key, each in losses.items() if len(each.steps)}
    n = sum(len(each.steps) for each in losses.values())
    spiked = [found for key, each in losses.items() for found in _spikes(key, each, limits)]
    count(accept, "loss_spikes", "lines", n, spiked)
    risen = [found for key, each in losses.items() for found in _rise(key, each, limits)]
    count(accept, "losses_risen", "losses", len(losses), risen)
    stuck = [found for key, each in losses.items() for found in _stuck(key, each, limits)]
    count(accept, "losses_stuck", "losses", len(losses), stuck)


def judge_movement(
    accept: Accept, log: TrainLog, keys: Iterable[str], limits: LogThresholds, *, min_fall_pct: float
) -> None:
    """Some losses have fallen since the log began, by a share and by more than noise makes.

    Of a log that lacks the run's beginning it cannot be asked. Too few lines, or too noisy ones, leave it unclear.
    """
    if log.counted and begins_after(steps_of(of_kind(log, "loss").values()), limits.max_step_distance):
        accept.note("How far losses have fallen since the run began was not judged: the log begins later.")
        return
    found, judged = [], 0
    for key in keys:
        curve = positive(log.series[key])
        if len(curve.steps) < 2:
            accept.note(f"{key} is logged at {len(curve.steps)} step: whether it moves was not judged.")
            continue
        judged += 1
        level = levels(curve, limits.loss_noise_floor)
        expected = f"at least {min_fall_pct:g} % below the {level.start:.4g} it began at, and beyond its noise"
        far, clear = 100 * level.fall >= min_fall_pct, level.fall_score >= limits.min_loss_fall_score
        plain = 100 * (level.fall + level.fall_error) < min_fall_pct or len(curve.steps) >= limits.min_lines_of_a_trend
        if plain and (not far or level.fall_score < limits.max_flat_loss_score):
            found.append(Finding("flat loss", key, int(curve.steps[-1]), level.end, expected))
        elif not (far and clear):
            accept.unclear.append(f"{key} is {level.end:.4g} at step {curve.steps[-1]}, asked for {expected}: "
                                  f"{len(curve.steps)} lines with this noise are too few to tell")  # fmt: skip
    count(accept, "losses_that_do_not_fall", "losses", judged, found)


def judge_norms(accept: Accept, log: TrainLog, limits: LogThresholds) -> None:
    """Norms grow smoothly: no line stands out, none jumps, none grows or shrinks beyond measure, and they do move."""
    norms = {key: positive(each) for key, each in of_kind(log, "norm").items()}
    norms = {key: each for key, each in norms.items() if len(each.steps)}
    if not norms:
        accept.note("The log holds no norms of the rows.")
        return
    found = [finding for key, each in norms.items() for finding in _norm(key, each, limits)]
    moved = any(len(each.steps) < MIN_EQUAL_LINES or np.ptp(each.values) > 0 for each in norms.values())
    if not moved:
        key, each = next(iter(norms.items()))
        found.append(Finding("dead norms", key, int(each.steps[-1]), float(each.values[-1]), "rows that move"))
    count(accept, "norm_jumps", "findings", sum(len(each.steps) for each in norms.values()), found)


def judge_rates(accept: Accept, log: TrainLog, record: TrainingRecord | None, limits: LogThresholds) -> None:
    """Learning rates are those of the recorded schedule; without a record, only what no schedule does is a finding."""
    rates = of_kind(log, "rate")
    if not rates:
        accept.note("The log holds no learning rate.")
        return
    found: list[Finding] = []
    # Without steps nothing can be said of a schedule.
    declared = record.learning_rates if record and log.counted else {}
    for key, each in rates.items():
        if key in declared:
            found += _off_schedule(key, each, declared[key], limits)
        elif len(each.finite.steps):
            found += _implausible(accept, key, each.finite, limits)
    count(accept, "rates_off", "values", sum(len(each.steps) for each in rates.values()), found)


def _spikes(key: str, curve: Series, limits: LogThresholds) -> list[Finding]:
    scored = spikes(curve.values, limits.loss_noise_floor)
    rises = np.append(0.0, jumps(curve, limits.loss_noise_floor))
    found = []
    for i in np.flatnonzero(np.maximum(scored, rises) > limits.max_line_score):
        usual = float(np.median(curve.values[max(0, i - 5) : i]))
        expected = f"about {usual:.4g} as before (z {max(scored[i], rises[i]):.1f}, at most {limits.max_line_score:g})"
        found.append(Finding("spike", key, int(curve.steps[i]), float(curve.values[i]), expected))
    return found


def _rise(key: str, curve: Series, limits: LogThresholds) -> list[Finding]:
    level = levels(curve, limits.loss_noise_floor)
    risen = (
        100 * level.rise > limits.max_loss_rise_pct
        and level.end - level.best > limits.max_loss_rise_nats
        and level.rise_score > limits.max_loss_rise_score
    )
    expected = f"at most {limits.max_loss_rise_pct:g} % above the {level.best:.4g} of step {level.best_step}"
    return [Finding("risen loss", key, int(curve.steps[-1]), level.end, expected)] if risen else []


def _stuck(key: str, curve: Series, limits: LogThresholds) -> list[Finding]:
    start, length = longest_equal(curve.values)
    if length < max(MIN_EQUAL_LINES, limits.max_equal_share * len(curve.values)):
        return []
    value = f"{curve.values[start]:.6g} {length} times in a row"
    return [Finding("stuck loss", key, int(curve.steps[start]), value, "values that differ")]


def _norm(key: str, curve: Series, limits: LogThresholds) -> list[Finding]:
    values, floor = curve.values, limits.norm_noise_floor
    changes = np.append(0.0, np.abs(jumps(curve, floor)))
    scored = np.maximum(np.maximum(spikes(values, floor), dips(values, floor)), changes)
    found = []
    for i in np.flatnonzero(scored > limits.max_line_score):
        expected = f"about {values[i - 1]:.4g} as before (z {scored[i]:.1f}, at most {limits.max_line_score:g})"
        found.append(Finding("norm jump", key, int(curve.steps[i]), float(values[i]), expected))
    begun = len(values) // 10  # rows that begin at nothing grow by any factor at first
    if abs(np.log(values[-1]) - np.log(values[begun])) > np.log(limits.max_norm_growth):
        expected = f"within {limits.max_norm_growth:g} times the {values[begun]:.4g} of step {curve.steps[begun]}"
        found.append(Finding("norm blown up or gone", key, int(curve.steps[-1]), float(values[-1]), expected))
    return found


def _off_schedule(key: str, logged: Series, declared: LearningRates, limits: LogThresholds) -> list[Finding]:
    wanted = expected_rates(declared, logged.steps)
    off = np.abs(logged.values - wanted) > limits.max_rate_off_pct / 100 * declared.peak
    what = f"by its {declared.schedule} schedule (training.json)"
    return [
        Finding("rate off its schedule", key, int(logged.steps[i]), float(logged.values[i]), f"{wanted[i]:.4g} {what}")
        for i in np.flatnonzero(off)
    ]


def _implausible(accept: Accept, key: str, rates: Series, limits: LogThresholds) -> list[Finding]:
    values, steps = rates.values, rates.steps
    found = [
        Finding("negative rate", key, int(steps[i]), float(values[i]), "0 or more") for i in np.flatnonzero(values < 0)
    ]
    start, length = longest_zero(np.where(values < RESTING * float(values.max()), 0.0, values))
    if length >= max(MIN_ZERO_LINES, limits.max_zero_rate_pct / 100 * len(values)):
        found.append(Finding("rate of 0", key, int(steps[start]), f"0 on {length} lines", "a rate that trains"))
    for i in rate_jumps(rates, limits.max_rate_factor):
        expected = f"no jump beyond {limits.max_rate_factor:g} times the rates around it"
        found.append(Finding("rate jumps", key, int(steps[i]), float(values[i]), expected))
    if len(values) > 2 and np.ptp(values) == 0:
        accept.note(f"{key} is {values[0]:g} on every line: a constant schedule, or one that never steps.")
    return found
