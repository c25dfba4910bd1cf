"""Building the token space: text ids first, then specials, the image range, and a range for each audio codebook."""

from pathlib import Path
from typing import Any

from harness.files import file_sha256, write_json, write_text
from harness.layout import SERIALIZATION
from harness.token_space import FILE_NAME, ROLES, SIDECAR_NAME, TokenSpace, parse_token_space
from training.recipe import TokenSpaceRecipe

VERSION = "uti_v1"


def build_token_space(
    text_vocab_size: int, image_tokenizer: dict[str, Any], audio_codec: dict[str, Any], recipe: TokenSpaceRecipe
) -> TokenSpace:
    """The token space of a text vocabulary and two codecs (as `describe_*` gives them)."""
    sizes = {"TEXT": text_vocab_size, "SPECIAL": recipe.special_rows, "IMAGE": image_tokenizer["codebook_size"]}
    sizes |= {f"AUDIO_CB{k}": audio_codec["codebook_size"] for k in range(audio_codec["n_codebooks"])}
    ranges, start = {}, 0
    for name, size in sizes.items():
        ranges[name] = {"start": start, "end": start + size - 1, "size": size}
        start += size
    obj = {
        "version": VERSION,
        "created_utc": recipe.created_utc,
        "base_text_model": "base",
        "text_vocab_size": text_vocab_size,
        "special_tokens": {f"<|{role}|>": text_vocab_size + i for i, role in enumerate(ROLES)},
        "ranges": ranges,
        "image_tokenizer": image_tokenizer,
        "audio_codec": audio_codec,
        "vocab_size_total": start,
    }
    return parse_token_space(obj, "the token space being built")


def describe_image_tokenizer(folder: Path, n_tokens: int, proc_size: list[int], codebook_size: int) -> dict[str, Any]:
    """What token_space.json says of an image VQ in a folder. proc_size: height and width, pixels."""
    return {
        "name_or_path": "codecs/image",
        "kind": "vq",
        "weights_sha256": file_sha256(folder / "model.safetensors"),
        "n_tokens": n_tokens,
        "proc_size": proc_size,
        "codebook_size": codebook_size,
    }


def describe_audio_codec(
    folder: Path, *, n_codebooks: int, codebook_size: int, frame_rate: float, sample_rate: int, channels: int
) -> dict[str, Any]:
    """What token_space.json says of an EnCodec in a folder. frame_rate: frames/s; sample_rate: Hz."""
    return {
        "name_or_path": "codecs/audio",
        "kind": "encodec",
        "weights_sha256": file_sha256(folder / "model.safetensors"),
        "frame_rate": frame_rate,
        "n_codebooks": n_codebooks,
        "codebook_size": codebook_size,
        "target_sample_rate": sample_rate,
        "channels": channels,
        "serialization": SERIALIZATION,
    }


def write_token_space(folder: Path, space: TokenSpace) -> None:
    """Write token_space.json and its sidecar."""
    write_json(folder / FILE_NAME, space.raw)
    write_text(folder / SIDECAR_NAME, space.sha256 + "\n")
