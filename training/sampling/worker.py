"""Scanning a large plain file on every core: processes that each note ranges of it.

Processes, since parsing holds the interpreter. Not `multiprocessing`: its children import the caller's main module
again, which takes longer than scanning does, and runs scripts that do not expect it.
"""

import os
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import msgspec

from training.sampling.scan import Part, read_blocks, scan

RANGE_BYTES = 2**25
# More than these wait for the disk, and each takes 25 MB.
MAX_WORKERS = 8
_COLUMNS = ("source", "length", "starts", "sizes")


class WorkerDiedError(RuntimeError):
    """A reading process ended before its work was done."""


class _Sent(msgspec.Struct):
    """A part on its way to the parent; sources as bytes, since half a surrogate pair is no UTF-8."""

    names: list[bytes | None]
    columns: list[bytes]
    counts: tuple[int, int, int]
    first_bad: tuple[int, str] | None
    error: str | None = None


def ranges_of(size: int) -> list[tuple[int, int]]:
    """The ranges of bytes that a file of so many is read in."""
    return [(first, min(size, first + RANGE_BYTES)) for first in range(0, size, RANGE_BYTES)]


def scan_ranges(path: Path, size: int, *, by_length: bool, skip_bad: bool) -> Iterator[Part]:
    """The parts of a file in its order, one a range, scanned side by side.

    Raises:
        OSError: the file cannot be read, or a line has no end.
        WorkerDiedError: a process was killed.
    """
    ranges = ranges_of(size)
    with ExitStack() as stack:
        idle: SimpleQueue[_Worker] = SimpleQueue()
        count = min(len(ranges), _cores(), MAX_WORKERS)
        for _ in range(count):
            worker = _Worker(path, by_length, skip_bad)
            stack.callback(worker.end)
            idle.put(worker)
        pool = ThreadPoolExecutor(count)
        # Ends before the workers do; what has not begun is not begun any more.
        stack.callback(pool.shutdown, cancel_futures=True)

        def ask(bounds: tuple[int, int]) -> Part:
            worker = idle.get()
            try:
                return worker.scan(*bounds)
            finally:
                idle.put(worker)

        yield from pool.map(ask, ranges)


class _Worker:
    """A process that scans ranges of a file, one after another."""

    def __init__(self, path: Path, by_length: bool, skip_bad: bool) -> None:
        # -P: the folder that the user stands in may hold a file named like a module.
        command = [sys.executable, "-P", "-m", __name__, str(path), *map(str, (int(by_length), int(skip_bad)))]
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def scan(self, first: int, last: int) -> Part:
        """The lines that begin in a range of bytes."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(f"{first} {last}\n".encode())
            stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        size = int.from_bytes(stdout.read(8), "little")
        message = stdout.read(size)
        if not size or len(message) < size:
            raise self._died()
        return _received(message)

    def end(self) -> None:
        """Let the process go; it ends by itself when nothing more can be asked."""
        self._process.kill()
        self._process.communicate()

    def _died(self) -> WorkerDiedError:
        return WorkerDiedError(f"a reading process that ended with code {self._process.wait()}")


def _received(message: bytes) -> Part:
    sent = msgspec.msgpack.decode(message, type=_Sent)
    if sent.error is not None:
        raise OSError(sent.error)
    part = Part(first_bad=sent.first_bad)
    part.lines, part.blank, part.bad = sent.counts
    names = [name if name is None else name.decode(errors="surrogatepass") for name in sent.names]
    part.names = {name: number for number, name in enumerate(names)}
    for name, column in zip(_COLUMNS, sent.columns, strict=True):
        setattr(part, name, array("q", column))
    return part


def _sent(part: Part) -> _Sent:
    names = [name if name is None else name.encode(errors="surrogatepass") for name in part.names]
    columns = [getattr(part, name).tobytes() for name in _COLUMNS]
    return _Sent(names, columns, (part.lines, part.blank, part.bad), part.first_bad)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(path: Path, by_length: bool, skip_bad: bool, asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer ranges with parts until nothing more is asked."""
    with path.open("rb") as file:
        for line in asked:
            first, last = map(int, line.split())
            try:
                sent = _sent(scan(read_blocks(file, first, last), by_length=by_length, skip_bad=skip_bad))
            except (OSError, ValueError) as error:
                sent = _Sent([], [], (0, 0, 0), None, str(error))
            message = msgspec.msgpack.encode(sent)
            answers.write(len(message).to_bytes(8, "little") + message)
            answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches parent and children; the parent ends them
    _serve(Path(sys.argv[1]), sys.argv[2] == "1", sys.argv[3] == "1", sys.stdin.buffer, sys.stdout.buffer)
