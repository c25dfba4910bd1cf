"""What a run tells GitHub Actions: annotations of what did not pass, and the summary on the run's page.

The runner reads commands from the log: a line that begins with `::name key=value::message`, or holds `##[name]`
anywhere (actions/runner, src/Runner.Common/ActionCommand.cs). Prompts and error texts go to the same log, where they
cannot be told from commands. So for the length of a run the runner is told to take none (`stop-commands`, with a token
that nobody can guess); the annotations, escaped, follow after it.
"""

import os
import secrets
from pathlib import Path

from gates.shown import one_line, printable
from harness.results import GateResult, Verdict

MAX_SUMMARY_BYTES = 2**20  # of a step's summary file; GitHub shows nothing of a larger one
MAX_TITLE, MAX_MESSAGE = 120, 2_000  # characters; the runner cuts a message at 4096
_LEVEL = {"P0": "error", "P1": "warning"}
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def on_github() -> bool:
    """Whether GitHub Actions runs this."""
    return os.environ.get("GITHUB_ACTIONS", "").lower() == "true"


def command(name: str, message: str, **properties: str) -> str:
    """A workflow command, on one line, whose text cannot end it or begin another one."""
    given = ",".join(f"{key}={_escaped(value, _PROPERTY)}" for key, value in properties.items())
    return f"::{name}{' ' if given else ''}{given}::{_escaped(message, _DATA)}"


def stop_commands() -> tuple[str, str]:
    """The command that makes the runner take no commands, and the one that ends this."""
    token = secrets.token_hex(16)
    return command("stop-commands", token), command(token, "")


def annotations(verdict: Verdict | None) -> list[str]:
    """An error for each P0 gate that did not pass, a warning for each P1 gate; one for a verdict that no gate explains.

    GitHub shows ten of each level and step; no stage has more gates.
    """
    if verdict is None:
        return [command("error", "No verdict could be written: see the log.", title="INCOMPLETE")]
    wrong = [gate for gate in verdict.gates if gate.outcome != "pass"]
    lines = [command(_LEVEL[gate.priority], _what(gate), title=_title(gate)) for gate in wrong]
    if verdict.verdict != "PROMOTE" and all(gate.priority == "P1" for gate in wrong):
        lines.insert(0, command("error", _text(verdict.next_step), title=f"{verdict.verdict}: {verdict.stage} gates"))
    return lines


def append_summary(markdown: str) -> str | None:
    """Add a Markdown text to the run's page, where there is one.

    Returns:
        What went wrong; it is a warning, and never changes a verdict.
    """
    given = os.environ.get("GITHUB_STEP_SUMMARY")
    if not given:
        return None
    path, content = Path(given), f"{markdown.rstrip()}\n{_where_artifacts_are()}\n".encode(errors="replace")
    try:
        there = path.stat().st_size if path.exists() else 0
        if there + len(content) > MAX_SUMMARY_BYTES:
            return f"GITHUB_STEP_SUMMARY: {there} bytes and {len(content)} more are over GitHub's limit of 1 MiB"
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY={given}: {error.strerror or error}; the summary is not shown on the run's page"
    return None


def _where_artifacts_are() -> str:
    server, repository, run = (os.environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    if not (server and repository and run):
        return ""
    return f"\n[Artifacts of this run]({server}/{repository}/actions/runs/{run}#artifacts)\n"


def _title(gate: GateResult) -> str:
    happened = {"fail": "failed", "error": "could not be measured", "not_run": "was not run"}[gate.outcome]
    return one_line(f"{gate.id} {gate.name} {happened}", MAX_TITLE)


def _what(gate: GateResult) -> str:
    reason = str(gate.details.get("reason") or gate.claim)
    advice = f"\nTry first: {gate.advice[0]}" if gate.advice else ""
    return _text(reason) + advice


def _text(text: str) -> str:
    shown = printable(text[:MAX_MESSAGE])
    return shown if len(text) <= MAX_MESSAGE else f"{shown}…"


def _escaped(text: str, rules: dict[str, str]) -> str:
    return "".join(rules.get(character, character) for character in text)
