"""How a log's tasks are judged: write losses against uniform guessing, read losses, ablation gaps, and the loss now."""

from collections.abc import Sequence

import numpy as np

from gates.dynamics import Finding, count, explain, of_kind
from gates.dynamics_thresholds import LogThresholds
from gates.gate import Accept
from harness.checkpoint import Checkpoint
from harness.dynamics import jumps, levels, positive
from harness.dynamics_losses import LoggedLoss, MeasuredLoss, Uniform, logged_loss, training_loss
from harness.errors import MissingInputError
from harness.examples import READ_TASKS, Task
from harness.results import Measurement
from harness.train_log import TrainLog
from harness.train_log_keys import task_loss_key, task_of


def task_keys(accept: Accept, log: TrainLog, tasks: Sequence[Task]) -> dict[Task, str]:
    """The keys of the training losses of tasks; says which tasks have none."""
    keys = {task: task_loss_key(log.series, task) for task in tasks}
    if absent := [task for task, key in keys.items() if key is None]:
        accept.note(f"The log holds no training loss of {', '.join(absent)}.")
    return {task: key for task, key in keys.items() if key is not None}


def judge_write_losses(
    accept: Accept,
    log: TrainLog,
    keys: dict[Task, str],
    uniform: Uniform,
    limits: LogThresholds,
    *,
    max_share: float,
    max_first_share: float,
) -> None:
    """A write loss ends well below uniform guessing over its range, and begins not far above that over all ids.

    Args:
        accept: takes the judgements.
        log: the log.
        keys: write task to its key.
        uniform: the losses of uniform guessing.
        limits: the numbers of both stages.
        max_share: of the uniform loss over the range, at the end.
        max_first_share: of the uniform loss over the vocabulary, on the first lines.
    """
    for task, key in keys.items():
        curve = positive(log.series[key])
        if not len(curve.steps) or task not in uniform.ranges:
            continue
        level, reference = levels(curve, limits.loss_noise_floor), uniform.ranges[task]
        end, start = level.end, level.start
        n = len(curve.steps)
        if not accept(_share(f"{task}.loss_of_uniform_range", end / reference, n), at_most=max_share):
            expected = f"at most {max_share:g} of {reference:.4g}, uniform over its range"
            explain(accept, Finding("write loss near uniform", key, int(curve.steps[-1]), end, expected))
        began = _share(f"{task}.start_of_uniform_vocabulary", start / uniform.vocabulary, n)
        if not accept(began, at_most=max_first_share):
            expected = f"at most {max_first_share:g} of {uniform.vocabulary:.4g}, uniform over the vocabulary"
            explain(accept, Finding("first losses implausible", key, int(curve.steps[0]), start, expected))


def judge_read_losses(
    accept: Accept,
    log: TrainLog,
    keys: dict[Task, str],
    limits: LogThresholds,
    *,
    floor_nats: float,
    notable_nats: float,
    max_cliff_pct: float,
) -> None:
    """A read loss does not fall to nothing, nor off a cliff: that is a leak or a mask, and no reading.

    Args:
        accept: takes the judgements.
        log: the log.
        keys: read task to its key.
        limits: the numbers of both stages.
        floor_nats: what no honest loss falls below.
        notable_nats: below that it is said.
        max_cliff_pct: how much of a loss may go from one line to the next, where that stands out.
    """
    found = []
    for key in keys.values():
        curve = positive(log.series[key])
        if not len(curve.steps):
            continue
        end, last = levels(curve, limits.loss_noise_floor).end, int(curve.steps[-1])
        if end < floor_nats:
            found.append(Finding("read loss gone", key, last, end, f"at least {floor_nats:g} nats/token"))
        elif end < notable_nats:
            accept.note(f"{key} is {end:.3g} nats/token at step {last}: captions nearly determined, or a leak.")
        fallen = np.diff(np.log(curve.values)) < np.log1p(-max_cliff_pct / 100)
        beyond = jumps(curve, limits.loss_noise_floor) < -limits.max_line_score
        for i in 1 + np.flatnonzero(fallen & beyond):
            step, value, before = int(curve.steps[i]), float(curve.values[i]), curve.values[i - 1]
            expected = f"at most {max_cliff_pct:g} % less than the {before:.4g} of the line before"
            found.append(Finding("read loss falls off a cliff", key, step, value, expected))
    count(accept, "read_losses_gone", "findings", len(keys), found)


def judge_ablation_gaps(
    accept: Accept, log: TrainLog, *, min_last_nats: float, max_drop_pct: float
) -> list[MissingInputError]:
    """The gaps of the read ablations have grown or stay on their plateau. Returns what could not be judged.

    Args:
        accept: takes the judgements.
        log: the log.
        min_last_nats: what a gap must be at the end, nats per token.
        max_drop_pct: how far the last gap may lie below the largest, per cent of it.
    """
    series = {key: each.finite for key, each in of_kind(log, "gap").items() if task_of(key) in (None, *READ_TASKS)}
    series = {key: each for key, each in series.items() if len(each.steps) > 1}
    if not series:
        lacking, expected = (
            "no two evaluations with delta_shuffle_<task> or delta_noise_<task>",
            "a log of ablation gaps",
        )
        return [MissingInputError(log.where, lacking, expected, "Log the ablation gap at evaluations.")]
    found: list[Finding] = []
    for key, each in series.items():
        first, last, best = (float(value) for value in (each.values[0], each.values[-1], each.values.max()))
        step, n = int(each.steps[-1]), len(each.steps)
        accept.report(Measurement(name=f"{key}_first", value=first, unit="nats/token", n=n))
        accept.report(Measurement(name=f"{key}_last", value=last, unit="nats/token", n=n))
        if last <= min_last_nats:
            found.append(Finding("no gap", key, step, last, f"more than {min_last_nats:g} nats/token"))
        elif last < (1 - max_drop_pct / 100) * best:
            expected = f"at most {max_drop_pct:g} % below the {best:.4g} of step {each.steps[each.values.argmax()]}"
            found.append(Finding("gap shrinks", key, step, last, expected))
    count(accept, "gaps_that_shrink", "gaps", len(series), found)
    return []


def judge_agreement(
    accept: Accept, checkpoint: Checkpoint, log: TrainLog, tasks: Sequence[Task], limits: LogThresholds
) -> None:
    """The loss that was logged is the one that the checkpoint has now, task by task."""
    for task in tasks:
        logged = logged_loss(log, task, checkpoint.bundle.step)
        if logged is None or not np.isfinite(logged.value):
            continue
        measured = checkpoint.held_out_loss(task, limits.dev_loss_examples)
        if measured is not None and logged.held_out:
            _compare_training(accept, training_loss(log, task), measured, limits)
        if measured is None:
            accept.note(f"{task}: no dev or golden example to measure the loss on now; {logged.key} was not compared.")
        elif logged.held_out and (measured.source != "dev" or checkpoint.settings.max_examples is not None):
            accept.note(f"{task}: {logged.key} is of {limits.dev_loss_examples} dev examples, which were not measured.")
        else:
            _compare(accept, logged, measured, limits)


def _compare_training(accept: Accept, logged: LoggedLoss | None, measured: MeasuredLoss, limits: LogThresholds) -> None:
    """Where dev losses are logged too: an average of training that is a multiple of the loss now is no mean.

    Far below it, it may be: what was trained on is known better.
    """
    if logged is not None and np.isfinite(logged.value) and logged.value > measured.value:
        _compare(accept, logged, measured, limits)


def _compare(accept: Accept, logged: LoggedLoss, measured: MeasuredLoss, limits: LogThresholds) -> None:
    """Hold one logged loss against the one measured."""
    if logged.held_out:
        allowed = max(limits.max_dev_loss_off_nats, limits.max_dev_loss_off_pct / 100 * measured.value)
    else:
        smaller = min(logged.value, measured.value)
        allowed = max(limits.max_training_loss_off_nats, (limits.max_training_loss_factor - 1) * smaller)
    off = abs(logged.value - measured.value)
    name = f"{logged.task}.{'logged_loss_off' if logged.held_out else 'training_loss_off'}"
    if not accept(Measurement(name=name, value=off, unit="nats/token", n=measured.n), at_most=allowed):
        expected = f"{measured.value:.4g} as on {measured.n} {measured.source} examples now, within {allowed:.3g}"
        explain(accept, Finding("logged loss is not the loss now", logged.key, logged.step, logged.value, expected))
    what = "the dev loss" if logged.held_out else "the average of training"
    accept.note(
        f"{logged.task}: {logged.key} ({what}) is {logged.value:.4f} at step {logged.step}; on {measured.n} "
        f"{measured.source} examples the checkpoint has {measured.value:.4f} now."
    )


def _share(name: str, value: float, n: int) -> Measurement:
    return Measurement(name=name, value=value, unit="share", n=n)
