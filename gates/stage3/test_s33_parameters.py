"""S3.3 parameters: only what stage 3 may train has moved.

Claim    Text rows [0, V_text) of embedding and head and all of the backbone are the base's, bit for bit; only modality
         rows differ.
Measure  Rows and tensors whose stored bits differ from the base's, or from its fingerprint; tensors that one of the two
         lacks; an adapter, which stage 3 has not.
Accept   None of them; of the modality rows, some have moved from the parent's.
Source   spec/stage3-iteration.md, section 6B.
"""

from gates.gate import Accept, Gate, gate
from gates.moved import judge_moved
from harness.checkpoint import Checkpoint
from harness.results import Measurement

S33 = Gate(
    id="S3.3",
    name="parameters",
    priority="P0",
    claim="Only modality rows have moved",
    source="spec/stage3-iteration.md section 6B",
    advice=(
        "The masking or hook is wrong: train the new rows as a parameter of their own, so that nothing else can move.",
        "No modality row moved: see that gradients reach both tables, and that updates are not rounded away.",
        "An adapter is attached: stage 3 trains rows alone. Save without it, or judge the checkpoint as stage 4.",
        "The notes say what the change looks like, and what to do about that.",
    ),
)


@gate(S33)
def test_only_modality_rows_have_moved(checkpoint: Checkpoint, accept: Accept) -> None:
    audit = checkpoint.parameters()
    judge_moved(accept, audit)

    accept(Measurement(name="adapted_modules", value=audit.adapter_modules, unit="modules", n=1), exactly=0)
