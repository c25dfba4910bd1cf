"""`gates compare A B`: pairs only what belongs together, calls worse only what is, and says what it rests on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gates.cli import app
from gates.commands.comparing import compare_verdicts
from harness.results import InputId, Measurement, ThresholdsUsed, Verdict
from reports.comparison import Change, Comparison, MeasureChange
from tests.several_verdicts import SCRIPT, Elements, figure, gate, hostile_verdict, losses, put, verdict, win_rate

runner = CliRunner()
NAME = "t2a: shuffled prompt"


def against(a: Verdict, b: Verdict) -> Comparison:
    return compare_verdicts(a, b, Path("a/verdict.json"), Path("b/verdict.json"))


def of(comparison: Comparison, name: str) -> MeasureChange:
    return next(each for each in comparison.measures if each.name == name)


def ablated(pairs: dict[str, Any], **more: Any) -> Verdict:
    """A verdict whose P0.4 rests on these losses."""
    gaps = np.array(pairs["ablated"]) - np.array(pairs["correct"])
    wins, delta = float((gaps > 0).mean()), float(gaps.mean())
    half = 2 * float(gaps.std()) / len(gaps) ** 0.5
    measures = (
        win_rate(wins, low=max(0.0, wins - 0.05), high=min(1.0, wins + 0.05), n=len(gaps)),
        figure(
            "t2a.delta_shuffled", delta, unit="nats/token", low=delta - half, high=delta + half, op=">", threshold=0
        ),
        figure("t2a.pmi", 3.0, unit="nats/example"),
    )
    return verdict(gate("P0.4", "pass", *measures, details={"pairs": {NAME: pairs}}), **more)


@pytest.fixture
def pair() -> tuple[dict[str, Any], dict[str, Any]]:
    """Losses of the same examples; B's Δ is smaller by 0.03, a sixth of what the examples differ by."""
    rng = np.random.default_rng(0)
    a = losses(rng)
    b = {"correct": (np.array(a["correct"]) + rng.normal(0, 0.01, 256)).tolist(),
         "ablated": (np.array(a["ablated"]) - 0.03 + rng.normal(0, 0.01, 256)).tolist()}  # fmt: skip
    return a, b


# --- pairing ---------------------------------------------------------------------------------------------------------


def test_the_same_examples_are_paired_and_a_small_loss_is_found(pair: Any) -> None:
    comparison = against(*(ablated(each) for each in pair))

    delta = of(comparison, "t2a.delta_shuffled")
    assert (delta.paired, delta.change) == (True, "worse")
    assert delta.difference == pytest.approx(-0.03, abs=0.005)
    assert delta.high is not None
    assert delta.high < 0
    assert comparison.regressions[0].startswith("P0.4 t2a.delta_shuffled is worse (−0.0")


def test_own_losses_are_compared_and_have_no_direction(pair: Any) -> None:
    own = of(against(*(ablated(each) for each in pair)), "t2a.loss_own")

    assert own.paired
    assert own.change == "no_direction"
    assert own.difference == pytest.approx(np.mean(pair[1]["correct"]) - np.mean(pair[0]["correct"]))


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "golden": ({"inputs": {"golden": InputId(path="g", sha256="other"), "dev": InputId(path="d", sha256="dev digest")}},
               "their golden sets differ"),
    "dev": ({"inputs": {"golden": InputId(path="g", sha256="golden digest")}}, "their dev sets differ"),
    "token space": ({"token_space_sha256": "other"}, "their token spaces differ"),
    "unknown space": ({"token_space_sha256": None}, "their token spaces differ, or are not known"),
    "seed": ({"seed": 7}, "their seeds differ (0 and 7)"),
}  # fmt: skip


@pytest.mark.parametrize(("more", "why"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_other_examples_are_not_paired_and_it_is_said_why(pair: Any, more: dict[str, Any], why: str) -> None:
    comparison = against(ablated(pair[0]), ablated(pair[1], **more))

    assert any(why in reason for reason in comparison.unpaired_because)
    assert not any(each.paired for each in comparison.measures)
    assert of(comparison, "t2a.delta_shuffled").change == "unclear"  # two intervals beside each other do not show it


def test_verdicts_that_do_not_say_their_examples_are_not_paired(pair: Any) -> None:
    comparison = against(*(ablated(each, inputs={}) for each in pair))

    assert "the verdicts do not say which examples they rest on" in comparison.unpaired_because


BAD_LOSSES = {
    "fewer": {"correct": [1.0, 2.0], "ablated": [2.0, 3.0]},
    "a hole": {"correct": [1.0] * 255 + [None], "ablated": [2.0] * 256},
    "no numbers": {"correct": ["x"] * 256, "ablated": [2.0] * 256},
    "booleans": {"correct": [True] * 256, "ablated": [2.0] * 256},
    "no list": {"correct": 3, "ablated": [2.0] * 256},
    "uneven": {"correct": [1.0] * 255, "ablated": [2.0] * 256},
    "empty": {"correct": [], "ablated": []},
    "beyond any float": {"correct": [10**400] * 256, "ablated": [2.0] * 256},
    "missing": {},
}


@pytest.mark.parametrize("bad", BAD_LOSSES.values(), ids=BAD_LOSSES.keys())
def test_losses_that_do_not_belong_together_are_not_paired(pair: Any, bad: dict[str, Any]) -> None:
    good = ablated(pair[0])
    other = ablated(pair[1])
    details = {"pairs": {NAME: bad, "t2i: shuffled prompt": pair[1]}}
    other = other.model_copy(update={"gates": (other.gates[0].model_copy(update={"details": details}),)})

    comparison = against(good, other)

    assert not any(each.paired for each in comparison.measures)


def test_shared_media_make_clusters(pair: Any) -> None:
    media = [index // 4 for index in range(256)]

    alone = of(against(*(ablated(each) for each in pair)), "t2a.win_rate_shuffled")
    shared = of(against(*(ablated(each | {"media": media}) for each in pair)), "t2a.win_rate_shuffled")

    assert alone.low is not None
    assert shared.low is not None
    assert shared.low < alone.low
    assert (alone.p is None, shared.p is None) == (False, True)


def test_the_same_verdicts_give_the_same_intervals(pair: Any) -> None:
    assert against(*(ablated(each) for each in pair)) == against(*(ablated(each) for each in pair))


# --- what is worse ---------------------------------------------------------------------------------------------------


def change_of(a: Measurement, b: Measurement) -> Change:
    return of(against(verdict(gate("P0.4", "pass", a)), verdict(gate("P0.4", "pass", b))), a.name).change


def rated(value: float | None, op: Any = ">=", spread: float = 0.02, **more: Any) -> Measurement:
    ends = {} if value is None else {"low": value - spread, "high": value + spread}
    return figure("x", value, **{**ends, "op": op, "threshold": 0.5, **more})


JUDGED: dict[str, tuple[Measurement, Measurement, Change]] = {
    "lower where higher is asked": (rated(0.9), rated(0.8), "worse"),
    "higher where higher is asked": (rated(0.8), rated(0.9), "better"),
    "lower where lower is asked": (rated(0.9, "<="), rated(0.8, "<="), "better"),
    "higher where lower is asked": (rated(0.8, "<"), rated(0.9, "<"), "worse"),
    "within the intervals": (rated(0.9), rated(0.89), "unclear"),
    "equal": (rated(0.9), rated(0.9), "same"),
    "judged in A only": (rated(0.9), rated(0.8, None, threshold=None), "worse"),
    "reported only": (rated(0.9, None, threshold=None), rated(0.1, None, threshold=None), "no_direction"),
    "no interval, rule crossed": (rated(0.9, low=None), rated(0.4, low=None), "worse"),
    "no interval, rule reached": (rated(0.4, low=None), rated(0.9, low=None), "better"),
    "no interval, rule met by both": (rated(0.9, low=None), rated(0.6, low=None), "unclear"),
    "exactly, and no longer": (rated(0.5, "=="), rated(0.6, "=="), "worse"),
    "no longer computed": (rated(0.9), rated(None), "lost"),
    "computed now": (rated(None), rated(0.9), "better"),
    "never computed": (rated(None), rated(None), "same"),
    "another unit": (rated(0.9), rated(0.1, unit="%"), "absent"),
}


@pytest.mark.parametrize(("a", "b", "change"), JUDGED.values(), ids=JUDGED.keys())
def test_a_measure_is_worse_in_the_direction_of_its_rule(a: Measurement, b: Measurement, change: Change) -> None:
    assert change_of(a, b) == change


def test_of_many_figures_one_is_not_worse_by_chance_alone() -> None:
    """0.030 lower with a standard error of 0.0144: p = 0.04 alone, nothing among forty."""
    alone = change_of(rated(0.900), rated(0.870))
    names = [f"x{index}" for index in range(40)]
    a, b = (
        verdict(gate("P0.4", "pass", *(rated(value).model_copy(update={"name": name}) for name in names)))
        for value in (0.900, 0.870)
    )

    comparison = against(a, b)

    assert alone == "worse"
    assert {each.change for each in comparison.measures} == {"unclear"}
    assert comparison.n_together == 40
    assert not comparison.regressions


OUTCOMES = {
    ("P0.4", "pass", "fail"): True,
    ("P0.4", "pass", "error"): True,
    ("P0.4", "pass", "not_run"): True,
    ("P0.4", "error", "fail"): True,
    ("P0.4", "fail", "error"): False,
    ("P0.4", "fail", "pass"): False,
    ("P1.2", "pass", "fail"): False,
}


@pytest.mark.parametrize(("gate_id", "before", "after"), OUTCOMES, ids=" ".join)
def test_a_worse_outcome_of_a_blocking_gate_is_a_regression(gate_id: str, before: str, after: str) -> None:
    a, b = (verdict(gate(gate_id, outcome), verdict="INCOMPLETE") for outcome in (before, after))

    assert bool(against(a, b).regressions) == OUTCOMES[gate_id, before, after]


def test_a_blocking_gate_that_is_no_longer_there_is_a_regression() -> None:
    comparison = against(verdict(gate("P0.4"), gate("P0.5")), verdict(gate("P0.4")))

    assert comparison.regressions == ("P0.5 prompt_ablation was pass and is absent",)


def test_a_promotion_lost_is_a_regression_whatever_the_gates_say() -> None:
    assert against(verdict(), verdict(verdict="INCOMPLETE")).regressions == (
        "the verdict was PROMOTE and is INCOMPLETE",
    )


def test_a_measure_judged_by_two_rules_is_compared_once() -> None:
    twice = verdict(gate("P0.4", "pass", rated(0.9, ">", threshold=0), rated(0.9)))

    comparison = against(twice, twice)

    (change,) = comparison.measures
    assert change.judged is not None
    assert change.judged.threshold == 0.5


def test_what_the_two_do_not_share_is_said(pair: Any) -> None:
    comparison = against(
        ablated(pair[0], dtype="bfloat16", versions={"torch": "2.12"}),
        ablated(pair[1], thresholds=ThresholdsUsed(changed={"x": {"spec": 1, "used": 2}})),
    )

    text = "; ".join(comparison.caveats)
    assert "dtype: A has bfloat16, B has float32" in text
    assert "torch: A has 2.12, B has None" in text
    assert "not judged under the same numbers" in text


# --- the command -----------------------------------------------------------------------------------------------------


def test_exit_codes_and_what_is_printed(tmp_path: Path, pair: Any) -> None:
    a, b = (put(tmp_path, name, ablated(each)) for name, each in zip("ab", pair, strict=True))

    worse = runner.invoke(app, ["compare", str(a), str(b.parent)])
    better = runner.invoke(app, ["compare", str(b), str(a)])

    assert (worse.exit_code, better.exit_code) == (1, 0)
    assert "B is worse than A: P0.4 t2a.delta_shuffled is worse" in worse.stdout.replace("\n", " ")
    assert "B is not worse than A." in better.stdout
    assert "paired" in worse.stdout
    assert "\x1b" not in worse.stdout


def test_usage_errors_end_with_4(tmp_path: Path) -> None:
    a = put(tmp_path, "a", verdict())
    other = put(tmp_path, "b", verdict(stage="stage3"))
    foreign = tmp_path / "mine.html"
    foreign.write_text("mine")

    for arguments, why in (
        ([a, other], "A is of stage4 and B of stage3; expected two verdicts of one stage"),
        ([a, tmp_path / "none"], "expected a JSON file"),
        ([a, tmp_path], "expected a JSON file"),
        ([a, a, "--out", foreign], "expected no file, or an earlier page of its own"),
        ([a], "Missing argument"),
    ):
        result = runner.invoke(app, ["compare", *(str(each) for each in arguments)])
        assert result.exit_code == 4
        assert why in result.output.replace("\n", " ")


def test_json_is_whole_and_finite(tmp_path: Path, pair: Any) -> None:
    a, b = (put(tmp_path, name, ablated(each)) for name, each in zip("ab", pair, strict=True))

    result = runner.invoke(app, ["compare", str(a), str(b), "--json"])

    whole = json.loads(result.stdout, parse_constant=pytest.fail)
    assert result.exit_code == 1
    assert whole["format"] == "gate-comparison/1"
    assert (whole["worse"], whole["paired"]) == (True, True)
    delta = next(each for each in whole["measures"] if each["name"] == "t2a.delta_shuffled")
    assert delta["low"] < delta["difference"] < delta["high"] < 0


def test_the_page_shows_both_and_runs_nothing(tmp_path: Path, pair: Any) -> None:
    a, b = (put(tmp_path, name, ablated(each)) for name, each in zip("ab", pair, strict=True))
    out = tmp_path / "compare.html"
    for _ in range(2):  # an earlier page of its own is written over
        assert runner.invoke(app, ["compare", str(a), str(b), "--out", str(out)]).exit_code == 1

    page = out.read_text()
    elements = Elements(page)

    assert "B is worse" in page
    assert "McNemar p" in page
    assert not elements.of("script")
    assert not [attributes for _, attributes in elements.found if "src" in attributes or "href" in attributes]
    assert "default-src 'none'" in page
    assert len(elements.ids) == len(set(elements.ids))
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in elements.of("svg"))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    a, b = put(tmp_path, "a", hostile_verdict()), put(tmp_path, f"b{SCRIPT.replace('/', '∕')}", hostile_verdict())
    out = tmp_path / "compare.html"

    shown = runner.invoke(app, ["compare", str(a), str(b), "--out", str(out)])
    as_json = runner.invoke(app, ["compare", str(a), str(b), "--json"])

    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    assert not set(shown.stdout) & set("\x00\x1b\x7f\u202e\u2066")
    json.loads(as_json.stdout)
    page = out.read_text()
    assert not Elements(page).of("script")
    assert "&lt;script&gt;alert(1)" in page
    assert not set(page) & set("\x00\x1b\x7f\u202e\u2066")
    assert len(page) < 400_000
