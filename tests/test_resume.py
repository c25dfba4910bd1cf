"""kill -9 in the middle of a run: what was measured stands, nothing is corrupt, the next run ends as if undisturbed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gates.options import GATES_ROOT
from tests.gating import INI
from tests.tiny import Tiny

ROOT = Path(__file__).parents[1]
PATIENCE_S = 300


def _start(tiny: Tiny, out: Path) -> "subprocess.Popen[bytes]":
    options = ["-c", INI, "-p", "gates.plugin", str(GATES_ROOT / "stage4"), f"--ckpt={tiny.ckpt}", f"--out={out}"]
    silent = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-m", "pytest", *options], cwd=ROOT, stdout=silent, stderr=silent)


def _evidence(out: Path) -> dict[str, int]:
    """Name to time of change of every piece of evidence."""
    return {file.name: file.stat().st_mtime_ns for file in (out / "evidence").glob("*.npz")}


def _verdict(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "verdict.json").read_text())
    return found


def _gates(out: Path) -> list[dict[str, Any]]:
    return [gate | {"duration_s": 0} for gate in _verdict(out)["gates"]]


def _kill_when_it_has_scored(run: "subprocess.Popen[bytes]", out: Path) -> None:
    """SIGKILL as soon as the first scores lie in the folder; several conditions are still to be scored then."""
    deadline = time.monotonic() + PATIENCE_S
    while run.poll() is None and time.monotonic() < deadline:
        if any((out / "evidence").glob("scores-*.npz")):
            os.kill(run.pid, signal.SIGKILL)
            break
        time.sleep(0.001)
    assert run.wait(PATIENCE_S) == -signal.SIGKILL


def test_a_killed_run_is_taken_up_where_it_was(shared_tiny: Tiny, tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    _kill_when_it_has_scored(_start(shared_tiny, killed), killed)
    finished = _evidence(killed)
    after_the_kill = _verdict(killed)

    _start(shared_tiny, killed).wait(PATIENCE_S)
    _start(shared_tiny, undisturbed).wait(PATIENCE_S)

    assert (after_the_kill["verdict"], {gate["outcome"] for gate in after_the_kill["gates"]}) == (
        "INCOMPLETE",
        {"not_run"},
    )
    everything = _evidence(undisturbed)
    assert 0 < len(finished) < len(everything)
    assert _evidence(killed).keys() == everything.keys()
    assert {name: time_ns for name, time_ns in _evidence(killed).items() if name in finished} == finished
    counted = _verdict(killed)["run"]["evidence"]
    assert counted == {"measured": len(everything) - len(finished), "reused": len(finished)}
    assert _gates(killed) == _gates(undisturbed)
    assert [file.name for file in (killed / "evidence").iterdir() if file.is_file() and file.suffix != ".npz"] == []
