"""What may be written at each position of a media span, whoever writes it: our generation, or a user's own `generate`.

Position 0 is the first id after the start tag. A sound's ids are frame-major: at position p only AUDIO_CB(p mod K).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import EvidenceError
from harness.token_space import Modality, TokenSpace


@dataclass(frozen=True)
class Constraint:
    """The ids that decode, position by position. An id in a padding gap, a special or text is never among them.

    Attributes:
        space: the token space.
        modality: what is written.
    """

    space: TokenSpace
    modality: Modality

    @property
    def end_id(self) -> int:
        """The id that closes the span."""
        return self.space.end_id(self.modality)

    @property
    def ids_per_frame(self) -> int:
        """K for a sound, 1 for a picture."""
        return len(self.space.ranges_of(self.modality))

    def codes(self, position: int) -> range:
        """The ids of the range whose turn it is."""
        turn = self.space.range_at(self.modality, position)
        return range(turn.start, turn.end + 1)

    def must_end(self, position: int, expected: int | None) -> bool:
        """Whether only the end tag may stand here: the expected ids are written."""
        return expected is not None and position >= expected

    def may_end(self, position: int, expected: int | None) -> bool:
        """Whether the end tag may stand here; without an expected count at every whole frame but before the first."""
        if expected is not None:
            return position >= expected
        return position > 0 and position % self.ids_per_frame == 0

    def allowed(self, position: int, expected: int | None) -> Iterator[range]:
        """The ids that may be written here, in ranges that do not overlap."""
        if not self.must_end(position, expected):
            yield self.codes(position)
        if self.may_end(position, expected):
            yield range(self.end_id, self.end_id + 1)

    def check_expected(self, expected: int, where: str) -> None:
        """Refuse a count that no codec could decode.

        Raises:
            EvidenceError: it is no count of whole frames.
        """
        if expected < 1 or expected % self.ids_per_frame:
            raise EvidenceError(
                where,
                f"{expected} {self.modality} ids expected",
                f"a positive multiple of {self.ids_per_frame}: whole frames of the token space's codebooks",
                "Correct the meta: n_frames * n_codebooks, or n_tokens.",
            )
