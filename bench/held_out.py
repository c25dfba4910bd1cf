"""How fast, and in how much memory, held-out examples are compared with training shards.

    python -m bench.held_out --rows 1000000     # writes shards into a temporary folder, compares them, prints figures

Rows are pictures of 32 ids and clips of 400 in turn, each with a caption of 12. Two rows in 100,000 repeat a held-out
medium, and all of these must be found. Memory does not depend on --rows: nothing of a row is kept.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from harness.bundle import Bundle
from harness.examples import build_sequence
from harness.files import write_jsonl
from harness.held_out import audit_held_out
from harness.progress import silent
from harness.token_space import ROLES, TokenSpace, parse_token_space

TEXT, SPECIAL, IMAGE, CODEBOOK = 151_669, 64, 8_192, 1_024  # the field's sizes
PICTURE, CLIP, CAPTION = 32, 400, 12  # ids
HELD_OUT, REPEATED_EVERY = 512, 100_000  # examples, rows
ROWS_AT_ONCE = 10_000


def main() -> None:
    """Write, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="training rows (default: 1000000)")
    parser.add_argument("--rows-per-file", type=int, default=250_000, help="rows in a Parquet file (default: 250000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # In a process of its own, so that the memory it takes is not counted.
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(root, args.rows, args.rows_per_file))
        writer.start()
        writer.join()
        _compare(root, args.rows)


def _compare(root: Path, n_rows: int) -> None:
    inputs = {"golden": root / "golden.jsonl", "shards": root / "shards"}
    bundle = Bundle(path=root, form="rows", step=None, decoding="free", space=_space(), inputs=inputs)
    size_mb = sum(path.stat().st_size for path in inputs["shards"].iterdir()) / 2**20
    before, start = _peak_mb(), time.monotonic()
    audit = audit_held_out(bundle, silent)
    seconds = time.monotonic() - start
    planted = int((np.arange(n_rows) % REPEATED_EVERY < 2).sum())
    assert audit.training_rows == n_rows, audit.training_rows
    assert sum(match.rows for match in audit.shared) == planted, audit.shared
    ids = n_rows * (PICTURE + CLIP) / 2
    print(
        f"{n_rows:,} rows in {seconds:.1f} s: {n_rows / seconds:,.0f} rows/s, {ids / seconds / 1e6:.0f} M media ids/s, "
        f"{size_mb / seconds:.0f} MB/s of Parquet; peak {_peak_mb():.0f} MB, {before:.0f} MB of it before; "
        f"{planted} planted, all found"
    )


def _write(root: Path, n_rows: int, rows_per_file: int) -> None:
    space, rng = _space(), np.random.default_rng(0)
    held_out = [_ids(CLIP if i % 2 else PICTURE, space, rng) for i in range(HELD_OUT)]
    rows = [
        {"id": f"golden-{i}", "task": "t2i", "input_ids": build_sequence("t2i", [1, i], media, space).tolist()}
        for i, media in enumerate(held_out)
    ]
    write_jsonl(root / "golden.jsonl", rows)
    (root / "shards").mkdir()
    with tqdm(total=n_rows, desc="writing shards", unit="row") as bar:
        for number, first in enumerate(range(0, n_rows, rows_per_file)):
            with pq.ParquetWriter(root / "shards" / f"part-{number:05d}.parquet", _SCHEMA) as file:
                for start in range(first, min(n_rows, first + rows_per_file), ROWS_AT_ONCE):
                    n = min(ROWS_AT_ONCE, n_rows - start, first + rows_per_file - start)
                    file.write_batch(_batch(start, n, held_out, space, rng))
                    bar.update(n)


_SCHEMA = pa.schema([("id", pa.string()), ("text_ids", pa.list_(pa.uint32())), ("ids", pa.list_(pa.uint32()))])


def _batch(
    start: int, n: int, held_out: list[np.ndarray], space: TokenSpace, rng: np.random.Generator
) -> pa.RecordBatch:
    numbers = np.arange(start, start + n)
    lengths = np.where(numbers % 2 == 0, PICTURE, CLIP)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = _ids(int(offsets[-1]), space, rng)
    for row in np.flatnonzero(numbers % REPEATED_EVERY < 2):
        ids[offsets[row] : offsets[row + 1]] = held_out[numbers[row] % HELD_OUT]
    text = rng.integers(0, TEXT, size=n * CAPTION).astype(np.uint32)
    captions = pa.ListArray.from_arrays(np.arange(0, n * CAPTION + 1, CAPTION, dtype=np.int32), text)
    media = pa.ListArray.from_arrays(offsets, ids)
    return pa.RecordBatch.from_arrays([pa.array(numbers.astype(str)), captions, media], schema=_SCHEMA)


def _ids(n: int, space: TokenSpace, rng: np.random.Generator) -> np.ndarray:
    # Clips in image ids too: content is compared, whatever the ids mean.
    return (rng.integers(0, IMAGE, size=n) + space.ranges_of("image")[0].start).astype(np.uint32)


def _space() -> TokenSpace:
    sizes = {"TEXT": TEXT, "SPECIAL": SPECIAL, "IMAGE": IMAGE, **{f"AUDIO_CB{k}": CODEBOOK for k in range(4)}}
    ends = np.cumsum(list(sizes.values())).tolist()
    return parse_token_space({
        "version": "uti_v1",
        "text_vocab_size": TEXT,
        "special_tokens": {f"<|{role}|>": TEXT + i for i, role in enumerate(ROLES)},
        "ranges": {
            name: {"start": end - size, "end": end - 1, "size": size}
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        },
        "vocab_size_total": ends[-1],
    })  # fmt: skip


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


if __name__ == "__main__":
    main()
