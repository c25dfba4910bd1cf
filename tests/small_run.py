"""The small demo run, trained once for all tests and kept in a cache folder."""

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "small"
TRAIN = [sys.executable, "-m", "training", "demo", "--recipe", "small", "--runs", str(CACHE)]


def train_small() -> str:
    """Train it where the cache does not hold it already; returns what the training said."""
    CACHE.parent.mkdir(exist_ok=True)
    with FileLock(CACHE.parent / "small.lock"):
        done = subprocess.run(TRAIN, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def last_checkpoint(run: Path, stage: str) -> Path:
    """The checkpoint of the highest step of a stage."""
    return max((run / stage).glob("checkpoint_*"), key=lambda path: int(path.name.split("_")[1]))
