"""Image VQ: a small picture as a short row of codes, some for its colours and the others for its shapes.

A picture is read as a few flat layers. The first `n_layers` codes name the layers' colours, one each, the
foreground's first; the remaining `n_shape_tokens` codes say where each layer shows, the most important first.
Colour codes are 0..n_colour_codes-1 and shape codes n_colour_codes..codebook_size-1, but any code decodes at
any position, because a language model may write one there: a colour code in a shape's place is merely an odd
shape.

Only inference lives here. `training/image_tokenizer.py` trains the network and fills in the codebook.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FORMAT = "image-vq/1"
PATCH_PX = 4  # side of the patches the encoders read
_MASK_UPSCALE = 4  # from the decoder's feature map to the picture
_TINY = 1e-3  # squared colour difference too small to see
_BATCH = 256  # pictures encoded or decoded at a time


@dataclass(frozen=True)
class ImageVQConfig:
    """Shape of the network."""

    proc_size: int = 32  # pixels a side; a multiple of PATCH_PX
    n_layers: int = 2  # flat layers, and so colour tokens
    n_shape_tokens: int = 12
    n_colour_codes: int = 24
    n_shape_codes: int = 232
    latent_dim: int = 8  # numbers per code
    width: int = 32  # channels of the feature maps
    hidden: int = 256  # units of the fully connected layers

    def __post_init__(self) -> None:
        small = [f.name for f in fields(self) if getattr(self, f.name) < 1]
        if small:
            raise ValueError(f"ImageVQConfig: {', '.join(small)} must be at least 1, got {self}.")
        if self.proc_size % PATCH_PX:
            raise ValueError(f"ImageVQConfig: proc_size must be a multiple of {PATCH_PX}, got {self.proc_size}.")


class ImageVQ(nn.Module):
    """Encoder, codebook and decoder."""

    codebook: Tensor

    def __init__(self, config: ImageVQConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or ImageVQConfig()
        n_patches = (c.proc_size // PATCH_PX) ** 2
        half = c.proc_size // _MASK_UPSCALE
        self.colour_encoder = _encoder(3, c.width // 2, n_patches, c.hidden // 4, c.n_layers * c.latent_dim)
        self.shape_encoder = _encoder(c.n_layers, c.width, n_patches, c.hidden, c.n_shape_tokens * c.latent_dim)
        self.colour_decoder = nn.Sequential(nn.Linear(c.latent_dim, 32), nn.GELU(), nn.Linear(32, 3))
        self.shape_decoder = nn.Sequential(
            nn.Linear(c.n_shape_tokens * c.latent_dim, c.hidden), nn.GELU(),
            nn.Linear(c.hidden, c.width * half**2), nn.GELU(), nn.Unflatten(1, (c.width, half, half)),
            nn.Conv2d(c.width, c.n_layers * _MASK_UPSCALE**2, 3, padding=1), nn.PixelShuffle(_MASK_UPSCALE),
        )  # fmt: skip
        self.register_buffer("codebook", torch.zeros(self.codebook_size, c.latent_dim))

    @property
    def n_tokens(self) -> int:
        """Codes per picture."""
        return self.config.n_layers + self.config.n_shape_tokens

    @property
    def codebook_size(self) -> int:
        """Number of different codes."""
        return self.config.n_colour_codes + self.config.n_shape_codes

    @property
    def proc_size(self) -> int:
        """Side of a picture in pixels."""
        return self.config.proc_size

    def colours(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in -1..1 to unquantised colours (N, n_layers, D)."""
        return self._per_token(self.colour_encoder(pictures))

    def shapes(self, pictures: Tensor, colours: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), their colours (N, n_layers, D) to unquantised shapes (N, n_shape_tokens, D).

        The encoder sees how near each pixel is to each layer's colour and no colour itself, so that shape
        codes are the same whatever the colours are.
        """
        return self._per_token(self.shape_encoder(_nearness(pictures, self.palette(colours))))

    def palette(self, colours: Tensor) -> Tensor:
        """Colours (N, n_layers, D) to RGB (N, n_layers, 3) in -1..1."""
        return torch.tanh(self.colour_decoder(colours))

    def _per_token(self, flat: Tensor) -> Tensor:
        """(N, T * D) to (N, T, D), each token standardised: unbounded latents outrun the codebook."""
        d = self.config.latent_dim
        return nn.functional.layer_norm(flat.reshape(len(flat), -1, d), (d,))

    def shares(self, shapes: Tensor) -> Tensor:
        """Shapes (N, n_shape_tokens, D) to each layer's share of each pixel (N, n_layers, H, W)."""
        return self.shape_decoder(shapes.flatten(1)).softmax(dim=1)

    def compose(self, colours: Tensor, shapes: Tensor) -> Tensor:
        """Colours (N, n_layers, D) and shapes (N, n_shape_tokens, D) to pictures (N, 3, H, W) in -1..1."""
        return torch.einsum("nlc,nlhw->nchw", self.palette(colours), self.shares(shapes))

    @torch.no_grad()
    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Pixels uint8 (N, H, W, 3), H = W = proc_size, to codes int64 (N, n_tokens).

        Raises:
            ValueError: if the pixels have another shape or type.
        """
        self._check_pixels(pixels)
        codes = np.zeros((len(pixels), self.n_tokens), np.int64)
        for start in range(0, len(pixels), _BATCH):
            part = slice(start, start + _BATCH)
            codes[part] = self._encode_batch(pictures_from_pixels(pixels[part], self.codebook.device)).cpu().numpy()
        return codes

    def _encode_batch(self, pictures: Tensor) -> Tensor:
        split = self.config.n_colour_codes
        colour_codes = _nearest(self.colours(pictures), self.codebook[:split])
        shape_codes = _nearest(self.shapes(pictures, self.codebook[colour_codes]), self.codebook[split:]) + split
        return torch.cat([colour_codes, shape_codes], dim=1)  # (N, n_tokens)

    @torch.no_grad()
    def decode(self, codes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Codes (N, n_tokens) to pixels uint8 (N, proc_size, proc_size, 3).

        Raises:
            ValueError: if the codes have another shape, are not integers or are out of range.
        """
        codes = self._check_codes(codes)
        pixels = np.zeros((len(codes), self.proc_size, self.proc_size, 3), np.uint8)
        for start in range(0, len(codes), _BATCH):
            part = slice(start, start + _BATCH)
            latents = self.codebook[torch.from_numpy(codes[part]).to(self.codebook.device)]  # (N, n_tokens, D)
            n_layers = self.config.n_layers
            pixels[part] = pixels_from_pictures(self.compose(latents[:, :n_layers], latents[:, n_layers:]))
        return pixels

    def _check_pixels(self, pixels: NDArray[np.uint8]) -> None:
        expected = (self.proc_size, self.proc_size, 3)
        if pixels.ndim != 4 or pixels.shape[1:] != expected or pixels.dtype != np.uint8:
            raise ValueError(
                f"ImageVQ.encode: pixels have shape {pixels.shape} and type {pixels.dtype}; expected "
                f"(N, {', '.join(map(str, expected))}) and uint8. Resize to proc_size first."
            )

    def _check_codes(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.n_tokens or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"ImageVQ.decode: codes have shape {codes.shape} and type {codes.dtype}; expected "
                f"(N, {self.n_tokens}) and integers. Strip the start and end tags first."
            )
        if codes.size and (codes.min() < 0 or codes.max() >= self.codebook_size):
            raise ValueError(
                f"ImageVQ.decode: codes run from {codes.min()} to {codes.max()}; expected 0 to "
                f"{self.codebook_size - 1}. Subtract the start of the IMAGE range from token ids first."
            )
        return codes.astype(np.int64)

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors into the folder, made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"format": FORMAT} | asdict(self.config)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: str | Path) -> ImageVQ:
        """Read what `save` wrote, onto the CPU and ready for inference.

        Raises:
            FileNotFoundError: if config.json or model.safetensors is missing.
            ValueError: if either is not what `save` writes, or they do not fit each other.
        """
        folder = Path(folder)
        model = cls(_read_config(folder / "config.json"))
        _load_tensors(model, folder / "model.safetensors")
        return model.eval()


def pictures_from_pixels(pixels: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
    """Pixels uint8 (N, H, W, 3) to float pictures (N, 3, H, W) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def pixels_from_pictures(pictures: Tensor) -> NDArray[np.uint8]:
    """Float pictures (N, 3, H, W) in -1..1 to pixels uint8 (N, H, W, 3)."""
    scaled = ((pictures + 1) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _nearness(pictures: Tensor, palette: Tensor) -> Tensor:
    """Pictures (N, 3, H, W), palette (N, n_layers, 3) to nearness (N, n_layers, H, W), 1 summed over layers.

    Inverse squared distance has no scale, so pale strokes look like bold ones.
    """
    squared = (pictures[:, None] - palette[..., None, None]).square().sum(dim=2)  # (N, n_layers, H, W)
    inverse = 1 / (squared + _TINY)
    return inverse / inverse.sum(dim=1, keepdim=True)


def _nearest(latents: Tensor, codebook: Tensor) -> Tensor:
    """Latents (N, T, D) to the index of the nearest codebook row (N, T)."""
    return torch.cdist(latents.flatten(0, 1), codebook).argmin(dim=1).reshape(latents.shape[:2])


def _encoder(n_in: int, n_channels: int, n_patches: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Patches, then two linear layers: a code describes the whole picture, not a place in it."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_channels, PATCH_PX, stride=PATCH_PX), nn.GELU(), nn.Flatten(),
        nn.Linear(n_channels * n_patches, n_hidden), nn.GELU(), nn.Linear(n_hidden, n_out),
    )  # fmt: skip


def _read_config(path: Path) -> ImageVQConfig:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the image VQ's configuration. Save with ImageVQ.save.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}). Save again with ImageVQ.save.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        kind = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{path}: format is {kind!r}; expected {FORMAT!r}. Save again with ImageVQ.save.")
    values = {key: value for key, value in found.items() if key != "format"}
    expected = {f.name for f in fields(ImageVQConfig)}
    if set(values) != expected or not all(type(value) is int for value in values.values()):
        raise ValueError(
            f"{path}: settings are {values}; expected a whole number for each of {sorted(expected)} and "
            "nothing else. Save again with ImageVQ.save."
        )
    try:
        return ImageVQConfig(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _load_tensors(model: ImageVQ, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the image VQ's weights. Save with ImageVQ.save.")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}). Save again with ImageVQ.save.") from error
    expected = model.state_dict()
    for name in sorted(expected.keys() | found.keys()):
        shapes = [tuple(state[name].shape) if name in state else "absent" for state in (found, expected)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{path}: tensor {name} is {shapes[0]}; config.json expects {shapes[1]}. "
                "Use the config.json that was saved with these weights."
            )
    model.load_state_dict(found)
