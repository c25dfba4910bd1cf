"""What pytest's own `--junitxml` says about gates: every measure as properties, and a tag that tells outcomes apart.

`failure` is a gate that failed, `error` one that could not be measured. A P0 gate that did not run is an `error` too,
and stands in the file even where no test of it ran: dashboards take a skipped or an absent test for a green one, and a
checkpoint that was not measured is not to look green. A P1 gate that did not run warns: `skipped`. The last test case
is the verdict itself: `failure` for REJECT, `error` for INCOMPLETE; it is green for PROMOTE alone.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable

import pytest
from _pytest.junitxml import LogXML, bin_xml_escape, xml_key

from gates.shown import one_line
from harness.results import GateResult, Measurement, Verdict

MAX_PROPERTY = 1_000  # characters
_RED = ("failure", "error", "skipped")


def properties_of(result: GateResult) -> list[tuple[str, str]]:
    """A gate's result as pairs of text: a measure by its name, beside it `.unit .n .interval .rule .confidence`."""
    pairs = [
        ("gate", result.id), ("name", result.name), ("priority", result.priority), ("outcome", result.outcome),
        ("claim", result.claim),
    ]  # fmt: skip
    for measurement in result.measurements:
        pairs += _measure(measurement)
    return [(_text(name), _text(value)) for name, value in pairs]


def junit_of(config: pytest.Config) -> LogXML | None:
    """pytest's JUnit writer, where `--junitxml` asks for one."""
    return config.stash.get(xml_key, None)


def mark_outcome(xml: LogXML, report: pytest.TestReport, result: GateResult) -> None:
    """Give the test case that the writer has just noted the tag of its gate's outcome."""
    if report.when not in ("setup", "call") or result.outcome == "pass":
        return  # what goes wrong in a teardown is an error to the writer as it is to us
    case = xml.node_reporter(report)
    tag = _tag(result)
    noted = [node for node in case.nodes if node.tag in _RED]
    if not noted:
        xml.stats["passed"] -= 1  # an expected failure that passed: to the writer a pass
        case.append(ET.Element(tag, message=_reason(result)))
        return
    for node in noted:
        xml.stats[node.tag] -= 1
        xml.stats[tag] += 1
        node.tag = tag


def describe(xml: LogXML, verdict: Verdict, tested: Iterable[str]) -> None:
    """Add the gates of which no test ran, the verdict, and what was judged."""
    for gate in verdict.gates:
        if gate.id not in tested:
            _add_case(xml, verdict.stage, f"{gate.id} {gate.name}", _tag(gate), _reason(gate), properties_of(gate))
    wrong = {"PROMOTE": None, "REJECT": "failure", "INCOMPLETE": "error"}[verdict.verdict]
    said = [("verdict", verdict.verdict), ("stage", verdict.stage), ("checkpoint", verdict.checkpoint.path),
            ("checkpoint.sha256", verdict.checkpoint.sha256 or "unknown")]  # fmt: skip
    pairs = [(name, _text(value)) for name, value in said]
    _add_case(xml, verdict.stage, "verdict", wrong, _text(verdict.next_step), pairs)


def _add_case(
    xml: LogXML, stage: str, name: str, tag: str | None, text: str, properties: list[tuple[str, str]]
) -> None:
    case = xml.node_reporter(f"gates/{stage}::{name}")
    case.attrs.update(classname=f"gates.{stage}", name=name)
    for key, value in properties:
        case.add_property(key, value)
    if tag is None:
        xml.add_stats("passed")
    else:
        case.append(ET.Element(tag, message=text))


def _tag(result: GateResult) -> str:
    if result.outcome == "not_run":
        return "error" if result.priority == "P0" else "skipped"
    return "failure" if result.outcome == "fail" else "error"


def _reason(result: GateResult) -> str:
    return _text(str(result.details.get("reason", "not run")))


def _text(text: str) -> str:
    """One line without a character that XML has no place for."""
    return bin_xml_escape(one_line(text, MAX_PROPERTY))


def _measure(m: Measurement) -> list[tuple[str, str]]:
    pairs = [(m.name, _number(m.value)), (f"{m.name}.unit", m.unit), (f"{m.name}.n", str(m.n))]
    if m.low is not None and m.high is not None:
        pairs.append((f"{m.name}.interval", f"[{_number(m.low)}, {_number(m.high)}]"))
    if m.op is not None and m.threshold is not None:
        pairs.append((f"{m.name}.rule", f"{m.op} {_number(m.threshold)}"))
    if m.confidence is not None:
        pairs.append((f"{m.name}.confidence", m.confidence))
    return pairs


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.10g}"
