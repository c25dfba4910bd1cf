"""A SEED codec of random weights on disk: the parity fixture's tokenizer, and an unCLIP pipeline of a few thousand."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from harness.codecs.seed_config import SeedConfig, write_config
from harness.codecs.seed_pipeline import idle_image_encoder, quiet

DATA = Path(__file__).parent / "data" / "seed"
# The configuration of the parity fixture; few steps, since nothing here depends on their number.
TINY = SeedConfig(
    image_size=56, vision_width=64, vision_layers=2, vision_heads=4, vision_mlp=279, hidden=48, qformer_layers=2,
    qformer_mlp=96, codebook_size=512, image_mlp=192, embed_dim=64, proc_size=24, steps=2,
)  # fmt: skip
NATIVE = 32  # pixels a side that the tiny pipeline draws


def write_seed_codec(folder: Path, pipeline: bool = True, **settings: Any) -> Path:
    """Write the whole codec; `settings` change its configuration. Its codebook is cut to `codebook_size` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    config = SeedConfig(**TINY.model_dump() | settings)
    write_config(config, folder)
    tensors = load_file(DATA / "seed_tiny.safetensors")
    tensors["quantize.embedding.weight"] = tensors["quantize.embedding.weight"][: config.codebook_size].clone()
    save_file(tensors, folder / "model.safetensors")
    if pipeline:
        write_pipeline(folder / "unclip", config.embed_dim)
    return folder


def rewrite(folder: Path, change: Any) -> None:
    """Change the tensors of model.safetensors in place."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def write_pipeline(folder: Path, embed_dim: int = 64, **saving: Any) -> None:
    """A StableUnCLIPImg2ImgPipeline with random weights, saved as the published one is."""
    with quiet():
        from diffusers import (
            AutoencoderKL,
            DDIMScheduler,
            DDPMScheduler,
            StableUnCLIPImg2ImgPipeline,
            UNet2DConditionModel,
        )
        from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
        from transformers import CLIPImageProcessor

        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), block_out_channels=(8, 16), attention_head_dim=(2, 4),
            class_embed_type="projection", projection_class_embeddings_input_dim=2 * embed_dim, cross_attention_dim=8,
            layers_per_block=1, norm_num_groups=4,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
            up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=NATIVE,
        )  # fmt: skip
        tokenizer = _clip_tokenizer(folder.parent / ".clip")
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                num_attention_heads=2, projection_dim=8, max_position_embeddings=8, bos_token_id=0, eos_token_id=1,
            )
        )  # fmt: skip
        pipeline = StableUnCLIPImg2ImgPipeline(
            feature_extractor=CLIPImageProcessor(size=2, crop_size=2), image_encoder=idle_image_encoder(),
            image_normalizer=StableUnCLIPImageNormalizer(embed_dim), image_noising_scheduler=DDPMScheduler(),
            tokenizer=tokenizer, text_encoder=text, unet=unet, scheduler=DDIMScheduler(), vae=vae,
        )  # fmt: skip
        pipeline.save_pretrained(folder, **{"safe_serialization": True} | saving)
    shutil.rmtree(folder.parent / ".clip")


def _clip_tokenizer(folder: Path) -> CLIPTokenizer:
    folder.mkdir(parents=True)
    words = ["<|startoftext|>", "<|endoftext|>", "a", "a</w>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 8}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return tokenizer


def random_codes(n: int, seed: int = 0, size: int = 512) -> np.ndarray:
    """Codes (n, 32)."""
    return np.random.default_rng(seed).integers(0, size, size=(n, 32))
