"""What GitHub Actions is told: annotations that say what happened and nothing else, a summary that fits its page."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates import github
from gates.options import GATES_ROOT
from harness.results import GateResult, Verdict, decide
from tests.closed import STAGE_4
from tests.hostile import CONTROL, HOSTILE, LONG, PLUGIN
from tests.small_verdict import small_verdict
from tests.tiny import Tiny


@dataclass
class Runner:
    """GitHub's runner reading a log: the parsing of actions/runner, ActionCommand.cs and ActionCommandManager.cs."""

    commands: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    known: set[str] = field(
        default_factory=lambda: {"error", "warning", "notice", "add-mask", "stop-commands", "group"}
    )
    token: str | None = None

    def read(self, log: str) -> "Runner":
        for line in re.split(r"\r\n|\n|\r", log):
            parsed = self._parse(line)
            if parsed is None:
                continue
            name, _, data = parsed
            if self.token is not None:
                if name == self.token:
                    self.known.discard(self.token)
                    self.token = None
            elif name == "stop-commands":
                self.token = data
                self.known.add(data)
            else:
                self.commands.append(parsed)
        return self

    def _parse(self, line: str) -> tuple[str, dict[str, str], str] | None:
        text = line.lstrip()
        if text.startswith("::") and (end := text.find("::", 2)) >= 0:
            name, _, pairs = text[2:end].partition(" ")
            if name in self.known:
                given = dict(pair.split("=", 1) for pair in pairs.split(",") if "=" in pair)
                return name, {key: _unescaped(value) for key, value in given.items()}, _unescaped(text[end + 2 :])
        start = line.find("##[")
        if start >= 0 and (end := line.find("]", start)) >= 0:
            name = line[start + 3 : end].partition(" ")[0]
            if name in self.known:
                return name, {}, line[end + 1 :]
        return None


def _unescaped(text: str) -> str:
    for escaped, plain in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escaped, plain)
    return text


def verdict_of(*gates: GateResult, next_step: str = "Do this next.") -> Verdict:
    return small_verdict(gates, decide(gates, smoke=False), next_step=next_step)


def gate(id_: str, outcome: str, reason: str = "it fell short") -> GateResult:
    return GateResult(
        id=id_, name="a_gate", priority="P0" if id_.startswith("P0") else "P1", outcome=outcome, claim="It holds",
        advice=("Mend it",), details={} if outcome == "pass" else {"reason": reason},
    )  # fmt: skip


def told(verdict: Verdict) -> list[tuple[str, dict[str, str], str]]:
    return Runner().read("\n".join(github.annotations(verdict))).commands


def test_a_p0_gate_is_an_error_and_a_p1_gate_a_warning() -> None:
    verdict = verdict_of(gate("P0.0", "pass"), gate("P0.1", "fail"), gate("P0.2", "not_run"), gate("P1.1", "error"))

    assert told(verdict) == [
        ("error", {"title": "P0.1 a_gate failed"}, "it fell short\nTry first: Mend it"),
        ("error", {"title": "P0.2 a_gate was not run"}, "it fell short\nTry first: Mend it"),
        ("warning", {"title": "P1.1 a_gate could not be measured"}, "it fell short\nTry first: Mend it"),
    ]


def test_a_promotion_is_silent_and_a_verdict_without_a_red_gate_is_an_error() -> None:
    green = verdict_of(gate("P0.0", "pass"))

    assert told(green) == []
    smoke = green.model_copy(update={"verdict": "INCOMPLETE"})
    assert told(smoke) == [("error", {"title": "INCOMPLETE: stage4 gates"}, "Do this next.")]


@given(st.text(), st.text())
def test_no_text_ends_a_command_or_begins_another(title: str, text: str) -> None:
    line = github.command("error", text, title=f"t{title}")

    (command,) = Runner().read(line).commands
    assert (command[0], command[2]) == ("error", text)
    assert command[1] == {"title": f"t{title}"}


def test_hostile_reasons_stay_in_their_annotation() -> None:
    found = told(verdict_of(gate("P0.1", "fail", HOSTILE), gate("P0.2", "fail", LONG)))

    assert [(name, given) for name, given, _ in found] == [
        ("error", {"title": "P0.1 a_gate failed"}),
        ("error", {"title": "P0.2 a_gate failed"}),
    ]
    assert "\\x1b[2J" in found[0][2]
    assert "\x1b" not in found[0][2]
    assert all(len(text) < 4096 for _, _, text in found)


def test_the_summary_is_added_to_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "summary"
    page.write_text("# from another step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    for name, value in {"SERVER_URL": "https://github.com", "REPOSITORY": "o/r", "RUN_ID": "7"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)

    assert github.append_summary("## PROMOTE \ud800") is None
    assert page.read_text().startswith("# from another step\n## PROMOTE ?\n")
    assert "https://github.com/o/r/actions/runs/7#artifacts" in page.read_text()


def test_a_summary_over_githubs_limit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "summary"
    page.write_text("x" * (github.MAX_SUMMARY_BYTES - 10))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))

    assert "over GitHub's limit of 1 MiB" in str(github.append_summary("## PROMOTE"))
    assert page.stat().st_size == github.MAX_SUMMARY_BYTES - 10


def test_a_run_tells_the_runner_and_nobody_else_does(
    pytester: pytest.Pytester, shared_tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All hostile text of a run in one log: commands are taken only of ours. A page that cannot be written warns."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no" / "such" / "page"))
    pytester.makepyfile(hostile=PLUGIN)
    pytester.syspathinsert()
    options = [f"--ckpt={shared_tiny.ckpt}", f"--out={tmp_path / 'out'}", "-p", "hostile", "-k", "p00 or p01 or p06"]

    result = pytester.runpytest_inprocess(*STAGE_4, *options)

    assert result.ret == 1
    log = result.stdout.str()
    found = Runner().read(log).commands
    n_gates = len(list((GATES_ROOT / "stage4").glob("test_*.py")))
    assert [given["title"].split()[0] for _, given, _ in found][:2] == ["P0.0", "P0.1"]
    assert len(found) == n_gates
    assert {name for name, _, _ in found} == {"error", "warning"}
    assert "warning: GITHUB_STEP_SUMMARY=" in log
    assert not re.search(CONTROL, log)


def test_the_page_says_what_the_verdict_says(
    pytester: pytest.Pytester, shared_tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "page"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))

    pytester.runpytest_inprocess(
        *STAGE_4, f"--ckpt={shared_tiny.ckpt}", f"--out={tmp_path / 'out'}", "-o", "addopts=", "-p", "no:terminal",
        "-k", "p00",
    )  # fmt: skip

    assert page.read_text().startswith("## ! INCOMPLETE: checkpoint_20 (stage4)")
