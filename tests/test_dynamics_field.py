"""The first users' own logs: the one that the spec reads is healthy, and is not when something is planted in it."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gates.dynamics_reading import Beside, read_log
from harness.token_space import read_token_space
from harness.train_log import read_train_log
from tests.field_layout import FIELD
from tests.training_logs import SPEC, whats

STAGE3, STAGE4 = FIELD / "stage3_token_lm_iter.log", FIELD / "stage4_mmpt_trial.log"
pytestmark = pytest.mark.skipif(
    not (STAGE3.is_file() and STAGE4.is_file()), reason="the field's own files are not beside this checkout"
)
Edit = Callable[
    [int, dict[str, str]], dict[str, str] | None
]  # number of the line and its pairs -> pairs; None to drop it


def _judged(path: Path) -> dict[str, Any]:
    return read_log(path, Beside(space=read_token_space(FIELD / "token_space.json")))


def _edited(source: Path, folder: Path, edit: Edit) -> dict[str, Any]:
    """What is said of a log whose `[train]` lines were changed; everything around them is left as it is."""
    lines, number = [], -1
    for line in source.read_bytes().decode().split("\n"):
        kept: str | None = line
        if line.startswith("[train] "):
            number += 1
            pairs = edit(number, dict(re.findall(r"(\w+)=(\S+)", line)))
            kept = None if pairs is None else "[train] " + " ".join(f"{key}={value}" for key, value in pairs.items())
        lines += [] if kept is None else [kept]
    (folder / source.name).write_bytes("\n".join(lines).encode())
    return _judged(folder / source.name)


def _times(key: str, lines: range, factor: float) -> Edit:
    return lambda i, pairs: pairs | {key: f"{float(pairs[key]) * factor:.4f}"} if i in lines else pairs


def test_the_log_that_the_spec_reads_is_healthy_and_its_figures_are_found() -> None:
    seen = _judged(STAGE4)

    assert seen["healthy"], seen["reasons"]
    assert (seen["judged_as"], seen["log"]["format"], seen["log"]["records"]) == ("P1.5", "text", 40)
    assert (seen["findings"], seen["not_judged"], seen["log"]["unreadable"]) == ([], [], 0)
    for key, (first, last) in SPEC.items():
        figure = seen["figures"][key]
        assert (figure["first_step"], figure["last_step"]) == (50, 2000)
        assert (figure["first"], figure["last"]) == pytest.approx((first, last), abs=6e-4)


def test_the_earlier_log_of_single_examples_is_noisy_and_not_sick() -> None:
    seen = _judged(STAGE3)

    assert seen["healthy"], seen["reasons"]
    assert (seen["judged_as"], seen["log"]["records"], seen["log"]["last_step"]) == ("S3.6", 164, 8150)
    assert any("delta_shuffle" in each for each in seen["not_judged"])
    assert read_train_log(STAGE3).series["loss"].values[0] == 0.4965


@pytest.mark.parametrize("factor", [1.3, 2, 10])
@pytest.mark.parametrize("line", [5, 20, 39])
@pytest.mark.parametrize("key", ["t2i_avg", "t2a_avg", "a2t_avg", "i2t_avg", "loss_mean"])
def test_a_planted_spike(tmp_path: Path, key: str, line: int, factor: float) -> None:
    seen = _edited(STAGE4, tmp_path, _times(key, range(line, line + 1), factor))

    assert "spike" in whats(seen)
    assert {(f["key"], f["step"]) for f in seen["findings"] if f["what"] == "spike"} >= {(key, 50 * (line + 1))}


@pytest.mark.parametrize("spelled", ["nan", "NaN", "inf", "-inf", "0.0000"])
@pytest.mark.parametrize("key", ["t2i_avg", "head_norm_mean"])
def test_a_planted_nan(tmp_path: Path, key: str, spelled: str) -> None:
    seen = _edited(STAGE4, tmp_path, lambda i, pairs: pairs | {key: spelled} if i == 17 else pairs)

    assert [(f["key"], f["step"]) for f in seen["findings"] if f["what"] == "no number"] == [(key, 900)]


@pytest.mark.parametrize("missing", [1, 3, 15])
def test_a_planted_gap(tmp_path: Path, missing: int) -> None:
    seen = _edited(STAGE4, tmp_path, lambda i, pairs: None if 20 <= i < 20 + missing else pairs)

    assert [f["step"] for f in seen["findings"] if f["what"] == "gap"] == [1000]


@pytest.mark.parametrize("step", [1000, 500, 1])
def test_planted_steps_that_repeat_or_go_back(tmp_path: Path, step: int) -> None:
    seen = _edited(STAGE4, tmp_path, lambda i, pairs: pairs | {"step": str(step)} if i == 20 else pairs)

    assert whats(seen) & {"repeated step", "decreasing step"}


@pytest.mark.parametrize("level", [12.0, 9.8, 6.93])
@pytest.mark.parametrize("key", ["t2a_avg", "t2i_avg"])
def test_a_planted_dead_write_loss(tmp_path: Path, key: str, level: float) -> None:
    seen = _edited(STAGE4, tmp_path, lambda i, pairs: pairs | {key: f"{level + 0.01 * math.sin(i):.4f}"})

    assert "flat loss" in whats(seen)


@pytest.mark.parametrize("end", [1.3, 2, 5])
@pytest.mark.parametrize("key", ["a2t_avg", "i2t_avg"])
def test_a_planted_collapse_of_a_read_loss(tmp_path: Path, key: str, end: float) -> None:
    def rising(i: int, pairs: dict[str, str]) -> dict[str, str]:
        return pairs | {key: f"{float(pairs[key]) * (1 + (end - 1) * max(0, i - 20) / 10):.4f}"}

    def vanishing(i: int, pairs: dict[str, str]) -> dict[str, str]:
        return pairs | {key: f"{float(pairs[key]) / (1 if i < 20 else 20 * end):.4f}"}

    assert "risen loss" in whats(_edited(STAGE4, tmp_path, rising))
    assert "read loss falls off a cliff" in whats(_edited(STAGE4, tmp_path, vanishing))


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.2, 1.5, 30])
@pytest.mark.parametrize("lines", [range(20, 21), range(20, 40)], ids=["one-line", "for-good"])
@pytest.mark.parametrize("key", ["head_norm_mean", "emb_norm_mean"])
def test_a_planted_jump_of_a_norm(tmp_path: Path, key: str, lines: range, factor: float) -> None:
    seen = _edited(STAGE4, tmp_path, _times(key, lines, factor))

    assert (key, 1050) in {(f["key"], f["step"]) for f in seen["findings"] if f["what"] == "norm jump"}


@pytest.mark.parametrize("every", [2, 3, 5, 8])
def test_a_subsample_of_it_is_healthy(tmp_path: Path, every: int) -> None:
    for first in range(every):
        kept = range(first, 40, every)
        seen = _edited(STAGE4, tmp_path, lambda i, pairs, kept=kept: pairs if i in kept else None)
        assert seen["healthy"], (first, seen["reasons"])


@pytest.mark.parametrize("every", [2, 3, 5])
def test_a_subsample_of_the_noisy_one_is_not_called_sick(tmp_path: Path, every: int) -> None:
    seen = _edited(STAGE3, tmp_path, lambda i, pairs: pairs if i % every == 0 else None)

    assert seen["healthy"], seen["reasons"]


@pytest.mark.parametrize("factor", [10, 100])
def test_a_spike_of_the_noisy_one_has_to_be_large(tmp_path: Path, factor: float) -> None:
    assert "spike" in whats(_edited(STAGE3, tmp_path, _times("loss", range(80, 81), factor)))
    assert _edited(STAGE3, tmp_path, _times("loss", range(80, 81), 2))["healthy"]
