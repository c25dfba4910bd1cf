"""Editing Stage 2 shards in a copy, Parquet files and tars alike, and signing them again."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.faults.copies import Copy, NotApplicableError
from harness.files import file_sha256, read_json, write_json
from harness.stage2 import MANIFEST_NAME, open_shards
from harness.stage2_parquet import FOOTER_KEY
from harness.stage2_tar import MEDIA, TEXTS, Sample, TarShard
from harness.token_space import Modality

SLICE = 4096  # rows of a large shard that are edited: its first ones


@dataclass
class Row:
    """A row of a shard, whatever the file's format.

    Attributes:
        ids: of its medium, without tags.
        meta: what the file says of it; `meta[modality]` holds the counts.
    """

    id: str
    modality: str
    text_ids: list[int]
    ids: list[int]
    meta: dict[str, Any]
    _rest: dict[str, Any] = field(default_factory=dict)  # a Parquet row's other columns
    _sample: Sample | None = None  # of a tar


def shard_files(copy: Copy) -> list[Path]:
    """The shards, in order.

    Raises:
        NotApplicableError: there is none.
    """
    files = [file.path for file in open_shards(copy.input("shards")).files]
    if not files:
        raise NotApplicableError("the shards' folder holds no shard")
    return files


def shard_with(copy: Copy, modality: Modality) -> Path:
    """The last shard that holds a modality.

    Raises:
        NotApplicableError: none does.
    """
    for file in reversed(shard_files(copy)):
        if any(row.modality == modality and row.ids for row in read_rows(file)):
            return file
    raise NotApplicableError(f"the shards hold no {modality}")


def edit_row(copy: Copy, modality: Modality, edit: Callable[[Row], object]) -> None:
    """Change one row of a modality, the last of those looked at, and sign its shard again: nothing else is wrong."""

    def last(rows: list[Row]) -> None:
        edit([row for row in rows if row.modality == modality and row.ids][-1])

    edit_rows(copy, shard_with(copy, modality), last)


def edit_each(copy: Copy, modality: Modality, edit: Callable[[Row], object]) -> None:
    """Change every row of a modality in one shard, and sign it again."""

    def every(rows: list[Row]) -> None:
        for row in rows:
            if row.modality == modality:
                edit(row)

    edit_rows(copy, shard_with(copy, modality), every)


def edit_rows(copy: Copy, file: Path, edit: Callable[[list[Row]], object], **options: Any) -> None:
    """Write a shard again with other rows, of which the first SLICE are given, and sign it again."""
    copy.own(file)
    if file.suffix == ".parquet":
        _edit_parquet(file, edit, **options)
    else:
        samples = [_of_sample(sample) for sample in TarShard(file).samples()]
        edit(samples)
        _write_tar(file, samples)
    sign(copy)


def read_rows(file: Path) -> list[Row]:
    """The first SLICE rows of a shard."""
    if file.suffix == ".parquet":
        return _of_table(pq.read_table(file).slice(0, SLICE))
    return [_of_sample(sample) for sample in TarShard(file).samples()]


def redeclare(copy: Copy, file: Path, sha256: str | None) -> None:
    """Let a shard say that it was made with another token space; None lets it say nothing. Signs it again."""
    copy.own(file)
    if file.suffix == ".parquet":
        rewrite_parquet(file, pq.read_table(file), footer=sha256)
    else:
        samples = list(TarShard(file).samples())
        for sample in samples:
            said = {key: value for key, value in (sample.said or {}).items() if key != "token_space_sha256"}
            sample.said = said | ({"token_space_sha256": sha256} if sha256 else {})
        _write_tar(file, map(_of_sample, samples))
    sign(copy)


def sign(copy: Copy) -> None:
    """Write the shards' rows, hashes and sources into the manifest, where there is one."""
    manifest = manifest_file(copy, required=False)
    if manifest is None:
        return
    said, folder = read_json(manifest), manifest.parent
    entries = [entry for entry in said["files"] if (folder / entry["path"]).is_file()]
    sources: Counter[str] = Counter()
    for entry in entries:
        path = folder / entry["path"]
        entry["sha256"] = file_sha256(path)
        if path.suffix == ".parquet":
            column = pq.read_table(path, columns=["source"]).column("source").to_pylist()
            entry["rows"] = len(column)
            sources.update(column)
    said["files"] = entries
    if sources and said.get("sources") is not None:
        said["sources"] = dict(sorted(sources.items()))
    write_json(manifest, said)


def manifest_file(copy: Copy, *, required: bool = True) -> Path | None:
    """The shards' manifest.

    Raises:
        NotApplicableError: there is none, and one is required.
    """
    file = copy.input("shards") / MANIFEST_NAME
    if file.is_file():
        return file
    if required:
        raise NotApplicableError("the shards have no manifest")
    return None


def rewrite_parquet(file: Path, table: Any, footer: str | None = "", **options: Any) -> None:
    """Write a table as a shard. An empty `footer` keeps what the table's own says; None drops it."""
    metadata = dict(table.schema.metadata or {})
    if footer:
        metadata[FOOTER_KEY] = footer.encode()
    elif footer is None:
        metadata.pop(FOOTER_KEY, None)
    pq.write_table(table.replace_schema_metadata(metadata or None), file, **options)


def _edit_parquet(file: Path, edit: Callable[[list[Row]], object], **options: Any) -> None:
    table = pq.read_table(file)
    rows = _of_table(table.slice(0, SLICE))
    edit(rows)
    named = [
        row._rest | {"id": row.id, "modality": row.modality, "text_ids": row.text_ids, "ids": row.ids,
                     "meta": json.dumps(row.meta, sort_keys=True)}
        for row in rows
    ]  # fmt: skip
    changed = pa.Table.from_pylist(named, schema=table.schema)
    rewrite_parquet(file, pa.concat_tables([changed, table.slice(SLICE)]), **options)


def _of_table(table: Any) -> list[Row]:
    rows = []
    for each in table.to_pylist():
        rest = {key: each[key] for key in each if key not in ("id", "modality", "text_ids", "ids", "meta")}
        ids, text_ids = each["ids"] or [], each["text_ids"] or []
        rows.append(Row(each["id"], each["modality"], text_ids, ids, json.loads(each["meta"] or "{}"), rest))
    return rows


def _of_sample(sample: Sample) -> Row:
    modality = next((name for name in MEDIA if len(sample.arrays.get(name, ()))), "text")
    texts = [ids for name in TEXTS for ids in sample.arrays.get(name, np.empty(0, dtype=np.int64)).tolist()]
    ids = sample.arrays[modality].tolist() if modality in sample.arrays else []
    meta = (sample.said or {}).get("meta") or {}
    return Row(sample.key, modality, texts, ids, meta, _sample=sample)


def _write_tar(file: Path, rows: Iterable[Row]) -> None:
    with tarfile.open(file, "w") as tar:
        for row in rows:
            sample = row._sample or Sample(row.id, {})
            arrays = {name: ids for name, ids in sample.arrays.items() if name not in MEDIA}
            if row.modality in MEDIA:
                arrays[row.modality] = np.array(row.ids, dtype=np.int64)
            arrays |= _texts(sample, row.text_ids)
            said = (sample.said or {}) | {"meta": row.meta}
            said["tokens"] = {name: len(ids) for name, ids in arrays.items()}
            _add(tar, f"{row.id}.json", json.dumps(said).encode())
            for name, ids in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, ids.astype(np.int32))
                _add(tar, f"{row.id}.{name}.npy", buffer.getvalue())


def _texts(sample: Sample, ids: list[int]) -> dict[str, np.ndarray]:
    """A row's text ids in the arrays that they are from; what is over goes into the last."""
    names = [name for name in TEXTS if name in sample.arrays] or ["text_out"]
    ends = np.cumsum([len(sample.arrays.get(name, ())) for name in names])[:-1]
    return dict(zip(names, np.split(np.array(ids, dtype=np.int64), ends), strict=True))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
