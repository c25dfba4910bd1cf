"""Plain text to replay beside the media, so that new head rows learn to keep their hands off it.

JSONL: `{"input_ids"}` or `{"text"}` a line, text ids alone; with `labels`, -100 is where no loss is (a prefix). Without
replay new rows take probability from text although no text row can move (measured on the demo: text loss 4.32 -> 4.76).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from harness.errors import ExampleError
from harness.examples import IGNORED
from harness.json_lines import parse_line
from harness.token_space import TokenSpace
from training.sequences import TrainSequence

_TOKENIZER = "tokenizer.json"
_Id = Annotated[int, Field(ge=-(2**31), lt=2**31)]  # what numpy can hold


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    text: str | None = None
    input_ids: list[_Id] | None = None
    labels: list[_Id] | None = None


def read_texts(path: Path, space: TokenSpace, tokenizers: Sequence[Path], max_tokens: int) -> list[TrainSequence]:
    """Read plain text; longer lines are cut, shorter ones than two tokens are left out.

    Args:
        path: the JSONL file.
        space: says which ids are text.
        tokenizers: folders that may hold a tokenizer.json; opened only where a line needs it.
        max_tokens: where a line is cut.

    Raises:
        ExampleError: a line is no text, there is no tokenizer for it, or nothing is left.
    """
    if not path.is_file():
        raise ExampleError(path, "no file", "a JSONL file of plain text", "Correct data.text.")
    texts = list(_texts(path, space, tokenizers, max_tokens))
    if not texts:
        raise ExampleError(path, "no line of two tokens or more", "text to replay", "Correct data.text.")
    return texts


def _texts(path: Path, space: TokenSpace, tokenizers: Sequence[Path], max_tokens: int) -> Iterator[TrainSequence]:
    tokenizer: Tokenizer | None = None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parse(line, f"{path}:{number}")
            if row.input_ids is None:
                tokenizer = tokenizer or _tokenizer(path, tokenizers)
                row.input_ids = tokenizer.encode(row.text or "", add_special_tokens=False).ids
            sequence = _sequence(row, f"{path}:{number}", space)
            if min(len(sequence.ids), max_tokens) > sequence.target_start:
                yield TrainSequence(sequence.ids[:max_tokens], sequence.target_start)


def _sequence(row: _Row, where: str, space: TokenSpace) -> TrainSequence:
    ids = np.array(row.input_ids, dtype=np.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < space.text_vocab_size:
        found = f"ids from {ids.min()} to {ids.max()}"
        wanted = f"text ids, 0 to {space.text_vocab_size - 1}"
        raise ExampleError(where, found, wanted, "Leave specials and media away.")
    first = 1  # nothing predicts the first token
    if row.labels is not None:
        labels = np.array(row.labels, dtype=np.int64)
        supervised = np.flatnonzero(labels != IGNORED)
        first = max(1, int(supervised[0])) if len(supervised) else len(ids)
        if len(labels) != len(ids) or not np.array_equal(labels[first:], ids[first:]):
            raise ExampleError(where, "labels that are not the ids", "-100, then the ids to the end", "Correct them.")
    return TrainSequence(ids, first)


def _parse(line: bytes, where: str) -> _Row:
    expected = '{"text"} or {"input_ids"}'
    row = parse_line(_Row, line, where, expected)
    if row.text is None and row.input_ids is None:
        raise ExampleError(where, "neither text nor input_ids", expected, "Correct or drop the line.")
    return row


def _tokenizer(path: Path, folders: Sequence[Path]) -> Tokenizer:
    file = next((folder / _TOKENIZER for folder in folders if (folder / _TOKENIZER).is_file()), None)
    if file is None:
        places = " or ".join(str(folder) for folder in folders)
        raise ExampleError(path, f"text, and no {_TOKENIZER} in {places}", "input_ids in every line", "Tokenise it.")
    return Tokenizer.from_file(str(file))
