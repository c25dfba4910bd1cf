"""JSONL files as blocks of lines, plain or compressed, and the way back."""

import contextlib
import gzip
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from harness.errors import HarnessError
from harness.files import atomic_writer
from training.sampling.plan import SamplePlan
from training.sampling.scan import BLOCK_BYTES, LineTooLongError, Part, read_blocks, scan
from training.sampling.worker import RANGE_BYTES, WorkerDiedError, ranges_of, scan_ranges

# Suffix to the name that Arrow has for the compression; None for a plain file.
SUFFIXES: dict[str, str | None] = {".jsonl": None, ".jsonl.gz": "gzip", ".jsonl.zst": "zstd"}
# Chosen lines of a plain file that are in memory at once.
BATCH_BYTES = 2**24
GZIP_LEVEL = 6


def compression_of(path: Path) -> str | None:
    """How a JSONL file is compressed, by its name.

    Raises:
        HarnessError: the name is not that of a JSONL file.
    """
    for suffix, compression in SUFFIXES.items():
        if path.name.endswith(suffix):
            return compression
    expected = f"a name that ends with {', '.join(SUFFIXES)}"
    raise HarnessError(path, "another name", expected, "Rename it, so that it says how it is compressed.")


class Stream:
    """A JSONL file that is open for reading.

    Raises:
        HarnessError: it is not a regular file, or its name does not say what it is.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.compression = path, compression_of(path)
        if not path.is_file():
            found = "no such file" if not path.exists() else "no regular file"
            raise HarnessError(path, found, "a file of examples", "Check the path; a pipe can only be read once.")
        self.version = _version(path)

    @property
    def size(self) -> int:
        """Bytes of the file as it lies on disk."""
        return self.version[0]

    def scan(self, plan: SamplePlan, moved: Callable[[int], object]) -> Iterator[Part]:
        """Note every line, part by part.

        Args:
            plan: whether lengths are needed, and whether malformed lines are skipped.
            moved: called with the bytes of the file that were read since the last call.

        Raises:
            HarnessError: the file is damaged or cut off, has a line beyond measure, or was changed while it was read.
        """
        options = {"by_length": plan.by_length, "skip_bad": plan.skip_bad}
        with self._readable():
            self.path.open("rb").close()  # the reason why it cannot be opened is told here, and not by every process
            if self.compression is None and self.size > RANGE_BYTES:
                ranges = ranges_of(self.size)
                for part, (first, last) in zip(scan_ranges(self.path, self.size, **options), ranges, strict=True):
                    moved(last - first)
                    yield part
            else:
                yield scan(self.blocks(moved), **options)
        self.check_unchanged()

    def blocks(self, moved: Callable[[int], object]) -> Iterator[tuple[bytes, int]]:
        """All lines, in blocks, each with its offset, in a compressed file that among the unpacked bytes.

        Raises:
            OSError: the file is damaged or cut off.
            LineTooLongError: a line is beyond measure.
        """
        with self.path.open("rb") as raw:
            before = 0
            for block in read_blocks(_unpacked(raw, self.compression)):
                moved(raw.tell() - before)
                before = raw.tell()
                yield block

    def lines_at(self, starts: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
        """The lines at places that a scan gave, in that order.

        Raises:
            HarnessError: the file cannot be read, or is another one by now.
        """
        with self._readable():
            yield from self._plain(starts, sizes) if self.compression is None else self._from_unpacked(starts)

    def _plain(self, starts: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            for batch in _batches(sizes):
                lines: dict[int, bytes] = {}
                for number in sorted(batch, key=starts.__getitem__):  # as a disk likes it
                    file.seek(starts[number])
                    lines[number] = file.read(sizes[number])
                self.check_unchanged()
                yield from map(lines.__getitem__, batch)

    def _from_unpacked(self, starts: Sequence[int]) -> Iterator[bytes]:
        """A compressed file has no way to a line but through all lines before it: it is unpacked a second time."""
        place = {start: number for number, start in enumerate(starts)}
        found: dict[int, bytes] = {}
        for block, start in self.blocks(lambda _: None):
            for line in block.split(b"\n"):
                if start in place:
                    found[place[start]] = line
                start += len(line) + 1
        self.check_unchanged()
        return map(found.__getitem__, range(len(starts)))

    def check_unchanged(self) -> None:
        """Raises HarnessError when the file is not the one that was opened, so that offsets may not hold."""
        if _version(self.path) != self.version:
            found, expected = "another size or time of change than before", "a file at rest"
            raise HarnessError(self.path, found, expected, "Sample it again.")

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, LineTooLongError) as error:  # Arrow's errors of unpacking are OSErrors
            found = f"a file that cannot be read ({error})"
            raise HarnessError(self.path, found, "whole lines of examples", "Restore it.") from None
        except WorkerDiedError as error:
            raise HarnessError(self.path, str(error), "processes that end well", "Free some memory.") from None


@contextlib.contextmanager
def line_writer(path: Path) -> Iterator[Any]:
    """Open a JSONL file for writing, compressed as its name says; it appears when the block ends well, whole."""
    compression = compression_of(path)
    with atomic_writer(path, "wb") as file:
        if compression is None:
            yield file
            return
        with _packed(file, compression) as packed:
            yield packed


def _unpacked(raw: IO[bytes], compression: str | None) -> Any:
    if compression is None:
        return raw
    import pyarrow as pa  # only who reads a compressed file pays for it

    # Arrow's streams read several members or frames one after another, and refuse a file that is cut off.
    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), compression), BLOCK_BYTES)


def _packed(file: IO[bytes], compression: str) -> Any:
    if compression == "gzip":
        # Without a name or a time in its header, so that the same lines give the same bytes.
        return gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0)
    import pyarrow as pa

    # Arrow closes the file below its stream, and `atomic_writer` still has to flush its own: the twin shares its place.
    twin = os.fdopen(os.dup(file.fileno()), "wb")
    return pa.CompressedOutputStream(pa.PythonFile(twin, "w"), compression)


def _version(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _batches(sizes: Sequence[int]) -> Iterator[range]:
    """Consecutive numbers whose sizes sum to BATCH_BYTES, or a little more."""
    first = total = 0
    for number, size in enumerate(sizes):
        total += size
        if total >= BATCH_BYTES:
            yield range(first, number + 1)
            first, total = number + 1, 0
    yield range(first, len(sizes))
