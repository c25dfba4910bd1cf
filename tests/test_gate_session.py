"""The process that owns the verdict, step by step: what comes in, what is written, which exit code goes out."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gates import session as sessions
from gates.lock import HOLDER, OutLock
from gates.maker import VerdictMaker
from gates.outcomes import EVIDENCE_PROPERTY, PROPERTY, evidence_use, results_in, uses_in
from gates.session import PAGES, VERDICT_FILE, GateSession
from harness.evidence import Use
from harness.results import EXIT_CODES, Decision, GateResult, Outcome, read_verdict
from tests.gate_runs import FAILED, OK, P0, P1, options, result


@pytest.fixture
def session(tmp_path: Path) -> Iterator[GateSession]:
    """A run of two gates."""
    chosen = options(tmp_path)
    chosen.out.mkdir()
    run = GateSession(chosen, "2026-01-01", "pytest", OutLock(chosen.out), criteria={"P0.9": P0, "P1.9": P1})
    yield run
    run.lock.release()


def report(*results: GateResult, failed: bool = False, skipped: bool = False, uses: Any = (), **more: Any) -> Any:
    found = [(PROPERTY, each.model_dump_json()) for each in results]
    found += [(EVIDENCE_PROPERTY, json.dumps(use)) for use in uses] + [("other", "text")]
    return SimpleNamespace(user_properties=found, failed=failed, skipped=skipped, **more)


def collected(session: GateSession, hard: Outcome = "pass", soft: Outcome = "pass") -> GateSession:
    session.collect(report(result(hard), failed=hard != "pass"))
    session.collect(report(result(soft, P1), failed=soft != "pass"))
    return session


def written(session: GateSession) -> Decision:
    return read_verdict(session.options.out / VERDICT_FILE).verdict


# ---------------------------------------------------------------------- what comes in


@pytest.mark.parametrize(
    ("first", "then", "stands"),
    [("pass", "fail", "fail"), ("fail", "pass", "fail"), ("pass", "not_run", "not_run"), ("not_run", "error", "error"),
     ("error", "fail", "fail"), ("fail", "error", "fail"), ("error", "not_run", "error"), ("pass", "pass", "pass")],
)  # fmt: skip
def test_of_two_results_of_a_gate_the_worse_one_stands(
    session: GateSession, first: Outcome, then: Outcome, stands: Outcome
) -> None:
    assert session.collect(report(result(first))) == [result(first)]
    session.collect(report(result(then)))

    assert session.results["P0.9"].outcome == stands


def test_of_two_that_are_equally_bad_the_first_stands(session: GateSession) -> None:
    first = result("fail").model_copy(update={"claim": "the first"})
    session.collect(report(first))
    session.collect(report(result("fail")))

    assert session.results["P0.9"] == first


def test_evidence_is_counted_over_all_reports(session: GateSession) -> None:
    session.collect(report(uses=[("a", "m", True), ("b", "m", False)]))
    session.collect(report(uses=[("a", "m", False), ("b", "m", False), ("c", "m", False)]))

    used = evidence_use(session.uses)
    assert (used.measured, used.reused) == (1, 2)
    assert uses_in(report(uses=[("a", "m", True)])) == [Use("a", "m", True)]
    assert results_in(report(result("pass"))) == [result("pass")]


@pytest.mark.parametrize(
    ("reports", "flags"),
    [
        ([report(result("pass"))], (False, False, False)),
        ([report(failed=True)], (True, True, False)),
        ([report(result("fail"), failed=True)], (False, True, False)),
        ([report(result("not_run"), skipped=True)], (False, False, True)),
        ([report(result("not_run"), wasxfail="why")], (False, False, True)),
        ([report(skipped=True)], (False, False, False)),
        ([report(failed=True), report(result("pass"))], (True, True, False)),
        ([report(result("fail"), failed=True), report(result("pass"))], (False, True, False)),
        ([report(result("not_run"), skipped=True), report(result("pass"))], (False, False, True)),
    ],
)
def test_what_a_run_keeps_in_mind(session: GateSession, reports: list[Any], flags: tuple[bool, ...]) -> None:
    for each in reports:
        session.collect(each)

    assert (session.unexplained, session.red, session.skipped) == flags


# ---------------------------------------------------------------------- what goes out


@pytest.mark.parametrize(
    ("hard", "soft", "status", "decision"),
    [
        ("pass", "pass", OK, "PROMOTE"),
        ("pass", "fail", FAILED, "PROMOTE"),
        ("pass", "not_run", FAILED, "PROMOTE"),
        ("fail", "pass", FAILED, "REJECT"),
        ("error", "pass", FAILED, "INCOMPLETE"),
        ("not_run", "pass", FAILED, "INCOMPLETE"),
        ("pass", "pass", FAILED, "INCOMPLETE"),  # something failed that nobody told of
        ("pass", "fail", OK, "INCOMPLETE"),
        ("pass", "pass", 5, "INCOMPLETE"),
    ],
)
def test_the_verdict_and_its_exit_code(
    session: GateSession, hard: Outcome, soft: Outcome, status: int, decision: Decision
) -> None:
    code = collected(session, hard, soft).finish(status, 1.5)

    assert (written(session), code) == (decision, EXIT_CODES[decision])
    assert session.verdict is not None
    assert session.verdict.run.duration_s == 1.5
    assert session.report_path == session.options.out / "report.html"
    assert "| P0.9 | hard |" in session.summary()
    assert str(session.report_path) in session.summary()


def test_exit_codes_are_the_contracts() -> None:
    assert EXIT_CODES == {"PROMOTE": 0, "REJECT": 1, "INCOMPLETE": 10}


@pytest.mark.parametrize("status", [2, 3, 4])
@pytest.mark.parametrize(("hard", "decision"), [("pass", "INCOMPLETE"), ("fail", "REJECT")])
def test_pytests_own_codes_are_kept_and_promote_nothing(
    session: GateSession, status: int, hard: Outcome, decision: Decision
) -> None:
    assert collected(session, hard).finish(status, 0.0) == status
    assert written(session) == decision


@pytest.mark.parametrize("what", ["a gate is missing", "one was skipped", "something else failed"])
def test_what_is_not_a_whole_run_promotes_nothing(session: GateSession, what: str) -> None:
    session.collect(report(result("pass")))
    if what != "a gate is missing":
        session.collect(report(result("pass", P1), skipped=what == "one was skipped"))
    session.unexplained = what == "something else failed"

    assert session.finish(OK, 0.0) == 10
    assert written(session) == "INCOMPLETE"
    assert session.verdict is not None
    assert session.verdict.next_step == sessions.NOT_WHOLE


def test_a_missing_gate_is_in_the_verdict_as_not_run(session: GateSession) -> None:
    session.collect(report(result("pass")))
    session.finish(OK, 0.0)

    assert session.verdict is not None
    assert [(gate.id, gate.outcome) for gate in session.verdict.gates] == [("P0.9", "pass"), ("P1.9", "not_run")]


def test_a_promote_can_be_taken_back_and_nothing_else(session: GateSession) -> None:
    collected(session).finish(OK, 0.0)
    assert session.demote("why") == 10
    assert written(session) == "INCOMPLETE"
    assert session.verdict is not None
    assert session.verdict.next_step == "why"

    collected(session, "fail").finish(FAILED, 0.0)
    before = session.verdict
    assert session.demote("again") == 1
    assert session.verdict.verdict == "REJECT"
    assert session.verdict is not before or session.verdict.next_step != "again"


def test_a_promote_that_is_taken_back_is_gone_where_no_report_can_be_written_either(
    session: GateSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert collected(session).finish(OK, 2.5) == 0
    fail_to_render(monkeypatch, RuntimeError("no room"))

    assert session.demote("why") == 10
    left = read_verdict(session.options.out / VERDICT_FILE)
    assert (left.verdict, left.run.duration_s) == ("INCOMPLETE", 2.5)
    assert "RuntimeError: no room" in left.next_step
    assert session.report_path is None


def test_a_verdict_that_cannot_be_made_is_incomplete(session: GateSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: Any) -> None:
        raise RuntimeError("a disk that went away")

    monkeypatch.setattr(sessions, "open_bundle", unreadable)

    assert collected(session).finish(OK, 2.5) == 10
    left = read_verdict(session.options.out / VERDICT_FILE)
    assert (left.verdict, left.run.duration_s) == ("INCOMPLETE", 2.5)
    assert "a disk that went away" in left.next_step


def test_without_a_verdict_the_run_is_incomplete(session: GateSession) -> None:
    assert session.exit_code() == 10
    assert session.demote("why") == 10
    assert "INCOMPLETE" in session.summary()


def fail_to_render(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def render(*_: Any) -> None:
        raise error

    monkeypatch.setattr("reports.render.render", render)


def test_a_report_that_cannot_be_rendered_leaves_incomplete(
    session: GateSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_render(monkeypatch, RuntimeError("no room"))
    (session.options.out / "report.html").write_text("of an older run")

    assert collected(session).finish(OK, 0.0) == 10
    assert written(session) == "INCOMPLETE"
    assert not (session.options.out / "report.html").exists()
    assert session.report_path is None
    assert session.verdict is not None
    assert "RuntimeError: no room" in session.verdict.next_step


def test_a_reject_stays_one_without_its_report(session: GateSession, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_render(monkeypatch, RuntimeError("no room"))

    assert collected(session, "fail").finish(FAILED, 0.0) == 1
    assert written(session) == "REJECT"


def test_where_nothing_can_be_written_the_exit_code_tells(
    session: GateSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_render(monkeypatch, RuntimeError("no room"))
    monkeypatch.setattr(sessions, "write_verdict", lambda *_: (_ for _ in ()).throw(OSError("disk full")))

    assert collected(session).finish(OK, 0.0) == 10
    assert "disk full" in session.notes[0]
    assert not (session.options.out / VERDICT_FILE).exists()


def test_an_interruption_while_it_renders_leaves_nothing(session: GateSession, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_render(monkeypatch, KeyboardInterrupt())
    for name in (VERDICT_FILE, *PAGES):
        (session.options.out / name).write_text("{}")

    with pytest.raises(KeyboardInterrupt):
        collected(session).finish(OK, 0.0)
    assert not any((session.options.out / name).exists() for name in (VERDICT_FILE, *PAGES))


# ---------------------------------------------------------------------- the end of the process


@pytest.mark.parametrize(
    ("hard", "code", "ends_with"),
    [
        ("pass", 0, 0),
        ("pass", 5, 5),
        ("pass", None, None),
        ("fail", 0, 1),
        ("fail", 1, 1),
        ("error", 0, 10),
        ("fail", 2, 2),
    ],
)
def test_exit_code_0_and_promote_go_together(
    session: GateSession, hard: Outcome, code: int | None, ends_with: int | None
) -> None:
    collected(session, hard).finish(OK if hard == "pass" else FAILED, 0.0)
    session.lock.acquire("now")
    maker = VerdictMaker(session, SimpleNamespace())  # type: ignore[arg-type]

    assert maker.settle(code) == ends_with
    assert (written(session) == "PROMOTE") is (ends_with == 0)
    assert not (session.options.out / HOLDER).exists()
