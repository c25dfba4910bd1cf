"""Text-only examples: read as plain text ids; what cannot be scored is named, what is no text is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import ExampleError, MissingInputError
from harness.text_eval import read_text_eval
from tests.tiny import N_TEXTS, TEXT, Tiny


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Where the tests write their lines."""
    return tmp_path / "text_eval.jsonl"


def _write(path: Path, *rows: dict[str, Any] | str) -> None:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def test_text_and_ids_are_read_alike(shared_tiny: Tiny, written: Path) -> None:
    _write(written, {"id": "a", "text": "w3 w1 w4"}, {"id": "b", "input_ids": [3, 1, 4], "source": "wiki", "more": 1})

    found = read_text_eval(written, shared_tiny.space, [shared_tiny.ckpt])

    assert [example.ids.tolist() for example in found.examples] == [[3, 1, 4], [3, 1, 4]]
    assert [example.source for example in found.examples] == ["unknown", "wiki"]
    assert found.examples[0].ids_sha256 == found.examples[1].ids_sha256
    assert all(item.target == slice(1, 3) for item in found.items)


def test_every_token_but_the_first_is_scored(shared_tiny: Tiny) -> None:
    found = read_text_eval(shared_tiny.root / "text_eval.jsonl", shared_tiny.space, [shared_tiny.ckpt])

    assert len(found.examples) == N_TEXTS
    assert sum(e.n_tokens for e in found.examples) == sum(len(e.ids) - 1 for e in found.examples)


def test_lines_without_a_predicted_token_are_named(shared_tiny: Tiny, written: Path) -> None:
    _write(written, {"id": "none", "text": ""}, {"id": "one", "input_ids": [5]}, {"id": "two", "input_ids": [5, 6]})

    found = read_text_eval(written, shared_tiny.space, [shared_tiny.ckpt])

    assert found.unscored == ("none", "one")
    assert [example.id for example in found.examples] == ["two"]


def test_the_checkpoints_tokenizer_comes_before_the_bases(tiny: Tiny, written: Path) -> None:
    _write(written, {"id": "a", "text": "w3 w1"})
    (tiny.base / "tokenizer.json").write_text("{}")

    found = read_text_eval(written, tiny.space, [tiny.ckpt, tiny.base])

    np.testing.assert_array_equal(found.examples[0].ids, [3, 1])


def test_ids_need_no_tokenizer(shared_tiny: Tiny, written: Path, tmp_path: Path) -> None:
    _write(written, {"id": "a", "input_ids": [3, 1]})

    assert len(read_text_eval(written, shared_tiny.space, [tmp_path]).examples) == 1


def test_text_without_a_tokenizer_is_a_missing_input(shared_tiny: Tiny, written: Path, tmp_path: Path) -> None:
    _write(written, {"id": "a", "text": "w3 w1"})

    with pytest.raises(MissingInputError, match=r"found text, and no tokenizer.json in .*; expected a tokenizer"):
        read_text_eval(written, shared_tiny.space, [tmp_path / "nowhere"])


REFUSED = {
    "media id": (
        {"id": "a", "input_ids": [1, 70]}, rf"1 \(a\): found id 70, which is IMAGE; expected text ids, 0 to {TEXT - 1}"
    ),
    "special in text": ({"id": "a", "text": "w1 <|aud_start|>"}, r"\(a\): found id \d+, which is <\|aud_start\|>"),
    "id beyond all": ({"id": "a", "input_ids": [1, 999]}, "found id 999; expected text ids"),
    "negative id": ({"id": "a", "input_ids": [-1, 2]}, "found id -1; expected"),
    "no content": ({"id": "a"}, "found neither text nor input_ids"),
    "no id": ({"text": "w1 w2"}, "found id: Field required"),
    "not JSON": ("{", "found text that is not JSON"),
    "nothing to score": ({"id": "a", "input_ids": [1]}, "found 1 lines of fewer than 2 tokens; expected lines of"),
    "no line": ("", "found no line; expected"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_text_is_refused(shared_tiny: Tiny, written: Path, row: dict[str, Any] | str, says: str) -> None:
    _write(written, row)

    with pytest.raises(ExampleError, match=says):
        read_text_eval(written, shared_tiny.space, [shared_tiny.ckpt])


def test_an_id_twice_is_refused(shared_tiny: Tiny, written: Path) -> None:
    _write(written, {"id": "a", "input_ids": [1, 2]}, {"id": "a", "input_ids": [3, 4]})

    with pytest.raises(ExampleError, match="found the id 'a' twice"):
        read_text_eval(written, shared_tiny.space, [shared_tiny.ckpt])
