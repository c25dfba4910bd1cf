"""End tags: where they came, how a share has changed, and which earlier verdicts tell; then how P1.1 judges them."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from gates.gate import Accept
from gates.stage4.test_p11_end_tokens import (
    P11,
    earlier_shares,
    end_tag_pct,
    end_tags,
    judge_end_tags,
    tell_places,
    tell_trend,
    upper_end,
)
from gates.stage4.thresholds import Stage4Thresholds
from harness.end_tags import PLACES, Earlier, EndTags, change_of_share, find_earlier, find_end_tags
from harness.results import (
    CheckpointId,
    GateResult,
    InputId,
    Measurement,
    RunInfo,
    ThresholdsUsed,
    Verdict,
    write_verdict,
)

END = 9
INPUTS = {"token_space": "s" * 64, "golden": "g" * 64}


def share(value: float | None, n: int = 64, name: str = "t2a.end_tag_pct", **more: Any) -> Measurement:
    return Measurement(name=name, value=value, unit="%", n=n, **more)


# ---------------------------------------------------------------------- where they came


@pytest.mark.parametrize(
    ("ids", "max_new", "offset"),
    [
        ([1, 1, 1, END], None, 0),
        ([END, 1, END], None, -3),
        ([1, 1, 1, 1, END], 5, 1),
        ([1, 1, 1, 1, END], 4, None),
        ([1, 1], None, None),
        ([], None, None),
    ],
)
def test_the_first_end_tag_counts_where_it_would_have_been_written(
    ids: list[int], max_new: int | None, offset: int | None
) -> None:
    found = find_end_tags([np.array(ids, dtype=np.int64)], [3], END, max_new)

    assert found == EndTags((offset,), (3,))
    assert found.in_time == (offset is not None)
    assert found.in_place == (offset == 0)


def test_every_sequence_has_its_expected_count() -> None:
    with pytest.raises(ValueError, match="zip"):
        find_end_tags([np.array([END])], [3, 4], END)
    with pytest.raises(ValueError, match="zip"):
        EndTags((1,), (3, 4)).histogram()


@pytest.mark.parametrize(
    ("offset", "place"),
    [
        (None, "never"), (1, "late"), (0, "in place"), (-1, "early"), (-2, "early by a tenth or more"),
        (-9, "early by a tenth or more"), (-10, "early by half or more"), (-19, "early by half or more"),
        (-20, "at once"),
    ],
)  # fmt: skip
def test_a_place_is_named_by_its_distance(offset: int | None, place: str) -> None:
    assert EndTags((offset,), (20,)).histogram() == dict.fromkeys(PLACES, 0) | {place: 1}


# ---------------------------------------------------------------------- the change


@pytest.mark.parametrize(
    ("now", "n", "before", "m"), [(50, 64, 75, 40), (0, 10, 100, 20), (100, 5, 0, 7), (30, 9, 30, 900)]
)
def test_the_change_is_newcombes_tenth_method(now: float, n: int, before: float, m: int) -> None:
    change = change_of_share("c", share(now, n), share(before, m))

    p, q = now / 100, before / 100
    (p_low, p_high), (q_low, q_high) = (
        proportion_confint(each * k, k, 0.05, method="wilson") for each, k in ((p, n), (q, m))
    )
    assert change.value == pytest.approx(now - before)
    assert change.low == pytest.approx(100 * (p - q - math.hypot(p - p_low, q_high - q)), abs=1e-4)
    assert change.high == pytest.approx(100 * (p - q + math.hypot(p_high - p, q - q_low)), abs=1e-4)
    assert (change.unit, change.n) == ("percentage points", n)


def test_a_share_that_is_none_counts_as_nothing() -> None:
    assert change_of_share("c", share(None), share(40)).value == -40
    assert change_of_share("c", share(40), share(None)).value == 40


# ---------------------------------------------------------------------- earlier verdicts


def verdict(
    step: int | None, *figures: Measurement, stage: Any = "stage4", golden: str = "g", space: str = "s"
) -> Verdict:
    gates = (
        GateResult(
            id="P0.9", name="n", priority="P0", outcome="pass", claim="c", measurements=(share(1, name="other"),)
        ),
        GateResult(id="P1.1", name="n", priority="P1", outcome="pass", claim="c", measurements=figures),
    )
    run = RunInfo(command="c", seed=0, device="cpu", dtype="float32", versions={}, started="2026-01-01", duration_s=0.0)
    return Verdict(
        stage=stage, verdict="PROMOTE", checkpoint=CheckpointId(path=f"step {step}", step=step, sha256=None),
        inputs={"golden": InputId(path="g", sha256=golden * 64)}, token_space_sha256=space * 64, gates=gates,
        next_step="n", thresholds=ThresholdsUsed(), run=run,
    )  # fmt: skip


def beside(out: Path, **verdicts: Verdict) -> None:
    for name, each in verdicts.items():
        (out.parent / name).mkdir()
        write_verdict(out.parent / name / "verdict.json", each)


def found_by(out: Path, step: int | None = 100) -> tuple[list[tuple[int, float | None]], list[str]]:
    found, passed_over = find_earlier(out, "stage4", step, INPUTS, ["t2a.end_tag_pct"])
    return [(each.step, each.figure.value) for each in found["t2a.end_tag_pct"]], passed_over


def test_earlier_figures_come_by_step(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    beside(out, a=verdict(90, share(9)), b=verdict(10, share(1)), c=verdict(0, share(0)), mine=verdict(1, share(77)))

    assert found_by(out) == ([(0, 0), (10, 1), (90, 9)], [])
    found, _ = find_earlier(out, "stage4", 100, INPUTS, ["t2a.end_tag_pct", "t2i.end_tag_pct"])
    assert [each.checkpoint for each in found["t2a.end_tag_pct"]] == ["step 0", "step 10", "step 90"]
    assert found["t2i.end_tag_pct"] == []


def test_what_is_not_before_this_checkpoint_is_left_out_without_a_word(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    beside(out, same=verdict(100, share(1)), later=verdict(101, share(1)), unknown=verdict(None, share(1)),
           third=verdict(5, share(1), stage="stage3"))  # fmt: skip

    assert found_by(out) == ([], [])
    assert found_by(out, None) == ([], [])


def test_verdicts_behind_one_that_does_not_count_are_still_read(tmp_path: Path) -> None:
    out = tmp_path / "b"
    beside(out, a=verdict(101, share(1)), b=verdict(1, share(77)), c=verdict(3, share(3)))

    assert found_by(out) == ([(3, 3)], [])


def test_verdicts_on_other_inputs_are_passed_over_and_named(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    beside(
        out, a=verdict(1, share(1), golden="x"), b=verdict(2, share(2), golden="x", space="x"), c=verdict(3, share(3))
    )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "verdict.json").write_text("{")

    found, passed_over = found_by(out)

    assert found == [(3, 3)]
    assert passed_over[0] == "a: another golden"
    assert passed_over[1] == "b: another token space and golden"
    assert passed_over[2].startswith("broken: unreadable (")
    assert len(passed_over[2]) <= len("broken: unreadable ()") + 120


def test_figures_of_nothing_do_not_tell(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    beside(out, a=verdict(1, share(None)), b=verdict(2, share(5, n=0)), c=verdict(3, share(6, n=1)))

    assert found_by(out) == ([(3, 6)], [])


# ---------------------------------------------------------------------- the gate


def judged(now: Measurement, before: Measurement | None) -> Accept:
    accept = Accept(P11)
    judge_end_tags(accept, "t2a", now, before, Stage4Thresholds())
    return accept


def test_some_sequence_has_to_end() -> None:
    assert judged(share(0), None).failures
    alone = judged(share(1.5), None)
    assert (alone.failures, len(alone.measurements)) == ([], 1)


def test_a_fall_fails_where_it_is_proven() -> None:
    assert judged(share(50), share(60)).failures == []
    fallen = judged(share(20), share(60))
    assert len(fallen.failures) == 1
    assert fallen.failures[0].startswith("t2a.end_tag_change_upper is -")
    assert [m.op for m in fallen.measurements] == [">", None, ">="]
    upper = upper_end(share(1, high=-3.0, low=-9.0))
    assert (upper.value, upper.low, upper.high, upper.n) == (-3.0, None, None, 64)


def checkpoint(out: Path, golden: Path | None = None, step: int | None = 100, max_new: int | None = None) -> Any:
    space = SimpleNamespace(sha256="s" * 64, end_id=lambda modality: END)
    bundle = SimpleNamespace(space=space, step=step, path=Path("here"), input=lambda name: golden, inputs={})
    return SimpleNamespace(bundle=bundle, settings=SimpleNamespace(out=out))


def test_shares_are_of_what_ended_in_time() -> None:
    measured = end_tag_pct("t2a", EndTags((0, None, 4, -1), (9, 9, 9, 9)))

    assert (measured.name, measured.value, measured.n) == ("t2a.end_tag_pct", 75, 4)
    assert measured.high is not None
    assert 75 < measured.high <= 100


def test_the_checkpoints_own_limit_is_kept_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    def limits(bundle: Any, given: Any) -> Any:
        asked.update(given)
        return {"audio": SimpleNamespace(max_new=2)}

    monkeypatch.setattr("gates.stage4.test_p11_end_tokens.limits_of", limits)
    written = SimpleNamespace(
        examples=(SimpleNamespace(modality="audio"),),
        sequences=[np.array([1, END]), np.array([1, 1, END])],
        expected=[1, 2],
    )

    assert end_tags(checkpoint(tmp_path), written).offsets == (0, None)  # type: ignore[arg-type]
    assert asked == {"audio": None}


def test_without_earlier_verdicts_there_is_no_trend(tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text("{}\n")
    accept = Accept(P11)

    found = earlier_shares(checkpoint(tmp_path / "mine", golden), accept, [share(5)])
    tell_trend(accept, checkpoint(tmp_path / "mine"), {"t2a": share(5)}, found)

    assert found == {"t2a.end_tag_pct": []}
    assert "no trend to judge yet" in accept.details["notes"][0]
    assert "tables" not in accept.details


def test_earlier_verdicts_are_used_and_others_named(tmp_path: Path) -> None:
    from harness.files import path_sha256

    golden, out = tmp_path / "golden.jsonl", tmp_path / "mine"
    golden.write_text("{}\n")
    sha = path_sha256(golden)
    ours = verdict(10, share(3)).model_copy(update={"inputs": {"golden": InputId(path="g", sha256=sha)}})
    beside(out, a=ours, b=verdict(20, share(4)))
    accept = Accept(P11)

    found = earlier_shares(checkpoint(out, golden), accept, [share(5)])
    tell_trend(accept, checkpoint(out), {"t2a": share(5), "t2i": share(6, name="other")}, found | {"other": []})

    assert [each.step for each in found["t2a.end_tag_pct"]] == [10]
    assert accept.details["notes"] == ["Verdicts beside this one that are not comparable: b: another golden."]
    (table,) = accept.details["tables"]
    assert [row[:3] for row in table["rows"]] == [["t2a", 10, 3], ["t2a", 100, 5]]


def test_a_checkpoint_of_no_known_step_stands_at_nought(tmp_path: Path) -> None:
    accept = Accept(P11)
    before = [Earlier(1, "c", share(3))]
    tell_trend(accept, checkpoint(tmp_path, step=None), {"t2a": share(5)}, {"t2a.end_tag_pct": before})

    assert [row[1] for row in accept.details["tables"][0]["rows"]] == [1, 0]


def test_the_places_of_both_tasks_are_told() -> None:
    accept = Accept(P11)
    tell_places(accept, {"t2a": EndTags((0, None), (9, 9)), "t2i": EndTags((3,), (9,))})

    (table,) = accept.details["tables"]
    assert table["columns"] == ["end tag", "t2a (of 2)", "t2i (of 1)"]
    assert {row[0]: row[1:] for row in table["rows"]} == {place: [0, 0] for place in PLACES} | {
        "in place": [1, 0], "never": [1, 0], "late": [0, 1]
    }  # fmt: skip


def test_the_gate_judges_either_task_against_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gates.stage4 import test_p11_end_tokens as p11

    found = {"t2a": EndTags((0,) * 16 + (None,) * 48, (9,) * 64), "t2i": EndTags((0, 3) * 32, (9,) * 64)}
    earlier = {
        "t2a.end_tag_pct": [Earlier(1, "a", share(0)), Earlier(2, "b", share(10)), Earlier(3, "c", share(60))],
        "t2i.end_tag_pct": [],
    }
    asked = []
    monkeypatch.setattr(p11, "end_tags", lambda checkpoint, written: found[written])
    monkeypatch.setattr(p11, "earlier_shares", lambda checkpoint, accept, shares: earlier)
    one = checkpoint(tmp_path)
    one.generations = lambda task, n, how: asked.append((task, n, how)) or task
    accept = Accept(P11)
    p11.test_it_ends_what_it_writes(one, accept, Stage4Thresholds())

    assert asked == [("t2a", 64, "free"), ("t2i", 64, "free")]
    assert [failure.split(" ")[0] for failure in accept.failures] == ["t2a.end_tag_change_upper"]
    values = {m.name: m.value for m in accept.measurements}
    assert values["t2a.end_tag_pct"] == 25
    assert values["t2a.end_tag_change"] == pytest.approx(-35)
    assert values["t2a.ended_in_place_pct"] == 25
    assert values["t2i.ended_in_place_pct"] == 50
    assert "t2i.end_tag_change" not in values
    assert [table["title"] for table in accept.details["tables"]] == [
        "Where the end tag came", "Ended in time, over the checkpoints found",
    ]  # fmt: skip
