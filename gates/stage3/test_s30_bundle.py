"""S3.0 bundle: the checkpoint is whole, safe to open and finite.

Claim    Whoever opens this checkpoint gets the weights that were trained, all of them, and runs nobody's code.
Measure  Defects of the files of checkpoint, base and adapter: pickles, requests for remote code, malformed files; by
         the architecture that config.json describes, tensors that are missing, unexpected, empty or of another shape;
         values that are NaN or infinite, of all values; tied tables that differ, adapter keys that land on no module,
         rows that are not the token space's.
Accept   None of any kind.
Source   design.md section 4, S3.0.
"""

from gates.bundle import ADVICE, judge_bundle
from gates.gate import Accept, Gate, gate
from harness.bundle_audit import BundleAudit

S30 = Gate(
    id="S3.0",
    name="bundle",
    priority="P0",
    claim="The checkpoint is whole, safe to open and finite",
    source="design.md section 4 S3.0",
    advice=ADVICE,
)


@gate(S30)
def test_the_checkpoint_is_whole_safe_to_open_and_finite(bundle_audit: BundleAudit, accept: Accept) -> None:
    judge_bundle(bundle_audit, accept)
