"""Stage 2: media become token ids, kept in Parquet shards beside the token space that they are written in.

shards/token_space.json, token_space.sha256
shards/manifest.json            {"format": "shards/1", "token_space_sha256", "files", "sources"}
shards/<modality>-00000.parquet id, source, modality, text, text_ids, ids, meta
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import TokenSpaceError
from harness.files import file_sha256, read_json, write_json
from harness.token_space import Modality, TokenSpace, read_token_space
from training.token_space import write_token_space

MANIFEST_NAME = "manifest.json"
FORMAT = "shards/1"
FOOTER_KEY = b"token_space_sha256"

# Ids are unsigned and 32 bits wide: a real token space has more than 65,536 of them.
SCHEMA = pa.schema([
    pa.field("id", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("modality", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("text_ids", pa.list_(pa.uint32()), nullable=False),
    pa.field("ids", pa.list_(pa.uint32()), nullable=False),
    pa.field("meta", pa.string(), nullable=False),
])  # fmt: skip


@dataclass(frozen=True)
class TokenRecord:
    """One captioned medium in token ids.

    Attributes:
        text_ids: (T,) uint32, the caption without its tags.
        ids: (S,) uint32, the medium's global ids without its tags, audio frame-major.
        meta: under the modality's name the example's `audio_meta` or `image_meta`; beside it what the source says.
    """

    id: str
    source: str
    modality: Modality
    text: str
    text_ids: np.ndarray
    ids: np.ndarray
    meta: dict[str, Any]


def write_shards(folder: Path, records: Sequence[TokenRecord], space: TokenSpace, rows_per_file: int) -> None:
    """Write shards, their manifest and the token space into an existing folder."""
    write_token_space(folder, space)
    files = []
    for name, part in _parts(records, rows_per_file):
        _write_parquet(folder / name, part, space)
        files.append({"path": name, "rows": len(part), "sha256": file_sha256(folder / name)})
    sources = dict(sorted(Counter(record.source for record in records).items()))
    manifest = {"format": FORMAT, "token_space_sha256": space.sha256, "files": files, "sources": sources}
    write_json(folder / MANIFEST_NAME, manifest)


def read_shards(folder: Path) -> Iterator[TokenRecord]:
    """Read shards, each file held against the manifest and the token space beside it.

    Raises:
        TokenSpaceError: the manifest or a file was written with another token space, or a file is not the one listed.
    """
    space = read_token_space(folder)
    manifest = read_json(folder / MANIFEST_NAME)
    _check_sha(folder / MANIFEST_NAME, manifest.get("token_space_sha256"), space)
    for entry in manifest["files"]:
        path = folder / entry["path"]
        if file_sha256(path) != entry["sha256"]:
            raise TokenSpaceError(
                path,
                "another content than the manifest lists",
                f"sha256 {entry['sha256']}",
                "Run the step shards again.",
            )
        table = pq.read_table(path, schema=SCHEMA)
        metadata = pq.read_schema(path).metadata or {}
        _check_sha(path, metadata.get(FOOTER_KEY, b"").decode(), space)
        yield from map(_record, table.to_pylist())


def _parts(records: Sequence[TokenRecord], rows: int) -> Iterator[tuple[str, list[TokenRecord]]]:
    for modality in ("image", "audio"):
        mine = [record for record in records if record.modality == modality]
        for number, start in enumerate(range(0, len(mine), rows)):
            yield f"{modality}-{number:05d}.parquet", mine[start : start + rows]


def _write_parquet(path: Path, records: Iterable[TokenRecord], space: TokenSpace) -> None:
    schema = SCHEMA.with_metadata({FOOTER_KEY: space.sha256.encode()})
    pq.write_table(pa.Table.from_pylist([_row(record) for record in records], schema=schema), path)


def _row(record: TokenRecord) -> dict[str, Any]:
    return {
        **vars(record),
        "text_ids": record.text_ids.tolist(),
        "ids": record.ids.tolist(),
        "meta": json.dumps(record.meta, sort_keys=True),
    }


def _record(row: dict[str, Any]) -> TokenRecord:
    arrays = {name: np.array(row[name], dtype=np.uint32) for name in ("text_ids", "ids")}
    return TokenRecord(**{**row, **arrays, "meta": json.loads(row["meta"])})


def _check_sha(where: Path, declared: object, space: TokenSpace) -> None:
    if declared != space.sha256:
        raise TokenSpaceError(
            where,
            f"token_space_sha256 {declared}",
            f"{space.sha256}, as {space.where} has it",
            "Run the step shards again, so that all is written with one token space.",
        )
