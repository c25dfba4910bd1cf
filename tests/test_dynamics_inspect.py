"""`gates inspect --log`: a log by itself, or beside its checkpoint; for readers and as JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gates.cli import app
from gates.dynamics_reading import Beside, read_log
from harness.files import write_json
from tests.tiny import Tiny, write_space
from tests.training_logs import broken, field_space, spec_rows, write_jsonl_log, write_text_log, write_trainer_state

runner = CliRunner()


def _inspect(*args: str | Path) -> tuple[int, dict[str, Any]]:
    result = runner.invoke(app, ["inspect", *map(str, args), "--json"])
    return result.exit_code, json.loads(result.stdout)


def _spiking(rows: list[dict[str, Any]]) -> None:
    rows[20]["t2i_avg"] *= 3


@pytest.mark.parametrize("write", [write_jsonl_log, write_text_log, write_trainer_state])
def test_a_healthy_log_by_itself(tmp_path: Path, write: Any) -> None:
    write_space(tmp_path / "shards", field_space())
    log = write(tmp_path / "trainer_state.json", spec_rows())

    code, seen = _inspect("--log", log, "--token-space", tmp_path / "shards")

    assert (code, seen["healthy"], seen["judged_as"]) == (0, True, "P1.5")
    assert seen["uniform"]["t2i"] == pytest.approx(9.011, abs=1e-3)
    assert seen["figures"]["t2i_avg"]["last"] == pytest.approx(4.417)


def test_the_figures_of_a_log(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 10 * i, "a2t_avg": 4.0 - 0.1 * i, "loss": "NaN", "samples_per_second": 7.0} for i in range(2, 22)
    ]
    rows[5]["a2t_avg"] = 9.0
    log = write_jsonl_log(tmp_path / "log.jsonl", rows)

    code, seen = _inspect("--log", log)

    assert (code, seen["judged_as"], seen["healthy"]) == (1, "S3.6", False)
    assert (seen["log"]["first_step"], seen["log"]["last_step"], seen["log"]["records"]) == (20, 210, 20)
    assert set(seen["figures"]) == {"a2t_avg", "loss"}
    assert seen["figures"]["loss"] == {
        "n": 20, "first_step": 20, "first": None, "last_step": 210, "last": None, "min": None, "max": None,
    }  # fmt: skip
    assert seen["figures"]["a2t_avg"] == {
        "n": 20, "first_step": 20, "first": pytest.approx(3.8), "last_step": 210, "last": pytest.approx(1.9),
        "min": pytest.approx(1.9), "max": 9.0,
    }  # fmt: skip


@pytest.mark.parametrize(("stage", "gate"), [(3, "S3.6"), (4, "P1.5"), (None, "P1.5")])
def test_the_stage_is_the_checkpoints_and_else_what_the_losses_say(
    tmp_path: Path, stage: int | None, gate: str
) -> None:
    log = write_jsonl_log(tmp_path / "log.jsonl", spec_rows())
    assert read_log(log, Beside(stage=stage))["judged_as"] == gate


def test_of_many_findings_the_first_are_named(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": "NaN"} for i in range(1, 61)]

    _, seen = _inspect("--log", write_jsonl_log(tmp_path / "log.jsonl", rows))

    assert seen["findings"][0]["step"] == 1
    assert len(seen["findings"]) == 50
    assert "60 values" in seen["reasons"][0]


def test_without_a_token_space_nothing_is_held_against_uniform(tmp_path: Path) -> None:
    code, seen = _inspect("--log", write_jsonl_log(tmp_path / "log.jsonl", spec_rows()))

    assert (code, seen["uniform"]) == (0, None)


def test_findings_end_with_1_and_name_step_key_value_and_what_was_expected(tmp_path: Path) -> None:
    log = write_jsonl_log(tmp_path / "log.jsonl", broken(spec_rows(), _spiking))

    code, seen = _inspect("--log", log)

    assert (code, seen["healthy"]) == (1, False)
    assert [(f["what"], f["key"], f["step"]) for f in seen["findings"]] == [("spike", "t2i_avg", 1050)]
    assert seen["findings"][0]["value"] > 10
    assert seen["findings"][0]["expected"].startswith("about ")


def test_the_table_says_the_same(tmp_path: Path) -> None:
    result = runner.invoke(
        app, ["inspect", "--log", str(write_jsonl_log(tmp_path / "l", broken(spec_rows(), _spiking)))]
    )

    assert result.exit_code == 1
    for said in ("healthy", "NO", "t2i_avg", "12.817", "spike", "1050", "The log holds no learning rate."):
        assert said in result.stdout


def test_beside_a_checkpoint_it_has_its_token_space_stage_and_step(tiny: Tiny) -> None:
    log = write_jsonl_log(
        tiny.root / "log.jsonl", [{"step": step, "t2a_avg": 2.0, "loss": 2.0} for step in range(1, 31)]
    )

    code, seen = _inspect(tiny.ckpt, "--quick", "--log", log)

    assert code == 0  # looking at a checkpoint judges nothing
    assert seen["train_log"]["log"]["last_step"] == 20
    assert seen["train_log"]["log"]["steps_not_looked_at"] == 10
    assert set(seen["train_log"]["uniform"]) == {"vocabulary", "t2a", "t2i"}
    assert {f["what"] for f in seen["train_log"]["findings"]} == {"flat loss", "stuck loss"}
    table = runner.invoke(app, ["inspect", str(tiny.ckpt), "--quick", "--log", str(log)])
    assert "training log" in table.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Give a checkpoint's folder, or --log FILE"),
        (("--log", "nowhere.jsonl"), "--log=nowhere.jsonl: nothing there"),
        (("--log", "."), "found a folder or a device"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)

    result = runner.invoke(app, ["inspect", *args])

    assert result.exit_code == 4
    assert said in result.stderr


def test_a_token_space_beside_a_checkpoint_is_refused(tiny: Tiny) -> None:
    result = runner.invoke(app, ["inspect", str(tiny.ckpt), "--token-space", str(tiny.shards)])

    assert result.exit_code == 4
    assert "a checkpoint has its own" in result.stderr


def test_what_a_log_says_is_no_markup(tmp_path: Path) -> None:
    path = tmp_path / "[red]log[/nonsense].json"
    write_json(path, [{"step": 1, "loss": 2.0}, {"step": 2, "loss_[red]x[/no]": 1.0}])

    result = runner.invoke(app, ["inspect", "--log", str(path)])

    assert "[red]log[/nonsense].json" in result.stdout.replace("\n", "")


def test_a_log_is_read_without_torch(tmp_path: Path) -> None:
    log = write_jsonl_log(tmp_path / "log.jsonl", spec_rows())
    code = (
        "import sys; from pathlib import Path; from gates.dynamics_reading import Beside, read_log; "
        "read_log(Path(sys.argv[1]), Beside()); sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code, str(log)], check=False).returncode == 0
