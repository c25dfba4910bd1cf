"""What to do next: the decision rules of the spec, applied to the gates' outcomes."""

from harness.results import Decision, GateResult, Stage


def next_step(stage: Stage, decision: Decision, gates: tuple[GateResult, ...], *, smoke: bool) -> str:
    """One or two sentences.

    Source: spec/stage3-iteration.md section 8; spec/stage4-verification.md sections B and C.
    """
    failed = [gate for gate in gates if gate.priority == "P0" and gate.outcome == "fail"]
    if decision == "REJECT":
        first = failed[0]
        advice = first.advice[0] if first.advice else "See the gate's report."
        return f"Do not promote: {first.id} {first.name} failed. {advice}"
    if decision == "INCOMPLETE":
        if smoke:
            return "This was a smoke run: run again without --max-examples."
        unmeasured = [f"{gate.id} {gate.name}" for gate in gates if gate.priority == "P0" and gate.outcome != "pass"]
        return f"Not judged yet: {', '.join(unmeasured)} must be measured. Mend what stopped them and run again."
    if stage == "stage3":
        return "The ablation gap is strong and the parameters are clean: go to tier C or the full run, then stage 4."
    return "Both stage 4 conditions hold, decoding and conditionality: go on to the scale run (more steps or data)."
