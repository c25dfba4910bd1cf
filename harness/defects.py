"""Defects of a bundle's files, collected while the audit goes on: one that is found never hides another."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError, MissingInputError

Kind = Literal[
    "pickle", "remote_code", "malformed", "missing", "unexpected", "empty", "wrong_shape", "not_finite",
    "contradiction", "adapter_misplaced", "row_range",
]  # fmt: skip


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong.

    Attributes:
        kind: which rule it breaks.
        where: the file or folder.
        tensor: the tensor; empty where a whole file is at fault.
        found, expected, fix: as in harness.errors.
    """

    kind: Kind
    where: str
    tensor: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        tensor = f"{self.tensor}: " if self.tensor else ""
        return f"{tensor}found {self.found}; expected {self.expected}. {self.fix}"


@dataclass
class Defects:
    """What has been found so far; `notes` are not held against the checkpoint."""

    found: list[Defect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: Kind, where: Path | str, found: str, expected: str, fix: str, *, tensor: str = "") -> None:
        """Keep a defect, once."""
        defect = Defect(kind, str(where), tensor, found, expected, fix)
        if defect not in self.found:
            self.found.append(defect)

    @contextlib.contextmanager
    def guard(self, kind: Kind = "malformed") -> Iterator[None]:
        """Turn an error of the harness into a defect; one that names a file that is a defect already adds none.

        Raises:
            MissingInputError: an input that the audit needs was not given, which is no defect of what was.
        """
        try:
            yield
        except MissingInputError:
            raise
        except HarnessError as error:
            if error.where not in {defect.where for defect in self.found if defect.kind == "pickle"}:
                self.add(kind, error.where, error.found, error.expected, error.fix)
