"""`gates compare A B`: two checkpoints of one stage side by side, with paired intervals on the same examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gates.commands.options import refuse

if TYPE_CHECKING:
    from harness.results import Verdict
    from reports.comparison import Comparison, MeasureChange

First = Annotated[Path, typer.Argument(metavar="A", help="a verdict.json, or the folder of one: the checkpoint before")]
Second = Annotated[Path, typer.Argument(metavar="B", help="likewise: the checkpoint that is to be no worse")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="write a page too, e.g. compare.html")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
WORSE = 1
MAX_ROWS = 40  # of a table on the terminal; the page has all


def compare(a: First, b: Second, out: Out = None, as_json: AsJson = False) -> None:
    """Compare checkpoint B with checkpoint A by their verdicts.

    Exits 1 when B is worse: in the outcome of a P0 gate, or in a judged measure beyond what chance explains; else 0.
    """
    from gates.commands.comparing import compare_verdicts
    from harness.errors import HarnessError
    from reports.compare import as_json as to_json
    from reports.compare import write_comparison

    try:
        (path_a, verdict_a), (path_b, verdict_b) = _read(a), _read(b)
        if verdict_a.stage != verdict_b.stage:
            refuse(f"A is of {verdict_a.stage} and B of {verdict_b.stage}; expected two verdicts of one stage.")
        comparison = compare_verdicts(verdict_a, verdict_b, path_a, path_b)
        if out is not None:
            write_comparison(comparison, out)
    except HarnessError as error:
        refuse(str(error))
    if as_json:
        typer.echo(to_json(comparison))
    else:
        _print(comparison)
        if out is not None:
            typer.echo(f"comparison: {out}")
    raise typer.Exit(WORSE if comparison.regressions else 0)


def _read(where: Path) -> tuple[Path, "Verdict"]:
    from harness.results import read_verdict

    path = where / "verdict.json" if where.is_dir() else where
    return path, read_verdict(path)


def _print(comparison: "Comparison") -> None:
    """The comparison as tables: what changed, worst first."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)  # a pipe has no width of its own to fold at
    for label, verdict in (("A", comparison.a), ("B", comparison.b)):
        step = "unknown" if verdict.checkpoint.step is None else verdict.checkpoint.step
        console.print(Text(_plain(f"{label}: {verdict.checkpoint.path}, step {step}, {verdict.verdict}")))
    console.print()
    _print_gates(console, comparison)
    _print_measures(console, comparison)
    for reason in comparison.unpaired_because:
        console.print(Text(_plain(f"not paired: {reason}")))
    for caveat in comparison.caveats:
        console.print(Text(_plain(f"note: {caveat}")))
    if comparison.regressions:
        console.print(Text(f"B is worse than A: {_plain('; '.join(comparison.regressions[:3]))}", style="bold red"))
    else:
        console.print(Text("B is not worse than A.", style="bold green"))


def _print_gates(console: "object", comparison: "Comparison") -> None:
    from reports.comparison import CHANGE_WORD

    changed = [gate for gate in comparison.gates if gate.change != "same"]
    rows = [(g.id, g.name, g.priority, g.a or "absent", g.b or "absent", CHANGE_WORD[g.change]) for g in changed]
    same = len(comparison.gates) - len(changed)
    _print_table(console, f"gates ({same} the same)", ("id", "gate", "", "A", "B", ""), rows)


def _print_measures(console: "object", comparison: "Comparison") -> None:
    judged = [each for each in comparison.measures if each.change not in ("same", "no_direction")]
    own = [each for each in comparison.measures if each.paired and each.change == "no_direction"]
    rows = [_row(each) for each in [*judged, *own]]
    columns = ("gate", "measure", "A", "B", "B − A [95 %]", "n", "", "")
    rest = len(comparison.measures) - len(rows)
    _print_table(console, f"measures ({rest} more: the same, or reported only)", columns, rows)


def _row(each: "MeasureChange") -> tuple[str, ...]:
    from reports.comparison import CHANGE_WORD, difference_of
    from reports.format import number

    a, b = ("–" if side is None else number(side.value, each.unit) for side in (each.a, each.b))
    n = "–" if each.b is None else str(each.b.n)
    how = "paired" if each.paired else ""
    return each.gate, each.name, a, b, difference_of(each), n, how, CHANGE_WORD[each.change]


def _print_table(console: "object", title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert isinstance(console, Console)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows[:MAX_ROWS]:
        # Text, not str: what a verdict says is never read as markup.
        table.add_row(*(Text(_plain(cell)) for cell in row))
    console.print(table if rows else title)
    if len(rows) > MAX_ROWS:
        console.print(f"{len(rows) - MAX_ROWS} more: --out FILE has all")
    console.print()


def _plain(text: object) -> str:
    """Foreign text on one line, with nothing in it that a terminal would obey."""
    from reports.format import clean, shorten

    return " ".join(clean(shorten(str(text), 300)).split())
