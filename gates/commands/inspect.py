"""`gates inspect CKPT`: the spec's bundle_inspect, as a table or one JSON object; `--log FILE` reads a training log."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gates.commands import options
from harness.errors import HarnessError

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Quick = Annotated[bool, typer.Option("--quick", help="leave out what reads all weights: the digest and what moved")]
MaxAudio = Annotated[int | None, typer.Option(min=1, help="ids that T2A may write (default: generation_config.json)")]
MaxImage = Annotated[int | None, typer.Option(min=1, help="ids that T2I may write (default: generation_config.json)")]
VerdictFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="an earlier verdict.json (default: outputs/gates/stage4/<checkpoint name>/)"),
]
MaybeCheckpoint = Annotated[Path | None, typer.Argument(metavar="[CKPT]", help="the checkpoint's folder")]
Log = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="read this training log, of the checkpoint or by itself: train_log.jsonl, "
                 "trainer_state.json, or text"),
]  # fmt: skip
Space = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="token_space.json for --log without a checkpoint, to know uniform guessing"),
]
UNHEALTHY = 1


def inspect(
    ckpt: MaybeCheckpoint = None,
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
    max_new_audio: MaxAudio = None,
    max_new_image: MaxImage = None,
    verdict: VerdictFile = None,
    log: Log = None,
    token_space: Space = None,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Say what a checkpoint is, what it lacks, what moved, and whether its lengths and its decoding will do.

    Judges nothing and exits 0, or 4 when the checkpoint cannot be opened. A log by itself (--log without CKPT) is
    judged by the rules of P1.5, or of S3.6 where it has no write loss: exits 0 when it is healthy and 1 when not.
    """
    options.given(ckpt=ckpt, verdict=verdict, log=log, token_space=token_space)
    if ckpt is None:
        if log is None:
            options.refuse("inspect what? Give a checkpoint's folder, or --log FILE")
        raise typer.Exit(_inspect_log(log, token_space, as_json=as_json))
    if token_space is not None:
        options.refuse("--token-space goes with --log alone: a checkpoint has its own")
    # Imported here: only a command that opens weights pays for torch.
    from gates.commands.looking import Wanted, look_at
    from gates.commands.tables import print_tables

    inputs = options.given(
        base=base, parent=parent, lora=lora, shards=shards, golden=golden, dev=dev, text_eval=text_eval,
        train_log=train_log, base_fingerprint=base_fingerprint, codecs=codecs,
    )  # fmt: skip
    wanted = Wanted(ckpt, inputs, {"audio": max_new_audio, "image": max_new_image}, verdict, log, weights=not quick)
    try:
        seen = look_at(wanted)
    except HarnessError as error:
        options.refuse(str(error))
    if as_json:
        _echo(seen)
    else:
        print_tables(seen)


def _inspect_log(log: Path, token_space: Path | None, *, as_json: bool) -> int:
    """Read a log by itself; the exit code."""
    from gates.commands.tables import print_log
    from gates.dynamics_reading import Beside, read_log
    from harness.token_space import read_token_space

    try:
        seen = read_log(log, Beside(space=read_token_space(token_space) if token_space else None))
    except HarnessError as error:
        options.refuse(str(error))
    if as_json:
        _echo(seen)
    else:
        print_log(seen)
    return 0 if seen["healthy"] else UNHEALTHY


def _echo(seen: dict[str, Any]) -> None:
    typer.echo(json.dumps(seen, indent=2, ensure_ascii=False, allow_nan=False))
