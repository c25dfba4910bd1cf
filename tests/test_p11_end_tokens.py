"""P1.1: where generation ends, and the trend over the checkpoints found beside the output folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.end_tags import change_of_share, find_end_tags
from harness.files import write_json
from harness.results import Measurement
from harness.token_space import TokenSpace
from tests.gating import run_gate
from tests.tiny import Tiny

NAMES = ("t2a.end_tag_pct", "t2i.end_tag_pct")


@pytest.fixture
def talkative(tiny: Tiny) -> Tiny:
    """A checkpoint that writes almost uniformly, so that some end tags come by chance."""
    write_json(tiny.ckpt / "generation_config.json", {"do_sample": True, "temperature": 9.0, "top_k": 0})
    return tiny


def _verdict_beside(folder: Path, name: str, step: int, **values: float) -> Path:
    """The verdict of the run before, made that of an earlier checkpoint with other figures."""
    verdict = json.loads((folder / "out" / "verdict.json").read_text())
    verdict["checkpoint"]["step"] = step
    for gate in verdict["gates"]:
        for m in gate["measurements"]:
            m["value"] = values.get(m["name"].replace(".", "_"), m["value"])
    write_json(folder / name / "verdict.json", verdict)
    return folder / name / "verdict.json"


def _figure(gate: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [m for m in gate["measurements"] if m["name"] == name]
    figure: dict[str, Any] = found
    return figure


def _notes(gate: dict[str, Any]) -> str:
    return " ".join(gate["details"].get("notes", []))


def test_without_an_earlier_checkpoint_some_end_is_enough(pytester: pytest.Pytester, talkative: Tiny) -> None:
    gate = run_gate(pytester, "P1.1", talkative.ckpt)

    assert gate["outcome"] == "pass"
    assert all(0 < _figure(gate, name)["value"] < 100 for name in NAMES)
    assert [m["name"] for m in gate["measurements"] if m["op"]] == list(NAMES)
    assert "no trend to judge yet" in _notes(gate)
    (places,) = gate["details"]["tables"]
    assert sum(row[1] for row in places["rows"]) == 12


def test_one_that_never_ends_is_warned_of(pytester: pytest.Pytester, shared_tiny: Tiny) -> None:
    gate = run_gate(pytester, "P1.1", shared_tiny.ckpt)

    assert gate["outcome"] == "fail"
    # Its greedy sounds never end; some of its pictures do.
    assert _figure(gate, "t2a.end_tag_pct")["value"] == 0
    assert "asked for > 0" in gate["details"]["reason"]
    assert "t2i" not in gate["details"]["reason"]


def test_a_provable_fall_fails_and_a_slight_one_does_not(pytester: pytest.Pytester, talkative: Tiny) -> None:
    run_gate(pytester, "P1.1", talkative.ckpt)
    _verdict_beside(pytester.path, "a", 5, t2a_end_tag_pct=100.0, t2i_end_tag_pct=100.0)
    _verdict_beside(pytester.path, "b", 10)

    steady = run_gate(pytester, "P1.1", talkative.ckpt)
    _verdict_beside(pytester.path, "b", 10, t2a_end_tag_pct=100.0)
    fallen = run_gate(pytester, "P1.1", talkative.ckpt)

    assert steady["outcome"] == "pass"
    assert _figure(steady, "t2a.end_tag_change")["value"] == 0
    trend = steady["details"]["tables"][1]["rows"]
    assert [row[:2] for row in trend] == [[task, step] for task in ("t2a", "t2i") for step in (5, 10, 20)]
    assert fallen["outcome"] == "fail"
    assert "t2a.end_tag_change_upper" in fallen["details"]["reason"]
    assert "t2i" not in fallen["details"]["reason"]


def test_verdicts_that_cannot_be_compared_are_passed_over(pytester: pytest.Pytester, talkative: Tiny) -> None:
    run_gate(pytester, "P1.1", talkative.ckpt)
    other = _verdict_beside(pytester.path, "other", 5, t2a_end_tag_pct=100.0)
    verdict = json.loads(other.read_text())
    verdict["inputs"]["golden"]["sha256"] = "0" * 64
    write_json(other, verdict)
    _verdict_beside(pytester.path, "later", 30, t2a_end_tag_pct=100.0)
    (pytester.path / "broken").mkdir()
    (pytester.path / "broken" / "verdict.json").write_text('{"format": "gate-ver')

    gate = run_gate(pytester, "P1.1", talkative.ckpt)

    assert gate["outcome"] == "pass"
    assert "broken: unreadable" in _notes(gate)
    assert "other: another golden" in _notes(gate)
    assert "later" not in _notes(gate)
    assert "no trend to judge yet" in _notes(gate)


def test_an_end_tag_behind_the_checkpoints_own_limit_does_not_count(pytester: pytest.Pytester, talkative: Tiny) -> None:
    settings = {"do_sample": True, "temperature": 9.0, "top_k": 0, "max_new_tokens": 1}
    before = run_gate(pytester, "P1.1", talkative.ckpt)
    write_json(talkative.ckpt / "generation_config.json", settings)

    gate = run_gate(pytester, "P1.1", talkative.ckpt)

    assert _figure(gate, NAMES[0])["value"] < _figure(before, NAMES[0])["value"]


def test_ends_are_placed_by_their_distance(space: TokenSpace) -> None:
    end, code = space.end_id("audio"), space.id_at("AUDIO_CB0", 0)
    places = (0, 4, 17, 19, 20, 23, None)

    found = find_end_tags([np.array([code] * (36 if p is None else p) + [end] * (p is not None)) for p in places],
                          [20] * len(places), end)  # fmt: skip

    assert found.offsets == (-20, -16, -3, -1, 0, 3, None)
    assert (found.in_time, found.in_place) == (6, 1)
    assert set(found.histogram().values()) == {1}
    assert sum(found.histogram().values()) == found.n


def test_the_change_has_the_interval_of_newcombes_example() -> None:
    # 56 of 70 against 48 of 80, table II (a), method 10.
    now, before = (Measurement(name="m", value=100 * k / n, unit="%", n=n) for k, n in ((56, 70), (48, 80)))

    change = change_of_share("c", now, before)

    assert change.value == pytest.approx(20)
    assert (change.low, change.high) == (pytest.approx(5.24, abs=0.01), pytest.approx(33.39, abs=0.01))
