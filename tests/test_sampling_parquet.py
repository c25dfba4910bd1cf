"""Sampling Stage 2 shards: the rows as they were, in a folder that passes for shards again."""

import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.errors import HarnessError, TokenSpaceError
from harness.stage2_audit import audit_shards
from harness.token_space import TokenSpace
from tests.tiny import Tiny
from training.sampling import InProportion, Preset, SamplePlan, Uniform, sample_examples
from training.shards import read_shards


@pytest.fixture
def shards(tiny: Tiny) -> Path:
    """Shards of the tiny bundle."""
    return tiny.shards


def _rows(folder: Path) -> dict[str, dict[str, object]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def _half(shards: Path) -> int:
    return len(_rows(shards)) // 2


def test_a_sample_is_a_folder_of_shards(shards: Path, space: TokenSpace, tmp_path: Path) -> None:
    out, n = tmp_path / "small", _half(shards)

    report = sample_examples(shards, out, SamplePlan(InProportion(n)))

    found, there = _rows(out), _rows(shards)
    assert len(found) == n == report.taken == len(list(read_shards(out)))
    assert all(there[name] == row for name, row in found.items())
    audit = audit_shards(out, space)
    assert (audit.rows, audit.problems, dict(audit.offending)) == (n, [], {})
    taken = Counter(row["source"] for row in found.values())
    assert {count.source: count.taken for count in report.sources if count.taken} == taken


def test_the_same_seed_gives_the_same_shards(shards: Path, tmp_path: Path) -> None:
    contents = []
    for name, seed in (("first", 1), ("second", 1), ("other", 2)):
        sample_examples(shards, tmp_path / name, SamplePlan(Uniform(_half(shards)), seed))
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})

    assert contents[0] == contents[1] != contents[2]


def test_one_shard_is_sampled_with_the_token_space_beside_it(shards: Path, tmp_path: Path) -> None:
    shard = min(shards.glob("*.parquet"))

    sample_examples(shard, tmp_path / "small", SamplePlan(Uniform(2)))

    assert {record.id for record in read_shards(tmp_path / "small")} < {
        row["id"] for row in pq.read_table(shard).to_pylist()
    }


def test_a_rows_length_is_that_of_its_example(shards: Path, tmp_path: Path) -> None:
    lengths = sorted(len(row["ids"]) + len(row["text_ids"]) + 5 for row in _rows(shards).values())  # type: ignore[arg-type]
    limit = lengths[len(lengths) // 2]
    n_short = sum(length <= limit for length in lengths)
    n = n_short - int(Fraction(1, 4) * n_short)

    report = sample_examples(shards, tmp_path / "small", SamplePlan(Uniform(n), 0, limit, Fraction(1, 4)))

    assert (report.left_out.too_long, report.left_out.longest) == (len(lengths) - n_short, n_short - n)
    assert (report.tokens, report.longest) == (sum(lengths[:n]), lengths[n - 1])


def test_a_short_source_writes_no_folder(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="found rows: 0 of nowhere; expected 3 of nowhere"):
        sample_examples(shards, tmp_path / "small", SamplePlan(Preset("x", {"nowhere": 3})))

    assert not list(tmp_path.glob("*small*"))


def test_a_folder_that_holds_something_is_left_alone(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")

    for place in (out, shards, shards / "small", out / "notes.txt"):
        with pytest.raises(HarnessError, match="Choose another name"):
            sample_examples(shards, place, SamplePlan(Uniform(1)))
    assert (out / "notes.txt").read_text() == "mine"
    assert not (shards / "small").exists()


def test_a_damaged_shard_is_refused(shards: Path, tmp_path: Path) -> None:
    shard = min(shards.glob("*.parquet"))
    content = shard.read_bytes()
    shard.write_bytes(content[:4] + bytes(64) + content[68:])

    with pytest.raises(HarnessError, match="manifest"):
        sample_examples(shards, tmp_path / "small", SamplePlan(Uniform(1)))
    assert not (tmp_path / "small").exists()


def test_a_shard_of_another_token_space_is_refused(shards: Path, tmp_path: Path) -> None:
    shard = min(shards.glob("*.parquet"))
    table = pq.read_table(shard)
    pq.write_table(table.replace_schema_metadata({b"token_space_sha256": b"0" * 64}), shard)

    with pytest.raises(TokenSpaceError, match="token_space_sha256 0000"):
        sample_examples(shard, tmp_path / "small", SamplePlan(Uniform(1)))


def test_shards_of_different_columns_are_refused(shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    shard = max(folder.glob("*.parquet"))
    table = pq.read_table(shard)
    pq.write_table(table.append_column("more", pa.array([1] * len(table))), shard)

    with pytest.raises(HarnessError, match=r"another content|other columns"):
        sample_examples(folder, tmp_path / "small", SamplePlan(Uniform(1)))


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no shard in it"):
        sample_examples(tmp_path, tmp_path.parent / "small", SamplePlan(Uniform(1)))
