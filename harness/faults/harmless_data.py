"""Harmless changes of data, logs and places: every gate must say what it says without them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Harmless
from harness.faults.lines import Line, edit_examples, edit_log, example_files, log_file, read_lines, write_lines
from harness.faults.shards import edit_rows, manifest_file, rewrite_parquet, shard_files, sign
from harness.files import read_json, write_bytes, write_text
from harness.token_space import FILE_NAME
from harness.training_record import RECORD_NAME


def _each_parquet(change: Callable[[Path], object]) -> Callable[[Copy], None]:
    def inject(copy: Copy) -> None:
        files = [file for file in shard_files(copy) if file.suffix == ".parquet"]
        if not files:
            raise NotApplicableError("the shards are tars")
        for file in files:
            change(copy.own(file))
        sign(copy)

    return inject


def _recompress(file: Path) -> None:
    rewrite_parquet(file, pq.read_table(file), compression="zstd", row_group_size=100, use_dictionary=False)


def _wider_ids(file: Path) -> None:
    table = pq.read_table(file)
    at, metadata = table.schema.get_field_index("ids"), table.schema.metadata
    wide = table.column("ids").cast(pa.large_list(pa.int64()))
    table = table.set_column(at, pa.field("ids", wide.type), wide).replace_schema_metadata(metadata)
    rewrite_parquet(file, table)


def _reverse_rows(copy: Copy) -> None:
    for file in shard_files(copy):
        edit_rows(copy, file, lambda rows: rows.reverse())


def _rename_shards(copy: Copy) -> None:
    manifest = manifest_file(copy)
    assert manifest is not None
    said = read_json(manifest)
    for number, entry in enumerate(said["files"]):
        old = manifest.parent / entry["path"]
        entry["path"] = f"renamed-{number:05d}{''.join(old.suffixes)}"
        old.rename(manifest.parent / entry["path"])
    write_text(manifest, json.dumps(said))


def _rename_golden(copy: Copy) -> None:
    if not copy.input("golden").is_dir():
        raise NotApplicableError("the golden set is one file")
    for file in example_files(copy, "golden"):
        file.rename(file.with_name(f"golden_{file.name}"))


def _join_golden(copy: Copy) -> None:
    golden = copy.input("golden")
    if not golden.is_dir():
        raise NotApplicableError("the golden set is one file")
    lines = [line for file in example_files(copy, "golden") for line in read_lines(file)]
    one = golden.parent / "golden.jsonl"
    write_lines(one, lines)
    copy.point(golden=one)


def _reverse_dev(copy: Copy) -> None:
    """Between tasks alone: of each, the first ones are looked at."""
    for file in example_files(copy, "dev"):
        lines = read_lines(file)
        write_lines(file, sorted(lines, key=lambda line: str(line["task"]), reverse=True))


def _more_keys(copy: Copy) -> None:
    def add(line: Line) -> Line:
        return {"note": {"by": ["us", None]}} | line | {"loss": None}

    for name in ("golden", "dev"):
        if name in copy.bundle.inputs:
            edit_examples(copy, name, add)


def _without_labels(copy: Copy) -> None:
    for name in ("golden", "dev"):
        if name in copy.bundle.inputs:
            edit_examples(copy, name, lambda line: {k: v for k, v in line.items() if k not in ("labels", "length")})


def _windows_line_ends(copy: Copy) -> None:
    for name in ("golden", "dev"):
        if name in copy.bundle.inputs:
            for file in example_files(copy, name):
                write_bytes(file, file.read_bytes().replace(b"\n", b"\r\n"))
    file = log_file(copy)
    write_bytes(file, file.read_bytes().replace(b"\n", b"\r\n"))


def _reindent(copy: Copy) -> None:
    """Other bytes, the same object: the token space's identity is that of the object."""
    folders = [copy.ckpt, copy.input("shards"), *([copy.input("parent")] if "parent" in copy.bundle.inputs else [])]
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            said = read_json(folder / FILE_NAME)
            write_text(folder / FILE_NAME, json.dumps(dict(reversed(said.items())), indent=5))


def _more_in_the_log(copy: Copy) -> None:
    def add(lines: list[Line]) -> None:
        for number, line in enumerate(lines):
            line.update(tokens_per_second=1234.5 + number, host="node-7", memory=None, lucky=number % 2 == 0)

    edit_log(copy, add)


def _chatter_in_the_log(copy: Copy) -> None:
    file = log_file(copy)
    lines = file.read_text().splitlines()
    write_text(file, "\n".join([*lines[:1], "warning: something is deprecated", "", *lines[1:]]) + "\n")


def _log_of_a_longer_run(copy: Copy) -> None:
    """The checkpoint is not the run's last: the log goes on, and not well."""
    step = copy.bundle.step
    if step is None:
        raise NotApplicableError("the checkpoint's step is unknown")

    def go_on(lines: list[Line]) -> list[Line]:
        last = dict(lines[-1])
        worse = {key: 10 * value for key, value in last.items() if isinstance(value, float)}
        return [*lines, last | worse | {"step": step + 10_000}]

    edit_log(copy, go_on)


def _without_record(copy: Copy) -> None:
    record = copy.ckpt / RECORD_NAME
    if not record.is_file():
        raise NotApplicableError("the trainer left no training.json")
    record.unlink()


def _absolute_paths(copy: Copy) -> None:
    copy.edit_json(copy.ckpt / "bundle.json", **{name: str(path) for name, path in copy.bundle.inputs.items()})


def _another_name(copy: Copy) -> None:
    """Data in other folders, and a link on the way."""
    shards = copy.input("shards")
    moved = shards.with_name("stage 2 – moved")
    shards.rename(moved)
    copy.point(shards=moved)
    golden = copy.input("golden")
    link = copy.root / "link"
    link.symlink_to(os.path.relpath(golden.parent, copy.root), target_is_directory=True)
    copy.edit_json(copy.ckpt / "bundle.json", golden=os.path.relpath(link / golden.name, copy.ckpt))


def _beside_the_shards(copy: Copy) -> None:
    write_text(copy.input("shards") / "README.md", "Made on a Tuesday.\n")
    write_text(copy.input("codecs") / "README.md" if "codecs" in copy.bundle.inputs else copy.ckpt / "README.md", "x\n")


HARMLESS = (
    Harmless("shards-compressed-anew", "Other row groups and compression, signed again: the rows are the same.",
             _each_parquet(_recompress), "shards"),
    Harmless("shards-with-wider-ids", "Ids as 64-bit integers, which hold whatever 32 bits hold.",
             _each_parquet(_wider_ids), "shards"),
    Harmless("shards-in-another-order", "Rows in reverse order, signed again: nothing depends on their order.",
             _reverse_rows, "shards"),
    Harmless("shards-renamed", "Other names of the shards, in the manifest too.", _rename_shards, "shards"),
    Harmless("golden-files-renamed", "Other names of the golden files: their lines say what they are.",
             _rename_golden, "golden"),
    Harmless("golden-set-in-one-file", "The golden files joined to one.", _join_golden, "golden"),
    Harmless("dev-set-sorted-by-task", "Tasks in another order; within each task, the same.", _reverse_dev, "dev"),
    Harmless("more-keys-in-examples", "Keys that nobody knows: they are left alone.", _more_keys, "golden"),
    Harmless("examples-without-labels", "Labels and length are optional: they follow from the task.",
             _without_labels, "golden"),
    Harmless("windows-line-ends", "Examples and log with carriage returns.", _windows_line_ends, "dev"),
    Harmless("token-space-indented-anew", "Other bytes, the same object.", _reindent, "token space"),
    Harmless("more-figures-in-the-log", "Throughput, host and flags beside the losses.", _more_in_the_log, "log"),
    Harmless("a-warning-in-the-log", "A line that is no record, and an empty one.", _chatter_in_the_log, "log"),
    Harmless("log-of-a-longer-run", "What was logged after the checkpoint says nothing of it.", _log_of_a_longer_run,
             "log"),
    Harmless("no-training-record", "training.json is optional.", _without_record, "record"),
    Harmless("absolute-paths", "bundle.json with absolute paths.", _absolute_paths, "bundle.json"),
    Harmless("data-elsewhere", "Shards in another folder, the golden set behind a link.", _another_name,
             "bundle.json"),
    Harmless("notes-beside-the-data", "A README beside shards and codecs.", _beside_the_shards, "shards"),
)  # fmt: skip
