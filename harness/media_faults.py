"""What can be wrong with a generated sound or picture: each fault has a name, which a reason begins with."""

import numpy as np

from harness.compliance import CODEBOOK_MISMATCH, EMPTY_OUTPUT, foreign_kind
from harness.token_space import Modality, TokenSpace

NO_AUDIO_RANGE, NOT_IMAGE = foreign_kind("audio"), foreign_kind("image")
CUT_OFF = "cut off"
LENGTH_MISMATCH = "length mismatch"
ONE_LONG_CHUNK = "one long chunk"
RAISED = "the codec raised"
NOT_FINITE = "not finite"
WRONG_FORM = "wrong form"
BAD_META = "golden meta"

# In the order of the spec's section C: wrong token types first, then the length, then what is the codec's.
FAULTS = (
    EMPTY_OUTPUT, CODEBOOK_MISMATCH, NO_AUDIO_RANGE, NOT_IMAGE, CUT_OFF, LENGTH_MISMATCH, ONE_LONG_CHUNK, BAD_META,
    RAISED, NOT_FINITE, WRONG_FORM,
)  # fmt: skip


def reason(fault: str, what: str) -> str:
    """A reason as reports show it."""
    return f"{fault}: {what}"


def fault_of(said: str) -> str:
    """The fault that a reason begins with."""
    return said.partition(":")[0]


def sliced(ids: np.ndarray, expected: int, modality: Modality, space: TokenSpace) -> tuple[np.ndarray, str | None]:
    """Exactly the expected ids of what was written, as the spec demands, or the reason why they cannot be decoded.

    The types of the ids are looked at before their number: an id of another modality is what has to be mended first.
    """
    ends = np.flatnonzero(ids == space.end_id(modality))
    span = ids[: int(ends[0])] if len(ends) else ids
    span = span[:expected]
    if len(span) == 0:
        return span, reason(EMPTY_OUTPUT, "the end tag came first" if len(ends) else "no id was written")
    misplaced = np.flatnonzero(~space.in_turn(modality, span))
    if len(misplaced):
        return span, _misplaced(int(span[misplaced[0]]), int(misplaced[0]), len(misplaced), modality, space)
    if len(span) < expected and len(ends):
        return span, reason(LENGTH_MISMATCH, f"{len(span)} ids before the end, {expected} expected")
    if len(span) < expected:
        return span, reason(CUT_OFF, f"{len(span)} ids and no end tag, {expected} expected: max_new is too small")
    return span, None


def _misplaced(token_id: int, position: int, n: int, modality: Modality, space: TokenSpace) -> str:
    found, turn = space.name_of(token_id), position % len(space.ranges_of(modality))
    others = f", and {n - 1} more ids are misplaced" if n > 1 else ""
    where = f"{token_id} at position {position}"
    if modality == "image":
        return reason(NOT_IMAGE, f"{where} is of {found}{others}")
    if not space.in_range("audio", np.array([token_id]))[0]:
        return reason(NO_AUDIO_RANGE, f"{where} is of {found}{others}")
    return reason(CODEBOOK_MISMATCH, f"{where} is of {found}, the turn is AUDIO_CB{turn}'s{others}")
