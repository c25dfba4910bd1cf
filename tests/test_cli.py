"""The console script."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gates.cli import app
from gates.options import GATES_ROOT
from tests.tiny import Tiny

runner = CliRunner()


def test_report_renders_a_verdict_again(pytester: pytest.Pytester, tiny: Tiny) -> None:
    out = tiny.root / "out"
    args = [
        "-c",
        str(GATES_ROOT / "run.ini"),
        "-p",
        "gates.plugin",
        str(GATES_ROOT / "stage4"),
        "-k",
        "one_token_space",
    ]
    pytester.runpytest_inprocess(*args, f"--ckpt={tiny.ckpt}", f"--out={out}")
    first = (out / "report.html").read_text()
    (out / "report.html").unlink()

    result = runner.invoke(app, ["report", str(out / "verdict.json")])

    assert result.exit_code == 0
    assert (out / "report.html").read_text() == first


def test_report_of_no_verdict_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps({"format": "else"}))

    result = runner.invoke(app, ["report", str(path)])

    assert result.exit_code == 4
    assert "expected a gate-verdict/1 file" in result.stderr


def test_run_of_an_unknown_stage_is_a_usage_error() -> None:
    result = runner.invoke(app, ["run", "stage9", "--ckpt=x"])

    assert result.exit_code == 4
    assert "expected stage3 or stage4" in result.stderr


def test_run_is_the_same_run_from_any_folder(pytester: pytest.Pytester, tiny: Tiny) -> None:
    out = tiny.root / "out"
    command = ["run", "stage4", f"--ckpt={tiny.ckpt}", f"--out={out}", "-k", "one_token_space"]

    result = pytester.run(sys.executable, "-c", "from gates.cli import main; main()", *command)

    assert result.ret == 10
    assert json.loads((out / "verdict.json").read_text())["verdict"] == "INCOMPLETE"
