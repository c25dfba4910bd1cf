"""Trains the image VQ of `harness/codecs/vq.py` on pictures alone: no captions, no labels.

Two things make the codes easy for a small language model. Colour and shape are apart (the network's
structure, see there). And the last shape tokens are now and then left out in training (nested dropout), so
that the first ones carry what matters most, which for a digit is which digit it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from harness.codecs.vq import ImageVQ, ImageVQConfig, pictures_from_pixels


@dataclass(frozen=True)
class ImageVQTraining:
    """Hyperparameters, measured to reach legible digits in under a minute on one CPU core."""

    model: ImageVQConfig = field(default_factory=ImageVQConfig)
    n_steps: int = 1400
    batch_size: int = 64
    learning_rate: float = 3e-3  # peak; cosine to zero
    n_warmup_steps: int = 20
    unquantised_share: float = 0.25  # of the steps: codebooks started on an untrained encoder collapse
    nested_dropout: float = 0.1  # share of pictures that lose a random number of their last shape tokens
    ema_decay: float = 0.95
    dead_code_threshold: float = 1.0  # moving-average uses per batch below which a code is replaced
    commitment_weight: float = 0.25
    seed: int = 0


@dataclass(frozen=True)
class ImageVQProgress:
    """What is reported after a step."""

    step: int
    reconstruction_loss: float  # mean squared plus mean absolute error, pixels in -1..1
    quantised: bool


def train_image_vq(
    pixels: NDArray[np.uint8],
    config: ImageVQTraining | None = None,
    *,
    progress: Callable[[ImageVQProgress], None] | None = None,
) -> ImageVQ:
    """Train on pixels uint8 (N, H, W, 3), H = W = proc_size; deterministic in the seed on one machine."""
    config = config or ImageVQTraining()
    _check(pixels, config.model)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    model = ImageVQ(config.model)
    quantisers = _quantisers(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        config.learning_rate,
        total_steps=config.n_steps,
        pct_start=config.n_warmup_steps / config.n_steps,
    )
    for step in range(config.n_steps):
        quantised = step >= config.unquantised_share * config.n_steps
        target = pictures_from_pixels(pixels[rng.integers(len(pixels), size=config.batch_size)])
        colours, shapes, commitment = _latents(model, quantisers, target, quantised)
        shapes = _drop_last_tokens(shapes, config.nested_dropout)
        composed = model.compose(colours, shapes)
        loss = nn.functional.mse_loss(composed, target) + nn.functional.l1_loss(composed, target)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss + commitment)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(ImageVQProgress(step + 1, loss.item(), quantised))
    model.codebook = torch.cat([quantiser.codebook.detach() for quantiser in quantisers])
    _put_foreground_first(model, pictures_from_pixels(pixels[: config.batch_size]))
    return model.eval()


def _check(pixels: NDArray[np.uint8], model: ImageVQConfig) -> None:
    expected = (model.proc_size, model.proc_size, 3)
    if pixels.ndim != 4 or not len(pixels) or pixels.shape[1:] != expected or pixels.dtype != np.uint8:
        raise ValueError(
            f"train_image_vq: pixels have shape {pixels.shape} and type {pixels.dtype}; expected "
            f"(N, {', '.join(map(str, expected))}) with N at least 1, and uint8. Resize the pictures first."
        )


def _quantisers(config: ImageVQTraining) -> list[VectorQuantize]:
    """One quantiser for colours and one for shapes, in the order of the code ranges."""
    return [
        VectorQuantize(
            dim=config.model.latent_dim,
            codebook_size=size,
            decay=config.ema_decay,
            kmeans_init=True,
            threshold_ema_dead_code=config.dead_code_threshold,
            commitment_weight=config.commitment_weight,
        )
        for size in (config.model.n_colour_codes, config.model.n_shape_codes)
    ]


def _latents(
    model: ImageVQ, quantisers: list[VectorQuantize], pictures: Tensor, quantised: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours, shapes and the commitment loss (zero before quantisation starts)."""
    colours, colour_loss = _quantise(model.colours(pictures), quantisers[0], quantised)
    # Detached, so that the colours are learnt for what they show and not for how they help the shape encoder.
    shapes, shape_loss = _quantise(model.shapes(pictures, colours.detach()), quantisers[1], quantised)
    return colours, shapes, colour_loss + shape_loss


def _quantise(latents: Tensor, quantiser: VectorQuantize, quantised: bool) -> tuple[Tensor, Tensor]:
    if not quantised:
        return latents, torch.zeros(())
    nearest, _, commitment = quantiser(latents)
    return nearest, commitment.sum()


def _drop_last_tokens(shapes: Tensor, share: float) -> Tensor:
    """Shapes (N, T, D) with a random number (0 to T-1) of last tokens set to zero, for a share of them."""
    n, t, _ = shapes.shape
    kept = torch.randint(1, t + 1, (n, 1))
    kept[torch.rand(n, 1) >= share] = t
    return shapes * (torch.arange(t) < kept)[..., None]


@torch.no_grad()
def _put_foreground_first(model: ImageVQ, pictures: Tensor) -> None:
    """Renumber the layers by the area they cover, smallest first.

    Which layer became the ink is an accident of the seed; a language model's text that says "ink, then paper"
    can only help it to read codes that come in that order.
    """
    shapes = model.shapes(pictures, model.colours(pictures))
    order = model.shares(shapes).mean(dim=(0, 2, 3)).argsort()  # (n_layers,)
    shape_in = model.get_parameter("shape_encoder.0.weight")  # (channels, n_layers, patch, patch)
    shape_in.copy_(shape_in[:, order])
    for name in (
        "colour_encoder.5.weight",
        "colour_encoder.5.bias",
        "shape_decoder.5.weight",
        "shape_decoder.5.bias",
    ):
        parameter = model.get_parameter(name)  # its first axis is layer by layer
        per_layer = parameter.reshape(model.config.n_layers, -1)
        parameter.copy_(per_layer[order].reshape(parameter.shape))
