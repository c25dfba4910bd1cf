"""S3.3 parameters: only what stage 3 may train has moved.

Claim    Text rows [0, V_text) of embedding and head and all of the backbone are the base's, bit for bit; only modality
         rows differ.
Measure  Rows and tensors whose stored bytes differ from the base's fingerprint; tensors that one of the two lacks; an
         adapter, which stage 3 has not.
Accept   None of them.
Source   spec/stage3-iteration.md, section 6B.
"""

from gates.gate import Accept, Gate, gate
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
        "Weight decay moves rows whose gradient is masked: set it to 0 for both tables, or keep the rows apart.",
        "If every value moved by less than one unit in the last place, the tables went through a narrower dtype.",
    ),
)


@gate(S33)
def test_only_modality_rows_have_moved(checkpoint: Checkpoint, accept: Accept) -> None:
    audit = checkpoint.parameters()
    counts = {
        "text_rows_changed": (audit.text_rows_changed, "rows", audit.text_rows_compared),
        "frozen_tensors_changed": (audit.tensors_changed, "tensors", audit.tensors_compared),
        "unexpected_tensors": (len(audit.unexpected), "tensors", audit.tensors_compared),
        "missing_tensors": (len(audit.missing), "tensors", audit.tensors_compared),
        "adapters": (int("lora" in checkpoint.bundle.inputs), "adapters", 1),
    }
    for name, (value, unit, n) in counts.items():
        accept(Measurement(name=name, value=value if n else None, unit=unit, n=n), exactly=0)
    if audit.modality_rows_moved is not None:
        moved = Measurement(
            name="modality_rows_moved", value=audit.modality_rows_moved, unit="rows", n=audit.modality_rows
        )
        accept(moved, above=0)
    named = [*audit.first_changed, *audit.unexpected, *audit.missing][:20]
    accept.details["worst"] = [{"id": name, "prompt": "", "note": "not as in the base"} for name in named]
