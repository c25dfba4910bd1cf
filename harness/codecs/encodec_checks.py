"""What every form of EnCodec refuses: encodec itself looks codes up without a check."""

from pathlib import Path

import numpy as np
import torch


def checked_codes(codes: np.ndarray, n_codebooks: int, codebook_size: int) -> np.ndarray:
    """Codes (N, K, T) as contiguous int64.

    Raises:
        ValueError: the shape, the number of codebooks or a code is wrong.
    """
    codes = np.asarray(codes)
    if codes.ndim != 3 or codes.shape[1] != n_codebooks or 0 in codes.shape:
        raise ValueError(
            f"codes have shape {codes.shape}; expected (N, {n_codebooks}, T): {n_codebooks} codebooks, N and T >= 1"
        )
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"codes are {codes.dtype}; expected integers")
    if codes.min() < 0 or codes.max() >= codebook_size:
        raise ValueError(
            f"codes run from {codes.min()} to {codes.max()}; expected 0 to {codebook_size - 1}. "
            "Subtract the start of the token range."
        )
    return np.ascontiguousarray(codes, dtype=np.int64)


def checked_wave(wave: np.ndarray, channels: int) -> np.ndarray:
    """Waves (N, C, S) as contiguous float32.

    Raises:
        ValueError: the shape or the type is wrong, or a sample is not finite.
    """
    wave = np.asarray(wave)
    if wave.ndim != 3 or wave.shape[1] != channels or 0 in wave.shape:
        raise ValueError(f"wave has shape {wave.shape}; expected (N, {channels}, S), N and S >= 1")
    if wave.dtype != np.float32:
        raise ValueError(f"wave is {wave.dtype}; expected float32, full scale = 1")
    if not np.isfinite(wave).all():
        raise ValueError(f"wave holds {int((~np.isfinite(wave)).sum())} samples that are not finite")
    return np.ascontiguousarray(wave)


def trimmed_length(n_samples: int | None, longest: int, n_frames: int) -> int:
    """How many samples to keep of `longest`, all of them where nothing is asked for.

    Raises:
        ValueError: more samples are asked for than the frames decode to.
    """
    if n_samples is None:
        return longest
    if not 1 <= n_samples <= longest:
        raise ValueError(f"n_samples is {n_samples}; {n_frames} frames decode to {longest}, so expected 1 to {longest}")
    return n_samples


def copy_state(model: torch.nn.Module, state: dict[str, torch.Tensor], where: Path, otherwise: str) -> None:
    """Copy stored tensors into a model; names and shapes must match exactly.

    Args:
        model: the network.
        state: name -> tensor.
        where: what to name in an error.
        otherwise: what it means that names or shapes differ.

    Raises:
        ValueError: they do not match.
    """
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        raise ValueError(
            f"{where}: lacks {missing[:3]} and holds unexpected {extra[:3]} ({len(missing)} and {len(extra)} in all); "
            f"{otherwise}"
        )
    for name, tensor in wanted.items():
        found, expected = tuple(state[name].shape), tuple(tensor.shape)
        if found != expected:
            raise ValueError(f"{where}: {name} has shape {found}, expected {expected}; {otherwise}")
    model.load_state_dict(state)
