"""The plugin's hooks, on made-up gates without a checkpoint: outcomes and exit codes."""

import json

import pytest

from gates import session
from tests.made_up_gates import HARD, SHORT, Stage


def test_gates_that_accept_promote(stage: Stage) -> None:
    run = stage.run()

    assert (run.code, run.verdict["verdict"], run.outcomes) == (0, "PROMOTE", {"P0.9": "pass", "P1.9": "pass"})
    assert run.verdict["gates"][0]["measurements"][0]["value"] == 1.0
    assert "PROMOTE" in run.said
    assert 0 < run.verdict["run"]["duration_s"] < 600
    assert {name.name for name in run.out.iterdir()} >= {"verdict.json", "report.html", "summary.md"}


def test_what_falls_short_is_said_in_a_sentence_and_without_a_traceback(stage: Stage) -> None:
    run = stage.run(hard=SHORT)

    assert (run.code, run.verdict["verdict"], run.outcomes["P0.9"]) == (1, "REJECT", "fail")
    assert run.reason == "share is 0.25 share (n=9), asked for >= 0.5"
    assert f"\nP0.9 hard: {run.reason}\n" in run.said
    assert "plugin.py" not in run.said
    assert "1 failed" in run.said


def test_a_gate_that_only_warns_does_not_keep_from_promotion(stage: Stage) -> None:
    run = stage.run(soft=SHORT.replace("P0", "P1").replace("hard", "soft"))

    assert (run.code, run.verdict["verdict"], run.outcomes) == (0, "PROMOTE", {"P0.9": "pass", "P1.9": "fail"})


@pytest.mark.parametrize(
    ("body", "outcome", "said"),
    [
        ("raise MissingInputError(accept.criterion.id, 'nothing', 'a file', 'Make it.')", "not_run", "Make it."),
        ("raise ValueError('nobody thought of this')", "error", "nobody thought of this"),
        ("pytest.skip('not today')", "not_run", "not today"),
        ("pytest.xfail('as expected')", "not_run", "as expected"),
        ("pass", "error", "judged nothing"),
    ],
)
def test_what_was_not_measured_is_an_error_to_pytest_as_well(stage: Stage, body: str, outcome: str, said: str) -> None:
    run = stage.run(hard=f"@gate(P0)\ndef test_hard(accept):\n    {body}\n")

    assert (run.code, run.verdict["verdict"], run.outcomes["P0.9"]) == (10, "INCOMPLETE", outcome)
    assert said in run.reason
    assert "1 failed" not in run.said
    if "pytest" not in body:
        assert "1 error" in run.said
    # A traceback is for what nobody thought of.
    assert ("test_made_up.py:" in run.said and ">  " in run.said) is (outcome == "error")


def test_a_gate_whose_test_never_asks_for_accept_has_judged_nothing(stage: Stage) -> None:
    run = stage.run(hard="@gate(P0)\ndef test_hard():\n    pass\n")

    assert (run.code, run.outcomes["P0.9"]) == (10, "error")
    assert "judged nothing" in run.reason


def test_accept_is_for_gates(stage: Stage) -> None:
    run = stage.run(hard=HARD + "def test_stranger(accept):\n    pass\n")

    assert (run.code, run.verdict["verdict"]) == (10, "INCOMPLETE")
    assert "test_stranger asks for `accept` but is marked with no gate" in run.said


def test_a_test_that_is_no_gate_may_pass_and_may_not_fail(stage: Stage) -> None:
    assert stage.run(hard=HARD + "def test_stranger():\n    pass\n").code == 0
    assert stage.run(hard=HARD + "def test_stranger():\n    assert 0\n").code == 10


def test_accept_knows_whether_strict_was_asked_for(stage: Stage) -> None:
    hard = "@gate(P0)\ndef test_hard(accept):\n    measured(accept)\n    accept.note(f'strict: {accept.strict}')\n"

    assert stage.run(hard=hard).verdict["gates"][0]["details"]["notes"] == ["strict: False"]
    assert stage.run("--strict", hard=hard).verdict["gates"][0]["details"]["notes"] == ["strict: True"]


def test_a_folder_that_is_no_checkpoint_cannot_be_opened(stage: Stage) -> None:
    run = stage.run(hard="@gate(P0)\ndef test_hard(checkpoint, accept):\n    measured(accept)\n")

    assert (run.code, run.outcomes["P0.9"]) == (10, "error")
    assert "found no weights" in run.reason


def test_fixtures_are_made_once_a_run_and_are_the_stages(stage: Stage) -> None:
    # Kept, since an object that has gone may have the address of the next one.
    both = "KEPT = []\n" + "".join(
        f"@gate({gate})\ndef test_{gate}(bundle_audit, thresholds, accept):\n    measured(accept)\n"
        "    KEPT.append((bundle_audit, thresholds))\n"
        "    accept.note(str([type(each).__name__ for each in KEPT[-1]]))\n"
        "    accept.note(str([here is first for here, first in zip(KEPT[-1], KEPT[0])]))\n"
        for gate in ("P0", "P1")
    )
    for gate in stage.run(hard=both, soft="").verdict["gates"]:
        assert gate["details"]["notes"] == ["['BundleAudit', 'Stage4Thresholds']", "[True, True]"]


# ---------------------------------------------------------------------- how a run ends


@pytest.mark.parametrize("option", ["--fixtures", "--markers", "--help", "--collect-only", "--setup-plan"])
def test_what_judges_nothing_does_not_end_with_0(stage: Stage, option: str) -> None:
    assert stage.run(option).code == 10


def test_the_mark_of_a_gate_is_declared(stage: Stage) -> None:
    assert "@pytest.mark.gate(criterion): the test that judges this gate" in stage.run("--markers").said


def test_without_a_checkpoint_help_is_help(stage: Stage) -> None:
    assert stage.pytester.runpytest_inprocess("-p", "gates.plugin", "--help").ret == 0


FINISH = "def pytest_sessionfinish(session, exitstatus):\n    {}\n"


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (FINISH.format("raise OSError('no room')"), "OSError: no room"),
        (FINISH.format("session.exitstatus = 7"), "ended with exit code 7"),
        (FINISH.format("session.exitstatus = 1"), "ended with exit code 1"),
        (FINISH.format("pytest.exit('enough', returncode=0)"), "Exit: enough"),
        ("def pytest_runtest_teardown(item):\n    pytest.exit('enough', returncode=0)\n", "Not a whole run"),
    ],
)
def test_a_run_that_does_not_end_well_takes_its_promotion_back(stage: Stage, beside: str, said: str) -> None:
    run = stage.run(beside=beside)

    assert (run.code, run.verdict["verdict"]) == (10, "INCOMPLETE")
    assert said in run.verdict["next_step"]


def test_ctrl_c_at_the_end_takes_a_promotion_back(stage: Stage) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage.run(beside=FINISH.format("raise KeyboardInterrupt"))

    left = json.loads((stage.out / session.VERDICT_FILE).read_text())
    assert left["verdict"] == "INCOMPLETE"
    assert "interrupted at its end" in left["next_step"]


def test_a_rejection_stands_however_a_run_ends(stage: Stage) -> None:
    run = stage.run(hard=SHORT, beside=FINISH.format("session.exitstatus = 0"))

    assert (run.code, run.verdict["verdict"]) == (1, "REJECT")


def test_an_error_at_the_end_is_said_beside_a_rejection(stage: Stage) -> None:
    run = stage.run(hard=SHORT, beside=FINISH.format("raise OSError('no room')"))

    assert (run.code, run.verdict["verdict"]) == (1, "REJECT")
    assert "OSError: no room" in run.said


def test_a_run_that_was_stopped_ends_as_pytest_ends_it(stage: Stage) -> None:
    stop = "def pytest_runtest_teardown(item):\n    item.session.shouldstop = 'enough'\n"
    run = stage.run(beside=stop)

    assert (run.code, run.verdict["verdict"]) == (2, "INCOMPLETE")


def test_nobody_overrules_the_exit_code(stage: Stage) -> None:
    overrule = "@pytest.hookimpl(wrapper=True)\ndef pytest_cmdline_main(config):\n    yield\n    return 0\n"
    (stage.pytester.path / "overruler.py").write_text("import pytest\n" + overrule)
    stage.pytester.syspathinsert()

    assert stage.run("-p", "overruler", hard=SHORT).code == 1
    run = stage.run("-p", "overruler", hard="@gate(P0)\ndef test_hard(accept):\n    pytest.skip('x')\n")
    assert (run.code, run.verdict["verdict"]) == (10, "INCOMPLETE")


def test_a_run_lets_go_of_its_folder(stage: Stage) -> None:
    assert stage.run().code == 0
    assert not (stage.out / ".run.holder").exists()


@pytest.mark.parametrize(
    ("args", "said"), [(("--max-examples=0",), "expected at least 1"), (("--ckpt=gone",), "no such")]
)
def test_an_older_promotion_is_gone_where_a_run_could_not_begin(stage: Stage, args: tuple[str, ...], said: str) -> None:
    assert stage.run().code == 0
    run = stage.run(*args)

    assert (run.code, said in run.said) == (4, True)
    assert [each.name for each in run.out.iterdir() if not each.name.startswith(".")] == ["evidence"]


def test_what_a_usage_error_quotes_is_printable(stage: Stage) -> None:
    run = stage.run(ckpt="\x1b[2Jx")

    assert run.code == 4
    assert "\\x1b[2Jx: no such folder" in run.said
    assert "\x1b" not in run.said


def test_gates_that_are_collected_by_a_roundabout_way_are_refused(stage: Stage) -> None:
    stage.run()
    beside = "def pytest_collection_modifyitems(items):\n    raise RuntimeError('before it was refused')\n"
    (stage.folder / "conftest.py").write_text(beside)
    done = stage.pytester.runpytest_inprocess("-p", "gates.plugin", str(stage.pytester.path))

    assert done.ret == 4
    assert "gates need a checkpoint: pytest gates/stage4 --ckpt=DIR" in done.stdout.str() + done.stderr.str()
    assert "before it was refused" not in done.stdout.str() + done.stderr.str()


def test_tests_that_are_no_gates_are_left_alone(stage: Stage) -> None:
    stage.pytester.makepyfile("def test_one():\n    assert 1\ndef test_two():\n    assert 0")
    done = stage.pytester.runpytest_inprocess("-p", "gates.plugin", "test_tests_that_are_no_gates_are_left_alone.py")

    done.assert_outcomes(passed=1, failed=1)
    assert done.ret == 1
    assert not stage.out.exists()


def test_a_worker_writes_no_verdict(stage: Stage) -> None:
    worker = (
        "@pytest.hookimpl(tryfirst=True)\ndef pytest_configure(config):\n    config.workerinput = {'testrunuid': 'x'}\n"
    )
    (stage.pytester.path / "worker.py").write_text("import pytest\n" + worker)
    stage.pytester.syspathinsert()

    run = stage.run("-p", "worker")
    assert run.code == 0
    assert not (run.out / session.VERDICT_FILE).exists()
    run.out.mkdir(exist_ok=True)
    (run.out / session.VERDICT_FILE).write_text("{}")
    assert stage.run("-p", "worker", "--max-examples=0").code == 4
    assert (run.out / session.VERDICT_FILE).exists()
