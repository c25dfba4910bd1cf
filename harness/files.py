"""Reading and writing files at the project's border: atomic writes, bounded JSON, digests of files and folders."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.errors import HarnessError

# A configuration file larger than this is not one: the limit keeps a hostile file from filling the memory.
MAX_JSON_BYTES = 64 * 2**20
# Nor is one that nests deeper, or holds more values: a few bytes of text may become a hundred in memory.
MAX_JSON_DEPTH = 64
MAX_JSON_VALUES = 3_000_000  # strings among them; the largest tokenizers have two million
# Possessive, and the closing quote optional: one pass over any text, one with a string that never ends included.
_JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))

RECENT_NS = 2_000_000_000
# Path, inode, size and times of change -> SHA-256 hex. A checkpoint and its base are hashed for the verdict and for the
# evidence; they are read once for both. Of this process alone: what another one believed is not taken over.
_DIGESTS: dict[tuple[str, int, int, int, int], str] = {}


@contextlib.contextmanager
def atomic_writer(path: Path, mode: str = "w", *, durable: bool = True) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and move it there when the block ends well; else leave `path` as it was.

    Args:
        path: the file.
        mode: as of `open`.
        durable: whether it has to outlive a loss of power; that takes a disk milliseconds a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # mkstemp makes files that only the owner can read; what is written here is to be shared like any other file.
        os.fchmod(handle, 0o666 & ~_umask())
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_writer(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a binary file atomically; `durable` as of `atomic_writer`."""
    with atomic_writer(path, "wb", durable=durable) as file:
        file.write(content)


def write_json(path: Path, obj: object) -> None:
    """Write JSON atomically, indented; NaN is refused, since JSON has none.

    Raises:
        ValueError: the object holds NaN or an infinity.
    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with atomic_writer(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Parse a JSON file of bounded size and depth.

    Raises:
        HarnessError: the file cannot be read, is too large or nested too deeply, or is not JSON.
    """
    try:
        if path.exists() and not path.is_file():
            raise HarnessError(path, "a folder or a device", "a JSON file", "Check the path.")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise HarnessError(path, error.strerror or "an unreadable file", "a JSON file", "Check the path.") from None
    if len(content) > max_bytes:
        size = path.stat().st_size
        raise HarnessError(path, f"{size} bytes", f"at most {max_bytes}", "This is no configuration file.")
    return parse_json(content, path)


def parse_json(content: bytes, where: Path | str, *, unique_keys: bool = False) -> Any:
    """Parse JSON that somebody else wrote, in bounded memory.

    Args:
        content: the text, UTF-8.
        where: what to name in an error.
        unique_keys: refuse an object that has a key twice, of which parsers silently keep one.

    Raises:
        HarnessError: it is not JSON, is nested too deeply, or holds too many values; `where` is named.
    """
    _check_shape(content, where)
    try:
        return json.loads(content, object_pairs_hook=_unique if unique_keys else None)
    except (ValueError, RecursionError) as error:
        raise HarnessError(where, f"text that is not JSON ({error})", "JSON", "Restore the file.") from None


def file_sha256(path: Path) -> str:
    """SHA-256 hex of a file's bytes, read once in a process as long as the file stays as it is."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        version = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if version not in _DIGESTS:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            # A file that was changed just now may change again and keep its time stamp, which is as coarse as the
            # kernel's clock: it is hashed anew the next time.
            if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < RECENT_NS:
                return digest
            _DIGESTS[version] = digest
        return _DIGESTS[version]


def tree_sha256(folder: Path, suffixes: tuple[str, ...] | None = None, leave_out: tuple[str, ...] = ()) -> str:
    """Digest of a folder: SHA-256 over the sorted lines `<sha256>  <relative path>` of its files.

    `sha256sum` over the same files, sorted by path, gives the same lines, so that anyone can check the figure.

    Args:
        folder: the folder, walked to its leaves; hidden files are left out.
        suffixes: only files that end so; all files when None.
        leave_out: names of files that do not count.
    """
    found = [
        (path.relative_to(folder).as_posix(), path)
        for path in files_below(folder)
        if path.name not in leave_out and (suffixes is None or path.name.endswith(suffixes))
    ]
    digests = _files_sha256([path for _, path in found])
    lines = [f"{digests[path]}  {name}\n" for name, path in found]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """The files of a folder down to its leaves, sorted by path; hidden files and folders are left out."""
    found = sorted(folder.rglob("*"))
    hidden = (any(part.startswith(".") for part in path.relative_to(folder).parts) for path in found)
    return [path for path, is_hidden in zip(found, hidden, strict=True) if not is_hidden and path.is_file()]


def _files_sha256(paths: list[Path]) -> dict[Path, str]:
    """Digests of many files, on every core: hashlib lets go of the interpreter while it works."""
    # The largest first, so that no core is left alone with one at the end.
    largest_first = sorted(paths, key=lambda path: path.stat().st_size, reverse=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(largest_first, pool.map(file_sha256, largest_first), strict=True))


def path_sha256(path: Path) -> str:
    """Digest of a file, or of a folder as `tree_sha256` defines it."""
    return tree_sha256(path) if path.is_dir() else file_sha256(path)


def _check_shape(content: bytes, where: Path | str) -> None:
    """Refuse what would grow beyond measure when it is parsed."""
    n_strings = content.count(b'"') // 2
    # What lies outside strings, reduced to its brackets and commas: the shape of what parsing would build.
    text = content if n_strings <= MAX_JSON_VALUES else b""
    shape = _JSON_STRING.sub(b"", text).translate(None, _NO_STRUCTURE)
    n_values = max(n_strings, shape.count(b",") + shape.count(b"[") + shape.count(b"{"))
    if n_values > MAX_JSON_VALUES or _depth(shape) > MAX_JSON_DEPTH:
        found = f"{n_values} values" if n_values > MAX_JSON_VALUES else "JSON nested too deeply"
        expected = f"at most {MAX_JSON_VALUES} values in {MAX_JSON_DEPTH} levels"
        raise HarnessError(where, found, expected, "The file is damaged or hostile.")


def _depth(shape: bytes) -> int:
    """How deep brackets nest."""
    steps = np.zeros(256, dtype=np.int8)
    steps[list(b"[{")], steps[list(b"]}")] = 1, -1
    depths = np.cumsum(steps[np.frombuffer(shape, dtype=np.uint8)], dtype=np.int32)
    return int(depths.max(initial=0))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice in one object")
    return found


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
