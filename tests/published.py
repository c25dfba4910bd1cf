"""EnCodec's published forms with weights drawn at random: the package's files, and the same weights as Hugging Face's.

No released weights are at hand; the architectures, file names and key names are the released ones.
"""

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from harness.codecs.encodec_import import encodec_model_class

KHZ = {"24": {}, "48": {  # the configurations of facebook/encodec_24khz and facebook/encodec_48khz
    "target_bandwidths": [3.0, 6.0, 12.0, 24.0], "sampling_rate": 48_000, "audio_channels": 2, "normalize": True,
    "chunk_length_s": 1.0, "overlap": 0.01, "norm_type": "time_group_norm", "use_causal_conv": False,
}}  # fmt: skip


def package_model(khz: str) -> Any:
    """encodec's own model, its codebooks drawn at random as well: they start as zeros or all alike."""
    torch.manual_seed(int(khz))
    model_class = encodec_model_class()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = (model_class.encodec_model_24khz if khz == "24" else model_class.encodec_model_48khz)(pretrained=False)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_()
        layer._codebook.inited.fill_(1)
    return model


def write_package_file(folder: Path, model: Any, khz: str) -> Path:
    """A published file: a state dict whose name ends in the start of its own sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft"
    torch.save(model.state_dict(), draft)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    return draft.rename(folder / f"encodec_{khz}khz-{digest[:8]}.th")


def write_hugging_face(folder: Path, model: Any, khz: str) -> Path:
    """The same weights as transformers' EncodecModel, saved by transformers."""
    from transformers import EncodecConfig, EncodecModel

    other = EncodecModel(EncodecConfig(**KHZ[khz]))
    other.load_state_dict({hugging_face_name(name): tensor for name, tensor in model.state_dict().items()})
    other.save_pretrained(folder)
    return folder


def hugging_face_name(name: str) -> str:
    """encodec's name of a tensor as transformers spells it."""
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    name = re.sub(r"\.(conv|convtr)\.\1\.", ".conv.", name)
    name = re.sub(r"\.(conv|convtr)\.norm\.", ".norm.", name)
    name = re.sub(r"\.weight_([gv])$", lambda m: f".parametrizations.weight.original{'gv'.index(m[1])}", name)
    return re.sub(r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook.", name)
