"""The catalogue's faults of shards, planted in tars, which the first users have: the named gate fails, and says why."""

from pathlib import Path

import pytest

from gates.selftest.run import plant
from harness.bundle import open_bundle
from harness.faults.catalogue import FAULTS
from harness.faults.copies import NotApplicableError, clone, copy_checkpoint
from harness.faults.fault import Fault
from tests.gating import findings, run_gate
from tests.shard_edits import with_tars
from tests.tiny import Tiny

NO_MANIFEST = "the shards have no manifest"  # tars of the field have none
NO_PLACE = {
    "manifest-of-another-token-space": NO_MANIFEST,
    "manifest-of-the-run-before": NO_MANIFEST,
    "one-byte-of-a-shard": NO_MANIFEST,
    "shard-missing": NO_MANIFEST,
    "shard-left-over": NO_MANIFEST,
    "sources-miscounted": NO_MANIFEST,
    "ids-stored-in-16-bits": "the shards are tars",  # test_identity_tars has such an array
    # Of the tiny bundle, whatever its shards are.
    "ids-wrapped": "the whole vocabulary fits into eight bits",
    "pictures-of-another-tokenizer": "the token space does not say how many ids a picture has",
    "dev-picture-in-a-shard": "the checkpoint has no dev",
}


OF_SHARDS = [fault for fault in FAULTS if fault.artifact == "shards"]


@pytest.mark.parametrize("gate_id", ["P0.1", "P0.6"])
def test_tars_without_a_fault_pass(pytester: pytest.Pytester, tiny: Tiny, gate_id: str) -> None:
    with_tars(tiny)

    assert run_gate(pytester, gate_id, tiny.ckpt)["outcome"] == "pass"
    assert gate_id in {fault.gate_of("stage4") for fault in OF_SHARDS}


@pytest.mark.parametrize("fault", OF_SHARDS, ids=lambda each: each.name)
def test_a_fault_of_shards_is_caught_in_tars(
    pytester: pytest.Pytester, tiny: Tiny, tmp_path: Path, fault: Fault
) -> None:
    with_tars(tiny)
    gate_id = fault.gate_of("stage4")
    assert gate_id is not None
    plain = copy_checkpoint(open_bundle(tiny.ckpt), "stage4", tmp_path / "plain")
    copy = clone(plain, tmp_path / "copy")
    if fault.name in NO_PLACE:
        with pytest.raises(NotApplicableError, match=NO_PLACE[fault.name]):
            plant(fault, plain, copy)
        return
    plant(fault, plain, copy)

    gate = run_gate(pytester, gate_id, copy.ckpt)
    assert gate["outcome"] == "fail", findings(gate)
    assert fault.reason in findings(gate)
