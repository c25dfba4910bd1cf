"""P0.1 and S3.1 pass what is harmless, and say what they did not compare."""

import json
from collections.abc import Callable

import pyarrow as pa
import pytest

from harness.files import write_json
from tests.gating import findings, run_gate
from tests.shard_edits import (
    PART,
    edit_meta,
    edit_rows,
    other_space,
    redeclare,
    with_tars,
)
from tests.tiny import Tiny, edit_json, write_shards
from training.shards import SCHEMA

Edit = Callable[[Tiny], object]


def _resplit(tiny: Tiny) -> None:
    (tiny.shards / PART).unlink()
    write_shards(tiny.shards, tiny.space, rows_per_file=3)


def _reformat(tiny: Tiny) -> None:
    for file in [*tiny.root.rglob("token_space.json"), tiny.shards / "manifest.json"]:
        obj = json.loads(file.read_text())
        file.write_text(json.dumps(dict(reversed(obj.items())), indent=7))


def _unknown_keys(tiny: Tiny) -> None:
    space = other_space(tiny, note="ours", image_tokenizer__flavour=[1, {"a": None}])
    redeclare(tiny, space, ckpt=True)
    edit_json(tiny.shards / "manifest.json", made_by="us")


def _wide(tiny: Tiny) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index("ids"), pa.field("ids", pa.large_list(pa.int64())))
    edit_rows(tiny, lambda rows: None, schema=schema)


def _pretty_meta(tiny: Tiny) -> None:
    edit_rows(tiny, lambda rows: [r.update(meta=json.dumps(json.loads(r["meta"]), indent=2)) for r in rows])


HARMLESS: dict[str, Edit] = {
    "keys reordered": _reformat,
    "shards re-split": _resplit,
    "unknown keys everywhere": _unknown_keys,
    "64-bit ids": _wide,
    "meta on several lines": _pretty_meta,
    "counts written as floats": lambda t: edit_meta(t, "image", '{"image": {"n_tokens": 6.0}}'),
    "no sidecars": lambda t: [file.unlink() for file in t.root.rglob("token_space.sha256")],
    "other files beside the shards": lambda t: (t.shards / "README.md").write_text("hello"),
    "tars without a manifest": with_tars,
    "no tokenizer": lambda t: (t.ckpt / "tokenizer.json").unlink(),
}


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("gate_id", ["P0.1", "S3.1"])
def test_what_is_harmless_passes(pytester: pytest.Pytester, tiny: Tiny, name: str, gate_id: str) -> None:
    HARMLESS[name](tiny)

    gate = run_gate(pytester, gate_id, tiny.ckpt)

    assert gate["outcome"] == "pass", findings(gate)


def test_what_was_not_compared_is_said(pytester: pytest.Pytester, tiny: Tiny) -> None:
    (tiny.ckpt / "tokenizer.json").unlink()
    bundle = json.loads((tiny.ckpt / "bundle.json").read_text())
    write_json(tiny.ckpt / "bundle.json", {key: value for key, value in bundle.items() if key != "parent"})

    gate = run_gate(pytester, "P0.1", tiny.ckpt)

    assert gate["details"]["notes"] == [
        "no parent is named: the stage before was not compared",
        "no tokenizer.json in the checkpoint: nothing to hold against the token space",
    ]
    (reported,) = [m for m in gate["measurements"] if m["name"] == "specials_mistaken"]
    assert (reported["value"], reported["op"]) == (10, None)
