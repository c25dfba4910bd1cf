"""Sounds that a codec reads in chunks: how a stream of codes was cut, and how loud each chunk was.

EnCodec's 48 kHz model encodes one second at a time (48,000 samples, stride 47,520), each divided by its own RMS. The
field lays the chunks' codes end to end: ten seconds are 11 chunks of 150 frames, the last filled up with code 0. Such a
stream is decoded chunk by chunk with overlap-add. Read as one long chunk it gives a sound of another length in which
every chunk's edge is heard and every chunk is equally loud.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Of a chunk whose loudness nobody knows: codes that were generated carry none. A chunk decodes to about RMS 1, which
# would be clipped nearly everywhere; this is -20 dB of full scale, as speech and music are commonly levelled. It is a
# constant on purpose: the golden sounds' own scales would lend the answer's loudness to what was generated.
DEFAULT_SCALE = 0.1


class OneLongChunkError(ValueError):
    """A stream of several chunks is about to be decoded as one."""


@dataclass(frozen=True)
class Cut:
    """How one stream of codes was cut.

    Attributes:
        n_chunks: chunks in the stream.
        frames: of every chunk in the stream, the last one's padding included.
        last_pad: frames of padding at the end of the last chunk.
        scales: what each chunk was divided by before it was encoded; None where that is not known.
    """

    n_chunks: int
    frames: int
    last_pad: int = 0
    scales: tuple[float, ...] | None = None

    def spans(self, n_frames: int) -> list[slice]:
        """Where each chunk's frames lie in a stream, without the padding.

        Raises:
            ValueError: a stream of `n_frames` cannot have been cut so.
        """
        # encodec itself leaves the last chunk short, transformers fills it up: both add up, each in its own way.
        last = n_frames - (self.n_chunks - 1) * self.frames
        if not 1 <= last <= self.frames or not 0 <= self.last_pad < last:
            raise ValueError(
                f"{n_frames} frames are not {self.n_chunks} chunks of {self.frames}, the last with {self.last_pad} "
                "frames of padding, as codec_meta says"
            )
        starts = range(0, n_frames, self.frames)
        return [slice(start, min(start + self.frames, n_frames - self.last_pad)) for start in starts]


def cut_of(meta: dict[str, Any]) -> Cut | None:
    """How a sound's meta says that its codes were cut; None where it does not say.

    Raises:
        ValueError: what it says cannot be.
    """
    said = meta.get("codec_meta")
    if not isinstance(said, dict) or not {"nb_frames", "frame_len"} <= said.keys():
        return None
    numbers = [said["nb_frames"], said["frame_len"], said.get("last_frame_pad_length") or 0]
    if any(type(number) is not int for number in numbers) or min(numbers[:2]) < 1 or numbers[2] < 0:
        raise ValueError(f"codec_meta has nb_frames, frame_len and last_frame_pad_length {numbers}: not whole numbers")
    n_chunks, frames, last_pad = numbers
    return Cut(n_chunks, frames, last_pad, _scales(said.get("scales"), n_chunks))


def has_scales(meta: dict[str, Any]) -> bool:
    """Whether a sound's meta says anything of its loudness."""
    said = meta.get("codec_meta")
    return isinstance(said, dict) and any(scale is not None for scale in _leaves(said.get("scales")))


def check_cut(cut: Cut | None, n_frames: int, frames_per_chunk: int) -> Cut:
    """The cut of a stream for a codec whose chunks have `frames_per_chunk` frames.

    Raises:
        OneLongChunkError: the stream holds more than one chunk, and nothing says how it was cut.
    """
    if cut is None and n_frames <= frames_per_chunk:
        return Cut(1, n_frames)
    if cut is None or cut.frames > frames_per_chunk:
        said = "codec_meta does not say how they were cut" if cut is None else f"codec_meta says {cut.frames} a chunk"
        raise OneLongChunkError(
            f"{n_frames} frames, the codec's chunks have {frames_per_chunk} at most, and {said}. Keep nb_frames, "
            "frame_len and last_frame_pad_length in codec_meta, and decode chunk by chunk"
        )
    return cut


def _scales(said: Any, n_chunks: int) -> tuple[float, ...] | None:
    """The scales, however deeply each is wrapped in lists; a codec that does not normalise writes null."""
    found = list(_leaves(said))
    if all(scale is None for scale in found):
        return None
    numbers = [scale for scale in found if isinstance(scale, int | float) and math.isfinite(scale) and scale >= 0]
    if len(numbers) != len(found) or len(found) != n_chunks:
        raise ValueError(f"codec_meta.scales are {found[:3]} …: expected {n_chunks} finite numbers, one a chunk")
    return tuple(map(float, numbers))


def _leaves(said: Any) -> Iterator[Any]:
    if isinstance(said, list):
        for each in said:
            yield from _leaves(each)
    else:
        yield said
