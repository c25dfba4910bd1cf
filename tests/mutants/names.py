"""What a mutant is called: the line as it was, with what was put in whose place. Lines may move, its name stays."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosmic_ray.work_item import MutationSpec

_WORD = re.compile(r"\w+|\s+|[^\w\s]+")


@dataclass(frozen=True, order=True)
class Mutant:
    """A mutant.

    Attributes:
        module: its file.
        line: of the change, for readers; no part of its name.
        name: `function: the line with ⟦old → new⟧`.
        operator: cosmic-ray's.
    """

    module: str
    line: int
    name: str
    operator: str


def name_of(module: str, mutation: "MutationSpec", diff: str) -> Mutant:
    """Name a mutant by its diff."""
    lines = diff.splitlines()
    removed = [line[1:] for line in lines if line.startswith("-") and not line.startswith("--- ")]
    added = [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++ ")]
    where = mutation.definition_name or "module"
    return Mutant(module, mutation.start_pos[0], f"{where}: {change(removed, added)}", mutation.operator_name)


def change(removed: list[str], added: list[str]) -> str:
    """Old lines and new ones as one text."""
    old, new = (" ".join(line.strip() for line in lines) for lines in (removed, added))
    before, after = _WORD.findall(old), _WORD.findall(new)
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    behind = 0
    while behind < min(len(before), len(after)) - same and before[-1 - behind] == after[-1 - behind]:
        behind += 1
    head, tail = "".join(before[:same]), "".join(before[len(before) - behind :])
    was, became = ("".join(words[same : len(words) - behind]).strip() for words in (before, after))
    return f"{head}⟦{was} → {became}⟧{tail}"
