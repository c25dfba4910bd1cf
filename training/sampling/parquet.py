"""Sampling Stage 2 shards: the chosen rows with every column they had, as another folder of shards."""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import HarnessError, TokenSpaceError
from harness.files import file_sha256, write_json, write_text
from harness.stage2 import MANIFEST_NAME, ShardError, open_shards
from harness.stage2_parquet import ParquetShard
from harness.token_space import FILE_NAME, SIDECAR_NAME, Modality, TokenSpace, read_token_space
from training.sampling.choice import Choice, Rows, choose
from training.sampling.plan import SamplePlan, SampleReport
from training.steps import new_folder, progress

# As `training.shards` has it, which imports torch.
FORMAT = "shards/1"
# An example of a row has its text and its medium between tags, and one more that says what is to be written.
N_TAGS = 5
ROWS_AT_ONCE = 1024
ROWS_PER_FILE = 10_000


@dataclass(frozen=True)
class Shards:
    """Parquet files of one schema and one token space."""

    where: Path
    files: tuple[Path, ...]
    space: TokenSpace
    schema: Any


def sample_shards(source: Path, out: Path, plan: SamplePlan) -> SampleReport:
    """Write a sample of a folder of Parquet shards, or of one shard, as a new folder.

    Raises:
        HarnessError: the shards are damaged or not of one token space, a source has too few rows, or `out` is a folder
            with something in it, or lies in `source`. Nothing is written then.
    """
    _check_out(source, out)
    shards = _open(source)
    rows = _rows(shards)
    choice = choose(rows, plan, source)
    with new_folder(out) as folder:
        _write(folder, shards, _taken(shards, choice))
    lengths = rows.length[choice.rows]
    total, longest = int(lengths.sum()), int(lengths.max())
    return SampleReport(out, choice.sources, choice.ignored, choice.left_out, 0, 0, None, total, longest)


def _check_out(source: Path, out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HarnessError(out, "something there", "a new folder for the shards", "Choose another name.")
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise HarnessError(out, "a folder among the shards that are sampled", "another place", "Choose another name.")


# ---------------------------------------------------------------------- what is there


def _open(source: Path) -> Shards:
    files = _listed(source) if source.is_dir() else [source]
    space = read_token_space(source if source.is_dir() else source.parent)
    schemas = []
    for path in files:
        declared = ParquetShard(path).declaration()
        if declared.sha256 != space.sha256:
            found = declared.problem or f"token_space_sha256 {declared.sha256}"
            raise TokenSpaceError(path, found, f"{space.sha256}, as {space.where} has it", "Write the shards again.")
        schemas.append(pq.read_schema(path))
        if not schemas[-1].equals(schemas[0]):
            raise ShardError(path, "other columns than in the first shard", "one schema", "Write the shards again.")
    return Shards(source, tuple(files), space, schemas[0])


def _listed(folder: Path) -> list[Path]:
    """The folder's shards, each the one that its manifest lists."""
    found = open_shards(folder)
    if found.problems:
        problem = found.problems[0]
        raise ShardError(problem.where, problem.note, "shards as their manifest lists them", "Restore the shards.")
    for shard in found.files:
        if shard.path.suffix != ".parquet":
            raise ShardError(shard.path, "no Parquet file", "Parquet shards", "Sample the JSONL of examples instead.")
        if shard.sha256 != file_sha256(shard.path):
            raise ShardError(
                shard.path, "another content than its manifest lists", f"sha256 {shard.sha256}", "Restore it."
            )
    return [shard.path for shard in found.files]


def _rows(shards: Shards) -> Rows:
    names: dict[str | None, int] = {}
    source, length = array("i"), array("q")
    with progress(len(shards.files), "read shards", unit="file") as bar:
        for path in shards.files:
            for batch in _batches(path, ["source", "ids", "text_ids"]):
                source.extend(names.setdefault(name, len(names)) for name in batch.column("source").to_pylist())
                lengths = (pc.fill_null(pc.list_value_length(batch.column(c)), 0) for c in ("ids", "text_ids"))
                length.frombytes(sum((n.to_numpy().astype(np.int64) for n in lengths), N_TAGS).tobytes())
            bar.update()
    return Rows(tuple(names), np.array(source, dtype=np.int64), np.array(length, dtype=np.int64))


def _batches(path: Path, columns: list[str] | None = None) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
                batch.validate(full=True)
                yield batch
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ShardError(path, f"a file that cannot be read ({reason})", "Parquet", "Restore the shard.") from None


# ---------------------------------------------------------------------- what is written


def _taken(shards: Shards, choice: Choice) -> Any:
    """The chosen rows as a table, in the order of the choice."""
    ascending, first, parts = np.sort(choice.rows), 0, []
    with progress(len(ascending), "take", unit="row") as bar:
        for path in shards.files:
            for batch in _batches(path):
                low, high = np.searchsorted(ascending, [first, first + len(batch)])
                if high > low:
                    parts.append(batch.take(pa.array(ascending[low:high] - first)))
                    bar.update(int(high - low))
                first += len(batch)
    table = pa.Table.from_batches(parts, schema=shards.schema)
    return table.take(pa.array(np.searchsorted(ascending, choice.rows)))


def _write(folder: Path, shards: Shards, table: Any) -> None:
    write_json(folder / FILE_NAME, shards.space.raw)
    write_text(folder / SIDECAR_NAME, shards.space.sha256 + "\n")
    files: list[dict[str, Any]] = []
    for modality in get_args(Modality):
        mine = table.filter(pc.equal(table.column("modality"), modality))
        for number, start in enumerate(range(0, len(mine), ROWS_PER_FILE)):
            part = mine.slice(start, ROWS_PER_FILE)
            name = f"{modality}-{number:05d}.parquet"
            pq.write_table(part, folder / name)
            files.append({"path": name, "rows": len(part), "sha256": file_sha256(folder / name)})
    if sum(file["rows"] for file in files) != len(table):
        expected = f"rows of {' and '.join(get_args(Modality))}"
        raise ShardError(shards.where, "a row of another modality", expected, "Write the shards again.")
    sources = dict(sorted(Counter(map(str, table.column("source").to_pylist())).items()))
    manifest = {"format": FORMAT, "token_space_sha256": shards.space.sha256, "files": files, "sources": sources}
    write_json(folder / MANIFEST_NAME, manifest)
