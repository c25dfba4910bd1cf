"""Evidence: per-example arrays with their provenance, measured once, found again by what was measured.

The key is the digest of everything that the figures depend on (weights, token space, data, parameters, precision,
measurement version), never a name or a path. Checkpoints, outputs and workers may therefore share one folder, through
file locks.

The locks are the kernel's (flock): a process that is killed lets go of them. On network file systems flock may be
absent or local to each machine; then two machines may measure the same at the same time, each at its own cost: files
are moved into place whole, so that the later one merely replaces its equal.
"""

import hashlib
import io
import json
import uuid
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from harness.files import write_bytes

Arrays = dict[str, np.ndarray]
LOCKS = ".locks"  # folder of the lock files, which stay: to remove one that another process waits for would split it
_PROVENANCE, _RUN = "__provenance__", "__run__"


class Use(NamedTuple):
    """One answer of a store.

    Attributes:
        key: names the evidence: measurement and digest.
        label: for the reader.
        measured: measured for this answer; found otherwise.
    """

    key: str
    label: str
    measured: bool


@dataclass
class EvidenceStore:
    """A folder of evidence.

    Attributes:
        folder: where the files lie.
        reuse: whether what earlier runs left there is used; what is measured is written in any case.
        run: names the run; what it measured itself is used again even without `reuse`, by all of its workers.
        uses: what this store has answered so far, in order.
    """

    folder: Path
    reuse: bool = True
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    uses: list[Use] = field(default_factory=list)

    def get(self, provenance: dict[str, Any], measure: Callable[[], Arrays], label: str = "") -> Arrays:
        """The arrays for this provenance: found, or measured now and kept.

        Args:
            provenance: JSON-able; its `measurement` names what is measured.
            measure: makes the arrays; called at most once, under a lock.
            label: what the reader sees it called; no part of the key.
        """
        canonical = json.dumps(provenance, sort_keys=True)
        kind = str(provenance["measurement"])
        key = f"{kind}-{hashlib.sha256(canonical.encode()).hexdigest()[:24]}"
        path = self.folder / f"{key}.npz"
        (self.folder / LOCKS).mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / LOCKS / f"{key}.lock"):
            arrays = self._found(path, canonical)
            measured = arrays is None
            if arrays is None:
                arrays = self._measure(path, measure, canonical)
        self.uses.append(Use(key, label or kind, measured))
        return arrays

    def _found(self, path: Path, canonical: str) -> Arrays | None:
        """The arrays of a file, or None when it is absent, damaged, of something else, or not to be used."""
        arrays = _read(path)
        if arrays is None:
            return None
        if _text(arrays.pop(_PROVENANCE, None)) != canonical:
            warnings.warn(f"{path}: evidence of something else; it is measured again", stacklevel=4)
            return None
        mine = _text(arrays.pop(_RUN, None)) == self.run
        return arrays if self.reuse or mine else None

    def _measure(self, path: Path, measure: Callable[[], Arrays], canonical: str) -> Arrays:
        # What a killed process was writing under this lock; nobody reads it, and nobody else can be writing it now.
        for leftover in self.folder.glob(f".{path.name}.*"):
            leftover.unlink(missing_ok=True)
        arrays = measure()
        buffer = io.BytesIO()
        members: dict[str, Any] = {**arrays, _PROVENANCE: _bytes(canonical), _RUN: _bytes(self.run)}
        np.savez(buffer, **members)
        write_bytes(path, buffer.getvalue())
        return arrays


def _read(path: Path) -> Arrays | None:
    """All members of a file, or None when it is absent or damaged."""
    if not path.is_file():
        return None
    try:
        # np.load checks each member's CRC while reading it; pickled arrays are refused.
        # Opened here: np.load leaves a file open when it turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path}: damaged evidence ({error}); it is measured again", stacklevel=5)
        return None


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _text(array: np.ndarray | None) -> str:
    return "" if array is None else array.tobytes().decode(errors="replace")
