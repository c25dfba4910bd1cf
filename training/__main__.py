"""Training's commands: python -m training COMMAND; several processes: accelerate launch -m training run …"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

# Before transformers is imported: training must not depend on what a hub serves today, and its bars for loading a
# model of one megabyte hide the progress that matters.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# Exit statuses: a run that ended because there was still no ablation gap; a command line that makes no sense; Ctrl-C.
NEAR_ZERO, USAGE, INTERRUPTED = 3, 2, 130

app = typer.Typer(
    name="python -m training", help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.command()
def demo(
    steps: Annotated[
        list[str] | None, typer.Argument(metavar="STEP…", help="Steps to run; all when none is named.")
    ] = None,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder.")] = Path("runs/demo"),
    recipe: Annotated[str, typer.Option(help="demo: passes the gates; small: a smaller one, for tests.")] = "demo",
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads of torch, instead of each step's own 1 or 2.")
    ] = None,
) -> None:
    """Train the demo from scratch. A step first runs what it needs, and does nothing where nothing has changed.

    \b
    codecs    pictures, notes, and the two codecs trained on them
    base      text corpus, tokenizer, and the text backbone
    shards    Stage 2: token space, Parquet shards, train, eval, dev and golden examples
    surgery   new rows for the token space: the untrained checkpoint
    stage3    rows only, reading:        stage3/checkpoint_<step>
    stage4    LoRA and rows, writing:    stage4/checkpoint_<step>
    judge     how often the last checkpoint writes what it was asked for, by judges of the real data
    """
    from training.pipeline import COMMANDS, JUDGE, NEEDS, run_commands
    from training.recipe import RECIPES

    known = [*COMMANDS, *NEEDS, JUDGE]
    if unknown := [step for step in steps or [] if step not in known]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(known)}")
    if recipe not in RECIPES:
        raise typer.BadParameter(f"{recipe!r} is none of {', '.join(RECIPES)}", param_hint="--recipe")
    run_commands(runs, RECIPES[recipe], steps or ["demo"], threads)


@app.command()
def surgery(
    base: Annotated[Path, typer.Option(metavar="DIR", help="A Hugging Face causal LM, with its tokenizer.")],
    shards: Annotated[Path, typer.Option(metavar="DIR", help="Stage 2 shards, or any folder with token_space.json.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The checkpoint to write, e.g. runs/x/surgery/checkpoint_0.")
    ],
    text_eval: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plain text, to record the base's loss on.")
    ] = None,
    golden: Annotated[Path | None, typer.Option(metavar="DIR", help="Golden examples.")] = None,
    dev: Annotated[Path | None, typer.Option(metavar="FILE", help="Dev examples.")] = None,
    codecs: Annotated[Path | None, typer.Option(metavar="DIR", help="Codecs.")] = None,
    noise: Annotated[
        float, typer.Option(min=0, max=10, help="Scatter of the new rows, as a share of the text rows' own.")
    ] = 0.02,
    untie: Annotated[bool, typer.Option(help="Over a tied backbone: head rows of their own.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the scatter.")] = 0,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="What the base is run in.")] = "float32",
) -> None:
    """Add rows for a token space to a text backbone: the checkpoint that stage 3 begins at."""
    from training.config import SurgeryConfig
    from training.surgery import run_surgery

    given = {"base": base, "shards": shards, "golden": golden, "dev": dev, "text_eval": text_eval, "codecs": codecs}
    pointers = {name: path.resolve() for name, path in given.items() if path is not None}
    out.parent.mkdir(parents=True, exist_ok=True)
    run_surgery(out.resolve(), shards, pointers, SurgeryConfig(noise, untie, seed, dtype))
    typer.echo(f"written: {out}")


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A TOML file, or the name of one in training/configs.")],
    backbone: Annotated[str, typer.Option(help="A TOML file, or the name of one in training/configs/backbones.")] = "",
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="e.g. steps.max_steps=500")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Throw away what an earlier run left in the same folder.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Load everything, audit it, say what a step holds, and end.")] = False,
) -> None:
    """Train a stage on your own data. Run again, it goes on where it was interrupted.

    Exit status 0: done, or stopped on the plateau. 3: stopped because there was still no ablation gap. 1: an error.
    """
    from training.config_files import read_config
    from training.processes import leave
    from training.run import run_stage

    outcome = run_stage(read_config(config, backbone, override or []), typer.echo, fresh=fresh, dry_run=dry_run)
    leave()
    if outcome is not None and outcome.stopped == "near_zero":
        typer.secho(f"STOPPED: {outcome.sentence}\n{CHANGE_MODELLING}", err=True, bold=True)
        raise typer.Exit(NEAR_ZERO)


# Source: spec/stage3-iteration.md section 8.
CHANGE_MODELLING = (
    "There is no sign that the media are read. Do not train longer and do not add data: change the modelling, in this "
    "order: prompting, masking, copy mix, clip policy."
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from harness.errors import HarnessError

    try:
        # typer turns Ctrl-C into the exit status 130.
        code = int(app(arguments, standalone_mode=False) or 0)
    except typer.Exit as leave:
        code = int(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except typer.TyperException as error:  # a usage error; help was asked for where it says nothing
        if message := error.format_message():
            print(f"error: {message}", file=sys.stderr)
        return USAGE
    if code == INTERRUPTED:
        print("interrupted; the same command goes on with what was under way", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
