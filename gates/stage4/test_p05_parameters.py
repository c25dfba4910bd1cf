"""P0.5 parameters: only what stage 4 may train has moved, and the adapter is there and works.

Claim    Text rows [0, V_text) of embedding and head and the frozen tensors are the base's, bit for bit; the adapter is
         attached and changes what the model computes.
Measure  Rows and tensors whose stored bits differ from the base's, or from its fingerprint; tensors that one of the two
         lacks; the largest change of a logit by the adapter, on golden examples. Of a merged checkpoint instead: how
         far each adapted weight is from base + scale * B @ A.
Accept   Nothing but modality rows and the adapter moved; a logit changes; merged weights equal within float32 rounding.
Source   spec/stage4-verification.md, P0.5.
"""

import numpy as np

from gates.gate import Accept, Gate, gate
from gates.moved import judge_moved
from gates.stage4.thresholds import Stage4Thresholds
from harness.checkpoint import Checkpoint
from harness.merge import Merge
from harness.parameters import ParameterAudit
from harness.results import Measurement

P05 = Gate(
    id="P0.5",
    name="parameters",
    priority="P0",
    claim="Only modality rows and the adapter have moved",
    source="spec/stage4-verification.md P0.5",
    advice=(
        "Text rows moved: the masking or hook is wrong; train the new rows as a parameter of their own.",
        "No modality row moved: see that gradients reach both tables, and that updates are not rounded away.",
        "Frozen tensors moved: freeze the base, give the optimiser the adapter and the new rows alone. If the adapter "
        "was merged on purpose, pass it with --lora, so that the merge can be checked.",
        "The adapter changes nothing: B is still zero (it never trained, or another adapter was saved), or its keys do "
        "not land on the model's modules.",
        "A merge is off: merge once, in float32, with the adapter's own alpha and rank, and save it in float32.",
    ),
)


@gate(P05)
def test_only_modality_rows_and_the_adapter_have_moved(
    checkpoint: Checkpoint, thresholds: Stage4Thresholds, accept: Accept
) -> None:
    audit = checkpoint.parameters()
    judge_moved(accept, audit)

    attached = Measurement(name="adapted_modules", value=audit.adapter_modules, unit="modules", n=1)
    has_adapter = accept(attached, above=0)
    if audit.merges:
        _judge_merge(accept, audit, thresholds.max_merge_error_f32_units)
    elif has_adapter:
        _judge_effect(accept, audit, checkpoint.adapter_effect(thresholds.adapter_effect_examples))


def _judge_effect(accept: Accept, audit: ParameterAudit, changes: np.ndarray) -> None:
    largest = float(changes.max()) if len(changes) else None
    accept(Measurement(name="adapter_logit_change", value=largest, unit="logits", n=len(changes)), above=0)
    zeros = Measurement(
        name="adapter_modules_without_effect", value=len(audit.zero_modules), unit="modules", n=audit.adapter_modules
    )
    accept.report(zeros)
    if audit.zero_modules:
        name = "adapter" if len(audit.zero_modules) == audit.adapter_modules else audit.zero_modules[0]
        note = f"A or B is all zeros in {len(audit.zero_modules)} of {audit.adapter_modules} adapted modules: a no-op"
        accept.details["worst"].append({"id": name, "prompt": "", "note": note})


def _judge_merge(accept: Accept, audit: ParameterAudit, at_most: float) -> None:
    errors = np.array([merge.error for merge in audit.merges])
    off = [merge for merge in audit.merges if not merge.error <= at_most]
    # An unlike shape or a NaN has no error; np.max keeps it, and what cannot be computed does not pass.
    error = Measurement(name="merge_error", value=_finite(errors.max()), unit="float32 units", n=len(errors))
    accept(error, at_most=at_most)
    accept.details["worst"] += [{"id": merge.name, "prompt": "", "note": _off(merge)} for merge in off[:20]]


def _off(merge: Merge) -> str:
    if merge.narrow:
        return f"merged and rounded in {merge.narrow}: {merge.error:.3g} float32 units from base + scale * B @ A"
    return f"{merge.error:.3g} float32 units from base + scale * B @ A, of which it holds {merge.factor:.3g} times"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
