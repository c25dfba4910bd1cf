"""Running gates from tests: the real plugin, in an inner pytest, on a bundle on disk."""

import json
from pathlib import Path
from typing import Any

import pytest

from gates.options import GATES_ROOT
from gates.selftest.runs import file_of

# Signs that a terminal or CI gives; the tests give their own.
SIGNS = (
    "CI",
    "BUILD_NUMBER",
    "NO_COLOR",
    "FORCE_COLOR",
    "PY_COLORS",
    "COLUMNS",
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
)
INI = str(GATES_ROOT / "run.ini")


def run_gates(pytester: pytest.Pytester, stage: str, ckpt: Path, *args: str) -> tuple[int, dict[str, Any]]:
    """Exit code and verdict of a run of all of a stage's gates."""
    out = pytester.path / "out"
    options = ["-c", INI, "-p", "gates.plugin", str(GATES_ROOT / stage), f"--ckpt={ckpt}", f"--out={out}", *args]
    result = pytester.runpytest_inprocess(*options)
    verdict: dict[str, Any] = json.loads((out / "verdict.json").read_text())
    return int(result.ret), verdict


def run_gate(pytester: pytest.Pytester, gate_id: str, ckpt: Path, *args: str) -> dict[str, Any]:
    """One gate's result: the object in verdict.json's `gates`. `gate_id` as in design: P0.1, S3.3, …"""
    out = pytester.path / "out"
    options = ["-c", INI, "-p", "gates.plugin", str(file_of(gate_id)), f"--ckpt={ckpt}", f"--out={out}", *args]
    pytester.runpytest_inprocess(*options)
    verdict = json.loads((out / "verdict.json").read_text())
    (found,) = [gate for gate in verdict["gates"] if gate["id"] == gate_id]
    result: dict[str, Any] = found
    return result


def outcomes(verdict: dict[str, Any]) -> dict[str, str]:
    """Gate id -> outcome."""
    return {gate["id"]: gate["outcome"] for gate in verdict["gates"]}


def findings(gate: dict[str, Any]) -> str:
    """All that a gate's result says about what is wrong, as one text to search in."""
    worst = [f"{row['id']}: {row['note']}" for row in gate["details"].get("worst", [])]
    return "\n".join([str(gate["details"].get("reason", "")), *worst])
