"""CLIP image embeddings to pictures: Stable Diffusion 2.1 unCLIP, run by diffusers.

Every picture has noise of its own, drawn from a seed that is given with it. The published tokenizer draws one latent
and uses it for all pictures, which makes them look more alike than their codes are.
"""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.codecs.seed_config import SeedConfig
from harness.errors import CodecError, HarnessError
from harness.files import read_json

FOLDER = "unclip"
_INDEX = "model_index.json"
_PIPELINE = "StableUnCLIPImg2ImgPipeline"
# image_encoder and feature_extractor are replaced: see idle_image_encoder.
_PARTS = {"unet", "vae", "scheduler", "tokenizer", "text_encoder", "image_normalizer", "image_noising_scheduler"}
# Where the parts' classes may come from; diffusers would import any library that the index names.
_LIBRARIES = {"diffusers", "transformers", "stable_diffusion"}


class UnclipPipeline:
    """Draws pictures."""

    def __init__(self, pipeline: Any, config: SeedConfig) -> None:
        self._pipeline = pipeline
        self._config = config

    def draw(self, embedding: Tensor, seed: int) -> np.ndarray:
        """The picture of one CLIP image embedding (E,); the same for the same seed.

        Returns:
            np.ndarray: uint8 (S, S, 3), S the pipeline's own size: 768 for the published one.

        Raises:
            ValueError: the picture has values that are not finite.
        """
        # On the CPU, so that the noise does not depend on the device.
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn = self._pipeline(
            image_embeds=embedding[None].to(self._pipeline.device, getattr(torch, self._config.unclip_dtype)),
            num_inference_steps=self._config.steps,
            guidance_scale=self._config.guidance,
            noise_level=self._config.noise_level,
            generator=generator,
            output_type="pt",
        ).images[0]  # (3, S, S) in 0..1
        if not drawn.isfinite().all():
            raise ValueError(f"the unCLIP pipeline in {self._config.unclip_dtype} gave values that are not finite")
        pixels: np.ndarray = (drawn.float() * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return pixels


def load_pipeline(folder: Path, config: SeedConfig, device: str) -> UnclipPipeline:
    """Open the pipeline's folder, from disk alone and without any code or pickle of its own.

    Raises:
        CodecError: diffusers is not installed, or the folder is not such a pipeline.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise CodecError(
            folder, "diffusers not installed", "it, to turn SEED's image embeddings into pictures",
            "Install the extra: pip install 'modality-gates[seed]'.",
        )  # fmt: skip
    _check_index(folder)
    with quiet():
        from diffusers import StableUnCLIPImg2ImgPipeline

        try:
            pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=getattr(torch, config.unclip_dtype),
                image_encoder=idle_image_encoder(),
                feature_extractor=None,
            ).to(device)
        except Exception as error:
            # diffusers ends on a folder that it cannot use in many ways; all of them mean that it is not opened.
            found = f"what diffusers cannot open ({type(error).__name__}: {str(error)[:300]})"
            raise CodecError(
                folder, found, f"a {_PIPELINE} saved as safetensors",
                "Save it with save_pretrained(folder, safe_serialization=True).",
            ) from None  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    if (dim := pipeline.image_normalizer.config.embedding_dim) != config.embed_dim:
        raise CodecError(
            folder, f"a pipeline for embeddings of {dim}", f"{config.embed_dim}, which config.json says",
            "Take the unCLIP that the tokenizer was trained with: Stable Diffusion 2.1 unCLIP.",
        )  # fmt: skip
    return UnclipPipeline(pipeline, config)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels uint8 (H, W, 3) scaled to a height and width, left alone where they have it."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))


def _check_index(folder: Path) -> None:
    expected = f"a {_PIPELINE} folder of diffusers"
    fix = "Put Stable Diffusion 2.1 unCLIP there, as safetensors."
    if not (folder / _INDEX).is_file():
        raise CodecError(folder, f"no {_INDEX}", expected, fix)
    try:
        index = read_json(folder / _INDEX)
    except HarnessError as error:
        raise CodecError(error.where, error.found, error.expected, error.fix) from None
    parts = {name: part for name, part in index.items() if isinstance(part, list)} if isinstance(index, dict) else {}
    if lacking := sorted(_PARTS - parts.keys()):
        raise CodecError(folder / _INDEX, f"no {', '.join(lacking)}", expected, fix)
    foreign = [name for name, part in parts.items() if part[:1] != [None] and part[0] not in _LIBRARIES]
    if foreign or any(folder.rglob("*.py")):
        found = f"code of its own ({', '.join(foreign) or '*.py'})"
        raise CodecError(folder, found, "only classes of diffusers and transformers", fix)


def idle_image_encoder() -> Any:
    """The smallest CLIP vision model: the pipeline asks one for its type, and never runs it on given embeddings.

    The published one has 632 million parameters, which need not be there, on disk or in memory.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    size = {"hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1}
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**size, projection_dim=2, image_size=2, patch_size=2))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the loading bars of diffusers and transformers, and what they say of backends that are not used here."""
    from transformers.utils import logging as transformers_logging

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_level, diffusers_bars = diffusers_logging.get_verbosity(), diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        diffusers_logging.set_verbosity(diffusers_level)
        if diffusers_bars:
            diffusers_logging.enable_progress_bar()
        if bars:
            transformers_logging.enable_progress_bar()
