"""Golden examples that cannot be compared with what was trained on are never taken for held out."""

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.files import write_jsonl
from tests.gating import findings, run_gate
from tests.tiny import Tiny
from tests.trained_on import write_tar, write_training_data


@pytest.fixture
def bundle(tiny: Tiny) -> Tiny:
    """A tiny bundle whose training data share nothing with its golden set."""
    write_training_data(tiny)
    return tiny


def _no_shards(tiny: Tiny) -> str:
    shutil.rmtree(tiny.shards)
    return "found nothing; expected the bundle's shards"


def _empty_folder(tiny: Tiny) -> str:
    shutil.rmtree(tiny.shards)
    tiny.shards.mkdir()
    return "no Parquet file and no tar; expected the Stage 2 shards"


def _shards_without_a_row(tiny: Tiny) -> str:
    for file in tiny.shards.glob("*.parquet"):
        pq.write_table(pq.read_table(file).slice(0, 0), file)
    (tiny.root / "train.jsonl").unlink()
    return "0 rows, none with media"


def _shards_without_media(tiny: Tiny) -> str:
    shutil.rmtree(tiny.shards)
    tiny.shards.mkdir()
    write_tar(tiny.shards / "shard-000000.tar", {"0": {"picture": np.arange(6)}})
    (tiny.root / "train.jsonl").unlink()
    return "1 rows, none with media"


def _truncated_shard(tiny: Tiny) -> str:
    file = tiny.shards / "audio-00002.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    return "audio-00002.parquet: found a file that cannot be read"


def _listed_shard_missing(tiny: Tiny) -> str:
    (tiny.shards / "audio-00002.parquet").unlink()
    return "audio-00002.parquet: found nothing; expected a shard that manifest.json lists"


def _other_columns(tiny: Tiny) -> str:
    pq.write_table(pa.table({"id": ["a"], "tokens": [[1]]}), tiny.shards / "audio-00002.parquet")
    return "audio-00002.parquet: found the columns ['id', 'tokens']; expected a column ids"


def _pickled_npy(tiny: Tiny) -> str:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with tarfile.open(tiny.shards / "shard-000000.tar", "w") as tar:
        info = tarfile.TarInfo("0.audio.npy")
        info.size = len(buffer.getvalue())
        tar.addfile(info, io.BytesIO(buffer.getvalue()))
    return "shard-000000.tar: 0.audio.npy: found object of shape (1,)"


def _truncated_tar(tiny: Tiny) -> str:
    file = tiny.shards / "shard-000000.tar"
    write_tar(file, {"0": {"audio": np.arange(5000)}})
    file.write_bytes(file.read_bytes()[:4000])
    return "shard-000000.tar: found a damaged tar"


def _tar_cut_between_samples(tiny: Tiny) -> str:
    file = tiny.shards / "shard-000000.tar"
    write_tar(file, {str(i): {"audio": np.arange(8)} for i in range(3)})
    file.write_bytes(file.read_bytes()[: 4 * 512])  # a JSON and an npy, each a header and a block
    return "shard-000000.tar: found no end of the archive"


def _compressed_tar(tiny: Tiny) -> str:
    write_tar(tiny.root / "x.tar", {"0": {"audio": np.arange(8)}})
    (tiny.shards / "shard-000000.tar.gz").write_bytes(gzip.compress((tiny.root / "x.tar").read_bytes()))
    return "shard-000000.tar.gz: found a damaged tar"


def _beyond_uint32_in_tar(tiny: Tiny) -> str:
    write_tar(tiny.shards / "shard-000000.tar", {"0": {"audio": np.array([5, -7])}})
    return "shard-000000.tar: found a file that cannot be read (ids from -7 to 5)"


def _other_train_jsonl(tiny: Tiny) -> str:
    write_jsonl(tiny.root / "train.jsonl", [{"messages": []}])
    return "train.jsonl: found a file that cannot be read (a row without ids, or an id that is null)"


def _train_jsonl_without_json(tiny: Tiny) -> str:
    (tiny.root / "train.jsonl").write_text("id,input_ids\n")
    return "train.jsonl: found a file that cannot be read (JSON parse error"


def _negative_id(tiny: Tiny) -> str:
    write_jsonl(tiny.root / "train.jsonl", [{"id": "x", "input_ids": [-1, 5]}])
    return "train.jsonl: found a file that cannot be read"


def _no_golden_example(tiny: Tiny) -> str:
    for file in tiny.golden.glob("*.jsonl"):
        file.write_text("")
    return "no example; expected at least one golden example"


Broken = Callable[[Tiny], str]
NOT_RUN: list[Broken] = [_no_shards, _empty_folder, _shards_without_a_row, _shards_without_media]
ERRORS: list[Broken] = [
    _truncated_shard, _listed_shard_missing, _other_columns, _pickled_npy, _truncated_tar,
    _tar_cut_between_samples, _compressed_tar, _beyond_uint32_in_tar, _other_train_jsonl,
    _train_jsonl_without_json, _negative_id, _no_golden_example,
]  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "outcome"),
    [*((broken, "not_run") for broken in NOT_RUN), *((broken, "error") for broken in ERRORS)],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_what_cannot_be_compared_is_no_pass(
    broken: Broken, outcome: str, bundle: Tiny, pytester: pytest.Pytester
) -> None:
    reason = broken(bundle)

    gate = run_gate(pytester, "P0.6", bundle.ckpt)

    assert gate["outcome"] == outcome, gate
    assert reason in findings(gate)
