"""Training logs of every format are read to the same figures; what cannot be read is said, and nothing is evaluated."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.train_log import MAX_LINE_BYTES, TrainLog, read_train_log
from tests.training_logs import spec_rows, write_jsonl_log, write_text_log, write_trainer_state


def _read(tmp_path: Path, content: str | bytes, name: str = "run.log") -> TrainLog:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_train_log(path)


def _values(log: TrainLog, key: str) -> list[float]:
    values: list[float] = log.series[key].values.tolist()
    return values


# ---------------------------------------------------------------------- formats


def test_all_formats_give_the_same_figures(tmp_path: Path) -> None:
    rows = [{key: round(value, 4) for key, value in row.items()} for row in spec_rows()]
    logs = {
        "jsonl": read_train_log(write_jsonl_log(tmp_path / "a.jsonl", rows)),
        "text": read_train_log(write_text_log(tmp_path / "a.log", rows)),
        "trainer_state": read_train_log(write_trainer_state(tmp_path / "trainer_state.json", rows)),
    }

    for format_, log in logs.items():
        assert log.format == format_
        assert (log.counted, len(log.steps), log.last_step, log.n_disorders, log.n_unreadable) == (True, 40, 2000, 0, 0)
        assert (_values(log, "t2i_avg")[0], _values(log, "t2i_avg")[-1]) == (12.817, 4.417)
    assert _values(logs["trainer_state"], "loss") == _values(logs["jsonl"], "loss_mean")
    assert set(logs["text"].series) == set(logs["jsonl"].series)


def test_a_trainer_state_on_one_line_and_a_list_of_records_are_read(tmp_path: Path) -> None:
    history = [{"step": step, "loss": 1.0 / step, "learning_rate": 1e-4} for step in (10, 20, 30)]

    for name, obj in (("trainer_state.json", {"log_history": history}), ("history.json", history)):
        log = _read(tmp_path, json.dumps(obj), name)
        assert (log.format, log.steps.tolist()) == ("trainer_state", [10, 20, 30])


@pytest.mark.parametrize(
    "line",
    [
        "[train] step=50 loss=1.25 lr=5e-05",
        "step: 50, loss: 1.25, lr: 5e-05",
        "step = 50 | loss = 1.25 | lr = 0.00005",
        "2026-01-01 12:00:00,123 INFO trainer: Step: 50 Loss: 1.25 LR: 5.0E-5",
        "\x1b[32m[train]\x1b[0m \x1b[1mstep=50\x1b[0m loss=1.25 lr=5e-05",
        "{'step': 50, 'loss': 1.25, 'lr': 5e-05}",
        "  2%|▏         | 50/2000 [00:05<04:10,  1.96it/s, loss=9]step=50/2000 loss=1.25, lr=5e-05",
        "step=50: loss=tensor(1.25, device='cuda:0', grad_fn=<MeanBackward0>) lr=5e-05;",
        "global_step=50 train/loss=1.25 train/lr=5e-05.",
    ],
)
def test_usual_spellings_of_a_text_line(tmp_path: Path, line: str) -> None:
    log = _read(tmp_path, f"some warning: 3 things\n{line}\n")

    assert log.steps.tolist() == [50]
    assert {key: series.values.tolist() for key, series in log.series.items()} == {"loss": [1.25], "lr": [5e-05]}


@pytest.mark.parametrize(
    ("spelled", "value"),
    [
        *((each, math.nan) for each in ("nan", "NaN", "NAN", "-nan", "nan(ind)", "-1.#IND", "1.#QNAN", "tensor(nan)")),
        *((each, math.inf) for each in ("inf", "Inf", "Infinity", "+inf", "1.#INF", "1e999")),
        *((each, -math.inf) for each in ("-inf", "-Infinity", "-1.#INF", "-1e999")),
    ],
)
def test_what_is_no_number_stays_so_in_text(tmp_path: Path, spelled: str, value: float) -> None:
    log = _read(tmp_path, f"step=1 loss=2.0\nstep=2 loss={spelled} lr=1e-4\n")

    assert np.array_equal(_values(log, "loss"), [2.0, value], equal_nan=True)
    assert log.series["lr"].steps.tolist() == [2]


@pytest.mark.parametrize("spelled", ["NaN", '"nan"', '"NaN"', "Infinity", '"-inf"', "1e999", "1" + "0" * 400])
def test_what_is_no_number_stays_so_in_json(tmp_path: Path, spelled: str) -> None:
    log = _read(tmp_path, f'{{"step": 1, "loss": 2.0}}\n{{"step": 2, "loss": {spelled}}}\n')

    assert log.series["loss"].steps.tolist() == [1, 2]
    assert not math.isfinite(_values(log, "loss")[1])


def test_null_was_not_logged(tmp_path: Path) -> None:
    # What pandas and trackers write for a key that another line has.
    log = _read(tmp_path, '{"step": 1, "loss": 2.0, "eval_loss": null}\n{"step": 1, "loss": null, "eval_loss": 3.0}\n')

    assert (_values(log, "loss"), _values(log, "eval_loss"), log.n_disorders) == ([2.0], [3.0], 0)


def test_printed_dicts_have_no_steps_and_none_are_made_up(tmp_path: Path) -> None:
    lines = [f"{{'loss': {loss}, 'grad_norm': 1.0, 'learning_rate': 5e-05, 'epoch': 0.1}}" for loss in (3.0, 2.5, 2.0)]

    log = _read(tmp_path, "lr=1e-4 warmup_steps=100\n" + "\n".join(lines) + "\n{'train_loss': 2.5, 'epoch': 1.0}\n")

    assert log.counted is False
    assert log.steps.tolist() == [1, 2, 3, 4]
    assert _values(log, "loss") == [3.0, 2.5, 2.0]
    assert "lr" not in log.series


def test_what_is_printed_before_the_first_step_is_no_line_of_training(tmp_path: Path) -> None:
    log = _read(tmp_path, "baseline loss=9.0\nstep=1 loss=2.0\nstep=2 loss=1.0\nfinal loss=0.5\n")

    assert (log.counted, _values(log, "loss")) == (True, [2.0, 1.0])


def test_an_evaluations_loss_is_not_the_trainings(tmp_path: Path) -> None:
    log = _read(tmp_path, "[train] step=10 loss=2.0\n[eval] step=10 loss=3.0\n[train] step=20 loss=1.5\n")

    assert (_values(log, "loss"), _values(log, "eval_loss"), log.n_disorders) == ([2.0, 1.5], [3.0], 0)


def test_two_records_on_a_line_are_two(tmp_path: Path) -> None:
    log = _read(tmp_path, "[train] step=1 loss=2.0[train] step=2 loss=1.5\n")

    assert log.series["loss"].steps.tolist() == [1, 2]


# ---------------------------------------------------------------------- steps


def test_lines_of_one_step_with_other_keys_are_merged(tmp_path: Path) -> None:
    rows = [{"step": 50, "loss": 1.0, "lr": 1e-3}, {"step": 50, "dev_loss_a2t": 0.9}, {"step": 100, "loss": 0.8}]

    log = read_train_log(write_jsonl_log(tmp_path / "log.jsonl", rows))

    assert (log.steps.tolist(), log.n_disorders) == ([50, 100], 0)


def test_a_step_that_comes_again_or_goes_back_is_kept_in_mind(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": float(i + 1)} for i, step in enumerate((10, 20, 30, 20, 30, 40))]

    log = read_train_log(write_jsonl_log(tmp_path / "log.jsonl", rows))

    assert [(d.step, d.before, d.key) for d in log.disorders] == [(20, 30, ""), (20, 20, "loss"), (30, 30, "loss")]
    assert _values(log, "loss") == [1.0, 4.0, 5.0, 6.0]  # the last of each


def test_a_second_evaluation_of_the_last_step_is_no_disorder(tmp_path: Path) -> None:
    rows = [{"step": 10, "loss": 1.0}, {"step": 10, "eval_loss": 2.0}, {"step": 10, "eval_loss": 2.0}]

    assert read_train_log(write_jsonl_log(tmp_path / "log.jsonl", rows)).n_disorders == 0


def test_steps_that_are_counted_anew_in_every_epoch_go_on(tmp_path: Path) -> None:
    lines = [f"[train] epoch={epoch} step={step} loss=1.0" for epoch in (0, 1) for step in (0, 50, 100)]

    log = _read(tmp_path, "\n".join(lines) + "\n")

    assert log.n_disorders == 0
    assert log.steps.tolist() == [0, 50, 100, 101, 151, 201]


def test_up_to_a_checkpoints_step(tmp_path: Path) -> None:
    log = read_train_log(write_jsonl_log(tmp_path / "log.jsonl", spec_rows()))

    assert log.up_to(None) is log.up_to(2000) is log.up_to(9999) is log
    assert log.up_to(1000).last_step == 1000
    assert log.up_to(1000).series["loss_mean"].steps.tolist()[-1] == 1000
    with pytest.raises(HarnessError, match="no line up to step 49: the first is of step 50"):
        log.up_to(49)


# ---------------------------------------------------------------------- hostile files


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("empty.log", b"", "no line with a loss"),
        ("words.log", b"nothing to see here: 5 warnings\n", "no line with a loss"),
        ("binary.log", bytes(range(256)) * 50, "no line with a loss"),
        ("records.jsonl", b'{"step": 1}\n{"step": 2, "note": "x"}\n', "no line with a loss"),
        ("config.json", b'{\n "hidden_size": 3\n}\n', "JSON without log_history"),
        ("deep.json", b"[" * 100_000, "JSON nested too deeply"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    with pytest.raises(HarnessError, match=found):
        _read(tmp_path, content, name)


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    for path, found in ((tmp_path, "a folder or a device"), (tmp_path / "none.log", "No such file")):
        with pytest.raises(HarnessError, match=found):
            read_train_log(path)


def test_lines_too_long_broken_or_not_utf8_are_passed_over(tmp_path: Path) -> None:
    lines = [
        b'{"step": 1, "loss": 2.0}', b'{"step": 2, "loss": 1.9', b"\xff\xfe{", b"[" * 5000,
        b'{"x": "' + b"a" * (2 * MAX_LINE_BYTES) + b'"}', b'{"step": 3, "loss": 1.8}',
    ]  # fmt: skip

    log = _read(tmp_path, b"\n".join(lines) + b"\n")

    assert log.steps.tolist() == [1, 3]
    assert log.n_unreadable == 4


def test_one_endless_line_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no line with a loss"):
        _read(tmp_path, b"step=1 loss=2.0 " * 200_000)


def test_a_line_of_progress_is_read_in_pieces(tmp_path: Path) -> None:
    bars = b"\r".join(b" 10%|#  | 1/10 [00:01<00:09, 1.0it/s, loss=2.3]" for _ in range(50_000))

    log = _read(tmp_path, bars + b"\r[train] step=1 loss=2.0\n")

    assert _values(log, "loss") == [2.0]


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"{{'loss': __import__('pathlib').Path({str(mark)!r}).touch(), 'step': 1}}"

    _read(tmp_path, f"{code}\nstep=1 loss=2.0\n")

    assert not mark.exists()


def test_steps_that_are_none_are_no_lines(tmp_path: Path) -> None:
    steps = ["-1", "1.5", "NaN", "1e999", "true", '"7"', "1e17"]
    rows = "".join(f'{{"step": {step}, "loss": 9.0}}\n' for step in steps)

    log = _read(tmp_path, rows + '{"step": 3, "loss": 1.0}\n{"step": -4, "loss": 9.0}\n')

    assert (log.steps.tolist(), _values(log, "loss")) == ([3], [1.0])
