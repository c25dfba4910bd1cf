"""What to do next: the decision rules of the spec, applied to what the gates measured and what the run was.

Each rule is a small pure function that leaves a Step (why, with which figures, what to do) or None where it does not
apply; the first that does is the next step.

Source: spec/stage3-iteration.md, sections 1, 3, 7 and 8; spec/stage4-verification.md, sections B and C, and its overall
assessment.
"""

from gates.next_step import stage3, stage4
from gates.next_step.borderline import has_too_few
from gates.next_step.borderline import remark as borderline_remark
from gates.next_step.step import Gates, listed, named
from gates.next_step.trained import Trained, what_was_trained
from gates.stage3.thresholds import Stage3Thresholds
from gates.thresholds import StageThresholds
from harness.results import Decision, Stage

__all__ = ["Trained", "next_step", "what_was_trained"]


def next_step(
    stage: Stage,
    decision: Decision,
    gates: Gates,
    *,
    smoke: bool,
    thresholds: StageThresholds | None = None,
    trained: Trained | None = None,
) -> str:
    """A few sentences, with the figures that led to them.

    Args:
        stage: whose rules apply.
        decision: the verdict.
        gates: every gate of the stage.
        smoke: whether only some examples were measured.
        thresholds: those of the run; the spec's where not given.
        trained: what is known of the run that made the checkpoint.
    """
    if decision == "INCOMPLETE":
        said = _incomplete(gates, smoke=smoke)
    else:
        trained = trained or Trained()
        numbers = thresholds if isinstance(thresholds, Stage3Thresholds) else Stage3Thresholds()
        step = stage3.step(gates, numbers, trained) if stage == "stage3" else stage4.step(gates, trained)
        said = f"{_lead(gates)}{step}" if decision == "REJECT" else str(step)
    remark = None if smoke else borderline_remark(gates, only_short=decision == "REJECT")
    if remark is None:
        return said
    more = "" if "held-out examples" in said else " Give more held-out examples (--golden, --dev)."
    return f"{said} {remark}{more}"


def _lead(gates: Gates) -> str:
    """Which gates stand in the way: a rule names only the one that comes first."""
    failed = [named(gate) for gate in gates if gate.priority == "P0" and gate.outcome == "fail"]
    unmeasured = [named(gate) for gate in gates if gate.priority == "P0" and gate.outcome in ("error", "not_run")]
    also = f"; not measured: {listed(unmeasured)}" if unmeasured else ""
    return f"Do not promote: {listed(failed)} failed{also}. " if failed else "Do not promote. "


def _incomplete(gates: Gates, *, smoke: bool) -> str:
    if smoke:
        return "This was a smoke run: run again without --max-examples."
    open_gates = [gate for gate in gates if gate.priority == "P0" and gate.outcome != "pass"]
    if not open_gates:
        return "Not a whole run: run all gates again."
    too_few = [named(gate) for gate in open_gates if has_too_few(gate)]
    unmeasured = [named(gate) for gate in open_gates if not has_too_few(gate)]
    said = []
    if unmeasured:
        said.append(f"{listed(unmeasured)} must be measured. Mend what stopped them and run again.")
    if too_few:
        said.append(f"{listed(too_few)} had too few examples to tell.")
    return f"Not judged yet: {' '.join(said)}"
