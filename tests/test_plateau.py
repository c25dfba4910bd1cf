"""When a run is over: no gap grows any more and text is clean, or there is still no gap where the tier ends."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.evaluations import EVERY, N_EXAMPLES, flat, growing, run, without_text
from training.config import StopConfig
from training.measure import Evaluation
from training.plateau import Reading, growth, read

RULE = StopConfig(window=4, max_growth=0.1, near_zero_nats=0.02, max_text_rise_pct=1.0)


def _read(evaluations: list[Evaluation], *, after: int = -1, **changes: Any) -> Reading:
    return read(evaluations, replace(RULE, **changes), near_zero_after=after, seed=0)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_flat_gap_with_clean_text_is_a_plateau() -> None:
    found = _read(run({"shuffle_a2t": flat(0.5), "noise_a2t": flat(0.9)}, _rng()))

    assert found.reason == "plateau"
    assert found.sentence.startswith("no gap grows any more at step 800: delta_shuffle_a2t 0.")
    assert "growth_noise_a2t" in found.sentence
    assert "text_perplexity_change 0 [0, 0] %" in found.sentence


def test_a_gap_that_wavers_around_its_height_is_a_plateau() -> None:
    assert _read(run({"shuffle_a2t": flat(0.5)}, _rng(), wobble=0.05)).reason == "plateau"


def test_a_growing_gap_is_none() -> None:
    found = _read(run({"shuffle_a2t": growing(0.2, 0.8)}, _rng(), wobble=0.02))

    assert found.reason is None
    assert found.sentence.startswith("still growing: growth_shuffle_a2t 0.2")
    assert "(gap 0.8" in found.sentence


def test_growth_that_its_noise_hides_is_not_taken_for_a_standstill() -> None:
    """The upper end decides: examples too few to tell let the run go on."""
    assert _read(run({"shuffle_a2t": flat(0.5)}, _rng(), spread=0.1, wobble=0.8)).reason is None


def test_growth_below_the_rules_share_is_a_plateau() -> None:
    evaluations = run({"shuffle_a2t": growing(0.50, 0.52)}, _rng())

    assert _read(evaluations, max_growth=0.1).reason == "plateau"
    assert _read(evaluations, max_growth=0.01).reason is None


def test_one_of_several_gaps_that_grows_keeps_the_run_going() -> None:
    found = _read(run({"shuffle_a2t": flat(0.5), "noise_i2t": growing(0.2, 0.8)}, _rng()))

    assert found.reason is None
    assert "growth_noise_i2t" in found.sentence
    assert "growth_shuffle_a2t" not in found.sentence


def test_a_shrinking_gap_has_stopped_growing() -> None:
    assert _read(run({"shuffle_a2t": growing(0.9, 0.6)}, _rng())).reason == "plateau"


@pytest.mark.parametrize(("rise", "reason"), [(0.002, "plateau"), (0.05, None)])
def test_a_plateau_needs_clean_text(rise: float, reason: str | None) -> None:
    found = _read(run({"shuffle_a2t": flat(0.5)}, _rng(), text_rise=rise))

    assert found.reason == reason
    assert "text_perplexity_change" in found.sentence
    assert ("but text is not clean" in found.sentence) == (reason is None)


def test_text_is_held_against_the_first_evaluation_however_long_ago() -> None:
    """Within the window nothing happens; since step 0 text has risen by 5 %."""
    evaluations = run({"shuffle_a2t": flat(0.5)}, _rng())
    for i, each in enumerate(evaluations[1:], start=1):
        evaluations[i] = replace(each, text=each.text + 0.05 * each.text_tokens)

    assert "text is not clean: text_perplexity_change 5.13" in _read(evaluations).sentence


def test_where_no_text_is_measured_the_run_goes_on_and_says_so() -> None:
    """What was not measured is not clean."""
    found = _read(without_text(run({"shuffle_a2t": flat(0.5)}, _rng())))

    assert found.reason is None
    assert "whether text is clean is not measured" in found.sentence


@pytest.mark.parametrize(
    ("course", "why"),
    [(flat(0.0), "an interval around zero"), (flat(0.005), "proven, and too small"), (flat(-0.3), "below zero")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_gap_near_zero_ends_the_run_where_the_tier_ends(course: Any, why: str) -> None:
    gaps = {"shuffle_a2t": course, "noise_a2t": course, "shuffle_i2t": flat(0.5)}
    evaluations = run(gaps, _rng(), spread=0.01)
    found = _read(evaluations, after=8 * EVERY)

    assert found.reason == "near_zero", why
    assert found.sentence.startswith("still near zero at step 800: delta_shuffle_a2t ")
    assert "shuffle_i2t" not in found.sentence


@pytest.mark.parametrize("after", [8 * EVERY + 1, -1])
def test_before_the_tiers_end_a_gap_near_zero_neither_ends_the_run_nor_is_a_plateau(after: int) -> None:
    found = _read(run({"shuffle_a2t": flat(0.0)}, _rng()), after=after)

    assert found.reason is None
    assert found.sentence.startswith("near zero: delta_shuffle_a2t")


def test_a_gap_near_zero_ends_a_run_that_asks_for_no_plateau() -> None:
    evaluations = run({"shuffle_a2t": flat(0.0)}, _rng(), n=1)

    assert _read(evaluations, after=EVERY, on_plateau=False).reason == "near_zero"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gap_that_is_no_number_is_no_gap(value: float) -> None:
    evaluations = run({"shuffle_a2t": flat(0.5)}, _rng())
    evaluations[-1].gaps["shuffle_a2t"][3] = value

    assert _read(evaluations).reason is None
    ended = _read(evaluations, after=0)
    assert (ended.reason, ended.sentence) == (
        "near_zero", "still near zero at step 800: delta_shuffle_a2t could not be computed"
    )  # fmt: skip


def test_a_number_missing_inside_the_window_is_no_standstill() -> None:
    evaluations = run({"shuffle_a2t": flat(0.5)}, _rng())
    evaluations[-2].gaps["shuffle_a2t"][3] = float("nan")

    assert "growth_shuffle_a2t could not be computed" in _read(evaluations).sentence


def test_text_that_is_no_number_is_not_clean() -> None:
    evaluations = run({"shuffle_a2t": flat(0.5)}, _rng())
    evaluations[-1].text[0] = float("nan")

    assert _read(evaluations).reason is None


def test_a_trend_needs_its_window_and_the_untrained_model_is_none_of_it() -> None:
    evaluations = run({"shuffle_a2t": flat(0.5)}, _rng())

    assert _read(evaluations[:4]).sentence == "3 evaluations, 4 are needed for a trend"
    assert _read(evaluations[:5]).reason == "plateau"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"min_steps": 801}, "no stop on a plateau: not before step 801"),
     ({"on_plateau": False}, "no stop on a plateau: stop.on_plateau is off")],
)  # fmt: skip
def test_no_plateau_where_the_rule_asks_for_none(changes: dict[str, Any], sentence: str) -> None:
    found = _read(run({"shuffle_a2t": flat(0.5)}, _rng()), **changes)

    assert (found.reason, found.sentence) == (None, sentence)
    assert _read(run({"shuffle_a2t": flat(0.5)}, _rng()), min_steps=800).reason == "plateau"


def test_what_measures_no_gap_never_stops() -> None:
    assert _read(run({}, _rng()), after=0) == Reading(None, "no stop on a plateau: no gap is measured")


def test_the_reading_is_the_same_every_time() -> None:
    evaluations = run({"shuffle_a2t": flat(0.5)}, _rng(), wobble=0.05)

    assert _read(evaluations) == _read(evaluations)


def test_growth_is_the_mean_of_the_examples_own_straight_lines() -> None:
    evaluations = run({"shuffle_a2t": growing(0.1, 0.7)}, _rng(), wobble=0.1, trends=0.3)[-5:]
    steps, gaps = [each.step for each in evaluations], np.stack([each.gaps["shuffle_a2t"] for each in evaluations])
    slopes = [np.polyfit(steps, gaps[:, i], 1)[0] for i in range(N_EXAMPLES)]
    found = growth("shuffle_a2t", evaluations, _rng())

    assert found.value == pytest.approx(np.mean(slopes) * (steps[-1] - steps[0]))
    standard_error = np.std(slopes, ddof=1) * (steps[-1] - steps[0]) / np.sqrt(N_EXAMPLES)
    assert found.low == pytest.approx(found.value - 1.98 * standard_error, abs=0.2 * standard_error)
    assert found.high == pytest.approx(found.value + 1.98 * standard_error, abs=0.2 * standard_error)


def test_growth_of_examples_that_share_media_is_less_certain() -> None:
    evaluations = run({"shuffle_a2t": flat(0.5)}, _rng(), trends=0.3)
    shared = {"shuffle_a2t": np.array([f"medium-{i // 8}" for i in range(N_EXAMPLES)])}
    alone, together = (
        growth("shuffle_a2t", [replace(each, **more) for each in evaluations], _rng())  # type: ignore[arg-type]
        for more in ({}, {"media": shared})
    )

    assert alone.value == together.value
    for found in (alone, together):
        assert found.low is not None
        assert found.high is not None
    assert together.high - together.low > 1.1 * (alone.high - alone.low)  # type: ignore[operator]


def _plateaus(course: Any, shared: float) -> int:
    """In how many of 100 noisy runs the rule sees a plateau at the last evaluation."""
    runs = (run({"shuffle_a2t": course}, _rng(seed), wobble=0.1, shared=shared) for seed in range(100))
    return sum(_read(evaluations).reason == "plateau" for evaluations in runs)


def test_a_gap_that_clearly_grows_is_never_called_a_plateau_and_a_flat_one_mostly_is() -> None:
    """A gap of 0.5 nats that training lets waver by 0.01 from one evaluation to the next."""
    assert _plateaus(growing(0.3, 0.7), shared=0.01) == 0
    assert _plateaus(flat(0.5), shared=0.01) >= 85


def test_a_gap_that_wavers_much_is_rather_trained_on_than_stopped() -> None:
    assert _plateaus(growing(0.3, 0.7), shared=0.04) <= 1
    assert 10 < _plateaus(flat(0.5), shared=0.04) < 85


def test_a_task_that_some_loss_of_its_media_hurts_is_not_lost() -> None:
    """A model may caption the bag of its codes for long: their order comes late."""
    found = _read(run({"shuffle_a2t": flat(0.0), "noise_a2t": flat(0.5)}, _rng(), spread=0.01), after=8 * EVERY)

    assert found.reason is None
    assert found.sentence.startswith("near zero: delta_shuffle_a2t")
