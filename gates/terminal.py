"""What a gate run prints: a line a measurement under way, and the verdict at the end."""

import sys
import time
from typing import Any

import pytest

from harness.results import GateResult

_COLOURS = {"PROMOTE": {"green": True}, "REJECT": {"red": True}, "INCOMPLETE": {"yellow": True}}
_MARKS = {"pass": "pass", "fail": "FAIL", "error": "ERROR", "not_run": "not run"}
# Plain logs get a line at most this often, so that CI output stays readable.
_PLAIN_INTERVAL_S = 10.0


class ProgressLine:
    """A listener for the harness that writes past pytest's capture: one line rewritten, or few plain lines."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._quiet = hasattr(config, "workerinput") or config.get_verbosity() < 0
        self._last, self._started = 0.0, 0.0

    def __call__(self, label: str, done: int, total: int, elapsed_s: float) -> None:
        """Show how far a measurement is."""
        del elapsed_s  # measured here, since some measurements report from more than one place
        if self._quiet or not total:
            return
        now = time.monotonic()
        if done == 0:
            self._started = now
        live = sys.__stderr__ is not None and sys.__stderr__.isatty()
        due = now - self._last >= (0.2 if live else _PLAIN_INTERVAL_S)
        if not due and not (live and done == total):
            return
        self._last = now
        self._write(self._text(label, done, total, now - self._started), live=live, ended=done == total)

    @staticmethod
    def _text(label: str, done: int, total: int, elapsed_s: float) -> str:
        left = f", about {elapsed_s / done * (total - done):.0f} s left" if done else ""
        return f"{label}: {done}/{total}{left}"

    def _write(self, text: str, *, live: bool, ended: bool) -> None:
        if self._capture is None:
            return
        with self._capture.global_and_fixture_disabled():
            stream: Any = sys.stderr
            stream.write(f"\r\x1b[2K{'' if ended else text}" if live else f"\n  {text}")
            stream.flush()


def write_summary(reporter: pytest.TerminalReporter, session: Any) -> None:
    """Print the gates, the verdict, what to do next, and where the report is."""
    verdict = session.verdict
    reporter.section(f"{verdict.stage}: {verdict.checkpoint.path}", sep="=")
    for gate in verdict.gates:
        reporter.write_line(
            f"{gate.id:<5} {gate.priority}  {_MARKS[gate.outcome]:<8} {gate.name:<18} {_headline(gate)}"
        )
    reporter.write_line("")
    reporter.write(verdict.verdict, bold=True, **_COLOURS[verdict.verdict])
    reporter.write_line(f"  {verdict.next_step}")
    evidence = verdict.run.evidence
    reporter.write_line(f"evidence: {evidence.measured} measured, {evidence.reused} reused")
    if session.report_path is not None:
        reporter.write_line(f"report: {session.report_path}")


def _headline(gate: GateResult) -> str:
    if reason := gate.details.get("reason"):
        return _shortened(str(reason))
    judged = [m for m in gate.measurements if m.op and m.value is not None]
    return ", ".join(f"{m.name} {m.value:.3g}" for m in judged[:4])


def _shortened(reason: str) -> str:
    """The first finding of a reason; the whole of it is in the failure above and in the report."""
    first, *more = reason.splitlines()[0].split("; ")
    return f"{first[:160]} (and {len(more)} more)" if more else first[:160]
