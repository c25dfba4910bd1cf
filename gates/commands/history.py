"""`gates history DIR`: an index page over all verdicts below a folder, with the course of their figures."""

from pathlib import Path
from typing import Annotated

import typer

from gates.commands.options import refuse

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="a folder that verdict.json files lie below")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="where to write the page (default: DIR/index.html); only an earlier history is "
                 "written over"),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object, and write no page without --out")]
MAX_NAMED = 10  # verdicts that could not be read, on the terminal; the page has more


def history(folder: Folder, out: Out = None, as_json: AsJson = False) -> None:
    """Write an index page over all verdicts below a folder: a table with links, and trends over steps.

    Verdicts that cannot be read are named and counted, and stop nothing. Exits 0, or 4 where there is no verdict.
    """
    from harness.errors import HarnessError
    from reports import history as page
    from reports.verdicts import find_verdicts

    try:
        found = find_verdicts(folder)
        if not found.rows and not found.unusable:
            refuse(f"{folder}: found no verdict.json below it; expected at least one. Name the folder of --out.")
        if out is not None or not as_json:
            page.write_history(found, out or folder / "index.html")
    except HarnessError as error:
        refuse(str(error))
    for path, why in found.unusable[:MAX_NAMED]:
        typer.echo(f"not read: {_plain(path)}: {_plain(why)}", err=True)
    if len(found.unusable) > MAX_NAMED:
        typer.echo(f"not read: {len(found.unusable) - MAX_NAMED} more", err=True)
    if as_json:
        typer.echo(page.as_json(found))
    else:
        unread = f", {len(found.unusable)} could not be read" if found.unusable else ""
        typer.echo(f"history: {_plain(out or folder / 'index.html')} ({len(found.rows)} verdicts{unread})")


def _plain(text: object) -> str:
    """Foreign text on one line, with nothing in it that a terminal would obey."""
    from reports.format import clean, shorten

    return " ".join(clean(shorten(str(text), 300)).split())
