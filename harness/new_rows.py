"""Where a checkpoint stores its new rows [V_text, vocab_size_total), whatever its form."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.bundle import ADAPTER_CONFIG, ROWS_FILE, Bundle
from harness.errors import BundleError
from harness.lora import read_adapter
from harness.stored_model import TABLES, Table, read_stored_model
from harness.tensors import StoredTensor, read_file
from harness.token_space import TokenSpace

_IN_ROWS_FILE: dict[str, Table] = {"embeddings": "embed", "lm_head": "lm_head"}
_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class RowSpan:
    """Some rows of a stored table.

    Attributes:
        tensor: the table, (rows, d).
        first, end: the rows, half open.
    """

    tensor: StoredTensor
    first: int
    end: int

    @property
    def n_rows(self) -> int:
        """How many rows."""
        return self.end - self.first

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(rows before this block, stored bytes (rows, row_bytes) uint8)."""
        step = max(1, _BLOCK_BYTES // max(1, self.tensor.row_bytes))
        for start in range(0, self.n_rows, step):
            first = self.first + start
            yield start, self.tensor.raw(first, min(first + step, self.end))

    def rows(self, start: int, n_rows: int) -> np.ndarray:
        """Stored bytes of `n_rows` rows from the span's row `start` on."""
        return self.tensor.raw(self.first + start, self.first + start + n_rows)


def new_rows(checkpoint: Path, space: TokenSpace) -> dict[Table, RowSpan]:
    """The new rows of each table that has rows of its own.

    Raises:
        BundleError: there are none, or not as many as the token space wants.
    """
    n_text, n_total = space.text_vocab_size, space.vocab_size_total
    spans: dict[Table, RowSpan] = {}
    if (checkpoint / ROWS_FILE).is_file():
        for name, tensor in read_file(checkpoint / ROWS_FILE).items():
            if name in _IN_ROWS_FILE:
                spans[_IN_ROWS_FILE[name]] = RowSpan(tensor, 0, n_total - n_text)
    elif (adapter := _adapter_folder(checkpoint)) is not None:
        spans = _adapter_rows(adapter, n_text, n_total)
    else:
        model = read_stored_model(checkpoint)
        stored = {table: model.stored_table(table) for table in TABLES}
        spans = {table: RowSpan(tensor, n_text, n_total) for table, tensor in stored.items() if tensor is not None}
    if "embed" not in spans:
        raise BundleError(checkpoint, "no embedding rows", "new rows in the embedding", "Save the checkpoint again.")
    for span in spans.values():
        if len(span.tensor.shape) != 2 or span.tensor.shape[0] < span.end:
            raise BundleError(
                span.tensor.file,
                f"{span.tensor.name} of shape {list(span.tensor.shape)}",
                f"at least {span.end} rows, as the token space says",
                "Save the rows again.",
            )
    return spans


def _adapter_folder(checkpoint: Path) -> Path | None:
    """Where the adapter lies that holds a checkpoint's rows; None for a whole model."""
    if any((checkpoint / f"model.safetensors{ending}").is_file() for ending in ("", ".index.json")):
        return None
    places = (checkpoint, checkpoint / "adapter")
    return next((place for place in places if (place / ADAPTER_CONFIG).is_file()), None)


def _adapter_rows(folder: Path, n_text: int, n_total: int) -> dict[Table, RowSpan]:
    """The rows of an adapter that holds whole tables, or exactly the new rows."""
    adapter = read_adapter(folder)
    spans = {table: RowSpan(tensor, n_text, n_total) for table, tensor in adapter.tables.items()}
    if adapter.rows and adapter.row_ids != tuple(range(n_text, n_total)):
        raise BundleError(
            folder / ADAPTER_CONFIG,
            f"{len(adapter.row_ids)} trainable token ids",
            f"{n_text} to {n_total - 1}, all new rows in their order",
            "Train all new rows.",
        )
    return spans | {table: RowSpan(tensor, 0, n_total - n_text) for table, tensor in adapter.rows.items()}


def stray_row_tensors(bundle: Bundle) -> list[str]:
    """Tensors beside the new rows in a rows file: nothing else may have been trained."""
    file = bundle.path / ROWS_FILE
    if not file.is_file():
        return []
    return [f"{ROWS_FILE}: {name}" for name in sorted(read_file(file)) if name not in _IN_ROWS_FILE]
