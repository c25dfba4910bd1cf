"""Runs tests of one copy of the tree in forks of a process that has imported every library, and nothing of ours.

A pytest of its own costs seconds before its first test, most of them for importing torch; a fork costs none. What is
ours is imported anew in every fork, and so is what was mutated.
"""

import contextlib
import gc
import importlib
import os
import re
import resource
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import hypothesis
from hypothesis import Phase

OURS = ("gates", "harness", "reports", "training", "tests", "conftest")
TIMED_OUT = 124
MOST_MEMORY = 8 * 2**30
MOST_SAID = 20_000
AT_FIRST = 16  # tests that have killed most mutants so far begin a run
_OPTIONS = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
_PHASES = (Phase.explicit, Phase.generate)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?::.+?)(?: - |$)", re.MULTILINE)


def preload(modules: list[str]) -> None:
    """Import test modules for the libraries that they need, and forget what is ours."""
    for module in modules:
        with contextlib.suppress(Exception):  # what cannot be imported here will say so in its tests
            importlib.import_module(module)
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
    # A failing example need not be the smallest one, and is the same at every run.
    hypothesis.settings.register_profile("mutants", phases=_PHASES, derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutants")
    gc.collect()
    gc.freeze()  # the collector of a fork need not walk through all of torch


def serve(path: Path, folder: Path) -> None:
    """Answer requests, one at a time: the exit code of the tests and what they said."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        print("ready", flush=True)
        killers: Counter[str] = Counter()
        while True:
            asked, _ = listening.accept()
            with asked, contextlib.suppress(OSError):
                seconds, *tests = asked.makefile().readline().rstrip("\n").split("\0")
                code, said = run(_in_order(tests, killers), float(seconds), folder)
                killers.update(_FAILED.findall(said)[:1])
                asked.sendall(f"{code}\n{said[-MOST_SAID:]}".encode())


def run(tests: list[str], seconds: float, folder: Path) -> tuple[int, str]:
    """Run tests in a fork; TIMED_OUT where they take longer than they may."""
    temporary, log = folder / "tests", folder / "said.txt"
    child = os.fork()
    if child == 0:
        _become(log)
        os._exit(_pytest(tests, temporary))
    code = _wait(child, seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests have started
    shutil.rmtree(temporary, ignore_errors=True)
    return code, log.read_text(encoding="utf-8", errors="replace")


def _in_order(tests: list[str], killers: Counter[str]) -> list[str]:
    """The tests, those first that most mutants of their files have fallen to."""
    ours = [test for test, _ in killers.most_common() if test.startswith(tuple(f"{file}::" for file in tests))]
    return [*ours[:AT_FIRST], *tests]


def _become(log: Path) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)


def _pytest(tests: list[str], temporary: Path) -> int:
    import pytest

    # The first run of unmutated code leaves the rewritten tests behind; a mutant must leave nothing.
    sys.dont_write_bytecode = "--keep" not in tests
    chosen = [test for test in tests if test != "--keep"]
    told = "--tb=no" if sys.dont_write_bytecode else "--tb=short"
    code = 98
    try:
        code = int(pytest.main([*_OPTIONS, told, f"--basetemp={temporary}", *chosen]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _wait(child: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) % 256
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMED_OUT


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    preload(sys.argv[3:])
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
