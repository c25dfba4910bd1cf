"""Plain text to replay: where its labels are, what is cut, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExampleError
from harness.files import write_jsonl
from harness.token_space import TokenSpace
from tests.tiny import TEXT, write_tokenizer
from training.text_replay import read_texts


def _read(folder: Path, space: TokenSpace, rows: list[dict[str, Any]], max_tokens: int = 100) -> list[tuple[Any, int]]:
    write_jsonl(folder / "text.jsonl", rows)
    return [(one.ids.tolist(), one.target_start) for one in read_texts(folder / "text.jsonl", space, [], max_tokens)]


def test_all_of_a_text_is_supervised_but_its_first_id(tmp_path: Path, space: TokenSpace) -> None:
    assert _read(tmp_path, space, [{"input_ids": [5, 6, 7]}]) == [([5, 6, 7], 1)]


@pytest.mark.parametrize(
    ("labels", "start"),
    [([-100, -100, 7, 8], 2), ([-100, 6, 7, 8], 1), ([5, 6, 7, 8], 1), (None, 1)],
    ids=["a prefix", "one", "no prefix", "no labels"],
)
def test_labels_say_where_a_prefix_ends(
    labels: list[int] | None, start: int, tmp_path: Path, space: TokenSpace
) -> None:
    assert _read(tmp_path, space, [{"input_ids": [5, 6, 7, 8], "labels": labels}]) == [([5, 6, 7, 8], start)]


@pytest.mark.parametrize("labels", [[-100, 6, -100, 8], [-100, 6, 7, 9], [-100, 6, 7], [5, 6, 7, 8, 9], []])
def test_labels_that_are_not_the_ids_to_the_end_are_refused(
    labels: list[int], tmp_path: Path, space: TokenSpace
) -> None:
    rows = [{"input_ids": [1, 2]}, {"input_ids": [5, 6, 7, 8], "labels": labels}]
    with pytest.raises(ExampleError, match=r"text\.jsonl:2: found labels that are not the ids; expected -100, then"):
        _read(tmp_path, space, rows)


def test_longer_texts_are_cut_and_shorter_ones_left_out(tmp_path: Path, space: TokenSpace) -> None:
    rows = [{"input_ids": list(range(9))}, {"input_ids": [3]}, {"input_ids": []}, {"input_ids": [1, 2]}]

    assert _read(tmp_path, space, rows, max_tokens=4) == [([0, 1, 2, 3], 1), ([1, 2], 1)]


def test_a_text_of_which_the_cut_leaves_only_the_prefix_is_left_out(tmp_path: Path, space: TokenSpace) -> None:
    labels = [-100] * 4 + [4, 5]
    rows = [{"input_ids": [0, 1, 2, 3, 4, 5], "labels": labels}, {"input_ids": [7, 8]}]

    assert _read(tmp_path, space, rows, max_tokens=4) == [([7, 8], 1)]
    assert _read(tmp_path, space, rows, max_tokens=5)[0] == ([0, 1, 2, 3, 4], 4)


@pytest.mark.parametrize("bad", [TEXT, TEXT + 20, -1])
def test_ids_beyond_text_are_refused(bad: int, tmp_path: Path, space: TokenSpace) -> None:
    with pytest.raises(ExampleError, match=rf"text\.jsonl:1: found ids from .* expected text ids, 0 to {TEXT - 1}"):
        _read(tmp_path, space, [{"input_ids": [0, bad, 1]}])


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "text that is not JSON"), ("[1]", "the line: "), ('{"id": "x"}', "neither text nor input_ids"),
     ('{"input_ids": [1.5, 2]}', "input_ids.0: "), ('{"input_ids": "w1 w2"}', "input_ids: "),
     ('{"input_ids": [1, 1000000000000000000000000000000]}', "input_ids.1: "),
     ('{"input_ids": [1, 2], "labels": [1, 1e400]}', "labels.1: ")],
)  # fmt: skip
def test_a_line_that_is_no_text_is_refused_by_its_number(
    line: str, said: str, tmp_path: Path, space: TokenSpace
) -> None:
    (tmp_path / "text.jsonl").write_text(f'\n{{"input_ids": [1, 2]}}\n{line}\n')
    with pytest.raises(ExampleError, match=rf"text\.jsonl:3: found {said}"):
        read_texts(tmp_path / "text.jsonl", space, [], 100)


def test_words_are_read_with_the_first_tokenizer_there_is(tmp_path: Path, space: TokenSpace) -> None:
    write_tokenizer(tmp_path / "base")
    write_jsonl(tmp_path / "text.jsonl", [{"text": "w3 w4 w5"}, {"input_ids": [1, 2], "text": "w9"}])
    read = read_texts(tmp_path / "text.jsonl", space, [tmp_path / "absent", tmp_path / "base"], 100)

    assert [one.ids.tolist() for one in read] == [[3, 4, 5], [1, 2]]


def test_words_without_a_tokenizer_are_refused_with_the_places_looked_at(tmp_path: Path, space: TokenSpace) -> None:
    write_jsonl(tmp_path / "text.jsonl", [{"text": "w3 w4"}])
    with pytest.raises(ExampleError, match=r"found text, and no tokenizer\.json in .*one or .*two; expected input_ids"):
        read_texts(tmp_path / "text.jsonl", space, [tmp_path / "one", tmp_path / "two"], 100)


@pytest.mark.parametrize("rows", [[], [{"input_ids": [1]}]])
def test_a_file_without_text_is_refused(rows: list[dict[str, Any]], tmp_path: Path, space: TokenSpace) -> None:
    with pytest.raises(ExampleError, match="found no line of two tokens or more; expected text to replay"):
        _read(tmp_path, space, rows)


def test_a_missing_file_is_named(tmp_path: Path, space: TokenSpace) -> None:
    with pytest.raises(ExampleError, match=r"absent\.jsonl: found no file"):
        read_texts(tmp_path / "absent.jsonl", space, [], 100)
