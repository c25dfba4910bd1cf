"""`gates sample`: what it prints and how it ends."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gates.cli import app

runner = CliRunner()


@pytest.fixture
def train(tmp_path: Path) -> Path:
    """Tier A's sources, 800 rows each, and a few of another one."""
    sources = ["wavcaps_audioset", "audiocaps", "clotho", "llava_pretrain"] * 800 + ["else\x1b[31m"] * 7
    path = tmp_path / "train.jsonl"
    rows = [json.dumps({"source": source, "length": number}) for number, source in enumerate(sources)]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_tier_is_written_and_told_by_source(train: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.jsonl"

    result = runner.invoke(app, ["sample", str(train), str(out), "--tier", "a"])

    assert result.exit_code == 0, result.output
    assert Counter(json.loads(line)["source"] for line in out.read_text().splitlines())["clotho"] == 156
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["wavcaps_audioset", "800", "791", "38.62%"] in lines
    assert ["in", "all", "3,200", "2,048", "100.00%"] in lines
    assert "ignored: 7 rows of sources that the preset does not name: else\\x1b[31m 7" in result.stdout
    assert "written: 2,048 rows, seed 123" in result.stdout
    assert "\x1b" not in result.stdout


def test_progress_is_told_where_there_is_no_terminal(train: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["sample", str(train), str(tmp_path / "o.jsonl"), "--size", "5"])

    assert "read train.jsonl" in result.stderr


def test_lengths_and_skipped_lines_are_told(train: Path, tmp_path: Path) -> None:
    with train.open("a") as file:
        file.write("no JSON\n\n")
    options = ["--size", "50", "--uniform", "--max-tokens", "1999", "--drop-longest", "1.5%", "--skip-bad"]

    result = runner.invoke(app, ["sample", str(train), str(tmp_path / "small.jsonl.gz"), *options])

    assert result.exit_code == 0, result.output
    assert "left out: 1,207 rows of more than 1999 tokens" in result.stdout
    assert "left out: the 30 longest rows; the longest left has 1969 tokens" in result.stdout
    assert "skipped: 1 malformed lines, the first at line 3208: " in result.stdout
    assert "skipped: 1 blank lines" in result.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tier", "B"], "found rows: 800 of wavcaps_audioset, 800 of audiocaps"),
        (["--size", "9999"], "found 3207 rows; expected 9999"),
        ([], "give either --tier or --size"),
        (["--tier", "A", "--size", "5"], "give either --tier or --size"),
        (["--tier", "A", "--uniform"], "--uniform with --size only"),
        (["--size", "5", "--drop-longest", "1"], "like 1%"),
        (["--size", "5", "--drop-longest", "100%"], "like 1%"),
        (["--size", "5", "--drop-longest", "nan%"], "like 1%"),
        (["--tier", "D"], "Invalid value"),
        (["--size", "0"], "Invalid value"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(train: Path, tmp_path: Path, options: list[str], expected: str) -> None:
    result = runner.invoke(app, ["sample", str(train), str(tmp_path / "small.jsonl"), *options])

    assert result.exit_code == 4
    assert expected in result.stderr
    assert not (tmp_path / "small.jsonl").exists()


def test_a_malformed_line_is_named(train: Path, tmp_path: Path) -> None:
    with train.open("a") as file:
        file.write("no JSON\n")

    result = runner.invoke(app, ["sample", str(train), str(tmp_path / "small.jsonl"), "--tier", "A"])

    assert result.exit_code == 4
    assert "train.jsonl:3208: found a malformed line" in result.stderr


def test_a_source_for_every_row_does_not_fill_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"source": f"s{n}"}) + "\n" for n in range(100)))

    result = runner.invoke(app, ["sample", str(path), str(tmp_path / "small.jsonl"), "--size", "10"])

    assert "60 more sources" in result.stdout
    assert len(result.stdout.splitlines()) < 50
