"""How far each threshold could be loosened before a fault that is caught today would get through."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gates.selftest.found import Found
from harness.results import Measurement, Op, Verdict

# Of a rule, which way its threshold is loosened. Exact rules (==) have no way: they are not for loosening.
_LOOSER: dict[Op, Callable[[float, float], bool]] = {
    ">=": operator.lt, ">": operator.lt, "<=": operator.gt, "<": operator.gt,
}  # fmt: skip


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
            if own.op in _LOOSER and own.threshold is not None:
                of_gate = [each for each in caught if each.gate == gate.id]
                result.append(_margin(gate.id, own, own.op, own.threshold, of_gate))
    return result


def _margin(gate: str, own: Measurement, op: Op, threshold: float, caught: list[Found]) -> Margin:
    failed = {each.name: value for each in caught if (value := _failing(each).get(own.name)) is not None}
    alone = {each.name: failed[each.name] for each in caught if set(_failing(each)) == {own.name}}
    looser = _LOOSER[op]
    fault = None
    for name, value in alone.items():
        if fault is None or looser(alone[fault], value):
            fault = name
    nearest = None if fault is None else alone[fault]
    return Margin(gate, own.name, own.unit, op, threshold, own.value, nearest, fault, len(alone), len(failed))


def _failing(found: Found) -> dict[str, float]:
    """The judged figures that do not meet their rule on a broken copy, by name."""
    rules: dict[Op, Callable[[float, float], bool]] = {
        "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
    }  # fmt: skip
    failing = {}
    for each in found.result.measurements if found.result else ():
        if each.op is None or each.threshold is None:
            continue
        if each.value is None:
            failing[each.name] = float("nan")
        elif not rules[each.op](each.value, each.threshold):
            failing[each.name] = each.value
    return failing
