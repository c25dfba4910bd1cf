"""The spec's own figures are healthy, every planted fault is found at every size, and harmless logs are left alone."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training_logs import (
    LOSSES,
    SPEC,
    Break,
    Rows,
    broken,
    judged,
    spec_rows,
    whats,
)

ROWS = spec_rows()


def _scaled(key: str, at: slice, factor: float) -> Break:
    def change(rows: Rows) -> None:
        for row in rows[at]:
            row[key] *= factor

    return change


def _set(key: str, at: slice, value: float) -> Break:
    def change(rows: Rows) -> None:
        for row in rows[at]:
            row[key] = value

    return change


def _found(tmp_path: Path, change: Break, rows: Rows = ROWS, **beside: Any) -> dict[str, Any]:
    return judged(tmp_path, broken(rows, change), **beside)


# ---------------------------------------------------------------------- the spec's reading


def test_the_specs_figures_are_those_of_a_healthy_run(tmp_path: Path) -> None:
    seen = judged(tmp_path, ROWS)

    assert seen["healthy"], seen["reasons"]
    assert (seen["judged_as"], seen["findings"], seen["not_judged"]) == ("P1.5", [], [])
    for key, (first, last) in SPEC.items():
        assert (seen["figures"][key]["first"], seen["figures"][key]["last"]) == pytest.approx((first, last))
        assert (seen["figures"][key]["first_step"], seen["figures"][key]["last_step"]) == (50, 2000)
    assert seen["uniform"] == pytest.approx({"vocabulary": 12.008, "t2a": 6.931, "t2i": 9.011}, abs=1e-3)


# ---------------------------------------------------------------------- planted faults


@pytest.mark.parametrize("factor", [1.3, 1.5, 2, 5, 50])
@pytest.mark.parametrize("at", [4, 20, 38, 39])
@pytest.mark.parametrize("key", ["t2i_avg", "a2t_avg", "loss_mean"])
def test_a_spike(tmp_path: Path, key: str, at: int, factor: float) -> None:
    seen = _found(tmp_path, _scaled(key, slice(at, at + 1), factor))

    assert "spike" in whats(seen)
    finding = next(each for each in seen["findings"] if each["what"] == "spike")
    assert (finding["key"], finding["step"]) == (key, ROWS[at]["step"])
    assert finding["value"] == pytest.approx(ROWS[at][key] * factor)
    assert "as before" in finding["expected"]


@pytest.mark.parametrize("factor", [1.2, 1.5, 3])
def test_a_loss_that_jumps_and_stays(tmp_path: Path, factor: float) -> None:
    assert "spike" in whats(_found(tmp_path, _scaled("t2a_avg", slice(25, None), factor)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e305])
@pytest.mark.parametrize("at", [0, 20, 39])
@pytest.mark.parametrize("key", ["t2i_avg", "head_norm_mean"])
def test_what_is_no_number(tmp_path: Path, key: str, at: int, value: float) -> None:
    seen = _found(tmp_path, _set(key, slice(at, at + 1), value))

    assert [(f["key"], f["step"]) for f in seen["findings"] if f["what"] == "no number"] == [(key, ROWS[at]["step"])]


def test_a_gradient_that_is_none(tmp_path: Path) -> None:
    rows = [row | {"grad_norm": 1.0} for row in ROWS]

    assert whats(_found(tmp_path, _set("grad_norm", slice(7, 8), math.nan), rows)) == {"no number"}
    assert _found(tmp_path, _set("grad_norm", slice(7, 8), 0.0), rows)["healthy"]


@pytest.mark.parametrize("missing", [1, 2, 5, 20])
@pytest.mark.parametrize("at", [3, 15])
def test_a_gap(tmp_path: Path, at: int, missing: int) -> None:
    seen = _found(tmp_path, lambda rows: rows[:at] + rows[at + missing :])

    assert "gap" in whats(seen)
    gap = next(each for each in seen["findings"] if each["what"] == "gap")
    assert (gap["step"], gap["value"]) == (ROWS[at - 1]["step"], f"nothing until step {ROWS[at + missing]['step']}")


def test_a_log_that_ends_before_its_checkpoint(tmp_path: Path) -> None:
    assert whats(_found(tmp_path, lambda rows: rows[:35], step=2000)) == {"log ends before the checkpoint"}
    assert judged(tmp_path, ROWS[:35], step=1750)["healthy"]
    assert judged(tmp_path, ROWS, step=1750)["log"]["last_step"] == 1750


def test_a_key_that_is_no_longer_logged(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows[25:]:
            del row["i2t_avg"]

    assert whats(_found(tmp_path, change)) == {"key not logged"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param(lambda rows: [*rows[:20], rows[19], *rows[20:]], "repeated step", id="one-line-twice"),
        pytest.param(lambda rows: [*rows[:30], *rows[25:]], "decreasing step", id="resumed-and-appended"),
        pytest.param(lambda rows: [*rows[:20], rows[21], rows[20], *rows[22:]], "decreasing step", id="two-exchanged"),
    ],
)
def test_steps_out_of_order(tmp_path: Path, change: Break, what: str) -> None:
    assert what in whats(_found(tmp_path, change))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("level", [12.008, 9.8, 9.0, 6.93, 6.5])
@pytest.mark.parametrize("key", ["t2a_avg", "t2i_avg"])
def test_a_dead_write_loss(tmp_path: Path, key: str, level: float, noise: float) -> None:
    rng = np.random.default_rng(3)

    def change(rows: Rows) -> None:
        for row in rows:
            row[key] = level * math.exp(noise * rng.normal())

    seen = _found(tmp_path, change)

    assert whats(seen) & {"write loss near uniform", "flat loss"}
    assert {finding["key"] for finding in seen["findings"]} == {key}


def test_a_write_loss_that_only_learned_which_ids_are_legal(tmp_path: Path) -> None:
    # From uniform over all ids down to uniform over one codebook: a large fall, and nothing learned.
    def change(rows: Rows) -> None:
        for row in rows:
            row["t2a_avg"] = 6.92 + 5.0 * math.exp(-row["step"] / 200)

    assert whats(_found(tmp_path, change)) == {"write loss near uniform"}


@pytest.mark.parametrize("end", [1.25, 1.5, 2, 4])
@pytest.mark.parametrize("key", ["a2t_avg", "i2t_avg"])
def test_a_read_loss_that_rises(tmp_path: Path, key: str, end: float) -> None:
    def change(rows: Rows) -> None:
        for i, row in enumerate(rows[20:]):
            row[key] = rows[20][key] * (1 + (end - 1) * i / 19)

    seen = _found(tmp_path, change)

    assert "risen loss" in whats(seen)
    (finding,) = [each for each in seen["findings"] if each["what"] == "risen loss"]
    assert finding["key"] == key


@pytest.mark.parametrize("factor", [0.3, 0.1, 1e-3])
def test_a_read_loss_that_falls_off_a_cliff(tmp_path: Path, factor: float) -> None:
    assert "read loss falls off a cliff" in whats(_found(tmp_path, _scaled("i2t_avg", slice(22, None), factor)))


def test_a_read_loss_that_fades_to_nothing(tmp_path: Path) -> None:
    def fading(to: float) -> Break:
        def change(rows: Rows) -> None:
            for i, row in enumerate(rows):
                row["a2t_avg"] = 2.0 * (to / 2.0) ** (i / 39)

        return change

    assert "read loss gone" in whats(_found(tmp_path, fading(1e-4)))
    seen = _found(tmp_path, fading(0.01))
    assert seen["healthy"]
    assert any("captions nearly determined, or a leak" in note for note in seen["notes"])


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.3, 2, 30])
@pytest.mark.parametrize("until", [21, None], ids=["one-line", "for-good"])
@pytest.mark.parametrize("key", ["head_norm_mean", "emb_norm_mean"])
def test_a_norm_that_jumps(tmp_path: Path, key: str, until: int | None, factor: float) -> None:
    seen = _found(tmp_path, _scaled(key, slice(20, until), factor))

    assert "norm jump" in whats(seen)
    assert any((each["key"], each["step"]) == (key, 1050) for each in seen["findings"])


def test_a_norm_that_blows_up_smoothly(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for i, row in enumerate(rows):
            row["head_norm_mean"] = 0.457 * 30 ** (i / 39)

    assert "norm blown up or gone" in whats(_found(tmp_path, change))


def test_norms_that_never_move(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows:
            row |= {"head_norm_mean": 0.457, "emb_norm_mean": 2.094}

    assert whats(_found(tmp_path, change)) == {"dead norms"}
    assert _found(tmp_path, _set("emb_norm_mean", slice(None), 2.094))["healthy"]  # only the head is trained


def test_a_loss_that_sticks(tmp_path: Path) -> None:
    assert "stuck loss" in whats(_found(tmp_path, _set("t2i_avg", slice(18, None), 6.0)))


@pytest.mark.parametrize("factor", [2, 4, 32])
def test_losses_that_were_not_divided_by_accumulation(tmp_path: Path, factor: int) -> None:
    def change(rows: Rows) -> None:
        for row in rows:
            row |= {key: factor * row[key] for key in (*LOSSES, "loss_mean")}

    assert "first losses implausible" in whats(_found(tmp_path, change))
