"""What was written does not decode: which of section C's fixes, by the fault that was counted."""

from gates.next_step.step import Step, first_advice, shortfalls
from harness.compliance import CODEBOOK_MISMATCH, EMPTY_OUTPUT
from harness.media_faults import FAULTS, NO_AUDIO_RANGE, NOT_IMAGE
from harness.results import GateResult

WRONG_TYPES = (EMPTY_OUTPUT, CODEBOOK_MISMATCH, NO_AUDIO_RANGE, NOT_IMAGE)
MOST_NAMED = 3


def decode_first(gate: GateResult | None, *, constrained: bool) -> Step | None:
    """The fix of the fault that comes first; None where everything decoded.

    Args:
        gate: P0.3.
        constrained: whether the checkpoint is served under the constraint, which rules wrong types out.
    """
    if gate is None or gate.outcome != "fail":
        return None
    found = counted(gate)
    figures = (*shortfalls(gate), *(f"{fault} {n:g}" for fault, n in found[:MOST_NAMED]))
    if not found:
        return Step("Not everything that it writes decodes", first_advice(gate), figures)
    fault = found[0][0]
    action = advice_on(gate, fault)
    if constrained and fault in WRONG_TYPES:
        action = (
            "It is served constrained already, which allows no such id: the constraint has a bug. Hold the ids that it "
            "allows at each position against the codebook whose turn it is."
        )
    return Step(f"Not everything that it writes decodes, first of all for “{fault}”", action, figures)


def counted(gate: GateResult) -> list[tuple[str, float]]:
    """How often each fault was met, over all tasks, in the order in which to mend them."""
    found = []
    for table in gate.details.get("tables", []):
        for fault, *counts in table.get("rows", []):
            if fault in FAULTS:
                found.append((str(fault), sum(n for n in counts if isinstance(n, int | float))))
    return found


def advice_on(gate: GateResult, fault: str) -> str:
    """The gate's advice that names a fault before its colon."""
    return next((a for a in gate.advice if fault.lower() in a.partition(":")[0].lower()), first_advice(gate))
