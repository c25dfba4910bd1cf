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


# ---------------------------------------------------------------- the rule itself


@pytest.mark.parametrize(
    ("bound", "passing", "failing"),
    [
        ({"at_least": 2.0}, [2.0, 3.0], [1.9]),
        ({"at_most": 2.0}, [2.0, 1.0], [2.1]),
        ({"above": 2.0}, [2.1], [2.0, 1.9]),
        ({"exactly": 2.0}, [2.0], [1.9, 2.1]),
    ],
)
def test_each_rule_at_its_bound(bound: dict[str, float], passing: list[float], failing: list[float]) -> None:
    for value in (*passing, *failing):
        accept = Accept(CRITERION)
        assert accept(figure(value), **bound) is (value in passing)  # type: ignore[arg-type]
        assert bool(accept.failures) is (value in failing)
        assert accept.measurements[0].threshold == 2.0


@pytest.mark.parametrize("bounds", [{}, {"at_least": 1.0, "at_most": 2.0}])
def test_a_rule_is_exactly_one(bounds: dict[str, float]) -> None:
    with pytest.raises(TypeError, match="exactly one"):
        Accept(CRITERION)(figure(1.0), **bounds)  # type: ignore[arg-type]


def test_a_bound_of_zero_is_a_bound() -> None:
    accept = Accept(CRITERION)

    assert not accept(figure(1.0), exactly=0)
    assert (accept.measurements[0].op, accept.measurements[0].threshold) == ("==", 0)


@pytest.mark.parametrize(
    ("low", "high", "at_least", "confidence"),
    [
        (0.5, 0.9, 0.5, "proven"),
        (0.4, 0.9, 0.5, "borderline"),
        (0.2, 0.5, 0.5, "borderline"),
        (0.2, 0.4, 0.5, "refuted"),
        (None, 0.9, 0.5, None),
        (0.5, None, 0.5, None),
    ],
)
def test_the_side_on_which_the_interval_lies(
    low: float | None, high: float | None, at_least: float, confidence: str | None
) -> None:
    accept = Accept(CRITERION)
    accept(figure(0.5, low, high), at_least=at_least)

    assert accept.measurements[0].confidence == confidence


def test_where_the_threshold_comes_from_is_the_gates_own_source_unless_told() -> None:
    accept = Accept(CRITERION)
    accept(figure(1.0), at_least=0)
    accept(figure(1.0), at_least=0, source="elsewhere")
    accept.any_of([figure(1.0)], at_least=0, source="there")

    assert [m.source for m in accept.measurements] == ["s", "elsewhere", "there"]


@pytest.mark.parametrize(("recommended", "passes"), [(512, True), (513, False)])
def test_fewer_examples_than_recommended_have_to_prove_it(recommended: int, passes: bool) -> None:
    accept = Accept(CRITERION)

    assert accept(figure(0.6, 0.4, 0.8), at_least=0.5, recommended_n=recommended) is passes
    assert accept.failures == []
    told = "m is 0.6 % [0.4, 0.8] (n=512), asked for >= 0.5; 512 examples are too few to tell"
    assert accept.unclear == ([] if passes else [told])


def test_without_a_recommendation_the_point_estimate_decides_of_any_number() -> None:
    none = Measurement(name="m", value=0.6, unit="%", n=0, low=0.4, high=0.8)
    accept = Accept(CRITERION)

    assert accept(none, at_least=0.5)
    assert accept.either([(none, 0.5)])
    assert accept.unclear == []


@pytest.mark.parametrize(("recommended", "failed"), [(512, True), (513, False)])
def test_a_miss_on_enough_examples_is_a_failure(recommended: int, failed: bool) -> None:
    accept = Accept(CRITERION, strict=True)

    assert not accept(figure(0.4, 0.2, 0.6), at_least=0.5, recommended_n=recommended)
    assert bool(accept.failures) is failed
    assert bool(accept.unclear) is not failed
    if failed:
        assert accept.failures == ["m is 0.4 % [0.2, 0.6] (n=512), asked for >= 0.5"]


def test_a_refuted_figure_is_a_failure_of_any_number_of_examples() -> None:
    accept = Accept(CRITERION)

    assert not accept(figure(0.4, 0.2, 0.45), at_least=0.5, recommended_n=9_999)
    assert accept.failures == ["m is 0.4 % [0.2, 0.45] (n=512), asked for >= 0.5"]


@pytest.mark.parametrize(("low", "high"), [(None, 0.6), (0.2, None)])
def test_half_an_interval_is_not_shown(low: float | None, high: float | None) -> None:
    accept = Accept(CRITERION)
    accept(figure(0.4, low, high), at_least=0.5)

    assert accept.failures == ["m is 0.4 % (n=512), asked for >= 0.5"]


def test_an_alternative_at_its_bound_has_reached_it() -> None:
    accept = Accept(CRITERION)

    assert accept.either([(figure(0.1, name="nats"), 0.1), (figure(1, name="pct"), 5.0)])
    assert [m.name for m in accept.measurements if m.op] == ["nats"]


def test_the_gate_of_a_test_is_the_one_that_marks_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from gates.gate import Gate, gate, gate_of
        G = Gate(id="X", name="x", priority="P0", claim="c", source="s")

        @gate(G)
        def test_marked(request): assert gate_of(request.node) is G
        def test_plain(request): assert gate_of(request.node) is None
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
