"""The words of prompts: where they come from, and in which of them two prompts differ."""

from pathlib import Path

import numpy as np
import pytest

from harness.examples import Example, build_sequence
from harness.token_space import TokenSpace
from harness.words import Substitution, changed_words, prompt_words, substitution
from tests.tiny import Tiny


@pytest.mark.parametrize(
    ("own", "other", "changed"),
    [
        ("a red four", "a red five", ("four",)),
        ("a red four", "a blue five", ("red", "four")),
        ("a loud red four", "a red four", ("loud",)),
        ("a red four", "a very red four", ()),
        ("D4 then F4", "F4 then D4", ("D4", "F4")),
        ("", "a", ()),
    ],
)
def test_changed_words_are_those_replaced_or_lacking(own: str, other: str, changed: tuple[str, ...]) -> None:
    assert changed_words(own.split(), other.split()) == changed


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ("a red four", "a red five", Substitution(2, "four", "five")),
        ("a red four", "a blue five", None),
        ("a red four", "a four", None),
        ("a red four", "a very red four", None),
        ("same", "same", None),
    ],
)
def test_a_substitution_is_the_only_difference(own: str, other: str, expected: Substitution | None) -> None:
    assert substitution(own.split(), other.split()) == expected


# ------------------------------------------------------------------ where words come from


def _examples(space: TokenSpace, *texts: str | None) -> list[Example]:
    ids = [build_sequence("t2i", [1 + i, 7], space.to_ids("image", np.array([i, 9])), space) for i in range(len(texts))]
    return [Example(f"e{i}", "t2i", "made", ids[i], None, text, {}) for i, text in enumerate(texts)]


def test_words_are_those_of_the_texts(space: TokenSpace, shared_tiny: Tiny) -> None:
    words = prompt_words(_examples(space, "a red  four", "two"), space, [shared_tiny.ckpt])

    assert words == [("a", "red", "four"), ("two",)]


def test_where_a_text_is_missing_all_words_are_decoded(space: TokenSpace, shared_tiny: Tiny) -> None:
    words = prompt_words(_examples(space, "a red four", None), space, [shared_tiny.root, shared_tiny.ckpt])

    assert words == [("w1", "w7"), ("w2", "w7")]


def test_without_a_tokenizer_ids_are_words(space: TokenSpace, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{broken")

    assert prompt_words(_examples(space, None), space, [tmp_path, tmp_path / "absent"]) == [("#1", "#7")]
