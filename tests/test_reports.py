"""The report: everything in a verdict is shown, in the order in which a reader needs it."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from harness.results import CheckpointId, Decision, GateResult
from reports import findings
from reports import format as written
from reports.details import MAX_JSON_BYTES, read_details
from reports.render import render
from tests.report_world import HOSTILE, Elements, gate, measurement, verdict


def test_the_verdict_its_reason_and_the_next_step_come_first(page: str) -> None:
    assert page.index("REJECT") < page.index("P0.3 decode failed") < page.index("Increase the share of T2A")
    assert page.index("Increase the share") < page.index('id="findings"') < page.index('id="gates"')
    assert f'<code title="{"ab12" * 16}">ab12ab12ab12</code>' in page
    assert "2 November 2026, 20:41 UTC" in page


def test_what_did_not_pass_is_ordered_blocking_first_failed_first(tmp_path: Path) -> None:
    gates = [gate("P1.1", "fail"), gate("P0.1", "not_run"), gate("P0.2", "error"), gate("P0.3", "fail"), gate("P0.4")]
    assert [each.id for each in findings.not_passed(verdict(*gates))] == ["P0.3", "P0.2", "P0.1", "P1.1"]


def test_a_gate_that_did_not_pass_has_its_advice_and_the_command(page: str) -> None:
    assert page.index("Use constrained decoding.") < page.index("Use per-sample dynamic length.")
    text = re.sub(r"<[^>]*>", "", page)
    assert "pytest gates/stage4/test_p03_decode.py --ckpt=runs/stage4/checkpoint_2000" in text
    assert "pytest gates/stage4 --ckpt=runs/stage4/checkpoint_2000" in text[text.index("What went in") :]
    assert "base_fingerprint.json: found no file" in page


def test_nan_and_null_are_not_measured(tmp_path: Path) -> None:
    for value in (math.nan, math.inf, None):
        figure = measurement("x", value, threshold=0.1, op=">=")
        assert findings.standing(figure) == "not_measured"
        assert written.value_of(figure) == "not measured"
        text = render(tmp_path, verdict(gate("P0.4", "error", measurements=(figure,)))).html.read_text("utf-8")
        assert "not measured" in text
        assert re.search(r"\b(nan|None|inf)\b", re.sub(r"<style>.*?</style>", "", text, flags=re.S)) is None


def test_changed_thresholds_are_announced_beside_the_verdict_with_the_specs_number(page: str, summary: str) -> None:
    assert page.index("Judged under changed thresholds: 2 differ") < page.index('id="findings"')
    assert re.search(r"MIN_WIN_RATE_EMPTY</th>.*?0\.8</td>.*?<strong>0\.75</strong>", page, re.S)
    assert "Not the spec's thresholds:" in summary


def test_unknown_details_are_collapsed_and_short(page: str) -> None:
    text = read_details({"rank": list(range(5000)), "curves": [1]}).other
    assert text.startswith('{\n  "rank"')
    assert len(text.encode()) < MAX_JSON_BYTES + 100
    assert "curves" not in text
    assert '<details class="raw"><summary>Further details' in page


@pytest.mark.parametrize("key", ["gallery", "losses", "pairs", "worst", "notes"])
@pytest.mark.parametrize("value", ["text", 3, [1, "x"], {"a": 1}, None, [[]], {"a": {"b": [1]}}, [{"id": 10**400}]])
def test_details_of_another_form_never_stop_the_report(tmp_path: Path, key: str, value: object) -> None:
    text = render(tmp_path, verdict(gate(details={key: value}))).html.read_text("utf-8")
    assert "P0.4" in text


def test_details_nested_without_end_never_stop_the_report() -> None:
    nested: dict[str, Any] = {}
    nested["deep"] = nested
    assert "too deeply" in read_details(nested).other


def test_the_gallery_shows_the_failed_sample_first_with_its_reference(page: str) -> None:
    elements = Elements(page)
    assert len(elements.of("audio")) == 10
    assert all(each.get("aria-label") for each in elements.of("audio"))
    assert len(elements.of("img")) == 21  # 5 pictures and 5 sounds, their references, and the smallest failing one
    assert all(each.get("alt") for each in elements.of("img"))
    sounds = page[page.index("Text to sound") :]
    assert sounds.index("t2a-004") < sounds.index("decoded to 640 samples") < sounds.index("t2a-000")


def test_a_gate_id_cannot_break_the_page(tmp_path: Path) -> None:
    text = render(tmp_path, verdict(gate('P0"><b>'))).html.read_text("utf-8")
    assert "<b>" not in text


def test_a_summary_names_verdict_gates_and_worst_findings(summary: str) -> None:
    assert summary.startswith("## ✕ REJECT: checkpoint_2000 (stage4)")
    assert "| P0.4 | prompt ablation | P0 | ✕ failed |" in summary
    worst = [line for line in summary.splitlines() if line.startswith("- **")]
    assert [re.findall(r"P\d\.\d", line)[0] for line in worst] == ["P0.3", "P0.4", "P0.5"]
    assert "**Next step:** Increase the share" in summary
    assert summary.rstrip().endswith("report.html")


@pytest.mark.parametrize(
    ("decision", "gates", "said"),
    [
        ("PROMOTE", [gate("P0.1"), gate("P1.1")], "Every P0 gate passed (1 of 1), and no P1 gate warns."),
        ("PROMOTE", [gate("P0.1"), gate("P1.1", "fail")], "1 P1 gate did not, and is a warning"),
        ("INCOMPLETE", [gate("P0.1")], "not a whole one"),
        ("INCOMPLETE", [gate("P1.1")], "No P0 gate was run"),
        ("INCOMPLETE", [gate("P0.1", "error")], "P0.1 prompt ablation could not be measured."),
        ("REJECT", [gate("P0.1", "fail"), gate("P0.2", "fail")], "1 other P0 gate did not pass either"),
    ],
)
def test_one_sentence_says_why(decision: Decision, gates: list[GateResult], said: str) -> None:
    assert said in findings.why(verdict(*gates, decision=decision))


def test_a_verdict_without_gates_still_has_a_report(tmp_path: Path) -> None:
    empty = verdict(decision="INCOMPLETE", checkpoint=CheckpointId(path="x", step=None, sha256=None))
    assert "No P0 gate was run" in render(tmp_path, empty).html.read_text("utf-8")


def test_the_summary_cannot_break_its_table_or_its_pull_request(tmp_path: Path) -> None:
    named = gate("P0.4", "fail", name=f"{HOSTILE}\n| x | y |", advice=(HOSTILE,))
    text = render(tmp_path, verdict(named, next_step=HOSTILE)).summary.read_text(encoding="utf-8")
    text, _, link = text.rpartition("\nReport: ")
    assert link.startswith("[report.html](report.html)")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert len(re.findall(r"(?<!\\)\|", rows[2])) == 6
    assert "<script" not in text
    assert re.search(r"(?<!\\)`", text) is None
    assert re.search(r"(?<!\\)\[", text) is None
    assert "@someone" not in text
