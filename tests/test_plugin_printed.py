"""The plugin's hooks, on made-up gates without a checkpoint: what is printed, and what goes to others."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.gating import SIGNS
from tests.hostile import ACTED_ON, CONTROL, HOSTILE
from tests.made_up_gates import SHORT, Stage


def test_nothing_that_a_terminal_would_act_on_is_printed(stage: Stage) -> None:
    hostile = (
        f"import warnings\n@gate(P0)\ndef test_hard(accept):\n    warnings.warn({ACTED_ON!r})\n"
        f"    accept.note(HOSTILE)\n    raise {{}}({ACTED_ON!r})\n"
    )
    for error in ("ValueError", "GateFailedError"):
        run = stage.run("-W", "default", hard=hostile.format(error))
        assert not re.search(CONTROL, run.said)
        assert "\\x1b[2J" in run.said
        note = run.verdict["gates"][0]["details"]["notes"][0]
        assert note != HOSTILE
        assert note.startswith(HOSTILE[:90])
    broken = stage.run(hard=f"raise ValueError({ACTED_ON!r})\n")
    assert "\\x1b[2J" in broken.said
    assert broken.code == 2
    assert not re.search(CONTROL, broken.said)


def test_a_junit_file_holds_gates_and_verdict(stage: Stage) -> None:
    file = stage.pytester.path / "junit.xml"
    assert stage.run(f"--junitxml={file}").code == 0
    cases = {case.get("name"): case for case in ET.parse(file).getroot().iter("testcase")}

    assert set(cases) == {"test_hard", "test_soft", "verdict"}
    said = {each.get("name"): each.get("value") for each in cases["test_hard"].iter("property")}
    assert (said["gate"], said["share"], said["share.rule"]) == ("P0.9", "1", ">= 0.5")
    assert not {"gate_result", "evidence_use"} & set(said)
    stage.run(f"--junitxml={file}", hard="@gate(P0)\ndef test_hard(accept):\n    pytest.skip('x')\n")
    cases = {case.get("name"): case for case in ET.parse(file).getroot().iter("testcase")}
    assert cases["test_hard"].find("error") is not None
    assert cases["verdict"].find("error") is not None


def test_a_junit_file_that_cannot_be_written_is_no_promotion(stage: Stage) -> None:
    (stage.pytester.path / "file").write_text("x")
    sees = (
        "@pytest.hookimpl(wrapper=True)\ndef pytest_sessionfinish(session):\n    yield\n"
        "    session.config.get_terminal_writer().line(f'and then {session.exitstatus}')\n"
    )
    run = stage.run(f"--junitxml={stage.pytester.path / 'file' / 'junit.xml'}", beside=sees)

    assert (run.code, run.verdict["verdict"]) == (10, "INCOMPLETE")
    assert "FileExistsError" in run.verdict["next_step"]
    assert "FileExistsError" in run.said
    assert "and then 10" in run.said  # to whoever is told of the end after it was tried
    decisions = [line.split()[0] for line in run.said.splitlines() if line.startswith(("PROMOTE", "INCOMPLETE"))]
    assert decisions == ["INCOMPLETE"]  # the summary is printed after the file was tried


@pytest.mark.parametrize("terminal", [True, False])
def test_githubs_runner_takes_commands_before_and_after_and_not_between(
    stage: Stage, terminal: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    run = stage.run(*([] if terminal else ["-p", "no:terminal"]), hard=SHORT)

    lines = run.said.splitlines()
    (stop,) = [i for i, line in enumerate(lines) if line.startswith("::stop-commands::")]
    token = lines[stop].rpartition("::")[2]
    resumed = lines.index(f"::{token}::")
    told = [i for i, line in enumerate(lines) if line.startswith("::error title=P0.9")]
    assert stop < resumed < told[0]
    assert len(told) == 1
    if terminal:
        assert stop < min(i for i, line in enumerate(lines) if "REJECT" in line)
        assert max(i for i, line in enumerate(lines) if line.startswith("REJECT")) < resumed
    assert page.read_text().startswith("## ✕ REJECT: checkpoint_5 (stage4)")


def test_a_page_that_cannot_be_written_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no" / "such"))
    run = stage.run()

    assert run.code == 0
    assert "GITHUB_STEP_SUMMARY=" in run.said


# The module is registered before the plugin's own objects, Late after everything else, and so called first of all,
# unless others insist.
LATE = """
def pytest_unconfigure(config):
    config.get_terminal_writer().line("::error::early end")

class Late:
    def __init__(self, config):
        self.config = config
    def pytest_sessionstart(self):
        self.config.get_terminal_writer().line("::error::late start")
    def pytest_unconfigure(self):
        self.config.get_terminal_writer().line("::error::late end")
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report):
        assert not {"gate_result", "evidence_use"} & {each[0] for each in report.user_properties}
        assert ("other", "kept") in report.user_properties or report.when == "setup"
        yield
    def pytest_warning_recorded(self, warning_message):
        self.config.get_terminal_writer().line(f"late {warning_message.message}")

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.pluginmanager.register(Late(config))
"""


def test_whoever_comes_late_is_still_between_stop_and_resume_and_sees_nothing_internal(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    (stage.pytester.path / "late.py").write_text("import pytest\n" + LATE)
    stage.pytester.syspathinsert()
    warns = f"    import warnings\n    warnings.warn({ACTED_ON!r})\n    record_property('other', 'kept')\n"
    both = "".join(
        f"@gate({gate})\ndef test_{gate}(accept, record_property):\n    measured(accept)\n{warns}"
        for gate in ("P0", "P1")
    )
    run = stage.run("-p", "late", "-W", "default", hard=both, soft="")

    assert (run.code, run.verdict["verdict"]) == (0, "PROMOTE")
    lines = run.said.splitlines()
    (stop,) = [i for i, line in enumerate(lines) if line.startswith("::stop-commands::")]
    resumed = lines.index(f"::{lines[stop].rpartition('::')[2]}::")
    assert stop < lines.index("::error::late start") < lines.index("::error::late end")
    assert lines.index("::error::late end") < lines.index("::error::early end") < resumed
    assert "late \\x1b[2J" in run.said
    assert not re.search(CONTROL, run.said)


@pytest.mark.parametrize("ci", [True, False])
def test_ci_gets_no_colours(stage: Stage, ci: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SIGNS:
        monkeypatch.delenv(name, raising=False)
    if ci:
        monkeypatch.setenv("CI", "true")
    terminal = (
        "@pytest.hookimpl(trylast=True)\ndef pytest_configure(config):\n"
        "    reporter = config.pluginmanager.getplugin('terminalreporter')\n"
        "    reporter._tw.hasmarkup = reporter.hasmarkup = True\n"
    )

    assert ("\x1b[" in stage.run(beside=terminal).said) is not ci


def test_evidence_is_counted_once(stage: Stage) -> None:
    hard = (
        "from gates.plugin import EVIDENCE\nfrom harness.evidence import Use\n"
        "@gate(P0)\ndef test_hard(accept, request):\n    measured(accept)\n"
        "    request.config.stash[EVIDENCE].uses += [Use('a', 'm', True), Use('b', 'm', False)]\n"
    )
    run = stage.run(hard=hard)

    assert run.verdict["run"]["evidence"] == {"measured": 1, "reused": 1}
    assert "evidence: 1 measured, 1 reused" in run.said


def test_elsewhere_no_runner_is_told_anything(stage: Stage) -> None:
    assert not [line for line in stage.run(hard=SHORT).said.splitlines() if line.startswith("::")]
