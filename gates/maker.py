"""The hooks of the process that owns the verdict; not registered in xdist's workers."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gates import github, junit
from gates.outcomes import EVIDENCE_PROPERTY, PROPERTY
from gates.session import GateSession
from gates.terminal import keep_plain_in_ci, write_summary


class VerdictMaker:
    """Hands reports to the session, and its verdict to whoever reads one: exit code, terminal, JUnit, GitHub."""

    def __init__(self, session: GateSession, config: pytest.Config) -> None:
        self.session, self.config, self.started = session, config, time.monotonic()
        self._resume: str | None = None  # the command that lets GitHub's runner take commands again

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Tell GitHub's runner to take nothing that is printed from here on for a command."""
        keep_plain_in_ci(self.config)
        if github.on_github():
            stop, self._resume = github.stop_commands()
            self._print(stop)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Iterator[None]:
        """Collect gate results, a worker's among them, before others see the report; then correct the JUnit writer."""
        results = self.session.collect(report)
        ours = (PROPERTY, EVIDENCE_PROPERTY)
        report.user_properties = [each for each in report.user_properties if each[0] not in ours]
        yield
        xml = junit.junit_of(self.config)
        for result in results:
            if xml is not None:
                junit.mark_outcome(xml, report, result)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Iterator[None]:
        """Write the report and the verdict, turn it into the exit code, and hold it against how the others finish.

        The innermost of the wrappers: the JUnit file is written within it, the terminal's summary after it.
        """
        code = self.session.finish(int(exitstatus), time.monotonic() - self.started)
        session.exitstatus = code
        xml = junit.junit_of(self.config)
        if xml is not None and self.session.verdict is not None:
            junit.describe(xml, self.session.verdict, self.session.results)
        try:
            yield
        except Exception as error:  # a JUnit file that cannot be written, say
            self.session.demote(f"The run did not end well ({type(error).__name__}: {error}): run all gates again.")
            self.session.notes.append(f"{type(error).__name__}: {error}")
        except BaseException:
            self.session.demote("The run was interrupted at its end: run all gates again.")
            raise
        if int(session.exitstatus) != code:
            self.session.demote(f"The run was ended with exit code {int(session.exitstatus)}: run all gates again.")
        session.exitstatus = code if code else self.session.exit_code()
        if problem := github.append_summary(self.session.summary()):
            self.session.notes.append(problem)

    def settle(self, code: int | None) -> int | None:
        """The exit code that the process is to end with, and an end to the run.

        Args:
            code: what pytest would end with; None where an exception ends it.
        """
        try:
            promoted = self.session.exit_code() == 0
            if promoted and code != 0:
                self.session.demote(f"The run ended with exit code {code}, after its verdict: run all gates again.")
            return self.session.exit_code() if code == 0 else code
        finally:
            self.session.lock.release()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdict."""
        if self.session.verdict is not None:
            write_summary(terminalreporter, self.session)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Let GitHub's runner take commands again, and give it ours."""
        if self._resume is None:
            return
        self._print(self._resume)
        for line in github.annotations(self.session.verdict):
            self._print(line)

    def _print(self, line: str) -> None:
        """A line of its own on standard output, also under -p no:terminal."""
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(line)
            reporter.flush()
        else:
            print(line, file=sys.stdout, flush=True)
