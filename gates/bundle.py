"""The rule that P0.0 and S3.0 share: not one defect of any kind."""

from gates.gate import Accept
from harness.bundle_audit import BundleAudit
from harness.defects import Kind
from harness.results import Measurement

# Kind of defect -> (figure, its unit). Counted over all files of the checkpoint, its base and its adapter.
FIGURES: dict[Kind, tuple[str, str]] = {
    "pickle": ("pickles", "files"),
    "remote_code": ("files_that_ask_for_code", "files"),
    "malformed": ("malformed_files", "files"),
    "missing": ("missing_tensors", "tensors"),
    "unexpected": ("unexpected_tensors", "tensors"),
    "empty": ("empty_tensors", "tensors"),
    "wrong_shape": ("wrong_shapes", "tensors"),
    "not_finite": ("tensors_not_finite", "tensors"),
    "contradiction": ("contradictions", "tensors"),
    "adapter_misplaced": ("adapter_keys_without_a_module", "tensors"),
    "row_range": ("wrong_row_ranges", "tensors"),
}
SHOWN_OF_A_KIND = 8

ADVICE = (
    "Pickles: `gates init CKPT` converts them without running anything, and moves them out of the checkpoint.",
    "Malformed or cut files: copy the checkpoint again and compare the digests; else save it again.",
    "Missing, empty or unexpected tensors: save again from the training run; a loader would put random values there.",
    "Values that are not finite: go back to the last checkpoint without them; lower the learning rate or clip.",
    "Adapter keys without a module: use the base that the adapter was trained over, with the config saved beside it.",
    "Wrong rows: use the token space that the checkpoint was trained with, and save both vocabulary tables.",
)


def judge_bundle(audit: BundleAudit, accept: Accept) -> None:
    """No defect of any kind; all of them, with the fix of each, go to the report."""
    for kind, (name, unit) in FIGURES.items():
        looked_at = audit.n_adapter_tensors if kind == "adapter_misplaced" else audit.n_tensors
        n = audit.n_files if unit == "files" else looked_at
        found = len(audit.of(kind))
        # Of nothing that was looked at, nothing can be said but that it was found wanting.
        if found or n or kind in ("pickle", "malformed"):
            accept(Measurement(name=name, value=found, unit=unit, n=max(n, found)), exactly=0)
    shown = [defect for kind in FIGURES for defect in audit.of(kind)[:SHOWN_OF_A_KIND]]
    accept.details["worst"] = [{"id": defect.where, "prompt": defect.kind, "note": str(defect)} for defect in shown]
    accept.details["notes"] = list(audit.notes)
