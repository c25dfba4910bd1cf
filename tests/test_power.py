"""The gates' power, computed: what `accept` says of every count, over looks, and the examples that are needed."""

import itertools
from collections.abc import Sequence
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.power import TTestPower

from gates.gate import Accept, Gate
from gates.power.ablations import AblationId, Truth, ablation_gate
from gates.power.exact import Figure, chances_of_every_n, gate_chances, task_chances
from gates.power.needed import UP_TO, needed
from gates.power.rule import ShareRule, bounds, bounds_of_every_n, outcome_of
from gates.power.shares import collapse_rule, end_chances, ended
from gates.power.texts import TextTruth, text_chances, texts_needed
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4.test_p11_end_tokens import judge_end_tags
from gates.stage4.thresholds import Stage4Thresholds
from harness.looks import Looks
from harness.statistics import Paired, win_rate

SPEC = Stage4Thresholds()
WIN_RATES = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90)
rules = st.builds(
    ShareRule,
    bound=st.sampled_from([0.1, 0.5, 0.7, 0.8, 0.85]),
    recommended_n=st.sampled_from([0, 20, 256]),
    of_bad=st.booleans(),
    strict=st.booleans(),
)


# ---------------------------------------------------------------- one figure


@pytest.mark.parametrize("n", [1, 64, 256])
@pytest.mark.parametrize("strict", [False, True])
def test_a_count_is_judged_as_the_losses_would_be(n: int, strict: bool) -> None:
    rule = ShareRule(0.7, 256, strict=strict)
    for wins in {*range(0, n + 1, 5), n}:
        losses = Paired(np.zeros(n), np.where(np.arange(n) < wins, 1.0, -1.0), np.arange(n), np.full(n, ""))
        accept = Accept(Gate("x", "x", "P0", "c", "s"), strict=strict)
        accept(win_rate("w", losses, 0.975), at_least=0.7, recommended_n=256)

        assert rule.judge(wins, n, 0.975) == (outcome_of(accept), accept.measurements[0].confidence)


@settings(max_examples=40, deadline=None)
@given(rules, st.integers(1, 40))
def test_the_bounds_are_those_of_every_count(rule: ShareRule, n: int) -> None:
    at, judged = bounds(rule, n, 0.95), [rule.judge(good, n, 0.95) for good in range(n + 1)]

    assert at.passes.tolist() == [outcome == "passes" for outcome, _ in judged]
    assert at.not_failed.tolist() == [outcome != "fails" for outcome, _ in judged]
    assert at.clear.tolist() == [confidence != "borderline" for _, confidence in judged]


@pytest.mark.parametrize("rule", [ShareRule(0.7, 30), ShareRule(0.8, 30, strict=True), ShareRule(0.1, of_bad=True)])
def test_the_bounds_of_every_number_are_those_of_each(rule: ShareRule) -> None:
    not_failed, passes = bounds_of_every_n(rule, 60)

    for n in range(1, 61):
        at = bounds(rule, n, 0.95)
        assert (not_failed[n - 1], passes[n - 1]) == (at.not_failed_from, at.passes_from), n


def test_enough_examples_pass_by_the_published_rule_and_fewer_must_prove_it() -> None:
    rule = ShareRule(0.70, 256)

    enough, few = (task_chances([Figure(rule, 0.75)], Looks((n,))) for n in (256, 64))

    assert enough.passes == pytest.approx(binom.sf(np.ceil(0.70 * 256) - 1, 256, 0.75))
    assert enough.fails == pytest.approx(1 - enough.passes)
    # Clopper and Pearson: 53 of 64 is the least whose lower end exceeds 0.70; 36 the most whose upper end is below.
    assert few.passes == pytest.approx(binom.sf(52, 64, 0.75))
    assert few.fails == pytest.approx(binom.cdf(36, 64, 0.75))


# ---------------------------------------------------------------- looks, tasks and conditions


def brute_force(figures: Sequence[Figure], looks: Looks) -> tuple[float, float]:
    """Chances to pass and to fail, by going through every count of every figure at every look."""
    steps = np.diff([0, *looks.sizes])
    passes = fails = 0.0
    for counts in itertools.product(*(range(step + 1) for _ in figures for step in steps)):
        added = np.array(counts).reshape(len(figures), len(steps))
        chance = prod(
            binom.pmf(each, step, f.truth)
            for f, row in zip(figures, added, strict=True) for each, step in zip(row, steps, strict=True)
        )  # fmt: skip
        for i, n in enumerate(looks.sizes):
            judged = [f.rule.judge(int(row[: i + 1].sum()), n, looks.level)
                      for f, row in zip(figures, added, strict=True)]  # fmt: skip
            if i + 1 == len(looks.sizes) or all(confidence != "borderline" for _, confidence in judged):
                passes += chance * all(outcome == "passes" for outcome, _ in judged)
                fails += chance * any(outcome == "fails" for outcome, _ in judged)
                break
    return float(passes), float(fails)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("bars", "looks"),
    [((0.5,), Looks((8, 16))), ((0.5,), Looks((5, 10, 15))), ((0.4, 0.6), Looks((4, 9)))],
    ids=["two-looks", "three-looks", "two-conditions"],
)
def test_looks_are_taken_while_any_figure_is_borderline(bars: tuple[float, ...], looks: Looks, strict: bool) -> None:
    figures = [Figure(ShareRule(bar, 4, strict=strict), truth) for bar, truth in zip(bars, (0.7, 0.85), strict=False)]

    found = task_chances(figures, looks)

    assert (found.passes, found.fails) == pytest.approx(brute_force(figures, looks), abs=1e-12)


@pytest.mark.parametrize("id", ["P0.4", "P1.2", "S3.4"])
def test_every_figure_of_both_tasks_has_to_pass(id: AblationId) -> None:
    gate = ablation_gate(id, Stage3Thresholds() if id == "S3.4" else SPEC)
    figures = gate.figures(Truth(0.85))

    expected = prod(
        binom.sf(np.ceil(least * 512 - 1e-9) - 1, 512, 0.85) for least in gate.min_win_rates.values() if least
    )

    assert len(figures) == 2
    assert gate_chances(figures, Looks((512,))).passes == pytest.approx(expected**2)
    assert {"P0.4": 256, "P1.2": 128, "S3.4": 128}[id] == gate.recommended_n
    assert gate.looks(2000).sizes == (gate.recommended_n, 512, 1024)
    assert gate.looks(40).sizes == (40,)


def test_a_gate_is_judged_by_the_thresholds_of_its_own_stage() -> None:
    with pytest.raises(TypeError, match=r"S3\.4 is not judged by Stage4Thresholds"):
        ablation_gate("S3.4", SPEC)


@settings(max_examples=40, deadline=None)
@given(
    low=st.integers(0, 10_000),
    high=st.integers(0, 10_000),
    looks=st.sampled_from([(1,), (64,), (256,), (64, 128), (256, 512, 1024)]),
)
def test_power_grows_with_the_true_win_rate(low: int, high: int, looks: tuple[int, ...]) -> None:
    low, high = sorted((low, high))
    gate = ablation_gate("P0.4", SPEC)

    worse, better = (gate_chances(gate.figures(Truth(w / 10_000)), Looks(looks)) for w in (low, high))
    strict = gate_chances(gate.figures(Truth(high / 10_000), strict=True), Looks(looks))

    assert worse.passes <= better.passes + 1e-9
    assert worse.fails >= better.fails - 1e-9
    assert strict.passes <= better.passes + 1e-9
    for chances in (worse, better, strict):
        assert 0 <= chances.passes <= 1 + 1e-9
        assert -1e-9 <= chances.fails <= 1 - chances.passes + 1e-9


def test_one_example_tells_nothing_and_a_coin_is_rejected() -> None:
    gate = ablation_gate("P0.4", SPEC)

    one = gate_chances(gate.figures(Truth(1.0)), Looks((1,)))
    coin = gate_chances(gate.figures(Truth(0.5)), Looks((256,)))
    sure = gate_chances(gate.figures(Truth(1.0)), Looks((64,)))

    assert (one.passes, one.fails, one.unclear) == (0, 0, 1)
    assert coin.fails == pytest.approx(1)
    assert (sure.passes, sure.fails) == (1, 0)


# ---------------------------------------------------------------- how many are needed


def test_a_number_counts_only_where_no_larger_one_falls_short() -> None:
    chance = np.array([0.1, 0.96, 0.94, 0.95, 0.97])

    assert needed(chance, 0.95, ever=True) == 4
    assert needed(chance, 0.99, ever=True) == "more"
    assert needed(chance, 0.99, ever=False) == "never"
    assert needed(chance, 0.05, ever=True) == 1


@pytest.mark.parametrize("w", WIN_RATES)
def test_the_examples_needed_are_needed_and_are_enough(w: float) -> None:
    figures = ablation_gate("P0.4", SPEC).figures(Truth(w, "shuffled"))
    passes, fails = chances_of_every_n(figures, UP_TO)

    n = needed(passes if w > 0.7 else fails, 0.95, ever=w != 0.7)

    if w == 0.7:
        assert n == "never"
        return
    assert isinstance(n, int)
    for size, enough in ((n, True), (n + 1, True), (n - 1, False)):
        found = gate_chances(figures, Looks((size,)))
        assert ((found.passes if w > 0.7 else found.fails) >= 0.95) is enough


# ---------------------------------------------------------------- text, end tags, collapse


def test_a_text_gate_passes_at_its_margin_as_seldom_as_its_interval_says() -> None:
    for n in (2, 64, 4096):
        found = text_chances(TextTruth(2.0, 0.26, 2.0), n)
        assert found.passes == pytest.approx(0.025, abs=1e-6)
        assert found.fails == pytest.approx(0.5)
    assert text_chances(TextTruth(0.0, 0.26, 2.0), 1).passes == 0


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 5), st.floats(-3, 5), st.sampled_from([2, 16, 64, 512, 4096]))
def test_more_text_lost_passes_less_often(one: float, other: float, n: int) -> None:
    better, worse = (text_chances(TextTruth(change, 0.1, 2.0), n) for change in sorted((one, other)))

    assert better.passes >= worse.passes - 1e-9
    assert better.fails <= worse.fails + 1e-9


@pytest.mark.parametrize(("change", "outcome"), [(0.0, "passes"), (1.5, "passes"), (2.5, "fails")])
def test_the_texts_needed_are_needed_and_are_enough(change: float, outcome: str) -> None:
    truth = TextTruth(change, 0.1, 2.0)

    n = texts_needed(truth, 0.8, "passes" if outcome == "passes" else "fails")

    assert isinstance(n, int)
    assert getattr(text_chances(truth, n), outcome) >= 0.8 > getattr(text_chances(truth, n - 1), outcome)
    assert texts_needed(truth, 0.8, "fails" if outcome == "passes" else "passes") == "never"


def test_the_texts_needed_are_those_of_a_t_test() -> None:
    truth = TextTruth(0.5, 0.1, 2.0)

    expected = TTestPower().solve_power(effect_size=truth.room / truth.spread, alpha=0.05, power=0.95)

    assert texts_needed(truth, 0.95, "passes") == np.ceil(expected)


@pytest.mark.parametrize(("before", "now"), [(0.9, 0.6), (0.5, 0.5), (1.0, 0.3)])
def test_a_fall_of_the_end_tags_is_found_as_often_as_all_pairs_of_counts_say(before: float, now: float) -> None:
    n, passes = 12, 0.0
    for was, hits in itertools.product(range(n + 1), repeat=2):
        accept = Accept(Gate("x", "x", "P1", "c", "s"))
        judge_end_tags(accept, "t2a", ended("t2a", hits, n), ended("t2a", was, n), SPEC)
        passes += binom.pmf(was, n, before) * binom.pmf(hits, n, now) * (outcome_of(accept) == "passes")

    assert end_chances(SPEC, before, now, n).passes == pytest.approx(passes**2, abs=1e-9)


def test_without_a_checkpoint_before_one_end_is_enough() -> None:
    assert end_chances(SPEC, None, 0.01, 64).passes == pytest.approx((1 - 0.99**64) ** 2)
    assert end_chances(SPEC, None, 0.0, 512).passes == 0


def test_six_of_64_outputs_may_collapse() -> None:
    found = gate_chances([[Figure(collapse_rule(SPEC), 0.9)]], Looks((64,)))

    assert found.passes == pytest.approx(binom.cdf(6, 64, 0.1))
