"""S3.2: new rows that are no numbers, equal, out of size or never moved are found and named, in both tables."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.forms import Tensors, edit_tensors
from tests.gating import findings, run_gate
from tests.parameter_files import cast, stage3_rows, write_whole
from tests.tiny import TEXT, Tiny, edit_json

SEEN = 16  # the first image code, after 16 specials
PARENT = "stage3/checkpoint_10/trainable_rows.safetensors"


@pytest.fixture
def ckpt(tiny: Tiny) -> Path:
    """A stage 3 checkpoint whose shards hold one id: that of the row SEEN."""
    for old in tiny.shards.iterdir():
        old.unlink()
    pq.write_table(pa.table({"id": ["a"], "ids": [[TEXT + SEEN]]}), tiny.shards / "part-0.parquet")
    return stage3_rows(tiny)


def _equal(tensors: Tensors) -> None:
    tensors["embeddings"][30] = tensors["embeddings"][20]


def _put(name: str, row: int, value: float) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name][row, 4] = value

    return edit


def _scale(name: str, rows: slice, factor: float) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors[name][rows] *= factor

    return edit


DEFECTS = {
    "equal rows": (_equal, "embed_rows_equal_to_another is 2 rows", f"embed row {TEXT + 30}: equal to row {TEXT + 20}"),
    "NaN row": (_put("lm_head", 9, float("nan")), "lm_head_rows_not_finite is 1 rows", f"lm_head row {TEXT + 9}"),
    "infinite row": (_put("embeddings", 9, float("inf")), "embed_rows_not_finite is 1", "a value is not finite"),
    "rows x 30": (
        _scale("embeddings", slice(20, 60), 30), "embed_rows_norm_out_of_range is 40 rows", "the text rows' are"
    ),
    "zero rows": (_scale("lm_head", slice(5, 8), 0), "lm_head_rows_norm_out_of_range is 3", "norm 0; the text rows'"),
}  # fmt: skip


@pytest.mark.parametrize(("defect", "reason", "told"), DEFECTS.values(), ids=DEFECTS)
def test_a_defect_of_the_rows_fails(
    pytester: pytest.Pytester, ckpt: Path, defect: Callable[[Tensors], None], reason: str, told: str
) -> None:
    edit_tensors(ckpt / "trainable_rows.safetensors", defect)

    gate = run_gate(pytester, "S3.2", ckpt)

    assert gate["outcome"] == "fail"
    assert reason in gate["details"]["reason"]
    assert told in findings(gate)


def _unmove(tiny: Tiny, name: str, row: int) -> None:
    before = load_file(tiny.root / PARENT)[name][row]
    edit_tensors(tiny.ckpt / "trainable_rows.safetensors", lambda tensors: tensors[name][row].copy_(before))


@pytest.mark.parametrize(("name", "table"), [("embeddings", "embed"), ("lm_head", "lm_head")])
def test_a_seen_row_that_did_not_move_fails(
    pytester: pytest.Pytester, tiny: Tiny, ckpt: Path, name: str, table: str
) -> None:
    _unmove(tiny, name, SEEN)

    gate = run_gate(pytester, "S3.2", ckpt)

    assert gate["outcome"] == "fail"
    assert f"{table}_seen_rows_unmoved is 100 % (n=1)" in gate["details"]["reason"]
    assert f"{table} row {TEXT + SEEN}: seen in training, and bit-equal" in findings(gate)


def test_a_row_that_was_not_seen_need_not_move(pytester: pytest.Pytester, tiny: Tiny, ckpt: Path) -> None:
    _unmove(tiny, "embeddings", SEEN + 1)

    assert run_gate(pytester, "S3.2", ckpt)["outcome"] == "pass"


def test_without_shards_every_row_has_to_move(pytester: pytest.Pytester, tiny: Tiny, ckpt: Path) -> None:
    shutil.rmtree(tiny.shards)
    _unmove(tiny, "embeddings", SEEN + 1)

    gate = run_gate(pytester, "S3.2", ckpt)

    assert gate["outcome"] == "fail"
    assert "no shards to say" in gate["details"]["notes"][0]


def test_without_a_parent_the_gate_is_not_run(pytester: pytest.Pytester, tiny: Tiny, ckpt: Path) -> None:
    edit_json(ckpt / "bundle.json", parent=None)

    gate = run_gate(pytester, "S3.2", ckpt)

    assert gate["outcome"] == "not_run"
    assert "'parent'" in gate["details"]["reason"]


def test_a_defect_fails_even_without_a_parent(pytester: pytest.Pytester, tiny: Tiny, ckpt: Path) -> None:
    edit_json(ckpt / "bundle.json", parent=None)
    edit_tensors(ckpt / "trainable_rows.safetensors", _equal)

    assert run_gate(pytester, "S3.2", ckpt)["outcome"] == "fail"


def test_rows_of_another_type_pass(pytester: pytest.Pytester, tiny: Tiny, ckpt: Path) -> None:
    edit_tensors(ckpt / "trainable_rows.safetensors", cast("lm_head", torch.bfloat16))

    assert run_gate(pytester, "S3.2", ckpt)["outcome"] == "pass"


def test_saving_in_another_type_is_no_move(pytester: pytest.Pytester, tiny: Tiny, ckpt: Path) -> None:
    shutil.copyfile(tiny.root / PARENT, ckpt / "trainable_rows.safetensors")
    edit_tensors(ckpt / "trainable_rows.safetensors", cast("embeddings", torch.bfloat16))

    assert "embed_seen_rows_unmoved is 100 %" in run_gate(pytester, "S3.2", ckpt)["details"]["reason"]


def test_a_whole_model_is_measured_by_its_own_text_rows(pytester: pytest.Pytester, tiny: Tiny, ckpt: Path) -> None:
    assert run_gate(pytester, "S3.2", write_whole(tiny, stage=3))["outcome"] == "pass"


@pytest.mark.parametrize("both", [False, True], ids=["only the checkpoint's", "the parent's too"])
@pytest.mark.parametrize("row", [SEEN, SEEN + 1], ids=["seen", "not seen"])
def test_a_row_far_too_small_fails_unless_training_never_touched_it(
    pytester: pytest.Pytester, tiny: Tiny, ckpt: Path, both: bool, row: int
) -> None:
    """The surgery leaves small rows, and what it left is no work of training; a seen row is judged in any case."""
    files = [ckpt / "trainable_rows.safetensors", *([tiny.root / PARENT] if both else [])]
    for file in files:
        edit_tensors(file, lambda tensors: tensors["lm_head"][row].fill_(1e-4))

    gate = run_gate(pytester, "S3.2", ckpt)

    untouched = both and row != SEEN
    assert gate["outcome"] == ("pass" if untouched else "fail")
    assert any("lm_head: 1 rows that training never touched" in note for note in gate["details"]["notes"]) == untouched
