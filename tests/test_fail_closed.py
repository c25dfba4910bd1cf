"""Whatever goes wrong with a run of a checkpoint that would be promoted: no exit code 0, and no PROMOTE left behind."""

from pathlib import Path

import hypothesis  # noqa: F401
import pytest

import reports.render  # noqa: F401
from gates.options import GATES_ROOT
from gates.verdict import criteria_of
from tests.closed import Promotable, nothing_promotes, verdict_in
from tests.sabotage import INCOMPLETE, SABOTAGE
from tests.small_run import last_checkpoint

# Inner runs forget what they were the first to import: what all of them need is imported above and here, once.
criteria_of("stage3")


@pytest.fixture(scope="module")
def promotable(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    root = tmp_path_factory.mktemp("promotable")
    return Promotable(last_checkpoint(small_run, "stage3"), root / "cache", root / "promoted")


@pytest.fixture(autouse=True)
def _promoted(promotable: Promotable) -> None:
    promotable.promote()


def run(pytester: pytest.Pytester, promotable: Promotable, args: list[str], sabotage: str) -> tuple[int, str]:
    """Exit code and verdict of a run with a plugin that gets in its way, into a folder that holds an older PROMOTE."""
    out = promotable.older(pytester.path / "out")
    if sabotage:
        pytester.makepyfile(sabotage=f"import dataclasses, os, resource, sys, pytest\n\n{sabotage}")
        pytester.syspathinsert()
        args = ["-p", "sabotage", *args]
    result = pytester.runpytest_inprocess(*promotable.options(out, *args))
    return int(result.ret), nothing_promotes(out)


# A part of the gates, or none of them: by options alone.
PARTS = {
    "-k": ["-k", "not test_s36_dynamics"],
    "-k nothing": ["-k", "no_such_gate"],
    "-m": ["-m", "not gate"],
    "--deselect": ["--deselect", "stage3/test_s36_dynamics.py"],
    "--ignore": [f"--ignore={GATES_ROOT / 'stage3' / 'test_s30_bundle.py'}"],
    "no gate is collected": ["-o", "python_functions=nothing_*"],
    "--collect-only": ["--collect-only"],
    "--co -q": ["--co", "-q"],
    "--setup-plan": ["--setup-plan"],
    "--fixtures": ["--fixtures"],
    "--markers": ["--markers"],
    "-p no:terminal": ["-o", "addopts=", "-p", "no:terminal", "-k", "not test_s36_dynamics"],
    "-p no:capture": ["-p", "no:capture", "-k", "not test_s36_dynamics"],
    "--no-summary": ["--no-summary", "-k", "not test_s36_dynamics"],
    "--max-examples": ["--max-examples=2"],
}


@pytest.mark.parametrize("args", PARTS.values(), ids=PARTS.keys())
def test_a_part_of_the_gates_is_incomplete(pytester: pytest.Pytester, promotable: Promotable, args: list[str]) -> None:
    code, verdict = run(pytester, promotable, args, "")

    assert (code, verdict) == INCOMPLETE


def test_options_of_the_environment_count_and_are_named(
    pytester: pytest.Pytester, promotable: Promotable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k 'not test_s36_dynamics'")

    assert run(pytester, promotable, [], "") == INCOMPLETE
    verdict = verdict_in(pytester.path / "out")
    assert verdict is not None
    assert verdict["run"]["command"].startswith("PYTEST_ADDOPTS=")


def test_help_is_no_promotion(pytester: pytest.Pytester, promotable: Promotable) -> None:
    assert pytester.runpytest_inprocess(*promotable.options(pytester.path / "out", "--help")).ret == 10


@pytest.mark.parametrize(("sabotage", "args", "expected"), SABOTAGE.values(), ids=SABOTAGE.keys())
def test_what_goes_wrong_on_the_way_does_not_promote(
    pytester: pytest.Pytester, promotable: Promotable, sabotage: str, args: list[str], expected: tuple[int, str]
) -> None:
    assert run(pytester, promotable, args, sabotage) == expected


def test_a_report_that_is_too_large_for_the_disk_is_no_promotion(
    pytester: pytest.Pytester, promotable: Promotable
) -> None:
    room = (promotable.promoted / "verdict.json").stat().st_size + 1_000
    assert room < (promotable.promoted / "report.html").stat().st_size
    full = f"""
LIMIT = resource.getrlimit(resource.RLIMIT_FSIZE)

def pytest_sessionstart():
    resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, LIMIT[1]))

def pytest_unconfigure():
    resource.setrlimit(resource.RLIMIT_FSIZE, LIMIT)
"""
    assert run(pytester, promotable, [], full) == INCOMPLETE
    verdict = verdict_in(pytester.path / "out")
    assert verdict is not None
    assert verdict["next_step"].startswith("No report could be written to")
    assert {gate["outcome"] for gate in verdict["gates"]} == {"pass"}


def test_a_disk_without_any_room_leaves_no_verdict(pytester: pytest.Pytester, promotable: Promotable) -> None:
    full = """
import errno
import gates.session
import reports.render

def no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

def pytest_sessionstart(session):
    session.patch = pytest.MonkeyPatch()
    session.patch.setattr(gates.session, "write_verdict", no_room)
    session.patch.setattr(reports.render, "write_text", no_room)

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    config.pluginmanager.getplugin("session").patch.undo()
"""
    assert run(pytester, promotable, [], full) == (10, "none")


def test_checkpoint_without_gates_is_a_usage_error(pytester: pytest.Pytester, promotable: Promotable) -> None:
    pytester.makepyfile("def test_something_green(): pass")

    result = pytester.runpytest_inprocess("-p", "gates.plugin", f"--ckpt={promotable.ckpt}")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --ckpt judges nothing without gates*"])


def test_an_output_folder_that_is_none_is_a_usage_error(pytester: pytest.Pytester, promotable: Promotable) -> None:
    for blocked in ("/proc/gates", f"{__file__}/below"):
        result = pytester.runpytest_inprocess(*promotable.options(Path(blocked)))

        assert result.ret == 4
        result.stderr.fnmatch_lines(["ERROR: --out=*expected a folder to write to*"])
