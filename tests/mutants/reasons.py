"""Why survivors are harmless: reasons.toml, by module and name."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.mutants.names import Mutant

REASONS = Path(__file__).with_name("reasons.toml")


@dataclass(frozen=True)
class Reason:
    """Why some survivors are harmless.

    Attributes:
        module: their file; may be a pattern, as a shell's.
        why: the reason.
        mutants: their names.
        matching: regular expressions of names, for what is harmless wherever it stands.
    """

    module: str
    why: str
    mutants: tuple[str, ...]
    matching: tuple[str, ...]

    def explains(self, mutant: Mutant) -> bool:
        """Whether it is about this one."""
        if not fnmatch(mutant.module, self.module):
            return False
        return mutant.name in self.mutants or any(re.search(each, mutant.name) for each in self.matching)

    def gone(self, module: str, survivors: Sequence[Mutant]) -> list[str]:
        """Names that it speaks of in a module, and that do not survive there."""
        if module != self.module:
            return []
        return sorted(set(self.mutants) - {mutant.name for mutant in survivors})


def read_reasons() -> tuple[Reason, ...]:
    """All reasons, in the order of the file."""
    read = tomllib.loads(REASONS.read_text(encoding="utf-8")) if REASONS.exists() else {}
    return tuple(
        Reason(each["module"], each["why"], tuple(each.get("mutants", ())), tuple(each.get("matching", ())))
        for each in read.get("harmless", ())
    )
