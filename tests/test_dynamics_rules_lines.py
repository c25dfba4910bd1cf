"""Rules on the lines of a training log: numbers, order, gaps, and how a finding is told."""

import math

import numpy as np
import pytest

from gates.dynamics import (
    FINDINGS,
    MAX_FINDINGS,
    Finding,
    count,
    explain,
    judge_gaps,
    judge_lines,
    judge_numbers,
    judge_order,
    raise_unmeasured,
    show,
)
from gates.gate import Accept
from harness.errors import MissingInputError
from harness.results import Measurement
from harness.train_log_merge import Disorder, Series
from tests.accepting import accepting, notes
from tests.curves import curve, log_of
from tests.log_rules import FALLING, LIMITS, told, value

# ---------------------------------------------------------------------- findings


def test_a_finding_says_where_what_and_what_was_expected() -> None:
    assert str(Finding("spike", "loss", 7, 1.25, "about 1")) == "spike: loss at step 7 is 1.25, expected about 1"
    assert str(Finding("gap", "", None, "nothing", "a line")) == "gap: log is nothing, expected a line"


def test_a_finding_is_told_with_the_figure_that_it_is_about() -> None:
    accept, finding = accepting(), Finding("spike", "loss", 7, 1.25, "about 1")
    accept.failures.append("another figure")
    count(accept, "spikes", "lines", 9, [finding])
    count(accept, "gaps", "gaps", 9, [])
    assert not accept(Measurement(name="share", value=2.0, unit="share", n=9), at_most=1.0)
    explain(accept, finding)

    another, spikes, share = accept.failures
    assert another == "another figure"
    assert spikes.startswith("spikes ")
    assert share.startswith("share ")
    assert spikes.endswith(f": {finding}")
    assert share.endswith(f": {finding}")
    assert told(accept) == [("spike", "loss", 7, 1.25)] * 2


def test_the_table_shows_the_first_findings_and_counts_them() -> None:
    accept = accepting()
    found = [vars(Finding("w", "" if i else "k", i, 1.0, "e")) for i in range(MAX_FINDINGS + 1)]
    accept.details[FINDINGS] = found

    show(accept)

    (table,) = accept.details["tables"]
    assert len(table["rows"]) == MAX_FINDINGS == len(accept.details[FINDINGS])
    assert table["rows"][:2] == [["w", "k", 0, 1.0, "e"], ["w", "every key", 1, 1.0, "e"]]
    assert "The first 50 of 51." in table["note"]


def test_a_table_of_all_findings_says_nothing_of_more() -> None:
    accept, healthy = accepting(), accepting()
    accept.details[FINDINGS] = [vars(Finding("w", "k", i, 1.0, "e")) for i in range(MAX_FINDINGS)]

    show(accept)
    show(healthy)

    assert "The first" not in accept.details["tables"][0]["note"]
    assert healthy.details == {}


def test_what_was_not_measured_is_raised_unless_something_failed() -> None:
    lacking = [
        MissingInputError(log_of({}).where, "one", "e", "f"),
        MissingInputError(log_of({}).where, "two", "e", "f"),
    ]
    accept, failed = accepting(), accepting()
    failed.failures.append("it fell short")

    with pytest.raises(MissingInputError, match="one"):
        raise_unmeasured(accept, lacking)
    raise_unmeasured(failed, lacking)
    raise_unmeasured(accepting(), [])

    assert notes(accept).count("Not judged: ") == notes(failed).count("Not judged: ") == 2


# ---------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("key", "bad", "good"),
    [
        ("loss", [0.0, -1.0, math.nan, math.inf, 1e300], [5e-324, 9e299]),
        ("eval_loss", [0.0, math.nan], [0.1]),
        ("emb_norm_mean", [0.0, -2.0, math.nan], [0.1]),
        ("grad_norm", [math.nan, -1e300], [0.0]),
        ("head_norm_std", [math.nan], [0.0]),
        ("delta_shuffle_a2t", [math.nan], [0.0, -1.0]),
        ("lr", [math.nan], [0.0, -1.0]),
        ("epoch_of_something", [], [math.nan, 0.0]),
    ],
)
def test_what_is_no_number_of_its_kind(key: str, bad: list[float], good: list[float]) -> None:
    accept = accepting()
    judge_numbers(accept, log_of({key: curve([*good, *bad]), "text_avg": curve([1.0])}))

    assert value(accept, "not_a_number") == (len(bad), len(good) + len(bad) + 1)
    assert [(what, of, step) for what, of, step, _ in told(accept)] == [
        ("no number", key, len(good) + 1 + i) for i in range(len(bad))
    ]
    if bad:
        assert accept.failures[0].startswith("not_a_number is ")
        assert f": no number: {key} at step {len(good) + 1}" in accept.failures[0]
        wanted = accept.details[FINDINGS][0]["expected"]
        assert wanted == ("a number above 0" if key in ("loss", "eval_loss", "emb_norm_mean") else "a number")
    else:
        assert accept.failures == []


def test_what_json_has_no_number_for_is_written_as_a_word() -> None:
    accept = accepting()
    judge_numbers(accept, log_of({"loss": curve([math.nan, -1.0])}))

    assert [each for *_, each in told(accept)] == ["nan", -1.0]


def test_steps_out_of_order_are_counted_and_named() -> None:
    accept = accepting()
    judge_order(
        accept, log_of({"loss": curve(FALLING)}, disorders=(Disorder(7, 7, "loss"), Disorder(3, 9)), n_disorders=2)
    )

    assert value(accept, "lines_out_of_order") == (2, 40)
    assert [(what, key, step, at) for what, key, step, at in told(accept)] == [
        ("repeated step", "loss", 7, "logged twice"),
        ("decreasing step", "", 3, "behind step 9"),
    ]
    assert "out of order" not in notes(accept)


def test_disorders_that_were_not_kept_are_told() -> None:
    accept = accepting()
    judge_order(accept, log_of({"loss": curve(FALLING)}, disorders=(Disorder(7, 7, "loss"),), n_disorders=5))

    assert "5 steps are out of order; the first 1 are counted above." in notes(accept)


def gaps_of(series: dict[str, Series], step: int | None = None) -> Accept:
    accept = accepting()
    judge_gaps(accept, log_of(series), step, LIMITS)
    return accept


def test_a_log_without_gaps() -> None:
    accept = gaps_of({"loss": curve(FALLING, first=50, stride=50)}, 2000)

    assert value(accept, "gaps") == (0, 40)
    assert notes(accept) == ""


def test_a_gap_an_early_end_and_a_key_that_falls_silent() -> None:
    steps = np.delete(np.arange(1, 41), [20, 21])
    loss = Series(steps, np.ones(38))

    assert told(gaps_of({"loss": loss})) == [("gap", "", 20, "nothing until step 23")]
    ended = gaps_of({"loss": curve(FALLING)}, 50)
    assert told(ended) == [("log ends before the checkpoint", "", 40, "nothing until step 50")]
    assert ended.details[FINDINGS][0]["expected"] == "a line every 1 steps"
    silent = gaps_of({"loss": curve(FALLING), "t2a_avg": curve(FALLING[:30])})
    assert told(silent) == [("key not logged", "t2a_avg", 30, "nothing until step 40")]


def test_gaps_are_those_of_training_and_not_of_evaluations() -> None:
    assert value(gaps_of({"loss": curve(FALLING), "delta_shuffle_a2t": curve([1.0, 2.0])}), "gaps") == (0, 40)
    assert value(gaps_of({"dev_loss_a2t": curve([1.0])}, 99), "gaps") == (0, 0)


def test_a_log_that_begins_late_is_told() -> None:
    assert "begins at step 3:" in notes(gaps_of({"loss": curve(FALLING, first=3)}))


def test_lines_without_steps_are_judged_by_their_numbers_alone() -> None:
    accept = accepting()
    unmeasured = judge_lines(accept, log_of({"loss": curve([1.0, math.nan])}, counted=False), 2000, LIMITS)

    assert [m.name for m in accept.measurements] == ["not_a_number"]
    assert [each.found for each in unmeasured] == ["no step in any line"]
    assert "numbers of lines" in notes(accept)


def test_lines_with_steps_are_judged_in_full() -> None:
    accept = accepting()

    assert judge_lines(accept, log_of({"loss": curve(FALLING)}, n_unreadable=3), 40, LIMITS) == []
    assert [m.name for m in accept.measurements] == ["not_a_number", "lines_out_of_order", "gaps"]
    assert "3 lines of train_log.jsonl could not be read" in notes(accept)
    quiet = accepting()
    judge_lines(quiet, log_of({"loss": curve(FALLING)}), 40, LIMITS)
    assert notes(quiet) == ""
