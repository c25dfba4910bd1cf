"""Reading and writing files at the project's border: atomic writes, bounded JSON, digests of files and folders."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from harness.errors import HarnessError

# A configuration file larger than this is not one: the limit keeps a hostile file from filling the memory.
MAX_JSON_BYTES = 64 * 2**20


@contextlib.contextmanager
def atomic_writer(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and move it there when the block ends well; else leave `path` as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # mkstemp makes files that only the owner can read; what is written here is to be shared like any other file.
        os.fchmod(handle, 0o666 & ~_umask())
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_writer(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_writer(path, "wb") as file:
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


def read_json(path: Path) -> Any:
    """Parse a JSON file of bounded size.

    Raises:
        HarnessError: the file cannot be read, is too large, or is not JSON.
    """
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise HarnessError(path, f"{size} bytes", f"at most {MAX_JSON_BYTES}", "This is no configuration file.")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise HarnessError(path, error.strerror or "an unreadable file", "a JSON file", "Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise HarnessError(path, f"text that is not JSON ({error})", "JSON", "Restore the file.") from None


def file_sha256(path: Path) -> str:
    """SHA-256 hex of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(folder: Path, suffixes: tuple[str, ...] | None = None) -> str:
    """Digest of a folder: SHA-256 over the sorted lines `<sha256>  <relative path>` of its files.

    `sha256sum` over the same files, sorted by path, gives the same lines, so that anyone can check the figure.

    Args:
        folder: the folder, walked to its leaves; hidden files are left out.
        suffixes: only files that end so; all files when None.
    """
    lines = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and (suffixes is None or path.name.endswith(suffixes)):
            lines.append(f"{file_sha256(path)}  {relative.as_posix()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def path_sha256(path: Path) -> str:
    """Digest of a file, or of a folder as `tree_sha256` defines it."""
    return tree_sha256(path) if path.is_dir() else file_sha256(path)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
