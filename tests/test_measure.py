"""Evaluations while training: what is logged of them, and that they come back from disk as they were."""

from pathlib import Path

import numpy as np
import pytest

from tests.evaluations import EVERY, N_EXAMPLES, flat, run
from training.measure import Evaluation, read_evaluations, write_evaluation


def _evaluation(step: int = 300) -> Evaluation:
    gaps = np.array([0.5, 0.1, -0.2, 0.0])
    media = np.array(["one", "two", "two", "ein längerer Name"])
    return Evaluation(
        step, {"a2t": np.array([1.0, 2.0, 3.0, 6.0])}, {"shuffle_a2t": gaps}, {"shuffle_a2t": media},
        np.array([10.0, 20.0]), np.array([12.0, 24.0]), np.array([4, 6]),
    )  # fmt: skip


def test_the_log_has_means_shares_and_losses_per_token() -> None:
    assert _evaluation().logged() == {
        "dev_loss_a2t": 3.0,
        "delta_shuffle_a2t": pytest.approx(0.1),
        "win_shuffle_a2t": 0.5,  # a tie is no win
        "text_loss": 3.0,
        "text_loss_whole": 3.6,
    }


def test_where_no_text_is_measured_none_is_logged() -> None:
    none = np.empty(0)

    assert Evaluation(1, {}, {}, {}, none, none, np.empty(0, dtype=np.int64)).logged() == {}


def test_evaluations_come_back_as_they_were_in_the_order_of_their_steps(tmp_path: Path) -> None:
    written = [_evaluation(step) for step in (1000, 0, 200)]
    for each in written:
        write_evaluation(tmp_path / "evals", each)
    read = read_evaluations(tmp_path / "evals")

    assert [each.step for each in read] == [0, 200, 1000]
    for each in read:
        for kind in ("correct", "gaps", "media"):
            found, expected = getattr(each, kind), getattr(written[0], kind)
            assert found.keys() == expected.keys()
            for name in expected:
                np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(each.text, written[0].text)
        np.testing.assert_array_equal(each.text_whole, written[0].text_whole)
        np.testing.assert_array_equal(each.text_tokens, written[0].text_tokens)


def test_an_evaluation_made_again_replaces_the_old_one(tmp_path: Path) -> None:
    for _ in range(2):
        write_evaluation(tmp_path, _evaluation())

    assert len(read_evaluations(tmp_path)) == 1


def test_gaps_and_wins_come_with_their_intervals() -> None:
    now, rng = run({"shuffle_a2t": flat(0.5)}, np.random.default_rng(0), n=2)[-1], np.random.default_rng(1)
    gap, wins = now.gap("shuffle_a2t", rng), now.wins("shuffle_a2t")

    assert now.step == 2 * EVERY
    assert (gap.name, gap.unit, gap.n) == ("delta_shuffle_a2t", "nats/token", N_EXAMPLES)
    assert gap.value == pytest.approx(now.gaps["shuffle_a2t"].mean())
    assert gap.low is not None
    assert gap.high is not None
    assert gap.high - gap.low == pytest.approx(2 * 1.98 * 0.1 / np.sqrt(N_EXAMPLES), rel=0.25)
    assert (wins.name, wins.value) == ("win_shuffle_a2t", 1.0)


def test_the_rise_of_text_is_that_of_its_perplexity() -> None:
    base, *_, now = run({}, np.random.default_rng(0), text_rise=0.02)
    found = now.text_rise_pct(base.text, np.random.default_rng(1))
    nats = (now.text - base.text).sum() / now.text_tokens.sum()

    assert found.value == pytest.approx(100 * (np.exp(nats) - 1))
    assert found.value == pytest.approx(2.0, abs=0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high < 2.2
