"""`gates selftest CKPT`: which faults would these gates, as they are configured, let through?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gates.commands import options
from gates.commands.progress import Bar
from harness.errors import HarnessError
from harness.files import read_json, write_json
from harness.results import Stage

if TYPE_CHECKING:
    from gates.selftest.run import Options, SelfTest
    from harness.bundle import Bundle

StageNumber = Annotated[int | None, typer.Option("--stage", min=3, max=4, help="default: as bundle.json says")]
ThresholdsFile = Annotated[
    Path | None, typer.Option("--thresholds", metavar="FILE.toml", help="the thresholds to be tested")
]
MaxExamples = Annotated[
    int, typer.Option(metavar="N", min=0, help="examples a task; 0 for all of them, which costs as many forward passes")
]
Gates = Annotated[
    list[str] | None, typer.Option("--gate", metavar="ID", help="run this gate alone, on its faults; may repeat")
]
Work = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="where copies are made; on the checkpoint's own file system they cost next to "
                 "nothing (default: beside --out)"),
]  # fmt: skip
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="for selftest.json and evidence (default: outputs/selftest/<stage>/<checkpoint>)"),
]
Workers = Annotated[int | None, typer.Option(min=1, help="copies judged at a time (default: one a core, one on a GPU)")]
Device = Annotated[str, typer.Option(help="as the gates' own option")]
Dtype = Annotated[str, typer.Option(help="as the gates' own option")]
Strict = Annotated[bool, typer.Option("--strict", help="as the gates' own option")]
Keep = Annotated[bool, typer.Option("--keep", help="keep the copies of what was not caught")]
AsJson = Annotated[bool, typer.Option("--json", help="print the JSON object instead of the tables")]
SLICE = 64


def selftest(
    ckpt: options.Checkpoint,
    stage: StageNumber = None,
    thresholds: ThresholdsFile = None,
    gate: Gates = None,
    max_examples: MaxExamples = SLICE,
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
    device: Device = "auto",
    dtype: Dtype = "float32",
    strict: Strict = False,
    workers: Workers = None,
    work: Work = None,
    out: Out = None,
    keep: Keep = False,
    as_json: AsJson = False,
) -> None:
    """Plant every known fault in a copy of a checkpoint, one at a time, and see whether the gates find it.

    The checkpoint itself is only read. Exits 0 when every fault that applies is caught for the right reason and nothing
    harmless is taken for one, 1 when not, 10 when a gate is red without any fault, so that its faults cannot be told.
    """
    options.given(ckpt=ckpt, thresholds=thresholds)
    inputs = options.given(
        base=base, parent=parent, lora=lora, shards=shards, golden=golden, dev=dev, text_eval=text_eval,
        train_log=train_log, base_fingerprint=base_fingerprint, codecs=codecs,
    )  # fmt: skip
    passed = [f"--device={device}", f"--dtype={dtype}"]
    passed += [f"--thresholds={thresholds.resolve()}"] if thresholds else []
    passed += ["--strict"] if strict else []
    # Imported here: no other command pays for the catalogue.
    from gates.commands.tables import wide_console
    from gates.selftest.page import print_page
    from gates.selftest.record import exit_code
    from gates.selftest.run import Options, cores
    from gates.selftest.runs import Settings
    from harness.bundle import open_bundle
    from harness.device import resolve_device

    try:
        bundle, name = open_bundle(ckpt, inputs), _stage_of(ckpt, stage)
        folder = (out or Path("outputs/selftest") / name / bundle.path.name).resolve()
        at_a_time = workers or (cores() if resolve_device(device) == "cpu" else 1)
        settings = Settings(
            cache=folder / "evidence",
            max_examples=max_examples or None,
            gates=tuple(gate or ()),
            options=tuple(passed),
            threads=max(1, cores() // at_a_time),
        )
        chosen = Options((work or folder / "work").resolve(), settings, at_a_time, keep)
        tested, seen = _test(bundle, name, chosen)
    except HarnessError as error:
        options.refuse(str(error))
    write_json(folder / "selftest.json", seen)
    if as_json:
        typer.echo(json.dumps(seen, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_page(wide_console(), seen, tested)
        typer.echo(f"selftest: {folder / 'selftest.json'}")
    raise typer.Exit(exit_code(tested))


def _test(bundle: "Bundle", stage: Stage, chosen: "Options") -> "tuple[SelfTest, dict[str, Any]]":
    """What the gates make of the faults that are theirs, and the same as a JSON object."""
    from gates.selftest.record import record
    from gates.selftest.run import selftest
    from harness.faults.catalogue import faults_of, harmless_of

    gates = chosen.settings.gates
    faults = [fault for fault in faults_of(stage) if not gates or fault.gate_of(stage) in gates]
    if strange := [gate for gate in gates if not any(fault.gate_of(stage) == gate for fault in faults)]:
        options.refuse(f"--gate {', '.join(strange)}: no fault in the catalogue is for that gate of {stage} to find")
    harmless = harmless_of(stage)
    with Bar(after_s=0.0) as bar:
        tested = selftest(bundle, stage, faults, harmless, chosen, bar)
    return tested, record(tested, [*faults, *harmless])


def _stage_of(ckpt: Path, given: int | None) -> Stage:
    """The stage that was given, or that bundle.json says."""
    file = ckpt / "bundle.json"
    said = read_json(file).get("stage") if given is None and file.is_file() else given
    if said not in (3, 4):
        raise HarnessError(file, f"stage {said}", "3 or 4", "Pass --stage, or write bundle.json with `gates init`.")
    return "stage3" if said == 3 else "stage4"
