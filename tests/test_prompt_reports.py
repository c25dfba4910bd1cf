"""What P0.4 reports beside its rules: every figure by its name, and at which interval a word counts as heard."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gates import prompt_words
from gates.prompt_words import MAX_NAMES, heard, name_words, report_beside, report_nearest, report_retrieval
from harness.looks import Looks
from harness.results import Measurement
from harness.statistics import Paired
from tests.accepting import accepting, figures, notes

N = 40


class Draws:
    """A generator for every purpose."""

    def rng(self, *purpose: str) -> np.random.Generator:
        return np.random.default_rng(len(purpose))


def paired(gap: float = 1.0) -> Paired:
    return Paired(np.zeros(N), np.full(N, gap), np.arange(N), np.full(N, "here"))


def rate(low: float | None, high: float | None) -> Measurement:
    return Measurement(name="w", value=0.5, unit="share", n=9, low=low, high=high)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.51, 0.9, "heard"), (0.5, 0.6, "makes no difference"), (0.1, 0.49, "misleads"),
        (0.1, 0.5, "makes no difference"),
        (0.4, 0.69, "makes no difference"), (0.4, 0.7, "too few to tell"), (None, 0.9, "not measured"),
        (0.6, None, "not measured"),
    ],
)  # fmt: skip
def test_a_word_is_heard_by_its_interval(low: float | None, high: float | None, verdict: str) -> None:
    assert heard(rate(low, high), 0.7) == verdict


@pytest.mark.parametrize("n", [MAX_NAMES, MAX_NAMES + 1])
def test_so_many_words_are_named(n: int) -> None:
    words = [f"w{i}" for i in range(n)]
    accept = accepting()
    name_words(
        accept, "t2a", "words", dict.fromkeys(words, rate(0.4, 0.6)), dict.fromkeys(words, "makes no difference"), 0.7
    )

    assert notes(accept).count("“w") == MAX_NAMES == 20
    assert ("see the table" in notes(accept)) is ("and 1 more, see the table" in notes(accept)) is (n > MAX_NAMES)


def test_the_nearest_prompt_is_reported_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_words, "word_groups", lambda measured: {"red, blue": paired(), "loud": paired(-1.0)})
    monkeypatch.setattr(prompt_words, "word_pairs", lambda measured: {"red": paired()})
    accept = accepting()
    report_nearest(accept, Draws(), SimpleNamespace(task="t2a", paired=paired()), listens_from=0.7)  # type: ignore[arg-type]

    assert figures(accept) == {"t2a.win_rate_nearest": (1, N), "t2a.delta_nearest": (1, N)}
    groups, words = accept.details["tables"]
    assert [row[0] for row in groups["rows"]] == ["loud", "red, blue"]
    assert [row[-1] for row in groups["rows"]] == ["misleads", "heard"]
    assert words["rows"][0][:3] == ["red", N, 1.0]
    assert "1 of 2 groups of words" in notes(accept)
    assert "all 1 words are heard" in notes(accept)


@pytest.mark.parametrize("reordered", [True, False])
def test_what_lies_beside_the_rules(monkeypatch: pytest.MonkeyPatch, reordered: bool) -> None:
    part = SimpleNamespace(
        name="AUDIO_CB0", labels=9, accuracy=0.5, nll={"correct": 2.0}, gaps={"empty": 0.1, "reordered": 0.2}
    )
    monkeypatch.setattr(prompt_words, "pmi", lambda measured: np.full(N, 3.0))
    monkeypatch.setattr(prompt_words, "by_part", lambda measured: [part])
    names = ["correct", "empty", *(["reordered"] if reordered else [])]
    measured: Any = SimpleNamespace(task="t2a", scores=dict.fromkeys(names), pair=lambda name: paired())
    accept = accepting()
    report_beside(accept, Draws(), measured, Looks((N,)))  # type: ignore[arg-type]

    found = figures(accept)
    assert found["t2a.pmi"] == (3, N)
    assert ("t2a.win_rate_reordered" in found) is ("t2a.delta_reordered" in found) is reordered
    (table,) = accept.details["tables"]
    assert table["columns"] == ["range", "labels", "accuracy", "loss", *(f"{name}: Δ" for name in names[1:])]
    assert table["rows"] == [["AUDIO_CB0", 9, 0.5, 2.0, *[0.1, 0.2][: len(names) - 1]]]


def test_retrieval_is_reported_with_what_chance_gives() -> None:
    accept = accepting()
    report_retrieval(accept, SimpleNamespace(task="t2a", n=N, candidates=8, hits=30, mean_rank=1.5, chance=0.125))  # type: ignore[arg-type]

    assert figures(accept) == {"t2a.recall_at_1_of_8": (0.75, N), "t2a.mean_rank": (1.5, N)}
    assert "by chance it comes first in 0.125 of them, and has rank 4.5 on average" in notes(accept)
