"""Stored tensors: what safetensors files hold, read without trusting them and without loading them.

A header is checked by hand before anything is mapped: bounded, parsed, every span inside the file, no two overlapping,
none left over. What passes is read through a memory map, so that a checkpoint of any size costs no memory to look at.
Format: https://github.com/huggingface/safetensors, "Format".
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import BundleError, HarnessError
from harness.files import parse_json, read_json

# The format's own limit; a header beyond it is refused before it is read.
MAX_HEADER_BYTES = 100_000_000
LENGTH_BYTES = 8  # of the little-endian header length that a file begins with
BYTES_OF = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
FLOATS = ("F8_E5M2", "F8_E4M3", "F16", "BF16", "F32", "F64")
INDEX_SUFFIX = ".safetensors.index.json"
# No tensor of a model has more axes, or an axis or span beyond what 64 bits count; larger numbers only cost time.
MAX_AXES = 16
MAX_SIZE = 2**63 - 1
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".th", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class StoredTensor:
    """One tensor in a file.

    Attributes:
        name: its key.
        dtype: as safetensors spells it: F32, BF16, …
        shape: its shape; empty for a scalar.
        file: where it is stored.
        start, stop: its bytes in the file, absolute.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int

    @property
    def n_elements(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first axis; of the whole for a scalar."""
        return (self.stop - self.start) // self.shape[0] if self.shape and self.shape[0] else self.stop - self.start

    def raw(self, first_row: int = 0, end_row: int | None = None) -> np.ndarray:
        """Stored bytes of some rows, (rows, row_bytes) uint8, a view of the mapped file."""
        rows = self.shape[0] if self.shape else 1
        end_row = rows if end_row is None else min(end_row, rows)
        if end_row <= first_row or self.row_bytes == 0:
            return np.empty((0, self.row_bytes), dtype=np.uint8)
        flat = self._mapped(self.start + first_row * self.row_bytes, (end_row - first_row) * self.row_bytes)
        return flat.reshape(end_row - first_row, self.row_bytes)

    def chunks(self, chunk_bytes: int = 16 * 2**20) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks of whole rows: (first row, bytes (rows, row_bytes) uint8), about `chunk_bytes` each."""
        rows = self.shape[0] if self.shape else 1
        step = max(1, chunk_bytes // max(1, self.row_bytes))
        for first in range(0, rows, step):
            yield first, self.raw(first, first + step)

    def pieces(self, piece_bytes: int = 16 * 2**20) -> Iterator[np.ndarray]:
        """All of its bytes in order, flat uint8, whole values in each piece: bounded even where one row is huge."""
        for offset in range(self.start, self.stop, piece_bytes):
            yield self._mapped(offset, min(piece_bytes, self.stop - offset))

    def _mapped(self, offset: int, n_bytes: int) -> np.ndarray:
        """Bytes of the file, flat uint8. What is not looked at any more leaves the memory with the view."""
        page = offset - offset % mmap.ALLOCATIONGRANULARITY
        try:
            with self.file.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), offset + n_bytes - page, access=mmap.ACCESS_READ, offset=page)
        except (OSError, ValueError) as error:
            # Its header was sound when it was read: the file was cut or removed since.
            raise BundleError(
                self.file, f"a file that changed ({error})", "the same file throughout", "Run it again."
            ) from None
        return np.frombuffer(mapped, dtype=np.uint8, count=n_bytes, offset=offset - page)


def to_float32(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Stored bytes (rows, row_bytes) as float32 (rows, values); exact for every type but F64.

    Raises:
        ValueError: the type holds no floating-point numbers that numpy can be given.
    """
    contiguous = np.ascontiguousarray(raw)
    if dtype == "F32":
        return contiguous.view(np.float32)
    if dtype == "F16":
        return contiguous.view(np.float16).astype(np.float32)
    if dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        return (contiguous.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dtype == "F64":
        return contiguous.view(np.float64).astype(np.float32)
    raise ValueError(f"{dtype} is no floating-point type that can be read here")


def read_file(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file, by name.

    Raises:
        BundleError: the file is no well-formed safetensors file; says which rule it breaks.
    """
    if path.exists() and not path.is_file():
        # Opening a pipe would wait for ever.
        raise BundleError(path, "no regular file", "a safetensors file", "Put the file itself there.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(LENGTH_BYTES)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < LENGTH_BYTES or length > min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
                raise _broken(path, f"a header of {length} bytes in a file of {size}", "a header inside the file")
            header = _parse_header(path, file.read(length))
    except OSError as error:
        raise BundleError(
            path, error.strerror or "an unreadable file", "a safetensors file", "Check the path."
        ) from None
    _check_metadata(path, header.pop("__metadata__", {}))
    tensors = {name: _tensor(path, name, entry, LENGTH_BYTES + length) for name, entry in header.items()}
    _check_spans(path, list(tensors.values()), LENGTH_BYTES + length, size)
    return tensors


def read_folder(folder: Path, stem: str = "model") -> dict[str, StoredTensor]:
    """The tensors of a model folder: `<stem>.safetensors`, or the files that its index names.

    Raises:
        BundleError: there is none, a file is malformed, the index points outside the folder or disagrees with the
            files, or a tensor is stored twice.
    """
    index = folder / f"{stem}{INDEX_SUFFIX}"
    if index.is_file():
        return _read_sharded(folder, index)
    single = folder / f"{stem}.safetensors"
    if not single.is_file():
        raise BundleError(
            folder, f"no {single.name} and no {index.name}", "one of them", "Save the model as safetensors."
        )
    return read_file(single)


def find_pickles(folder: Path) -> list[Path]:
    """Files of a folder that are, by their name, pickles."""
    return sorted(path for path in folder.rglob("*") if path.name.lower().endswith(PICKLE_SUFFIXES) and path.is_file())


def _read_sharded(folder: Path, index: Path) -> dict[str, StoredTensor]:
    obj = read_json(index)
    declared = obj.get("weight_map") if isinstance(obj, dict) else None
    if not isinstance(declared, dict) or not all(isinstance(v, str) for v in declared.values()):
        raise BundleError(index, "no weight_map of names", "tensor -> file", "Save the model again.")
    tensors: dict[str, StoredTensor] = {}
    for name in sorted(set(declared.values())):
        # A plain name: the hub's cache keeps links in its folders, so that where a file lies in the end says nothing.
        if Path(name).name != name or not name.isprintable():
            raise BundleError(index, f"a file outside the folder ({name!r})", "files of the folder", "Do not open it.")
        for key, tensor in read_file(folder / name).items():
            if key in tensors:
                raise BundleError(
                    folder / name, f"{key}, which {tensors[key].file.name} holds too", "each once", "Save it again."
                )
            tensors[key] = tensor
    found = declared.keys() | tensors.keys()
    wrong = sorted(k for k in found if k not in tensors or tensors[k].file.name != declared.get(k))
    if wrong:
        raise BundleError(
            index,
            f"{len(wrong)} tensors that are not where it says ({wrong[0]})",
            "an index that agrees with its files",
            "Save the model again.",
        )
    return tensors


def _parse_header(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        header = parse_json(raw, path, unique_keys=True)
    except HarnessError as error:
        raise _broken(path, f"a header of {error.found}", "a JSON object, every tensor once") from None
    if not isinstance(header, dict):
        raise _broken(path, f"a header that is a JSON {type(header).__name__}", "an object")
    return header


def _check_metadata(path: Path, metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, "a __metadata__ that is no object of texts", "names and texts")


def _tensor(path: Path, name: str, entry: Any, data_start: int) -> StoredTensor:
    if not name.isprintable():
        # Such a name could not be written to a report, or would act on the terminal that shows it.
        raise _broken(path, f"a tensor called {name[:80]!a}", "printable names")
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str) or entry["dtype"] not in BYTES_OF:
        raise _broken(
            path, f"{name[:80]}: {ascii(entry)[:120]}", f"dtype (one of {', '.join(BYTES_OF)}), shape and data_offsets"
        )
    shape, span = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if shape is None or span is None or len(span) != 2:
        raise _broken(path, f"{name[:80]}: {ascii(entry)[:120]}", "shape and data_offsets of whole numbers")
    size = math.prod(shape) * BYTES_OF[entry["dtype"]]
    if span[1] - span[0] != size:
        raise _broken(path, f"{name}: {span[1] - span[0]} bytes", f"{size} for {entry['dtype']} {shape}")
    return StoredTensor(name, entry["dtype"], shape, path, data_start + span[0], data_start + span[1])


def _sizes(value: Any) -> tuple[int, ...] | None:
    """A short list of whole numbers, none negative; None for anything else."""
    if not isinstance(value, list) or len(value) > MAX_AXES:
        return None
    ok = all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= MAX_SIZE for v in value)
    return tuple(value) if ok else None


def _check_spans(path: Path, tensors: list[StoredTensor], data_start: int, size: int) -> None:
    end = data_start
    for tensor in sorted(tensors, key=lambda t: (t.start, t.stop)):
        if tensor.start < end:
            raise _broken(path, f"{tensor.name}, which overlaps another tensor", "tensors that do not overlap")
        if tensor.start > end:
            raise _broken(path, f"{tensor.start - end} bytes before {tensor.name} that belong to no tensor", "none")
        end = tensor.stop
    if end != size:
        what = "cut short" if end > size else "longer than its tensors"
        raise _broken(path, f"a file of {size} bytes, {what}", f"{end} bytes, as its header says")


def _broken(path: Path, found: str, expected: str) -> BundleError:
    return BundleError(path, found, expected, "The file is damaged or hostile: save or copy it again.")
