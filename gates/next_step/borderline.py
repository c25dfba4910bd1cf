"""Figures too near to their thresholds to tell, and how many examples would tell."""

import math

from gates.next_step.step import Gates, fell_short, figure, number
from harness.results import GateResult, Measurement

MOST_EXAMPLES = 20_000  # beyond this nobody holds so many out; ours
MOST_NAMED = 2


def borderline(gates: Gates) -> list[Measurement]:
    """The judged figures of P0 gates whose 95 % interval holds the threshold, each name once.

    A figure at the threshold itself is none: 64 of 64 decoded cannot be more than all, however many there were.
    """
    found = [
        m
        for gate in gates
        if gate.priority == "P0"
        for m in gate.measurements
        if m.confidence == "borderline" and number(m.value) not in (None, m.threshold)
    ]
    return list({m.name: m for m in found}.values())


def needed(m: Measurement) -> int | None:
    """About how many examples would bring the threshold out of the interval; None where no affordable number would.

    The half-width of an interval goes with 1 / sqrt(n), so n' = n * (half-width / distance)^2.
    """
    value, low, high = number(m.value), number(m.low), number(m.high)
    if value is None or low is None or high is None or m.threshold is None or value == m.threshold:
        return None
    half = value - low if value > m.threshold else high - value
    try:
        n = m.n * (half / (value - m.threshold)) ** 2
    except OverflowError:
        return None
    return _two_digits(n) if 0 < n <= MOST_EXAMPLES else None


def describe(m: Measurement) -> str:
    """The figure, its threshold, and how many examples would tell."""
    n = needed(m)
    tell = f"about {n:,} would tell" if n else "too near to tell apart"
    asked = f"asked for {m.threshold:g}" if m.threshold is not None else "asked for more"
    return f"{figure(m)} on {m.n:,} examples, {asked} ({tell})"


def remark(gates: Gates, *, only_short: bool) -> str | None:
    """A sentence on the borderline figures, where asked for only on those that fell short; None where there is none."""
    found = [m for m in borderline(gates) if fell_short(m) or not only_short]
    if not found:
        return None
    more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"Borderline: {'; '.join(map(describe, found[:MOST_NAMED]))}{more}."


def has_too_few(gate: GateResult) -> bool:
    """Whether a gate was measured, and on too few examples to pass or fail."""
    return gate.outcome == "error" and "too few to tell" in str(gate.details.get("reason", ""))


def _two_digits(n: float) -> int:
    """Rounded up to two significant digits: more than that no estimate of an estimate has."""
    unit = 10 ** max(0, math.floor(math.log10(n)) - 1)
    return math.ceil(n / unit) * unit
