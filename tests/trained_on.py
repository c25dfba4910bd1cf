"""What a checkpoint was trained on, for tests to plant leaks in: shards, tars, a train.jsonl and a dev set on disk."""

import io
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.examples import Example, Task, build_sequence, read_examples, regions
from harness.files import write_jsonl
from harness.token_space import TokenSpace
from tests.tiny import CODEBOOK, IMAGE_CODES, N_CODEBOOKS, N_FRAMES, TEXT, Tiny, edit_json
from training.shards import TokenRecord, write_shards

ROWS = 12
ROWS_PER_FILE = 3  # four files a modality, so that "the last of many" means something


def random_records(space: TokenSpace, seed: int = 99) -> list[TokenRecord]:
    """Random media and captions, nine times longer than the golden ones', so that nothing is equal by chance."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(ROWS):
        audio = space.to_ids("audio", rng.integers(0, CODEBOOK, size=(N_CODEBOOKS, 9 * N_FRAMES)))
        image = space.to_ids("image", rng.integers(0, IMAGE_CODES, size=54))
        text = rng.integers(0, TEXT, size=30).astype(np.uint32)
        records.append(TokenRecord(f"train-image-{i}", "tiny", "image", f"train {i}", text, image, {}))
        records.append(TokenRecord(f"train-audio-{i}", "tiny", "audio", f"train {i}", text, audio, {}))
    return records


def write_training_data(tiny: Tiny) -> None:
    """Real shards, a dev set and a train.jsonl that share nothing with the golden set."""
    rewrite_shards(tiny, random_records(tiny.space))
    rng = np.random.default_rng(5)
    rows = [example_row(tiny.space, f"dev-{i}", "t2i", random_image(tiny.space, rng), rng) for i in range(3)]
    write_jsonl(tiny.root / "dev.jsonl", rows)
    write_jsonl(
        tiny.root / "train.jsonl",
        [example_row(tiny.space, f"train-{i}", "i2t", random_image(tiny.space, rng, 7), rng) for i in range(4)],
    )
    edit_json(tiny.ckpt / "bundle.json", dev="../../dev.jsonl")


def rewrite_shards(tiny: Tiny, records: Sequence[TokenRecord], rows_per_file: int = ROWS_PER_FILE) -> None:
    """Nothing but these records in the shards."""
    shutil.rmtree(tiny.shards)
    tiny.shards.mkdir()
    write_shards(tiny.shards, records, tiny.space, rows_per_file)


def random_image(space: TokenSpace, rng: np.random.Generator, length: int = 6) -> np.ndarray:
    """Image ids, (length,) uint32."""
    return space.to_ids("image", rng.integers(0, IMAGE_CODES, size=length))


def example_row(
    space: TokenSpace, name: str, task: Task, media: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """A line of an examples file, with a random caption."""
    ids = build_sequence(task, rng.integers(0, TEXT, size=20), media, space).tolist()
    return {"id": name, "task": task, "input_ids": ids, "length": len(ids), "token_space_sha256": space.sha256}


def golden_example(tiny: Tiny, task: Task, number: int = 3) -> Example:
    """A golden example of a task."""
    return read_examples(tiny.golden, tiny.space, [task])[number]


def content(tiny: Tiny, example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Media and caption of an example, without their tags."""
    where = regions(example, tiny.space)
    return example.input_ids[where.media].astype(np.uint32), example.input_ids[where.text].astype(np.uint32)


def put_into_shards(
    tiny: Tiny, name: str, example: Example, at: int, *, text: bool, ids: np.ndarray | None = None
) -> None:
    """Put an example's content (or other ids with its caption) into one record of the shards."""
    media, caption = content(tiny, example)
    records = random_records(tiny.space)
    modality = example.modality
    place = [i for i, record in enumerate(records) if record.modality == modality][at]
    records[place] = replace(records[place], id=name, ids=media if ids is None else ids)
    if text:
        records[place] = replace(records[place], text_ids=caption)
    rewrite_shards(tiny, records)


def write_tar(path: Path, samples: dict[str, dict[str, np.ndarray]]) -> None:
    """WebDataset samples: KEY.json and KEY.<kind>.npy, int32."""
    with tarfile.open(path, "w") as tar:
        for key, arrays in samples.items():
            members = {f"{key}.json": b'{"task": "t2i"}'}
            for kind, ids in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, ids.astype(np.int32))
                members[f"{key}.{kind}.npy"] = buffer.getvalue()
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
