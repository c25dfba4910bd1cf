"""Training rows are read whole, in order and without guessing, whatever file they are in."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.errors import HarnessError
from harness.token_space import TokenSpace
from harness.training_rows import read_rows
from tests.tiny import Tiny
from tests.trained_on import write_tar, write_training_data


def test_rows_keep_their_number_over_batches(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_training_data(tiny)
    monkeypatch.setattr("harness.training_rows.ROWS_PER_BATCH", 2)
    samples = {f"{i:06d}": {"image": np.arange(i + 1), "text_in": np.arange(3)} for i in range(5)}
    write_tar(tmp_path / "shard.tar", samples)

    for file in (tiny.shards / "audio-00000.parquet", tmp_path / "shard.tar"):
        batches = list(read_rows(file, tiny.space))
        names = [str(name) for batch in batches for name in batch.names]
        assert [batch.first for batch in batches] == list(range(1, len(names) + 1, 2))
        assert len(set(names)) == len(names)
    assert names == list(samples)


def test_a_shard_that_is_no_list_of_ids_is_refused(space: TokenSpace, tmp_path: Path) -> None:
    for column in (["text"], [[1.5]], [[-3]], [[None]], [None]):
        pq.write_table(pa.table({"ids": column}), tmp_path / "x.parquet")
        with pytest.raises(HarnessError, match="cannot be read"):
            list(read_rows(tmp_path / "x.parquet", space))


def _line(space: TokenSpace) -> str:
    """An example whose media are the first two image codes."""
    first = space.ranges_of("image")[0].start
    ids = [space.special("img_start"), first, first + 1, space.special("img_end"), space.special("gen_text")]
    return json.dumps({"id": "a", "input_ids": ids, "labels": [-100] * 5})


@pytest.mark.parametrize(
    ("shape", "n"),
    [
        ("{0}\n{0}\n{0}\n", 3), ("{0}\n{0}\n{0}", 3), ("{0}", 1), ("{0}\r\n{0}\r\n", 2), ("{0}\n\n  \n{0}\n", 2),
        ("{0}{0}\n", 2), ("\ufeff{0}\n", 1),
    ],
    ids=["lines", "no-final-newline", "one", "crlf", "blank-lines", "two-on-a-line", "byte-order-mark"],
)  # fmt: skip
@pytest.mark.parametrize("block", [2**24, 2**8], ids=["one-block", "many-blocks"])
def test_every_example_of_a_file_is_read(
    shape: str, n: int, block: int, space: TokenSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training_rows.JSON_BLOCK_BYTES", block)
    file = tmp_path / "train.jsonl"
    file.write_text(shape.replace("{0}", _line(space)), encoding="utf-8", newline="")

    batches = list(read_rows(file, space))

    assert [str(name) for batch in batches for name in batch.names] == ["a"] * n
    spans = [
        batch.media.values[a:b] for batch in batches for a, b in zip(batch.media.starts, batch.media.ends, strict=True)
    ]
    first = space.ranges_of("image")[0].start
    assert [span.tolist() for span in spans] == [[first, first + 1]] * n


@pytest.mark.parametrize(
    "line",
    ['{"input_ids": null}', '{"input_ids": [1.5]}', '{"input_ids": [true]}', '{"input_ids": [4294967296]}',
     '{"input_ids": [1], "input_ids": [2]}', '{"input_ids": [1', "[1]"],
    ids=["null", "fraction", "boolean", "wider-than-32-bits", "key-twice", "cut-off", "no-object"],
)  # fmt: skip
def test_an_example_that_is_none_is_refused(line: str, space: TokenSpace, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(f"{_line(space)}\n{line}\n")

    with pytest.raises(HarnessError, match=r"train.jsonl: found a file that cannot be read \("):
        list(read_rows(tmp_path / "train.jsonl", space))
