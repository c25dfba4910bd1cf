"""`gates init`: what it finds around a checkpoint, and what it never does unasked."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.files import write_text
from tests.foreign import bundle, field_checkpoint, init
from tests.tiny import Tiny


@pytest.fixture
def field_ckpt(tiny: Tiny) -> Path:
    """As the field's trainer leaves it."""
    return field_checkpoint(tiny)


def test_the_fields_checkpoint_is_complete_after_init(field_ckpt: Path) -> None:
    result = init(field_ckpt)

    assert result.exit_code == 0, result.output
    assert bundle(field_ckpt) == {
        "format": "checkpoint-bundle/1", "stage": 4, "step": 20, "base": "../../base",
        "parent": "../../stage3/checkpoint_10", "lora": "../lora_20", "shards": "../../shards",
        "golden": "../../golden", "text_eval": "../../text_eval.jsonl", "codecs": "../../codecs", "decoding": "free",
    }  # fmt: skip


def test_rows_are_converted_bit_by_bit_and_the_pickle_is_moved_out(field_ckpt: Path) -> None:
    before = torch.load(field_ckpt / "trainable_rows.pt", weights_only=True)
    content = (field_ckpt / "trainable_rows.pt").read_bytes()

    result = init(field_ckpt)

    after = load_file(field_ckpt / "trainable_rows.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in ("embeddings", "lm_head"))
    assert not list(field_ckpt.rglob("*.pt"))
    moved = field_ckpt.parent / "pickles" / "checkpoint_20" / "trainable_rows.pt"
    assert moved.read_bytes() == content
    assert f"no longer needed: {moved}" in result.output


def test_the_sidecar_is_written_and_holds_the_fields_hash(field_ckpt: Path, tiny: Tiny) -> None:
    init(field_ckpt)

    assert (field_ckpt / "token_space.sha256").read_text() == tiny.space.sha256 + "\n"


def test_a_missing_rows_json_is_made_from_the_payload(field_ckpt: Path) -> None:
    wanted = json.loads((field_ckpt / "trainable_rows.json").read_text())
    (field_ckpt / "trainable_rows.json").unlink()

    assert init(field_ckpt).exit_code == 0
    assert json.loads((field_ckpt / "trainable_rows.json").read_text()) == wanted


def test_what_is_missing_is_listed_with_its_option(field_ckpt: Path, tiny: Tiny) -> None:
    shutil.rmtree(tiny.root / "codecs")
    shutil.rmtree(tiny.shards)

    result = init(field_ckpt)

    assert result.exit_code == 10
    assert "missing    shards             --shards DIR, the Stage 2 shards: for P0.1, P0.6" in result.output
    assert "missing    codecs             --codecs DIR" in result.output
    assert "optional   dev                --dev FILE" in result.output
    assert "shards" not in bundle(field_ckpt)


def test_options_win_over_what_would_be_found(field_ckpt: Path, tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny.golden, tmp_path / "elsewhere")

    result = init(
        field_ckpt, "--golden", tmp_path / "elsewhere", "--stage", 3, "--step", 7, "--decoding", "constrained"
    )

    written = bundle(field_ckpt)
    assert written["golden"] == "../../../elsewhere"
    assert (written["stage"], written["step"], written["decoding"]) == (3, 7, "constrained")
    assert "(--golden)" in result.output


def test_of_two_golden_sets_neither_is_taken(field_ckpt: Path, tiny: Tiny) -> None:
    for run in ("run_a", "run_b"):
        shutil.copytree(tiny.golden, tiny.root / run / "golden")
    shutil.rmtree(tiny.golden)

    result = init(field_ckpt)

    assert result.exit_code == 10
    assert "one of ../../run_a/golden, ../../run_b/golden?" in result.output
    assert "golden" not in bundle(field_ckpt)


@pytest.mark.parametrize(
    ("place", "adapter", "stage"),
    [
        pytest.param("run/checkpoint_20", True, 4, id="an-adapter-is-stage-4"),
        pytest.param("run/checkpoint_20", False, 3, id="rows-alone-are-stage-3"),
        pytest.param("stage4_rows_only/checkpoint_20", False, 4, id="the-run-folders-name"),
        pytest.param("stage3_token_lm/checkpoint_20", False, 3, id="stage3-by-name"),
    ],
)
def test_the_stage_is_inferred(field_ckpt: Path, tiny: Tiny, place: str, adapter: bool, stage: int) -> None:
    ckpt = tiny.root / place
    shutil.copytree(field_ckpt, ckpt)
    if adapter:
        shutil.copytree(field_ckpt.parent / "lora_20", ckpt.parent / "lora_20")

    init(ckpt)

    assert bundle(ckpt)["stage"] == stage


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        pytest.param("stage4/train_log.jsonl", '{"step": 1}\n', "../train_log.jsonl", id="jsonl"),
        pytest.param(
            "logs/stage4.log", "x\rdone\n[train] step=50 loss_mean=9.6\n", "../../logs/stage4.log", id="field"
        ),
        pytest.param("stage4/out.log", "epoch 1, step: 3, loss: 2.0\n", "../out.log", id="key-colon-value"),
        pytest.param("stage4/out.log", "downloading\n", None, id="no-log"),
    ],
)
def test_the_log_is_found(field_ckpt: Path, tiny: Tiny, file: str, content: str, found: str | None) -> None:
    write_text(tiny.root / file, content)

    init(field_ckpt)

    assert bundle(field_ckpt).get("train_log") == found


def test_a_bundle_is_not_overwritten(tiny: Tiny) -> None:
    before = (tiny.ckpt / "bundle.json").read_bytes()

    result = init(tiny.ckpt)

    assert result.exit_code == 4
    assert "pass --force" in result.stderr
    assert (tiny.ckpt / "bundle.json").read_bytes() == before


def test_force_keeps_what_the_bundle_said(tiny: Tiny) -> None:
    shutil.copytree(tiny.golden, tiny.root / "data" / "golden")
    before = bundle(tiny.ckpt)

    result = init(tiny.ckpt, "--force", "--step", "21")

    assert result.exit_code == 0, result.output
    assert bundle(tiny.ckpt) == before | {"step": 21}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"stage": "x", "golden": 3, "dev": "a\\u0000b"}'], ids=["no-json", "list", "types"]
)
def test_force_replaces_a_bundle_that_is_none(field_ckpt: Path, content: str) -> None:
    write_text(field_ckpt / "bundle.json", content)

    assert init(field_ckpt, "--force").exit_code == 0
    assert bundle(field_ckpt)["golden"] == "../../golden"


def test_pickles_are_kept_when_asked_to(field_ckpt: Path) -> None:
    result = init(field_ckpt, "--keep-pickles")

    assert (field_ckpt / "trainable_rows.pt").exists()
    assert "no longer needed, and the bundle gate refuses it" in result.output


def test_pickles_go_where_asked_and_over_nothing(field_ckpt: Path, tmp_path: Path) -> None:
    taken = tmp_path / "old" / "checkpoint_20" / "trainable_rows.pt"
    write_text(taken, "mine")

    result = init(field_ckpt, "--move-pickles", tmp_path / "old")

    assert result.exit_code == 4
    assert "expected nothing there" in result.stderr
    assert taken.read_text() == "mine"
    assert (field_ckpt / "trainable_rows.pt").exists()


def test_an_unknown_pickle_is_left_and_named(field_ckpt: Path) -> None:
    torch.save({"x": 1}, field_ckpt / "extra.pt")

    result = init(field_ckpt)

    assert (field_ckpt / "extra.pt").exists()
    assert "an unknown pickle, which the bundle gate refuses" in result.output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        pytest.param(["--golden", "nowhere"], "--golden=nowhere: nothing there", id="option-to-nothing"),
        pytest.param(["--colour", "red"], "No such option", id="unknown-option"),
        pytest.param(["--stage", "7"], "--stage", id="no-such-stage"),
    ],
)
def test_usage_errors_exit_4(field_ckpt: Path, args: list[str], says: str) -> None:
    result = init(field_ckpt, *args)

    assert result.exit_code == 4
    assert says in result.stderr
    assert not (field_ckpt / "bundle.json").exists()


def test_a_folder_without_weights_is_no_checkpoint(tmp_path: Path) -> None:
    result = init(tmp_path)

    assert result.exit_code == 4
    assert "Name the checkpoint's own folder" in result.stderr
