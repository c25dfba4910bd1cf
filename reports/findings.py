"""What a verdict says in words: which rule was not met, what stands first, and why the decision is what it is."""

from typing import Literal

from harness.results import GateResult, Measurement, Op, Outcome, Verdict
from reports.format import interval_of, measured, rule_of, value_of, with_unit

Standing = Literal["not_met", "not_measured", "unproven", "met", "reported"]

# Each outcome and standing has a sign and a word: colour only repeats what they say.
OUTCOME_SIGN: dict[Outcome, str] = {"pass": "✓", "fail": "✕", "error": "!", "not_run": "–"}
OUTCOME_WORD: dict[Outcome, str] = {"pass": "passed", "fail": "failed", "error": "error", "not_run": "not run"}
STANDING_SIGN: dict[Standing, str] = {"not_met": "✕", "not_measured": "!", "unproven": "≈", "met": "✓", "reported": "·"}
STANDING_WORD: dict[Standing, str] = {
    "not_met": "not met",
    "not_measured": "not measured",
    "unproven": "met, not proven",
    "met": "met",
    "reported": "reported only",
}
_WORST_FIRST: tuple[Standing, ...] = ("not_met", "not_measured", "unproven", "met", "reported")
_OUTCOMES_WORST_FIRST: tuple[Outcome, ...] = ("fail", "error", "not_run", "pass")
_WHAT_HAPPENED: dict[Outcome, str] = {
    "pass": "passed",
    "fail": "failed",
    "error": "could not be measured",
    "not_run": "was not run",
}


def standing(measurement: Measurement) -> Standing:
    """How a figure stands to its own rule, by the point estimate."""
    if measurement.op is None or measurement.threshold is None:
        return "reported"
    if measurement.value is None or not measured(measurement.value):
        return "not_measured"
    if not _holds(measurement.value, measurement.op, measurement.threshold):
        return "not_met"
    return "unproven" if measurement.confidence in ("borderline", "refuted") else "met"


def _holds(value: float, op: Op, threshold: float) -> bool:
    return {
        "<": value < threshold,
        "<=": value <= threshold,
        ">": value > threshold,
        ">=": value >= threshold,
        "==": value == threshold,
    }[op]


def worst_first(gate: GateResult) -> list[Measurement]:
    """The gate's measurements, those that miss their rule first."""
    return sorted(gate.measurements, key=lambda each: _WORST_FIRST.index(standing(each)))


def headline(gate: GateResult) -> Measurement | None:
    """The one figure that stands for the gate: what went wrong, or, where it passed, the first rule that was met."""
    if gate.outcome != "pass":
        return next(iter(worst_first(gate)), None)
    # A gate may pass although one of its rules is not met ("at least one of T2A and T2I").
    met = [each for each in gate.measurements if standing(each) in ("met", "unproven")]
    return next(iter([*met, *gate.measurements]), None)


def sentence(measurement: Measurement) -> str:
    """The figure, its interval and what was asked, in one line."""
    text = f"{measurement.name} {with_unit(value_of(measurement), measurement.unit)}"
    known = [f"95 % interval {interval_of(measurement)}"] if interval_of(measurement) != "–" else []
    asked = [f"asked {rule_of(measurement)}"] if rule_of(measurement) else []
    beside = "; ".join([*asked, *known])
    return f"{text} ({beside})" if beside else text


def headline_text(gate: GateResult) -> str:
    """The headline figure as text; a dash where nothing was measured."""
    figure = headline(gate)
    if figure is None:
        return "–"
    asked = f" (asked {rule_of(figure)})" if rule_of(figure) else ""
    return f"{figure.name} {with_unit(value_of(figure), figure.unit)}{asked}"


def not_passed(verdict: Verdict) -> list[GateResult]:
    """Gates that did not pass: P0 before P1, failures before errors before what was not run."""
    gates = [gate for gate in verdict.gates if gate.outcome != "pass"]
    return sorted(gates, key=lambda gate: (gate.priority, _OUTCOMES_WORST_FIRST.index(gate.outcome)))


def why(verdict: Verdict) -> str:
    """One sentence: what the decision rests on."""
    blocking = [gate for gate in verdict.gates if gate.priority == "P0"]
    wrong = [gate for gate in not_passed(verdict) if gate.priority == "P0"]
    if verdict.verdict == "PROMOTE":
        return _why_promote(len(blocking), [gate for gate in not_passed(verdict) if gate.priority == "P1"])
    if not blocking:
        return "No P0 gate was run, so nothing speaks for this checkpoint."
    if not wrong:
        return "Every P0 gate passed, but the run was not a whole one, so it cannot promote."
    return _why_not(wrong)


def _why_promote(n_blocking: int, warnings: list[GateResult]) -> str:
    text = f"Every P0 gate passed ({n_blocking} of {n_blocking})"
    if not warnings:
        return f"{text}, and no P1 gate warns."
    return f"{text}; {_count(len(warnings), 'P1 gate')} did not, and {'is' if len(warnings) == 1 else 'are'} a warning."


def _why_not(wrong: list[GateResult]) -> str:
    first, others = wrong[0], len(wrong) - 1
    figure = headline(first)
    shown = figure is not None and first.outcome == "fail" and standing(figure) != "reported"
    because = f": {headline_text(first)}" if shown else ""
    more = f"; {_count(others, 'other P0 gate')} did not pass either" if others else ""
    return f"{first.id} {first.name} {_WHAT_HAPPENED[first.outcome]}{because}{more}."


def finding_text(gate: GateResult) -> str:
    """One line about a gate that did not pass: what happened, by which figure, and what to try first."""
    figure = headline(gate)
    because = f": {sentence(figure)}" if figure is not None and standing(figure) != "reported" else ""
    reason = gate.details.get("reason")
    if not because and isinstance(reason, str) and reason:
        because = f": {reason}"
    try_first = f" Try first: {gate.advice[0]}" if gate.advice else ""
    return f"{_WHAT_HAPPENED[gate.outcome]}{because.rstrip('.')}.{try_first}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
