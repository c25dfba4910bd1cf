"""What a checkpoint was trained on, streamed as batches of ids: Parquet shards, WebDataset tars, and JSONL examples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from harness.contents import Segments
from harness.errors import BundleError, HarnessError, MissingInputError
from harness.stage2 import MANIFEST_NAME, open_shards
from harness.stage2_tar import MEDIA, TEXTS, Sample, TarShard
from harness.token_space import TokenSpace

# Bounds the memory of a batch, whatever a row's length: 1 M ids are 4 MB, and hashing them takes about ten times that.
IDS_PER_BATCH = 2**20
ROWS_PER_BATCH = 2**16
# A line of JSON must fit into one block; a clip of 10 s has 6,608 ids, written in 100 KB with its labels.
JSON_BLOCK_BYTES = 2**24

_EXAMPLE = pa.schema([("id", pa.string()), ("input_ids", pa.list_(pa.uint32()))])


@dataclass(frozen=True)
class TrainingRows:
    """A batch of training rows.

    Attributes:
        file: where they are from.
        first: the number in that file of the batch's first row, from 1.
        names: the rows' ids.
        media, text: their media and captions, delimiters left out.
    """

    file: Path
    first: int
    names: Sequence[Any]
    media: Segments
    text: Segments


def shard_files(folder: Path) -> list[Path]:
    """Every shard below a folder, listed in the manifest or not: what lies there may have been trained on.

    Raises:
        MissingInputError: there is none.
        BundleError: the manifest lists a file that is not there.
    """
    shards = open_shards(folder)
    absent = [p.where for p in shards.problems if p.where != str(folder / MANIFEST_NAME) and not Path(p.where).exists()]
    if absent:
        raise BundleError(
            absent[0], "nothing", f"a shard that {MANIFEST_NAME} lists", "Restore it: every row is to be compared."
        )
    if not shards.files:
        raise MissingInputError(
            folder, "no Parquet file and no tar", "the Stage 2 shards", "Point --shards at the folder that holds them."
        )
    return [shard.path for shard in shards.files]


def read_rows(file: Path, space: TokenSpace) -> Iterator[TrainingRows]:
    """Stream a shard or a JSONL file of examples.

    Raises:
        HarnessError: the file is damaged, or holds no ids where they are expected.
    """
    try:
        if ".parquet" in file.suffixes:
            yield from _parquet_rows(file, space)
        elif file.suffix == ".jsonl":
            yield from _example_rows(file, space)
        else:
            yield from _tar_rows(file, space)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise HarnessError(
            file, f"a file that cannot be read ({reason})", "whole rows of ids", "Restore or rewrite the file."
        ) from None


# ---------------------------------------------------------------------- Parquet


def _parquet_rows(file: Path, space: TokenSpace) -> Iterator[TrainingRows]:
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as parquet:
        columns = set(parquet.schema_arrow.names)
        if "ids" not in columns:
            raise HarnessError(file, f"the columns {sorted(columns)}", "a column ids", "Write the shards again.")
        wanted = [name for name in ("id", "ids", "text_ids") if name in columns]
        first = 1
        for batch in parquet.iter_batches(batch_size=_batch_rows(parquet.metadata), columns=wanted):
            names = batch.column("id") if "id" in wanted else [""] * len(batch)
            media = _stripped(_segments(batch.column("ids")), space)
            text = _stripped(_segments(batch.column("text_ids")), space) if "text_ids" in wanted else _spans([])
            yield TrainingRows(file, first, names, media, text)
            first += len(batch)


def _batch_rows(metadata: Any) -> int:
    """Rows in a batch: as many as hold IDS_PER_BATCH ids on average."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    n_ids = sum(_n_values(group) for group in groups)
    mean_length = max(1, n_ids // max(1, metadata.num_rows))
    return max(1, min(ROWS_PER_BATCH, IDS_PER_BATCH // mean_length))


def _n_values(group: Any) -> int:
    columns = [group.column(number) for number in range(group.num_columns)]
    return sum(column.num_values for column in columns if column.path_in_schema.split(".")[0] == "ids")


def _segments(lists: Any) -> Segments:
    """One span a row of a column of lists."""
    lists = lists.cast(pa.large_list(pa.uint32()))
    if lists.null_count or lists.flatten().null_count:
        raise ValueError("a row without ids, or an id that is null")
    offsets = lists.offsets.to_numpy()
    offsets = offsets - offsets[0]  # of a slice, they do not start at 0
    return Segments(lists.flatten().to_numpy(), offsets[:-1], offsets[1:], np.arange(len(lists)))


def _stripped(spans: Segments, space: TokenSpace) -> Segments:
    """The spans without a tag before and after them: shards hold the bare ids, those of other trainers may not."""
    specials = np.array(sorted(space.special_ids.values()), dtype=np.uint32)
    opened, closed = np.zeros(len(spans.starts), dtype=bool), np.zeros(len(spans.starts), dtype=bool)
    filled = np.flatnonzero(spans.lengths)
    opened[filled] = np.isin(spans.values[spans.starts[filled]], specials)
    closed[filled] = np.isin(spans.values[spans.ends[filled] - 1], specials)
    starts = spans.starts + opened
    return Segments(spans.values, starts, np.maximum(starts, spans.ends - closed), spans.rows)


# ---------------------------------------------------------------------- WebDataset


def _tar_rows(file: Path, space: TokenSpace) -> Iterator[TrainingRows]:
    first, n_ids = 1, 0
    batch: list[Sample] = []
    for sample in TarShard(file).samples():
        batch.append(sample)
        n_ids += sample.n_ids
        if n_ids >= IDS_PER_BATCH or len(batch) >= ROWS_PER_BATCH:
            yield _rows_of_samples(file, first, batch, space)
            first, n_ids, batch = first + len(batch), 0, []
    if batch:
        yield _rows_of_samples(file, first, batch, space)


def _rows_of_samples(file: Path, first: int, batch: Sequence[Sample], space: TokenSpace) -> TrainingRows:
    media, text = (
        [(row, sample.arrays[name]) for row, sample in enumerate(batch) for name in names if name in sample.arrays]
        for names in (MEDIA, TEXTS)
    )
    names = [sample.key for sample in batch]
    return TrainingRows(file, first, names, _stripped(_spans(media), space), _stripped(_spans(text), space))


def _spans(arrays: Sequence[tuple[int, np.ndarray]]) -> Segments:
    """Spans from (row, ids) pairs."""
    ends = np.cumsum([len(ids) for _, ids in arrays], dtype=np.int64)
    lengths = np.diff(ends, prepend=0)
    values = np.concatenate([*(ids for _, ids in arrays), np.empty(0, dtype=np.int64)])
    if len(values) and (values.min() < 0 or values.max() >= 2**32):
        raise ValueError(f"ids from {values.min()} to {values.max()}")
    return Segments(
        values.astype(np.uint32), ends - lengths, ends, np.array([row for row, _ in arrays], dtype=np.int64)
    )


# ---------------------------------------------------------------------- JSONL examples


def _example_rows(file: Path, space: TokenSpace) -> Iterator[TrainingRows]:
    options = pyarrow.json.ParseOptions(explicit_schema=_EXAMPLE, unexpected_field_behavior="ignore")
    if file.stat().st_size == 0:
        return
    first = 1
    with pyarrow.json.open_json(file, pyarrow.json.ReadOptions(block_size=JSON_BLOCK_BYTES), options) as batches:
        for batch in batches:
            whole = _segments(batch.column("input_ids"))
            media = _between(whole, space, ("img", "aud"))
            yield TrainingRows(file, first, batch.column("id"), media, _between(whole, space, ("text",)))
            first += len(batch)


def _between(sequences: Segments, space: TokenSpace, tags: tuple[str, ...]) -> Segments:
    """The spans between start and end tags; one that is cut off reaches to the end of its sequence.

    No task is asked for, so that what another trainer interleaves is found as well.
    """
    ids = sequences.values
    opens, closes = (
        np.flatnonzero(np.isin(ids, [space.special_ids[role] for role in roles if role in space.special_ids]))
        for roles in ([f"{tag}_start" for tag in tags], [f"{tag}_end" for tag in tags])
    )
    rows = np.searchsorted(sequences.ends, opens, side="right")
    closes = np.append(closes, len(ids))
    ends = np.minimum(closes[np.searchsorted(closes, opens)], sequences.ends[rows])
    return Segments(ids, opens + 1, ends, rows)
