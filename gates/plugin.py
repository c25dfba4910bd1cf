"""The pytest plugin: options, fixtures, outcomes, verdict and exit code.

Exit codes: 0 PROMOTE, 1 REJECT, 10 INCOMPLETE; pytest's own 2, 3, 4 for interruption, internal error and usage.
Nothing but a whole run with every P0 gate green exits 0.
"""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from gates.gate import MARKER, Accept, TooFewExamplesError, gate_of
from gates.junit import properties_of
from gates.maker import VerdictMaker
from gates.options import RunOptions, add_options, older_out, read_options
from gates.outcomes import EVIDENCE_PROPERTY, PROPERTY, outcome_of, result_of
from gates.session import GateSession, withdraw_older
from gates.shown import encodable, make_printable, message, printable
from gates.terminal import ProgressLine
from gates.thresholds import StageThresholds
from harness.errors import HarnessError
from harness.evidence import EvidenceStore
from harness.results import EXIT_CODES

OPTIONS = pytest.StashKey[RunOptions]()
ACCEPT = pytest.StashKey[Accept]()
EVIDENCE = pytest.StashKey[EvidenceStore]()
MAKER = pytest.StashKey[VerdictMaker]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the gates' options."""
    add_options(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Iterator[None]:
    """See to it that exit code 0 and PROMOTE go together, whatever else had a say in how the run ended.

    `--fixtures` and the like end with 0 and judge nothing; `pytest.exit(returncode=0)` overrules the verdict;
    `--max-warnings` turns a 0 into something else after the verdict was written.
    """
    code = None
    try:
        code = yield
    finally:
        if MAKER in config.stash:
            code = config.stash[MAKER].settle(int(code) if code is not None else None)
    asked = any(str(arg).startswith("--ckpt") for arg in config.invocation_params.args)
    if asked and code == 0 and MAKER not in config.stash and not hasattr(config, "workerinput"):
        code = EXIT_CODES["INCOMPLETE"]  # --help beside --ckpt
    return code  # type: ignore[return-value]


def pytest_configure(config: pytest.Config) -> None:
    """Read the options when gates are asked for; refuse a run without a checkpoint before anything is collected.

    Raises:
        pytest.UsageError: --ckpt is missing or no folder, or an option makes no sense.
    """
    config.addinivalue_line("markers", f"{MARKER}(criterion): the test that judges this gate")
    controls = not hasattr(config, "workerinput")
    try:
        options = read_options(config)
        if options is None:
            return
        config.stash[OPTIONS] = options
        config.stash[EVIDENCE] = EvidenceStore(options.cache, options.reuse_evidence, options.run_id)
        if controls:
            # The verdict starts as INCOMPLETE, so that a run that is killed leaves no older PROMOTE behind.
            config.stash[MAKER] = VerdictMaker(GateSession.start(options, config), config)
            config.pluginmanager.register(config.stash[MAKER], "gates-verdict")
    except pytest.UsageError as error:
        out = older_out(config)
        if controls and out is not None:
            withdraw_older(out)
        raise pytest.UsageError(printable(str(error))) from None


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
    elif (criterion := gate_of(pyfuncitem)) is not None:
        Accept(criterion).close()  # its test never asked for `accept`: it has judged nothing
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Attach the gate's result and the evidence it used, in a form that crosses from worker to controller."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if OPTIONS not in item.config.stash:
        return report  # type: ignore[return-value]
    uses = item.config.stash[EVIDENCE].uses
    report.user_properties += [(EVIDENCE_PROPERTY, json.dumps(use)) for use in uses]
    uses.clear()
    criterion, outcome = gate_of(item), outcome_of(report, call)
    if criterion is not None and outcome is not None:
        result = result_of(criterion, outcome, item.stash.get(ACCEPT, None), call)
        result = result.model_copy(update={"details": encodable(result.details)})
        report.user_properties.append((PROPERTY, result.model_dump_json()))
        # The writer of JUnit files takes them from the report of the last phase.
        item.user_properties += properties_of(result)
        report.gate_outcome = outcome  # type: ignore[attr-defined]  # travels to the controller with the report
        raised = call.excinfo.value if call.excinfo else None
        if outcome != "pass" and isinstance(raised, AssertionError | HarnessError | TooFewExamplesError):
            # A reader wants the sentence, not a traceback through the plugin.
            report.longrepr = message(f"{criterion.id} {criterion.name}: {raised}")
    make_printable(report)
    return report  # type: ignore[return-value]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Show what could not be collected without what a terminal would act on."""
    report: pytest.CollectReport = yield  # type: ignore[assignment]
    if OPTIONS in collector.config.stash:
        make_printable(report)
    return report  # type: ignore[return-value]


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """The same for warnings, which name files."""
    text = str(warning_message.message)
    if (shown := printable(text)) != text:
        warning_message.message = warning_message.category(shown)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """A gate that could not be measured is an error to pytest as well, and no failure."""
    if report.failed and getattr(report, "gate_outcome", None) in ("error", "not_run"):
        return "error", "E", "ERROR"
    return None
