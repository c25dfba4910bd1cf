"""Which token space each part of a run declares, to be compared with the checkpoint's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import ArrowException

from harness.bundle import Bundle
from harness.errors import BundleError, HarnessError
from harness.examples import Example
from harness.files import read_json
from harness.token_space import FILE_NAME, read_token_space

SHARD_FORMAT = "shards/1"
FOOTER_KEY = b"token_space_sha256"


@dataclass(frozen=True)
class Declaration:
    """What one file says.

    Attributes:
        where: the file, or the example.
        sha256: the token space it declares; None where it declares none or cannot be read.
        problem: why there is none.
    """

    where: str
    sha256: str | None
    problem: str | None = None


def shard_declarations(folder: Path) -> list[Declaration]:
    """The token spaces declared by the shards' manifest, by each Parquet footer, and by the token space beside them.

    Raises:
        BundleError: the folder holds no shards.
    """
    manifest_file = folder / "manifest.json"
    try:
        manifest: Any = read_json(manifest_file)
        files = [str(entry["path"]) for entry in manifest["files"]]
    except (HarnessError, KeyError, TypeError):
        raise BundleError(
            manifest_file, "no readable manifest", f"a {SHARD_FORMAT} manifest", "Point --shards at the Stage 2 shards."
        ) from None
    if not files:
        raise BundleError(manifest_file, "a manifest without files", "at least one shard", "Write the shards again.")
    declared = [Declaration(str(manifest_file), manifest.get("token_space_sha256"))]
    declared += [_footer_declaration(folder, name) for name in files]
    if (folder / FILE_NAME).is_file():
        declared.append(space_declaration(folder))
    return declared


def space_declaration(folder: Path) -> Declaration:
    """The token space in a folder (a parent checkpoint's, the shards')."""
    try:
        return Declaration(str(folder / FILE_NAME), read_token_space(folder).sha256)
    except HarnessError as error:
        return Declaration(str(folder / FILE_NAME), None, str(error))


def example_declarations(file: Path, examples: list[Example]) -> Iterator[Declaration]:
    """The token space that each example declares."""
    for example in examples:
        yield Declaration(f"{file}: {example.id}", example.token_space_sha256)


def bundle_declarations(bundle: Bundle) -> list[Declaration]:
    """The declarations of the shards and the parent, where the bundle names a parent."""
    declared = shard_declarations(bundle.input("shards"))
    if "parent" in bundle.inputs:
        declared.append(space_declaration(bundle.input("parent")))
    return declared


def _footer_declaration(folder: Path, name: str) -> Declaration:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return Declaration(name, None, "the manifest points outside the shard folder")
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, ArrowException) as error:
        return Declaration(str(path), None, f"unreadable: {error}")
    value = metadata.get(FOOTER_KEY)
    return Declaration(str(path), value.decode(errors="replace") if value else None)
