"""`gates init CKPT`: a bundle.json for a checkpoint that another trainer made."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gates.commands import options
from harness.errors import HarnessError

TokenSpaceFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="the token_space.json it was trained with, where it has none")
]
Stage = Annotated[int | None, typer.Option(min=3, max=4, help="3 or 4 (default: inferred)")]
Step = Annotated[int | None, typer.Option(min=0, help="its training step (default: inferred)")]
Served = Annotated[Literal["free", "constrained"] | None, typer.Option(help="how it will be served (default: free)")]
MovePickles = Annotated[
    Path | None, typer.Option(metavar="DIR", help="where pickles go that are not needed (default: CKPT/../pickles)")
]
KeepPickles = Annotated[bool, typer.Option("--keep-pickles", help="leave them; the bundle gate refuses them then")]
Force = Annotated[
    bool, typer.Option("--force", help="write bundle.json again; what it says holds where no option differs")
]


def init(
    ckpt: options.Checkpoint,
    base: options.Base = None,
    parent: options.Parent = None,
    lora: options.Lora = None,
    shards: options.Shards = None,
    golden: options.Golden = None,
    dev: options.Dev = None,
    text_eval: options.TextEval = None,
    train_log: options.TrainLog = None,
    base_fingerprint: options.Fingerprint = None,
    codecs: options.Codecs = None,
    token_space: TokenSpaceFile = None,
    stage: Stage = None,
    step: Step = None,
    decoding: Served = None,
    move_pickles: MovePickles = None,
    keep_pickles: KeepPickles = False,
    force: Force = False,
) -> None:
    """Write bundle.json for a checkpoint that another trainer made.

    Infers what it can, converts pickled weights without running anything in them, and lists what is still needed.
    Exits 0 when every P0 gate has what it needs, 10 when something is missing, 4 when it cannot go on.
    """
    # Imported here: only a command that opens weights pays for torch.
    from gates.commands.drafting import Request, prepare

    inputs = options.given(
        base=base, parent=parent, lora=lora, shards=shards, golden=golden, dev=dev, text_eval=text_eval,
        train_log=train_log, base_fingerprint=base_fingerprint, codecs=codecs,
    )  # fmt: skip
    options.given(ckpt=ckpt, token_space=token_space)
    folder = ckpt.resolve()
    request = Request(
        folder=folder,
        inputs=inputs,
        token_space=token_space,
        stage=stage,
        step=step,
        decoding=decoding,
        pickles=None if keep_pickles else (move_pickles or folder.parent / "pickles").resolve(),
        force=force,
    )
    try:
        code = prepare(request, typer.echo)
    except HarnessError as error:
        options.refuse(str(error))
    except OSError as error:
        options.refuse(f"{error.filename or folder}: {error.strerror}")
    raise typer.Exit(code)
