"""`SeedCodec`: the SEED-2 tokenizer, 32 codes a picture in causal order, decoded by an unCLIP diffusion.

A codec's folder:

    config.json           format seed-codec/1 and, where it is not the published model, a SeedConfig's settings
    model.safetensors     the published seed_quantizer.pt, under its own key names
    vision.safetensors    eva_vit_g.pth, only where model.safetensors lacks the vision tower and pictures are encoded
    unclip/               Stable Diffusion 2.1 unCLIP as diffusers saves it (safetensors); image_encoder/ may be absent

`python -m harness.codecs.seed_convert FOLDER` makes the first three of the published pickles. Only safetensors are
read.
"""

import hashlib
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.codecs.seed_config import SeedConfig, read_config
from harness.codecs.seed_model import SeedDecoder, SeedEncoder
from harness.codecs.seed_pipeline import FOLDER, UnclipPipeline, load_pipeline, resized
from harness.codecs.seed_weights import SeedWeights, open_weights
from harness.device import resolve_device
from harness.errors import CodecError

# CLIP's, per channel.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
# Pictures encoded in a pass. Fixed, because a different batch may take another matrix kernel and flip a near-tie code.
_BATCH = 16


class SeedCodec:
    """Turns pictures into codes and codes into pictures.

    Encoder (1.1 billion parameters), decoder and pipeline are each loaded when first needed, kept with the codec and
    let go with it.

    Attributes:
        weights: the account of the files' keys.
        proc_size: height and width in pixels of what `decode` returns.
    """

    def __init__(self, folder: Path, config: SeedConfig, proc_size: tuple[int, int], device: str) -> None:
        self.folder, self.config, self.proc_size, self.device = folder, config, proc_size, device
        self.weights: SeedWeights = open_weights(folder, config)
        level = logging.WARNING if self.weights.noteworthy else logging.INFO
        logging.getLogger(__name__).log(level, "%s: %s", folder, self.weights.describe())

    @property
    def n_tokens(self) -> int:
        """Codes a picture."""
        return self.config.n_tokens

    @property
    def codebook_size(self) -> int:
        """Codes are 0 to codebook_size - 1."""
        return self.config.codebook_size

    @cached_property
    def encoder(self) -> SeedEncoder:
        """Pictures to codes. Raises CodecError where the vision tower is missing."""
        with torch.device("meta"):
            network = SeedEncoder(self.config)
        self.weights.fill(network)
        return network.eval().to(self.device)

    @cached_property
    def decoder(self) -> SeedDecoder:
        """Codes to image embeddings."""
        with torch.device("meta"):
            network = SeedDecoder(self.config)
        self.weights.fill(network)
        return network.eval()

    @cached_property
    def pipeline(self) -> UnclipPipeline:
        """Image embeddings to pictures. Raises CodecError where diffusers or its folder is missing."""
        return load_pipeline(self.folder / FOLDER, self.config, self.device)

    def ready_to_decode(self) -> "SeedCodec":
        """Load all that decoding needs, so that what is missing is an error of the codec, not of each picture."""
        _ = self.decoder, self.pipeline
        return self

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Codes of pictures of any one size, which are squeezed into a square as the published processor does.

        Args:
            pixels: uint8 (N, H, W, 3), RGB.

        Returns:
            np.ndarray: int64 (N, n_tokens).
        """
        pixels = np.asarray(pixels)
        if pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; expected uint8 (N, H, W, 3)")
        codes = []
        with torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                pictures = torch.stack([self._normalised(picture) for picture in pixels[start : start + _BATCH]])
                codes.append(self.encoder(pictures.to(self.device)).cpu().numpy())
        return np.concatenate(codes)

    def embed(self, codes: np.ndarray) -> torch.Tensor:
        """CLIP image embeddings (N, E) of codes (N, n_tokens), in float32 on the CPU."""
        checked = self._checked(np.asarray(codes))
        with torch.inference_mode():
            # One by one, so that a picture does not depend on those beside it.
            return torch.cat([self.decoder(torch.from_numpy(row[None])) for row in checked])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Pictures of codes; the same codes always give the same picture, other codes start from other noise.

        Args:
            codes: integers (N, n_tokens), each 0 to codebook_size - 1.

        Returns:
            np.ndarray: uint8 (N, *proc_size, 3).

        Raises:
            ValueError: the codes have another shape, are not integers or are out of range.
        """
        checked = self._checked(np.asarray(codes))
        embeddings = self.embed(checked)
        pictures = [self.pipeline.draw(embeddings[i], noise_seed(row)) for i, row in enumerate(checked)]
        return np.stack([resized(picture, self.proc_size) for picture in pictures])

    def _normalised(self, picture: np.ndarray) -> torch.Tensor:
        """Pixels uint8 (H, W, 3) to the vision tower's input, float32 (3, S, S)."""
        side = self.config.image_size
        square = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        scaled = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
        return (scaled - mean) / std

    def _checked(self, codes: np.ndarray) -> np.ndarray:
        if codes.ndim != 2 or codes.shape[1] != self.n_tokens or len(codes) == 0:
            raise ValueError(f"codes have shape {codes.shape}; expected (N, {self.n_tokens}), N >= 1")
        if not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(f"codes are {codes.dtype}; expected integers")
        if codes.min() < 0 or codes.max() >= self.codebook_size:
            raise ValueError(
                f"codes run from {codes.min()} to {codes.max()}; expected 0 to {self.codebook_size - 1}. "
                "Subtract the start of the token range."
            )
        return np.ascontiguousarray(codes, dtype=np.int64)


def load_seed(folder: Path, declaration: dict[str, Any] | None = None, device: str = "auto") -> SeedCodec:
    """Open a codec's folder; nothing but headers is read yet.

    Args:
        folder: the codec's.
        declaration: what the token space says of it; its `proc_size`, or else its `image_size`, goes before
            config.json's, since that is what the golden meta was written with.
        device: of the encoder and the pipeline, a torch name; `auto` takes cuda where there is one.

    Raises:
        CodecError: a file is missing or malformed, its keys are not accounted for, or the declared size is none.
    """
    config, declared = read_config(folder), declaration or {}
    size = declared.get("proc_size") or declared.get("image_size") or config.proc_size
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise CodecError(
            "token space", f"image_tokenizer.proc_size {size!r}", "pixels, or [height, width]", "Correct it."
        )
    return SeedCodec(folder, config, (sides[0], sides[1]), resolve_device(device))


def noise_seed(codes: np.ndarray) -> int:
    """The seed of a picture's noise: a function of its codes (n_tokens,), whatever its place among others."""
    digest = hashlib.sha256(np.ascontiguousarray(codes, dtype="<i8").tobytes()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # 63 bits
