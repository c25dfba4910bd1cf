"""Parquet shards as blocks of rows, at the speed of pyarrow and within a bounded memory."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.stage2 import Block, Declaration, ShardError
from harness.stage2_meta import counts_of_json

FOOTER_KEY = b"token_space_sha256"
COLUMNS = ("id", "source", "modality", "text_ids", "ids", "meta")
# Bound a batch, and so the memory: 2 M ids are 8 MB.
BATCH_IDS = 2**21
BATCH_ROWS = 2**14


class ParquetShard:
    """One Parquet file.

    Raises:
        ShardError: it is no Parquet file, or lacks a column of the shard format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sources: Counter[str] = Counter()
        try:
            self._file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
            self.rows = int(self._file.metadata.num_rows)
            _check_columns(path, self._file.schema_arrow)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _unreadable(path, error) from None

    def declaration(self) -> Declaration:
        """What the footer says."""
        value = (self._file.metadata.metadata or {}).get(FOOTER_KEY)
        if value is None:
            return Declaration(str(self.path), None, "its footer has no token_space_sha256")
        return Declaration(str(self.path), value.decode(errors="replace"))

    def blocks(self) -> Iterator[Block]:
        """Blocks of every modality and of text; `sources` counts the rows read so far.

        Raises:
            ShardError: the file is damaged.
        """
        try:
            for batch in self._file.iter_batches(_batch_rows(self._file.metadata), columns=list(COLUMNS)):
                batch.validate(full=True)  # offsets and UTF-8, which a damaged file may break
                yield from self._split(batch)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from None

    def _split(self, batch: Any) -> Iterator[Block]:
        for source in pc.value_counts(batch.column("source")).to_pylist():
            self.sources[str(source["values"])] += source["counts"]
        modality = pc.fill_null(batch.column("modality"), "null")
        for name in pc.unique(modality).to_pylist():
            rows = batch.filter(pc.equal(modality, name))
            yield _block(rows, "ids", name, counts_of_json(rows.column("meta"), name))
        yield _block(batch, "text_ids", "text", None)


def _block(rows: Any, column: str, modality: str, counts: np.ndarray | None) -> Block:
    lists = rows.column(column)
    # A null list is a row without ids; a null id becomes one that no range has.
    offsets = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())])
    values = lists.flatten()
    if values.null_count:
        values = pc.fill_null(values.cast(pa.int64()), -1)
    return Block(modality, values.to_numpy(), offsets.astype(np.int64), rows.column("id"), counts)


def _check_columns(path: Path, schema: Any) -> None:
    for name in COLUMNS:
        if schema.get_field_index(name) < 0:
            raise ShardError(
                path, f"the columns {', '.join(schema.names)[:200]}", f"a column {name}", "Write it again."
            )
        kind = schema.field(name).type
        if name in ("ids", "text_ids"):
            listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
            if not listed or not pa.types.is_integer(kind.value_type) or kind.value_type.bit_width < 32:
                raise ShardError(
                    path, f"{name} of type {kind}", "list<uint32>: narrower ids wrap", "Tokenise the shard again."
                )
        elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ShardError(path, f"{name} of type {kind}", "string", "Write the shard again.")


def _batch_rows(metadata: Any) -> int:
    """Rows in a batch: as many as hold BATCH_IDS, going by the row group with the longest rows."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    longest = max((_n_ids(group) // max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(BATCH_ROWS, BATCH_IDS // max(1, longest)))


def _n_ids(group: Any) -> int:
    # Counted in values: equal rows take next to no bytes in the file, and all of them in memory.
    columns = [group.column(number) for number in range(group.num_columns)]
    return sum(int(c.num_values) for c in columns if c.path_in_schema.partition(".")[0] in ("ids", "text_ids"))


def _unreadable(path: Path, error: Exception) -> ShardError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return ShardError(path, f"a file that cannot be read ({reason})", "Parquet", "Restore or rewrite the shard.")
