"""`accept`: rules that ask for the whole interval, rules with an alternative, and judging again from a mark."""

import math

import pytest

from gates.gate import Accept, Gate, GateFailedError, TooFewExamplesError
from harness.results import Measurement

CRITERION = Gate(id="X", name="x", priority="P0", claim="c", source="s")


def figure(value: float, low: float | None = None, high: float | None = None, name: str = "m") -> Measurement:
    return Measurement(name=name, value=value, unit="%", n=512, low=low, high=high)


@pytest.mark.parametrize(
    ("measured", "raises"),
    [
        pytest.param(figure(0.4, -0.3, 1.1), None, id="proven"),
        pytest.param(figure(1.8, 1.2, 2.4), TooFewExamplesError, id="borderline-below"),
        pytest.param(figure(2.2, 1.6, 2.9), GateFailedError, id="borderline-above"),
        pytest.param(figure(3.1, 2.5, 3.8), GateFailedError, id="refuted"),
        pytest.param(figure(0.4), None, id="no-interval"),
        pytest.param(figure(math.nan), GateFailedError, id="nan"),
        pytest.param(figure(0.4, -math.inf, math.inf), TooFewExamplesError, id="one-example"),
    ],
)
def test_a_rule_about_the_interval_asks_for_all_of_it(measured: Measurement, raises: type[Exception] | None) -> None:
    accept = Accept(CRITERION)
    passed = accept(measured, at_most=2, proven=True)

    assert passed == (raises is None)
    if raises is None:
        accept.close()
    else:
        with pytest.raises(raises):
            accept.close()


def test_the_published_rule_is_the_point_estimate() -> None:
    accept = Accept(CRITERION)

    assert accept(figure(1.8, 1.2, 2.4), at_most=2)
    accept.close()
    assert accept.measurements[0].confidence == "borderline"


@pytest.mark.parametrize(
    ("nats", "pct", "judged"),
    [
        pytest.param(figure(0.2, 0.15, 0.25, "nats"), figure(2, 1, 3, "pct"), ["nats"], id="the-first"),
        pytest.param(figure(0.05, 0.04, 0.06, "nats"), figure(9, 7, 11, "pct"), ["pct"], id="the-second"),
        pytest.param(figure(0.11, 0.08, 0.14, "nats"), figure(9, 7, 11, "pct"), ["pct"], id="the-proven-one"),
        pytest.param(figure(0.2, 0.15, 0.25, "nats"), figure(9, 7, 11, "pct"), ["nats", "pct"], id="both"),
    ],
)
def test_either_of_two_rules_will_do(nats: Measurement, pct: Measurement, judged: list[str]) -> None:
    accept = Accept(CRITERION, strict=True)

    assert accept.either([(nats, 0.10), (pct, 5.0)])
    accept.close()
    assert [m.name for m in accept.measurements] == ["nats", "pct"]
    assert [m.name for m in accept.measurements if m.op] == judged


def test_where_neither_rule_is_met_both_are_named() -> None:
    accept = Accept(CRITERION)

    assert not accept.either([(figure(0.05, name="nats"), 0.10), (figure(2, name="pct"), 5.0)])
    with pytest.raises(GateFailedError, match=r"nats is 0\.05 % .*; pct is 2 % "):
        accept.close()


def test_an_alternative_that_is_refuted_does_not_speak_for_one_that_is_unclear() -> None:
    accept = Accept(CRITERION)

    assert not accept.either([(figure(0.09, 0.05, 0.13), 0.10), (figure(2, 1, 3), 5.0)], recommended_n=1024)
    with pytest.raises(TooFewExamplesError, match=r"0\.09 %"):
        accept.close()


@pytest.mark.parametrize("nothing", [math.nan, None])
def test_either_is_no_way_around_nan(nothing: float | None) -> None:
    accept = Accept(CRITERION)
    unmeasured = Measurement(name="nats", value=nothing, unit="nats", n=9)

    assert not accept.either([(unmeasured, 0.10), (unmeasured, 5.0)])
    with pytest.raises(GateFailedError, match="could not be computed"):
        accept.close()


def test_what_was_judged_since_a_mark_is_forgotten() -> None:
    accept = Accept(CRITERION)
    accept(figure(1, name="first"), at_least=0)
    accept.note("first")
    mark = accept.mark()
    accept(figure(-1, name="second"), at_least=0)
    accept.note("second")
    accept.table("t", ["a"], [[1.0]])

    accept.forget_since(mark)

    accept.close()
    assert [m.name for m in accept.measurements] == ["first"]
    assert accept.details == {"notes": ["first"]}


def test_a_mark_can_be_come_back_to_twice() -> None:
    accept = Accept(CRITERION)
    mark = accept.mark()
    for _ in range(2):
        accept.note("again")
        accept.forget_since(mark)

    assert accept.details == {}


def test_a_table_holds_no_nan() -> None:
    accept = Accept(CRITERION)
    accept.table("t2a by source", ["source", "n", "Δ"], [["here", 3, math.nan], ["there", 4, -math.inf]], note="n")

    assert accept.details["tables"] == [
        {"title": "t2a by source", "note": "n", "columns": ["source", "n", "Δ"],
         "rows": [["here", 3, None], ["there", 4, None]]}
    ]  # fmt: skip
