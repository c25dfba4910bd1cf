"""Examples: sequences, regions, labels, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import ExampleError
from harness.examples import TASKS, Task, build_sequence, labels_of, read_examples, regions
from harness.token_space import TokenSpace, read_token_space

FIELD = Path(__file__).parents[2] / "shared" / "field"


def _row(space: TokenSpace, task: Task = "t2i", **changes: Any) -> dict[str, Any]:
    media = list(range(70, 76)) if task.endswith("i") or task.startswith("i") else [88, 104, 89, 105]
    ids = build_sequence(task, [1, 2, 3], media, space).tolist()
    return {"id": "x", "source": "s", "task": task, "input_ids": ids, "length": len(ids)} | changes


def _read(tmp_path: Path, space: TokenSpace, *rows: Any) -> list[Any]:
    path = tmp_path / "golden.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return read_examples(path, space)


@pytest.mark.parametrize("task", TASKS)
def test_the_target_is_the_whole_last_block(tmp_path: Path, space: TokenSpace, task: Task) -> None:
    (example,) = _read(tmp_path, space, _row(space, task))

    found = regions(example, space)
    labels = labels_of(example, space)

    assert example.input_ids[found.text].tolist() == [1, 2, 3]
    opens = {"t2i": "img", "t2a": "aud"}.get(task, "text")
    supervised = example.input_ids[labels != -100].tolist()
    assert supervised[0] == space.special(f"{opens}_start")
    assert supervised[-1] == space.special(f"{opens}_end")
    assert np.array_equal(np.flatnonzero(labels != -100), np.arange(found.target.start, found.target.stop))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": [1, 2]}, r"example x \(t2i\): found 0 tokens <\|gen_img\|>; expected exactly one"),
        ({"input_ids": [500]}, r"ids from 500 to 500; expected ids from 0 to 119"),
        ({"input_ids": []}, "found no ids"),
        ({"task": "t2v"}, "task: Input should be 'a2t', 'i2t', 't2a' or 't2i'"),
        ({"task": "t2a"}, r"0 tokens <\|gen_aud\|>"),
    ],
    ids=["no tags", "outside", "empty", "task", "wrong task"],
)
def test_a_malformed_example_is_named(tmp_path: Path, space: TokenSpace, change: dict[str, Any], message: str) -> None:
    def read_and_take_apart() -> None:
        for example in _read(tmp_path, space, _row(space) | change):
            regions(example, space)

    with pytest.raises(ExampleError, match=message):
        read_and_take_apart()


def test_labels_outside_the_target_are_an_error_of_the_data(tmp_path: Path, space: TokenSpace) -> None:
    row = _row(space)
    row["labels"] = list(row["input_ids"])

    with pytest.raises(ExampleError, match=r"golden.jsonl:1 \(x\): found label 48 at position 0; expected -100 there"):
        _read(tmp_path, space, row)


def test_an_unsupervised_end_tag_is_an_error_of_the_data(tmp_path: Path, space: TokenSpace) -> None:
    row = _row(space)
    row["labels"] = [-100] * 6 + row["input_ids"][6:-1] + [-100]

    with pytest.raises(ExampleError, match="supervised"):
        _read(tmp_path, space, row)


def test_a_line_that_is_no_json_is_named_by_its_number(tmp_path: Path, space: TokenSpace) -> None:
    with pytest.raises(ExampleError, match=r"golden\.jsonl:2: found text that is not JSON"):
        _read(tmp_path, space, _row(space), "{")


def test_an_id_twice_is_refused(tmp_path: Path, space: TokenSpace) -> None:
    with pytest.raises(ExampleError, match="the id 'x' twice"):
        _read(tmp_path, space, _row(space), _row(space))


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field's files are not on this machine")
def test_the_fields_own_records_are_read() -> None:
    space = read_token_space(FIELD)

    examples = read_examples(FIELD / "tokenized.jsonl", space)

    assert [example.task for example in examples] == ["t2i", "t2a", "i2t", "a2t"]
    media = [e.input_ids[regions(e, space).media] for e in examples]
    assert [len(ids) for ids in media] == [32, 6600, 32, 6600]
    assert space.to_codes("audio", media[1]).shape == (4, 1650)
