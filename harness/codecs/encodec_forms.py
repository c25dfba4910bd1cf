"""EnCodec from a local folder, in whichever form it lies there.

- `config.json` (format encodec-codec/1) and `model.safetensors`: a small configuration, which this project trains.
- `encodec_24khz-<8 hex>.th` or `encodec_48khz-<8 hex>.th`: the `encodec` package's published file, a pickle.
- `config.json` (model_type encodec) and `model.safetensors`: a Hugging Face `EncodecModel`.
"""

from pathlib import Path
from typing import Any

from harness.codecs.encodec import CONFIG_FILE, FORMAT, EncodecCodec
from harness.codecs.encodec_networks import package_network, transformers_network
from harness.codecs.encodec_published import Network, PublishedEncodec
from harness.errors import CodecError
from harness.files import read_json


def open_encodec(folder: Path, weights: Path, declaration: dict[str, Any]) -> EncodecCodec | PublishedEncodec:
    """The codec of a folder.

    Args:
        folder: holds the codec.
        weights: the file in it that holds the weights.
        declaration: what the token space says; of a published model, `n_codebooks` of its codebooks are in use.

    Raises:
        CodecError: it is none of the forms, or not what the declaration says.
    """
    if weights.suffix == ".th":
        return _published(folder, package_network(weights), declaration)
    config = read_json(folder / CONFIG_FILE)
    if isinstance(config, dict) and config.get("model_type") == "encodec":
        return _published(folder, transformers_network(folder), declaration)
    if isinstance(config, dict) and config.get("format") == FORMAT:
        return EncodecCodec.load(folder)
    raise CodecError(
        folder / CONFIG_FILE,
        "neither",
        f'"format": "{FORMAT}" (a small configuration) or "model_type": "encodec" (a Hugging Face EncodecModel)',
        "Take config.json and model.safetensors from the same codec.",
    )


def _published(folder: Path, network: Network, declaration: dict[str, Any]) -> PublishedEncodec:
    n_codebooks = declaration.get("n_codebooks", network.n_codebooks)
    try:
        return PublishedEncodec(network, n_codebooks)
    except ValueError as error:
        raise CodecError(folder, str(error), "the codec that made the shards", "Correct n_codebooks.") from None
