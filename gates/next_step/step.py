"""A next step as a rule leaves it, and figures of the gates in words."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.results import RULES, GateResult, Measurement

Gates = tuple[GateResult, ...]


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes:
        why: what was found; a sentence without its full stop.
        figures: that led to it, in words.
        action: what to do, in whole sentences.
    """

    why: str
    action: str
    figures: tuple[str, ...] = ()

    def __str__(self) -> str:
        found = f"{self.why}: {'; '.join(self.figures)}" if self.figures else self.why
        return f"{found}. {self.action}"


def gate_of(gates: Gates, gate_id: str) -> GateResult | None:
    """The result of a gate; None where the verdict has none of that id."""
    return next((gate for gate in gates if gate.id == gate_id), None)


def outcome_is(gates: Gates, gate_id: str, outcome: str) -> bool:
    """Whether a gate is there and ended so."""
    gate = gate_of(gates, gate_id)
    return gate is not None and gate.outcome == outcome


def measured(gate: GateResult | None, name: str) -> Measurement | None:
    """A gate's measurement by its name; None where it made none."""
    return next((m for m in gate.measurements if m.name == name), None) if gate else None


def number(value: float | None) -> float | None:
    """The value, None where it is none."""
    return value if value is not None and math.isfinite(value) else None


def lowest(m: Measurement | None) -> float | None:
    """The lower end of the interval, the value itself where there is no interval."""
    return None if m is None or number(m.value) is None else number(m.low if m.low is not None else m.value)


def highest(m: Measurement | None) -> float | None:
    """The upper end of the interval, the value itself where there is no interval."""
    return None if m is None or number(m.value) is None else number(m.high if m.high is not None else m.value)


def fell_short(m: Measurement) -> bool:
    """Whether a judged figure misses its threshold, or could not be computed."""
    if m.op is None or m.threshold is None:
        return False
    value = number(m.value)
    return value is None or not RULES[m.op](value, m.threshold)


def short_of(gate: GateResult) -> list[Measurement]:
    """The judged figures of a gate that miss their thresholds, each name once."""
    return list({m.name: m for m in gate.measurements if fell_short(m)}.values())


def uncomputed(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The judged figures that could not be computed."""
    return [m for m in measurements if m.op is not None and number(m.value) is None]


def label(name: str) -> str:
    """`t2a.win_rate_shuffled` as `t2a win rate shuffled`."""
    words = name.replace("win_rate", "win rate").replace("delta_", "Δ ").replace("_pct", " in %")
    return words.replace(".", " ").replace("_", " ")


def rounded(m: Measurement) -> str:
    """The value in round form with its interval and unit: `0.54 [0.49, 0.60] nats/token`."""
    if number(m.value) is None:
        return "could not be computed"
    ends = [number(end) for end in (m.low, m.high)]
    interval = f" [{_round(ends[0], m)}, {_round(ends[1], m)}]" if None not in ends else ""
    unit = "" if m.unit == "share" else f" {m.unit}"
    return f"{_round(m.value, m)}{interval}{unit}"


def point(m: Measurement) -> str:
    """The value in round form, without its interval."""
    return rounded(m.model_copy(update={"low": None, "high": None}))


def figure(m: Measurement) -> str:
    """Name and value, without what was asked for."""
    name, value = label(m.name), rounded(m)
    # `text rows changed 12`, not `text rows changed 12 rows`.
    return f"{name} {value.removesuffix(f' {m.unit}') if m.unit and m.unit in name.split() else value}"


def shortfall(m: Measurement) -> str:
    """Name, value and what was asked for."""
    op = "" if m.op in (None, "==") else f"{m.op} "
    asked = f", asked for {op}{m.threshold:g}" if m.threshold is not None else ""
    return figure(m) + asked


def shortfalls(gate: GateResult | None, most: int = 2) -> tuple[str, ...]:
    """The first figures of a gate that miss their thresholds, and how many more do."""
    short = short_of(gate) if gate else []
    more = (f"and {len(short) - most} more",) if len(short) > most else ()
    return tuple(shortfall(m) for m in short[:most]) + more


def named(gate: GateResult) -> str:
    """`P0.4 prompt_ablation`."""
    return f"{gate.id} {gate.name}"


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def first_advice(gate: GateResult) -> str:
    """The first fix that a gate gives."""
    return gate.advice[0] if gate.advice else "See the gate's report."


def _round(value: float | None, m: Measurement) -> str:
    if value is None:
        return "?"
    if m.unit in ("share", "nats/token"):
        decimals = 3 if 0 < abs(m.value or 0.0) < 0.01 else 2
        # + 0.0: a rounded -0.001 is 0.00, and no negative zero.
        return f"{round(value, decimals) + 0.0:.{decimals}f}"
    # 999.6 to three digits would be 1e+03.
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
