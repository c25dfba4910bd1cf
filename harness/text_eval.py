"""Text-only examples: JSONL of `{"id", "text"}` or `{"id", "input_ids"}`, read as plain text ids.

No special stands before or after a text: the base has text rows only, and must be able to score the same ids. So every
token is a label but the first, which nothing predicts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from harness.errors import ExampleError, MissingInputError
from harness.files import file_sha256
from harness.json_lines import parse_line
from harness.scores import ScoreItem
from harness.token_space import TokenSpace
from harness.tokenizer import FILE_NAME, MAX_BYTES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHORTEST = 2  # tokens: the first has no predecessor, so that one token alone has no loss
IDS_HASH_HEX = 16


class _Row(BaseModel):
    """One line at the border; other keys are allowed and dropped."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    text: str | None = None
    input_ids: list[int] | None = None
    source: str = "unknown"


@dataclass(frozen=True)
class TextExample:
    """A line of text.

    Attributes:
        ids: (L,) int64, text ids, L >= 2.
        text: as written in the file; empty where it holds ids alone.
    """

    id: str
    source: str
    ids: np.ndarray
    text: str = ""

    @property
    def n_tokens(self) -> int:
        """How many tokens carry a loss."""
        return len(self.ids) - 1

    @property
    def ids_sha256(self) -> str:
        """The first 16 hex digits of the SHA-256 of its ids: what tells that two figures are of the same tokens."""
        return hashlib.sha256(self.ids.astype("<i8").tobytes()).hexdigest()[:IDS_HASH_HEX]


@dataclass(frozen=True)
class TextEval:
    """The examples of one file.

    Attributes:
        examples: those that can be scored, in the file's order.
        unscored: ids of those that are too short.
        sha256: of the file.
    """

    examples: tuple[TextExample, ...]
    unscored: tuple[str, ...]
    sha256: str

    @property
    def items(self) -> list[ScoreItem]:
        """What to score: every token but the first."""
        return [ScoreItem(example.ids, slice(1, len(example.ids))) for example in self.examples]


def read_text_eval(path: Path, space: TokenSpace, tokenizers: Sequence[Path]) -> TextEval:
    """Read text-only examples.

    Args:
        path: the JSONL file.
        space: says which ids are text.
        tokenizers: folders that may hold a tokenizer.json, the preferred one first; opened only where a line needs it.

    Raises:
        ExampleError: a line is no example, holds an id that is no text, or has the id of another; or no line is left
            that can be scored.
        MissingInputError: a line holds text, and there is no tokenizer.
    """
    if not path.is_file():
        raise ExampleError(path, "no file", "a JSONL file of text-only examples", "Check --text-eval.")
    rows = _rows(path)
    tokenizer = _tokenizer(path, tokenizers) if any(row.input_ids is None for _, row in rows) else None
    examples = [_example(where, row, space, tokenizer) for where, row in rows]
    scored = tuple(example for example in examples if len(example.ids) >= SHORTEST)
    unscored = tuple(example.id for example in examples if len(example.ids) < SHORTEST)
    if not scored:
        found = f"{len(unscored)} lines of fewer than {SHORTEST} tokens" if unscored else "no line"
        raise ExampleError(path, found, f"lines of at least {SHORTEST} tokens", "Give longer texts.")
    return TextEval(scored, unscored, file_sha256(path))


def _rows(path: Path) -> list[tuple[str, _Row]]:
    """Every line, with what to call it."""
    rows: list[tuple[str, _Row]] = []
    seen: set[str] = set()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parse(line, f"{path}:{number}")
            if row.id in seen:
                raise ExampleError(path, f"the id {row.id!r} twice", "one example an id", "Make the ids unique.")
            seen.add(row.id)
            rows.append((f"{path}:{number} ({row.id})", row))
    return rows


def _parse(line: bytes, where: str) -> _Row:
    expected = '{"id", "text"} or {"id", "input_ids"}'
    row = parse_line(_Row, line, where, expected)
    if row.text is None and row.input_ids is None:
        raise ExampleError(f"{where} ({row.id})", "neither text nor input_ids", expected, "Correct or drop the line.")
    return row


def _example(where: str, row: _Row, space: TokenSpace, tokenizer: "Tokenizer | None") -> TextExample:
    ids = row.input_ids
    if ids is None:
        assert tokenizer is not None
        ids = tokenizer.encode(row.text, add_special_tokens=False).ids
    n_text = space.text_vocab_size
    stray = next((token_id for token_id in ids if not 0 <= token_id < n_text), None)
    if stray is not None:
        known = 0 <= stray < space.vocab_size_total
        raise ExampleError(
            where,
            f"id {stray}" + (f", which is {space.name_of(stray)}" if known else ""),
            f"text ids, 0 to {n_text - 1}",
            "A text-only example is plain text that the base can read: leave specials and media away.",
        )
    return TextExample(row.id, row.source, np.array(ids, dtype=np.int64), row.text or "")


def _tokenizer(path: Path, folders: Sequence[Path]) -> "Tokenizer":
    from tokenizers import Tokenizer

    file = next((folder / FILE_NAME for folder in folders if (folder / FILE_NAME).is_file()), None)
    if file is None:
        raise MissingInputError(
            path,
            f"text, and no {FILE_NAME} in {' or '.join(str(folder) for folder in folders)}",
            "a tokenizer, or input_ids in every line",
            "Copy the base's tokenizer beside the checkpoint, or pass --base.",
        )
    if file.stat().st_size > MAX_BYTES:
        found = f"{file.stat().st_size} bytes"
        raise ExampleError(file, found, f"at most {MAX_BYTES}", "This is no tokenizer; restore it.")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        found = f"a tokenizer that cannot be read ({str(error)[:200]})"
        raise ExampleError(file, found, "a tokenizer.json", "Copy it from the base again.") from None
