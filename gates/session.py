"""One gate run, seen by the process that owns it: results come in, the verdict and the report go out.

A run takes its output folder for itself, removes what an older run left there, and begins with INCOMPLETE. The report
is rendered before the verdict is written: whatever ends the run in between leaves INCOMPLETE, and never a PROMOTE that
has no report.
"""

import datetime
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gates.gate import Gate
from gates.lock import OutLock
from gates.options import RunOptions
from gates.outcomes import SEVERITY, results_in, uses_in
from gates.verdict import criteria_of, demoted, make_verdict, not_run, run_info
from harness.bundle import Bundle, open_bundle
from harness.errors import HarnessError
from harness.evidence import Use
from harness.results import EXIT_CODES, GateResult, Verdict, write_verdict

VERDICT_FILE = "verdict.json"
REPORT = "report.html"
PAGES = (REPORT, "summary.md")
_ENDED_EARLY = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)
NOT_WHOLE = "Not a whole run, or one that did not end well: run all gates again."


@dataclass
class GateSession:
    """Collects results and makes the verdict."""

    options: RunOptions
    started: str
    command: str
    lock: OutLock
    criteria: dict[str, Gate] = field(default_factory=dict)
    results: dict[str, GateResult] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    unexplained: bool = False  # whether something failed that is no gate
    red: bool = False  # whether a gate's test did not pass
    skipped: bool = False  # whether one was left out on the way
    verdict: Verdict | None = None
    report_path: Path | None = None
    notes: list[str] = field(default_factory=list)  # what the reader is warned of at the end

    @classmethod
    def start(cls, options: RunOptions, config: pytest.Config) -> "GateSession":
        """Begin a run: an INCOMPLETE verdict takes the place of any older one.

        Raises:
            pytest.UsageError: another run is writing to the output folder, it or that of evidence cannot be written,
                or a gate cannot be imported.
        """
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        session = cls(options, started, _command(config), OutLock(options.out))
        try:
            session._take_folders()
        except BaseException:
            session.lock.release()
            raise
        return session

    def _take_folders(self) -> None:
        out, cache = self.options.out, self.options.cache
        writable = "--out", out
        try:
            self.lock.acquire(self.started)
            withdraw(out)
            self.criteria = _importable_criteria(self.options.stage)
            write_verdict(out / VERDICT_FILE, self._verdict(0.0, bundle=None))
            writable = "--cache", cache
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            option, folder = writable
            stands = option == "--out" and (out / VERDICT_FILE).exists()
            older = f"; the {VERDICT_FILE} that lies there is of an older run" if stands else ""
            raise pytest.UsageError(
                f"{option}={folder}: {error.strerror or error}; expected a folder to write to{older}"
            ) from None
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from None

    def collect(self, report: pytest.TestReport) -> list[GateResult]:
        """Take in the gate results of a test report, and what evidence they rest on."""
        self.uses += uses_in(report)
        results = results_in(report)
        self.unexplained |= report.failed and not results
        self.red |= report.failed
        # An expected failure is left out like a skipped one, also where it passes.
        self.skipped |= bool(results) and (report.skipped or hasattr(report, "wasxfail"))
        for result in results:
            known = self.results.get(result.id)
            if known is None or SEVERITY[result.outcome] > SEVERITY[known.outcome]:
                self.results[result.id] = result
        return results

    def finish(self, exitstatus: int, duration_s: float) -> int:
        """Write report and verdict; return the exit code.

        A verdict that cannot be written or rendered is no PROMOTE. pytest's codes for interruption, internal error and
        usage are kept.
        """
        early, verdict = exitstatus in _ENDED_EARLY, None
        try:
            verdict = self._verdict(duration_s, bundle=self._bundle())
            if early or (verdict.verdict == "PROMOTE" and not self._ended_well(exitstatus)):
                verdict = demoted(verdict, NOT_WHOLE)
            self._publish(verdict)
        except Exception as error:
            self._give_up(error, verdict, duration_s)
        except BaseException:
            withdraw(self.options.out)  # Ctrl-C while the report is rendered: nothing of it is to stand
            raise
        return exitstatus if early else self.exit_code()

    def demote(self, why: str) -> int:
        """Take a PROMOTE back that the end of the run does not bear out; return the exit code."""
        if self.verdict is not None and self.verdict.verdict == "PROMOTE":
            try:
                self._publish(demoted(self.verdict, why))
            except Exception as error:
                self._give_up(error, self.verdict, self.verdict.run.duration_s)
        return self.exit_code()

    def exit_code(self) -> int:
        """The verdict's exit code; a run without a verdict is incomplete."""
        return EXIT_CODES[self.verdict.verdict if self.verdict else "INCOMPLETE"]

    def summary(self) -> str:
        """The verdict in Markdown, for a page on which no report lies beside it."""
        from reports.summary import summary_text

        if self.verdict is None:
            return "## ! INCOMPLETE: no verdict could be written"
        return summary_text(self.verdict, self.options.out / REPORT)

    def _ended_well(self, exitstatus: int) -> bool:
        """Whether every gate was run, and pytest's exit status is what the gates' outcomes account for.

        A red gate accounts for a failure, a P1 gate as well, also one whose input is not there: that is a warning, and
        no reason to run again. A gate that was skipped was left out of the run.
        """
        expected = pytest.ExitCode.TESTS_FAILED if self.red else pytest.ExitCode.OK
        whole = self.results.keys() == self.criteria.keys() and not self.skipped
        return exitstatus == expected and not self.unexplained and whole

    def _publish(self, verdict: Verdict) -> None:
        from reports.render import render

        out = self.options.out
        report = render(out, verdict)
        write_verdict(out / VERDICT_FILE, verdict)
        self.verdict, self.report_path = verdict, report.html

    def _give_up(self, error: Exception, verdict: Verdict | None, duration_s: float) -> None:
        """Report or verdict cannot be written: take away what is half there, and leave INCOMPLETE if that much goes."""
        out, said = self.options.out, f"{type(error).__name__}: {error}"
        self.verdict, self.report_path = None, None
        why = f"No report could be written to {out} ({said}). Mend that and run again: what was measured is kept."
        try:
            withdraw(out)
            self.verdict = demoted(verdict or self._verdict(duration_s, bundle=None), why)
            write_verdict(out / VERDICT_FILE, self.verdict)
        except Exception as again:  # whatever it is, nothing that went before may promote
            self.notes.append(f"no {VERDICT_FILE} could be written ({again}): the exit code alone tells the verdict")

    def _bundle(self) -> Bundle | None:
        try:
            return open_bundle(self.options.ckpt, self.options.overrides)
        except HarnessError:
            return None

    def _verdict(self, duration_s: float, bundle: Bundle | None) -> Verdict:
        gates = tuple(self.results.get(id_) or not_run(criterion) for id_, criterion in self.criteria.items())
        run = run_info(self.options, command=self.command, started=self.started, duration_s=duration_s, uses=self.uses)
        return make_verdict(self.options, gates, run, bundle)


def withdraw(out: Path) -> None:
    """Remove verdict and report of a folder, the verdict first.

    Raises:
        OSError: they are there and cannot be removed.
    """
    for name in (VERDICT_FILE, *PAGES):
        (out / name).unlink(missing_ok=True)


def withdraw_older(out: Path) -> None:
    """Remove what an older run left where a run was asked for that could not begin; another run's is left alone."""
    if not (out / VERDICT_FILE).exists():
        return
    lock = OutLock(out)
    try:
        lock.acquire("")
        withdraw(out)
    except (pytest.UsageError, OSError):
        return
    finally:
        lock.release()


def _importable_criteria(stage: str) -> dict[str, Gate]:
    try:
        return criteria_of(stage)
    except Exception as error:
        raise pytest.UsageError(
            f"gates/{stage}: found gates that cannot be imported ({type(error).__name__}: {error}); expected all of "
            "them. Restore the file, or install what it needs."
        ) from error


def _command(config: pytest.Config) -> str:
    """The command line, with what the environment adds to it."""
    added = os.environ.get("PYTEST_ADDOPTS")
    args = " ".join(shlex.quote(str(arg)) for arg in config.invocation_params.args)
    return f"{f'PYTEST_ADDOPTS={shlex.quote(added)} ' if added else ''}pytest {args}"
