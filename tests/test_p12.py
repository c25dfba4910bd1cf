"""P1.2: an untrained model does not read, and is told so by every figure; what each source gives is in the report."""

import json
from typing import Any

import pytest

from tests.gating import findings, run_gate
from tests.tiny import Tiny

CONDITIONS = ("shuffled", "swapped", "noise", "constant")


@pytest.fixture
def untrained(pytester: pytest.Pytester, tiny: Tiny) -> dict[str, Any]:
    """P1.2 on a model of random weights, whose golden examples come from two sources."""
    for path in tiny.golden.glob("*2t_*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [row | {"source": "even" if i % 2 == 0 else "odd"} for i, row in enumerate(rows)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run_gate(pytester, "P1.2", tiny.ckpt)


def test_an_untrained_model_does_not_read(untrained: dict[str, Any]) -> None:
    assert (untrained["outcome"], untrained["priority"]) == ("fail", "P1")
    assert "win_rate" in findings(untrained)
    assert untrained["advice"][0].startswith("Ensure that the ablation tests the media's influence")


def test_every_condition_is_held_against_a_number_with_a_source(untrained: dict[str, Any]) -> None:
    by_name = {m["name"]: m for m in untrained["measurements"]}

    for task in ("a2t", "i2t"):
        rules = {name: (by_name[f"{task}.win_rate_{name}"]["threshold"]) for name in CONDITIONS}
        assert rules == {"shuffled": 0.8, "swapped": 0.8, "noise": 0.85, "constant": None}
        for name in CONDITIONS:
            asked = {by_name[f"{task}.delta_{name}{unit}"]["threshold"] for unit in ("", "_pct")}
            assert asked == ({0.15, 8.0} if name == "noise" else {0.10, 5.0})
            assert by_name[f"{task}.delta_{name}"]["source"].startswith("spec/stage4-verification.md P1.2")
        assert by_name[f"{task}.null_gap"]["value"] == 0
        assert by_name[f"{task}.canary_gap"]["value"] < 1e-5


def test_the_figures_of_every_source_are_in_the_report(untrained: dict[str, Any]) -> None:
    tables = {table["title"]: table for table in untrained["details"]["tables"]}

    for task in ("a2t", "i2t"):
        table = tables[f"{task} by source"]
        assert table["columns"][:4] == ["source", "n", "shuffled: win rate", "shuffled: Δ"]
        assert [row[:2] for row in table["rows"]] == [["even", 6], ["odd", 6]]
        gap = next(m for m in untrained["measurements"] if m["name"] == f"{task}.delta_swapped")
        place = table["columns"].index("swapped: Δ")
        assert sum(row[1] * row[place] for row in table["rows"]) / 12 == pytest.approx(gap["value"])


def test_the_looks_are_told(untrained: dict[str, Any]) -> None:
    assert any(note.startswith("a2t: one look planned, at 12 examples") for note in untrained["details"]["notes"])
