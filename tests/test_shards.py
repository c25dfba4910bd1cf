"""Stage 2: shards and examples are in the published format, agree on the token space, and hold nothing held out."""

import hashlib
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.errors import TokenSpaceError
from harness.examples import Task, read_examples, regions
from harness.stage2_audit import audit_shards
from harness.token_space import ROLES, Modality, TokenSpace, read_token_space, token_space_sha256
from training.examples import without_held_out, write_examples
from training.recipe import TokenSpaceRecipe
from training.shards import TokenRecord, read_shards, write_shards
from training.text import Line, train_tokenizer, with_specials
from training.token_space import build_token_space

AUDIO_META = {"n_frames": 3, "n_codebooks": 2, "sample_rate": 24_000, "channels": 1, "n_samples": 100, "codec_meta": {}}
IMAGE_META = {"n_tokens": 4, "proc_size": [32, 32]}


@pytest.fixture(scope="module")
def space() -> TokenSpace:
    audio = {"n_codebooks": 2, "codebook_size": 300}
    # More than 65,536 ids, as a real one has: 16-bit ids would wrap.
    return build_token_space(70_000, {"codebook_size": 128}, audio, TokenSpaceRecipe())


def _record(modality: Modality, number: int, space: TokenSpace, text: str = "") -> TokenRecord:
    rng = np.random.default_rng([number, len(modality)])
    codes = rng.integers(128, size=4) if modality == "image" else rng.integers(300, size=(2, 3))
    meta = {modality: IMAGE_META if modality == "image" else AUDIO_META, "attributes": {"n": str(number)}}
    text_ids = np.array([5, 60_000 + number], dtype=np.uint32)
    ids = space.to_ids(modality, codes)
    text = text or f"caption {number}"
    return TokenRecord(f"{modality}-{number}", f"test-{modality}", modality, text, text_ids, ids, meta)


@pytest.fixture(scope="module")
def records(space: TokenSpace) -> list[TokenRecord]:
    return [_record(modality, number, space) for modality in get_args(Modality) for number in range(5)]


@pytest.fixture
def shards(tmp_path: Path, records: list[TokenRecord], space: TokenSpace) -> Path:
    write_shards(tmp_path, records, space, rows_per_file=2)
    return tmp_path


def test_what_was_written_is_read_back(shards: Path, records: list[TokenRecord]) -> None:
    by_id = {record.id: record for record in read_shards(shards)}

    assert set(by_id) == {record.id for record in records}
    for record in records:
        found = by_id[record.id]
        np.testing.assert_array_equal(found.ids, record.ids)
        np.testing.assert_array_equal(found.text_ids, record.text_ids)
        assert (found.text, found.source, found.modality, found.meta) == (
            record.text, record.source, record.modality, record.meta)  # fmt: skip


def test_manifest_and_parquet_are_in_the_published_format(shards: Path, space: TokenSpace) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())

    assert manifest["format"] == "shards/1"
    assert manifest["token_space_sha256"] == space.sha256
    assert manifest["sources"] == {"test-audio": 5, "test-image": 5}
    assert sum(entry["rows"] for entry in manifest["files"]) == 10
    for entry in manifest["files"]:
        path = shards / entry["path"]
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        schema = pq.read_schema(path)
        assert schema.names == ["id", "source", "modality", "text", "text_ids", "ids", "meta"]
        assert str(schema.field("ids").type) == "list<element: uint32>"
        assert schema.metadata[b"token_space_sha256"].decode() == space.sha256


def test_the_harness_finds_one_token_space_everywhere(shards: Path, space: TokenSpace) -> None:
    audit = audit_shards(shards, space)

    assert len(audit.declarations) == 1 + 6  # manifest, and six files of at most two rows
    assert {one.sha256 for one in audit.declarations} == {space.sha256}
    assert (audit.rows, audit.problems, dict(audit.offending)) == (10, [], {})


def test_writing_again_gives_the_same_bytes(shards: Path, records: list[TokenRecord], space: TokenSpace) -> None:
    again = shards / "again"
    again.mkdir()
    write_shards(again, records, space, rows_per_file=2)

    assert all((shards / path.name).read_bytes() == path.read_bytes() for path in again.iterdir())


def test_a_changed_shard_is_refused(shards: Path) -> None:
    path = shards / "image-00000.parquet"
    path.write_bytes(path.read_bytes()[::-1])

    with pytest.raises(TokenSpaceError, match=r"image-00000\.parquet: found another content than the manifest lists"):
        list(read_shards(shards))


def test_shards_of_another_token_space_are_refused(shards: Path, space: TokenSpace) -> None:
    other = {**space.raw, "created_utc": "2020-01-01T00:00:00Z"}
    (shards / "token_space.json").write_text(json.dumps(other))
    (shards / "token_space.sha256").write_text(token_space_sha256(other))

    with pytest.raises(TokenSpaceError, match=r"manifest\.json: found token_space_sha256"):
        list(read_shards(shards))


def test_the_token_space_is_laid_out_as_the_field_does(shards: Path) -> None:
    space = read_token_space(shards)

    assert [space.special(role) for role in ROLES] == list(range(70_000, 70_010))
    assert space.special_tokens["<|pad_mm|>"] == 70_009
    assert space.image is not None
    assert space.image.start == 70_016
    assert [r.start for r in space.audio] == [70_144, 70_444]
    assert space.vocab_size_total == 70_744


@pytest.mark.parametrize("gap", [0, 3], ids=["specials follow text", "specials after a gap"])
def test_a_checkpoints_tokenizer_knows_the_specials_at_the_token_spaces_ids(gap: int) -> None:
    base = train_tokenizer([Line("a red seven on a blue background")], vocab_size=280)
    n_text = base.get_vocab_size()
    space = build_token_space(
        n_text + gap, {"codebook_size": 8}, {"n_codebooks": 0, "codebook_size": 8}, TokenSpaceRecipe()
    )
    extended = with_specials(base, space)

    assert {name: extended.token_to_id(name) for name in space.special_tokens} == space.special_tokens
    assert extended.encode("a red seven").ids == base.encode("a red seven").ids
    assert extended.encode("<|img_end|>").ids == [space.special("img_end")]
    assert base.get_vocab_size() == n_text


def test_examples_are_what_the_harness_reads(tmp_path: Path, records: list[TokenRecord], space: TokenSpace) -> None:
    splits = {"train": records[:2] + records[5:7], "eval": [], "dev": records[2:3]}
    splits["golden"] = records[3:5] + records[8:]
    write_examples(tmp_path, splits, space)
    golden = read_examples(tmp_path / "golden", space)

    names = sorted(path.name for path in (tmp_path / "golden").iterdir())
    assert names == [f"golden_{task}_2.jsonl" for task in ("a2t", "i2t", "t2a", "t2i")]
    assert {example.task for example in golden} == set(get_args(Task))
    assert len(read_examples(tmp_path / "train.jsonl", space)) == 8
    assert read_examples(tmp_path / "eval.jsonl", space) == []
    for example in golden:
        assert example.token_space_sha256 == space.sha256
        assert example.meta == (AUDIO_META if example.modality == "audio" else IMAGE_META)
        space.to_codes(example.modality, example.input_ids[regions(example, space).media])


def test_a_training_record_with_held_out_content_is_dropped(space: TokenSpace) -> None:
    held_out = [_record("image", 0, space)]
    same_medium = _record("image", 0, space, text="other words")
    same_text = _record("image", 1, space, text="caption 0")
    other = _record("image", 2, space)
    kept, dropped = without_held_out([same_medium, same_text, other], held_out)

    assert kept == [other]
    assert dropped == [same_medium, same_text]
