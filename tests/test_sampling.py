"""Sampling a file of examples: the right number of each source, lines as they stand, all or nothing."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from harness.errors import ExampleError, HarnessError
from training.sampling import PRESETS, InProportion, Preset, SamplePlan, Uniform, sample_examples, streams, worker

ROOT = Path(__file__).parents[1]
FEW = Preset("few", {"a": 3, "b": 2})


def _line(number: int, source: str, length: int | None = None, **more: Any) -> bytes:
    """A line with its source somewhere among keys that might be taken for it."""
    row: dict[str, Any] = {"id": f"row-{number}", "text_meta": {"source": "b", "length": 1}, "text": '"source": "b"'}
    return json.dumps(row | {"source": source, "length": length or number + 1} | more).encode()


@pytest.fixture
def lines() -> list[bytes]:
    """20 rows of source a, 10 of b, 5 of c, one after another."""
    return [_line(number, source) for number, source in enumerate("a" * 20 + "b" * 10 + "c" * 5)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of lines."""

    def written(lines: list[bytes], name: str = "train.jsonl", end: bytes = b"\n") -> Path:
        path = tmp_path / name
        content = b"".join(line + end for line in lines)
        if name.endswith(".gz"):
            content = gzip.compress(content)
        elif name.endswith(".zst"):
            content = pa.compress(content, "zstd", asbytes=True)
        path.write_bytes(content)
        return path

    return written


def _sources(lines: list[bytes]) -> Counter[str]:
    return Counter(json.loads(line)["source"] for line in lines)


# ---------------------------------------------------------------------- presets and sizes


def test_presets_are_the_specs() -> None:
    expected = {"A": (2_048, 791, 311, 156, 790), "B": (8_192, 3_162, 1_245, 623, 3_162)}
    expected["C"] = (51_200, 19_766, 7_782, 3_892, 19_760)

    for name, (size, *targets) in expected.items():
        assert PRESETS[name].size == size
        sources = ("wavcaps_audioset", "audiocaps", "clotho", "llava_pretrain")
        assert dict(PRESETS[name].targets) == dict(zip(sources, targets, strict=True))


def test_tier_a_of_a_file_is_its_rows_exactly(write: Callable[..., Path], tmp_path: Path) -> None:
    rows = [(source, n) for source, n in PRESETS["A"].targets.items() for n in range(n + 100)]
    path = write([_line(number, source) for number, (source, _) in enumerate(rows)])

    report = sample_examples(path, tmp_path / "a.jsonl", SamplePlan(PRESETS["A"]))

    assert _sources((tmp_path / "a.jsonl").read_bytes().splitlines()) == PRESETS["A"].targets
    assert report.taken == 2_048


def test_other_sources_are_ignored_and_counted(lines: list[bytes], write: Callable[..., Path], tmp_path: Path) -> None:
    report = sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(FEW))

    assert [(c.source, c.in_file, c.taken) for c in report.sources] == [("a", 20, 3), ("b", 10, 2)]
    assert [(c.source, c.in_file, c.taken) for c in report.ignored] == [("c", 5, 0)]


def test_any_other_size_has_the_files_own_proportions(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path
) -> None:
    sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(InProportion(8)))

    # Quotas 4.57, 2.29 and 1.14: one row more goes to the largest remainder.
    assert _sources((tmp_path / "out.jsonl").read_bytes().splitlines()) == {"a": 5, "b": 2, "c": 1}


def test_uniform_takes_rows_without_a_source_too(write: Callable[..., Path], tmp_path: Path) -> None:
    lines = [b'{"length": 4}', b'{"source": null}', _line(0, "a")]

    report = sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(Uniform(3)))

    assert sorted((tmp_path / "out.jsonl").read_bytes().splitlines()) == sorted(lines)
    assert [(c.source, c.taken) for c in report.sources] == [(None, 2), ("a", 1)]
    assert report.tokens is None  # of one row it is not known


# ---------------------------------------------------------------------- lines as they stand


@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz", "train.jsonl.zst"])
@pytest.mark.parametrize("out", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
def test_lines_are_kept_byte_for_byte(write: Callable[..., Path], tmp_path: Path, name: str, out: str) -> None:
    odd = [
        b'{"source":"a","x":1.0e5,"y":"\\u00e9 \xc3\xa9 \xe2\x80\xa8","length":3}',
        b'  {"x": [1 , 2], "source" : "a"}  \r',
        b'{"x": NaN, "so\\u0075rce": "a"}',
        '{"source": "a", "text": "😀 \\ud83d\\ude00 \\ud800"}'.encode(),
    ]
    path = write(odd, name)

    sample_examples(path, tmp_path / out, SamplePlan(InProportion(4)))

    content = (tmp_path / out).read_bytes()
    if out.endswith(".gz"):
        content = gzip.decompress(content)
    elif out.endswith(".zst"):
        content = pa.input_stream(str(tmp_path / out)).read()
    assert sorted(content.split(b"\n")) == sorted([*odd, b""])


def test_a_last_line_without_a_line_feed_gets_one(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write([_line(0, "a"), _line(1, "a")])
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))

    sample_examples(path, tmp_path / "out.jsonl", SamplePlan(Uniform(2)))

    assert sorted((tmp_path / "out.jsonl").read_bytes().splitlines(keepends=True)) == [
        _line(0, "a") + b"\n", _line(1, "a") + b"\n"]  # fmt: skip


def test_compressed_files_of_several_members_are_read_whole(write: Callable[..., Path], tmp_path: Path) -> None:
    for suffix in (".gz", ".zst"):
        path = write([_line(0, "a")], f"train.jsonl{suffix}")
        path.write_bytes(path.read_bytes() * 2)

        assert sample_examples(path, tmp_path / "out.jsonl", SamplePlan(Uniform(2))).taken == 2


def test_blank_lines_are_skipped(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write([b"", _line(0, "a"), b" \t\r", _line(1, "a"), b""])

    report = sample_examples(path, tmp_path / "out.jsonl", SamplePlan(InProportion(2)))

    assert (report.taken, report.blank) == (2, 3)


# ---------------------------------------------------------------------- the same bytes again


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_the_same_seed_gives_the_same_bytes(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    path = write(lines, f"train.jsonl{suffix}")
    outs = [tmp_path / f"{name}.jsonl{suffix}" for name in ("first", "second", "other")]
    for out, seed in zip(outs, (5, 5, 6), strict=True):
        sample_examples(path, out, SamplePlan(InProportion(20), seed))

    first, second, other = (out.read_bytes() for out in outs)
    assert first == second != other


def test_the_rows_of_a_seed_never_change(lines: list[bytes], write: Callable[..., Path], tmp_path: Path) -> None:
    """Fixed rows: another version or machine that drew others would break what users have written down."""
    sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(FEW, seed=123))

    ids = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert ids == ["row-4", "row-1", "row-25", "row-3", "row-21"]


def test_a_compressed_file_gives_the_rows_of_the_plain_one(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path
) -> None:
    contents = set()
    for suffix in ("", ".gz", ".zst"):
        sample_examples(write(lines, f"train.jsonl{suffix}"), tmp_path / "out.jsonl", SamplePlan(FEW))
        contents.add((tmp_path / "out.jsonl").read_bytes())

    assert len(contents) == 1


@pytest.mark.parametrize("range_bytes", [1, 7, 130, 1_000])
def test_ranges_read_by_processes_give_the_same_as_one_pass(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, range_bytes: int
) -> None:
    path = write([*lines, b"", _line(99, "é\ud800")][: 12 if range_bytes < 100 else None])
    plan = SamplePlan(InProportion(10), max_tokens=30)
    alone = sample_examples(path, tmp_path / "alone.jsonl", plan)
    _small_ranges(monkeypatch, range_bytes)

    together = sample_examples(path, tmp_path / "together.jsonl", plan)

    assert (tmp_path / "together.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert (together.sources, together.left_out, together.blank) == (alone.sources, alone.left_out, alone.blank)


def _small_ranges(monkeypatch: pytest.MonkeyPatch, range_bytes: int) -> None:
    for module in (streams, worker):
        monkeypatch.setattr(module, "RANGE_BYTES", range_bytes)


# ---------------------------------------------------------------------- lengths


def test_max_tokens_leaves_out_longer_rows(lines: list[bytes], write: Callable[..., Path], tmp_path: Path) -> None:
    report = sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(Uniform(25), max_tokens=25))

    assert (report.left_out.too_long, report.left_out.longest_kept, report.longest) == (10, 25, 25)
    assert report.tokens == sum(range(1, 26))


def test_the_longest_share_of_what_is_left_is_left_out(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path
) -> None:
    plan = SamplePlan(Uniform(23), max_tokens=25, drop_longest=Fraction(10, 100))  # 2.5 of 25 rows: 2

    report = sample_examples(write(lines), tmp_path / "out.jsonl", plan)

    assert (report.left_out.too_long, report.left_out.longest, report.longest) == (10, 2, 23)


def test_a_row_without_length_has_that_of_its_ids(write: Callable[..., Path], tmp_path: Path) -> None:
    lines = [
        json.dumps({"source": "a", "input_ids": list(range(n)), "length": length}).encode()
        for n, length in ((5, None), (6, "6"), (7, True), (2, 9))
    ]

    report = sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(Uniform(2), max_tokens=6))

    assert (report.left_out.too_long, report.tokens, report.longest) == (2, 11, 6)


def test_a_row_of_unknown_length_cannot_be_held_against_a_limit(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write([_line(0, "a"), b'{"source": "a"}'])

    with pytest.raises(ExampleError, match=r"train.jsonl:2: found a malformed line \(neither length nor input_ids"):
        sample_examples(path, tmp_path / "out.jsonl", SamplePlan(Uniform(1), max_tokens=6))


# ---------------------------------------------------------------------- nothing written


@pytest.mark.parametrize("there", [True, False], ids=["over-a-file", "new"])
@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz", "train.jsonl.zst"])
def test_a_short_source_is_named_and_nothing_is_written(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path, name: str, there: bool
) -> None:
    out = tmp_path / "out" / "small.jsonl"
    if there:
        out.parent.mkdir()
        out.write_text("earlier")
    wanted = Preset("much", {"a": 20, "b": 11, "d": 1})

    with pytest.raises(HarnessError, match=r"found rows: 10 of b, 0 of d; expected 11 of b, 1 of d"):
        sample_examples(write(lines, name), out, SamplePlan(wanted))

    assert (out.read_text() == "earlier" and len(list(out.parent.iterdir())) == 1) if there else not out.parent.exists()


def test_a_file_with_fewer_rows_than_asked_for_is_an_error(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path
) -> None:
    for shares in (InProportion(36), Uniform(36)):
        with pytest.raises(HarnessError, match=r"found 35 rows; expected 36"):
            sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(shares))
    with pytest.raises(HarnessError, match=r"found 10 rows, after leaving out by length; expected 36"):
        sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(Uniform(36), max_tokens=10))


BAD = [
    b'{"source": "a"',
    b'\xef\xbb\xbf{"source": "a"}',
    b'{"source": "a", "text": "\xff"}',
    b'{"source": "a"} x',
    b'["source", "a"]',
    b'"source"',
    b'{"source": 3}',
    b'{"source": ["a"]}',
    b'{"source": "a", "text": "\t"}',
    b'{"source": "a", "text": "\\q"}',
    b'{"source": "a", "x": 01}',
    b'{"source": "a", "x": [1,]}',
    b"\0\0\0",
    b'{"source": "a", "x": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("ranges", [False, True], ids=["one-pass", "ranges"])
def test_a_malformed_line_is_named_by_its_number(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, ranges: bool
) -> None:
    path = write([_line(0, "a"), b"", _line(1, "a"), bad, _line(2, "a"), bad])
    out = tmp_path / "out.jsonl"
    if ranges:
        _small_ranges(monkeypatch, 150)

    with pytest.raises(ExampleError, match=r"train.jsonl:4: found a malformed line .*--skip-bad"):
        sample_examples(path, out, SamplePlan(Uniform(3)))
    assert not out.exists()

    report = sample_examples(path, out, SamplePlan(Uniform(3), skip_bad=True))
    assert (report.taken, report.bad, report.blank) == (3, 2, 1)
    assert report.first_bad is not None
    assert report.first_bad.startswith("line 4: ")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_file_that_is_cut_off_is_refused(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    path = write(lines, f"train.jsonl{suffix}")
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(HarnessError, match="cannot be read"):
        sample_examples(path, tmp_path / "out.jsonl", SamplePlan(Uniform(1), skip_bad=True))
    assert not (tmp_path / "out.jsonl").exists()


def test_the_input_is_never_written_to(lines: list[bytes], write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(lines)
    (tmp_path / "link.jsonl").symlink_to(path)
    (tmp_path / "twin.jsonl").hardlink_to(path)

    for out in (path, tmp_path / "link.jsonl", tmp_path / "twin.jsonl"):
        with pytest.raises(HarnessError, match="the file that is sampled"):
            sample_examples(path, out, SamplePlan(Uniform(1)))
    assert path.read_bytes() == b"".join(line + b"\n" for line in lines)


def test_a_file_that_changes_while_it_is_read_is_refused(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(lines)
    stream = streams.Stream(path)
    with path.open("ab") as file:
        file.write(b"{}\n")

    with pytest.raises(HarnessError, match="a file at rest"):
        list(stream.lines_at([0], [3]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train.json", "a name that ends with .jsonl, .jsonl.gz, .jsonl.zst"), ("no.jsonl", "a file of examples")],
)
def test_what_is_no_file_of_examples_is_refused(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(HarnessError, match=expected):
        sample_examples(tmp_path / name, tmp_path / "out.jsonl", SamplePlan(Uniform(1)))


def test_an_output_that_is_no_file_of_examples_is_refused_before_reading(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("out.parquet", "out", "folder.jsonl"):
        with pytest.raises(HarnessError):
            sample_examples(write([b"malformed"]), tmp_path / name, SamplePlan(Uniform(1)))


def test_a_line_without_end_does_not_fill_the_memory(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.sampling.scan.MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr("training.sampling.scan.BLOCK_BYTES", 100)

    with pytest.raises(HarnessError, match="a line of 1000 bytes or more"):
        sample_examples(write([b" " * 2_000]), tmp_path / "out.jsonl", SamplePlan(Uniform(1)))


def test_a_process_that_is_killed_is_told(
    lines: list[bytes], write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_ranges(monkeypatch, 1_000)
    monkeypatch.setattr(worker.sys, "executable", "false")

    with pytest.raises(HarnessError, match="a reading process that ended with code"):
        sample_examples(write(lines), tmp_path / "out.jsonl", SamplePlan(Uniform(1)))


def test_sampling_imports_no_torch() -> None:
    code = "import sys, training.sampling, training.sampling.parquet; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, env=os.environ).returncode == 0
