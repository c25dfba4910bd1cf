"""Evidence: measured once, found by what was measured, measured again when damaged."""

from pathlib import Path

import numpy as np
import pytest

from harness.evidence import EvidenceStore

KEY = {"measurement": "m", "weights_sha256": "a"}


class _Measure:
    calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return {"nll": np.array([1.5, np.nan])}


def test_what_was_measured_is_found_by_another_process(tmp_path: Path) -> None:
    measure = _Measure()
    EvidenceStore(tmp_path).get(KEY, measure)

    again = EvidenceStore(tmp_path)
    found = again.get(KEY, measure)

    assert measure.calls == 1
    assert again.reused == ["m"]
    assert np.array_equal(found["nll"], [1.5, np.nan], equal_nan=True)


def test_another_checkpoint_is_measured_anew(tmp_path: Path) -> None:
    measure = _Measure()
    store = EvidenceStore(tmp_path)

    store.get(KEY, measure)
    store.get(KEY | {"weights_sha256": "b"}, measure)

    assert measure.calls == 2


def test_without_reuse_everything_is_measured_again(tmp_path: Path) -> None:
    measure = _Measure()
    EvidenceStore(tmp_path).get(KEY, measure)
    EvidenceStore(tmp_path, reuse=False).get(KEY, measure)

    assert measure.calls == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other"])
def test_damaged_evidence_is_measured_again_with_a_warning(tmp_path: Path, damage: str) -> None:
    measure = _Measure()
    store = EvidenceStore(tmp_path)
    store.get(KEY, measure)
    (file,) = tmp_path.glob("*.npz")
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[content.index(b"nll.npy") + 80] ^= 1
    if damage == "other":
        store.get(KEY | {"weights_sha256": "b"}, measure)
        content = bytearray(next(f for f in tmp_path.glob("*.npz") if f != file).read_bytes())
    keep = {"truncated": len(content) // 2, "empty": 0}.get(damage, len(content))
    file.write_bytes(content[:keep])
    calls = measure.calls

    with pytest.warns(UserWarning, match="measured again"):
        found = store.get(KEY, measure)

    assert measure.calls == calls + 1
    assert found["nll"][0] == 1.5
