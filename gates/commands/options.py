"""Options that several commands share: the inputs of a checkpoint, as `gates run` takes them."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="the checkpoint's folder")]
Base = Annotated[Path | None, typer.Option(metavar="DIR", help="the model before training")]
Parent = Annotated[Path | None, typer.Option(metavar="DIR", help="the stage 3 checkpoint it began from")]
Lora = Annotated[Path | None, typer.Option(metavar="DIR", help="the PEFT adapter")]
Shards = Annotated[Path | None, typer.Option(metavar="DIR", help="the Stage 2 shards")]
Golden = Annotated[Path | None, typer.Option(metavar="FILE|DIR", help="the golden examples")]
Dev = Annotated[Path | None, typer.Option(metavar="FILE", help="further held-out examples")]
TextEval = Annotated[Path | None, typer.Option(metavar="FILE", help="text-only examples")]
TrainLog = Annotated[Path | None, typer.Option(metavar="FILE", help="the training log")]
Fingerprint = Annotated[Path | None, typer.Option(metavar="FILE", help="base_fingerprint.json")]
Codecs = Annotated[Path | None, typer.Option(metavar="DIR", help="the codecs' weights, image/ and audio/")]


USAGE = 4  # what was asked for cannot be done, as pytest's own code says


def given(**inputs: Path | None) -> dict[str, Path]:
    """The inputs that were given, as absolute paths.

    Raises:
        typer.Exit: nothing is there at one of them.
    """
    for name, path in inputs.items():
        if path is not None and not path.exists():
            refuse(f"--{name.replace('_', '-')}={path}: nothing there")
    return {name: path.resolve() for name, path in inputs.items() if path is not None}


def refuse(why: str) -> NoReturn:
    """Say why a command does not go on, and end it.

    Raises:
        typer.Exit: always, with the code of a usage error.
    """
    typer.echo(f"gates: {why}", err=True)
    raise typer.Exit(USAGE)
