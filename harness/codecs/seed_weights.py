"""Weights of the SEED-2 tokenizer: every required key is accounted for, every other one is ignored for a reason.

The published loader reads with strict=False and prints counts. In the field that left 511 keys missing, exactly the
vision tower's, which its maker publishes in a file of its own. Here the required keys follow from the networks
themselves, and are looked for in two files: `model.safetensors` (the published seed_quantizer.pt) and, for the tower
alone, `vision.safetensors` (eva_vit_g.pth). Both are safetensors with the published key names.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from harness.codecs.seed_config import SeedConfig
from harness.codecs.seed_model import SeedDecoder, SeedEncoder
from harness.errors import CodecError

WEIGHTS_FILE = "model.safetensors"
VISION_FILE = "vision.safetensors"
VISION_PREFIX = "visual_encoder."

# Our name -> the published one, for the two networks that are transformers'; all others have the published names.
_RENAMES = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"vision\.embeddings\.class_embedding", r"visual_encoder.cls_token"),
        (r"vision\.embeddings\.position_embedding", r"visual_encoder.pos_embed"),
        (r"vision\.embeddings\.patch_embedding\.(\w+)", r"visual_encoder.patch_embed.proj.\1"),
        (r"vision\.encoder\.layers\.(\d+)\.layer_norm(\d)\.(\w+)", r"visual_encoder.blocks.\1.norm\2.\3"),
        (r"vision\.encoder\.layers\.(\d+)\.self_attn\.qkv\.weight", r"visual_encoder.blocks.\1.attn.qkv.weight"),
        (r"vision\.encoder\.layers\.(\d+)\.self_attn\.projection\.(\w+)", r"visual_encoder.blocks.\1.attn.proj.\2"),
        (r"vision\.encoder\.layers\.(\d+)\.mlp\.(fc\d\.\w+)", r"visual_encoder.blocks.\1.mlp.\2"),
        (r"vision\.post_layernorm\.(\w+)", r"ln_vision.\1"),
        (r"qformer\.layernorm\.(\w+)", r"Qformer.bert.embeddings.LayerNorm.\1"),
        (r"qformer\.encoder\.layer\.(\d+)\.(\w+)\.attention\.(.+)", r"Qformer.bert.encoder.layer.\1.\2.self.\3"),
        (r"qformer\.encoder\.layer\.(.+)", r"Qformer.bert.encoder.layer.\1"),
    )
)
# The tower's query, key and value share a matrix but not a bias: BLIP-2's is [q, 0, v].
_FUSED_BIAS = re.compile(r"vision\.encoder\.layers\.(\d+)\.self_attn\.qkv\.bias")

# What the files hold beside the required keys, by the first pattern that fits.
_IGNORED = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"pos_embed$|blocks\.", "serves the training of the causal embeddings only"),
        (r"Qformer\.bert\.embeddings\.", "the Q-former's text input, which SEED switches off"),
        (r"Qformer\.bert\.encoder\.layer\.\d+\.(intermediate|output)\.", "the Q-former's text branch, switched off"),
        (r"Qformer\.(cls|bert\.pooler)\.", "the Q-former's text head, switched off"),
        (r"Reverse_Qformer\.", "a branch that SEED-2 leaves off"),
        (r"visual_encoder\.blocks\.\d+\.", "blocks of EVA-CLIP-g after the last one that SEED uses"),
        (r"visual_encoder\.(norm|fc_norm|head)\.", "EVA-CLIP-g's own last norm and head; SEED has ln_vision"),
    )
)
_UNKNOWN = "part of no network that encodes or decodes"


@dataclass(frozen=True)
class SeedWeights:
    """Where the required keys lie.

    Attributes:
        folder: the codec's.
        found: published key -> file and the key's name there.
        missing: required keys that no file has: none, or exactly the vision tower's.
        ignored: key -> why it is not read.
    """

    folder: Path
    found: dict[str, tuple[Path, str]]
    missing: tuple[str, ...]
    ignored: dict[str, str]

    @property
    def noteworthy(self) -> bool:
        """Whether a key is missing, or one is there that no version of SEED-2 known here has."""
        return bool(self.missing) or _UNKNOWN in self.ignored.values()

    def describe(self) -> str:
        """The account in a sentence or two."""
        parts = [f"{len(self.found)} required keys found, {len(self.missing)} missing"]
        if self.missing:
            parts[0] += f", exactly the vision tower's ({', '.join(self.missing[:3])}, …): encoding needs them"
        by_reason = Counter(self.ignored.values()).most_common()
        parts += [f"{count} ignored: {why} ({_first(self.ignored, why)}, …)" for why, count in by_reason]
        return "; ".join(parts) + "."

    def fill(self, network: nn.Module) -> None:
        """Put the weights into a network that was built on the meta device, in float32.

        Raises:
            CodecError: weights of the vision tower are needed and missing, or a tensor is not finite.
        """
        tensors = {}
        for name, parameter in network.state_dict().items():
            if not self.found.keys() >= set(published_keys(name)):
                raise _no_tower(self)
            tensors[name] = self._tensor(name, parameter)
        network.load_state_dict(tensors, assign=True)

    def _tensor(self, name: str, parameter: Tensor) -> Tensor:
        stored = [self._read(key) for key in published_keys(name)]
        if _FUSED_BIAS.fullmatch(name):
            query, value = stored
            return torch.cat([query, torch.zeros_like(query), value])
        return stored[0].reshape(parameter.shape)

    def _read(self, key: str) -> Tensor:
        path, name = self.found[key]
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name).float()
        if not tensor.isfinite().all():
            raise CodecError(path, f"{name} with values that are not finite", "numbers", "Copy or convert it again.")
        return tensor


def open_weights(folder: Path, config: SeedConfig) -> SeedWeights:
    """Account for every key of the folder's files; only their headers are read.

    Raises:
        CodecError: required keys are missing other than exactly the vision tower's, a shape is not the
            configuration's, both files hold a tower, or a file is not safetensors.
    """
    required = required_shapes(config)
    shapes, found = {}, {}
    for path in (folder / WEIGHTS_FILE, folder / VISION_FILE):
        if path.name == VISION_FILE and not path.is_file():
            continue
        for name, shape in _header(path).items():
            # The tower's maker publishes it under no prefix.
            bare = path.name == VISION_FILE and not name.startswith(VISION_PREFIX)
            key = VISION_PREFIX + name if bare else name
            if key in found:
                raise CodecError(
                    path, f"{name}, which {WEIGHTS_FILE} has too", "one vision tower", f"Remove {VISION_FILE}."
                )
            found[key], shapes[key] = (path, name), shape
    for key in required.keys() & found.keys():
        if shapes[key] != required[key]:
            expected = f"{required[key]}, as config.json makes it"
            raise CodecError(found[key][0], f"{key} {shapes[key]}", expected, "Take both of the same tokenizer.")
    missing = tuple(key for key in required if key not in found)
    tower = tuple(key for key in required if key.startswith(VISION_PREFIX))
    if missing and missing != tower:
        raise _not_whole(folder, missing)
    ignored = {key: _why_ignored(key) for key in found if key not in required}
    return SeedWeights(folder, {key: place for key, place in found.items() if key in required}, missing, ignored)


def required_shapes(config: SeedConfig) -> dict[str, tuple[int, ...]]:
    """Published key -> shape of all that encoding and decoding need; the networks are built without memory."""
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        networks: list[nn.Module] = [SeedEncoder(config), SeedDecoder(config)]
    for network in networks:
        for name, parameter in network.state_dict().items():
            keys = published_keys(name)
            shape = (parameter.shape[0] // 3,) if len(keys) == 2 else tuple(parameter.shape)
            shapes |= dict.fromkeys(keys, shape)
    return shapes


def published_keys(name: str) -> tuple[str, ...]:
    """The published key of one of our parameters; of the tower's fused bias the two that it is made of."""
    if fused := _FUSED_BIAS.fullmatch(name):
        return tuple(f"visual_encoder.blocks.{fused[1]}.attn.{part}_bias" for part in "qv")
    for ours, theirs in _RENAMES:
        if named := ours.fullmatch(name):
            return (named.expand(theirs),)
    return (name,)


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's tensors."""
    if not path.is_file():
        fix = f"`python -m harness.codecs.seed_convert {path.parent}` makes it of the published seed_quantizer.pt."
        raise CodecError(path, "no such file", "the tokenizer's weights as safetensors", fix)
    try:
        with safe_open(path, framework="pt") as file:
            # Not a dictionary, so that its keys are asked for by name.
            names: Any = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except SafetensorError as error:
        raise CodecError(path, f"no readable safetensors file ({error})", "one", "Convert or copy it again.") from None


def _no_tower(weights: SeedWeights) -> CodecError:
    found = f"{len(weights.missing)} required keys missing, exactly the vision tower's: {_some(weights.missing)}"
    return CodecError(
        weights.folder, found, f"them in {VISION_FILE}, as pictures are to be encoded",
        f"Put eva_vit_g.pth there and run `python -m harness.codecs.seed_convert {weights.folder}`.",
    )  # fmt: skip


def _not_whole(folder: Path, missing: tuple[str, ...]) -> CodecError:
    beside = tuple(key for key in missing if not key.startswith(VISION_PREFIX))
    in_tower = len(missing) - len(beside)
    found = f"{len(missing)} required keys missing, {in_tower} of them the vision tower's: {_some(beside or missing)}"
    return CodecError(
        folder / (WEIGHTS_FILE if beside else VISION_FILE), found, "every key that encoding or decoding needs",
        "Convert the published file again, or correct config.json.",
    )  # fmt: skip


def _some(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")


def _why_ignored(key: str) -> str:
    return next((why for pattern, why in _IGNORED if pattern.match(key)), _UNKNOWN)


def _first(ignored: dict[str, str], why: str) -> str:
    return next(key for key, reason in ignored.items() if reason == why)
