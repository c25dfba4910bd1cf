"""Logs that are unlike the spec's and no less healthy: fewer, more or noisier lines, one task, bfloat16, restarts."""

from pathlib import Path

import numpy as np
import pytest

from tests.training_logs import LOSSES, Rows, broken, in_bfloat16, judged, spec_rows, whats

ROWS = spec_rows()


@pytest.mark.parametrize("every", [2, 3, 5, 10])
def test_a_subsampled_log_is_healthy(tmp_path: Path, every: int) -> None:
    for first in range(every):
        seen = judged(tmp_path, ROWS[first::every])
        assert seen["healthy"], (first, seen["reasons"])


@pytest.mark.parametrize(("stride", "noise"), [(10, 0.0), (10, 0.02), (10, 0.1), (5, 0.2), (2, 0.3)])
def test_a_log_of_more_and_noisier_lines_is_healthy(tmp_path: Path, stride: int, noise: float) -> None:
    for seed in range(5):
        seen = judged(tmp_path, spec_rows(stride=stride, noise=noise, seed=seed))
        assert seen["healthy"], (seed, seen["reasons"])


@pytest.mark.parametrize("task", ["a2t", "i2t", "t2a", "t2i"])
def test_a_log_of_one_task_is_healthy(tmp_path: Path, task: str) -> None:
    keys = ("step", f"{task}_avg", "head_norm_mean", "emb_norm_mean")

    seen = judged(tmp_path, [{key: row[key] for key in keys} for row in ROWS])

    assert seen["healthy"], seen["reasons"]
    assert seen["judged_as"] == ("P1.5" if task in ("t2a", "t2i") else "S3.6")


def test_norms_in_bfloat16_are_smooth(tmp_path: Path) -> None:
    keys = ("head_norm_mean", "emb_norm_mean")
    for stride in (10, 50, 150):
        rows = [row | {key: in_bfloat16(row[key]) for key in keys} for row in spec_rows(stride=stride)]
        assert len({row["emb_norm_mean"] for row in rows}) < 7
        assert judged(tmp_path, rows)["healthy"]


def test_restarts_with_warmup_are_no_spikes(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for at in (14, 27):
            for row, factor in zip(rows[at : at + 3], (1.08, 1.05, 1.02), strict=True):
                row |= {key: factor * row[key] for key in (*LOSSES, "loss_mean")}
        for i, row in enumerate(rows):
            row["lr"] = 1e-3 * min(1, (i % 13 + 1) / 3) * (1 - max(0, i % 13 - 3) / 12)

    seen = judged(tmp_path, broken(ROWS, change))

    assert seen["healthy"], seen["reasons"]


def test_a_log_that_begins_late_is_judged_by_where_it_is(tmp_path: Path) -> None:
    seen = judged(tmp_path, ROWS[30:])

    assert seen["healthy"], seen["reasons"]
    assert any("begins at step 1550" in note for note in seen["notes"])


def test_figures_that_nothing_is_known_of_may_come_twice(tmp_path: Path) -> None:
    rows = [{"step": row["step"], "tokens_per_second": 1.0} for row in ROWS for _ in range(2)]

    seen = judged(tmp_path, sorted([*ROWS, *rows], key=lambda row: int(row["step"])))

    assert seen["healthy"], seen["reasons"]


def test_examples_one_by_one_are_noisy_and_not_sick(tmp_path: Path) -> None:
    def lines(rng: np.random.Generator, fall: float) -> Rows:
        decay = fall * np.minimum(1, np.arange(160) / 12)
        return [
            {"epoch": 0, "step": 50 * i, "loss": float(0.45 * np.exp(0.35 * rng.normal() - decay[i]))}
            for i in range(160)
        ]

    healthy = [judged(tmp_path, lines(np.random.default_rng(seed), 1.0)) for seed in range(20)]
    dead = [judged(tmp_path, lines(np.random.default_rng(seed), 0.0)) for seed in range(20)]

    assert all(seen["healthy"] for seen in healthy), [seen["reasons"] for seen in healthy]
    assert sum("flat loss" in whats(seen) for seen in dead) >= 12
    assert all(
        "flat loss" in whats(seen) or any("too few to tell" in each for each in seen["not_judged"]) for seen in dead
    )


def test_spikes_of_noisy_losses_have_to_be_larger(tmp_path: Path) -> None:
    def spiking(factor: float) -> Rows:
        rows = spec_rows(noise=0.2, seed=2)
        rows[20]["t2i_avg"] *= factor
        return rows

    assert "spike" not in whats(judged(tmp_path, spiking(1.3)))
    assert "spike" in whats(judged(tmp_path, spiking(8)))
