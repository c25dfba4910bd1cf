"""What a gate run prints: a line a measurement under way, and the verdict at the end.

All text is foreign (names of checkpoints, reasons that quote prompts), so all of it goes through gates.shown. Colours
are pytest's own: none where the output is no terminal, under NO_COLOR or --color=no. The progress line needs no escape
sequence, only a carriage return, and that only on a terminal and not in CI.
"""

import os
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from gates.shown import one_line
from harness.results import GateResult

_COLOURS = {"PROMOTE": {"green": True}, "REJECT": {"red": True}, "INCOMPLETE": {"yellow": True}}
_MARKS = {"pass": "pass", "fail": "FAIL", "error": "ERROR", "not_run": "not run"}
# Plain logs get a line at most this often, so that CI output stays readable.
_PLAIN_INTERVAL_S, _LIVE_INTERVAL_S = 10.0, 0.2
# A log has no width; a line of it is still to be read.
_LOG_WIDTH = 200
_MAX_REASON, _MAX_STEP, _MAX_PATH = 160, 2_000, 1_000


def in_ci() -> bool:
    """Whether a machine reads the output, by the sign that all CI services give."""
    return bool(os.environ.get("CI"))


def keep_plain_in_ci(config: pytest.Config) -> None:
    """No colours in CI, also where it gives a pseudo-terminal, unless they were asked for."""
    asked = any(os.environ.get(name) for name in ("FORCE_COLOR", "PY_COLORS"))
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None and in_ci() and config.option.color == "auto" and not asked:
        reporter._tw.hasmarkup = reporter.hasmarkup = False


class ProgressLine:
    """A listener for the harness that writes past pytest's capture: one line rewritten, or few plain lines."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._quiet = hasattr(config, "workerinput") or config.get_verbosity() < 0
        self._last, self._started, self._shown = 0.0, 0.0, 0
        self._live: bool | None = None  # not known before the first line: while pytest captures, nothing is a terminal

    def __call__(self, label: str, done: int, total: int, elapsed_s: float) -> None:
        """Show how far a measurement is."""
        del elapsed_s  # measured here, since some measurements report from more than one place
        if self._quiet or not total or self._capture is None:
            return
        now = time.monotonic()
        if done == 0:
            self._started = now
        ended = done == total
        due = now - self._last >= (_LIVE_INTERVAL_S if self._live else _PLAIN_INTERVAL_S)
        if not due and not (ended and self._shown):
            return
        self._last = now
        text = _progress(label, done, total, now - self._started)
        with self._capture.global_and_fixture_disabled():
            if self._live is None:
                self._live = _is_live()
            self._rewrite("" if ended else text) if self._live else _write(f"\n  {one_line(text, _LOG_WIDTH)}")

    def _rewrite(self, text: str) -> None:
        """Put a text in the place of the one that is shown; none leaves an empty line."""
        if not self._shown and self._reporter is not None:
            # pytest has written `test_p04_prompt_ablation.py ` here, and will write it again.
            self._reporter.ensure_newline()
            self._reporter.flush()
        line = one_line(text, shutil.get_terminal_size().columns - 1)
        _write(f"\r{line.ljust(self._shown)}" + ("" if line else "\r"))
        self._shown = len(line)


def _is_live() -> bool:
    stream = sys.__stderr__
    return stream is not None and stream.isatty() and not in_ci() and os.environ.get("TERM") != "dumb"


def _progress(label: str, done: int, total: int, elapsed_s: float) -> str:
    if not done:
        return f"{label}: {done}/{total}"
    left_s = elapsed_s / done * (total - done)
    return f"{label}: {done}/{total}, about {f'{left_s:.0f} s' if left_s < 90 else f'{left_s / 60:.0f} min'} left"


def _write(text: str) -> None:
    stream: Any = sys.stderr
    stream.write(text)
    stream.flush()


def write_summary(reporter: pytest.TerminalReporter, session: Any) -> None:
    """Print the gates, the verdict, what to do next and where the report is; with -q only gates that did not pass."""
    verdict, verbosity = session.verdict, reporter.verbosity
    width = reporter._tw.fullwidth if reporter.isatty else _LOG_WIDTH
    if verbosity >= 0:
        reporter.section(_title(verdict.stage, verdict.checkpoint.path, width - 6), sep="=")
    shown = [gate for gate in verdict.gates if verbosity >= 0 or gate.outcome != "pass"] if verbosity > -2 else []
    for gate in shown:
        _write_row(reporter, gate, width, whole=verbosity > 0)
    if shown:
        reporter.write_line("")
    _write_verdict(reporter, verdict.verdict, verdict.next_step, width)
    if verbosity >= 0:
        evidence = verdict.run.evidence
        reporter.write_line(f"evidence: {evidence.measured} measured, {evidence.reused} reused")
    for note in session.notes:
        reporter.write_line(one_line(f"warning: {note}", _MAX_STEP), yellow=True)
    if session.report_path is not None:
        reporter.write_line(f"report: {one_line(_from_here(session.report_path), _MAX_PATH)}")


def _write_row(reporter: pytest.TerminalReporter, gate: GateResult, width: int, *, whole: bool) -> None:
    head = f"{gate.id:<5} {gate.priority}  {_MARKS[gate.outcome]:<8} {gate.name:<18} "
    colour = {} if gate.outcome == "pass" else {"red": True} if gate.outcome == "fail" else {"yellow": True}
    if whole:
        text = f"{head}{one_line(_headline(gate, all_of_it=True), _MAX_STEP)}"
        lines = textwrap.wrap(text, width, subsequent_indent=" " * 8)
    else:
        lines = [f"{head}{one_line(_headline(gate), max(20, width - len(head)))}"]
    for line in lines:
        reporter.write_line(line, **colour)


def _write_verdict(reporter: pytest.TerminalReporter, decision: str, step: str, width: int) -> None:
    text = f"{decision}  {one_line(step, _MAX_STEP)}"
    first, *more = textwrap.wrap(text, width) if reporter.isatty else [text]
    reporter.write(decision, bold=True, **_COLOURS[decision])
    reporter.write_line(first.removeprefix(decision))
    for line in more:
        reporter.write_line(line)


def _title(stage: str, path: str, limit: int) -> str:
    """Stage and checkpoint; of a long path the end, where the name is."""
    text = one_line(f"{stage}: {path}", _MAX_PATH)
    return text if len(text) <= limit else f"{stage}: …{text[len(stage) + 3 - limit :]}"


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _headline(gate: GateResult, *, all_of_it: bool = False) -> str:
    if reason := gate.details.get("reason"):
        return str(reason) if all_of_it else _shortened(str(reason))
    judged = [m for m in gate.measurements if m.op and m.value is not None]
    return ", ".join(f"{m.name} {m.value:.3g}" for m in (judged if all_of_it else judged[:4]))


def _shortened(reason: str) -> str:
    """The first finding of a reason; the whole of it is in the failure above and in the report."""
    first, *more = (reason.splitlines() or [""])[0].split("; ")
    return f"{first[:_MAX_REASON]} (and {len(more)} more)" if more else first[:_MAX_REASON]
