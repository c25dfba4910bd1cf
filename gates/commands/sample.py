"""`gates sample IN OUT`: a smaller file of examples, or folder of shards, with the mixture of the whole."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gates.commands import options
from harness.errors import HarnessError
from training.sampling.plan import (
    DEFAULT_SEED,
    PRESETS,
    InProportion,
    SamplePlan,
    SampleReport,
    Shares,
    SourceCount,
    Uniform,
)

# A file may have a source for every row; a table of a million lines is none.
MAX_LINES = 40

Source = Annotated[
    Path,
    typer.Argument(metavar="IN", help="examples (.jsonl, .jsonl.gz, .jsonl.zst), a .parquet shard or a folder of them"),
]
Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="the file to write, compressed as its name says; of shards a new folder")
]
Tier = Annotated[
    Literal["A", "B", "C"] | None,
    typer.Option(case_sensitive=False, help="a preset of the spec: A 2,048 rows, B 8,192, C 51,200"),
]
Size = Annotated[int | None, typer.Option(min=1, metavar="N", help="rows, with the file's own proportions of sources")]
Evenly = Annotated[bool, typer.Option("--uniform", help="with --size: from all rows alike, as for evaluation files")]
Seed = Annotated[int, typer.Option(min=0, help="the same seed draws the same rows in the same order")]
MaxTokens = Annotated[int | None, typer.Option(min=1, metavar="N", help="leave out rows of more ids, then draw")]
DropLongest = Annotated[
    str | None, typer.Option(metavar="SHARE", help="leave out the longest share of the rows left, like 1%, then draw")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="count malformed lines and go on (default: stop at one)")]


def sample(
    source: Source,
    out: Out,
    tier: Tier = None,
    size: Size = None,
    uniform: Evenly = False,
    seed: Seed = DEFAULT_SEED,
    max_tokens: MaxTokens = None,
    drop_longest: DropLongest = None,
    skip_bad: SkipBad = False,
) -> None:
    """Write a smaller training file with the same mixture of sources (--tier or --size), or an evaluation file.

    Lines are kept byte for byte. Exits 0, or 4 when a source has too few rows or a line is malformed; nothing is
    written then.
    """
    # Imported here: other commands do not draw.
    from training.sampling import sample_examples

    if (tier is None) == (size is None) or (uniform and size is None):
        options.refuse("give either --tier or --size, and --uniform with --size only")
    plan = SamplePlan(_shares(tier, size, uniform), seed, max_tokens, _share(drop_longest), skip_bad)
    try:
        report = sample_examples(source, out, plan)
    except HarnessError as error:
        options.refuse(str(error))
    except OSError as error:
        options.refuse(f"{error.filename or out}: {error.strerror or error}")
    _print(report, plan)


def _shares(tier: str | None, size: int | None, uniform: bool) -> Shares:
    if size is None:
        return PRESETS[str(tier)]
    return Uniform(size) if uniform else InProportion(size)


def _share(text: str | None) -> Fraction:
    """A share given in percent, exactly."""
    if text is None:
        return Fraction(0)
    try:
        share = Fraction(text.removesuffix("%")) / 100
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if not text.endswith("%") or not 0 <= share < 1:
        options.refuse(f"--drop-longest={text}: expected a share from 0% to below 100%, like 1%")
    return share


def _print(report: SampleReport, plan: SamplePlan) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("source", overflow="fold")
    for name in ("in file", "taken", "share"):
        table.add_column(name, justify="right")
    total = SourceCount("in all", sum(count.in_file for count in report.sources), report.taken)
    for count in (*report.sources[:MAX_LINES], total):
        share = f"{count.taken / report.taken:.2%}"
        table.add_row(_name(count.source), f"{count.in_file:,}", f"{count.taken:,}", share)
    console.print(table)
    for note in _notes(report, plan):
        console.print(Text(note), soft_wrap=True)


def _notes(report: SampleReport, plan: SamplePlan) -> list[str]:
    """What the table does not say, a line each."""
    left, n_more = report.left_out, len(report.sources) - MAX_LINES
    others = ", ".join(f"{_name(count.source)} {count.in_file:,}" for count in report.ignored[:MAX_LINES])
    n_ignored = sum(count.in_file for count in report.ignored)
    tokens = "not known" if report.tokens is None else f"{report.tokens:,}, longest row {report.longest:,}"
    notes = {
        f"{n_more} more sources": n_more > 0,
        f"tokens: {tokens}": True,
        f"left out: {left.too_long:,} rows of more than {plan.max_tokens} tokens": plan.max_tokens is not None,
        f"left out: the {left.longest:,} longest rows; the longest left has {left.longest_kept} tokens":
            plan.drop_longest > 0,
        f"ignored: {n_ignored:,} rows of sources that the preset does not name: {others}": n_ignored > 0,
        f"skipped: {report.bad:,} malformed lines, the first at {report.first_bad}": report.bad > 0,
        f"skipped: {report.blank:,} blank lines": report.blank > 0,
        f"written: {report.taken:,} rows, seed {plan.seed}: {report.out}": True,
    }  # fmt: skip
    return [note for note, holds in notes.items() if holds]


def _name(source: str | None) -> str:
    """A source as a terminal may show it: what a file says is not to steer it."""
    if source is None:
        return "(none)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in source)[:200]
