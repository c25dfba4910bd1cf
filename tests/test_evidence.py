"""Evidence: measured once, found by what was measured, measured again when damaged."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.evidence import LOCKS, EvidenceStore
from harness.files import file_sha256
from harness.settings import Settings
from tests.tiny import Tiny, edit_json

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
    assert [(use.label, use.measured) for use in again.uses] == [("m", False)]
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


def test_what_a_run_measured_itself_is_used_by_all_of_its_workers_even_without_reuse(tmp_path: Path) -> None:
    measure = _Measure()
    EvidenceStore(tmp_path).get(KEY, measure)
    workers = [EvidenceStore(tmp_path, reuse=False, run="r") for _ in range(2)]

    for worker in workers:
        worker.get(KEY, measure)

    assert measure.calls == 2
    assert [use.measured for worker in workers for use in worker.uses] == [True, False]


def test_who_asks_while_another_measures_waits_and_uses_what_was_measured(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    stores = [EvidenceStore(tmp_path), EvidenceStore(tmp_path)]

    def slow() -> dict[str, np.ndarray]:
        begun.set()
        go_on.wait(60)
        return {"nll": np.array([1.5])}

    measuring = threading.Thread(target=stores[0].get, args=(KEY, slow))
    waiting = threading.Thread(target=stores[1].get, args=(KEY, _Measure()))
    measuring.start()
    begun.wait(60)
    waiting.start()
    assert not stores[1].uses
    go_on.set()
    measuring.join(60)
    waiting.join(60)

    assert [use.measured for store in stores for use in store.uses] == [True, False]


WRITER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from harness.evidence import EvidenceStore

os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # all bytes are written, and nothing is moved into place
EvidenceStore(Path(sys.argv[1])).get({"measurement": "m", "weights_sha256": "a"}, lambda: {"nll": np.zeros(9999)})
"""


def test_a_process_killed_while_it_writes_leaves_nothing_that_counts(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], cwd=Path(__file__).parents[1], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir() if path.is_file()] not in ([], [".npz"])  # the leftover
    measure = _Measure()

    found = EvidenceStore(tmp_path).get(KEY, measure)

    assert measure.calls == 1
    assert found["nll"][0] == 1.5
    assert [path.suffix for path in tmp_path.iterdir() if path.is_file()] == [".npz"]


def test_lock_files_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    EvidenceStore(tmp_path).get(KEY, _Measure())

    assert sorted(path.suffix or path.name for path in tmp_path.iterdir()) == [LOCKS, ".npz"]


# ---------------------------------------------------------------- what the figures depend on


def _weights_sha256(ckpt: Path, **overrides: Path) -> str:
    settings = Settings("cpu", "float32", 0, 512, None, ckpt.parent / "out")
    return Checkpoint(open_bundle(ckpt, overrides), settings).weights_sha256


def test_weights_are_known_by_content_and_not_by_where_they_lie(tiny: Tiny) -> None:
    before = _weights_sha256(tiny.ckpt)
    elsewhere = tiny.root / "elsewhere"
    tiny.base.rename(elsewhere)
    edit_json(tiny.ckpt / "bundle.json", base=str(elsewhere))

    assert _weights_sha256(tiny.ckpt) == before


@pytest.mark.parametrize("changed", ["ckpt/trainable_rows.safetensors", "base/model.safetensors", "base/config.json"])
def test_other_weights_or_another_config_are_other_weights(tiny: Tiny, changed: str) -> None:
    before = _weights_sha256(tiny.ckpt)
    where, name = changed.split("/")
    file = getattr(tiny, where) / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)

    assert _weights_sha256(tiny.ckpt) != before


def test_of_two_adapters_in_one_checkpoint_the_one_in_use_counts(tiny: Tiny) -> None:
    """The files of the checkpoint are the same for both; only the option tells which of them is measured."""
    one, other = tiny.ckpt / "adapter", tiny.ckpt / "other"
    other.mkdir()
    for file in one.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    content = bytearray((other / "adapter_model.safetensors").read_bytes())
    content[-3] ^= 1
    (other / "adapter_model.safetensors").write_bytes(content)

    assert _weights_sha256(tiny.ckpt, lora=one) != _weights_sha256(tiny.ckpt, lora=other)


def test_a_file_that_changes_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    digests = set()
    for content in (b"one", b"two", b"six"):  # of one size, within one tick of the clock
        file.write_bytes(content)
        digests.add(file_sha256(file))
    for content in (b"old", b"odd"):  # and as if written an hour ago, when digests are kept
        file.write_bytes(content)
        os.utime(file, ns=(0, 0))
        digests.add(file_sha256(file))

    assert len(digests) == 5
