"""Which of two checkpoints is worse in what: the rules by which `gates compare` judges.

A judged figure is worse where its difference lies on the wrong side of 0 with an interval that holds for all judged
differences at once (Bonferroni): of forty figures, one or two would seem worse by chance alone.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from gates.commands.pairing import Pairing, pairing_of
from harness.comparison import Difference, unpaired_difference
from harness.results import GateResult, Measurement, Outcome, Priority, Verdict
from harness.statistics import CONFIDENCE_LEVEL
from reports.comparison import CHANGE_WORD, WORST_FIRST, Change, Comparison, GateChange, MeasureChange, difference_of

_RANK: dict[Outcome | None, int] = {"pass": 0, "not_run": 1, "error": 1, None: 1, "fail": 2}
_SAME_RUN = ("dtype", "device", "seed")
Key = tuple[str, str]  # gate id, name of the measure


def compare_verdicts(a: Verdict, b: Verdict, path_a: Path, path_b: Path) -> Comparison:
    """Compare two verdicts of one stage."""
    pairing = pairing_of(a, b)
    figures = {key: (ours, theirs) for key, ours, theirs in _beside(_figures(a), _figures(b))}
    n = sum(_is_judged(ours, theirs) and _has_interval(ours, theirs) for ours, theirs in figures.values())
    levels = (CONFIDENCE_LEVEL, 1 - (1 - CONFIDENCE_LEVEL) / max(n, 1))
    paired = pairing.differences(levels)
    measures = [_measure_change(key, *both, paired, pairing, levels) for key, both in figures.items()]
    measures += pairing.own_losses(paired)
    measures.sort(key=lambda each: WORST_FIRST.index(each.change))
    gates = sorted(_gate_changes(a, b), key=lambda each: (WORST_FIRST.index(each.change), each.priority))
    return Comparison(
        path_a=str(path_a), path_b=str(path_b), a=a, b=b, gates=tuple(gates), measures=tuple(measures),
        unpaired_because=pairing.because, caveats=_caveats(a, b, pairing), n_together=n,
        regressions=tuple(_regressions(a, b, gates, measures)),
    )  # fmt: skip


def _figures(verdict: Verdict) -> dict[Key, Measurement]:
    """Measures by gate and name; of one that was judged by several rules the last, which the others come before."""
    found: dict[Key, Measurement] = {}
    for gate in verdict.gates:
        for each in gate.measurements:
            if (gate.id, each.name) not in found or each.op is not None:
                found[gate.id, each.name] = each
    return found


def _beside(
    a: dict[Key, Measurement], b: dict[Key, Measurement]
) -> Iterable[tuple[Key, Measurement | None, Measurement | None]]:
    return ((key, a.get(key), b.get(key)) for key in dict.fromkeys([*a, *b]))


def _is_judged(*both: Measurement | None) -> bool:
    return any(each is not None and each.op is not None for each in both)


def _has_interval(*both: Measurement | None) -> bool:
    return all(each is not None and each.low is not None and each.high is not None for each in both)


def _measure_change(
    key: Key,
    a: Measurement | None,
    b: Measurement | None,
    paired: dict[Key, Difference],
    pairing: Pairing,
    levels: tuple[float, ...],
) -> MeasureChange:
    gate, name = key
    unit = (b or a or Measurement(name="", value=None, unit="", n=0)).unit
    if a is None or b is None or a.unit != b.unit:
        return MeasureChange(gate, name, unit, a, b, "absent" if _is_judged(a, b) else "no_direction")
    if not (_known(a) and _known(b)):
        return MeasureChange(gate, name, unit, a, b, _known_change(a, b))
    difference = paired.get(key) or unpaired_difference(a, b, levels)
    if difference is None:
        value = float(b.value or 0) - float(a.value or 0)
        return MeasureChange(gate, name, unit, a, b, _bare_change(a, b), value)
    low, high = (each if math.isfinite(each) else None for each in difference.intervals[0])
    return MeasureChange(
        gate, name, unit, a, b, _change(a, b, difference), difference.value, low, high,
        paired=key in paired, p=pairing.p_of(key),
    )  # fmt: skip


def _known_change(a: Measurement, b: Measurement) -> Change:
    """Of figures of which at least one could not be computed: what B cannot measure any more counts as worse."""
    if not _is_judged(a, b):
        return "no_direction"
    return "lost" if _known(a) else "better" if _known(b) else "same"


def _known(measurement: Measurement) -> bool:
    return measurement.value is not None and math.isfinite(measurement.value)


def _better_when_higher(a: Measurement, b: Measurement) -> bool | None:
    """The direction of the rule; None for a figure without one, and for one that is to equal a number."""
    op = b.op or a.op
    return None if op in (None, "==") else op in (">", ">=")


def _change(a: Measurement, b: Measurement, difference: Difference) -> Change:
    """By the interval that holds for all judged figures at once, the last one."""
    if not _is_judged(a, b):
        return "no_direction"
    higher = _better_when_higher(a, b)
    if higher is None:
        return _bare_change(a, b)
    low, high = difference.intervals[-1]
    if low > 0 or high < 0:
        return "better" if (low > 0) == higher else "worse"
    return "same" if difference.value == 0 else "unclear"


def _bare_change(a: Measurement, b: Measurement) -> Change:
    """Of figures that have no interval: only one that leaves the passing side of its rule is worse, or enters it."""
    if not _is_judged(a, b):
        return "no_direction"
    met_a, met_b = _met(a, b), _met(b, a)
    if met_a != met_b:
        return "better" if met_b else "worse"
    return "same" if a.value == b.value else "unclear"


def _met(figure: Measurement, other: Measurement) -> bool:
    """Whether a figure meets its rule, or the other's where it has none."""
    op, threshold = (figure.op, figure.threshold) if figure.op else (other.op, other.threshold)
    value = float(figure.value or 0)
    if threshold is None:
        return True
    return {"<": value < threshold, "<=": value <= threshold, ">": value > threshold, ">=": value >= threshold}.get(
        str(op), value == threshold
    )


def _gate_changes(a: Verdict, b: Verdict) -> list[GateChange]:
    gates_a, gates_b = ({gate.id: gate for gate in each.gates} for each in (a, b))
    return [_gate_change(gates_a.get(id), gates_b.get(id)) for id in dict.fromkeys([*gates_a, *gates_b])]


def _gate_change(a: GateResult | None, b: GateResult | None) -> GateChange:
    gate = b or a
    assert gate is not None
    before, after = (each.outcome if each else None for each in (a, b))
    step = _RANK[after] - _RANK[before]
    change: Change = "same" if before == after else "worse" if step > 0 else "better" if step < 0 else "unclear"
    priority: Priority = "P0" if "P0" in {each.priority for each in (a, b) if each} else "P1"
    return GateChange(gate.id, gate.name, priority, before, after, change)


def _regressions(a: Verdict, b: Verdict, gates: list[GateChange], measures: list[MeasureChange]) -> Iterable[str]:
    if a.verdict == "PROMOTE" and b.verdict != "PROMOTE":
        yield f"the verdict was PROMOTE and is {b.verdict}"
    for gate in gates:
        if gate.priority == "P0" and gate.change == "worse":
            before, after = ((each or "absent").replace("_", " ") for each in (gate.a, gate.b))
            yield f"{gate.id} {gate.name} was {before} and is {after}"
    for each in measures:
        # A figure that B does not have at all is its gate's to judge; one that could not be computed is worse.
        if each.change in ("worse", "lost"):
            difference = f" ({difference_of(each)})" if each.difference is not None else ""
            yield f"{each.gate} {each.name} is {CHANGE_WORD[each.change]}{difference}"


def _caveats(a: Verdict, b: Verdict, pairing: Pairing) -> tuple[str, ...]:
    found = [
        f"{name}: A has {getattr(a.run, name)}, B has {getattr(b.run, name)}"
        for name in _SAME_RUN
        if getattr(a.run, name) != getattr(b.run, name)
    ]
    for package in ("modality-gates", "torch"):
        versions = a.run.versions.get(package), b.run.versions.get(package)
        if versions[0] != versions[1]:
            found.append(f"{package}: A has {versions[0]}, B has {versions[1]}")
    if a.thresholds.changed != b.thresholds.changed:
        found.append("thresholds: they were not judged under the same numbers; differences do not depend on them")
    return (*found, *pairing.caveats)
