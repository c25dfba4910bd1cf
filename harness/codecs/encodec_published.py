"""`PublishedEncodec`: the released 24 and 48 kHz models, whichever library holds their weights.

Codes are (N, K, T): the first K of the model's residual codebooks, 0 the coarsest, and T frames of `hop_length`
samples. The 48 kHz model reads a sound in chunks: see `harness/codecs/chunks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.codecs.chunks import DEFAULT_SCALE, Cut, check_cut
from harness.codecs.encodec_checks import checked_codes, checked_wave, trimmed_length

# Chunk by chunk, codes (N, K, T) and what the chunk was divided by, (N, 1); None of a model that does not normalise.
Frames = list[tuple[Tensor, Tensor | None]]

# Clips per pass, as small as fits the full-size network; fixed, as a different batch may flip a near-tie code.
_BATCH = 4


@dataclass(frozen=True)
class Network:
    """A loaded EncodecModel in the conventions of the `encodec` package.

    Attributes:
        n_codebooks: all that the model has; a stream may hold fewer.
        chunk_samples: of one chunk; None of a model that reads a sound in one piece.
        chunk_stride: samples from one chunk's start to the next one's.
        normalised: whether a chunk is divided by its RMS before it is encoded.
        encode: waves (N, C, S) to frames, with all codebooks.
        decode: frames to waves (N, C, S'), chunks added up where they overlap.
    """

    sample_rate: int
    channels: int
    n_codebooks: int
    codebook_size: int
    hop_length: int
    chunk_samples: int | None
    chunk_stride: int | None
    normalised: bool
    encode: Callable[[Tensor], Frames]
    decode: Callable[[Frames], Tensor]


class PublishedEncodec:
    """Turns waves into codes and codes into waves, on the CPU, without gradients.

    Attributes:
        sample_rate: Hz.
        channels: 1 or 2.
        n_codebooks: K, codes a frame.
        codebook_size: codes are 0 to codebook_size - 1.
        hop_length: samples a frame.
        frames_per_chunk: of one chunk; None where a sound is read in one piece.
    """

    def __init__(self, network: Network, n_codebooks: int) -> None:
        if not 1 <= n_codebooks <= network.n_codebooks:
            raise ValueError(f"{n_codebooks} codebooks asked for; the model has {network.n_codebooks}")
        self.network = network
        self.sample_rate, self.channels = network.sample_rate, network.channels
        self.n_codebooks, self.codebook_size = n_codebooks, network.codebook_size
        self.hop_length = network.hop_length
        self.frames_per_chunk = network.chunk_samples // network.hop_length if network.chunk_samples else None

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Waves float32 (N, C, S), full scale = 1, to codes int64 (N, K, T), chunks laid end to end.

        Raises:
            ValueError: the shape or type is wrong, or a sample is not finite.
        """
        return np.stack([self.encode_chunks(one)[0] for one in checked_wave(wave, self.channels)])

    def encode_chunks(self, wave: np.ndarray) -> tuple[np.ndarray, Cut]:
        """One wave (C, S) to its codes (K, T) and how they were cut, the last chunk filled up with code 0.

        Raises:
            ValueError: the shape or type is wrong, or a sample is not finite.
        """
        with torch.no_grad():
            frames = self.network.encode(torch.from_numpy(checked_wave(wave[None], self.channels)))
        codes = [chunk[0, : self.n_codebooks].numpy().astype(np.int64) for chunk, _ in frames]
        scales = tuple(float(scale) for _, scale in frames if scale is not None)
        pad = codes[0].shape[1] - codes[-1].shape[1]
        stream = np.concatenate([*codes, np.zeros((self.n_codebooks, pad), dtype=np.int64)], axis=1)
        return stream, Cut(len(codes), codes[0].shape[1], pad, scales or None)

    def decode(self, codes: np.ndarray, n_samples: int | None = None) -> np.ndarray:
        """Waves of codes of which each sound is one chunk, at the default loudness where the model normalises.

        Args:
            codes: integers (N, K, T), each 0 to codebook_size - 1.
            n_samples: length to trim to; by default all T * hop_length samples.

        Returns:
            np.ndarray: float32 (N, C, n_samples).

        Raises:
            ValueError: a shape, a code or `n_samples` is wrong.
            OneLongChunkError: there are more frames than a chunk has.
        """
        codes = checked_codes(codes, self.n_codebooks, self.codebook_size)
        n_frames = codes.shape[2]
        if self.frames_per_chunk:
            check_cut(None, n_frames, self.frames_per_chunk)
        n_samples = trimmed_length(n_samples, n_frames * self.hop_length, n_frames)
        batches = [codes[start : start + _BATCH] for start in range(0, len(codes), _BATCH)]
        return np.concatenate([self._decode([batch], (DEFAULT_SCALE,)) for batch in batches])[:, :, :n_samples]

    def decode_chunks(self, codes: np.ndarray, cut: Cut, n_samples: int | None = None) -> np.ndarray:
        """The wave (C, S) of one stream of codes (K, T), chunk by chunk, added up where chunks overlap.

        Raises:
            ValueError: a shape, a code or `n_samples` is wrong, or the stream cannot have been cut so.
            OneLongChunkError: the cut has longer chunks than the model.
        """
        codes = checked_codes(codes[None], self.n_codebooks, self.codebook_size)
        longest = self.length(cut, codes.shape[2])
        n_samples = trimmed_length(n_samples, longest, codes.shape[2])
        chunks = [codes[:, :, span] for span in cut.spans(codes.shape[2])]
        wave: np.ndarray = self._decode(chunks, cut.scales or (DEFAULT_SCALE,) * cut.n_chunks)[0, :, :n_samples]
        return wave

    def length(self, cut: Cut, n_frames: int) -> int:
        """How many samples a stream decodes to: stride * (chunks - 1) + the last chunk's.

        Raises:
            ValueError: the stream cannot have been cut so.
            OneLongChunkError: the cut has longer chunks than the model.
        """
        stride = self.network.chunk_stride
        if self.frames_per_chunk is None or stride is None:
            if cut.n_chunks > 1:
                raise ValueError(f"codec_meta says {cut.n_chunks} chunks; this codec reads a sound in one piece")
            stride = 0
        else:
            check_cut(cut, n_frames, self.frames_per_chunk)
        last = cut.spans(n_frames)[-1]
        if cut.n_chunks > 1 and cut.frames * self.hop_length < stride:
            raise ValueError(f"chunks of {cut.frames} frames leave gaps: the next begins {stride} samples later")
        return stride * (cut.n_chunks - 1) + (last.stop - last.start) * self.hop_length

    def _decode(self, chunks: list[np.ndarray], scales: tuple[float, ...]) -> np.ndarray:
        """Chunks (N, K, t) and a scale each to waves float32 (N, C, S)."""
        frames: Frames = [
            (
                torch.from_numpy(np.ascontiguousarray(chunk)),
                torch.full((len(chunk), 1), scale) if self.network.normalised else None,
            )
            for chunk, scale in zip(chunks, scales, strict=True)
        ]
        with torch.no_grad():
            return self.network.decode(frames).numpy().astype(np.float32)
