"""What the tests of failing closed share: a checkpoint that is promoted, and an older PROMOTE that lies in the way.

Every case judges that checkpoint again on the evidence of one run, so that nothing but the sabotage keeps it from
PROMOTE.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates.options import GATES_ROOT
from tests.gating import INI

ROOT = Path(__file__).parents[1]
OLDER = "1999-12-31T00:00:00+00:00"  # when the older run was
PATIENCE_S = 300


STAGE_3 = ["-c", INI, "-p", "gates.plugin", str(GATES_ROOT / "stage3")]
STAGE_4 = ["-c", INI, "-p", "gates.plugin", str(GATES_ROOT / "stage4")]


@dataclass(frozen=True)
class Promotable:
    """A stage 3 checkpoint, the evidence of a run that promoted it, and what that run left."""

    ckpt: Path
    cache: Path
    promoted: Path

    def options(self, out: Path, *more: str) -> list[str]:
        """The command line that promotes it, after `pytest`."""
        return [*STAGE_3, f"--ckpt={self.ckpt}", f"--out={out}", f"--cache={self.cache}", *more]

    def promote(self) -> None:
        """Promote it, once: this makes the evidence for all that follows."""
        if not self.promoted.exists():
            run = start(*self.options(self.promoted))
            print(run.communicate()[0])
        verdict = verdict_in(self.promoted)
        assert verdict is not None
        assert verdict["verdict"] == "PROMOTE", verdict["next_step"]

    def older(self, out: Path) -> Path:
        """The same folder with an older PROMOTE in it."""
        shutil.copytree(self.promoted, out)
        verdict = json.loads((out / "verdict.json").read_text())
        verdict["run"]["started"] = OLDER
        (out / "verdict.json").write_text(json.dumps(verdict))
        for page in ("report.html", "summary.md"):
            (out / page).write_text(f"PROMOTE, of {OLDER}")
        return out


def start(*args: str, **environment: Any) -> "subprocess.Popen[str]":
    """A run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *args],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **environment,
    )  # fmt: skip


def wait_for(happened: Callable[[], bool], run: "subprocess.Popen[str]") -> None:
    """Wait until something has happened in a run."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def verdict_in(out: Path) -> dict[str, Any] | None:
    """The verdict that lies in a folder, if any does."""
    path = out / "verdict.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def nothing_promotes(out: Path) -> str:
    """What the folder's verdict says, having seen that nothing in it can be taken for a PROMOTE."""
    verdict = verdict_in(out)
    for page in ("report.html", "summary.md"):
        if (out / page).exists():
            text = (out / page).read_text()
            assert OLDER not in text, page
            assert verdict is not None, page
            assert verdict["verdict"] in text, page
    if verdict is None:
        return "none"
    assert verdict["run"]["started"] != OLDER
    assert verdict["verdict"] != "PROMOTE"
    return str(verdict["verdict"])
