"""A stage of two made-up gates that the real plugin runs in an inner pytest: what it does, without a checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from gates import session
from tests.gating import outcomes

HEAD = """
import pytest
from gates.gate import GateFailedError, gate
from harness.errors import MissingInputError
from harness.results import Measurement
from tests.gate_runs import P0, P1
from tests.hostile import HOSTILE

def measured(accept, value=1.0):
    accept(Measurement(name="share", value=value, unit="share", n=9), at_least=0.5)
"""
HARD = "@gate(P0)\ndef test_hard(accept):\n    measured(accept)\n"
SOFT = "@gate(P1)\ndef test_soft(accept):\n    measured(accept)\n"
SHORT = "@gate(P0)\ndef test_hard(accept):\n    measured(accept, 0.25)\n"


class Run:
    """What a run of the made-up gates left."""

    def __init__(self, result: pytest.RunResult, out: Path) -> None:
        self.code, self.out = int(result.ret), out
        self.said = result.stdout.str() + result.stderr.str()

    @property
    def verdict(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.out / session.VERDICT_FILE).read_text())
        return read

    @property
    def outcomes(self) -> dict[str, str]:
        return outcomes(self.verdict)

    @property
    def reason(self) -> str:
        """Of the P0 gate."""
        return str(self.verdict["gates"][0]["details"].get("reason"))


class Stage:
    """A stage 4 of two gates, in a folder of its own."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester, self.folder = pytester, pytester.path / "gates" / "stage4"
        self.ckpt, self.out = pytester.path / "checkpoint_5", pytester.path / "out"
        self.folder.mkdir(parents=True)
        self.ckpt.mkdir()

    def run(self, *args: str, hard: str = HARD, soft: str = SOFT, beside: str = "", ckpt: str | None = None) -> Run:
        (self.folder / "test_made_up.py").write_text(HEAD + hard + soft)
        (self.folder / "conftest.py").write_text("import pytest\n" + beside)
        asked = [f"--ckpt={self.ckpt if ckpt is None else ckpt}", f"--out={self.out}", "-p", "no:cacheprovider"]
        result = self.pytester.runpytest_inprocess("-p", "gates.plugin", str(self.folder), *asked, *args)
        return Run(result, self.out)
