"""The released EnCodec networks from a local folder: the `encodec` package's file, or a Hugging Face folder.

Both hold the same weights under other names, and decode the same codes to the same wave.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.codecs.encodec_checks import copy_state
from harness.codecs.encodec_import import encodec_model_class
from harness.codecs.encodec_published import Frames, Network
from harness.errors import CodecError
from harness.files import file_sha256
from harness.pickles import load_pickle

# As published: encodec_24khz-d7cc33bc.th and encodec_48khz-7e698e3e.th; the suffix is the start of the file's sha256.
PACKAGE_FILE = re.compile(r"encodec_(24|48)khz-([0-9a-f]{8})\.th")


def package_network(file: Path) -> Network:
    """The `encodec` package's model of a published file.

    The file is a pickle, which is a program: its checksum is compared before it is opened, and it is read with
    weights_only=True, which runs nothing in it.

    Raises:
        CodecError: its name is none of the published form, its content is not what the name says, or its tensors are
            not the architecture's.
        BundleError: it asks for code to be run, or is no torch.save file.
    """
    named = PACKAGE_FILE.fullmatch(file.name)
    if named is None:
        raise CodecError(
            file,
            f"a file named {file.name}",
            "encodec_24khz-<8 hex digits>.th or encodec_48khz-<8 hex digits>.th",
            "Keep the published name: it says the architecture and the start of the file's sha256.",
        )
    if not (actual := file_sha256(file)).startswith(named[2]):
        raise CodecError(file, f"sha256 {actual}", f"{named[2]}…, as its name says", "Copy the file again.")
    model = _package_model(named[1])
    state = load_pickle(file)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CodecError(file, "a pickle of something else", "a state dict of tensors", "Use the published file.")
    try:
        copy_state(model, state, file, f"these are not the weights of encodec_{named[1]}khz")
    except ValueError as error:
        raise CodecError(file, str(error), "the published architecture's tensors", "Use the published file.") from None
    return Network(
        sample_rate=model.sample_rate,
        channels=model.channels,
        n_codebooks=model.quantizer.n_q,
        codebook_size=model.quantizer.bins,
        hop_length=int(model.encoder.hop_length),
        chunk_samples=model.segment_length,
        chunk_stride=model.segment_stride,
        normalised=model.normalize,
        encode=model.encode,
        decode=model.decode,
    )


def transformers_network(folder: Path) -> Network:
    """The model of a Hugging Face `EncodecModel` folder: config.json and model.safetensors.

    Raises:
        CodecError: tensors are missing or left over, or the folder is not an EncodecModel's.
    """
    from transformers import EncodecModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a gate run has a progress line of its own
    try:
        model, loading = EncodecModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CodecError(
            folder, f"what transformers cannot load ({error})", "an EncodecModel's folder", "Save it again."
        ) from None
    # transformers draws missing tensors at random and goes on.
    missing, extra = sorted(loading["missing_keys"]), sorted(loading["unexpected_keys"])
    if missing or extra:
        found = f"{len(missing)} tensors missing ({missing[:3]}) and {len(extra)} unexpected ({extra[:3]})"
        raise CodecError(folder, found, "exactly config.json's tensors", "Save model and configuration together.")
    model.eval()
    config = model.config
    return Network(
        sample_rate=config.sampling_rate,
        channels=config.audio_channels,
        n_codebooks=config.num_quantizers,
        codebook_size=config.codebook_size,
        hop_length=config.hop_length,
        chunk_samples=config.chunk_length,
        chunk_stride=config.chunk_stride,
        normalised=config.normalize,
        encode=lambda wave: _transformers_encode(model, wave),
        decode=lambda frames: _transformers_decode(model, frames),
    )


def _package_model(khz: str) -> Any:
    """The architecture with weights drawn at random, in eval mode."""
    model_class = encodec_model_class()
    build = model_class.encodec_model_24khz if khz == "24" else model_class.encodec_model_48khz
    with warnings.catch_warnings():
        # encodec uses torch.nn.utils.weight_norm, deprecated but working; its state names are the format.
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        return build(pretrained=False)


def _transformers_encode(model: Any, wave: Tensor) -> Frames:
    out = model.encode(wave, bandwidth=model.config.target_bandwidths[-1])
    chunks = list(out.audio_codes)  # each (N, K, T), the last one filled up
    if out.last_frame_pad_length:
        chunks[-1] = chunks[-1][..., : -out.last_frame_pad_length]
    return list(zip(chunks, out.audio_scales, strict=True))


def _transformers_decode(model: Any, frames: Frames) -> Tensor:
    longest = frames[0][0].shape[-1]
    pad = longest - frames[-1][0].shape[-1]
    chunks = [torch.nn.functional.pad(codes, (0, longest - codes.shape[-1])) for codes, _ in frames]
    out = model.decode(torch.stack(chunks), [scale for _, scale in frames], last_frame_pad_length=pad)
    wave: Tensor = out.audio_values
    return wave
