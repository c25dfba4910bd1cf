"""The first users' files as they lie on disk: through init, inspect and both stages' gates."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gates import stage3, stage4
from gates.cli import app
from harness.errors import TokenSpaceError
from harness.files import write_json
from harness.token_space import read_token_space
from tests.field_layout import FIELD, FieldLayout, write_field_layout
from tests.gating import outcomes, run_gates

pytestmark = pytest.mark.skipif(
    not (FIELD / "token_space.json").is_file(), reason="the field's own files are not beside this checkout"
)
runner = CliRunner()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> FieldLayout:
    """The layout as the trainers leave it; no test may change it."""
    # A folder deeper than pytest's own, so that what init looks at above the runs belongs to this test.
    root = tmp_path_factory.mktemp("field") / "lumo"
    return write_field_layout(root, read_token_space(FIELD / "token_space.json"))


@pytest.fixture(scope="module")
def prepared(written: FieldLayout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FieldLayout]:
    """The same after `gates init` of the stage 3 and then the stage 4 checkpoint."""
    root = tmp_path_factory.mktemp("prepared") / "lumo"
    shutil.copytree(written.root, root)
    moved = {name: root / getattr(written, name).relative_to(written.root) for name in _PATHS}
    layout = FieldLayout(root=root, space=written.space, **moved)
    for checkpoint in (layout.stage3, layout.stage4):
        result = runner.invoke(app, ["init", str(checkpoint)])
        assert result.exit_code == 10, result.output  # stage 3 lacks text, stage 4 codecs: neither is inferred
    yield layout
    shutil.rmtree(root)


_PATHS = ("base", "stage3", "stage4", "lora", "golden", "shards", "log")


def test_init_finds_everything_but_the_codecs(prepared: FieldLayout) -> None:
    assert json.loads((prepared.stage4 / "bundle.json").read_text()) == {
        "format": "checkpoint-bundle/1", "stage": 4, "step": 2000, "base": "../../../models/Qwen3-8B-Base",
        "parent": "../../stage3_token_lm/checkpoint_7000", "lora": "../lora_2000",
        "shards": "../../../stage3_uti/data/tokenized", "golden": "../../stage4_mmpt/golden",
        "dev": "../../stage4_mmpt/eval_512.jsonl", "train_log": "../../logs/stage4_mmpt_trial.log",
        "decoding": "free",
    }  # fmt: skip
    declared = json.loads((prepared.stage3 / "bundle.json").read_text())
    assert (declared["stage"], declared["step"], declared["base"]) == (3, 7000, "../../../models/Qwen3-8B-Base")
    assert "parent" not in declared


def test_the_hash_is_the_fields_own(prepared: FieldLayout) -> None:
    assert (prepared.stage4 / "token_space.sha256").read_text() == (FIELD / "token_space.sha256").read_text()


def test_inspect_of_the_fields_checkpoint(prepared: FieldLayout) -> None:
    result = runner.invoke(app, ["inspect", str(prepared.stage4), "--json", "--max-new-audio", "20"])

    assert result.exit_code == 0, result.output
    seen = json.loads(result.stdout)
    assert (seen["token_space"]["text_vocab_size"], seen["token_space"]["vocab_size_total"]) == (151_669, 164_021)
    assert seen["tasks"]["t2a"]["expected_media_ids"] == {"min": 32, "median": 32.0, "max": 32}
    assert seen["tasks"]["t2a"]["max_new"]["truncated"] == 8
    assert seen["what_moved"]["text_rows_changed"] == 0
    assert seen["what_moved"]["modality_rows"] == 164_021 - 151_669
    assert [need["input"] for need in seen["missing"]] == ["codecs", "text_eval"]


@pytest.mark.parametrize("stage", ["stage3", "stage4"])
def test_every_gate_has_an_outcome_and_a_reason(pytester: pytest.Pytester, prepared: FieldLayout, stage: str) -> None:
    checkpoint = prepared.stage3 if stage == "stage3" else prepared.stage4

    code, verdict = run_gates(pytester, stage, checkpoint, "--max-examples=4")

    assert verdict["verdict"] in ("REJECT", "INCOMPLETE")
    assert code in (1, 10)
    assert tuple(outcomes(verdict)) == (stage3 if stage == "stage3" else stage4).GATES
    for gate in verdict["gates"]:
        assert gate["outcome"] in ("pass", "fail", "not_run"), f"{gate['id']}: {gate['details']}"
        if gate["outcome"] != "pass":
            assert _is_a_sentence(gate["details"]["reason"]), f"{gate['id']}: {gate['details']['reason']}"
    text = json.dumps(verdict)
    assert "Traceback" not in text


def _is_a_sentence(reason: str) -> bool:
    """A measured shortfall, or found … expected …: never a bare exception."""
    return bool(re.search(r"asked for|found .*; expected|could not be computed|too few to tell", reason, re.DOTALL))


def test_real_records_are_read_and_inspected(prepared: FieldLayout) -> None:
    args = ["--golden", str(FIELD / "tokenized.jsonl"), "--max-new-audio", "1200", "--max-new-image", "256"]

    result = runner.invoke(app, ["inspect", str(prepared.stage4), "--json", "--quick", *args])

    tasks = json.loads(result.stdout)["tasks"]
    assert {task: summary["n_golden"] for task, summary in tasks.items()} == dict.fromkeys(tasks, 1)
    assert all("problem" not in summary and not summary["malformed"] for summary in tasks.values())
    assert all(summary["length_differs_from_meta"] == summary["ids_out_of_turn"] == 0 for summary in tasks.values())
    # 11 one-second chunks of 150 frames, 4 codebooks: what the spec's `--max-new-audio 1200` cuts off.
    assert _figures(tasks["t2a"]) == (6600, False, 1)
    assert _figures(tasks["t2i"]) == (32, True, 0)


def _figures(summary: dict[str, Any]) -> tuple[int, bool, int]:
    max_new = summary["max_new"]
    return summary["expected_media_ids"]["max"], max_new["suffices"], max_new["truncated"]


def test_the_copy_that_must_be_refused_is(written: FieldLayout, tmp_path: Path) -> None:
    """token_space_mismatch.json, in the checkpoint's place."""
    mismatch = json.loads((FIELD / "token_space_mismatch.json").read_text())
    checkpoint = tmp_path / "outputs" / "run" / "checkpoint_1"
    shutil.copytree(written.stage4, checkpoint)
    write_json(checkpoint / "token_space.json", mismatch)
    shutil.copyfile(FIELD / "token_space.sha256", checkpoint / "token_space.sha256")

    result = runner.invoke(app, ["init", str(checkpoint)])

    assert result.exit_code == 4
    assert (checkpoint / "trainable_rows.pt").exists()
    with pytest.raises(TokenSpaceError):
        read_token_space(checkpoint)
