"""Train a small EnCodec from scratch on short clips, on one CPU thread.

It starts as a linear codec that already works, because from a random start a network this small spends its budget on
silence, and a quantiser that is on from there collapses the encoder:

1. the convolutions become a block cosine transform and the principal components of its blocks;
2. weighted k-means on the latents fills the codebooks, residual by residual;
3. everything is trained, quantised: codebooks by moving average, gradients straight through, commitment loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.codecs.encodec import EncodecCodec, EncodecConfig, build_encodec_model

Progress = Callable[[int, int, float], None]  # (steps done, steps in all, loss of the last step)


@dataclass(frozen=True)
class AudioCodecTraining:
    """Settings of the training; the defaults are the demo's."""

    codec: EncodecConfig = field(default_factory=EncodecConfig)
    n_steps: int = 400
    batch_size: int = 8  # clips
    start_clips: int = 1_024  # that the linear start and the codebooks are computed from
    learning_rate: float = 3e-4
    warmup_steps: int = 20
    last_rate_share: float = 0.03  # of learning_rate, at the last step of the cosine
    gradient_clip: float = 1.0  # largest norm
    wave_weight: float = 3.0  # on the squared error: only a wave loss makes the codes carry phase
    level_weight: float = 1.0  # on |difference of level| in nepers, 8.7 dB; a squared error alone shrinks
    commitment_weight: float = 0.25
    stft_windows: tuple[int, ...] = (256, 1024, 2048)  # samples
    kmeans_iterations: int = 10
    seed: int = 0


def train_audio_codec(
    clips: np.ndarray, config: AudioCodecTraining = AudioCodecTraining(), *, progress: Progress | None = None
) -> EncodecCodec:
    """Train a codec on clips and return it in eval mode.

    Args:
        clips: float32 (N, C, S), full scale = 1.
        config: Settings.
        progress: Called after every step with (steps done, steps in all, loss).

    Returns:
        EncodecCodec: The trained codec.

    Raises:
        ValueError: If the clips do not have the codec's channels, or are shorter than the longest window.
    """
    _check_clips(clips, config)
    torch.manual_seed(config.seed)
    model = build_encodec_model(config.codec)
    every = torch.from_numpy(np.ascontiguousarray(clips))
    start = every[torch.linspace(0, len(every) - 1, min(len(every), config.start_clips)).long()]
    start_as_block_pca(model, start, config.codec)
    fill_codebooks(model, start, config.kmeans_iterations, config.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.8, 0.99))
    batches = _Batches(every, config)
    spectral = SpectralLoss(config.stft_windows)
    model.train()
    for step in range(config.n_steps):
        _set_rate(optimizer, _learning_rate(step, config))
        loss = _loss(model, batches.next(), spectral, config)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        if progress is not None:
            progress(step + 1, config.n_steps, loss.item())
    return EncodecCodec(config.codec, model)


class SpectralLoss:
    """Distance of magnitude spectrograms, the mean over window lengths of

    spectral convergence ||X - Y|| / ||X|| + mean |log X - log Y|, each clip relative to itself.
    """

    def __init__(self, windows: tuple[int, ...]) -> None:
        self._windows = [torch.hann_window(length) for length in windows]

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        """Both (B, C, S); a scalar."""
        losses = [self._distance(_magnitude(target, window), _magnitude(output, window)) for window in self._windows]
        return torch.stack(losses).mean()

    @staticmethod
    def _distance(target: Tensor, output: Tensor) -> Tensor:
        """Of magnitudes (B, F, T)."""
        norm = target.flatten(1).norm(dim=1)
        convergence = (target - output).flatten(1).norm(dim=1) / (norm + _QUIET)
        # The floor, 60 dB under the clip's own mean, keeps inaudible bins from ruling the logarithm, and
        # makes the loss of a soft note as large as that of a loud one.
        floor = 1e-3 * target.mean(dim=(1, 2), keepdim=True) + _QUIET
        return (convergence + ((target + floor).log() - (output + floor).log()).abs().mean(dim=(1, 2))).mean()


def start_as_block_pca(model: nn.Module, clips: Tensor, codec: EncodecConfig) -> None:
    """Set an untrained model's weights so that it codes each hop of samples by its principal components.

    From a random start, a network this small spends most of a CPU budget at "output silence" before it finds
    how to carry phase. This start is a linear codec: the strided convolutions become a block cosine transform
    and the principal components of its blocks, the transposed ones their inverses, scaled so that the ELUs
    between them act almost linearly. Everything is trained from there.

    Raises:
        ValueError: If the codec does not have two ratios, no residual layers, an LSTM and one channel, or
            its latent is wider than the innermost layer.
    """
    if (
        len(codec.ratios) != 2
        or codec.n_residual_layers
        or not codec.lstm
        or codec.channels != 1
        or not codec.causal
        or codec.dimension > 4 * codec.n_filters
    ):
        raise ValueError(
            "the starting point is defined for two ratios, no residual layers, an LSTM, one "
            f"channel, causal convolutions and dimension <= 4 * n_filters; found {codec}"
        )
    inner, outer = codec.ratios
    basis = _principal_blocks(clips, codec)  # (dimension, inner, 2 * n_filters)
    cosines = _cosine_basis(2 * codec.n_filters, outer)  # (2 * n_filters, outer)
    peaks = _Peaks(clips, cosines, basis, codec)
    layers: Any = model  # encodec is untyped
    encoder, decoder = layers.encoder.model, layers.decoder.model
    first, second, third, last = (encoder[i].conv.conv for i in (0, 2, 4, 7))
    _set_kernel(first, (0, 0, -1), peaks.wave)
    _set_kernel(second, (slice(None), 0, slice(outer, None)), cosines * (peaks.cosine / peaks.wave))
    flat = basis.transpose(1, 2) * (peaks.component / peaks.cosine)  # (dimension, 2 * n_filters, inner)
    _set_kernel(third, (slice(codec.dimension), slice(None), slice(inner, None)), flat)
    identity = torch.eye(codec.dimension)
    _set_kernel(last, (slice(None), slice(codec.dimension), -1), identity * (peaks.latent / peaks.component))

    first = decoder[0].conv.conv
    second, third = (decoder[i].convtr.convtr for i in (3, 5))
    _set_kernel(first, (slice(codec.dimension), slice(None), -1), identity * (peaks.component / peaks.latent))
    flat = basis.transpose(1, 2) * (peaks.cosine / peaks.component)
    _set_kernel(second, (slice(codec.dimension), slice(None), slice(inner)), flat)
    _set_kernel(third, (slice(None), 0, slice(outer)), cosines * (peaks.wave / peaks.cosine))
    _set_kernel(decoder[7].conv.conv, (0, 0, -1), 1 / peaks.wave)
    for lstm in (encoder[5], decoder[1]):
        for parameter in lstm.parameters():
            parameter.data.mul_(_LSTM_START)  # its output is added to its input: start near the identity


class _Peaks:
    """Scale factors that make the largest activations of each layer about _LINEAR_RANGE."""

    def __init__(self, clips: Tensor, cosines: Tensor, basis: Tensor, codec: EncodecConfig) -> None:
        blocks = clips.unfold(-1, codec.ratios[1], codec.ratios[1])[:, 0] @ cosines.T
        components = torch.einsum(
            "ntic,dic->ntd", blocks.unfold(1, codec.ratios[0], codec.ratios[0]).transpose(2, 3), basis
        )
        self.wave = _LINEAR_RANGE / _peak(clips)
        self.cosine = _LINEAR_RANGE / _peak(blocks)
        self.component = _LINEAR_RANGE / _peak(components)
        self.latent = 1.0 / float(components.pow(2).sum(-1).mean().sqrt())  # root mean square norm of 1


_LINEAR_RANGE = 0.3  # ELU(-0.3) = -0.26: close enough to linear to start from
_LSTM_START = 0.1
_KERNEL_NOISE = 0.02  # of a default initial weight, where the linear codec has zeros


def _peak(values: Tensor) -> float:
    """Largest magnitude."""
    return float(values.abs().max())


def _set_kernel(conv: Any, where: tuple[int | slice, ...], value: Tensor | float) -> None:
    """Fill one part of a weight-normalised kernel; the rest becomes small noise, the bias zero."""
    with torch.no_grad():
        kernel: Tensor = conv.weight_v * _KERNEL_NOISE
        kernel[where] = value
        norm = kernel.flatten(1).norm(dim=1)[:, None, None]
        conv.weight_v.copy_(kernel / norm)
        conv.weight_g.copy_(norm)
        conv.bias.zero_()


def _cosine_basis(n_rows: int, length: int) -> Tensor:
    """The first rows of the orthonormal DCT-II, (n_rows, length)."""
    time = torch.arange(length) + 0.5
    basis = torch.cos(math.pi / length * torch.arange(n_rows)[:, None] * time) * math.sqrt(2 / length)
    basis[0] /= math.sqrt(2)
    return basis


def _principal_blocks(clips: Tensor, codec: EncodecConfig) -> Tensor:
    """Principal components of hops, in the cosine domain: (dimension, inner ratio, 2 * n_filters)."""
    inner, outer = codec.ratios
    spectra = clips.unfold(-1, outer, outer)[:, 0] @ _cosine_basis(2 * codec.n_filters, outer).T
    blocks = spectra[:, : spectra.shape[1] // inner * inner].reshape(-1, inner * 2 * codec.n_filters)
    _, vectors = torch.linalg.eigh(blocks.T @ blocks)
    return vectors.T.flip(0)[: codec.dimension].reshape(codec.dimension, inner, 2 * codec.n_filters)


def fill_codebooks(model: nn.Module, clips: Tensor, iterations: int, seed: int) -> None:
    """Set the residual codebooks to k-means centres of the latents of `clips` (N, C, S), in place.

    encodec can do this itself, but only on one training batch; here every clip counts.
    """
    rng = torch.Generator().manual_seed(seed)
    residual = _latents(model, clips)  # (frames, dimension)
    # Soft notes have small latents; unweighted, the loud ones would take all the centres.
    weight = 1 / (residual.pow(2).sum(1) + 1e-2 * residual.pow(2).sum(1).mean())
    for layer in model.quantizer.vq.layers:  # type: ignore[union-attr]
        book = layer._codebook
        centres, nearest = _kmeans(residual, weight, book.codebook_size, iterations, rng)
        counts = torch.bincount(nearest, minlength=book.codebook_size).float()
        # Moving averages start with a mean count of 1, in the proportions that k-means found.
        share = counts * (book.codebook_size / len(residual))
        book.embed.copy_(centres)
        book.cluster_size.copy_(share)
        book.embed_avg.copy_(centres * share[:, None])
        book.inited.fill_(1)
        residual = residual - centres[nearest]


_QUIET = 1e-7  # full scale = 1; keeps silence from dividing by zero


def _loss(model: nn.Module, clips: Tensor, spectral: SpectralLoss, config: AudioCodecTraining) -> Tensor:
    """Training loss of clips (B, C, S), a scalar."""
    network: Any = model  # encodec is untyped
    quantised = network.quantizer(network.encoder(clips), network.frame_rate)
    output = network.decoder(quantised.quantized)[..., : clips.shape[-1]]
    power = clips.pow(2).mean(dim=(1, 2)) + _QUIET
    # Between absolute and relative error, so that soft notes count without ruling the gradient.
    error = (clips - output).pow(2).mean(dim=(1, 2)) / (power * power.mean()).sqrt()
    level = 0.5 * (power / (output.pow(2).mean(dim=(1, 2)) + _QUIET)).log().abs()
    loss: Tensor = (
        config.wave_weight * error.mean()
        + config.level_weight * level.mean()
        + spectral(clips, output)
        + config.commitment_weight * quantised.penalty
    )
    return loss


def _magnitude(wave: Tensor, window: Tensor) -> Tensor:
    """Magnitude spectrogram (B * C, F, T) of waves (B, C, S)."""
    length = len(window)
    spectrum = torch.stft(wave.flatten(0, 1), length, length // 4, window=window, return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2 + _QUIET**2).sqrt()


@torch.no_grad()
def _latents(model: nn.Module, clips: Tensor) -> Tensor:
    """(N * T, dimension): the unquantised latents of clips (N, C, S)."""
    latents = [
        model.encoder(batch).transpose(1, 2).flatten(0, 1)  # type: ignore[operator]
        for batch in clips.split(32)
    ]
    return torch.cat(latents)


def _kmeans(
    points: Tensor, weight: Tensor, n_centres: int, iterations: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm on points (n, d) of given weight (n,): centres, and each point's nearest one (n,)."""
    centres = points[torch.randperm(len(points), generator=rng)[:n_centres]].clone()
    if len(centres) < n_centres:
        raise ValueError(f"{len(points)} frames cannot fill {n_centres} codes; give more clips")
    for _ in range(iterations):
        nearest = _nearest(points, centres)
        counts = torch.bincount(nearest, minlength=n_centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points * weight[:, None])
        mass = torch.zeros(n_centres).index_add_(0, nearest, weight)
        means = sums / mass.clamp(min=1e-12)[:, None]
        fresh = points[torch.randint(len(points), (n_centres,), generator=rng)]  # an empty centre starts anew
        centres = torch.where(counts[:, None] > 0, means, fresh)
    return centres, _nearest(points, centres)


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index of the nearest centre: argmin |c|^2 - 2 p.c."""
    return (centres.pow(2).sum(1) - 2 * points @ centres.T).argmin(1)


class _Batches:
    """Draws batches of clips in a seeded order."""

    def __init__(self, clips: Tensor, config: AudioCodecTraining) -> None:
        self.clips = clips  # (N, C, S)
        self._config = config
        self._rng = torch.Generator().manual_seed(config.seed)
        self._queue = torch.empty(0, dtype=torch.long)

    def next(self) -> Tensor:
        """(batch_size, C, S)."""
        size = self._config.batch_size
        if len(self._queue) < size:
            self._queue = torch.randperm(len(self.clips), generator=self._rng)
        chosen, self._queue = self._queue[:size], self._queue[size:]
        return self.clips[chosen]


def _learning_rate(step: int, config: AudioCodecTraining) -> float:
    """Linear warm-up, then a cosine down to last_rate_share of the peak."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.n_steps - config.warmup_steps)
    floor = config.last_rate_share
    return config.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _check_clips(clips: np.ndarray, config: AudioCodecTraining) -> None:
    if clips.ndim != 3 or clips.shape[1] != config.codec.channels or clips.dtype != np.float32:
        raise ValueError(f"clips are {clips.dtype} {clips.shape}; expected float32 (N, {config.codec.channels}, S)")
    length = clips.shape[2]
    if length < max(config.stft_windows) or len(clips) < config.batch_size:
        raise ValueError(
            f"{len(clips)} clips of {length} samples; the longest window is "
            f"{max(config.stft_windows)} samples and a batch is {config.batch_size} clips"
        )
