"""The JUnit file of a run: measures as properties, outcomes as tags, and well-formed whatever an error quotes."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gates.junit import properties_of
from harness.results import GateResult, Measurement
from tests.closed import ROOT
from tests.closed import STAGE_4 as GATES
from tests.hostile import PLUGIN
from tests.tiny import Tiny

Cases = dict[str, ET.Element]
RED = ("failure", "error", "skipped")


def cases_of(path: Path) -> Cases:
    """Test cases by the id of their gate; of those without one by name."""
    found = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        found[properties(case).get("gate", case.get("name", ""))] = case
    return found


def properties(case: ET.Element) -> dict[str, str]:
    return {each.get("name", ""): each.get("value", "") for each in case.iter("property")}


def tag(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag in RED), "green")


@pytest.fixture(scope="module")
def junit(shared_tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a run over workers in which gates pass, fail, err, are skipped and are left out."""
    root = tmp_path_factory.mktemp("junit")
    (root / "hostile.py").write_text(PLUGIN)
    options = [f"--ckpt={shared_tiny.ckpt}", f"--out={root / 'out'}", f"--junitxml={root / 'junit.xml'}", "-n", "2",
               "-p", "hostile", "-k", "p00 or p01 or p02 or p06 or p15"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *GATES, *options],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout[-3000:]
    return root / "junit.xml"


def test_a_run_without_workers_gives_the_same_tags(
    pytester: pytest.Pytester, shared_tiny: Tiny, junit: Path, tmp_path: Path
) -> None:
    pytester.makepyfile(hostile=PLUGIN)
    pytester.syspathinsert()
    options = [f"--ckpt={shared_tiny.ckpt}", f"--out={tmp_path / 'out'}", f"--junitxml={tmp_path / 'junit.xml'}"]

    pytester.runpytest_inprocess(*GATES, *options, "-p", "hostile", "-k", "p00 or p01 or p06")

    alone, over_workers = cases_of(tmp_path / "junit.xml"), cases_of(junit)
    for id_ in ("P0.0", "P0.1", "P0.3", "P0.6", "P1.1", "verdict"):
        assert tag(alone[id_]) == tag(over_workers[id_])


def test_an_expected_failure_is_red_whether_it_passes_or_not(
    pytester: pytest.Pytester, shared_tiny: Tiny, tmp_path: Path
) -> None:
    pytester.makepyfile(
        expecting="""
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.xfail)
        """
    )
    pytester.syspathinsert()
    options = [f"--ckpt={shared_tiny.ckpt}", f"--out={tmp_path / 'out'}", f"--junitxml={tmp_path / 'junit.xml'}"]

    pytester.runpytest_inprocess(*GATES, *options, "-p", "expecting", "-k", "p00")

    cases = cases_of(tmp_path / "junit.xml")
    assert (tag(cases["P0.0"]), tag(cases["verdict"])) == ("error", "error")
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]
    assert int(str(suite.get("tests"))) == len(list(suite.iter("testcase")))


def test_every_part_of_a_measure_is_a_property() -> None:
    measurement = Measurement(name="w", value=0.75, unit="share", n=256, low=0.69, high=0.8, threshold=0.7, op=">=",
                              confidence="borderline")  # fmt: skip
    result = GateResult(id="X", name="x", priority="P0", outcome="pass", claim="c", measurements=(measurement,))

    assert dict(properties_of(result)).items() >= {
        "w": "0.75", "w.unit": "share", "w.n": "256", "w.interval": "[0.69, 0.8]", "w.rule": ">= 0.7",
        "w.confidence": "borderline",
    }.items()  # fmt: skip


def test_each_outcome_has_its_tag(junit: Path) -> None:
    cases = cases_of(junit)

    assert {id_: tag(cases[id_]) for id_ in ("P0.0", "P0.1", "P0.2", "P0.6", "P1.5", "verdict")} == {
        "P0.0": "failure",  # measured, and not good enough
        "P0.1": "error",  # could not be measured
        "P0.2": "green",
        "P0.6": "error",  # skipped: a P0 gate that did not run
        "P1.5": "skipped",  # a P1 gate whose input is not there
        "verdict": "failure",
    }
    # Left out of the run, and in the file all the same.
    assert {id_: tag(cases[id_]) for id_ in ("P0.3", "P0.4", "P0.5", "P1.1")} == {
        "P0.3": "error", "P0.4": "error", "P0.5": "error", "P1.1": "skipped"
    }  # fmt: skip
    suite = ET.parse(junit).getroot()[0]
    counted = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    tags = [tag(case) for case in suite.iter("testcase")]
    assert counted == {"tests": str(len(tags)), "failures": str(tags.count("failure")),
                       "errors": str(tags.count("error")), "skipped": str(tags.count("skipped"))}  # fmt: skip


def test_measures_are_properties_and_nothing_internal_is(junit: Path) -> None:
    found = properties(cases_of(junit)["P0.2"])

    assert found["outcome"] == "pass"
    assert found["t2a.out_of_range_pct (constrained)"] == "0"
    assert found["t2a.out_of_range_pct (constrained).unit"] == "%"
    assert found["t2a.out_of_range_pct (constrained).rule"] == "<= 0"
    text = junit.read_text(encoding="utf-8")
    assert "gate_result" not in text
    assert "evidence_use" not in text
    assert all(len(value) <= 1_000 for case in cases_of(junit).values() for value in properties(case).values())


def test_hostile_errors_are_text(junit: Path) -> None:
    cases = cases_of(junit)
    for id_ in ("P0.0", "P0.1"):
        (red,) = [child for child in cases[id_] if child.tag in RED]
        assert "<script>alert(1)</script>" in str(red.text)
        assert "]]>" in str(red.text)
        assert "\\x1b[2J" in str(red.text)
        assert not any(ord(character) < 32 and character not in "\n\t" for character in str(red.text))
    assert len(str(next(iter(cases["P0.0"].iter("failure"))).text)) < 30_000
