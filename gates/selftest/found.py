"""What the gates made of one fault or of one harmless change, held against what they should have made of it."""

from dataclasses import dataclass
from typing import Any, Literal

from gates.outcomes import SEVERITY, UNEXPECTED
from gates.selftest.runs import Run
from harness.faults.fault import Fault
from harness.results import GateResult, Outcome, Stage, Verdict

# caught       the named gate is red, for the named reason, with the named advice, and no other gate crashed
# got through  the named gate is green
# misnamed     the named gate is red, and its findings or its advice do not say what they should
# crashed      a P0 gate ended with an exception that nobody foresaw, or the run left no verdict
# untold       the gate is red, or not run, without the fault as well
# no place     the checkpoint has nothing to plant the fault in
# harmless     a harmless change changed nothing
# false alarm  a harmless change turned a gate red
Ending = Literal["caught", "got through", "misnamed", "crashed", "untold", "no place", "harmless", "false alarm"]
BAD: tuple[Ending, ...] = ("got through", "misnamed", "crashed", "false alarm")
_RED: tuple[Outcome, ...] = ("fail", "error", "not_run")


@dataclass(frozen=True)
class Found:
    """What became of one fault, or of one harmless change.

    Attributes:
        name: as in the catalogue.
        gate: the gate that had to turn red; for a harmless change, the one that did.
        ending: see above.
        why: one line for the reader.
        also_red: ids of the other gates that turned red.
        result: the named gate's result; None where there is none.
    """

    name: str
    stage: Stage
    gate: str
    ending: Ending
    why: str
    also_red: tuple[str, ...] = ()
    result: GateResult | None = None


def judge_fault(fault: Fault, stage: Stage, run: Run, control: Verdict) -> Found:
    """Hold a run on a broken copy against what the fault's entry says.

    Args:
        fault: what was planted.
        stage: which gates were run.
        run: how that ended.
        control: the verdict on the copy without the fault.
    """
    gate = fault.gate_of(stage) or ""
    before = result_of(control, gate)
    if untold := _untold(fault, before):
        return Found(fault.name, stage, gate, "untold", untold)
    if run.verdict is None:
        return Found(fault.name, stage, gate, "crashed", f"no verdict; exit code {run.exit_code}, see {run.log}")
    result = result_of(run.verdict, gate)
    also = also_red(run.verdict, control, gate)
    crashed = [f"{each.id}: {each.details[UNEXPECTED]}: {_reason(each)}" for each in unexpected(run.verdict)]
    if crashed:
        return Found(fault.name, stage, gate, "crashed", "; ".join(crashed), also, result)
    ending, why = _ending(fault, result)
    return Found(fault.name, stage, gate, ending, why, also, result)


def judge_harmless(name: str, stage: Stage, run: Run, control: Verdict) -> Found:
    """Hold a run on a copy with a harmless change against the run without it."""
    if run.verdict is None:
        return Found(name, stage, "", "crashed", f"no verdict; exit code {run.exit_code}, see {run.log}")
    red = also_red(run.verdict, control)
    if not red:
        return Found(name, stage, "", "harmless", "every gate as before")
    result = result_of(run.verdict, red[0])
    return Found(name, stage, red[0], "false alarm", _reason(result), red[1:], result)


def result_of(verdict: Verdict, gate: str) -> GateResult | None:
    """A gate's result."""
    return next((each for each in verdict.gates if each.id == gate), None)


def also_red(verdict: Verdict, control: Verdict, but: str = "") -> tuple[str, ...]:
    """Gates that are worse than in the control, one of them left out."""
    before = {each.id: SEVERITY[each.outcome] for each in control.gates}
    return tuple(
        each.id for each in verdict.gates if each.id != but and SEVERITY[each.outcome] > before.get(each.id, 0)
    )


def unexpected(verdict: Verdict) -> list[GateResult]:
    """P0 gates that ended with an exception that is neither a judgement nor a known defect of an input."""
    return [each for each in verdict.gates if each.priority == "P0" and UNEXPECTED in each.details]


def said(result: GateResult) -> str:
    """All that a gate says about what it found, as one text: reason, notes, worst examples, findings, tables."""
    details: dict[str, Any] = result.details
    worst = [f"{row['id']} {row.get('prompt', '')} {row['note']}" for row in details.get("worst", [])]
    findings = [" ".join(str(value) for value in row.values()) for row in details.get("findings", [])]
    tables = [" ".join(str(cell) for cell in row) for table in details.get("tables", []) for row in table["rows"]]
    return "\n".join([str(details.get("reason", "")), *details.get("notes", []), *worst, *findings, *tables])


def advised(result: GateResult) -> str:
    """All that a gate advises: its standing advice, and what it adds for this case."""
    return "\n".join([*result.advice, said(result)])


def _untold(fault: Fault, before: GateResult | None) -> str:
    if before is None or before.outcome == "not_run":
        return f"not run without the fault either: {_reason(before)}" if before else "no such gate in the verdict"
    # A gate that cannot tell for want of examples can still refute.
    if before.outcome == "fail" or (before.outcome == "error" and fault.unmeasured):
        return f"red without the fault: {_reason(before)}"
    return ""


def _ending(fault: Fault, result: GateResult | None) -> tuple[Ending, str]:
    if result is None:
        return "crashed", "the verdict has no such gate"
    red = result.outcome == "fail" or (fault.unmeasured and result.outcome in _RED)
    if not red:
        outcome = "green" if result.outcome == "pass" else f"{result.outcome}: {_reason(result)}"
        return "got through", f"{result.id} is {outcome}"
    if fault.reason not in said(result):
        return "misnamed", f"red without saying {fault.reason!r}: {_reason(result)}"
    if fault.advice not in advised(result):
        return "misnamed", f"red without advising {fault.advice!r}: {_reason(result)}"
    return "caught", _reason(result)


def _reason(result: GateResult | None) -> str:
    return "" if result is None else str(result.details.get("reason", result.outcome))
