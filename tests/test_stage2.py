"""Reading Stage 2 shards: the fast ways agree with the slow ones, and broken bytes give findings, never a crash."""

import contextlib
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.stage2 import Block, ShardError
from harness.stage2_audit import audit_shards
from harness.stage2_meta import counts_of, counts_of_json
from harness.stage2_parquet import ParquetShard
from harness.stage2_rows import offences
from harness.stage2_tar import read_npy
from harness.token_space import Modality, TokenSpace, parse_token_space, read_token_space
from tests.shard_edits import npy, tar_members, write_tar
from tests.tiny import token_space_object, write_shards

FIELD = Path(__file__).parents[2] / "shared" / "field"
SPACE = parse_token_space(token_space_object())
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Mostly legal ids, so that a row is not always wrong in everything.
_IDS = st.one_of(st.integers(88, 119), st.integers(64, 87), st.integers(0, 130))
_ROWS = st.lists(st.lists(_IDS, max_size=6), max_size=6)


def _block(modality: str, rows: list[list[int]], dtype: type = np.uint32) -> Block:
    counts = np.array([[len(row) // 2, 2] if modality == "audio" else [len(row), 1] for row in rows]).reshape(-1, 2)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.array([i for row in rows for i in row], dtype=dtype)
    return Block(modality, ids, offsets, [str(i) for i in range(len(rows))], counts)


def _one_by_one(modality: Modality, rows: list[list[int]]) -> dict[str, list[int]]:
    """The same verdicts, an id at a time."""
    ranges = SPACE.ranges_of(modality)
    found: dict[str, list[int]] = {"illegal": [], "out_of_turn": [], "part_frame": [], "miscounted": []}
    for number, row in enumerate(rows):
        wrong = [i for p, i in enumerate(row) if i not in ranges[p % len(ranges)]]
        codes = [any(i in r for r in ranges) for i in wrong]
        found["illegal"] += [number] if not all(codes) else []
        found["out_of_turn"] += [number] if any(codes) else []
        found["part_frame"] += [number] if len(row) % len(ranges) else []
        found["miscounted"] += [number] if not row or len(row) % len(ranges) else []
    return {offence: numbers for offence, numbers in found.items() if numbers}


@pytest.mark.parametrize("modality", ["audio", "image"])
@given(rows=_ROWS)
def test_a_block_at_a_time_finds_what_an_id_at_a_time_finds(modality: Modality, rows: list[list[int]]) -> None:
    expected = _one_by_one(modality, rows)

    for dtype in (np.uint32, np.int32, np.int64):
        found = {o: at.tolist() for o, at, _ in offences(_block(modality, rows, dtype), SPACE)}
        assert found == expected


@given(rows=_ROWS)
def test_the_first_wrong_id_of_a_row_is_named(rows: list[list[int]]) -> None:
    for offence, at, note in offences(_block("audio", rows), SPACE):
        if offence == "out_of_turn":
            for row in at:
                words = note(int(row)).split()
                assert rows[row][int(words[4].rstrip(":"))] == int(words[1])


_META = st.recursive(
    st.one_of(st.none(), st.integers(-3, 9), st.just(6.0), st.just(math.nan), st.text(max_size=3)),
    lambda inner: st.dictionaries(
        st.sampled_from(["image", "audio", "n_tokens", "n_frames", "n_codebooks", "x"]), inner
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(metas=st.lists(_META, max_size=5), good=st.integers(0, 5), indent=st.sampled_from([None, 1]))
def test_metas_parsed_at_once_are_those_parsed_one_by_one(metas: list[Any], good: int, indent: int | None) -> None:
    metas += [{"image": {"n_tokens": good}, "audio": {"n_frames": good, "n_codebooks": 2}}]
    column = pa.array([json.dumps(meta, indent=indent) for meta in metas])

    for modality in ("image", "audio"):
        np.testing.assert_array_equal(counts_of_json(column, modality), counts_of(metas, modality))


@pytest.mark.parametrize(
    "texts",
    [
        ['{"image":{"n_tokens":4}}{"image":{"n_tokens":4}}', "{}", ""],
        ['{"image":{"n_tokens":4},"a":', '{"b":{}}', '}{"image":{"n_tokens":4}}'],
        ['{"image":{"n_tokens":4},"a":"}', '{"}', "{}"],
        [None, "{}", "{}"],
        ["{" * 10**5, "{}", '{"image":{"n_tokens":99999999999999999999}}'],
    ],
    ids=["two in one", "across rows", "text across rows", "null", "too deep, too large"],
)
def test_no_object_reaches_into_the_next_row(texts: list[str | None]) -> None:
    assert counts_of_json(pa.array(texts, pa.string()), "image").tolist() == [[-1, -1]] * 3


@FUZZ
@given(content=st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: npy([70] * 6)[:40] + b)))
def test_bytes_that_are_no_array_are_refused(content: bytes) -> None:
    with contextlib.suppress(ShardError):
        assert read_npy(content, "x.npy").ndim == 1


@FUZZ
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.integers(0, 10**6))
def test_a_tar_with_any_byte_changed_is_read_to_a_finding(tmp_path: Path, at: int, byte: int, cut: int) -> None:
    tar = tmp_path / "shards" / "shard-000000.tar"
    write_tar(tar, tar_members(SPACE))
    content = bytearray(tar.read_bytes())
    content[at % len(content)] = byte
    tar.write_bytes(content[: len(content) - cut % 2000])

    audit = audit_shards(tar.parent, SPACE)

    assert audit.rows or audit.problems


@FUZZ
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_parquet_file_with_any_byte_changed_fails(tmp_path: Path, at: int, byte: int) -> None:
    write_shards(tmp_path, SPACE)
    file = tmp_path / "part-0.parquet"
    content = bytearray(file.read_bytes())
    changed = content[at % len(content)] != byte
    content[at % len(content)] = byte
    file.write_bytes(content)

    assert bool(audit_shards(tmp_path, SPACE).problems) == changed


@FUZZ
@given(manifest=st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.just("part-0.parquet"), st.just("shards/1")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["format", "files", "sources", "path", "rows", "sha256"]), inner, max_size=6),
    ),
    max_leaves=12,
))  # fmt: skip
def test_any_manifest_gives_findings(tmp_path: Path, manifest: Any) -> None:
    write_shards(tmp_path, SPACE)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    assert audit_shards(tmp_path, SPACE).problems


def test_all_rows_of_a_long_file_are_looked_at(tmp_path: Path) -> None:
    write_shards(tmp_path, SPACE)
    whole = ParquetShard(tmp_path / "part-0.parquet")
    expected = [(b.modality, b.ids.tolist(), list(map(str, b.names))) for b in whole.blocks()]

    table = pa.concat_tables([pq.read_table(whole.path)] * 9)
    pq.write_table(table, tmp_path / "long.parquet", row_group_size=5)
    long = ParquetShard(tmp_path / "long.parquet")

    ids = {name: [i for b in long.blocks() if b.modality == name for i in b.ids] for name in ("audio", "image", "text")}
    assert ids == {name: [i for m, found, _ in expected if m == name for i in found] * 9 for name in ids}


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field's files are not on this machine")
def test_the_fields_records_are_legal_as_a_webdataset(tmp_path: Path) -> None:
    space = read_token_space(FIELD)
    write_tar(tmp_path / "shard-000000.tar", _field_members(space, shift=0))
    audit = audit_shards(tmp_path, space)
    assert (audit.rows, audit.ids, audit.problems, dict(audit.offending)) == (4, 2 * 6600 + 2 * 32 + 12, [], {})
    assert [(d.sha256, d.n) for d in audit.declarations] == [(space.sha256, 4)]

    # Offsets that are one codebook off: the fault that `code % size` would hide.
    write_tar(tmp_path / "shard-000000.tar", _field_members(space, shift=1024))
    audit = audit_shards(tmp_path, space)
    assert audit.offending["out_of_turn"] == 2
    assert hashlib.sha256((FIELD / "token_space.json").read_bytes()).hexdigest() != space.sha256  # not the bytes' hash


def _field_members(space: TokenSpace, shift: int) -> dict[str, bytes]:
    """The field's four records, taken apart as its Stage 2 writes them; `shift` is added to the ids of sounds."""
    members: dict[str, bytes] = {}
    for number, line in enumerate((FIELD / "tokenized.jsonl").read_text().splitlines()):
        row = json.loads(line)
        modality = "audio" if "a" in row["task"] else "image"
        ids = np.array(row["input_ids"])
        media = ids[space.in_range(modality, ids)] + (shift if modality == "audio" else 0)
        meta = {"audio": row["audio_meta"], "image": row["image_meta"]}
        said = {"id": row["id"], "token_space_sha256": space.sha256, "meta": meta}
        members[f"{number:06d}.json"] = json.dumps(said).encode()
        members[f"{number:06d}.{modality}.npy"] = npy(media)
        members[f"{number:06d}.text_out.npy"] = npy(ids[ids < space.text_vocab_size])
    return members
