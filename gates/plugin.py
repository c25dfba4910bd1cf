"""The pytest plugin: options, fixtures, outcomes, verdict and exit code.

Exit codes: 0 PROMOTE, 1 REJECT, 10 INCOMPLETE; pytest's own 2, 3, 4 for interruption, internal error and usage.
Nothing but a whole run with every P0 gate green exits 0.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gates.gate import MARKER, Accept, gate_of
from gates.options import RunOptions, add_options, read_options
from gates.outcomes import EVIDENCE_PROPERTY, PROPERTY, outcome_of, result_of
from gates.session import GateSession
from gates.terminal import ProgressLine, write_summary
from gates.thresholds import StageThresholds
from harness.errors import HarnessError
from harness.evidence import EvidenceStore

OPTIONS = pytest.StashKey[RunOptions]()
ACCEPT = pytest.StashKey[Accept]()
EVIDENCE = pytest.StashKey[EvidenceStore]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the gates' options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options when gates are asked for; refuse a run without a checkpoint before anything is collected.

    Raises:
        pytest.UsageError: --ckpt is missing or no folder, or an option makes no sense.
    """
    config.addinivalue_line("markers", f"{MARKER}(criterion): the test that judges this gate")
    options = read_options(config)
    if options is None:
        return
    config.stash[OPTIONS] = options
    config.stash[EVIDENCE] = EvidenceStore(options.cache, options.reuse_evidence, options.run_id)
    if not hasattr(config, "workerinput"):
        # The verdict starts as INCOMPLETE, so that a run that is killed leaves no older PROMOTE behind.
        config.pluginmanager.register(VerdictMaker(GateSession.start(options, config)), "gates-verdict")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse gates that were collected by a roundabout way, without a stage and a checkpoint.

    Raises:
        pytest.UsageError: gates were collected, and --ckpt was not given.
    """
    if OPTIONS not in config.stash and any(gate_of(item) for item in items):
        raise pytest.UsageError("gates need a checkpoint: pytest gates/stage4 --ckpt=DIR")


@pytest.fixture(scope="session")
def checkpoint(request: pytest.FixtureRequest) -> Any:
    """The checkpoint under measurement (harness.checkpoint.Checkpoint)."""
    # Imported here: only a run of gates pays for the harness.
    from harness.bundle import open_bundle
    from harness.checkpoint import Checkpoint

    options = request.config.stash[OPTIONS]
    bundle = open_bundle(options.ckpt, options.overrides)
    return Checkpoint(bundle, options.settings(), ProgressLine(request.config), request.config.stash[EVIDENCE])


@pytest.fixture(scope="session")
def bundle_audit(request: pytest.FixtureRequest) -> Any:
    """What is wrong with the checkpoint's files (harness.bundle_audit.BundleAudit).

    Apart from `checkpoint`, so that one that cannot even be opened is found wanting, and is not merely an error.
    """
    from harness.bundle_audit import audit_bundle

    options = request.config.stash[OPTIONS]
    evidence = request.config.stash[EVIDENCE]
    return audit_bundle(options.ckpt, options.overrides, ProgressLine(request.config), evidence)


@pytest.fixture(scope="session")
def thresholds(request: pytest.FixtureRequest) -> StageThresholds:
    """The thresholds in force for the stage."""
    return request.config.stash[OPTIONS].thresholds


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> Accept:
    """Where a gate's test hands in its measurements."""
    criterion = gate_of(request.node)
    if criterion is None:
        raise RuntimeError(f"{request.node.nodeid} asks for `accept` but is marked with no gate")
    accept = Accept(criterion, strict=request.config.stash[OPTIONS].strict)
    request.node.stash[ACCEPT] = accept
    return accept


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Raise a gate's failures when its test returns."""
    result = yield
    if ACCEPT in pyfuncitem.stash:
        pyfuncitem.stash[ACCEPT].close()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Attach the gate's result and the evidence it used, in a form that crosses from worker to controller."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if EVIDENCE in item.config.stash:
        uses = item.config.stash[EVIDENCE].uses
        report.user_properties += [(EVIDENCE_PROPERTY, json.dumps(use)) for use in uses]
        uses.clear()
    criterion = gate_of(item)
    if criterion is None:
        return report  # type: ignore[return-value]
    outcome = outcome_of(report, call)
    if outcome is not None:
        result = result_of(criterion, outcome, item.stash.get(ACCEPT, None), call)
        report.user_properties.append((PROPERTY, result.model_dump_json()))
        if outcome != "pass" and isinstance(
            call.excinfo.value if call.excinfo else None, AssertionError | HarnessError
        ):
            # A reader wants the sentence, not a traceback through the plugin.
            report.longrepr = f"{criterion.id} {criterion.name}: {call.excinfo.value}"  # type: ignore[union-attr]
    return report  # type: ignore[return-value]


class VerdictMaker:
    """The hooks of the process that owns the verdict; not registered in xdist's workers."""

    def __init__(self, session: GateSession) -> None:
        self.session, self.started = session, time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect gate results, a worker's among them."""
        self.session.collect(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the verdict and the report, and turn the verdict into the exit code."""
        session.exitstatus = self.session.finish(int(exitstatus), time.monotonic() - self.started)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the verdict."""
        if self.session.verdict is not None:
            write_summary(terminalreporter, self.session)
