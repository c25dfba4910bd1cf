"""One gate run, seen by the process that owns it: results come in, the verdict and the report go out."""

import datetime
import importlib
import platform
import shlex
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from gates.gate import Gate
from gates.next_step import next_step, what_was_trained
from gates.options import GATES_ROOT, RunOptions
from gates.outcomes import evidence_use, results_in, uses_in
from gates.thresholds import changed_from_spec
from harness.bundle import Bundle, open_bundle
from harness.device import resolve_device
from harness.errors import HarnessError
from harness.evidence import Use
from harness.files import path_sha256
from harness.results import (
    EXIT_CODES,
    CheckpointId,
    GateResult,
    InputId,
    Outcome,
    RunInfo,
    ThresholdsUsed,
    Verdict,
    decide,
    write_verdict,
)

VERDICT_FILE = "verdict.json"
PACKAGES = ("modality-gates", "torch", "transformers", "peft", "numpy", "scipy", "pytest")
# How bad an outcome is: of two results of one gate, the worse one stands.
_SEVERITY: dict[Outcome, int] = {"pass": 0, "not_run": 1, "error": 2, "fail": 3}


@dataclass
class GateSession:
    """Collects results and makes the verdict."""

    options: RunOptions
    criteria: dict[str, Gate]
    started: str
    command: str
    results: dict[str, GateResult] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    unexplained: bool = False  # whether something failed that is no gate
    red: bool = False  # whether a gate's test did not pass
    skipped: bool = False  # whether one was left out on the way
    verdict: Verdict | None = None
    report_path: Path | None = None

    @classmethod
    def start(cls, options: RunOptions, config: pytest.Config) -> "GateSession":
        """Begin a run: an INCOMPLETE verdict takes the place of any older one.

        Raises:
            pytest.UsageError: the output folder or that of evidence cannot be written.
        """
        args = " ".join(shlex.quote(str(arg)) for arg in config.invocation_params.args)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        session = cls(options, _criteria_of(options.stage), now, f"pytest {args}")
        writable = "--out", options.out
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            for stale in ("report.html", "summary.md"):
                (options.out / stale).unlink(missing_ok=True)
            write_verdict(options.out / VERDICT_FILE, session._verdict(0.0, bundle=None))
            writable = "--cache", options.cache
            options.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            option, folder = writable
            raise pytest.UsageError(f"{option}={folder}: {error.strerror}; expected a folder to write to") from None
        return session

    def collect(self, report: pytest.TestReport) -> None:
        """Take in the gate results of a test report, and what evidence they rest on."""
        self.uses += uses_in(report)
        results = results_in(report)
        self.unexplained |= report.failed and not results
        self.red |= report.failed
        self.skipped |= report.skipped and bool(results)
        for result in results:
            known = self.results.get(result.id)
            if known is None or _SEVERITY[result.outcome] > _SEVERITY[known.outcome]:
                self.results[result.id] = result

    def finish(self, exitstatus: int, duration_s: float) -> int:
        """Write verdict and report; return the exit code.

        A verdict that cannot be written or rendered is no PROMOTE. pytest's codes for interruption, internal error and
        usage are kept.
        """
        interrupted = exitstatus in (
            pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR,
        )  # fmt: skip
        self.verdict = self._verdict(duration_s, bundle=self._bundle())
        if interrupted or (self.verdict.verdict == "PROMOTE" and not self._ended_well(exitstatus)):
            self.verdict = self._demoted(self.verdict)
        write_verdict(self.options.out / VERDICT_FILE, self.verdict)
        self._render(self.verdict)
        return exitstatus if interrupted else EXIT_CODES[self.verdict.verdict]

    def _ended_well(self, exitstatus: int) -> bool:
        """Whether every gate was run, and pytest's exit status is what the gates' outcomes account for.

        A red gate accounts for a failure, a P1 gate as well, also one whose input is not there: that is a warning, and
        no reason to run again. A gate that was skipped was left out of the run.
        """
        expected = pytest.ExitCode.TESTS_FAILED if self.red else pytest.ExitCode.OK
        whole = self.results.keys() == self.criteria.keys() and not self.skipped
        return exitstatus == expected and not self.unexplained and whole

    def _render(self, verdict: Verdict) -> None:
        from reports.render import render

        self.report_path = render(self.options.out, verdict).html

    def _bundle(self) -> Bundle | None:
        try:
            return open_bundle(self.options.ckpt, self.options.overrides)
        except HarnessError:
            return None

    def _demoted(self, verdict: Verdict) -> Verdict:
        decision = "REJECT" if verdict.verdict == "REJECT" else "INCOMPLETE"
        return verdict.model_copy(
            update={
                "verdict": decision,
                "next_step": "Not a whole run, or one that did not end well: run all gates again.",
            }
        )

    def _verdict(self, duration_s: float, bundle: Bundle | None) -> Verdict:
        options = self.options
        gates = tuple(self.results.get(id_) or _not_run(criterion) for id_, criterion in self.criteria.items())
        decision = decide(gates, smoke=options.max_examples is not None)
        changed = changed_from_spec(options.thresholds)
        return Verdict(
            stage=options.stage,
            verdict=decision,
            checkpoint=CheckpointId(
                path=str(options.ckpt),
                step=bundle.step if bundle else None,
                sha256=bundle.sha256() if bundle else None,
            ),
            inputs=_inputs(bundle) if bundle else {},
            token_space_sha256=bundle.space.sha256 if bundle else None,
            gates=gates,
            next_step=next_step(
                options.stage,
                decision,
                gates,
                smoke=options.max_examples is not None,
                thresholds=options.thresholds,
                trained=what_was_trained(bundle, options.stage),
            ),
            thresholds=ThresholdsUsed(
                path=str(options.thresholds_path) if options.thresholds_path else None, changed=changed
            ),
            run=RunInfo(
                command=self.command,
                seed=options.seed,
                device=resolve_device(options.device),
                dtype=options.dtype,
                versions=_versions(),
                started=self.started,
                duration_s=round(duration_s, 3),
                evidence=evidence_use(self.uses),
            ),
        )


def _criteria_of(stage: str) -> dict[str, Gate]:
    """Every gate of a stage, read from its files and not from what was collected: a deselected gate is missed."""
    package = importlib.import_module(f"gates.{stage}")
    criteria: dict[str, Gate] = {}
    for file in sorted((GATES_ROOT / stage).glob("test_*.py")):
        module = importlib.import_module(f"gates.{stage}.{file.stem}")
        criteria |= {value.id: value for value in vars(module).values() if isinstance(value, Gate)}
    return {id_: criteria[id_] for id_ in package.GATES}


def _not_run(criterion: Gate) -> GateResult:
    return GateResult(
        id=criterion.id,
        name=criterion.name,
        priority=criterion.priority,
        outcome="not_run",
        claim=criterion.claim,
        details={"reason": "the run ended before this gate, or it was deselected"},
    )


def _inputs(bundle: Bundle) -> dict[str, InputId]:
    there = {name: path for name, path in bundle.inputs.items() if path.exists()}
    return {name: InputId(path=str(path), sha256=path_sha256(path)) for name, path in there.items()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
