"""What a comparison of two checkpoints says: the objects that its page, its table and its JSON are made from."""

from dataclasses import dataclass
from typing import Literal

from harness.results import Measurement, Outcome, Priority, Verdict
from reports.format import NARROW_SPACE, number, with_unit

PERCENT, POINTS = f"{NARROW_SPACE}%", f"{NARROW_SPACE}pp"  # a difference of percentages is in percentage points

Change = Literal["worse", "lost", "better", "unclear", "absent", "same", "no_direction"]

CHANGE_WORD: dict[Change, str] = {
    "worse": "worse",
    "lost": "no longer measured",
    "better": "better",
    "unclear": "not clear",
    "absent": "only in one",
    "same": "the same",
    "no_direction": "reported only",
}
CHANGE_SIGN: dict[Change, str] = {
    "worse": "✕",
    "lost": "!",
    "better": "✓",
    "unclear": "≈",
    "absent": "–",
    "same": "=",
    "no_direction": "·",
}
WORST_FIRST: tuple[Change, ...] = ("worse", "lost", "better", "unclear", "absent", "no_direction", "same")


@dataclass(frozen=True)
class GateChange:
    """A gate's outcome in both verdicts; None where a verdict does not have it."""

    id: str
    name: str
    priority: Priority
    a: Outcome | None
    b: Outcome | None
    change: Change


@dataclass(frozen=True)
class MeasureChange:
    """A measure in both verdicts, and the difference B minus A with its 95 % interval.

    Attributes:
        paired: whether the interval is of the same examples under both checkpoints.
        p: of McNemar's exact test, for win rates on the same examples.
    """

    gate: str
    name: str
    unit: str
    a: Measurement | None
    b: Measurement | None
    change: Change
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    paired: bool = False
    p: float | None = None

    @property
    def judged(self) -> Measurement | None:
        """The figure that carries the rule: B's, or A's where only A was held against one."""
        return next((each for each in (self.b, self.a) if each is not None and each.op is not None), None)


@dataclass(frozen=True)
class Comparison:
    """Checkpoint B against checkpoint A.

    Attributes:
        path_a, path_b: the verdict.json files.
        gates: those that became worse first.
        measures: likewise.
        unpaired_because: why differences are not paired; empty where they are.
        caveats: what else the two do not have in common.
        n_together: how many judged differences are held to be right at once, with 95 % confidence.
        regressions: why B is worse, worst first; empty where it is not.
    """

    path_a: str
    path_b: str
    a: Verdict
    b: Verdict
    gates: tuple[GateChange, ...]
    measures: tuple[MeasureChange, ...]
    unpaired_because: tuple[str, ...]
    caveats: tuple[str, ...]
    n_together: int
    regressions: tuple[str, ...]


def signed(value: float, unit: str) -> str:
    """A difference with its sign; of shares and percentages in percentage points."""
    points = unit in ("share", "%")
    text = number(abs(value) * (100 if unit == "share" else 1), "%" if points else "")
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    return f"{sign}{text.removesuffix(PERCENT)}{POINTS}" if points else f"{sign}{text}"


def difference_of(change: MeasureChange) -> str:
    """The difference and its interval; a dash where there is none."""
    if change.difference is None:
        return "–"
    unit = "" if change.unit in ("share", "%") else change.unit
    interval = interval_of(change)
    return with_unit(signed(change.difference, change.unit), unit) + (f" [{interval}]" if interval else "")


def interval_of(change: MeasureChange) -> str:
    """The ends of the interval; empty where there is none."""
    if change.low is None or change.high is None:
        return ""
    low, high = signed(change.low, change.unit), signed(change.high, change.unit)
    return f"{low.removesuffix(POINTS)}, {high}"
