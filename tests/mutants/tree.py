"""A copy of the tree to mutate: the working tree is never touched."""

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.plan import ROOT

_NOWHERE = shutil.ignore_patterns(
    ".git", ".venv", ".cache", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "node_modules"
)
_NOT_BELOW_THE_ROOT = {"runs", "outputs"}  # harness/outputs is a package
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_BASELINE_S = 300.0
_CONFTEST = """\
pytest_plugins = ["pytester"]

def pytest_configure(config):
    config.addinivalue_line("markers", "gate(criterion): as the gates' plugin declares it")
"""


@dataclass(frozen=True)
class Tree:
    """A copy, with a server that runs its tests."""

    root: Path
    folder: Path
    server: subprocess.Popen[str]

    def run(self, tests: Sequence[str]) -> tuple[int, str, float]:
        """Run tests of the copy as it is: exit code, what they said, seconds."""
        begun = time.monotonic()
        done = subprocess.run(
            [*self._client(_BASELINE_S), "--keep", *tests], capture_output=True, text=True, check=False
        )
        # What pytest has rewritten of the plugin would hide its mutants.
        for file in (self.root / "gates").rglob("*pytest*.pyc"):
            file.unlink()
        return done.returncode, done.stdout + done.stderr, time.monotonic() - begun

    def command(self, tests: Sequence[str], seconds: float) -> str:
        """What runs tests of the copy, for cosmic-ray."""
        return " ".join([*self._client(seconds), *tests])

    def close(self) -> None:
        """Stop the server and remove the copy."""
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _client(self, seconds: float) -> list[str]:
        client = self.root / "tests" / "mutants" / "client.py"
        return [sys.executable, "-I", "-S", str(client), str(self.folder / "socket"), f"{seconds:.1f}"]


def not_copied(folder: str, names: list[str]) -> set[str]:
    """Which of the names in a folder no copy has; as `shutil.copytree` asks."""
    return _NOWHERE(folder, names) | (_NOT_BELOW_THE_ROOT & set(names) if Path(folder) == ROOT else set())


def copy_tree(folder: Path, tests: Sequence[str]) -> Tree:
    """Copy the tree, and start its server.

    Args:
        folder: an empty one, that the copy is to own.
        tests: the files whose libraries the server imports beforehand.
    """
    root = folder / "tree"
    shutil.copytree(ROOT, root, ignore=not_copied, symlinks=True)
    # The tests run without the gates' plugin around them: a mutant of it that runs no test would see none fail.
    (root / "conftest.py").write_text(_CONFTEST)
    # Bytecode that is checked by content: by time and size, a mutant of the same second would be taken for another.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    for package in ("gates", "harness", "reports", "training"):
        compileall.compile_dir(root / package, quiet=2, invalidation_mode=mode)
    modules = [test.removesuffix(".py").replace("/", ".") for test in tests]
    command = [sys.executable, "-m", "tests.mutants.server", str(folder / "socket"), str(folder), *modules]
    server = subprocess.Popen(command, cwd=root, env=environment(root), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    if server.stdout.readline().strip() != "ready":
        raise RuntimeError("the server of tests did not start")
    return Tree(root, folder, server)


def environment(root: Path) -> dict[str, str]:
    """Of everything that runs in a copy."""
    settings = {"PYTHONPATH": str(root), "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    return {**os.environ, **_ONE_THREAD, **settings}
