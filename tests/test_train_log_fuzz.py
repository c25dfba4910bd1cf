"""Whatever bytes a log holds, it is read or refused; whatever figures it holds come back."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gates.dynamics_reading import Beside, read_log
from harness.errors import HarnessError
from harness.train_log import read_train_log
from tests.training_logs import field_space, write_jsonl_log

KEYS = ("loss_mean", "t2i_avg", "t2a_avg", "a2t_avg", "i2t_avg", "head_norm_mean", "emb_norm_std", "lr", "grad_norm",
        "delta_shuffle_a2t", "dev_loss_a2t", "eval_loss", "unknown")  # fmt: skip
FIGURES = st.one_of(st.floats(), st.floats(0, 20), st.integers(-(10**30), 10**30))
RECORDS = st.lists(
    st.tuples(st.integers(0, 2**60), st.dictionaries(st.sampled_from(KEYS), FIGURES, min_size=1)),
    min_size=1,
    max_size=40,
)
WORDS = (
    "step=", "step: ", "loss=", "'loss': ", "{", "}", "[train] ", "\r", "\n", "\x1b[", "nan", "1e999", "1.5", "50", '"',
    "tensor(", "10%|", "| 1/5 [", "]", '{"step": 1, "loss": 2}', "lr=1e-4", " ", ",", "=",
)  # fmt: skip
PIECES = st.lists(st.sampled_from([*(word.encode() for word in WORDS), b"\xff"]), max_size=60).map(b"".join)
SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(content=st.one_of(PIECES, st.binary(max_size=300)))
@pytest.mark.parametrize("name", ["run.log", "log.jsonl", "trainer_state.json"])
def test_any_file_is_read_or_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        log = read_train_log(path)
    except HarnessError:
        return

    assert len(log.steps)
    assert all((series.steps[1:] > series.steps[:-1]).all() for series in log.series.values())


@SETTINGS
@given(records=RECORDS, space=st.booleans())
def test_any_figures_are_judged_and_shown(
    tmp_path: Path, records: list[tuple[int, dict[str, float]]], space: bool
) -> None:
    path = write_jsonl_log(tmp_path / "log.jsonl", [{"step": step, **figures} for step, figures in records])
    try:
        seen = read_log(path, Beside(space=field_space() if space else None))
    except HarnessError:
        return

    text = json.dumps(seen, allow_nan=False)
    assert json.loads(text)["healthy"] is (not seen["reasons"])
    assert bool(seen["findings"]) is bool(seen["reasons"])


@SETTINGS
@given(steps=st.lists(st.integers(0, 10**9), unique=True, min_size=1, max_size=30), values=st.data())
def test_figures_come_back_bit_for_bit(tmp_path: Path, steps: list[int], values: st.DataObject) -> None:
    figures = values.draw(st.lists(st.floats(), min_size=len(steps), max_size=len(steps)))
    rows = [{"step": step, "loss": figure} for step, figure in zip(sorted(steps), figures, strict=True)]

    series = read_train_log(write_jsonl_log(tmp_path / "log.jsonl", rows)).series["loss"]

    assert series.steps.tolist() == sorted(steps)
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(series.values, figures, strict=True))


@SETTINGS
@given(figures=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=10))
def test_text_says_what_json_says(tmp_path: Path, figures: list[float]) -> None:
    (tmp_path / "run.log").write_text("".join(f"[train] step={i} loss={x!r} lr=0.1\n" for i, x in enumerate(figures)))

    assert read_train_log(tmp_path / "run.log").series["loss"].values.tolist() == figures
