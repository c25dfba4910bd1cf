"""What configs ask for, worked out by transformers and PEFT once and kept as evidence: both take seconds to import.

Only what a config means is kept. Whether the files hold it is looked at every time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter

from harness.bundle import ADAPTER_CONFIG
from harness.evidence import EvidenceStore
from harness.expected_tensors import Architecture, architecture, meta_model
from harness.files import file_sha256
from harness.peft_adapter import AdapterArchitecture, adapter_architecture, read_adapter_config

# Part of every key: a change of what is worked out makes what was kept unusable.
EXPECTED_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class Expected:
    """Answers what configs ask for.

    Attributes:
        evidence: where answers are kept; None works them out every time. Errors are never kept.
    """

    evidence: EvidenceStore | None = None

    def of_model(self, folder: Path, n_stored: int) -> Architecture:
        """What the files of a model should hold. `n_stored` as in `meta_model`.

        Raises:
            BundleError: config.json is no config of a causal language model that transformers itself knows.
        """
        key = {"config_sha256": _sha256(folder / "config.json"), "n_stored": n_stored}
        return self._kept("architecture", key, Architecture, lambda: architecture(meta_model(folder, n_stored)))

    def of_adapter(self, folder: Path, base: Path, n_stored: int, vocab_size: int) -> AdapterArchitecture:
        """What the file of an adapter should hold over its base, whose tables have `vocab_size` rows.

        Raises:
            BundleError: the adapter's config does not fit the base.
        """
        key = {
            "config_sha256": _sha256(base / "config.json"),
            "adapter_config_sha256": _sha256(folder / ADAPTER_CONFIG),
            "n_stored": n_stored,
            "vocab_size": vocab_size,
        }

        def work_out() -> AdapterArchitecture:
            return adapter_architecture(meta_model(base, n_stored, vocab_size), folder)

        return self._kept("adapter-architecture", key, AdapterArchitecture, work_out)

    def base_of_adapter(self, folder: Path) -> str | None:
        """The name that an adapter's config gives its base.

        Raises:
            BundleError: the config is missing, or none that PEFT reads.
        """
        key = {"adapter_config_sha256": _sha256(folder / ADAPTER_CONFIG)}

        def work_out() -> str | None:
            name = read_adapter_config(folder).base_model_name_or_path
            return None if name is None else str(name)

        return self._kept("adapter-config", key, str | None, work_out)

    def _kept(self, what: str, key: dict[str, Any], kind: Any, work_out: Callable[[], T]) -> T:
        if self.evidence is None:
            return work_out()
        adapter = TypeAdapter(kind)
        provenance = key | {
            "measurement": what,
            "version": EXPECTED_VERSION,
            "packages": {package: version(package) for package in ("transformers", "peft")},
        }
        arrays = self.evidence.get(provenance, lambda: {"json": _array(adapter.dump_json(work_out()))})
        kept: T = adapter.validate_json(arrays["json"].tobytes())
        return kept


def _sha256(file: Path) -> str | None:
    """None where there is no such file: it is for whoever works out the answer to say so."""
    return file_sha256(file) if file.is_file() else None


def _array(content: bytes) -> np.ndarray:
    return np.frombuffer(content, dtype=np.uint8)
