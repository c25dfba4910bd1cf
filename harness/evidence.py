"""Evidence: per-example arrays with their provenance, measured once, found again by what was measured.

The key is the digest of everything that the figures depend on (weights, token space, data, parameters, precision,
measurement version), never a name or a path. Workers share the folder through a file lock.
"""

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from harness.files import write_bytes

Arrays = dict[str, np.ndarray]
_PROVENANCE = "__provenance__"


@dataclass
class EvidenceStore:
    """A folder of evidence.

    Attributes:
        folder: where the files lie.
        reuse: whether what is found there is used; what is measured is written in any case.
        measured, reused: what this store has done so far, for the summary.
    """

    folder: Path
    reuse: bool = True
    measured: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)

    def get(self, provenance: dict[str, Any], measure: Callable[[], Arrays], label: str = "") -> Arrays:
        """The arrays for this provenance: found, or measured now and kept.

        Args:
            provenance: JSON-able; its `measurement` names what is measured.
            measure: makes the arrays; called at most once, under a lock.
            label: what the summary calls it; no part of the key.
        """
        canonical = json.dumps(provenance, sort_keys=True)
        kind = str(provenance["measurement"])
        name = label or kind
        path = self.folder / f"{kind}-{hashlib.sha256(canonical.encode()).hexdigest()[:24]}.npz"
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            found = _read(path, canonical) if self.reuse else None
            if found is not None:
                self.reused.append(name)
                return found
            arrays = measure()
            write_bytes(path, _pack(arrays, canonical))
            self.measured.append(name)
            return arrays


def _pack(arrays: Arrays, canonical: str) -> bytes:
    buffer = io.BytesIO()
    members: dict[str, Any] = {**arrays, _PROVENANCE: np.frombuffer(canonical.encode(), dtype=np.uint8)}
    np.savez(buffer, **members)
    return buffer.getvalue()


def _read(path: Path, canonical: str) -> Arrays | None:
    """The arrays of a file, or None when it is absent, damaged, or holds something else."""
    if not path.is_file():
        return None
    try:
        # np.load checks each member's CRC while reading it; pickled arrays are refused.
        # Opened here: np.load leaves a file open when it turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path}: damaged evidence ({error}); it is measured again", stacklevel=3)
        return None
    if bytes(arrays.pop(_PROVENANCE, np.empty(0, np.uint8))).decode(errors="replace") != canonical:
        warnings.warn(f"{path}: evidence of something else; it is measured again", stacklevel=3)
        return None
    return arrays
