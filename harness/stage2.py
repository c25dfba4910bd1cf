"""A folder of Stage 2 shards: what its manifest lists, what lies there, and blocks of rows as arrays.

Two formats: Parquet with `manifest.json` (this project's), and WebDataset tars (the field's), with or without one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import HarnessError
from harness.files import read_json

MANIFEST_NAME = "manifest.json"
# A name that holds one of these is taken for a shard, wherever below the folder it lies.
SHARD_SUFFIXES = (".parquet", ".tar", ".tgz")


class ShardError(HarnessError):
    """A shard file that cannot be read as what it claims to be."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a whole file."""

    where: str
    note: str


@dataclass(frozen=True)
class Declaration:
    """The token space that a file says it was made with.

    Attributes:
        where: the file, or the first of the samples or examples in it that say so.
        sha256: what is declared; None where nothing is, or it cannot be read.
        problem: why there is none.
        n: how many samples or examples of the file say the same.
    """

    where: str
    sha256: str | None
    problem: str | None = None
    n: int = 1


@dataclass(frozen=True)
class Block:
    """Rows of one file that hold ids of one kind.

    Attributes:
        modality: `image`, `audio`, `text`, or whatever the file calls it.
        ids: (V,) integers, the rows' ids one after another.
        offsets: (R + 1,) int64, where each row begins in `ids`.
        names: R row ids, or something that turns into them by `str`.
        counts: (R, 2) int64, what `meta` says: frames and codebooks, or tokens and 1; -1 where it says nothing.
            None for text, of which meta need say nothing.
    """

    modality: str
    ids: np.ndarray
    offsets: np.ndarray
    names: Sequence[Any]
    counts: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """(R,) int64."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class ShardFile:
    """One shard, and what the manifest says of it; None where there is no manifest."""

    path: Path
    rows: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class ShardFolder:
    """What is in a folder of shards.

    Attributes:
        files: the shards that are there, in order.
        declared: what the manifest says of the token space; None without a manifest.
        sources: source to rows, as the manifest says; None without a manifest.
        problems: what is wrong with the folder itself: files missing, not listed, or outside of it.
    """

    path: Path
    files: tuple[ShardFile, ...]
    declared: Declaration | None
    sources: dict[str, int] | None
    problems: tuple[Problem, ...]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    path: str
    rows: int = Field(ge=0)
    sha256: str


class _Manifest(BaseModel):
    """manifest.json at the border."""

    model_config = ConfigDict(strict=True, extra="allow")

    format: Literal["shards/1"]
    token_space_sha256: str | None = None
    files: list[_Entry]
    sources: dict[str, int] | None = None


def open_shards(folder: Path) -> ShardFolder:
    """List the shards of a folder and hold the list against its manifest. A broken folder gives problems, no error."""
    found = _shard_paths(folder)
    if not found:
        names = ", ".join(SHARD_SUFFIXES)
        return ShardFolder(folder, (), None, None, (Problem(str(folder), f"no shard in it: no file with {names}"),))
    file = folder / MANIFEST_NAME
    if not file.is_file():
        unlisted = [path for path in found if path.suffix == ".parquet"]
        missing = Problem(str(file), f"no such file, to hold {len(unlisted)} Parquet files against")
        return ShardFolder(folder, tuple(map(ShardFile, found)), None, None, (missing,) if unlisted else ())
    try:
        manifest = _Manifest.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        note = f"{'.'.join(map(str, first['loc']))}: {first['msg']}; expected a shards/1 manifest"
    except HarnessError as error:
        note = f"found {error.found}; expected a shards/1 manifest"
    else:
        return _against_manifest(folder, found, manifest)
    declared = Declaration(str(file), None, "it cannot be read")
    return ShardFolder(folder, tuple(map(ShardFile, found)), declared, None, (Problem(str(file), note),))


def _shard_paths(folder: Path) -> list[Path]:
    """Every file that somebody might read as a shard; hidden ones are not."""
    return sorted(
        path
        for path in folder.rglob("*")
        if any(suffix in SHARD_SUFFIXES for suffix in path.suffixes)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _against_manifest(folder: Path, found: list[Path], manifest: _Manifest) -> ShardFolder:
    where = str(folder / MANIFEST_NAME)
    files: dict[Path, ShardFile] = {}
    problems: list[Problem] = []
    for entry in manifest.files:
        path = folder / entry.path
        if Path(entry.path).is_absolute() or ".." in Path(entry.path).parts:
            problems.append(Problem(where, f"it lists {entry.path!r}, which is outside the folder"))
        elif path in files:
            problems.append(Problem(where, f"it lists {entry.path} twice"))
        elif not path.is_file():
            problems.append(Problem(str(path), f"no such file; {MANIFEST_NAME} lists it with {entry.rows} rows"))
        else:
            files[path] = ShardFile(path, entry.rows, entry.sha256)
    problems += [Problem(str(path), f"{MANIFEST_NAME} does not list it") for path in found if path not in files]
    rows = sum(file.rows for file in manifest.files)
    if manifest.sources is not None and sum(manifest.sources.values()) != rows:
        problems.append(
            Problem(where, f"its sources sum to {sum(manifest.sources.values())} rows, its files to {rows}")
        )
    files |= {path: ShardFile(path) for path in found if path not in files}
    declared = Declaration(where, manifest.token_space_sha256)
    ordered = tuple(files[path] for path in sorted(files))
    return ShardFolder(folder, ordered, declared, manifest.sources, tuple(problems))
