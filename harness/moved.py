"""What a moved table or tensor is reported as: how much of it, its pattern, and the first offenders by token text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.bundle import Bundle
from harness.compare import Difference
from harness.drift import Pattern, name_pattern
from harness.fingerprint import Reference
from harness.shift import shift_of_digests, shift_of_tables
from harness.stored_model import TABLES, Table, table_of
from harness.tensors import to_float32

_SHOWN_ROWS = 8  # first offenders of each table
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class MovedRow:
    """A text row that moved.

    Attributes:
        row: its id.
        token: the text of that token; empty where there is no tokenizer.
        largest: the largest |now - base| in it; None where only hashes are known.
    """

    row: int
    token: str
    largest: float | None


@dataclass(frozen=True)
class Moved:
    """A table or tensor that differs from the base's.

    Attributes:
        name: `embed` or `lm_head` for a table's text rows, else the tensor's name.
        is_table: whether it is a table.
        n_changed, n_rows: rows that differ, of those compared; values, of what is no table.
        largest: the largest |now - base|; None where only hashes are known.
        pattern: what moved it; None where hashes alone do not tell.
        figure: the pattern's number, in words; may be empty.
        first: the first rows that moved, of a table.
        rows: all rows that moved, of a table, ascending.
    """

    name: str
    is_table: bool
    n_changed: int
    n_rows: int
    largest: float | None
    pattern: Pattern | None
    figure: str = ""
    first: tuple[MovedRow, ...] = ()
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64), compare=False, repr=False)


class TokenTexts:
    """Ids to what a reader sees, by the first tokenizer.json among some folders, read when first asked."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._files = [folder / TOKENIZER_FILE for folder in folders]

    @cached_property
    def _tokenizer(self) -> object | None:
        from tokenizers import Tokenizer

        for file in self._files:
            if file.is_file():
                try:
                    return Tokenizer.from_file(str(file))
                except Exception:  # the library raises bare Exception; texts are a courtesy, not a measurement
                    continue
        return None

    def __getitem__(self, token_id: int) -> str:
        if self._tokenizer is None:
            return ""
        # Decoded alone, a byte-level piece may be no text; its entry in the vocabulary then is.
        text = str(self._tokenizer.decode([token_id], skip_special_tokens=False))  # type: ignore[attr-defined]
        return text if text and "\ufffd" not in text else str(self._tokenizer.id_to_token(token_id) or "")  # type: ignore[attr-defined]


def token_texts(bundle: Bundle) -> TokenTexts:
    """The token texts of a bundle: its own tokenizer's, else the base's."""
    return TokenTexts([bundle.path, *([bundle.inputs["base"]] if "base" in bundle.inputs else [])])


def moved_tables(differences: Sequence[Difference], bundle: Bundle) -> list[Moved]:
    """Tables whose text rows differ from the base's."""
    texts = token_texts(bundle)
    return [_moved_table(difference, texts) for difference in differences]


def moved_tensor(difference: Difference) -> Moved:
    """A frozen tensor that differs from the base's."""
    return _moved(difference, is_table=False, offset=None, first=())


def moved_digests(
    actual: Reference,
    reference: Reference,
    rows: dict[Table, tuple[str, ...]],
    before: dict[Table, tuple[str, ...]],
    bundle: Bundle,
) -> list[Moved]:
    """What differs by its hashes: tables (`rows` against `before`), then frozen tensors."""
    texts, moved = token_texts(bundle), []
    unlike = {n: (now, reference.stored.get(n, now)) for n, now in actual.stored.items()}
    retyped = {n: f"stored as {now[0]}, the base's as {was[0]}" for n, (now, was) in unlike.items() if now[0] != was[0]}
    reshaped = {
        n: f"shape {list(now[1])}, the base's is {list(was[1])}" for n, (now, was) in unlike.items() if now[1] != was[1]
    }
    for table in TABLES:
        now, was = rows.get(table, ()), before.get(table, ())
        # A table that is not there at all is a missing one, not a moved one.
        changed = [i for i, digest in enumerate(was) if now and (i >= len(now) or now[i] != digest)]
        if changed:
            offset = shift_of_digests(now, was, np.array(changed))
            first = tuple(MovedRow(i, texts[i], None) for i in changed[:_SHOWN_ROWS])
            pattern: Pattern | None = "shifted table" if offset else None
            figure = _offset_words(offset) or next(
                (words for name, words in retyped.items() if table_of(name) == table), ""
            )
            rows_changed = np.array(changed)
            moved.append(Moved(table, True, len(changed), len(was), None, pattern, figure, first, rows_changed))
    for name in sorted(actual.tensors.keys() & reference.tensors.keys()):
        figure = retyped.get(name) or reshaped.get(name, "")
        if figure or actual.tensors[name] != reference.tensors[name]:
            moved.append(Moved(name, False, 1, 1, None, None, figure))
    return moved


def _moved_table(difference: Difference, texts: TokenTexts) -> Moved:
    pair, comparable = difference.pair, difference.problem is None
    offset = shift_of_tables(pair.now, pair.base, difference.rows) if comparable and len(difference.rows) > 1 else None
    rows = [int(row) for row in difference.rows[:_SHOWN_ROWS]]
    first = tuple(MovedRow(row, texts[row], _largest_in(difference, row)) for row in rows)
    return _moved(difference, is_table=True, offset=offset, first=first)


def _moved(difference: Difference, *, is_table: bool, offset: int | None, first: tuple[MovedRow, ...]) -> Moved:
    pair, moments = difference.pair, difference.moments
    n_changed, n_rows = difference.n_changed, pair.n_rows
    if moments is None:
        figure = difference.problem or f"{pair.now.dtype}, the base's is {pair.base.dtype}"
        return Moved(pair.name, is_table, n_changed, n_rows, None, None, figure, first, difference.rows)
    pattern = name_pattern(
        moments,
        n_changed=n_changed,
        # Of a tensor, all values count as one: which of its rows moved says nothing.
        n_rows=n_rows if is_table else n_changed,
        same_dtype=difference.same_dtype,
        offset=offset,
    )
    figures = {
        "shifted table": _offset_words(offset),
        "other dtype": f"stored as {pair.now.dtype}, the base's as {pair.base.dtype}, every value equal",
        "dtype round trip": f"every changed value is exact in {' or '.join(sorted(moments.narrow))}",
        "weight decay": f"the base's times {moments.factor:.6g}",
    }
    figure = figures.get(pattern, "")
    return Moved(pair.name, is_table, n_changed, n_rows, moments.largest, pattern, figure, first, difference.rows)


def _offset_words(offset: int | None) -> str:
    return f"row i is the base's row i {offset:+d}" if offset else ""


def _largest_in(difference: Difference, row: int) -> float | None:
    now, base = difference.pair.now, difference.pair.base
    if difference.moments is None:
        return None
    values = to_float32(now.raw(row, row + 1), now.dtype) - to_float32(base.raw(row, row + 1), base.dtype)
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0))
