"""What is judged was not trained on: planted leaks are found and named, look-alikes pass."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.bundle import open_bundle
from harness.examples import build_sequence, read_examples
from harness.files import write_jsonl
from harness.held_out import HeldOutAudit, audit_held_out
from harness.progress import silent
from tests.gating import run_gate
from tests.tiny import Tiny, edit_json
from tests.trained_on import (
    ROWS,
    content,
    golden_example,
    put_into_shards,
    random_image,
    random_records,
    rewrite_shards,
    write_tar,
    write_training_data,
)  # fmt: skip


@pytest.fixture
def bundle(tiny: Tiny) -> Tiny:
    """A tiny bundle whose training data share nothing with its golden set."""
    write_training_data(tiny)
    return tiny


# ---------------------------------------------------------------------- defects: each writes one leak into real files


def _golden_in_shard(tiny: Tiny) -> tuple[str, str]:
    put_into_shards(tiny, "leak", golden_example(tiny, "t2a"), at=1, text=True)
    return "golden-t2a-3", "audio-00000.parquet row 2 (leak)"


def _golden_in_last_row_of_last_file(tiny: Tiny) -> tuple[str, str]:
    put_into_shards(tiny, "leak", golden_example(tiny, "a2t"), at=ROWS - 1, text=True)
    return "golden-a2t-3", "audio-00003.parquet row 3 (leak)"


def _same_media_other_caption(tiny: Tiny) -> tuple[str, str]:
    put_into_shards(tiny, "leak", golden_example(tiny, "t2i"), at=4, text=False)
    return "golden-t2i-3", "image-00001.parquet row 2 (leak)"


def _dev_in_shard(tiny: Tiny) -> tuple[str, str]:
    (example, *_) = read_examples(tiny.root / "dev.jsonl", tiny.space)
    put_into_shards(tiny, "leak", example, at=0, text=True)
    return "dev-0", "image-00000.parquet row 1 (leak)"


def _golden_in_train_jsonl(tiny: Tiny) -> tuple[str, str]:
    source = json.loads((tiny.golden / "golden_t2i_12.jsonl").read_text().splitlines()[5])
    with (tiny.root / "train.jsonl").open("a") as file:
        file.write(json.dumps(source | {"id": "leak"}) + "\n")
    return "golden-t2i-5", "train.jsonl row 5 (leak)"


def _task_swapped(tiny: Tiny) -> tuple[str, str]:
    media, caption = content(tiny, golden_example(tiny, "t2i"))
    ids = build_sequence("i2t", caption, media, tiny.space).tolist()
    write_jsonl(tiny.root / "train.jsonl", [{"id": "swapped", "task": "i2t", "input_ids": ids}])
    return "golden-t2i-3", "train.jsonl row 1 (swapped)"


def _cut_off_media_block(tiny: Tiny) -> tuple[str, str]:
    media, caption = content(tiny, golden_example(tiny, "t2i"))
    ids = build_sequence("t2i", caption, media, tiny.space).tolist()[:-1]  # without its end tag
    write_jsonl(tiny.root / "train.jsonl", [{"id": "cut", "task": "t2i", "input_ids": ids}])
    return "golden-t2i-3", "train.jsonl row 1 (cut)"


def _golden_in_tar(tiny: Tiny) -> tuple[str, str]:
    media, caption = content(tiny, golden_example(tiny, "a2t"))
    other = random_records(tiny.space)[0]
    harmless, leak = {"image": other.ids, "text_in": other.text_ids}, {"audio": media, "text_out": caption}
    write_tar(tiny.shards / "shard-000000.tar", {"000000": harmless, "000001": leak})
    return "golden-a2t-3", "shard-000000.tar row 2 (000001)"


def _golden_in_tar_with_tags(tiny: Tiny) -> tuple[str, str]:
    media, _ = content(tiny, golden_example(tiny, "i2t"))
    tagged = np.array([tiny.space.special("img_start"), *media, tiny.space.special("img_end")])
    write_tar(tiny.shards / "shard-000000.tar", {"a/000007": {"image": tagged}})
    return "golden-i2t-3", "shard-000000.tar row 1 (a/000007)"


def _golden_in_unlisted_file(tiny: Tiny) -> tuple[str, str]:
    media, caption = content(tiny, golden_example(tiny, "t2i"))
    table = pa.table({"id": ["leak"], "ids": [media.tolist()], "text_ids": [caption.tolist()]})  # int64 ids
    pq.write_table(table, tiny.shards / "more.parquet")
    return "golden-t2i-3", "more.parquet row 1 (leak)"


Defect = Callable[[Tiny], tuple[str, str]]
DEFECTS: list[Defect] = [
    _golden_in_shard, _golden_in_last_row_of_last_file, _same_media_other_caption, _dev_in_shard,
    _golden_in_train_jsonl, _task_swapped, _cut_off_media_block, _golden_in_tar, _golden_in_tar_with_tags,
    _golden_in_unlisted_file,
]  # fmt: skip


@pytest.mark.parametrize("gate_id", ["P0.6", "S3.7"])
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__.strip("_"))
def test_a_leak_fails_the_gate_which_names_example_file_and_row(
    defect: Defect, gate_id: str, bundle: Tiny, pytester: pytest.Pytester
) -> None:
    example, place = defect(bundle)

    gate = run_gate(pytester, gate_id, bundle.ckpt)

    assert gate["outcome"] == "fail", gate
    assert "shared_content is 1 examples (n=51), asked for == 0" in gate["details"]["reason"]
    (row,) = gate["details"]["worst"]
    assert row["id"] == example
    assert row["note"].endswith(f"/{place}"), row["note"]
    assert "Drop the listed examples" in gate["advice"][0]


# ---------------------------------------------------------------------- harmless: look-alikes that are no leak


def _nothing(tiny: Tiny) -> None:
    pass


def _same_text_other_media(tiny: Tiny) -> None:
    example = golden_example(tiny, "t2i")
    put_into_shards(tiny, "twin", example, at=4, text=True, ids=random_image(tiny.space, np.random.default_rng(8)))


def _permuted_media(tiny: Tiny) -> None:
    example = golden_example(tiny, "t2a")
    media, _ = content(tiny, example)
    put_into_shards(tiny, "permuted", example, at=4, text=False, ids=np.roll(media, 2))


def _prefix_of_media(tiny: Tiny) -> None:
    example = golden_example(tiny, "t2a")
    media, _ = content(tiny, example)
    put_into_shards(tiny, "prefix", example, at=4, text=False, ids=media[:-2])


def _longer_than_media(tiny: Tiny) -> None:
    example = golden_example(tiny, "t2a")
    media, _ = content(tiny, example)
    put_into_shards(tiny, "longer", example, at=4, text=False, ids=np.append(media, media[:2]))


def _one_shard_of_all(tiny: Tiny) -> None:
    rewrite_shards(tiny, random_records(tiny.space), rows_per_file=1000)


def _no_train_jsonl(tiny: Tiny) -> None:
    (tiny.root / "train.jsonl").unlink()


def _leak_in_eval_only(tiny: Tiny) -> None:
    shutil.copy(tiny.golden / "golden_t2i_12.jsonl", tiny.root / "eval.jsonl")


Variant = Callable[[Tiny], None]
HARMLESS: list[Variant] = [
    _nothing, _same_text_other_media, _permuted_media, _prefix_of_media, _longer_than_media, _one_shard_of_all,
    _no_train_jsonl, _leak_in_eval_only,
]  # fmt: skip


@pytest.mark.parametrize("variant", HARMLESS, ids=lambda variant: variant.__name__.strip("_"))
def test_what_is_no_leak_passes(variant: Variant, bundle: Tiny, pytester: pytest.Pytester) -> None:
    variant(bundle)

    gate = run_gate(pytester, "P0.6", bundle.ckpt)

    assert gate["outcome"] == "pass", gate
    assert gate["details"]["worst"] == []


# ---------------------------------------------------------------------- what is reported, not judged


def _audit(tiny: Tiny) -> HeldOutAudit:
    return audit_held_out(open_bundle(tiny.ckpt), silent)


def test_every_row_of_every_file_is_counted(bundle: Tiny) -> None:
    audit = _audit(bundle)

    assert (audit.n_golden, audit.n_dev) == (48, 3)
    assert audit.training_rows == audit.with_media == 2 * ROWS + 4
    assert [file.name for file in audit.files] == [
        *(f"{modality}-0000{i}.parquet" for modality in ("audio", "image") for i in range(4)), "train.jsonl",
    ]  # fmt: skip


def test_a_caption_with_other_media_is_a_near_duplicate(bundle: Tiny) -> None:
    _same_text_other_media(bundle)

    (near,) = _audit(bundle).near

    assert near.example == "golden-t2i-3"
    assert near.place.endswith("image-00001.parquet row 2 (twin)")


def test_the_same_caption_with_the_same_media_is_no_near_duplicate(bundle: Tiny) -> None:
    _golden_in_shard(bundle)

    assert _audit(bundle).near == ()


def test_a_medium_in_many_rows_is_one_offender_with_its_count(bundle: Tiny) -> None:
    media, _ = content(bundle, golden_example(bundle, "t2i"))
    records = [replace(record, ids=media) for record in random_records(bundle.space) if record.modality == "image"]
    rewrite_shards(bundle, records)

    (shared,) = _audit(bundle).shared

    assert shared.rows == ROWS
    assert shared.place.endswith("image-00000.parquet row 1 (train-image-0)")


def test_examples_that_repeat_one_another_are_reported(bundle: Tiny) -> None:
    file = bundle.golden / "golden_t2i_12.jsonl"
    first = json.loads(file.read_text().splitlines()[0])
    with file.open("a") as lines:
        lines.write(json.dumps(first | {"id": "again"}) + "\n")
    write_jsonl(bundle.root / "dev.jsonl", [first | {"id": "dev-twin"}])

    audit = _audit(bundle)

    assert [match.example for match in audit.duplicate_golden] == ["again"]
    assert [match.example for match in audit.golden_in_dev] == ["golden-t2i-0", "again"]
    assert audit.golden_in_dev[0].place.endswith("dev.jsonl (dev-twin)")
    assert audit.shared == ()


def test_what_eval_shares_is_reported(bundle: Tiny) -> None:
    _leak_in_eval_only(bundle)

    audit = _audit(bundle)

    assert len(audit.in_eval) == 12
    assert audit.shared == ()


def test_a_dev_set_that_is_eval_is_not_held_against_itself(bundle: Tiny) -> None:
    (bundle.root / "dev.jsonl").rename(bundle.root / "eval.jsonl")
    edit_json(bundle.ckpt / "bundle.json", dev="../../eval.jsonl")

    assert _audit(bundle).in_eval == ()


def test_a_dev_set_that_is_the_training_set_shares_all(bundle: Tiny) -> None:
    edit_json(bundle.ckpt / "bundle.json", dev="../../train.jsonl")

    assert len(_audit(bundle).shared) == 4
