"""`EncodecCodec`: waves to codes and back, with an `encodec.model.EncodecModel` of any (small) size.

A codec is a folder: `config.json` (an `EncodecConfig`) and `model.safetensors` (the state of the
EncodecModel). Codes are (N, K, T): K residual codebooks, 0 the coarsest, and T frames of `hop_length`
samples.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from harness.codecs.encodec_checks import checked_codes, checked_wave, copy_state, trimmed_length
from harness.codecs.encodec_import import encodec_parts

FORMAT = "encodec-codec/1"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

# Clips per pass. Fixed, because a different batch may take another matrix kernel and flip a near-tie code.
_BATCH = 32


@dataclass(frozen=True)
class EncodecConfig:
    """The architecture. The defaults are the demo's; names are those of encodec 0.1.1."""

    sample_rate: int = 24_000  # Hz
    channels: int = 1
    ratios: tuple[int, ...] = (30, 80)  # upsampling factors in decoder order; their product is the hop
    n_filters: int = 32  # channels at the sample rate; doubled by every ratio
    dimension: int = 128  # of the latent that is quantised
    n_residual_layers: int = 0
    lstm: int = 1  # layers; transformers' EncodecModel needs at least 1
    causal: bool = True
    kernel_size: int = 7
    last_kernel_size: int = 7
    n_codebooks: int = 4
    codebook_size: int = 256  # a power of two: encodec counts bits
    ema_decay: float = 0.99  # of the codebooks, in training
    dead_code_threshold: int = 0  # uses a batch under which a code is replaced, in training; 0: never.
    # A batch of 8 short clips has fewer frames than a codebook has codes, so 1 would replace most of them.

    def __post_init__(self) -> None:
        if self.codebook_size & (self.codebook_size - 1) or self.codebook_size < 2:
            raise ValueError(f"codebook_size is {self.codebook_size}; encodec needs a power of two")
        if self.n_codebooks < 1 or not self.ratios or self.channels not in (1, 2):
            raise ValueError(f"n_codebooks and the number of ratios must be at least 1, channels 1 or 2; found {self}")

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        return math.prod(self.ratios)


class EncodecCodec:
    """Turns waves into codes and codes into waves. Always in eval mode, on the CPU, without gradients.

    `codec.model` is the EncodecModel itself; whoever trains it puts it back into eval mode, and `encode` and
    `decode` do so too.
    """

    def __init__(self, config: EncodecConfig, model: torch.nn.Module | None = None) -> None:
        self.config = config
        self.model = model if model is not None else build_encodec_model(config)
        self.model.eval()

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def channels(self) -> int:
        """Channels of a wave."""
        return self.config.channels

    @property
    def n_codebooks(self) -> int:
        """K, codes a frame."""
        return self.config.n_codebooks

    @property
    def codebook_size(self) -> int:
        """Codes are 0 to codebook_size - 1."""
        return self.config.codebook_size

    @property
    def hop_length(self) -> int:
        """Samples a frame."""
        return self.config.hop_length

    @property
    def frame_rate(self) -> float:
        """Frames a second; exact, where encodec's own attribute is rounded up."""
        return self.config.sample_rate / self.config.hop_length

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Codes of waves.

        Args:
            wave: float32 (N, C, S) at `sample_rate`, full scale = 1.

        Returns:
            np.ndarray: int64 (N, K, T), T = ceil(S / hop_length).

        Raises:
            ValueError: If the shape is not (N, channels, S) with N, S >= 1, or a sample is not finite.
        """
        wave = checked_wave(wave, self.channels)
        self.model.eval()
        with torch.no_grad():
            return np.concatenate(
                [self._encode_batch(wave[start : start + _BATCH]) for start in range(0, len(wave), _BATCH)]
            )

    def decode(self, codes: np.ndarray, n_samples: int | None = None) -> np.ndarray:
        """Waves of codes.

        Args:
            codes: integers (N, K, T), each 0 to codebook_size - 1.
            n_samples: Length to trim to; by default all T * hop_length samples.

        Returns:
            np.ndarray: float32 (N, C, n_samples).

        Raises:
            ValueError: If the shape, the number of codebooks or a code is wrong, or `n_samples` is not
                between 1 and T * hop_length.
        """
        codes = checked_codes(codes, self.n_codebooks, self.codebook_size)
        n_samples = trimmed_length(n_samples, codes.shape[2] * self.hop_length, codes.shape[2])
        self.model.eval()
        with torch.no_grad():
            waves = [self._decode_batch(codes[start : start + _BATCH]) for start in range(0, len(codes), _BATCH)]
        return np.concatenate(waves)[:, :, :n_samples]

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, making the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"format": FORMAT, **asdict(self.config)}
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        state = {name: tensor.detach().contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(state, folder / WEIGHTS_FILE)

    @classmethod
    def load(cls, folder: str | Path) -> EncodecCodec:
        """Read a folder that `save` wrote.

        Raises:
            FileNotFoundError: If one of the two files is missing.
            ValueError: If the configuration or the weights are not a codec's, or do not fit each other.
        """
        folder = Path(folder)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name}: no such file; a codec folder holds {CONFIG_FILE} "
                    f"and {WEIGHTS_FILE}. Write one with EncodecCodec.save."
                )
        codec = cls(_read_config(folder / CONFIG_FILE))
        _load_weights(codec.model, folder / WEIGHTS_FILE)
        return codec

    def _encode_batch(self, wave: np.ndarray) -> np.ndarray:
        frames = self.model.encode(torch.from_numpy(wave))  # type: ignore[operator]
        return frames[0][0].numpy().astype(np.int64)  # (n, K, T); one frame: no segments at this setting

    def _decode_batch(self, codes: np.ndarray) -> np.ndarray:
        wave = self.model.decode([(torch.from_numpy(codes), None)])  # type: ignore[operator]
        return wave.numpy().astype(np.float32)  # (n, C, T * hop)


def build_encodec_model(config: EncodecConfig) -> torch.nn.Module:
    """An untrained `EncodecModel`, its weights drawn from torch's global generator, in training mode."""
    parts = encodec_parts()
    network: dict[str, Any] = {
        "channels": config.channels,
        "dimension": config.dimension,
        "n_filters": config.n_filters,
        "n_residual_layers": config.n_residual_layers,
        "ratios": list(config.ratios),
        "lstm": config.lstm,
        "causal": config.causal,
        "norm": "weight_norm",
        "kernel_size": config.kernel_size,
        "last_kernel_size": config.last_kernel_size,
    }
    with warnings.catch_warnings():
        # encodec uses torch.nn.utils.weight_norm, deprecated but working; its state names are the format.
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        encoder, decoder = parts.encoder(**network), parts.decoder(**network)
    quantizer = parts.quantizer(
        dimension=config.dimension,
        n_q=config.n_codebooks,
        bins=config.codebook_size,
        decay=config.ema_decay,
        threshold_ema_dead_code=config.dead_code_threshold,
    )
    bandwidth = (
        config.n_codebooks * math.log2(config.codebook_size) * math.ceil(config.sample_rate / config.hop_length) / 1000
    )  # kbit/s, all codebooks
    model: torch.nn.Module = parts.model(encoder, decoder, quantizer, [bandwidth], config.sample_rate, config.channels)
    return model


def _read_config(path: Path) -> EncodecConfig:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected an object with format {FORMAT!r}") from error
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise ValueError(f"{path}: expected an object with format {FORMAT!r}; write it with EncodecCodec.save")
    known = {field.name for field in fields(EncodecConfig)}
    if set(found) != known:
        raise ValueError(
            f"{path}: missing {sorted(known - set(found))}, unknown "
            f"{sorted(set(found) - known)}; "
            "write it with EncodecCodec.save"
        )
    return EncodecConfig(**{**found, "ratios": tuple(found["ratios"])})


def _load_weights(model: torch.nn.Module, path: Path) -> None:
    """Copy the tensors of a safetensors file into the model; names and shapes must match exactly."""
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error}); write it with EncodecCodec.save") from error
    copy_state(model, state, path, f"{CONFIG_FILE} beside it describes another network")
