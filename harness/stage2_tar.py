"""WebDataset tars as blocks of rows: nothing is extracted, nothing unpickled, every member bounded in size.

A sample is the members `KEY.json` and `KEY.{audio,image,text_in,text_out}.npy`, one after another.
"""

import functools
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.files import parse_json
from harness.stage2 import Block, Declaration, ShardError
from harness.stage2_meta import counts_of

MEDIA = ("audio", "image")
TEXTS = ("text_in", "text_out")
MAX_JSON_BYTES = 4 * 2**20
MAX_HEADER_BYTES = 10_000  # numpy's own limit
MAX_ARRAY_BYTES = 64 * 2**20  # 16 M ids, more than seven hours of sound at 600 ids a second
# A block is closed at either, so that its memory is bounded.
SAMPLES_PER_BLOCK = 1024
IDS_PER_BLOCK = 2**21
END_BLOCK = b"\0" * 512


@dataclass
class Sample:
    """The members of one key: KEY.json, and under `audio`, `image`, `text_in`, `text_out` the ids of each array."""

    key: str
    said: dict[str, Any] | None = None  # KEY.json
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def tokens(self) -> dict[str, Any]:
        """How many ids of each name KEY.json says there are."""
        tokens = (self.said or {}).get("tokens")
        return tokens if isinstance(tokens, dict) else {}

    @property
    def n_ids(self) -> int:
        """How many ids it holds."""
        return sum(map(len, self.arrays.values()))


class TarShard:
    """One tar. Declarations and counts are complete once all blocks have been taken."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._declared: dict[tuple[str | None, str | None], tuple[str, int]] = {}

    def declarations(self) -> list[Declaration]:
        """What the samples say; those that say the same are one declaration."""
        return [
            Declaration(f"{self.path}: {first}", sha256, problem, n)
            for (sha256, problem), (first, n) in self._declared.items()
        ]

    def blocks(self) -> Iterator[Block]:
        """Blocks of every modality and of text.

        Raises:
            ShardError: the tar is damaged, or a member is not what its name says.
        """
        chunk: list[Sample] = []
        n_ids = 0
        for sample in self.samples():
            self._declare(sample)
            self._check_held(sample)
            chunk.append(sample)
            n_ids += sample.n_ids
            if len(chunk) >= SAMPLES_PER_BLOCK or n_ids >= IDS_PER_BLOCK:
                yield from _blocks(chunk)
                chunk, n_ids = [], 0
        yield from _blocks(chunk)

    def _check_held(self, sample: Sample) -> None:
        """What KEY.json counts and the tar lacks is held to be there and empty, and so is found to be miscounted."""
        for name in (*MEDIA, *TEXTS):
            if name not in sample.arrays and sample.tokens.get(name):
                sample.arrays[name] = np.empty(0, dtype=np.int64)
        if not sample.arrays:
            raise ShardError(f"{self.path}: {sample.key}", "no ids", "KEY.audio.npy or another", "Restore the shard.")

    def _declare(self, sample: Sample) -> None:
        self.rows += 1
        sha256, problem = (sample.said or {}).get("token_space_sha256"), None
        if not isinstance(sha256, str):
            sha256 = None
            problem = "no KEY.json" if sample.said is None else "its KEY.json has no token_space_sha256"
        first, n = self._declared.get((sha256, problem), (sample.key, 0))
        self._declared[sha256, problem] = (first, n + 1)

    def samples(self) -> Iterator[Sample]:
        """The samples as they are, in order.

        Raises:
            ShardError: the tar is damaged, or a member is not what its name says.
        """
        current: Sample | None = None
        for name, content in self._members():
            folder, _, file = name.rpartition("/")
            stem, _, extension = file.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if current is None or current.key != key:
                if current is not None:
                    yield current
                current = Sample(key)
            self._take(current, extension, content)
        if current is not None:
            yield current

    def _take(self, sample: Sample, extension: str, content: bytes) -> None:
        where = f"{self.path}: {sample.key}.{extension}"
        name = extension.removesuffix(".npy")
        if extension == "json":
            said = parse_json(content, where)
            if not isinstance(said, dict):
                raise ShardError(where, f"a JSON {type(said).__name__}", "an object", "Write the shard again.")
            sample.said = said
        elif extension.endswith(".npy") and name in (*MEDIA, *TEXTS):
            sample.arrays[name] = read_npy(content, where)

    def _members(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of the members that samples are made of; others are passed over unread."""
        try:
            with tarfile.open(self.path, "r:") as tar:
                for member in tar:
                    if (limit := _limit(member.name)) is None or member.isdir():
                        continue
                    opened = tar.extractfile(member) if member.isreg() else None
                    if opened is None or member.size > limit:
                        found = f"{member.size} bytes" if opened else "a link or a device"
                        raise ShardError(
                            f"{self.path}: {member.name}", found, f"a file of at most {limit} bytes", "Do not open it."
                        )
                    yield member.name, opened.read()
                    tar.members = []  # type: ignore[attr-defined]  # else every header stays in memory
                self._check_end(tar.offset)
        except (OSError, EOFError, ValueError, tarfile.TarError) as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ShardError(self.path, f"a damaged tar ({reason})", "a whole one", "Restore the shard.") from None

    def _check_end(self, offset: int) -> None:
        """tarfile stops at whatever is no header; only a block of zeros is the end."""
        with self.path.open("rb") as file:
            file.seek(offset)
            if file.read(len(END_BLOCK)) != END_BLOCK:
                raise ShardError(
                    self.path, f"no end of the archive at byte {offset}", "a whole tar", "It was cut short: restore it."
                )


def read_npy(content: bytes, where: str) -> np.ndarray:
    """A one-dimensional array of integers of at least 32 bits; its size must be what the header says.

    Raises:
        ShardError: it is anything else. The header is read first, so that a claimed size allocates nothing.
    """
    # Version 1.0 has two bytes of header length after the magic and the version, later ones four.
    wide = content[6:7] != b"\x01"
    start = 12 + int.from_bytes(content[8:12], "little") if wide else 10 + int.from_bytes(content[8:10], "little")
    shape, dtype = _npy_header(content[: min(start, MAX_HEADER_BYTES)], where)
    if dtype.kind not in "iu" or dtype.itemsize < 4 or len(shape) != 1:
        raise ShardError(
            where, f"{dtype} of shape {shape}", "int32 ids in one dimension: narrower ids wrap", "Tokenise it again."
        )
    left = len(content) - start
    if shape[0] * dtype.itemsize != left:
        raise ShardError(where, f"{left} bytes of ids", f"{shape[0] * dtype.itemsize}", "Restore the shard.")
    return np.frombuffer(content, dtype=dtype, offset=start).astype(np.int64)


@functools.lru_cache(maxsize=1024)
def _parsed_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    # Cached: a shard has few lengths, and numpy reads a header as Python, which takes longer than all the rest.
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _npy_header(header: bytes, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        return _parsed_header(header)
    except Exception as error:  # a header that is damaged Python fails in as many ways
        raise ShardError(where, f"no npy array ({str(error)[:200]})", "int32 ids", "Write the shard again.") from None


def _limit(name: str) -> int | None:
    """The most bytes that a member may have; None for one that no sample is made of."""
    extension = name.rpartition("/")[2].partition(".")[2]
    if extension == "json":
        return MAX_JSON_BYTES
    return MAX_ARRAY_BYTES if extension.removesuffix(".npy") in (*MEDIA, *TEXTS) else None


def _blocks(samples: list[Sample]) -> Iterator[Block]:
    for name in MEDIA:
        held = [sample for sample in samples if name in sample.arrays]
        if held:
            metas = [(sample.said or {}).get("meta") for sample in held]
            yield _block(name, held, name, counts_of(metas, name))
    for name in TEXTS:
        held = [sample for sample in samples if name in sample.arrays]
        said = [sample.tokens.get(name) for sample in held]
        # Meta need say nothing of a text.
        lengths = [n if isinstance(n, int) else len(s.arrays[name]) for n, s in zip(said, held, strict=True)]
        yield _block("text", held, name, np.array([[n, 1] for n in lengths], dtype=np.int64).reshape(-1, 2))


def _block(modality: str, samples: list[Sample], name: str, counts: np.ndarray) -> Block:
    arrays = [sample.arrays[name] for sample in samples]
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in arrays])]).astype(np.int64)
    ids = np.concatenate([*arrays, np.empty(0, dtype=np.int64)])
    return Block(modality, ids, offsets, [sample.key for sample in samples], counts)
