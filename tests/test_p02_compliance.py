"""P0.2: what is judged is what will be served; the rest is told beside it."""

from typing import Any

import pytest

from harness.files import write_json
from tests.gating import findings, run_gate
from tests.tiny import Tiny, edit_json


def _values(gate: dict[str, Any]) -> dict[str, Any]:
    return {m["name"]: m["value"] for m in gate["measurements"]}


def _table(gate: dict[str, Any], title: str) -> list[list[Any]]:
    (found,) = [table["rows"] for table in gate["details"]["tables"] if table["title"].startswith(title)]
    rows: list[list[Any]] = found
    return rows


def test_constrained_passes_with_the_free_figures_beside_it(pytester: pytest.Pytester, shared_tiny: Tiny) -> None:
    gate = run_gate(pytester, "P0.2", shared_tiny.ckpt)

    assert gate["outcome"] == "pass"
    judged = [m["name"] for m in gate["measurements"] if m["op"]]
    assert judged == ["t2a.out_of_range_pct (constrained)", "t2i.out_of_range_pct (constrained)"]
    values = _values(gate)
    assert values["t2a.out_of_turn_pct (constrained)"] == 0
    assert values["t2a.out_of_range_pct (free)"] > 0
    assert ["t2a, constrained", "out of range", "0 of 108", "2.7 %", "0 of 12", "22 %"] in _table(gate, "Wrong ids")


def test_free_serving_fails_and_says_what_leaked(pytester: pytest.Pytester, tiny: Tiny) -> None:
    edit_json(tiny.ckpt / "bundle.json", decoding="free")

    gate = run_gate(pytester, "P0.2", tiny.ckpt)

    assert gate["outcome"] == "fail"
    assert "constrained decoding" in gate["advice"][0]
    assert "expected length of each example" in gate["advice"][1]
    assert "leaked text: 'w" in findings(gate)
    named = {row[0] for row in _table(gate, "What went wrong")}
    assert {"id in no AUDIO range", "id not in IMAGE range", "text leak", "missing end tag"} <= named


def test_a_limit_that_would_truncate_is_told(pytester: pytest.Pytester, tiny: Tiny) -> None:
    write_json(tiny.ckpt / "generation_config.json", {"max_new_tokens": 8, "repetition_penalty": 1.2})

    gate = run_gate(pytester, "P0.2", tiny.ckpt)

    notes = " ".join(gate["details"]["notes"])
    # Sounds have 8 ids, and need 9 with their end tag; pictures have 6.
    assert "t2a: max_new too small: max_new_tokens of generation_config.json is 8, which cuts off 0 of 12" in notes
    assert "leaves 12 without room for the end tag; at least 9 are needed" in notes
    assert "t2i" not in notes
    assert "asks for repetition_penalty: not applied here" in notes


def test_a_golden_meta_without_whole_frames_is_an_error_with_the_examples_id(
    pytester: pytest.Pytester, tiny: Tiny
) -> None:
    file = tiny.golden / "golden_t2a_12.jsonl"
    file.write_text(
        file.read_text().replace('"n_codebooks": 2', '"n_codebooks": 1').replace('"n_frames": 4', '"n_frames": 3')
    )

    gate = run_gate(pytester, "P0.2", tiny.ckpt)

    assert gate["outcome"] == "error"
    assert "golden example golden-t2a-0: found 3 audio ids expected" in findings(gate)
