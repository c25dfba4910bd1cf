"""Faults of what is held out: golden and dev examples that the checkpoint was trained on (P0.6, S3.7)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.examples import Example, Task, build_sequence, regions
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Fault
from harness.faults.lines import edit_examples, edit_lines, example_files, examples_of, read_lines, write_lines
from harness.faults.shards import Row, edit_rows, read_rows, shard_files, shard_with
from harness.files import read_json, write_json
from harness.held_out import audit_held_out
from harness.progress import silent
from harness.token_space import Modality

GATES = ("S3.7", "P0.6")
DROP = "Drop the listed examples from golden and dev set"
CONTENT = "Split by content and not by id"
AGAIN = "tokenise the training shards again without the held-out media"


def _media(example: Example, copy: Copy) -> list[int]:
    return [int(token_id) for token_id in example.input_ids[regions(example, copy.bundle.space).media]]


def _text(example: Example, copy: Copy) -> list[int]:
    return [int(token_id) for token_id in example.input_ids[regions(example, copy.bundle.space).text]]


def _append(copy: Copy, examples: Sequence[Example], *, captions: bool) -> None:
    """More rows behind those of the last shard of each modality: the examples' media, under ids of their own."""
    for modality in ("audio", "image"):
        of_modality = [example for example in examples if example.modality == modality]
        if of_modality:
            _append_to(copy, shard_with(copy, modality), of_modality, captions)


def _append_to(copy: Copy, file: Path, examples: Sequence[Example], captions: bool) -> None:
    def append(rows: list[Row]) -> None:
        like = next(row for row in rows if row.modality == examples[0].modality)
        for number, example in enumerate(examples):
            text = _text(example, copy) if captions else like.text_ids
            meta = like.meta | {example.modality: example.meta} if example.meta else like.meta
            rows.append(replace(like, id=f"leaked-{number}", ids=_media(example, copy), text_ids=text, meta=meta))

    edit_rows(copy, file, append)


def _leak_one(name: str, tasks: tuple[Task, ...], *, captions: bool) -> Callable[[Copy], None]:
    return lambda copy: _append(copy, examples_of(copy, name, tasks)[-1:], captions=captions)


def _leak_all(copy: Copy) -> None:
    _append(copy, examples_of(copy, "golden"), captions=True)


def _into_the_first_row(copy: Copy) -> None:
    """In the place of a row, so that no count changes."""
    example = examples_of(copy, "golden", ("i2t", "t2i"))[0]

    def put(rows: list[Row]) -> None:
        row = next(row for row in rows if row.modality == "image" and row.ids)
        row.ids = _media(example, copy)

    edit_rows(copy, _first_with(copy, "image"), put)


def _first_with(copy: Copy, modality: Modality) -> Path:
    for file in shard_files(copy):
        if any(row.modality == modality and row.ids for row in read_rows(file)):
            return file
    raise NotApplicableError(f"the shards hold no {modality}")


def _made_of_training_rows(name: str, task: Task, modality: Modality, n: int) -> Callable[[Copy], None]:
    """The last examples of a set get the content of training rows: whoever made them drew from what was trained on."""

    def inject(copy: Copy) -> None:
        space = copy.bundle.space
        rows = [row for row in read_rows(shard_with(copy, modality)) if row.modality == modality and row.ids][-n:]

        def make(lines: list[dict[str, object]]) -> None:
            for line, row in zip(reversed([line for line in lines if line.get("task") == task]), rows, strict=False):
                ids = build_sequence(task, row.text_ids, row.ids, space).tolist()
                line.update(input_ids=ids, length=len(ids))
                line.pop("labels", None)
                if f"{modality}_meta" in line and modality in row.meta:
                    line[f"{modality}_meta"] = row.meta[modality]

        files = [f for f in example_files(copy, name) if any(each.get("task") == task for each in read_lines(f))]
        if not files or not rows:
            raise NotApplicableError(f"no {task} example in {name}, or no {modality} row in the shards")
        edit_lines(files[-1], make)

    return inject


def _in_a_train_jsonl(copy: Copy) -> None:
    """Training examples beside the dev set, or beside the golden set, hold one golden example under another task."""
    example = examples_of(copy, "golden", ("i2t",))[-1]
    space = copy.bundle.space
    ids = build_sequence("t2i", _text(example, copy), _media(example, copy), space).tolist()
    beside = copy.input("dev" if "dev" in copy.bundle.inputs else "golden").parent
    write_lines(beside / "train.jsonl", [{"id": "leaked", "task": "t2i", "input_ids": ids, "length": len(ids)}])


def _golden_for_dev(copy: Copy) -> None:
    """The dev set is a train.jsonl: whoever wrote bundle.json took the wrong file."""
    dev = copy.input("dev")
    train = dev.with_name("train.jsonl")
    write_lines(train, read_lines(dev))
    copy.point(dev=train)


def _in_a_left_over_list(copy: Copy) -> None:
    """A bundle that was not listed: the golden set itself lies among the shards' tars or Parquet files."""
    file = shard_with(copy, "image")
    example = examples_of(copy, "golden", ("t2i",))[0]
    name = file.with_name(f"more-{file.name}")
    copy_bytes = file.read_bytes()
    name.write_bytes(copy_bytes)

    def only(rows: list[Row]) -> None:
        row = next(row for row in rows if row.modality == "image")
        row.ids = _media(example, copy)

    manifest = copy.input("shards") / "manifest.json"
    said = read_json(manifest) if manifest.is_file() else None
    edit_rows(copy, name, only)
    if said is not None:
        write_json(manifest, said)


def _drop_listed(copy: Copy) -> None:
    """Drop what the gate lists, from golden and dev set."""
    shared = {match.example for match in audit_held_out(copy.bundle, silent).shared}
    for name in ("golden", "dev"):
        if name in copy.bundle.inputs:
            edit_examples(copy, name, lambda line: None if line["id"] in shared else line)


FAULTS = (
    Fault("golden-sound-in-a-shard", "A golden sound was scraped twice, under another name and with another caption.",
          GATES, "shared_content is", CONTENT, _leak_one("golden", ("t2a",), captions=False),
          artifact="shards", subtle=True, source="domain.md row 28", fix=_drop_listed),
    Fault("golden-picture-in-a-shard", "A golden picture and its caption were drawn for training as well.",
          GATES, "shared_content is", DROP, _leak_one("golden", ("i2t",), captions=True),
          artifact="shards", subtle=True, source="domain.md row 28", fix=_drop_listed),
    Fault("golden-picture-in-the-first-row", "The first row of the first shard of pictures is a golden picture.",
          GATES, "shared_content is", AGAIN, _into_the_first_row, artifact="shards", subtle=True),
    Fault("golden-set-in-the-shards", "The golden set was drawn before the split, and stayed in the training shards.",
          GATES, "shared_content is", DROP, _leak_all, artifact="shards", source="domain.md row 28"),
    Fault("dev-picture-in-a-shard", "A dev picture is in the training shards under another caption.",
          GATES, "its media are those of", CONTENT, _leak_one("dev", ("i2t", "t2i"), captions=False),
          artifact="shards", subtle=True, fix=_drop_listed),
    Fault("dev-examples-made-of-training-rows", "Half a dozen dev examples were topped up from the training shards.",
          GATES, "shared_content is 6 examples", DROP, _made_of_training_rows("dev", "i2t", "image", 6),
          artifact="dev"),
    Fault("golden-example-made-of-a-training-row", "A prompt of the golden set was written for a sound that is "
          "trained on to be read.",
          GATES, "shared_content is 1 examples", CONTENT, _made_of_training_rows("golden", "t2a", "audio", 1),
          artifact="golden", subtle=True),
    Fault("golden-example-in-train-jsonl", "One golden picture is a training example of the other direction.",
          GATES, "train.jsonl row 1 (leaked)", CONTENT, _in_a_train_jsonl, artifact="dev", subtle=True,
          fix=_drop_listed),
    Fault("dev-set-is-the-training-set", "bundle.json names the training examples as the dev set.",
          GATES, "shared_content is", DROP, _golden_for_dev, artifact="bundle.json"),
    Fault("golden-picture-in-an-unlisted-shard", "A shard that the manifest does not list was trained on, and holds a "
          "golden picture.",
          GATES, "more-", AGAIN, _in_a_left_over_list, artifact="shards", subtle=True),
)  # fmt: skip
