"""`gates inspect CKPT`: the spec's bundle_inspect, as a table or as one JSON object."""

import json
from pathlib import Path
from typing import Annotated

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


def inspect(
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
    max_new_audio: MaxAudio = None,
    max_new_image: MaxImage = None,
    verdict: VerdictFile = None,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Say what a checkpoint is, what it lacks, what moved, and whether its lengths and its decoding will do.

    Judges nothing. Exits 0, or 4 when the checkpoint cannot be opened.
    """
    # Imported here: only a command that opens weights pays for torch.
    from gates.commands.looking import Wanted, look_at
    from gates.commands.tables import print_tables

    inputs = options.given(
        base=base, parent=parent, lora=lora, shards=shards, golden=golden, dev=dev, text_eval=text_eval,
        train_log=train_log, base_fingerprint=base_fingerprint, codecs=codecs,
    )  # fmt: skip
    options.given(ckpt=ckpt, verdict=verdict)
    wanted = Wanted(ckpt, inputs, {"audio": max_new_audio, "image": max_new_image}, verdict, weights=not quick)
    try:
        seen = look_at(wanted)
    except HarnessError as error:
        options.refuse(str(error))
    if as_json:
        typer.echo(json.dumps(seen, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_tables(seen)
