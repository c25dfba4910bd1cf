"""Text, judged on losses that were made up: the rise is over tokens, the whole interval decides, the worst is named."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gates.gate import Accept
from gates.stage3 import test_s35_text as s35
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4 import test_p14_text as p14
from gates.stage4.thresholds import Stage4Thresholds
from gates.text import CHANGE, judge_logits, judge_perplexity
from harness.errors import MissingInputError
from harness.text_losses import TextLosses
from harness.text_regression import TextLogitGap, TextRegression, base_is_at_hand, in_pct, measure_text
from tests.accepting import accepting, fell_short, figures, named, notes, rules, worst

TOKENS = np.array([10, 30, 20, 40])
BASE = np.array([20.0, 60.0, 40.0, 80.0])


def examples(n: int, sources: int = 2) -> tuple[Any, ...]:
    return tuple(
        SimpleNamespace(id=f"e{i}", text=f"text {i}", source=f"part {i % sources}", ids_sha256=f"{i:03}")
        for i in range(n)
    )


def regression(
    rises: Any, *, known: bool = True, measured: bool = True, outside: float = 0.0, **more: Any
) -> TextRegression:
    """Texts whose loss rose by so many nats a token."""
    nll = BASE + TOKENS * np.asarray(rises)
    losses = TextLosses(TOKENS, nll, nll + outside * TOKENS)
    base_nll = BASE if known else None
    fields = {"examples": examples(4), "unscored": (), "losses": losses, "base_nll": base_nll,
              "base_mean": BASE.sum() / TOKENS.sum(), "against": "the base", "base_measured": measured}  # fmt: skip
    return TextRegression(**fields | more)


class Checkpoint:
    """One whose texts were measured."""

    def __init__(self, measured: TextRegression, gap: TextLogitGap | None = None) -> None:
        self.measured, self.gap, self.asked = measured, gap, list[int]()

    def rng(self, *purpose: str) -> np.random.Generator:
        return np.random.default_rng(len(purpose))

    def text_regression(self) -> TextRegression:
        return self.measured

    def text_logit_gap(self, n: int) -> TextLogitGap | None:
        self.asked.append(n)
        return self.gap


def judged(measured: TextRegression, max_rise_pct: float = 2.0) -> Accept:
    accept = accepting()
    judge_perplexity(accept, Checkpoint(measured), measured, max_rise_pct=max_rise_pct)  # type: ignore[arg-type]
    return accept


# ---------------------------------------------------------------------- what is measured


@pytest.mark.parametrize("rise", [0.0, 0.01, -0.02, 0.7])
def test_a_rise_of_every_token_is_that_of_the_perplexity(rise: float) -> None:
    change = regression([rise] * 4).perplexity_change("c", np.random.default_rng(0))

    assert change.value == pytest.approx(100 * (math.exp(rise) - 1))
    assert (change.low, change.high) == (pytest.approx(change.value), pytest.approx(change.value))
    assert (change.unit, change.n) == ("%", 4)


def test_long_texts_count_by_their_tokens() -> None:
    rises = [0.1, 0.0, 0.0, 0.3]
    change = regression(rises).perplexity_change("c", np.random.default_rng(0))

    assert change.value == pytest.approx(100 * math.expm1((10 * 0.1 + 40 * 0.3) / 100))
    assert change.low is not None
    assert change.high is not None
    assert change.low < change.value < change.high


def test_one_source_is_measured_on_its_own_texts() -> None:
    measured = regression([0.1, 0.5, 0.1, 0.5])

    assert measured.sources == ("part 0", "part 1")
    for source, rise in (("part 0", 0.1), ("part 1", 0.5)):
        change = measured.perplexity_change("c", np.random.default_rng(0), source)
        assert (change.value, change.n) == (pytest.approx(100 * math.expm1(rise)), 2)


def test_equal_texts_are_one_item() -> None:
    twice = regression([0.1, 0.5, 0.1, 0.5], examples=tuple(
        SimpleNamespace(id=f"e{i}", text="", source="s", ids_sha256="same") for i in range(4)
    ))  # fmt: skip
    change = twice.perplexity_change("c", np.random.default_rng(0))

    assert (change.low, change.high) == (pytest.approx(-100), math.inf)


def test_text_that_is_no_number_has_no_change() -> None:
    change = regression([0.0, math.nan, 0.0, 0.0]).perplexity_change("c", np.random.default_rng(0))

    assert change.value is not None
    assert math.isnan(change.value)
    assert (change.low, change.n) == (None, 4)


def test_where_only_the_mean_is_known_there_is_no_interval() -> None:
    measured = regression([0.1] * 4, known=False)
    change = measured.perplexity_change("c", np.random.default_rng(0))

    assert (change.value, change.low, change.high) == (pytest.approx(100 * math.expm1(0.1)), None, None)
    assert measured.deltas is None
    assert measured.most_risen(3) == []
    assert measured.loss_gap("g").value == pytest.approx(0.1)
    with pytest.raises(ValueError, match="part 0"):
        measured.perplexity_change("c", np.random.default_rng(0), "part 0")


def test_the_largest_change_of_a_text_counts_in_either_direction() -> None:
    assert regression([0.1, -0.4, 0.0, 0.2]).loss_gap("g").value == pytest.approx(0.4)
    assert regression([0.1, -0.1, 0.0, 0.2]).loss_gap("g").n == 4


def test_the_texts_that_rose_come_worst_first_and_those_without_a_number_before_them() -> None:
    risen = regression([0.1, math.nan, -0.5, 0.3]).most_risen(9)

    assert [example.id for example, _ in risen] == ["e1", "e3", "e0"]
    assert risen[1][1] == pytest.approx(0.3)
    assert math.isnan(risen[0][1])
    assert len(regression([0.1, 0.2, 0.3, 0.4]).most_risen(2)) == 2
    assert regression([0.0] * 4).most_risen(2) == []


def test_a_wider_softmax_is_told_apart() -> None:
    measured = regression([0.0] * 4, outside=0.25)

    assert measured.whole_softmax_change("w").value == pytest.approx(100 * math.expm1(0.25))
    assert measured.losses.share_outside == pytest.approx(-math.expm1(-0.25))
    assert measured.losses.mean == 2.0


def test_a_rise_beyond_all_measure_is_infinite() -> None:
    assert in_pct(1e6) == math.inf
    assert in_pct(-math.inf) == -100


# ---------------------------------------------------------------------- what is judged


def test_text_within_the_margin() -> None:
    accept = judged(regression([0.01] * 4))

    assert accept.failures == accept.unclear == []
    assert rules(accept) == {CHANGE: "<= 2"}
    assert figures(accept)["text_loss"] == (pytest.approx(2.01), 4)
    assert figures(accept)["text_loss_base"] == (pytest.approx(2.0), 4)
    assert figures(accept)["probability_outside_text"] == (0, 4)
    assert figures(accept)[f"{CHANGE}_whole_softmax"] == (pytest.approx(100 * math.expm1(0.01)), 4)
    assert "Held against the base" in notes(accept)
    assert "fewer than two tokens" not in notes(accept)


def test_text_beyond_the_margin_fails_and_what_cannot_be_told_is_unclear() -> None:
    assert fell_short(judged(regression([0.05] * 4))) == [CHANGE]
    unclear = judged(regression([0.0, 0.05, 0.0, 0.0]))
    assert unclear.failures == []
    assert len(unclear.unclear) == 1


def test_a_mean_alone_proves_nothing() -> None:
    accept = judged(regression([0.01] * 4, known=False))
    assert accept.failures == []
    assert "has no interval: the base is one mean over all texts" in accept.unclear[0]
    assert "tables" not in accept.details
    beyond = judged(regression([0.05] * 4, known=False))
    assert (fell_short(beyond), beyond.unclear) == ([CHANGE], [])


def test_sources_are_tabulated() -> None:
    (table,) = judged(regression([0.01, 0.0, 0.01, 0.0])).details["tables"]

    assert [(row[0], row[1]) for row in table["rows"]] == [("part 0", 2), ("part 1", 2)]
    assert table["rows"][0][2] == pytest.approx(100 * math.expm1(0.01))


def test_the_worst_texts_are_named() -> None:
    accept = judged(regression([0.01, 0.0, 0.02, 0.0]))

    assert worst(accept)[0] == ("e2", "text 2", "+0.02 nats/token, perplexity +2.02 %")
    assert len(worst(accept)) == 2


def test_texts_too_short_are_named_the_first_of_them() -> None:
    accept = judged(regression([0.0] * 4, unscored=tuple(f"u{i}" for i in range(12))))

    assert "12 texts of fewer than two tokens have no loss and were left out: u0, " in notes(accept)
    assert "u9" in notes(accept)
    assert "u10" not in notes(accept)


def gap_of(*largest: float) -> TextLogitGap:
    return TextLogitGap(examples(len(largest)), np.array(largest), np.arange(10, 10 + len(largest)))


@pytest.mark.parametrize(("largest", "passes"), [((0.0, 0.0), True), ((0.0, 1e-6), True), ((2e-6, 0.0), False)])
def test_logits_are_the_bases(largest: tuple[float, ...], passes: bool) -> None:
    accept = accepting()
    judge_logits(accept, gap_of(*largest), at_most=1e-6)

    assert bool(accept.failures) is not passes
    assert figures(accept)["text_logit_gap"] == (max(largest), 2)
    told = {
        0.0: "Text logits are the base's, bit for bit.",
        1e-6: "",
        2e-6: "Text 'e0' differs most, in the logit of row 10.",
    }
    assert notes(accept) == told[max(largest)]


def test_a_logit_that_is_no_number_fails() -> None:
    accept = accepting()
    judge_logits(accept, gap_of(0.0, math.nan), at_most=1e-6)

    assert fell_short(accept) == ["text_logit_gap"]


# ---------------------------------------------------------------------- the gates


def test_stage_3_looks_at_logits_where_it_has_the_base() -> None:
    accept = accepting()
    checkpoint: Any = Checkpoint(regression([0.0] * 4), gap_of(0.0))
    s35.test_text_logits_are_the_bases(checkpoint, accept, Stage3Thresholds())

    assert rules(accept) == {"text_logit_gap": "<= 1e-06", CHANGE: "<= 1"}
    assert checkpoint.asked == [16]


@pytest.mark.parametrize(("rise", "passes"), [(0.9e-5, True), (1.1e-5, False)])
def test_stage_3_looks_at_losses_where_they_are_on_record(rise: float, passes: bool) -> None:
    accept = accepting()
    checkpoint: Any = Checkpoint(regression([rise] * 4, measured=False))
    s35.test_text_logits_are_the_bases(checkpoint, accept, Stage3Thresholds())

    assert rules(accept) == {"text_loss_gap": "<= 1e-05", CHANGE: "<= 1"}
    assert bool(accept.failures) is not passes


def test_stage_4_asks_for_two_per_cent() -> None:
    accept = accepting()
    checkpoint: Any = Checkpoint(regression([0.015] * 4))
    p14.test_text_is_not_worse_than_the_bases(checkpoint, accept, Stage4Thresholds())

    assert rules(accept) == {CHANGE: "<= 2"}
    assert named(accept, CHANGE).confidence == "proven"


# ---------------------------------------------------------------------- the base


def inputs(folder: Any, *names: str, there: bool = True) -> Any:
    def given(name: str) -> Any:
        raise MissingInputError(folder / name, "none", name, "give it")

    paths = {name: folder / name for name in names}
    for path in paths.values():
        if there:
            path.mkdir()
    return SimpleNamespace(inputs=paths, input=given)


def test_the_base_is_run_where_it_is_there(tmp_path: Any) -> None:
    assert base_is_at_hand(inputs(tmp_path, "base"))
    assert not base_is_at_hand(inputs(tmp_path, "base_fingerprint"))
    assert not base_is_at_hand(inputs(tmp_path / "gone", "base", "base_fingerprint", there=False))
    with pytest.raises(MissingInputError, match="base"):
        base_is_at_hand(inputs(tmp_path))


def test_the_base_is_scored_first_and_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def scorer(who: str, nll: np.ndarray) -> Any:
        def score(items: Any, *, label: str) -> Any:
            asked.append(f"{who}: {label}")
            return TextLosses(TOKENS, nll, nll)

        return score

    monkeypatch.setattr(TextLosses, "of", classmethod(lambda cls, scores: scores))
    texts: Any = SimpleNamespace(items=(), examples=examples(4), unscored=("u",))
    found = measure_text(inputs(tmp_path, "base"), texts, scorer("ours", BASE + 1), lambda: scorer("base", BASE))

    assert asked == ["base: text only: base", "ours: text only"]
    assert (found.against, found.base_measured, found.unscored, found.base_mean) == ("the base", True, ("u",), 2.0)
    assert found.deltas is not None
    assert found.deltas.tolist() == (1 / TOKENS).tolist()
