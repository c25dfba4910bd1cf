"""The rows of a model's head, divided into the named parts that the scorer reports on."""

import itertools
from dataclasses import dataclass

from harness.token_space import Modality, TokenSpace

PADDING = "PADDING"  # rows that no range of the token space covers


@dataclass(frozen=True)
class Part:
    """Consecutive rows of the head.

    Attributes:
        name: the range they belong to: `TEXT`, `SPECIAL`, `IMAGE`, `AUDIO_CB0` … or `PADDING`.
        start, stop: half-open.
        allowed: whether they are legal where the modality's codes are written: its codes and its end tag.
    """

    name: str
    start: int
    stop: int
    allowed: bool = False


def parts_of(space: TokenSpace, n_rows: int, modality: Modality | None = None) -> tuple[Part, ...]:
    """Divide a head of `n_rows` rows, every row in exactly one part, in order.

    Args:
        space: the token space; a head with fewer rows (a base model's) has only the parts that it reaches.
        n_rows: rows of the head.
        modality: what is written; None where no ids are to be allowed.
    """
    allowed = set() if modality is None else {space.end_id(modality)}
    owned = [(name, each.start, each.end + 1) for name, each in space.layout.ranges.items()]
    codes = () if modality is None else space.ranges_of(modality)
    cuts = {0, n_rows, *(row for _, start, stop in owned for row in (start, stop))}
    cuts |= {row for end_id in allowed for row in (end_id, end_id + 1)}
    bounds = sorted(cut for cut in cuts if cut <= n_rows)
    parts = []
    for start, stop in itertools.pairwise(bounds):
        name = next((name for name, first, last in owned if first <= start < last), PADDING)
        legal = start in allowed or any(each.start <= start <= each.end for each in codes)
        parts.append(Part(name, start, stop, legal))
    return tuple(parts)
