"""Shape of a SEED-2 tokenizer and how its pictures are drawn: config.json of the codec's folder.

The defaults are the published ones (AILab-CVC/SEED at 93b3cf4, models/seed_qformer and
models/seed_llama_tokenizer.py).
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from harness.errors import CodecError
from harness.files import read_json, write_json

FORMAT = "seed-codec/1"
CONFIG_FILE = "config.json"


class SeedConfig(BaseModel):
    """The networks, and the decoding; what config.json leaves out is as published."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    image_size: PositiveInt = 224  # pixels a side that the vision tower sees
    patch_size: PositiveInt = 14
    vision_width: PositiveInt = 1408
    vision_layers: PositiveInt = 39  # EVA-CLIP-g has 40; SEED leaves the last one out
    vision_heads: PositiveInt = 16
    vision_mlp: PositiveInt = 6144
    hidden: PositiveInt = 768  # of the Q-former and of the blocks that decode
    qformer_layers: PositiveInt = 12
    heads: PositiveInt = 12
    qformer_mlp: PositiveInt = 3072
    cross_attention_every: PositiveInt = 2  # layers
    n_tokens: PositiveInt = 32  # codes a picture
    codebook_size: PositiveInt = 8192
    code_dim: PositiveInt = 32
    image_layers: PositiveInt = 4
    image_mlp: PositiveInt = 3072
    embed_dim: PositiveInt = 1024  # of the CLIP image embedding
    proc_size: PositiveInt = 224  # pixels a side that a drawn picture is scaled to; the token space's goes first
    steps: PositiveInt = 20
    guidance: NonNegativeFloat = 10.0
    noise_level: NonNegativeInt = 0
    unclip_dtype: Literal["float32", "float16", "bfloat16"] = "float32"  # of the diffusion; the tokenizer is float32

    @model_validator(mode="after")
    def _fits(self) -> Self:
        pairs = [("vision_width", "vision_heads"), ("hidden", "heads"), ("image_size", "patch_size")]
        for whole, part in pairs:
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(f"{whole} {getattr(self, whole)} is no multiple of {part} {getattr(self, part)}")
        return self


def write_config(config: SeedConfig, folder: Path) -> None:
    """Write config.json."""
    write_json(folder / CONFIG_FILE, {"format": FORMAT} | config.model_dump())


def read_config(folder: Path) -> SeedConfig:
    """Read config.json.

    Raises:
        CodecError: there is none, or it is not a SEED codec's.
    """
    path = folder / CONFIG_FILE
    expected, fix = f"an object with format {FORMAT!r}", f"`python -m harness.codecs.seed_convert {folder}` writes one."
    if not path.is_file():
        raise CodecError(path, "no such file", expected, fix)
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CodecError(path, "another file", expected, fix)
    try:
        return SeedConfig(**{key: value for key, value in found.items() if key != "format"})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        what = f"{key}: {first['msg']}, not {first['input']!r}" if key else first["msg"]
        raise CodecError(path, what, "settings of SeedConfig", "Correct it, or leave it out.") from None
