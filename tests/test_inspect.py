"""`gates inspect`: one JSON object, and the questions that the spec's bundle_inspect has to answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gates.cli import app
from harness.files import write_json
from harness.results import (
    CheckpointId,
    GateResult,
    Measurement,
    RunInfo,
    ThresholdsUsed,
    Verdict,
    write_verdict,
)
from tests.tiny import N_CODEBOOKS, N_FRAMES, Tiny, edit_json

runner = CliRunner()
MEDIA_IDS = {"a2t": N_CODEBOOKS * N_FRAMES, "t2a": N_CODEBOOKS * N_FRAMES, "i2t": 6, "t2i": 6}


def inspect(ckpt: Path, *args: str | Path) -> dict[str, Any]:
    """The JSON object."""
    result = runner.invoke(app, ["inspect", str(ckpt), "--json", *map(str, args)])
    assert result.exit_code == 0, result.output
    seen: dict[str, Any] = json.loads(result.stdout)
    return seen


def test_it_says_what_the_checkpoint_is(tiny: Tiny) -> None:
    seen = inspect(tiny.ckpt)

    assert seen["format"] == "bundle-inspect/1"
    assert {name: seen["checkpoint"][name] for name in ("form", "stage", "step")} == {
        "form": "rows", "stage": 4, "step": 20,
    }  # fmt: skip
    assert seen["token_space"]["sha256"] == tiny.space.sha256
    assert seen["token_space"]["ranges"] == tiny.space.raw["ranges"]
    assert seen["token_space"]["special_tokens"] == tiny.space.special_tokens
    assert seen["decoding"] == "constrained"
    assert seen["inputs"]["golden"] == {"path": str(tiny.golden), "found": True}
    assert seen["inputs"]["dev"] == {"path": None, "found": False}


def test_lengths_and_token_types_come_from_the_golden_set(tiny: Tiny) -> None:
    tasks = inspect(tiny.ckpt, "--quick")["tasks"]

    for task, n in MEDIA_IDS.items():
        assert tasks[task]["n_golden"] == 12
        assert tasks[task]["expected_media_ids"] == {"min": n, "median": n, "max": n}
    assert tasks["t2a"]["token_types"]["AUDIO_CB0"] == 12 * N_FRAMES
    assert tasks["t2a"]["token_types"]["SPECIAL"] == 12 * 5
    assert "IMAGE" not in tasks["t2a"]["token_types"]


@pytest.mark.parametrize(
    ("config", "args", "truncated", "without_end", "source"),
    [
        pytest.param({}, (), 0, 0, "none is configured", id="nothing-limits"),
        pytest.param({}, ("--max-new-audio", "9"), 0, 0, "--max-new-audio", id="room-for-the-end-tag"),
        pytest.param({}, ("--max-new-audio", "8"), 0, 12, "--max-new-audio", id="just-the-media"),
        pytest.param({}, ("--max-new-audio", "7"), 12, 12, "--max-new-audio", id="one-short"),
        pytest.param({"max_new_tokens": 5}, (), 12, 12, "generation_config.json", id="the-checkpoints-own"),
        pytest.param({"max_new_tokens": 5}, ("--max-new-audio", "9"), 0, 0, "--max-new-audio", id="option-wins"),
    ],
)
def test_whether_max_new_suffices(
    tiny: Tiny, config: dict[str, int], args: tuple[str, ...], truncated: int, without_end: int, source: str
) -> None:
    write_json(tiny.ckpt / "generation_config.json", config)

    found = inspect(tiny.ckpt, "--quick", *args)["tasks"]["t2a"]["max_new"]

    assert (found["truncated"], found["no_room_for_end_tag"]) == (truncated, without_end)
    assert found["suffices"] == (truncated == 0)
    assert source in found["source"]
    assert found["needed"] == 9


def test_a_golden_medium_that_is_not_what_its_meta_says_is_counted(tiny: Tiny) -> None:
    file = tiny.golden / "golden_t2a_12.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["audio_meta"]["n_frames"] += 1  # cropped after its meta was written
    media = slice(-1 - MEDIA_IDS["t2a"], -1)
    rows[1]["input_ids"][media] = rows[1]["input_ids"][media][::-1]  # codebooks in the wrong order
    del rows[2]["audio_meta"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    found = inspect(tiny.ckpt, "--quick")["tasks"]["t2a"]

    assert found["length_differs_from_meta"] == 1
    assert found["ids_out_of_turn"] == 1
    assert found["without_length_in_meta"] == 1


def test_a_golden_set_that_cannot_be_read_is_a_problem_and_no_crash(tiny: Tiny) -> None:
    (tiny.golden / "golden_t2a_12.jsonl").write_text("{}\n")

    tasks = inspect(tiny.ckpt, "--quick")["tasks"]

    assert "golden_t2a_12.jsonl:1" in tasks["i2t"]["problem"]


def test_what_is_missing_names_its_option_and_its_gates(tiny: Tiny) -> None:
    edit_json(tiny.ckpt / "bundle.json", codecs="../../nowhere", text_eval="../../nowhere.jsonl")

    missing = {need["input"]: need for need in inspect(tiny.ckpt, "--quick")["missing"]}

    assert missing["codecs"] == {"input": "codecs", "option": "--codecs DIR", "for": "P0.3, P1.3", "blocks": True}
    assert missing["text_eval"]["blocks"] is False
    assert "golden" not in missing


def test_unknown_keys_of_the_token_space_are_named(tiny: Tiny) -> None:
    edit_json(tiny.ckpt / "token_space.json", owner="someone")
    (tiny.ckpt / "token_space.sha256").unlink()

    assert inspect(tiny.ckpt, "--quick")["token_space"]["unknown_keys"] == ["owner"]


def test_what_moved_is_the_parameter_audit(tiny: Tiny) -> None:
    moved = inspect(tiny.ckpt)["what_moved"]

    assert moved["text_rows_changed"] == 0
    assert moved["modality_rows"] == tiny.space.vocab_size_total - tiny.space.text_vocab_size
    assert moved["modality_rows_moved"] == moved["modality_rows"]


def test_what_moved_without_a_base_is_a_problem_and_no_crash(tiny: Tiny) -> None:
    edit_json(tiny.ckpt / "bundle.json", base="../../nowhere")

    assert "--base" in inspect(tiny.ckpt)["what_moved"]["problem"]


def test_quick_reads_no_weights(tiny: Tiny) -> None:
    (tiny.ckpt / "trainable_rows.safetensors").write_bytes(b"broken")

    seen = inspect(tiny.ckpt, "--quick")

    assert seen["checkpoint"]["sha256"] is None
    assert seen["what_moved"] == {"problem": "not read: --quick"}


# ---------------------------------------------------------------------- constrained decoding


def _verdict(tiny: Tiny, sha256: str, figures: dict[str, float | None]) -> Path:
    """A verdict with these free-running figures."""
    measurements = [
        Measurement(name=f"{task}.out_of_range_pct (free)", value=value, unit="%", n=12)
        for task, value in figures.items()
    ]
    gate = GateResult(
        id="P0.2", name="compliance", priority="P0", outcome="pass", claim="", measurements=tuple(measurements),
        duration_s=0.0,
    )  # fmt: skip
    verdict = Verdict(
        stage="stage4", verdict="INCOMPLETE", inputs={}, token_space_sha256=None, gates=(gate,), next_step="",
        checkpoint=CheckpointId(path=str(tiny.ckpt), step=20, sha256=sha256), thresholds=ThresholdsUsed(),
        run=RunInfo(command="", seed=0, device="cpu", dtype="float32", versions={}, started="", duration_s=0.0),
    )  # fmt: skip
    write_verdict(tiny.root / "verdict.json", verdict)
    return tiny.root / "verdict.json"


@pytest.mark.parametrize(
    ("figures", "needed"),
    [
        pytest.param({"t2a": 0.0, "t2i": 0.0}, "can wait", id="clean"),
        pytest.param({"t2a": 0.4, "t2i": 0.0}, "now", id="sounds-leak"),
        pytest.param({"t2a": 0.0}, "unknown", id="half-measured"),
        pytest.param({"t2a": None, "t2i": 0.0}, "unknown", id="not-computed"),
        pytest.param({}, "unknown", id="not-measured"),
    ],
)
def test_whether_constrained_decoding_can_wait(tiny: Tiny, figures: dict[str, float | None], needed: str) -> None:
    sha256 = inspect(tiny.ckpt)["checkpoint"]["sha256"]

    found = inspect(tiny.ckpt, "--verdict", _verdict(tiny, sha256, figures))["constrained_decoding"]

    assert found["needed"] == needed


def test_a_verdict_on_other_weights_says_nothing(tiny: Tiny) -> None:
    found = inspect(tiny.ckpt, "--verdict", _verdict(tiny, "0" * 64, {"t2a": 0.0, "t2i": 0.0}))

    assert found["constrained_decoding"]["needed"] == "unknown"
    assert "of other weights" in found["constrained_decoding"]["why"]


def test_without_a_verdict_it_asks_for_a_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    found = inspect(tiny.ckpt, "--quick")["constrained_decoding"]

    assert found["needed"] == "unknown"
    assert "run the gates" in found["why"]
    assert not (tmp_path / "outputs").exists()


# ---------------------------------------------------------------------- the table


def test_the_table_answers_the_same_questions(tiny: Tiny) -> None:
    result = runner.invoke(app, ["inspect", str(tiny.ckpt), "--max-new-audio", "7", "--max-new-image", "256"])

    assert result.exit_code == 0
    for said in (tiny.space.sha256, "AUDIO_CB1", "7 cuts off 12: at least 9", "256 suffices", "text_rows_changed"):
        assert said in result.stdout


def test_what_a_file_says_is_no_markup(tiny: Tiny) -> None:
    edit_json(tiny.ckpt / "token_space.json", **{"[red]key[/nonsense]": 1})
    (tiny.ckpt / "token_space.sha256").unlink()

    result = runner.invoke(app, ["inspect", str(tiny.ckpt), "--quick"])

    assert result.exit_code == 0
    assert "[red]key[/nonsense]" in result.stdout


@pytest.mark.parametrize("args", [("--golden", "nowhere"), ("--verdict", "nowhere"), ("--max-new-audio", "0")])
def test_usage_errors_exit_4(tiny: Tiny, args: tuple[str, ...]) -> None:
    assert runner.invoke(app, ["inspect", str(tiny.ckpt), *args]).exit_code == 4


def test_no_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    result = runner.invoke(app, ["inspect", str(tmp_path)])

    assert result.exit_code == 4
    assert result.stderr.startswith("gates: ")
    assert "Traceback" not in result.output
