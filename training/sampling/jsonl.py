"""Sampling a file of examples: one pass that keeps where each line is, then the chosen lines as they stand."""

import contextlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import ExampleError, HarnessError
from training.sampling.choice import Choice, Rows, choose
from training.sampling.fields import count_ids
from training.sampling.plan import SamplePlan, SampleReport
from training.sampling.scan import Part
from training.sampling.streams import Stream, compression_of, line_writer
from training.steps import progress

_MB = 10**6


@dataclass(frozen=True)
class Index:
    """A file's lines that hold an example.

    Attributes:
        rows: source and length of each.
        starts: (R,) int64, the offset of its first byte, in a compressed file that of the unpacked bytes.
        sizes: (R,) int64, bytes without the line feed.
        blank, bad, first_bad: as `SampleReport` has them.
    """

    rows: Rows
    starts: np.ndarray
    sizes: np.ndarray
    blank: int
    bad: int
    first_bad: str | None


def sample_lines(source: Path, out: Path, plan: SamplePlan) -> SampleReport:
    """Write a sample of a JSONL file as another one.

    Raises:
        HarnessError: the file is not whole, a line is malformed, a source has too few rows, or `out` is `source`.
            Nothing is written then.
    """
    stream = Stream(source)
    compression_of(out)
    if out.exists() and out.samefile(source):
        raise HarnessError(out, "the file that is sampled", "another one to write to", "Choose another name.")
    if out.is_dir():
        raise HarnessError(out, "a folder", "a file to write to", "Name the file.")
    index = _index(stream, plan)
    choice = choose(index.rows, plan, source)
    lengths = array("q")
    with line_writer(out) as file:
        known = index.rows.length[choice.rows].tolist()
        places = (column[choice.rows].tolist() for column in (index.starts, index.sizes))
        for line, length in zip(stream.lines_at(*places), known, strict=True):
            file.write(line + b"\n")
            lengths.append(length if length >= 0 else count_ids(line))
    return _report(out, index, choice, lengths)


def _report(out: Path, index: Index, choice: Choice, lengths: "array[int]") -> SampleReport:
    known = min(lengths) >= 0
    return SampleReport(
        out=out,
        sources=choice.sources,
        ignored=choice.ignored,
        left_out=choice.left_out,
        blank=index.blank,
        bad=index.bad,
        first_bad=index.first_bad,
        tokens=sum(lengths) if known else None,
        longest=max(lengths) if known else None,
    )


# ---------------------------------------------------------------------- the pass


def _index(stream: Stream, plan: SamplePlan) -> Index:
    parts: list[Part] = []
    with _megabytes(stream) as moved:
        for part in stream.scan(plan, moved):
            parts.append(part)
            if part.bad and not plan.skip_bad:
                fix = "Repair the line, or leave out such lines with --skip-bad."
                number, why = _first_bad(parts)
                raise ExampleError(f"{stream.path}:{number}", f"a malformed line ({why})", "an example's JSON", fix)
    rows = Rows(*_sources(parts), _column(parts, "length"))
    bad = sum(part.bad for part in parts)
    first = "line {}: {}".format(*_first_bad(parts)) if bad else None
    return Index(rows, _column(parts, "starts"), _column(parts, "sizes"), sum(p.blank for p in parts), bad, first)


def _sources(parts: list[Part]) -> tuple[tuple[str | None, ...], np.ndarray]:
    """All sources as they first occur, and of every row its source's number among them."""
    names: dict[str | None, int] = {}
    columns = [np.zeros(0, dtype=np.int64)]
    for part in parts:
        number = np.array([names.setdefault(name, len(names)) for name in part.names], dtype=np.int64)
        columns.append(number[np.frombuffer(part.source, dtype=np.int64)])
    return tuple(names), np.concatenate(columns)


def _column(parts: list[Part], name: str) -> np.ndarray:
    columns = [np.frombuffer(getattr(part, name), dtype=np.int64) for part in parts]
    return np.concatenate([np.zeros(0, dtype=np.int64), *columns])


def _first_bad(parts: list[Part]) -> tuple[int, str]:
    """Number in the file, from 1, of the first malformed line, and what is wrong with it."""
    before = 0
    for part in parts:
        if part.first_bad:
            return before + part.first_bad[0], part.first_bad[1]
        before += part.lines
    raise ValueError("no malformed line")


@contextlib.contextmanager
def _megabytes(stream: Stream) -> Iterator[Callable[[int], None]]:
    """A progress bar in whole megabytes of the file; what is yielded takes the bytes read since the last call."""
    read = 0
    with progress(-(-stream.size // _MB), f"read {stream.path.name}", unit="MB") as bar:

        def moved(n_bytes: int) -> None:
            nonlocal read
            read += n_bytes
            bar.update(read // _MB - bar.n)

        yield moved
