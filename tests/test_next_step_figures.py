"""Figures that the next step goes by, at their bounds: what is a gap, what is none, how many examples would tell."""

import math
from typing import Any

import pytest

from gates.next_step.borderline import MOST_EXAMPLES, describe, needed, remark
from gates.next_step.gap import gap_of, is_in_reach, is_none
from gates.next_step.step import fell_short, highest, lowest, rounded, shortfalls
from gates.stage3.thresholds import Stage3Thresholds
from harness.results import Measurement
from tests.next_steps import figure, result

LIMITS = Stage3Thresholds()
NAN = math.nan


# ---------------------------------------------------------------------- single figures


@pytest.mark.parametrize(
    ("m", "low", "high"),
    [
        (figure("m", 0.5, 0.4, 0.6), 0.4, 0.6),
        (figure("m", 0.5), 0.5, 0.5),
        (figure("m", 0.5, 0.0, 0.0), 0.0, 0.0),
        (figure("m", NAN, 0.4, 0.6), None, None),
        (figure("m", None, 0.4, 0.6), None, None),
        (figure("m", 0.5, -math.inf, math.inf), None, None),
        (None, None, None),
    ],
)
def test_the_ends_of_a_figure(m: Measurement | None, low: float | None, high: float | None) -> None:
    assert (lowest(m), highest(m)) == (low, high)


@pytest.mark.parametrize(
    ("m", "short"),
    [
        (figure("m", 0.5, op=">=", threshold=0.5), False),
        (figure("m", 0.4, op=">=", threshold=0.5), True),
        (figure("m", NAN, op=">=", threshold=0.5), True),
        (figure("m", NAN), False),
        (figure("m", 0.4, op=">="), False),
        (figure("m", 0.4, threshold=0.5), False),
    ],
)
def test_only_a_judged_figure_falls_short(m: Measurement, short: bool) -> None:
    assert fell_short(m) is short


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.5, "share", "0.50"), (0.004, "share", "0.004"), (0.01, "share", "0.01"), (0.0, "share", "0.00"),
        (-0.0001, "nats/token", "0.000 nats/token"), (99.44, "rows", "99.4 rows"), (999.4, "rows", "999 rows"),
        (999.6, "rows", "1,000 rows"), (1000.0, "rows", "1,000 rows"), (-1234.0, "rows", "-1,234 rows"),
        (12.345, "%", "12.3 %"), (NAN, "%", "could not be computed"),
    ],
)  # fmt: skip
def test_figures_are_rounded_for_reading(value: float, unit: str, shown: str) -> None:
    assert rounded(figure("m", value, unit=unit)) == shown


def test_an_interval_is_rounded_as_its_value_is() -> None:
    assert rounded(figure("m", 0.004, 0.001, 0.02, unit="share")) == "0.004 [0.001, 0.020]"
    assert rounded(figure("m", 0.5, 0.4, math.inf, unit="share")) == "0.50"


@pytest.mark.parametrize(("n", "told"), [(2, 2), (3, 3), (4, 3)])
def test_two_shortfalls_are_told_and_the_others_counted(n: int, told: int) -> None:
    gate = result("P0.1", "fail", *(figure(f"m{i}", 0.0, op=">", threshold=0) for i in range(n)))
    found = shortfalls(gate)

    assert len(found) == told
    assert (f"and {n - 2} more" in found) is (n > 2)


# ---------------------------------------------------------------------- borderline


def at(
    value: float | None, low: float | None, high: float | None, n: int = 100, threshold: float | None = 0.5
) -> Measurement:
    return figure("m", value, low, high, op=">=" if threshold is not None else None, threshold=threshold, n=n)


@pytest.mark.parametrize(
    ("m", "n"),
    [
        (at(0.6, 0.4, 0.65), 400),  # the lower half is twice the distance
        (at(0.4, 0.3, 0.6), 400),  # the upper half is
        (at(0.6, 0.49, 0.7), 130),  # 121, to two digits, upwards
        (at(0.6, 0.4, 0.65, n=5_000), 20_000),
        (at(0.6, 0.4, 0.65, n=5_001), None),
        (at(0.6, 0.5, 0.65, n=7), 7),
        (at(0.6, 0.45, 0.65, n=1), 3),  # 2.25, upwards
        (at(0.6, 0.55, 0.65, n=1), 1),
        (at(0.6, 0.4, 0.65, n=0), None),
        (figure("m", 1.0, -1e200, 1.0, op=">=", threshold=0.0, n=9), None),
        (at(0.5, 0.4, 0.6), None),
        (at(None, 0.4, 0.6), None),
        (at(0.6, None, 0.6), None),
        (at(0.6, 0.4, None), None),
        (at(0.6, 0.4, 0.65, threshold=None), None),
        (figure("m", 1e-300, -1e300, 1e300, op=">=", threshold=0.0, n=9), None),
    ],
)
def test_how_many_examples_would_tell(m: Measurement, n: int | None) -> None:
    assert needed(m) == n
    assert MOST_EXAMPLES == 20_000
    assert ("would tell" in describe(m)) is (n is not None)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_two_borderline_figures_are_named(n: int) -> None:
    gate = result("P0.4", "pass", *(figure(f"m{i}", 0.6, 0.4, 0.7, op=">=", threshold=0.5) for i in range(n)))
    told = remark((gate,), only_short=False)

    assert told is not None
    assert told.count("asked for") == min(n, 2)
    assert (" more" in told) is ("; and 1 more" in told) is (n == 3)


# ---------------------------------------------------------------------- gaps of stage 3


def pair(delta: tuple[float, float, float], wins: tuple[float, float, float], name: str = "shuffled", task: str = "a2t",
         at_least: float = 0.8) -> list[Measurement]:  # fmt: skip
    return [
        figure(f"{task}.delta_{name}", *delta, op=">=", threshold=0.1, unit="nats/token"),
        figure(f"{task}.win_rate_{name}", *wins, op=">=", threshold=at_least, unit="share"),
    ]


STRONG = ((0.5, 0.4, 0.6), (0.95, 0.9, 0.98))
WEAK = ((0.06, 0.04, 0.08), (0.7, 0.6, 0.75))
NONE = ((0.0, -0.02, 0.02), (0.5, 0.45, 0.55))


def gap(**conditions: Any) -> Any:
    found = [m for name, (delta, wins) in conditions.items() for m in pair(delta, wins, name)]
    return gap_of(result("S3.4", "fail", *found), "a2t", LIMITS)


@pytest.mark.parametrize(
    ("delta", "wins", "none"),
    [
        ((0.0, 0.02, 0.1), (0.5, 0.5, 0.6), True),
        ((0.0, 0.021, 0.1), (0.5, 0.5, 0.6), False),
        ((0.0, 0.02, 0.1), (0.5, 0.51, 0.6), False),
        ((NAN, 0.5, 0.6), (0.9, 0.8, 0.95), True),
        ((0.5, 0.4, 0.6), (NAN, 0.8, 0.95), True),
    ],
)
def test_a_gap_is_none_where_its_interval_reaches_a_fiftieth_and_a_coin(delta: Any, wins: Any, none: bool) -> None:
    gap, share = pair(delta, wins)
    assert is_none(gap, share, LIMITS) is none


@pytest.mark.parametrize(
    ("name", "delta", "wins", "reach"),
    [
        ("shuffled", 0.10, 0.80, True), ("shuffled", 0.09, 0.80, False), ("shuffled", 0.10, 0.79, False),
        ("noise", 0.15, 0.85, True), ("noise", 0.14, 0.85, False), ("noise", 0.15, 0.84, False),
        ("swapped", 0.12, 0.82, True),
    ],
)  # fmt: skip
def test_the_intervals_reach_what_the_gate_asks_for(name: str, delta: float, wins: float, reach: bool) -> None:
    gap, share = pair((0.0, -1.0, delta), (0.5, 0.1, wins), name)
    assert is_in_reach(name, gap, share, LIMITS) is reach


def test_what_could_not_be_computed_reaches_nothing() -> None:
    for delta, wins in (((NAN, 0, 1), (0.5, 0.1, 0.9)), ((0.0, 0, 1), (NAN, 0.1, 0.9))):
        gap, share = pair(delta, wins)
        assert not is_in_reach("shuffled", gap, share, LIMITS)


def test_what_could_not_be_computed_does_not_even_reach_zero() -> None:
    lenient = Stage3Thresholds(min_gap_shuffled_media_nats=0.0, min_win_rate_shuffled_media=0.0)
    for delta, wins, reach in (((NAN, 0, 1), (0.5, 0.1, 0.9), False), ((0.0, 0, 1), (NAN, 0.1, 0.9), False),
                               ((-1.0, -2, 0), (0.0, 0, 0), True)):  # fmt: skip
        gap, share = pair(delta, wins)
        assert is_in_reach("shuffled", gap, share, lenient) is reach


def test_states_of_a_gap() -> None:
    assert gap(shuffled=STRONG, swapped=STRONG, noise=STRONG).state == "strong"
    assert gap(shuffled=WEAK, swapped=STRONG, noise=STRONG).state == "weak"
    assert gap(shuffled=NONE, swapped=NONE, noise=NONE).state == "near_zero"
    wide = ((0.05, -0.1, 0.3), (0.6, 0.4, 0.9))
    assert gap(shuffled=wide, swapped=NONE, noise=NONE).state == "unclear"
    assert gap().state == "not_computed"
    assert gap(shuffled=((NAN, None, None), (0.5, 0.4, 0.6)), swapped=STRONG).state == "not_computed"


def test_an_order_that_is_not_read() -> None:
    assert gap(shuffled=NONE, swapped=STRONG, noise=STRONG).order_unread
    assert not gap(shuffled=STRONG, swapped=STRONG, noise=STRONG).order_unread
    assert not gap(shuffled=NONE, noise=STRONG).order_unread
    assert not gap(swapped=STRONG, noise=STRONG).order_unread
    assert not gap(shuffled=NONE, swapped=NONE, noise=NONE).order_unread


def test_half_a_pair_tells_nothing_and_a_null_gap_is_no_weakness() -> None:
    only_delta = gap_of(result("S3.4", "fail", *pair(*STRONG)[:1]), "a2t", LIMITS)
    assert only_delta.state == "not_computed"
    null = figure("a2t.null_gap", 1.0, op="==", threshold=0)
    assert gap_of(result("S3.4", "fail", *pair(*STRONG), null), "a2t", LIMITS).state == "strong"
