"""From a test's phases to a gate's outcome, and from outcomes to a verdict."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gates.gate import Accept, GateFailedError, TooFewExamplesError
from gates.outcomes import UNEXPECTED, outcome_of, result_of
from gates.verdict import demoted, make_verdict, not_run, run_info
from harness.errors import HarnessError, MissingInputError
from harness.evidence import Use
from harness.results import Decision, Measurement, Outcome
from tests.gate_runs import P0, options, result

# ---------------------------------------------------------------------- one test's outcome


def phase(
    when: str = "call", *, passed: bool = True, skipped: bool = False, raised: BaseException | None = None, **more: Any
) -> Any:
    call = SimpleNamespace(excinfo=SimpleNamespace(value=raised) if raised else None, duration=1.23456)
    return SimpleNamespace(when=when, passed=passed, skipped=skipped, **more), call


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (phase(), "pass"),
        (phase("setup"), None),
        (phase("teardown"), None),
        (phase(skipped=True, passed=False), "not_run"),
        (phase(wasxfail="why"), "not_run"),
        (phase(passed=False, raised=GateFailedError("x")), "fail"),
        (phase(passed=False, raised=AssertionError("x")), "error"),
        (phase(passed=False, raised=TooFewExamplesError("x")), "error"),
        (phase(passed=False, raised=MissingInputError("here", "a", "b", "c")), "not_run"),
        (phase("setup", passed=False, raised=ValueError("x")), "error"),
        (phase(passed=False), "error"),
    ],
)
def test_what_a_phase_settles(made: Any, outcome: Outcome | None) -> None:
    assert outcome_of(*made) == outcome


def test_a_result_holds_what_was_measured_before_it_ended() -> None:
    accept = Accept(P0)
    accept(Measurement(name="m", value=1.0, unit="u", n=3), at_least=0)
    accept.note("told")
    _, call = phase(raised=GateFailedError("it fell short"))
    _, quiet = phase()

    failed = result_of(P0, "fail", accept, call)
    assert (failed.id, failed.name, failed.priority, failed.claim, failed.advice) == (
        "P0.9",
        "hard",
        "P0",
        "c",
        ("mend it",),
    )
    assert [m.name for m in failed.measurements] == ["m"]
    assert failed.details == {"notes": ["told"], "reason": "it fell short"}
    assert failed.duration_s == 1.235
    passed = result_of(P0, "pass", accept, quiet)
    assert (passed.advice, passed.details) == ((), {"notes": ["told"]})
    assert result_of(P0, "not_run", None, quiet).details == {"reason": "not run"}


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ValueError("nobody thought of this"), "ValueError"),
        (HarnessError("f", "found", "expected", "fix"), None),
        (TooFewExamplesError("64 are too few"), None),
    ],
)
def test_an_error_that_nobody_thought_of_is_told_from_the_others(raised: Exception, kind: str | None) -> None:
    _, call = phase(passed=False, raised=raised)

    assert result_of(P0, "error", None, call).details.get(UNEXPECTED) == kind
    assert UNEXPECTED not in result_of(P0, "fail", None, call).details


# ---------------------------------------------------------------------- the verdict


def info(folder: Path) -> Any:
    return run_info(options(folder), command="pytest", started="now", duration_s=1.23456, uses=[Use("a", "m", True)])


def test_how_a_run_was_made(tmp_path: Path) -> None:
    made = info(tmp_path)

    assert (made.command, made.seed, made.device, made.dtype, made.started) == ("pytest", 7, "cpu", "float32", "now")
    assert made.duration_s == 1.235
    assert made.evidence.measured == 1
    assert {"python", "platform", "torch", "numpy"} <= set(made.versions)
    assert "not installed" not in made.versions["numpy"]


def test_a_package_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gates.verdict.PACKAGES", ("no-such-package",))

    assert info(tmp_path).versions["no-such-package"] == "not installed"


@pytest.mark.parametrize(
    ("max_examples", "outcome", "decision"),
    [(None, "pass", "PROMOTE"), (3, "pass", "INCOMPLETE"), (3, "fail", "REJECT"), (None, "error", "INCOMPLETE")],
)
def test_a_smoke_run_never_promotes(
    tmp_path: Path, max_examples: int | None, outcome: Outcome, decision: Decision
) -> None:
    chosen = options(tmp_path, max_examples=max_examples, thresholds_path=tmp_path / "t.toml")
    verdict = make_verdict(chosen, (result(outcome),), info(tmp_path))

    assert verdict.verdict == decision
    assert verdict.thresholds.path == str(tmp_path / "t.toml")
    assert (verdict.checkpoint.step, verdict.checkpoint.sha256, verdict.inputs) == (None, None, {})
    if max_examples:
        assert "smoke run" in verdict.next_step or decision == "REJECT"


def test_what_was_opened_is_named_by_its_digests(tmp_path: Path) -> None:
    (tmp_path / "golden").write_text("x")
    bundle: Any = SimpleNamespace(
        step=20, sha256=lambda: "c" * 64, space=SimpleNamespace(sha256="s" * 64), path=tmp_path,
        inputs={"golden": tmp_path / "golden", "gone": tmp_path / "gone"},
    )  # fmt: skip
    verdict = make_verdict(options(tmp_path), (result("pass"),), info(tmp_path), bundle)

    assert (verdict.checkpoint.step, verdict.checkpoint.sha256, verdict.token_space_sha256) == (20, "c" * 64, "s" * 64)
    assert list(verdict.inputs) == ["golden"]
    assert len(verdict.inputs["golden"].sha256) == 64


def test_a_demoted_verdict_is_incomplete_unless_it_rejects(tmp_path: Path) -> None:
    for outcome, decision in (("pass", "INCOMPLETE"), ("error", "INCOMPLETE"), ("fail", "REJECT")):
        verdict = make_verdict(options(tmp_path), (result(outcome),), info(tmp_path))  # type: ignore[arg-type]
        assert (demoted(verdict, "why").verdict, demoted(verdict, "why").next_step) == (decision, "why")
    missed = not_run(P0)
    assert (missed.id, missed.outcome, missed.priority) == ("P0.9", "not_run", "P0")
