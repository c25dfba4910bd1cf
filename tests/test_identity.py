"""P0.1 and S3.1 on real files: each defect fails the gate with its reason, what is harmless passes."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from harness.files import write_json
from tests.gating import findings, run_gate
from tests.shard_edits import (
    PART,
    Row,
    edit_ids,
    edit_manifest,
    edit_meta,
    edit_rows,
    other_space,
    redeclare,
)
from tests.tiny import Tiny, edit_json, shard_rows, sign_shards, write_parquet, write_shards, write_space
from training.shards import SCHEMA

Edit = Callable[[Tiny], object]
OTHER = "0" * 64


def _narrow(kind: pa.DataType) -> pa.Schema:
    return SCHEMA.set(SCHEMA.get_field_index("ids"), pa.field("ids", pa.list_(kind)))


def _golden(tiny: Tiny, edit: Callable[[Row], None]) -> None:
    file = tiny.golden / "golden_t2i_12.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    edit(rows[3])
    file.write_text("\n".join(map(json.dumps, rows)))


def _first_id(tiny: Tiny, row: Row, token_id: int) -> None:
    row["input_ids"][row["input_ids"].index(tiny.space.special("img_start")) + 1] = token_id


def _dev(tiny: Tiny) -> None:
    (tiny.root / "dev.jsonl").write_text(json.dumps({"id": "dev-7", "token_space_sha256": OTHER}))
    edit_json(tiny.ckpt / "bundle.json", dev="../../dev.jsonl")


def _clear(tiny: Tiny) -> None:
    for path in tiny.shards.iterdir():
        path.unlink()


def _cut(tiny: Tiny) -> None:
    file = tiny.shards / PART
    file.write_bytes(file.read_bytes()[:-100])
    sign_shards(tiny.shards)


def _drop_column(tiny: Tiny) -> None:
    rows = [{key: value for key, value in row.items() if key != "meta"} for row in shard_rows(tiny.space)]
    schema = pa.schema([field for field in SCHEMA if field.name != "meta"])
    write_parquet(tiny.shards / PART, rows, tiny.space.sha256, schema)
    sign_shards(tiny.shards)


def _first(key: str, value: Any) -> Edit:
    return lambda tiny: edit_rows(tiny, lambda rows: rows[0].update({key: value}))


def _parent(tiny: Tiny) -> None:
    write_space(tiny.root / "stage3" / "checkpoint_10", other_space(tiny, version="uti_v2"))


PARQUET: dict[str, tuple[Edit, str]] = {
    "another footer": (lambda t: write_shards(t.shards, t.space, footer=OTHER), f"{PART}: declares 0000"),
    "no footer": (
        lambda t: (write_parquet(t.shards / PART, shard_rows(t.space), None), sign_shards(t.shards)),
        f"{PART}: its footer has no token_space_sha256",
    ),
    "another manifest": (lambda t: edit_json(t.shards / "manifest.json", token_space_sha256=OTHER), "declares 0000"),
    "other bytes": (
        lambda t: write_parquet(t.shards / PART, shard_rows(t.space)[::-1], t.space.sha256),
        f"{PART}: its bytes have sha256",
    ),
    "cut short": (_cut, f"{PART}: found a file that cannot be read"),
    "empty folder": (_clear, "shards: no shard in it"),
    "not listed": (
        lambda t: shutil.copy(t.shards / PART, t.shards / "part-9.parquet"),
        "part-9.parquet: manifest.json does not list it",
    ),
    "listed and missing": (
        lambda t: edit_manifest(t, lambda m: m["files"].append({"path": "gone.parquet", "rows": 0, "sha256": OTHER})),
        "gone.parquet: no such file; manifest.json lists it",
    ),
    "listed outside": (
        lambda t: edit_manifest(t, lambda m: m["files"][0].update(path="../part-0.parquet")),
        "'../part-0.parquet', which is outside the folder",
    ),
    "no manifest": (lambda t: (t.shards / "manifest.json").unlink(), "manifest.json: no such file"),
    "manifest no JSON": (lambda t: (t.shards / "manifest.json").write_text("{"), "found text that is not JSON"),
    "manifest too deep": (
        lambda t: (t.shards / "manifest.json").write_text("[" * 500 + "]" * 500), "found JSON nested too deeply",
    ),
    "other format": (lambda t: edit_json(t.shards / "manifest.json", format="shards/9"), "Input should be 'shards/1'"),
    "other rows": (
        lambda t: edit_manifest(t, lambda m: (m["files"][0].update(rows=15), m["sources"].update(tiny=15))),
        "it holds 16 rows; the manifest says 15",
    ),
    "other sources": (lambda t: edit_json(t.shards / "manifest.json", sources={"a": 16}), "source 'a': 0 rows"),
    "no rows": (lambda t: edit_rows(t, lambda rows: rows.clear()), "it holds no row"),
    "column missing": (_drop_column, "expected a column meta"),
    "16-bit ids": (
        lambda t: edit_rows(t, lambda rows: None, schema=_narrow(pa.uint16())), "ids of type list<element: uint16>",
    ),
    "beyond the vocabulary": (
        lambda t: edit_ids(t, "image", lambda ids: [*ids[:-1], 500]),
        "shard-image-0: id 500 at position 5: found no range, not in IMAGE range 64 to 87",
    ),
    "text in a picture": (lambda t: edit_ids(t, "image", lambda ids: [5, *ids[1:]]), "id 5 at position 0: found TEXT"),
    "tag in a sound": (
        lambda t: edit_ids(t, "audio", lambda ids: [t.space.special("aud_start"), *ids[1:]]),
        "id 52 at position 0: found <|aud_start|>",
    ),
    "spare special row": (lambda t: edit_ids(t, "audio", lambda ids: [63, *ids[1:]]), "found SPECIAL, not in AUDIO"),
    "out of turn": (
        lambda t: edit_ids(t, "audio", lambda ids: [ids[1], ids[0], *ids[2:]]),
        "codebook mismatch, found AUDIO_CB1, expected AUDIO_CB0",
    ),
    "half a frame": (
        lambda t: edit_ids(t, "audio", lambda ids: ids[:-1]), "7 ids are no whole number of frames of 2 codebooks",
    ),
    "a frame too few": (
        lambda t: edit_ids(t, "audio", lambda ids: ids[:-2]), "6 ids; its meta says 4 frames x 2 codebooks",
    ),
    "too many image ids": (lambda t: edit_ids(t, "image", lambda ids: ids + ids[:1]), "7 ids; its meta says 6"),
    "no image ids": (lambda t: edit_ids(t, "image", lambda ids: []), "0 ids; its meta says 6"),
    "another number of codebooks": (
        lambda t: edit_meta(t, "audio", '{"audio": {"n_frames": 2, "n_codebooks": 4}}'), "says 2 frames x 4 codebooks",
    ),
    "meta without a count": (lambda t: edit_meta(t, "audio", "{}"), "8 ids; its meta says nothing of it"),
    "meta no JSON": (lambda t: edit_meta(t, "image", "{{"), "6 ids; its meta says nothing of it"),
    "unknown modality": (_first("modality", "video"), "modality 'video', for which the token space has no range"),
    "media in the text": (_first("text_ids", [70]), "id 70 at position 0: found IMAGE, not TEXT"),
    "null id": (_first("ids", [None, 1]), "id -1 at position 0"),
}  # fmt: skip

AROUND: dict[str, tuple[Edit, str]] = {
    "created_utc everywhere else": (
        lambda t: redeclare(t, other_space(t, created_utc="2026-02-02T00:00:00Z")),
        "that one differs only in created_utc: every id means the same",
    ),
    "local paths everywhere else": (
        lambda t: redeclare(t, other_space(t, image_tokenizer__local_path="/x", audio_codec__device="cuda")),
        "that one differs only in audio_codec.device, image_tokenizer.local_path",
    ),
    "a special moved everywhere else": (
        lambda t: redeclare(t, _moved_special(t)),
        "that one differs in meaning: special_tokens.<|pad_mm|>",
    ),
    "parent of another space": (_parent, "checkpoint_10/token_space.json: declares"),
    "parent's sidecar": (
        lambda t: edit_json(t.root / "stage3/checkpoint_10/token_space.json", created_utc="x"),
        "as its own token_space.sha256 says",
    ),
    "parent without one": (
        lambda t: (t.root / "stage3/checkpoint_10/token_space.json").unlink(), "found no such file; expected the token",
    ),
    "golden of another space": (
        lambda t: _golden(t, lambda row: row.update(token_space_sha256=OTHER)), "golden-t2i-3: declares 0000",
    ),
    "golden without": (
        lambda t: _golden(t, lambda row: row.pop("token_space_sha256")), "golden-t2i-3: declares no token_space_sha256",
    ),
    "golden no JSON": (
        lambda t: (t.golden / "golden_t2i_12.jsonl").write_text("{\n"), "golden_t2i_12.jsonl:1: found text that is not",
    ),
    "no golden example": (
        lambda t: [file.write_text("") for file in t.golden.glob("*")], "golden: there is no example in it",
    ),
    "golden ids of the other modality": (
        lambda t: _golden(t, lambda row: _first_id(t, row, t.space.audio[0].start)),
        "golden-t2i-3: id 88 at position 0",
    ),
    "golden with a word in its picture": (
        lambda t: _golden(t, lambda row: _first_id(t, row, 5)), "golden-t2i-3: id 5 at position 0: found TEXT",
    ),
    "golden whose length lies": (
        lambda t: _golden(t, lambda row: row["image_meta"].update(n_tokens=7)), "golden-t2i-3: 6 ids; its meta says 7",
    ),
    "golden with its end tag cut off": (
        lambda t: _golden(t, lambda row: row["input_ids"].pop()), "that is not one <|img_start|>",
    ),
    "dev of another space": (_dev, "dev.jsonl: dev-7: declares 0000"),
}  # fmt: skip


def _moved_special(tiny: Tiny) -> Any:
    return other_space(tiny, special_tokens=tiny.space.special_tokens | {"<|pad_mm|>": 60})


def _tokenizer(tiny: Tiny, edit: Callable[[dict[str, Any]], None]) -> None:
    file = tiny.ckpt / "tokenizer.json"
    obj = json.loads(file.read_text())
    edit(obj)
    write_json(file, obj)


def _swap(obj: dict[str, Any]) -> None:
    first, second = obj["added_tokens"][:2]
    first["content"], second["content"] = second["content"], first["content"]


def _cut_to_pieces(obj: dict[str, Any]) -> None:
    # Known to the vocabulary, but no longer an added token: text around it is not cut away.
    added = obj["added_tokens"].pop(0)
    obj["model"]["vocab"][added["content"]] = added["id"]


def _stray(tiny: Tiny) -> None:
    tokenizer = Tokenizer.from_file(str(tiny.ckpt / "tokenizer.json"))
    tokenizer.add_tokens([f"stray{i}" for i in range(10)])
    tokenizer.save(str(tiny.ckpt / "tokenizer.json"))


TOKENIZER: dict[str, tuple[Edit, str]] = {
    "two specials swapped": (
        lambda t: _tokenizer(t, _swap), "<|text_start|>: the tokenizer has it at 49; expected id 48",
    ),
    "a special missing": (
        lambda t: _tokenizer(t, lambda o: o["added_tokens"].pop()), "<|pad_mm|>: the tokenizer does not know it",
    ),
    "a special cut to pieces": (
        lambda t: _tokenizer(t, _cut_to_pieces), "'a<|text_start|>b' is encoded as",
    ),
    "words on media ids": (_stray, "stray9: has id 67, which is IMAGE"),
    "tokenizer no JSON": (lambda t: (t.ckpt / "tokenizer.json").write_text("{"), "tokenizer.json: it cannot be read"),
    "the base's own": (
        lambda t: shutil.copy(t.base / "tokenizer.json", t.ckpt / "tokenizer.json"), "the tokenizer does not know it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*PARQUET, *AROUND, *TOKENIZER])
def test_a_defect_fails_with_its_reason(pytester: pytest.Pytester, tiny: Tiny, name: str) -> None:
    edit, reason = (PARQUET | AROUND | TOKENIZER)[name]
    edit(tiny)

    gate = run_gate(pytester, "P0.1", tiny.ckpt)

    assert gate["outcome"] == "fail", findings(gate)
    assert reason in findings(gate)


def test_rows_are_counted_over_all_files(pytester: pytest.Pytester, tiny: Tiny) -> None:
    edit_rows(tiny, lambda rows: [row.update(ids=row["ids"][:-1]) for row in rows])

    gate = run_gate(pytester, "P0.1", tiny.ckpt)

    found = {m["name"]: (m["value"], m["n"]) for m in gate["measurements"]}
    assert found["rows_with_part_frames"] == (8, 16)
    assert found["rows_miscounted"] == (16, 16)
    assert found["rows_out_of_turn"] == found["rows_with_illegal_ids"] == (0, 16)
