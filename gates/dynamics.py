"""How P1.5, S3.6 and `gates inspect --log` judge a training log: what both stages ask of it, and what is shown of it.

Every rule counts what it finds and asks for none. A finding names the step, the key, the value and what was expected.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gates.dynamics_thresholds import LogThresholds
from gates.gate import Accept
from harness.dynamics import HUGE
from harness.dynamics_steps import Gap, begins_after, ends_before, gaps, silences, steps_of
from harness.errors import MissingInputError
from harness.results import Measurement
from harness.train_log import TrainLog
from harness.train_log_keys import Kind, kind_of
from harness.train_log_merge import Series

MAX_FINDINGS = 50  # in the table; all of them are counted
TRAINING: tuple[Kind, ...] = ("loss", "norm", "spread", "rate", "gradient")  # what every line of training may hold
FINDINGS = "findings"
# What either stage advises on the log itself.
LOG_ADVICE = (
    "NaN, spike or jump: look at the batch of that step; clip gradients, lower the rate, keep float32 masters.",
    "A loss that sticks, norms that are dead: see that the trainer logs every figure anew, and keep float32 masters.",
    "A gap, or an end before the checkpoint: lines were lost, or the log is another checkpoint's. Pass the whole log.",
    "Steps that come again: two runs wrote one log. Cut it at the resumed step, and judge the one run.",
    "A rate off its schedule: see that the scheduler is stepped once an optimiser step, and that training.json is this "
    "run's.",
    "A logged loss that is not the loss now: a loss not divided by its accumulation steps, or other weights.",
)


@dataclass(frozen=True)
class Finding:
    """Something in a log that a healthy one has not.

    Attributes:
        what: in a word or two.
        key: what was logged; empty where it concerns whole lines.
        step: where, or from where; None where the log has no steps.
        value: what is there.
        expected: what should be there.
    """

    what: str
    key: str
    step: int | None
    value: float | str
    expected: str

    def __str__(self) -> str:
        where = "" if self.step is None else f" at step {self.step}"
        value = self.value if isinstance(self.value, str) else f"{self.value:.6g}"
        return f"{self.what}: {self.key or 'log'}{where} is {value}, expected {self.expected}"


def count(accept: Accept, name: str, unit: str, n: int, found: Sequence[Finding]) -> None:
    """Ask for no findings of a kind; the first one is part of the reason, the others of a table."""
    measured = Measurement(name=name, value=len(found), unit=unit, n=n)
    if not accept(measured, exactly=0):
        accept.failures[-1] += f": {found[0]}"
        accept.details.setdefault(FINDINGS, []).extend(vars(each) for each in found)


def explain(accept: Accept, finding: Finding) -> None:
    """Add to a figure that has just fallen short where in the log it is from."""
    accept.failures[-1] += f": {finding}"
    accept.details.setdefault(FINDINGS, []).append(vars(finding))


def of_kind(log: TrainLog, *kinds: Kind) -> dict[str, Series]:
    """The series of some kinds, by key."""
    return {key: each for key, each in log.series.items() if kind_of(key) in kinds}


def judge_lines(accept: Accept, log: TrainLog, step: int | None, limits: LogThresholds) -> list[MissingInputError]:
    """Order, gaps and numbers. Returns what could not be judged.

    Args:
        accept: takes the judgements.
        log: the log up to the checkpoint's step.
        step: that step; None where it is unknown.
        limits: the numbers.
    """
    if log.n_unreadable:
        accept.note(f"{log.n_unreadable} lines of {log.where.name} could not be read (broken JSON, or too long).")
    judge_numbers(accept, log)
    if not log.counted:
        accept.note("The log says no step anywhere: steps below are numbers of lines; order and gaps are not judged.")
        found, expected = "no step in any line", "a training log whose lines say their steps"
        fix = "Pass trainer_state.json, which has them, instead of what the trainer printed."
        return [MissingInputError(log.where, found, expected, fix)]
    judge_order(accept, log)
    judge_gaps(accept, log, step, limits)
    return []


def judge_order(accept: Accept, log: TrainLog) -> None:
    """Steps only go forward, and nothing is logged twice at one."""
    found = [
        Finding("repeated step", d.key, d.step, "logged twice", "once; was the log appended to after a resume?")
        if d.key
        else Finding("decreasing step", "", d.step, f"behind step {d.before}", f"a step after {d.before}")
        for d in log.disorders
        if not d.key or kind_of(d.key)  # a throughput, say, is logged with training and with evaluations
    ]
    count(accept, "lines_out_of_order", "lines", log.n_records, found)
    if log.n_disorders > len(log.disorders):
        accept.note(f"{log.n_disorders} steps are out of order; the first {len(log.disorders)} are counted above.")


def judge_gaps(accept: Accept, log: TrainLog, step: int | None, limits: LogThresholds) -> None:
    """No line is missing, up to the checkpoint's step, and no key falls silent."""
    training = of_kind(log, *TRAINING)
    steps = steps_of(training.values())
    found = [_gap("gap", "", gap) for gap in gaps(steps, limits.max_step_distance)]
    end = ends_before(steps, step, limits.max_step_distance) if step is not None and len(steps) else None
    found += [_gap("log ends before the checkpoint", "", end)] if end else []
    for key, series in training.items():
        found += [_gap("key not logged", key, gap) for gap in silences(series, steps, limits.max_silent_share)]
    count(accept, "gaps", "gaps", len(steps), found)
    if begins_after(steps, limits.max_step_distance):
        accept.note(f"The log begins at step {steps[0]}: what was before is not in it, and is not judged.")


def judge_numbers(accept: Accept, log: TrainLog) -> None:
    """Everything that was logged is a number, and losses and norms are above 0."""
    found = []
    for key, series in log.series.items():
        kind = kind_of(key)
        low = {"loss": 0.0, "held_out": 0.0, "norm": 0.0}.get(kind or "", -math.inf)
        # A gradient of 0 is judged by whether the loss moves; a share or a gap may well be 0.
        with np.errstate(invalid="ignore"):
            bad = np.flatnonzero(~(np.abs(series.values) < HUGE) | (series.values <= low))
        wanted = "a number above 0" if low == 0 else "a number"
        if kind is not None:
            found += [Finding("no number", key, int(series.steps[i]), _word(series.values[i]), wanted) for i in bad]
    count(accept, "not_a_number", "values", sum(len(each.steps) for each in log.series.values()), found)


def show(accept: Accept) -> None:
    """The findings as a table; in the order in which they were found."""
    findings = accept.details.get(FINDINGS, [])
    if not findings:
        return
    more = f" The first {MAX_FINDINGS} of {len(findings)}." if len(findings) > MAX_FINDINGS else ""
    rows = [[f["what"], f["key"] or "every key", f["step"], f["value"], f["expected"]] for f in findings[:MAX_FINDINGS]]
    accept.details[FINDINGS] = findings[:MAX_FINDINGS]
    columns = ["what", "key", "step", "found", "expected"]
    accept.table("What a healthy log has not", columns, rows, note=f"Steps as the log counts them.{more}")


def raise_unmeasured(accept: Accept, unmeasured: Sequence[MissingInputError]) -> None:
    """Unmeasured is not passed: what the log does not say leaves the gate without a result, unless it has failed.

    Raises:
        MissingInputError: something was not judged, and nothing that was judged fell short.
    """
    for each in unmeasured:
        accept.note(f"Not judged: {each}")
    if unmeasured and not accept.failures:
        raise unmeasured[0]


def _gap(what: str, key: str, gap: Gap) -> Finding:
    return Finding(what, key, gap.start, f"nothing until step {gap.stop}", f"a line every {gap.usual:g} steps")


def _word(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))  # JSON has no NaN
