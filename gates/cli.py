"""The console script `gates`: what is not a test run, and `gates run` for those who have no checkout.

gates init outputs/run/checkpoint_2000 [--base DIR …]
gates inspect outputs/run/checkpoint_2000 [--json]
gates selftest outputs/run/checkpoint_2000 [--thresholds FILE.toml]
gates sample train.jsonl train.small_8192.jsonl --tier B
gates run stage4 --ckpt runs/demo/stage4/checkpoint_2000 [pytest options]
gates report outputs/gates/stage4/checkpoint_2000/verdict.json
gates history outputs/gates
gates compare outputs/gates/stage4/checkpoint_1000 outputs/gates/stage4/checkpoint_2000 [--out compare.html]
gates power [--thresholds mine.toml] [--gate P0.4] [--simulations 200]
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gates.commands.compare import compare
from gates.commands.history import history
from gates.commands.init import init
from gates.commands.inspect import inspect
from gates.commands.options import USAGE
from gates.commands.power import power
from gates.commands.sample import sample
from gates.commands.selftest import selftest
from harness.errors import HarnessError


class _Commands(TyperGroup):
    """Usage errors end with 4, as pytest's do: the 2 that command lines usually end with is an interrupted run here."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            error.exit_code = USAGE
            raise


app = typer.Typer(
    cls=_Commands, add_completion=False, no_args_is_help=True, help="Acceptance gates for multimodal checkpoints."
)
app.command()(init)
app.command()(inspect)
app.command()(sample)
app.command()(history)
app.command()(compare)
app.command()(selftest)
app.command()(power)
PYTEST_ARGS = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=PYTEST_ARGS)
def run(context: typer.Context, stage: Annotated[str, typer.Argument(help="stage3 or stage4")]) -> None:
    """Run a stage's gates; every pytest option goes through. Exits 0 PROMOTE, 1 REJECT, 10 INCOMPLETE."""
    import pytest

    folder = Path(__file__).parent / stage
    if stage not in ("stage3", "stage4"):
        typer.echo(f"gates run: {stage!r} is no stage; expected stage3 or stage4", err=True)
        raise typer.Exit(4)
    # -c: the folder that the user stands in may have a pytest configuration of its own, which is not ours to apply.
    args = ["-c", str(Path(__file__).parent / "run.ini"), "-p", "gates.plugin", str(folder), *context.args]
    raise typer.Exit(int(pytest.main(args)))


@app.command()
def report(verdict: Annotated[Path, typer.Argument(help="a verdict.json; its media lie beside it")]) -> None:
    """Render report.html and summary.md again, without the model."""
    # Imported here: no other command pays for it.
    from harness.results import read_verdict
    from reports.render import render

    try:
        rendered = render(verdict.resolve().parent, read_verdict(verdict))
    except HarnessError as error:
        typer.echo(f"gates report: {error}", err=True)
        raise typer.Exit(4) from None
    typer.echo(f"report: {rendered.html}")


def main() -> None:
    """Entry point of the console script."""
    app()
