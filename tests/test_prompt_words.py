"""What P0.4 says of words: heard, making no difference, or of too few examples to tell; and that a word is named."""

import math

import numpy as np
import pytest

from gates.gate import Accept, Gate
from gates.prompt_words import Heard, heard, name_words, report_retrieval, tabulate_words
from harness.results import Measurement
from harness.retrieval import Retrieval
from harness.statistics import Paired, win_rate

CRITERION = Gate(id="X", name="x", priority="P0", claim="c", source="s")


def word(n: int, share: float) -> Paired:
    wins = np.where(np.arange(n) < round(share * n), 0.2, -0.2)
    return Paired(np.zeros(n), wins, np.arange(n), np.full(n, "here"))


@pytest.mark.parametrize(
    ("n", "share", "says"),
    [
        pytest.param(288, 0.49, "makes no difference", id="the-digit-that-a-model-at-0.997-ignored"),
        pytest.param(288, 0.97, "heard", id="a-colour"),
        pytest.param(4, 1.0, "too few to tell", id="four-of-four"),
        pytest.param(20, 0.5, "too few to tell", id="half-of-twenty"),
        pytest.param(60, 0.1, "misleads", id="worse-than-a-coin"),
        pytest.param(0, 0.0, "not measured", id="none"),
    ],
)
def test_a_word_is_told_by_its_interval(n: int, share: float, says: Heard) -> None:
    assert heard(win_rate("w", word(n, share)), listens_from=0.7) == says


def noted(words: dict[str, Paired]) -> tuple[list[str], list[str]]:
    accept = Accept(CRITERION)
    rates = {name: win_rate(name, paired) for name, paired in words.items()}
    verdicts = {name: heard(rate, 0.7) for name, rate in rates.items()}
    name_words(accept, "t2i", "words", rates, verdicts, 0.7)
    tabulate_words(accept, "t2i: words", words, rates, verdicts)
    return accept.details.get("notes", []), [row[0] for row in accept.details["tables"][0]["rows"]]


def test_an_ignored_word_is_named_and_stands_first() -> None:
    notes, rows = noted({"blue": word(100, 1.0), "eight": word(100, 0.5), "rare": word(3, 1.0)})

    assert len(notes) == 2
    assert notes[0].startswith("t2i: 1 of 3 words make no difference (the interval of the win rate holds 0.5 and ends")
    assert notes[0].endswith("“eight” 0.50 (n=100)")
    assert "too few examples of their own to tell" in notes[1]
    assert notes[1].endswith("“rare” 1.00 (n=3)")
    assert rows == ["eight", "rare", "blue"]


def test_a_model_that_hears_every_word_is_told_so() -> None:
    notes, _ = noted({"blue": word(100, 1.0), "green": word(100, 0.9)})

    assert notes == ["t2i: all 2 words are heard"]


def test_many_words_are_named_in_part_and_counted() -> None:
    notes, rows = noted({f"w{i:02d}": word(100, 0.5) for i in range(50)})

    assert notes[0].endswith("; and 30 more, see the table")
    assert len(rows) == 50


@pytest.mark.parametrize(
    ("ranks", "recall"), [([1.0, 1, 3, 8], 0.5), ([1.0, math.nan, 1, 1], None)], ids=["ranked", "a-loss-is-nan"]
)
def test_retrieval_is_reported_beside_chance(ranks: list[float], recall: float | None) -> None:
    accept = Accept(CRITERION)

    report_retrieval(accept, Retrieval("t2a", 8, np.array(ranks)))

    measured: Measurement = accept.measurements[0]
    assert measured.name == "t2a.recall_at_1_of_8"
    assert measured.op is None
    assert measured.model_dump()["value"] == recall
    assert "by chance it comes first in 0.125 of them" in accept.details["notes"][0]
