"""Faults of what lies in Stage 2 shards and golden examples: ids, turns, frames, counts and bytes (P0.1, S3.1)."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.faults.copies import Copy, NotApplicableError, clone_tree
from harness.faults.fault import Edit, Fault
from harness.faults.lines import Line, edit_example, meta_of
from harness.faults.shards import (
    Row,
    edit_each,
    edit_row,
    manifest_file,
    rewrite_parquet,
    shard_files,
    shard_with,
    sign,
)
from harness.files import read_json, write_bytes
from harness.token_space import Modality, TokenSpace

GATES = ("S3.1", "P0.1")
OFFSETS = "Illegal ids and wrong turns come from offsets that are doubled, missing or wrapped"
COUNTS = "Counts that are not the meta's"
RESTORE = "A shard whose bytes are not the manifest's was written or copied badly"


def _one(modality: Modality, change: Callable[[Row, TokenSpace], object]) -> Edit:
    """Change one row of a modality."""
    return lambda copy: edit_row(copy, modality, lambda row: change(row, copy.bundle.space))


def _each(modality: Modality, change: Callable[[Row, TokenSpace], object]) -> Edit:
    """Change every row of a modality in one shard."""
    return lambda copy: edit_each(copy, modality, lambda row: change(row, copy.bundle.space))


def _start(space: TokenSpace, position: int) -> int:
    return space.range_at("audio", position).start


def _missing_offsets(row: Row, space: TokenSpace) -> None:
    row.ids = [token_id - _start(space, i) for i, token_id in enumerate(row.ids)]


def _doubled_offset(row: Row, space: TokenSpace) -> None:
    row.ids = [token_id + _start(space, i) for i, token_id in enumerate(row.ids)]


def _codebook_offset_missing(row: Row, space: TokenSpace) -> None:
    """All codebooks write into the first one's range."""
    row.ids = [token_id - _start(space, i) + _start(space, 0) for i, token_id in enumerate(row.ids)]
    if space.n_codebooks < 2:
        raise NotApplicableError("there is one codebook")


def _shifted(row: Row, space: TokenSpace) -> None:
    row.ids = [token_id + 1 for token_id in row.ids]
    row.ids[-1] = space.range_at("audio", len(row.ids) - 1).end + 1


def _one_beyond(row: Row, space: TokenSpace) -> None:
    row.ids[-1] = space.vocab_size_total


def _in_the_gap(row: Row, space: TokenSpace) -> None:
    special = space.layout.ranges["SPECIAL"]
    spare = [i for i in range(special.start, special.end + 1) if i not in space.special_ids.values()]
    if not spare:
        raise NotApplicableError("no special row is spare")
    row.ids[0] = spare[-1]


def _wrap(row: Row, space: TokenSpace) -> None:
    """Through the widest integer that is narrower than the vocabulary needs."""
    bits = 16 if space.vocab_size_total > 2**16 else 8
    if space.vocab_size_total <= 2**bits:
        raise NotApplicableError("the whole vocabulary fits into eight bits")
    row.ids = [token_id % 2**bits for token_id in row.ids]


def _swap_turns(row: Row, space: TokenSpace) -> None:
    if space.n_codebooks < 2:
        raise NotApplicableError("there is one codebook")
    row.ids[0], row.ids[1] = row.ids[1], row.ids[0]


def _codebook_major(row: Row, space: TokenSpace) -> None:
    if space.n_codebooks < 2:
        raise NotApplicableError("there is one codebook")
    row.ids = [token_id for k in range(space.n_codebooks) for token_id in row.ids[k :: space.n_codebooks]]


def _cut_a_frame(row: Row, space: TokenSpace) -> None:
    if space.n_codebooks < 2:
        raise NotApplicableError("there is one codebook")
    row.ids.pop()


def _truncate(row: Row, space: TokenSpace) -> None:
    k = space.n_codebooks
    row.ids = row.ids[: max(1, len(row.ids) // (2 * k)) * k]


def _miscount(row: Row, _: TokenSpace) -> None:
    row.meta["audio"]["n_frames"] += 1


def _all_codebooks(row: Row, _: TokenSpace) -> None:
    row.meta["audio"]["n_codebooks"] *= 2


def _longer_picture(row: Row, space: TokenSpace) -> None:
    if not isinstance(space.image_tokenizer.get("n_tokens"), int):
        raise NotApplicableError("the token space does not say how many ids a picture has")
    row.ids = row.ids * 2
    row.meta["image"]["n_tokens"] = len(row.ids)


def _end_tag_inside(row: Row, space: TokenSpace) -> None:
    row.ids[len(row.ids) // 2] = space.end_id("image")


def _media_in_text(row: Row, _: TokenSpace) -> None:
    row.text_ids[-1] = row.ids[0]


def _flip_a_byte(copy: Copy) -> None:
    manifest_file(copy)
    file = copy.own(shard_files(copy)[-1])
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    write_bytes(file, bytes(content))


def _cut_file(copy: Copy) -> None:
    file = copy.own(shard_files(copy)[-1])
    content = file.read_bytes()
    write_bytes(file, content[: 2 * len(content) // 3])


def _remove_shard(copy: Copy) -> None:
    manifest_file(copy)
    if len(files := shard_files(copy)) < 2:
        raise NotApplicableError("there is one shard")
    files[-1].unlink()


def _left_over(copy: Copy) -> None:
    manifest_file(copy)
    file = shard_files(copy)[-1]
    clone_tree(file, file.with_name(f"left-over-{file.name}"))


def _remove_left_over(copy: Copy) -> None:
    file = shard_files(copy)[-1]
    for each in file.parent.glob("left-over-*"):
        each.unlink()


def _lie_about_sources(copy: Copy) -> None:
    manifest = manifest_file(copy)
    assert manifest is not None
    said = read_json(manifest)
    if len(said.get("sources") or {}) < 2:
        raise NotApplicableError("the manifest names fewer than two sources")
    first, second = list(said["sources"])[:2]
    sources = said["sources"] | {first: said["sources"][first] + 1, second: said["sources"][second] - 1}
    copy.edit_json(manifest, sources=sources)


def _narrow(copy: Copy) -> None:
    file = _parquet(copy)
    copy.own(file)
    table = pq.read_table(file)
    if copy.bundle.space.vocab_size_total > 2**16:
        raise NotApplicableError("ids do not fit into 16 bits, and wrap: another fault")
    at = table.schema.get_field_index("ids")
    narrow = table.column("ids").cast(pa.list_(pa.uint16()))
    metadata = table.schema.metadata
    table = table.set_column(at, pa.field("ids", narrow.type, nullable=False), narrow).replace_schema_metadata(metadata)
    rewrite_parquet(file, table)
    sign(copy)


def _widen(copy: Copy) -> None:
    file = _parquet(copy)
    table = pq.read_table(file)
    at = table.schema.get_field_index("ids")
    wide = table.column("ids").cast(pa.list_(pa.uint32()))
    metadata = table.schema.metadata
    table = table.set_column(at, pa.field("ids", wide.type, nullable=False), wide).replace_schema_metadata(metadata)
    rewrite_parquet(copy.own(file), table)
    sign(copy)


def _parquet(copy: Copy) -> Path:
    file = shard_with(copy, "image")
    if file.suffix != ".parquet":
        raise NotApplicableError("the shards are tars")
    return file


# ---------------------------------------------------------------------- examples


def _golden(change: Callable[[Line, Copy], object], task: str) -> Edit:
    return lambda copy: edit_example(copy, "golden", lambda line: change(line, copy), (task,))  # type: ignore[arg-type]


def _one_frame_more(line: Line, _: Copy) -> None:
    meta_of(line, "audio")["n_frames"] += 1


def _one_code_out_of_turn(line: Line, copy: Copy) -> None:
    space = copy.bundle.space
    if space.n_codebooks < 2:
        raise NotApplicableError("there is one codebook")
    ids = line["input_ids"]
    first = ids.index(space.special("aud_start")) + 1
    ids[first], ids[first + 1] = ids[first + 1], ids[first]
    line.pop("labels", None)


def _a_word_in_the_picture(line: Line, copy: Copy) -> None:
    ids = line["input_ids"]
    ids[ids.index(copy.bundle.space.special("img_start")) + 1] = 5
    line.pop("labels", None)


def _of_row(name: str, imitates: str, reason: str, advice: str, inject: Edit, **rest: object) -> Fault:
    return Fault(name, imitates, GATES, reason, advice, inject, **({"artifact": "shards"} | rest))  # type: ignore[arg-type]


FAULTS = (
    _of_row("offsets-missing", "Codes were written as they come from the codec, without the codebook's offset.",
            "rows_with_illegal_ids is", OFFSETS, _each("audio", _missing_offsets), source="domain.md row 20"),
    _of_row("offset-doubled-in-one-row", "One worker added the offset to ids that had it already.",
            "rows_with_illegal_ids is 1 rows", "Never bring such ids back into range by a modulo",
            _one("audio", _doubled_offset), subtle=True, source="domain.md row 20"),
    _of_row("one-offset-for-all-codebooks", "All codebooks were written into the range of the first one.",
            "rows_out_of_turn is", OFFSETS, _each("audio", _codebook_offset_missing)),
    _of_row("ids-one-too-high", "An old tokenisation of a layout with one special less, under the new hash.",
            "rows_with_illegal_ids is", OFFSETS, _each("audio", _shifted), source="domain.md rows 2, 29"),
    _of_row("one-id-beyond-the-vocabulary", "The last code of one row is one too large.",
            "rows_with_illegal_ids is 1 rows", OFFSETS, _one("audio", _one_beyond), subtle=True,
            source="domain.md row 23"),
    _of_row("one-id-in-a-spare-row", "One id lies in the padding between specials and media.",
            "rows_with_illegal_ids is 1 rows", OFFSETS, _one("image", _in_the_gap), subtle=True,
            source="domain.md row 23"),
    _of_row("ids-wrapped", "Ids went through an integer too narrow for the vocabulary.",
            "rows_with_illegal_ids is", OFFSETS, _each("audio", _wrap), source="domain.md row 22"),
    _of_row("ids-stored-in-16-bits", "Shards were written with uint16, which the next larger vocabulary will wrap.",
            "narrower ids wrap", "was written or copied badly", _narrow, source="domain.md row 22", fix=_widen),
    _of_row("two-codebooks-swapped-in-one-row", "In one row the first two ids of a frame changed places.",
            "rows_out_of_turn is 1 rows", OFFSETS, _one("audio", _swap_turns), subtle=True),
    _of_row("codebooks-one-after-the-other", "Codes were flattened codebook by codebook and not frame by frame.",
            "rows_out_of_turn is", OFFSETS, _each("audio", _codebook_major)),
    _of_row("one-frame-cut", "A row ends within a frame.", "rows_with_part_frames is 1 rows",
            COUNTS, _one("audio", _cut_a_frame), subtle=True, source="domain.md row 50"),
    _of_row("one-row-truncated", "A row was truncated to a maximal length between two frames.",
            "rows_miscounted is 1 rows", COUNTS, _one("audio", _truncate), subtle=True, source="domain.md row 50"),
    _of_row("one-row-miscounted", "The meta of one row counts a frame that was dropped.", "rows_miscounted is 1 rows",
            COUNTS, _one("audio", _miscount), subtle=True, source="domain.md row 24"),
    _of_row("codebooks-sliced", "Sounds were encoded with twice the codebooks, of which the first ones were kept.",
            "rows_miscounted is", COUNTS, _each("audio", _all_codebooks), source="domain.md row 25"),
    _of_row("pictures-of-another-tokenizer", "One picture has as many ids as another tokenizer writes.",
            "; the token space says", COUNTS, _one("image", _longer_picture), subtle=True, source="domain.md row 21"),
    _of_row("end-tag-inside-a-picture", "One picture's ids hold its end tag: two blocks were written as one.",
            "rows_with_illegal_ids is 1 rows", OFFSETS, _one("image", _end_tag_inside), subtle=True),
    _of_row("media-id-in-a-caption", "One caption holds a media id: text and media were joined before they were split.",
            "not TEXT", OFFSETS, _one("image", _media_in_text), subtle=True),
    _of_row("one-byte-of-a-shard", "One bit of one shard flipped on its way from another disk.",
            "its bytes have sha256", RESTORE, _flip_a_byte, subtle=True),
    _of_row("shard-cut-short", "A disk was full while the last shard was copied.",
            "broken_shard_files is", RESTORE, _cut_file),
    _of_row("shard-missing", "A shard that the manifest lists was not copied.", "no such file; manifest.json lists it",
            RESTORE, _remove_shard, subtle=True),
    _of_row("shard-left-over", "A shard of an earlier run, which the manifest does not list, lies among the others.",
            "manifest.json does not list it", RESTORE, _left_over, subtle=True, fix=_remove_left_over),
    _of_row("sources-miscounted", "One row was given to another source after the manifest had been written.",
            "rows; the manifest says", RESTORE, _lie_about_sources, subtle=True, fix=sign),
    _of_row("one-golden-sound-whose-length-lies", "The meta of one golden sound counts a frame that its ids have not.",
            "examples_with_wrong_ids is 1 examples", COUNTS, _golden(_one_frame_more, "a2t"), artifact="golden",
            subtle=True),
    _of_row("one-golden-sound-out-of-turn", "One golden sound was tokenised with codebooks in another order.",
            "examples_with_wrong_ids is 1 examples", OFFSETS, _golden(_one_code_out_of_turn, "a2t"),
            artifact="golden", subtle=True),
    _of_row("one-golden-picture-with-a-word", "One golden picture holds the id of a word.",
            "examples_with_wrong_ids is 1 examples", OFFSETS, _golden(_a_word_in_the_picture, "i2t"),
            artifact="golden", subtle=True),
)  # fmt: skip
