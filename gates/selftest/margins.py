"""How far each threshold could be loosened before a fault that is caught today would get through."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gates.next_step.step import fell_short
from gates.selftest.found import Found
from harness.results import Measurement, Op, Verdict

# Of the faults' figures, all on the wrong side of a threshold, the nearest to it. Exact rules (==) have none: they are
# not for loosening.
_NEAREST: dict[Op, Any] = {">=": max, ">": max, "<=": min, "<": min}


@dataclass(frozen=True)
class Margin:
    """How far one figure's threshold could be moved.

    Attributes:
        gate, figure, unit: what is judged.
        op, threshold: the rule in force.
        own: the figure of the checkpoint without any fault.
        nearest: of the faults that this figure alone gives away, the figure that lies nearest to the threshold: a
            threshold beyond it lets that fault through. None where no fault depends on this figure alone.
        fault: that fault.
        n_alone: how many faults this figure alone gives away.
        n_failed: how many faults it fails on.
    """

    gate: str
    figure: str
    unit: str
    op: Op
    threshold: float
    own: float | None
    nearest: float | None
    fault: str | None
    n_alone: int
    n_failed: int


def margins(control: Verdict, found: Sequence[Found]) -> list[Margin]:
    """The margin of every figure that is held against a number and not against nothing at all.

    By point estimates: where a rule asks for a proven figure, the interval decides earlier.
    """
    caught = [each for each in found if each.ending == "caught" and each.result is not None]
    result = []
    for gate in control.gates:
        for own in gate.measurements:
            if own.op in _NEAREST and own.threshold is not None:
                of_gate = [each for each in caught if each.gate == gate.id]
                result.append(_margin(gate.id, own, own.op, own.threshold, of_gate))
    return result


def _margin(gate: str, own: Measurement, op: Op, threshold: float, caught: list[Found]) -> Margin:
    short = {each.name: _short(each) for each in caught}
    failed = [name for name, figures in short.items() if own.name in figures]
    # A figure that could not be computed falls short of every threshold: no loosening lets that fault through.
    only = {name: short[name][own.name] for name in failed if len(short[name]) == 1}
    alone = {name: value for name, value in only.items() if value is not None}
    fault = _NEAREST[op](alone, key=alone.__getitem__) if alone else None
    nearest = None if fault is None else alone[fault]
    return Margin(gate, own.name, own.unit, op, threshold, own.value, nearest, fault, len(alone), len(failed))


def _short(found: Found) -> dict[str, float | None]:
    """The judged figures that miss their thresholds on a broken copy, by name."""
    return {m.name: m.value for m in found.result.measurements if fell_short(m)} if found.result else {}
