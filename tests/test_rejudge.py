"""Judging again: every measurement is made once, by whichever worker, run or folder, and then found without a model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from gates.options import CACHE_VARIABLE, GATES_ROOT
from harness.results import RunInfo
from tests.gating import INI
from tests.tiny import Tiny

ROOT = Path(__file__).parents[1]
# Runs gates, and says which of these were imported on the way: a model cannot be loaded without them.
JUDGE = """
import sys, pytest
pytest.main(sys.argv[1:])
print("imported:", sorted({"torch", "transformers", "peft"} & set(sys.modules)))
"""


def _options(stage: str, ckpt: Path, out: Path, *more: str) -> list[str]:
    return ["-c", INI, "-p", "gates.plugin", str(GATES_ROOT / stage), f"--ckpt={ckpt}", f"--out={out}", *more]


def _gate(
    pytester: pytest.Pytester, ckpt: Path, out: Path, *more: str, stage: str = "stage4"
) -> tuple[dict[str, Any], pytest.RunResult]:
    """The verdict of a run in this process, and what it printed."""
    result = pytester.runpytest_inprocess(*_options(stage, ckpt, out, *more))
    return json.loads((out / "verdict.json").read_text()), result


def _evidence(verdict: dict[str, Any]) -> tuple[int, int]:
    used = verdict["run"]["evidence"]
    return used["measured"], used["reused"]


def _without_times(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    return [gate | {"duration_s": 0} for gate in verdict["gates"]]


@pytest.mark.parametrize("stage", ["stage3", "stage4"])
def test_judging_again_loads_no_model(pytester: pytest.Pytester, shared_tiny: Tiny, tmp_path: Path, stage: str) -> None:
    ckpt = shared_tiny.ckpt
    first, _ = _gate(pytester, ckpt, tmp_path, stage=stage)
    thresholds = pytester.makefile(".toml", "recommended_ablation_examples = 7")

    options = _options(stage, ckpt, tmp_path, f"--thresholds={thresholds}")
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, *options], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ
    )

    assert done.stdout.splitlines()[-1] == "imported: []", done.stdout
    again = json.loads((tmp_path / "verdict.json").read_text())
    assert again["thresholds"]["changed"]["recommended_ablation_examples"]["used"] == 7
    assert _evidence(again) == (0, _evidence(first)[0])
    assert f"evidence: 0 measured, {_evidence(first)[0]} reused" in done.stdout


def test_workers_measure_everything_once(pytester: pytest.Pytester, shared_tiny: Tiny, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    runs = []
    for name, n_workers in (("cold", "4"), ("warm", "2")):
        options = _options("stage4", shared_tiny.ckpt, tmp_path / name, f"--cache={cache}", "-n", n_workers)
        pytester.runpytest_subprocess(*options)
        runs.append(json.loads((tmp_path / name / "verdict.json").read_text()))

    n = len(list(cache.glob("*.npz")))
    assert [_evidence(run) for run in runs] == [(n, 0), (0, n)]
    assert _without_times(runs[0]) == _without_times(runs[1])


def test_checkpoints_share_a_cache_without_mixing(pytester: pytest.Pytester, tiny: Tiny, tmp_path: Path) -> None:
    cache = f"--cache={tmp_path / 'cache'}"
    copied, other = tmp_path / "copied", tmp_path / "other"
    for root in (copied, other):
        shutil.copytree(tiny.root, root)
    place = tiny.ckpt.relative_to(tiny.root)
    rows = load_file(other / place / "trainable_rows.safetensors")
    save_file({name: 2 * tensor for name, tensor in rows.items()}, other / place / "trainable_rows.safetensors")
    alone, _ = _gate(pytester, other / place, tmp_path / "alone")

    first, _ = _gate(pytester, tiny.ckpt, tmp_path / "1", cache)
    of_copy, _ = _gate(pytester, copied / place, tmp_path / "2", cache)
    of_other, _ = _gate(pytester, other / place, tmp_path / "3", cache)

    assert _evidence(of_copy) == (0, _evidence(first)[0])
    p04 = {name: _gate_of(run, "P0.4") for name, run in (("first", first), ("copy", of_copy), ("other", of_other))}
    assert p04["copy"]["measurements"] == p04["first"]["measurements"]
    assert p04["other"]["measurements"] == _gate_of(alone, "P0.4")["measurements"] != p04["first"]["measurements"]
    assert not (tmp_path / "1" / "evidence").exists()
    # Media are restored from what was decoded before, into a folder that never had them.
    assert _media(tmp_path / "2") == _media(tmp_path / "1") != {}


def _gate_of(verdict: dict[str, Any], id_: str) -> dict[str, Any]:
    (found,) = [gate for gate in verdict["gates"] if gate["id"] == id_]
    return found


def _media(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in (out / "media").rglob("*.*")}


def test_without_the_cache_everything_is_measured_again_and_kept(
    pytester: pytest.Pytester, shared_tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    first, _ = _gate(pytester, shared_tiny.ckpt, tmp_path)
    times = {file: file.stat().st_mtime_ns for file in cache.glob("*.npz")}

    again, _ = _gate(pytester, shared_tiny.ckpt, tmp_path, "--no-cache")

    assert _evidence(again) == _evidence(first) == (len(times), 0)
    assert all(file.stat().st_mtime_ns > time_ns for file, time_ns in times.items())


def test_a_damaged_piece_alone_is_measured_again_and_said(
    pytester: pytest.Pytester, shared_tiny: Tiny, tmp_path: Path
) -> None:
    first, _ = _gate(pytester, shared_tiny.ckpt, tmp_path)
    damaged = next((tmp_path / "evidence").glob("scores-*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:-100])

    # In a process of its own: in this one, warnings are errors.
    result = pytester.runpytest_subprocess(*_options("stage4", shared_tiny.ckpt, tmp_path))
    again = json.loads((tmp_path / "verdict.json").read_text())

    assert _evidence(again) == (1, _evidence(first)[0] - 1)
    assert _without_times(again) == _without_times(first)
    result.stdout.fnmatch_lines([f"*{damaged.name}: damaged evidence*it is measured again"])


def test_a_cache_that_is_no_folder_is_a_usage_error(pytester: pytest.Pytester, shared_tiny: Tiny) -> None:
    file = pytester.makefile(".txt", "no folder")

    result = pytester.runpytest_inprocess(
        *_options("stage4", shared_tiny.ckpt, pytester.path / "out", f"--cache={file}")
    )

    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: --cache={file}: File exists; expected a folder to write to*"])


def test_how_a_run_was_made_is_readable_without_what_it_reused() -> None:
    older = {"command": "c", "seed": 0, "device": "cpu", "dtype": "float32", "versions": {}, "started": "2026-01-01",
             "duration_s": 1.0}  # fmt: skip

    assert (RunInfo.model_validate(older).evidence.measured, RunInfo.model_validate(older).evidence.reused) == (0, 0)
