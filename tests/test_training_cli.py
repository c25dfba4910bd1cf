"""python -m training: what it takes, what it says, and how it exits."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.bundle import open_bundle
from tests.training_world import World, write_world
from training import run as run_module
from training.__main__ import CHANGE_MODELLING, NEAR_ZERO, main
from training.checkpoints import read_rows
from training.config import RunConfig
from training.run import Outcome


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"), tied=True)


@pytest.fixture
def config(world: World, tmp_path: Path) -> Path:
    """A run file over the world."""
    lines = [
        "stage = 3", f'out = "{tmp_path / "run"}"',
        "[data]", f'parent = "{world.surgery}"', f'train = "{world.train}"',
        "[batch]", "per_device = 4", "accumulation = 2",
        "[steps]", "max_steps = 4", "log_every = 2", "eval_every = 2", "save_every = 2",
        "[measure]", "examples = 8",
    ]  # fmt: skip
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    return tmp_path / "mine.toml"


USAGE = {
    "no such command": (["walk"], "No such command 'walk'"),
    "run without a config": (["run"], "Missing argument"),
    "an unknown option": (["run", "tier-b", "--steps", "3"], "No such option: --steps"),
    "surgery without a base": (["surgery", "--shards", "x", "--out", "y"], "Missing option '--base'"),
    "a noise that is none": (["surgery", "--base", "x", "--shards", "x", "--out", "y", "--noise", "much"], "--noise"),
    "a step of the demo": (["demo", "stage5"], "'stage5' is none of "),
    "a recipe of the demo": (["demo", "--recipe", "large"], "'large' is none of demo, tied, small"),
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_errors_are_one_line_on_stderr_and_exit_2(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, said = USAGE[case]

    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert said in captured.err


ERRORS = {
    "no such config": (["run", "tier-z"], "error: tier-z: found no file; expected a TOML file, or one of demo-stage3,"),
    "no such backbone": (["run", "tier-b", "--backbone", "gpt"], "error: gpt: found no file; expected a TOML file"),
    "no such key": (["run", "tier-b", "--set", "speed=3"], "found speed: Unexpected keyword argument; expected a key"),
    "no parent": (["run", "tier-b", "--set", "data.parent=x"], "error: x: found no checkpoint folder; expected the"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_input_that_is_wrong_is_an_error_line_and_exit_1(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # ready files name folders below the working directory
    arguments, said = ERRORS[case]

    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["run"], ["demo"], ["surgery"]], ids=" ".join)
def test_help_is_printed_and_exits_0(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_a_dry_run_says_what_a_step_holds_and_writes_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(config), "--set", "steps.max_steps=6", "--dry-run"]) == 0
    said = capsys.readouterr().out

    assert "training examples: 96 (source-0 48, source-1 48)" in said
    assert "effective batch: 4 a device x 2 accumulated x 1 process = 8 sequences a step" in said
    assert "12 steps a pass; 6 steps planned" in said
    assert re.search(r"audit: 6 training examples have the loss that the gates find, within \S+ nats", said)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def _ending(monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None) -> dict[str, Any]:
    """Stand in for the run; returns what it is called with."""
    called: dict[str, Any] = {}

    def run_stage(config: RunConfig, say: Any, **more: Any) -> Outcome | None:
        called.update(config=config, **more)
        return outcome

    monkeypatch.setattr(run_module, "run_stage", run_stage)
    return called


@pytest.mark.parametrize("stopped", ["steps", "plateau"])
def test_a_run_that_ended_well_exits_0(
    stopped: Any, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ending(monkeypatch, Outcome(4, stopped, "the figures", Path("x")))

    assert main(["run", str(config)]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_that_stopped_near_zero_exits_3_and_says_what_to_change(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ending(monkeypatch, Outcome(4, "near_zero", "still near zero at step 4: delta 0", Path("x")))

    assert main(["run", str(config)]) == NEAR_ZERO == 3
    said = capsys.readouterr().err
    assert "STOPPED: still near zero at step 4: delta 0" in said
    assert CHANGE_MODELLING in said
    assert "prompting, masking, copy mix, clip policy" in said


def test_options_reach_the_run(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = _ending(monkeypatch, None)
    more = ["--backbone", "demo", "--set", "seed=7", "--set", "optim.clip=0.5", "--fresh", "--dry-run"]

    assert main(["run", str(config), *more]) == 0
    found = called["config"]
    assert (found.backbone, found.seed, found.optim.clip, found.optim.lr_rows) == ("demo", 7, 0.5, 1e-2)
    assert (called["fresh"], called["dry_run"]) == (True, True)


def test_an_interruption_exits_130(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run_stage", interrupted)

    assert main(["run", str(config)]) == 130


def test_surgery_writes_the_checkpoint_that_stage_3_begins_at(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "surgery" / "checkpoint_0"
    arguments = ["surgery", "--base", str(world.base), "--shards", str(world.root / "shards"), "--out", str(out)]
    more = ["--text-eval", str(world.root / "text_eval.jsonl"), "--noise", "0.1", "--untie", "--seed", "5"]

    assert main([*arguments, *more]) == 0
    assert f"written: {out}" in capsys.readouterr().out
    assert open_bundle(out).input("base") == world.base
    assert "text_only" in json.loads((out / "base_fingerprint.json").read_text())
    assert read_rows(out).lm_head is not None  # --untie


def test_the_module_runs_as_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "run", str(tmp_path / "absent.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'absent.toml'}: found no file")
    assert "Traceback" not in done.stderr
