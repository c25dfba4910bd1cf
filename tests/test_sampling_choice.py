"""Drawing rows: sizes add up, every row has the same chance, and what is short is never made up."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.errors import HarnessError
from training.sampling.choice import Rows, choose, largest_remainder
from training.sampling.plan import PRESETS, InProportion, Preset, SamplePlan, Shares, Uniform

HERE = Path("train.jsonl")
N_SEEDS = 2_000
ONE_IN_A_MILLION = 1e-6  # the seeds are fixed: this either always holds or never


def _rows(*counts: int, length: np.ndarray | None = None) -> Rows:
    """Rows of the sources a, b, …, one source after another."""
    source = np.repeat(np.arange(len(counts)), counts)
    return Rows(tuple("abcdefgh"[: len(counts)]), source, np.ones_like(source) if length is None else length)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=20), st.data())
def test_largest_remainders_add_up_and_stay_within_one_of_the_quota(counts: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(0, sum(counts)))

    shares = largest_remainder({f"s{i:02d}": count for i, count in enumerate(counts)}, size) if sum(counts) else {}

    assert sum(shares.values()) == size
    for share, count in zip(shares.values(), counts, strict=sum(counts) > 0):
        assert 0 <= share <= count
        assert abs(share - Fraction(size * count, sum(counts))) < 1


def test_ties_of_remainders_go_to_the_larger_source_and_then_by_name() -> None:
    assert largest_remainder({"b": 1, "a": 1, "c": 1}, 2) == {"b": 1, "a": 1, "c": 0}
    assert largest_remainder({"small": 1, "large": 3}, 2) == {"small": 0, "large": 2}


def test_more_rows_than_there_are_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="4 of 3 rows"):
        largest_remainder({"a": 3}, 4)


def test_the_presets_are_within_three_rows_of_the_files_own_proportions() -> None:
    """The spec's rounding is not the largest remainder's; it is its mixture, though."""
    full = dict(PRESETS["C"].targets.items())
    for preset in PRESETS.values():
        own = largest_remainder(full, preset.size)
        assert all(abs(own[name] - rows) <= 3 for name, rows in preset.targets.items())


# ---------------------------------------------------------------------- every row has the same chance


def _chi_square(shares: Shares, rows: Rows, expected: np.ndarray) -> float:
    """Probability that rows drawn with chances `expected` are as uneven as those drawn with N_SEEDS seeds."""
    drawn = [choose(rows, SamplePlan(shares, seed), HERE).rows for seed in range(N_SEEDS)]
    return _evenness(np.bincount(np.concatenate(drawn), minlength=len(expected)), expected)


def _evenness(times: np.ndarray, chance: np.ndarray) -> float:
    """Rows drawn without replacement vary less than a binomial: each source's terms are divided by what they lack."""
    expected, statistic, freedom = chance * N_SEEDS, 0.0, 0
    for value in np.unique(chance):
        mine = chance == value
        statistic += (((times - expected) ** 2 / (expected * (1 - value)))[mine].sum()) * (mine.sum() - 1) / mine.sum()
        freedom += int(mine.sum()) - 1
    return float(stats.chi2.sf(statistic, freedom))


@pytest.mark.parametrize(
    ("shares", "chance"),
    [
        (Preset("few", {"a": 5, "b": 15}), [5 / 40, 15 / 20]),
        (InProportion(30), [20 / 40, 10 / 20]),
        (Uniform(24), [24 / 60, 24 / 60]),
    ],
    ids=["preset", "in-proportion", "uniform"],
)
def test_every_row_of_a_source_is_as_likely(shares: Shares, chance: list[float]) -> None:
    assert _chi_square(shares, _rows(40, 20), np.repeat(chance, [40, 20])) > 0.001


def test_the_check_finds_a_reservoir_that_favours_early_rows() -> None:
    rng, times = np.random.default_rng(0), np.zeros(40, dtype=np.int64)
    for _ in range(N_SEEDS):
        kept = list(range(5))
        for row in range(5, 40):
            if (place := rng.integers(row + 3)) < 5:  # two too many: the right bound is row + 1
                kept[place] = row
        times[kept] += 1

    assert _evenness(times, np.full(40, 5 / 40)) < ONE_IN_A_MILLION


def test_the_order_is_shuffled_whatever_the_source() -> None:
    """Sorting by the keys that drew the rows would put the source of which fewer are taken first."""
    rows, plan = _rows(400, 10), Preset("few", {"a": 5, "b": 5})
    places = [np.flatnonzero(choose(rows, SamplePlan(plan, seed), HERE).rows < 400) for seed in range(N_SEEDS)]

    times = np.bincount(np.concatenate(places), minlength=10)
    assert _evenness(times, np.full(10, 0.5)) > 0.001


def test_ties_of_the_longest_are_dropped_evenly_and_do_not_change_what_is_drawn() -> None:
    rows = _rows(20, length=np.full(20, 7))
    times = np.zeros(20, dtype=np.int64)
    for seed in range(N_SEEDS):
        times[choose(rows, SamplePlan(Uniform(5), seed, drop_longest=Fraction(1, 2)), HERE).rows] += 1

    assert _evenness(times, np.full(20, 5 / 20)) > 0.001


def test_a_larger_sample_of_the_same_seed_holds_the_smaller_one() -> None:
    rows = _rows(300, 100)
    small, large = (set(choose(rows, SamplePlan(InProportion(n), 9), HERE).rows.tolist()) for n in (40, 200))

    assert small < large


# ---------------------------------------------------------------------- lengths


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.integers(1, 30),
    st.fractions(0, 1).filter(lambda share: share < 1),
    st.integers(0, 2**32),
)
def test_what_is_left_out_by_length_is_the_longest(lengths: list[int], limit: int, share: Fraction, seed: int) -> None:
    rows = _rows(len(lengths), length=np.array(lengths))
    n_short = sum(length <= limit for length in lengths)
    n_dropped = int(share * n_short)
    if n_short == n_dropped:
        return
    plan = SamplePlan(Uniform(n_short - n_dropped), seed, limit, share)

    choice = choose(rows, plan, HERE)

    assert sorted(np.array(lengths)[choice.rows].tolist()) == sorted(lengths)[: n_short - n_dropped]
    assert choice.left_out.too_long == len(lengths) - n_short
    assert choice.left_out.longest == n_dropped
    assert choice.left_out.longest_kept == max(np.array(lengths)[choice.rows])


def test_the_longest_are_sought_among_rows_of_the_presets_sources() -> None:
    rows = _rows(10, 10, length=np.arange(1, 21))  # all of b is longer

    choice = choose(rows, SamplePlan(Preset("a", {"a": 9}), drop_longest=Fraction(1, 10)), HERE)

    assert sorted(choice.rows.tolist()) == list(range(9))
    assert choice.left_out.longest == 1


def test_an_empty_file_is_short() -> None:
    for shares in (Preset("a", {"a": 1}), InProportion(1), Uniform(1)):
        with pytest.raises(HarnessError, match="expected 1"):
            choose(_rows(), SamplePlan(shares, drop_longest=Fraction(1, 2)), HERE)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: SamplePlan(Uniform(0)),
        lambda: SamplePlan(Preset("none", {})),
        lambda: SamplePlan(Preset("less", {"a": 3, "b": -1})),
        lambda: SamplePlan(Uniform(1), seed=-1),
        lambda: SamplePlan(Uniform(1), drop_longest=Fraction(1)),
        lambda: SamplePlan(Uniform(1), max_tokens=0),
    ],
    ids=["no-rows", "no-source", "negative", "seed", "all-longest", "no-tokens"],
)
def test_a_plan_that_cannot_be_meant_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"asks for no rows|leaves out all rows"):
        wrong()  # type: ignore[operator]
