"""Looks: planned from how many examples there are, taken until nothing is borderline, and told apart from guessing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gates.gate import Accept, Gate, GateFailedError
from gates.looks import describe, until_clear
from harness.examples import Task
from harness.files import write_jsonl
from harness.looks import Looks, plan
from harness.results import Measurement
from harness.statistics import Paired, win_rate
from tests.gating import run_gate
from tests.tiny import Tiny, edit_json, write_tiny

CRITERION = Gate(id="X", name="x", priority="P0", claim="c", source="s")


# ---------------------------------------------------------------- planning


@pytest.mark.parametrize(
    ("first", "available", "sizes"),
    [
        pytest.param(256, 2000, (256, 512, 1024), id="plenty"),
        pytest.param(256, 800, (256, 512, 800), id="the-last-takes-what-is-there"),
        pytest.param(256, 600, (256, 512), id="88-more-tell-no-more"),
        pytest.param(256, 320, (256, 320), id="a-quarter-more-is-enough"),
        pytest.param(256, 319, (256,), id="less-than-a-quarter-more-is-not"),
        pytest.param(288, 338, (288,), id="the-demos"),
        pytest.param(256, 256, (256,), id="nothing-more"),
        pytest.param(12, 12, (12,), id="few"),
        pytest.param(600, 3000, (600, 1024), id="a-large-golden-set"),
        pytest.param(2000, 3000, (2000,), id="a-golden-set-beyond-every-look"),
    ],
)
def test_looks_are_planned_from_what_there_is(first: int, available: int, sizes: tuple[int, ...]) -> None:
    assert plan(first, available, (512, 1024)).sizes == sizes


def test_the_levels_of_all_looks_add_up_to_95_percent() -> None:
    assert Looks((256,)).level == pytest.approx(0.95)
    assert Looks((256, 512, 1024)).level == pytest.approx(1 - 0.05 / 3)
    assert Looks((256, 512, 1024), taken=2).so_far == (256, 512)


def test_the_intervals_of_all_looks_hold_together() -> None:
    rng, looks, truth, trials = np.random.default_rng(0), plan(64, 256, (128, 256)), 0.7, 400
    missed = {0.95: 0, looks.level: 0}
    for _ in range(trials):
        wins = rng.random(256) < truth
        for level in missed:
            # Whoever stops when it suits them may stop at any look: all of them have to hold.
            missed[level] += not all(covers(truth, wins[:size], level) for size in looks.sizes)

    assert missed[looks.level] <= 0.05 * trials < missed[0.95]


def covers(truth: float, wins: np.ndarray, level: float) -> bool:
    """Whether the win rate's interval holds the true one."""
    n = len(wins)
    measured = win_rate("w", Paired(np.zeros(n), np.where(wins, 1.0, -1.0), np.arange(n), np.full(n, "")), level)
    assert measured.low is not None
    assert measured.high is not None
    return measured.low <= truth <= measured.high


# ---------------------------------------------------------------- taking them


def rate(task: Task, n: int, share: float) -> Measurement:
    pair = Paired(np.zeros(n), np.where(np.arange(n) < share * n, 1.0, -1.0), np.arange(n), np.full(n, ""))
    return win_rate(f"{task}.win_rate", pair)


def look_at(shares: dict[Task, float], planned: dict[Task, Looks]) -> tuple[Accept, list[dict[Task, int]]]:
    """Judge win rates against 0.70 look by look; the sizes that were looked at."""
    accept, seen = Accept(CRITERION), []
    for looks in until_clear(accept, planned):
        seen.append({task: look.so_far[-1] for task, look in looks.items()})
        for task, look in looks.items():
            accept(rate(task, look.so_far[-1], shares[task]), at_least=0.70)
    return accept, seen


@pytest.mark.parametrize("share", [0.9, 0.4], ids=["clearly-good", "clearly-bad"])
def test_what_is_clear_is_looked_at_once(share: float) -> None:
    accept, seen = look_at({"t2a": share}, {"t2a": Looks((256, 512))})

    assert seen == [{"t2a": 256}]
    assert "2 looks planned, at 256, 512 examples; 1 taken" in accept.details["notes"][0]
    assert "level 97.50 %" in accept.details["notes"][0]


def test_only_what_is_borderline_is_looked_at_again_and_only_the_last_look_counts() -> None:
    planned: dict[Task, Looks] = {"t2a": Looks((256, 512, 1024)), "t2i": Looks((256, 512, 1024))}

    accept, seen = look_at({"t2a": 0.75, "t2i": 0.9}, planned)

    assert seen == [{"t2a": 256, "t2i": 256}, {"t2a": 512, "t2i": 256}]
    assert [(m.name, m.n, m.confidence) for m in accept.measurements] == [
        ("t2a.win_rate", 512, "proven"), ("t2i.win_rate", 256, "proven"),
    ]  # fmt: skip
    accept.close()


def test_a_failure_of_an_earlier_look_is_forgotten_and_the_last_one_decides() -> None:
    accept = Accept(CRITERION)
    for looks in until_clear(accept, {"t2a": Looks((256, 1024))}):
        size = looks["t2a"].so_far[-1]
        accept.note(f"looked at {size}")
        accept(rate("t2a", size, 0.68 if size == 256 else 0.8), at_least=0.70)

    accept.close()
    assert accept.details["notes"][0] == "looked at 1024"


def test_what_stays_borderline_ends_with_the_last_look_and_the_point_estimate() -> None:
    accept, seen = look_at({"t2a": 0.69}, {"t2a": Looks((256, 512))})

    assert [each["t2a"] for each in seen] == [256, 512]
    assert "a figure is borderline still, and no look is left" in accept.details["notes"][0]
    with pytest.raises(GateFailedError, match=r"asked for >= 0\.7"):
        accept.close()


def test_a_single_look_says_nothing_of_levels_and_whether_more_examples_would_help() -> None:
    one = Looks((64,))

    assert describe("t2a", one, clear=True) == "t2a: one look planned, at 64 examples"
    assert describe("t2a", one, clear=False) == (
        "t2a: one look planned, at 64 examples; "
        "a figure is borderline, and there are not enough more held-out examples to look again"
    )


def test_figures_before_the_looks_are_kept() -> None:
    accept = Accept(CRITERION)
    accept(Measurement(name="before", value=1.0, unit="share", n=1), at_least=0.5)
    for looks in until_clear(accept, {"t2a": Looks((64, 256))}):
        accept(rate("t2a", looks["t2a"].so_far[-1], 0.7), at_least=0.70)

    assert [m.name for m in accept.measurements] == ["before", "t2a.win_rate"]


def test_what_an_error_interrupts_stays_measured() -> None:
    accept = Accept(CRITERION)

    def gate_that_breaks() -> None:
        for _ in until_clear(accept, {"t2a": Looks((64,)), "t2i": Looks((64,))}):
            accept(rate("t2a", 64, 0.9), at_least=0.70)
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        gate_that_breaks()
    assert [m.name for m in accept.measurements] == ["t2a.win_rate"]


# ---------------------------------------------------------------- a whole gate


@pytest.fixture(scope="module")
def with_dev(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """An untrained model, whose gaps are borderline about 0, with 12 golden and 700 dev examples a task."""
    tiny = write_tiny(tmp_path_factory.mktemp("looks"), n_golden=712)
    dev = []
    for path in sorted(tiny.golden.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write_jsonl(path, rows[:12])
        dev += rows[12:]
    write_jsonl(tiny.root / "dev.jsonl", dev)
    edit_json(tiny.ckpt / "bundle.json", dev="../../dev.jsonl")
    return tiny


def judged(pytester: pytest.Pytester, tiny: Tiny, gate_id: str, *args: str) -> dict[str, Any]:
    return run_gate(pytester, gate_id, tiny.ckpt, *args)


def test_a_borderline_gate_measures_more_and_keeps_what_it_measured(pytester: pytest.Pytester, with_dev: Tiny) -> None:
    first = judged(pytester, with_dev, "P0.4")
    files = {path.name for path in _evidence(pytester.path)}

    again = judged(pytester, with_dev, "P0.4")

    notes = "\n".join(first["details"]["notes"])
    taken = {m["name"]: m["n"] for m in first["measurements"]}
    assert "looks planned, at 256, 512, 712 examples" in notes
    assert {taken["t2a.delta_empty"], taken["t2i.delta_empty"]} <= {256, 512, 712}
    assert max(taken["t2a.delta_empty"], taken["t2i.delta_empty"]) > 256
    assert {path.name for path in _evidence(pytester.path)} == files
    assert first | {"duration_s": 0} == again | {"duration_s": 0}


def test_max_examples_caps_the_looks(pytester: pytest.Pytester, with_dev: Tiny) -> None:
    result = judged(pytester, with_dev, "P0.4", "--max-examples=20")

    assert {m["n"] for m in result["measurements"] if m["name"].startswith("t2a.delta")} == {20}
    assert "t2a: one look planned, at 20 examples" in "\n".join(result["details"]["notes"])


def _evidence(folder: Path) -> list[Path]:
    return list((folder / "out").rglob("*.npz"))
