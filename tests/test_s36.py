"""S3.6: losses that fall and gaps that grow or hold pass; without gaps in the log it is not run, and not passed."""

from typing import Any

import numpy as np
import pytest

from tests.gating import run_gate
from tests.parameter_files import stage3_rows
from tests.tiny import Tiny
from tests.training_logs import Rows, write_jsonl_log

GROWING = (0.0, 0.1, 0.3, 0.45, 0.5)


def _rows(gaps: tuple[float, ...] | None = GROWING, *, fall: float = 3.0, level: float = 4.0) -> Rows:
    """Twenty steps of stage 3 with five evaluations, each a line of its own at the step of the line before it."""
    rows: Rows = [] if gaps is None else [{"step": 0} | _evaluation(gaps[0])]
    for step in range(1, 21):
        losses = {f"{task}_avg": level * (1 + (fall - 1) * np.exp(-step / 4)) for task in ("a2t", "i2t")}
        rows.append({"step": step, **losses, "emb_norm_mean": 1 + step / 100, "lr": 1e-3})
        if gaps is not None and step % 5 == 0:
            rows.append({"step": step} | _evaluation(gaps[step // 5]))
    return rows


def _evaluation(gap: float) -> dict[str, float]:
    return {
        "delta_shuffle_a2t": gap, "delta_noise_a2t": 2 * gap, "delta_shuffle_i2t": gap, "delta_noise_i2t": 2 * gap,
        "win_shuffle_a2t": min(1.0, 0.5 + gap), "win_noise_i2t": 0.9,
    }  # fmt: skip


def _gate(pytester: pytest.Pytester, tiny: Tiny, rows: Rows) -> dict[str, Any]:
    log = write_jsonl_log(tiny.root / "train_log.jsonl", rows)
    return run_gate(pytester, "S3.6", stage3_rows(tiny), f"--train-log={log}")


def _judged(gate: dict[str, Any]) -> dict[str, float]:
    return {m["name"]: m["value"] for m in gate["measurements"] if m["op"]}


@pytest.mark.parametrize(
    "gaps",
    [GROWING, (0.0, 0.4, 0.5, 0.52, 0.48), (0.3, 0.3, 0.3, 0.3, 0.3), (0.5, 0.6, 0.5, 0.55, 0.5)],
    ids=["growing", "plateau", "there-from-the-start", "noisy-plateau"],
)
def test_a_gap_that_grows_or_holds_passes(pytester: pytest.Pytester, tiny: Tiny, gaps: tuple[float, ...]) -> None:
    gate = _gate(pytester, tiny, _rows(gaps))

    assert gate["outcome"] == "pass", gate["details"]
    assert _judged(gate)["gaps_that_shrink"] == _judged(gate)["losses_that_do_not_fall"] == 0
    figures = {m["name"]: m["value"] for m in gate["measurements"] if m["op"] is None}
    assert (figures["delta_shuffle_a2t_first"], figures["delta_shuffle_a2t_last"]) == (gaps[0], gaps[-1])
    assert gate["details"]["curves"]["win_shuffle_a2t"]["steps"] == [0, 5, 10, 15, 20]


@pytest.mark.parametrize(
    ("gaps", "what"),
    [
        ((0.0, 0.001, 0.0, -0.002, 0.001), "no gap"),
        ((0.0, 0.5, 0.4, 0.1, -0.1), "no gap"),
        ((0.1, 0.5, 0.45, 0.35, 0.3), "gap shrinks"),
        ((0.1, 0.5, 0.3, 0.2, 0.1), "gap shrinks"),
    ],
    ids=["none", "gone", "shrinks", "shrinks-much"],
)
def test_a_gap_that_shrinks_or_is_none_warns(
    pytester: pytest.Pytester, tiny: Tiny, gaps: tuple[float, ...], what: str
) -> None:
    gate = _gate(pytester, tiny, _rows(gaps))

    assert (gate["outcome"], gate["priority"]) == ("fail", "P1")
    assert f"{what}: delta_shuffle_a2t at step 20 is {gaps[-1]:g}" in gate["details"]["reason"]
    assert {f["key"] for f in gate["details"]["findings"]} == {k for k in _evaluation(0) if k.startswith("delta")}


@pytest.mark.parametrize("gaps", [None, (0.0, 0.3)], ids=["no-evaluation", "too-few"])
def test_a_log_without_gaps_is_not_passed(
    pytester: pytest.Pytester, tiny: Tiny, gaps: tuple[float, ...] | None
) -> None:
    rows = _rows(None)
    if gaps is not None:
        rows.append({"step": 20} | _evaluation(gaps[1]))

    gate = _gate(pytester, tiny, rows)

    assert gate["outcome"] == "not_run"
    assert "found no two evaluations with delta_shuffle_<task>" in gate["details"]["reason"]
    assert _judged(gate)["losses_that_do_not_fall"] == 0  # judged all the same


@pytest.mark.parametrize("fall", [1.0, 1.02])
def test_a_loss_that_stands_still_warns(pytester: pytest.Pytester, tiny: Tiny, fall: float) -> None:
    rows = _rows(fall=fall)
    for i, row in enumerate(rows):
        row |= {key: row[key] * (1 + 0.001 * (i % 3)) for key in ("a2t_avg", "i2t_avg") if key in row}

    gate = _gate(pytester, tiny, rows)

    assert gate["outcome"] == "fail"
    assert "flat loss: a2t_avg at step 20" in gate["details"]["reason"]


def test_one_loss_over_all_tasks_will_do(pytester: pytest.Pytester, tiny: Tiny) -> None:
    rows = [
        {("loss" if key == "a2t_avg" else key): value for key, value in row.items() if key != "i2t_avg"}
        for row in _rows()
    ]

    gate = _gate(pytester, tiny, rows)

    assert gate["outcome"] == "pass", gate["details"]
    assert "no training loss of a2t, i2t" in "\n".join(gate["details"]["notes"])


def test_the_gap_of_one_task_is_judged_alone(pytester: pytest.Pytester, tiny: Tiny) -> None:
    rows = [{key: value for key, value in row.items() if "i2t" not in key} for row in _rows()]

    assert _gate(pytester, tiny, rows)["outcome"] == "pass"


def test_the_gap_of_a_write_task_is_not_stage_3s(pytester: pytest.Pytester, tiny: Tiny) -> None:
    rows = [row | {"delta_shuffle_t2a": -1.0} if "win_noise_i2t" in row else row for row in _rows()]

    assert _gate(pytester, tiny, rows)["outcome"] == "pass"


@pytest.mark.parametrize(("factor", "outcome"), [(1.0, "pass"), (0.2, "pass"), (8.0, "fail")])
def test_an_average_of_training_is_held_against_the_loss_now_beside_dev_losses(
    pytester: pytest.Pytester, tiny: Tiny, factor: float, outcome: str
) -> None:
    """Eight times the loss is not divided by its accumulation steps; a fifth of it was learned by heart."""
    probe = _gate(pytester, tiny, _rows())
    (now,) = (note for note in probe["details"]["notes"] if note.startswith("a2t: a2t_avg"))
    loss = float(now.rpartition("has ")[2].partition(" now")[0])
    rows = [{key: value for key, value in row.items() if "i2t" not in key} for row in _rows()]
    for row in rows:
        row |= {key: factor * loss * row[key] / 4.0 for key in ("a2t_avg",) if key in row}
    rows[-1]["dev_loss_a2t"] = loss

    gate = _gate(pytester, tiny, rows)

    assert gate["outcome"] == outcome, gate["details"]["notes"]
