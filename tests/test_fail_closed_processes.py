"""Runs in processes of their own that are killed, interrupted, get in each other's way, or lose a worker."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gates.lock import HOLDER
from tests.closed import PATIENCE_S, Promotable, nothing_promotes, start, verdict_in, wait_for
from tests.small_run import last_checkpoint

# A run with this plugin stops before its last gate until it is told to go on.
PAUSE = """
import os, time
from pathlib import Path

def pytest_runtest_setup(item):
    if "s37" in item.nodeid:
        Path(os.environ["PAUSED"]).touch()
        while not Path(os.environ["GO_ON"]).exists():
            time.sleep(0.01)
"""
KILL_A_WORKER = """
import os, signal

def pytest_runtest_call(item):
    if "s37" in item.nodeid:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def promotable(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Promotable:
    root = tmp_path_factory.mktemp("promotable")
    promotable = Promotable(last_checkpoint(small_run, "stage3"), root / "cache", root / "promoted")
    promotable.promote()
    return promotable


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Runs that are started can be interrupted; a shell starts what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def paused(promotable: Promotable, out: Path, tmp_path: Path, name: str) -> "subprocess.Popen[str]":
    """A run that stands before its last gate; a file `name`.go lets it go on."""
    (tmp_path / "pause.py").write_text(PAUSE)
    at, go = tmp_path / f"{name}.paused", tmp_path / f"{name}.go"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PAUSED": str(at), "GO_ON": str(go)}
    run = start(*promotable.options(out, "-p", "pause"), env=environment)
    wait_for(at.exists, run)
    return run


def finished(run: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code and output of a run."""
    output, _ = run.communicate(timeout=PATIENCE_S)
    return run.returncode, output


@pytest.mark.usefixtures("interruptible")
def test_a_folder_takes_one_run_at_a_time_and_a_killed_one_lets_go_of_it(
    promotable: Promotable, tmp_path: Path
) -> None:
    out = promotable.older(tmp_path / "out")
    first = paused(promotable, out, tmp_path, "first")
    written = (out / "verdict.json").read_bytes()

    code, output = finished(start(*promotable.options(out)))

    assert code == 4
    refused = next(line for line in output.splitlines() if line.startswith("ERROR: "))
    assert f"found another run writing there (pid {first.pid} on " in refused
    assert "give this run its own --out" in refused
    assert (out / "verdict.json").read_bytes() == written
    assert nothing_promotes(out) == "INCOMPLETE"

    first.kill()
    assert finished(first)[0] == -signal.SIGKILL
    assert nothing_promotes(out) == "INCOMPLETE"
    assert json.loads((out / HOLDER).read_text())["pid"] == first.pid

    second = paused(promotable, out, tmp_path, "second")
    second.send_signal(signal.SIGINT)
    assert finished(second)[0] == 2
    assert nothing_promotes(out) == "INCOMPLETE"

    third = paused(promotable, out, tmp_path, "third")
    (tmp_path / "third.go").touch()
    assert finished(third)[0] == 0
    verdict = verdict_in(out)
    assert verdict is not None
    assert verdict["verdict"] == "PROMOTE"
    assert not (out / HOLDER).exists()


def test_a_worker_that_is_killed_takes_its_gate_along(promotable: Promotable, tmp_path: Path) -> None:
    (tmp_path / "killer.py").write_text(KILL_A_WORKER)
    out = promotable.older(tmp_path / "out")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    code, output = finished(start(*promotable.options(out, "-p", "killer", "-n", "2"), env=environment))

    assert (code, nothing_promotes(out)) == (10, "INCOMPLETE"), output
    verdict = verdict_in(out)
    assert verdict is not None
    assert [gate["id"] for gate in verdict["gates"] if gate["outcome"] != "pass"] == ["S3.7"]
    assert finished(start(*promotable.options(out, "-n", "2")))[0] == 0
