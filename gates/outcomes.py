"""From a test's report to a gate's outcome."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gates.gate import Accept, Gate, GateFailedError, TooFewExamplesError
from harness.errors import HarnessError, MissingInputError
from harness.evidence import Use
from harness.results import EvidenceUse, GateResult, Outcome

PROPERTY = "gate_result"
EVIDENCE_PROPERTY = "evidence_use"
# How bad an outcome is: of two results of one gate, the worse one stands.
SEVERITY: dict[Outcome, int] = {"pass": 0, "not_run": 1, "error": 2, "fail": 3}
UNEXPECTED = "unexpected"  # in details: the type of what a gate raised that is neither a judgement nor a known defect


def outcome_of(report: pytest.TestReport, call: pytest.CallInfo[None]) -> Outcome | None:
    """The gate's outcome that a phase settles; None when the phase settles nothing (a good setup or teardown).

    A skipped or expected failure is `not_run`: unmeasured is not passed.
    """
    if report.skipped or hasattr(report, "wasxfail"):
        return "not_run"
    if report.passed:
        return "pass" if report.when == "call" else None
    raised = call.excinfo.value if call.excinfo else None
    if isinstance(raised, MissingInputError):
        return "not_run"
    # Only a measured shortfall is a failure of the checkpoint; whatever else went wrong is a broken run.
    return "fail" if isinstance(raised, GateFailedError) else "error"


def result_of(criterion: Gate, outcome: Outcome, accept: Accept | None, call: pytest.CallInfo[None]) -> GateResult:
    """The gate's result, with the measurements that were made before it ended."""
    details: dict[str, Any] = dict(accept.details) if accept else {}
    if outcome != "pass":
        raised = call.excinfo.value if call.excinfo else None
        details["reason"] = str(raised) if raised else "not run"
        if outcome == "error" and not isinstance(raised, HarnessError | TooFewExamplesError):
            details[UNEXPECTED] = type(raised).__name__
    return GateResult(
        id=criterion.id,
        name=criterion.name,
        priority=criterion.priority,
        outcome=outcome,
        claim=criterion.claim,
        measurements=tuple(accept.measurements) if accept else (),
        advice=() if outcome == "pass" else criterion.advice,
        details=details,
        duration_s=round(call.duration, 3),
    )


def results_in(report: pytest.TestReport) -> list[GateResult]:
    """The gate results that a report carries."""
    return [GateResult.model_validate(json.loads(str(v))) for name, v in report.user_properties if name == PROPERTY]


def uses_in(report: pytest.TestReport) -> list[Use]:
    """The evidence that a phase of a test used, as its report carries it."""
    return [Use(*json.loads(str(v))) for name, v in report.user_properties if name == EVIDENCE_PROPERTY]


def evidence_use(uses: Sequence[Use]) -> EvidenceUse:
    """How many measurements a run made, and how many earlier runs had made for it.

    What one gate measured and another used again, in this worker or the next, is no reuse.
    """
    measured = [use.key for use in uses if use.measured]
    return EvidenceUse(measured=len(measured), reused=len({use.key for use in uses} - set(measured)))
