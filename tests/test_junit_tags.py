"""JUnit files by pytest's own writer: which tag a gate's outcome gets, what is counted, and which cases are added."""

import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.junitxml import LogXML

from gates.junit import describe, mark_outcome, properties_of
from harness.results import GateResult, Measurement, Outcome, Priority
from tests.gate_runs import P0, P1


def result(outcome: Outcome, priority: Priority = "P0", *figures: Measurement, **details: Any) -> GateResult:
    return GateResult(
        id="P0.9", name="n", priority=priority, outcome=outcome, claim="c", measurements=figures, details=details
    )


def marked(
    outcome: Outcome, noted: str | None = "failure", priority: Priority = "P0", when: str = "call"
) -> tuple[LogXML, list[str]]:
    """The writer, and the tags of the test case, after pytest has noted something of it."""
    xml = LogXML("junit.xml", None)
    report = pytest.TestReport("a.py::test_a", ("a.py", 1, "test_a"), {}, "failed", None, when)  # type: ignore[arg-type]
    case = xml.node_reporter(report)
    if noted:
        case.append(ET.Element(noted, message="m"))
    else:
        xml.add_stats("passed")
    mark_outcome(xml, report, result(outcome, priority, reason="why"))
    return xml, [node.tag for node in case.nodes]


@pytest.mark.parametrize(
    ("outcome", "priority", "tag"),
    [("fail", "P0", "failure"), ("error", "P0", "error"), ("not_run", "P0", "error"), ("fail", "P1", "failure"),
     ("error", "P1", "error"), ("not_run", "P1", "skipped")],
)  # fmt: skip
@pytest.mark.parametrize("noted", ["failure", "error", "skipped"])
@pytest.mark.parametrize("when", ["setup", "call"])
def test_a_case_gets_the_tag_of_its_gate(outcome: Outcome, priority: Priority, tag: str, noted: str, when: str) -> None:
    xml, tags = marked(outcome, noted, priority, when)

    assert tags == [tag]
    assert {name: n for name, n in xml.stats.items() if n} == {tag: 1}


def test_what_pytest_let_pass_and_the_gate_did_not_is_no_pass() -> None:
    xml, tags = marked("not_run", None)

    assert tags == ["error"]
    assert xml.stats["passed"] == 0


@pytest.mark.parametrize(("outcome", "when"), [("pass", "call"), ("fail", "teardown")])
def test_a_pass_and_a_teardown_are_left_as_they_are(outcome: Outcome, when: str) -> None:
    xml, tags = marked(outcome, "skipped", when=when)

    assert tags == ["skipped"]
    assert xml.stats["skipped"] == 1


def test_properties_are_every_measure_by_its_name() -> None:
    full = Measurement(
        name="m", value=0.5, unit="share", n=9, low=0.4, high=0.6, op=">=", threshold=0.25, confidence="proven"
    )
    bare = Measurement(name="x", value=None, unit="u", n=0, low=0.1)
    found = properties_of(result("fail", "P0", full, bare))

    assert found[:5] == [("gate", "P0.9"), ("name", "n"), ("priority", "P0"), ("outcome", "fail"), ("claim", "c")]
    assert found[5:] == [
        ("m", "0.5"), ("m.unit", "share"), ("m.n", "9"), ("m.interval", "[0.4, 0.6]"), ("m.rule", ">= 0.25"),
        ("m.confidence", "proven"), ("x", "not measured"), ("x.unit", "u"), ("x.n", "0"),
    ]  # fmt: skip


@pytest.mark.parametrize("half", [{"op": ">="}, {"threshold": 0.0}, {"high": 0.5}])
def test_half_a_rule_or_interval_is_none(half: dict[str, Any]) -> None:
    names = [
        name for name, _ in properties_of(result("pass", "P0", Measurement(name="m", value=1.0, unit="u", n=1, **half)))
    ]

    assert names[5:] == ["m", "m.unit", "m.n"]


def test_texts_are_one_line_that_xml_can_hold() -> None:
    claiming = result("pass").model_copy(update={"claim": "a\n\x00" + "b" * 2_000})
    value = dict(properties_of(claiming))["claim"]

    assert "\n" not in value
    assert "\x00" not in value
    assert len(value) <= 1_000
    whole = result("pass").model_copy(update={"claim": "b" * 1_000})
    assert dict(properties_of(whole))["claim"] == "b" * 1_000


@pytest.mark.parametrize(
    ("decision", "tag", "stat"),
    [("PROMOTE", None, "passed"), ("REJECT", "failure", "failure"), ("INCOMPLETE", "error", "error")],
)
def test_the_last_case_is_the_verdict_and_gates_without_a_test_have_one(
    tmp_path: Path, decision: str, tag: str | None, stat: str
) -> None:
    xml = LogXML(str(tmp_path / "j.xml"), None)
    gates = [result("not_run", reason="left out").model_copy(update={"id": each.id}) for each in (P0, P1)]
    verdict: Any = SimpleNamespace(
        gates=gates,
        verdict=decision,
        stage="stage4",
        next_step="go on",
        checkpoint=SimpleNamespace(path="c", sha256=None),
    )
    describe(xml, verdict, tested=["P1.9"])

    cases = [reporter.to_xml() for reporter in xml.node_reporters_ordered]
    assert [case.get("name") for case in cases] == ["P0.9 n", "verdict"]
    assert {case.get("classname") for case in cases} == {"gates.stage4"}
    assert [child.tag for child in cases[0] if child.tag != "properties"] == ["error"]
    assert cases[0].find("error").get("message") == "left out"  # type: ignore[union-attr]
    assert [child.tag for child in cases[1] if child.tag != "properties"] == ([tag] if tag else [])
    said = {p.get("name"): p.get("value") for p in cases[1].iter("property")}
    assert said == {"verdict": decision, "stage": "stage4", "checkpoint": "c", "checkpoint.sha256": "unknown"}
    if tag is None:
        assert xml.stats[stat] == 1
