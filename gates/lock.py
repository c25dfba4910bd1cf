"""One run at a time in an output folder: the second is told who is there, and changes nothing.

The lock is the kernel's (flock), held by the process that owns the verdict: whoever is killed lets go of it.
"""

import json
import os
import platform
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from harness.errors import HarnessError
from harness.files import read_json, write_text

LOCK, HOLDER = ".run.lock", ".run.holder"  # hidden: no part of what a run leaves for readers


class OutLock:
    """The right to write into an output folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._lock = FileLock(out / LOCK)

    def acquire(self, started: str) -> None:
        """Take the folder for a run, and say who took it.

        Raises:
            pytest.UsageError: another run is writing there.
            OSError: the folder cannot be written.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise pytest.UsageError(
                f"--out={self.out}: found another run writing there ({_holder(self.out)}); expected one run at a time. "
                "Wait for it, or give this run its own --out; with the same --cache nothing is measured twice."
            ) from None
        mine = {"pid": os.getpid(), "host": platform.node(), "started": started}
        write_text(self.out / HOLDER, json.dumps(mine) + "\n")

    def release(self) -> None:
        """Let go; nothing happens where it was not held."""
        if self._lock.is_locked:
            (self.out / HOLDER).unlink(missing_ok=True)
            self._lock.release()


def _holder(out: Path) -> str:
    try:
        holder = read_json(out / HOLDER)
        return f"pid {int(holder['pid'])} on {holder['host']}, since {holder['started']}"
    except (HarnessError, KeyError, TypeError, ValueError):
        return "it has not said which"
