"""Tensors on disk, for tests of what compares them: an array becomes a StoredTensor of a file of its own."""

from pathlib import Path

import numpy as np

from harness.tensors import StoredTensor


def stored(folder: Path, values: np.ndarray, dtype: str = "F32", *, name: str = "t", before: int = 0) -> StoredTensor:
    """Store an array.

    Args:
        folder: where its file goes.
        values: float32, stored as `dtype`; integers are stored as they are.
        dtype: as safetensors spells it.
        name: of the tensor.
        before: bytes of something else in front of it.
    """
    raw = _bytes(values, dtype)
    file = folder / f"{len(list(folder.iterdir()))}.bin"
    file.write_bytes(b"\xff" * before + raw)
    return StoredTensor(name, dtype, values.shape, file, before, before + len(raw))


def bf16(values: np.ndarray) -> np.ndarray:
    """float32 values cut to what bfloat16 holds."""
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _bytes(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    kinds = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
    return values.astype(kinds.get(dtype, values.dtype)).tobytes()
