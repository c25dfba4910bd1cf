"""`gates selftest CKPT`: which faults would these gates, as they are configured, let through?"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gates.commands import options
from harness.errors import HarnessError
from harness.results import Stage

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
    try:
        seen, code = _test(ckpt, inputs, stage, gate, max_examples or None, passed, workers, work, out, keep, as_json)
    except HarnessError as error:
        options.refuse(str(error))
    if as_json:
        typer.echo(json.dumps(seen, indent=2, ensure_ascii=False, allow_nan=False))
    raise typer.Exit(code)


def _test(
    ckpt: Path, inputs: dict[str, Path], stage: int | None, gates: list[str] | None, max_examples: int | None,
    passed: list[str], workers: int | None, work: Path | None, out: Path | None, keep: bool, quiet: bool,
) -> tuple[dict[str, Any], int]:  # fmt: skip
    # Imported here: no other command pays for the catalogue.
    from rich.console import Console

    from gates.selftest.margins import margins
    from gates.selftest.page import print_page
    from gates.selftest.record import exit_code, record
    from gates.selftest.run import Options, cores, selftest
    from gates.selftest.runs import Settings
    from harness.bundle import open_bundle
    from harness.device import resolve_device
    from harness.faults.catalogue import faults_of, harmless_of
    from harness.files import write_json

    bundle = open_bundle(ckpt, inputs)
    name = _stage_of(ckpt, stage)
    folder = (out or Path("outputs/selftest") / name / bundle.path.name).resolve()
    at_a_time = workers or (cores() if resolve_device(passed[0].partition("=")[2]) == "cpu" else 1)
    threads = max(1, cores() // at_a_time)
    settings = Settings(
        folder / "evidence", max_examples, gates=tuple(gates or ()), options=tuple(passed), threads=threads
    )
    chosen = Options((work or folder / "work").resolve(), settings, at_a_time, keep)
    faults = [fault for fault in faults_of(name) if not gates or fault.gate_of(name) in gates]
    harmless = harmless_of(name)
    if strange := [gate for gate in gates or [] if not any(fault.gate_of(name) == gate for fault in faults)]:
        options.refuse(f"--gate {', '.join(strange)}: no fault in the catalogue is for that gate of {name} to find")
    with _Progress() as listener:
        tested = selftest(bundle, name, faults, harmless, chosen, listener)
    seen = record(tested, [*faults, *harmless])
    write_json(folder / "selftest.json", seen)
    if not quiet:
        console = Console(highlight=False)
        console = console if console.is_terminal else Console(highlight=False, width=200)
        print_page(console, seen, tested.found, margins(tested.control, tested.found))
        typer.echo(f"selftest: {folder / 'selftest.json'}")
    return seen, exit_code(tested)


def _stage_of(ckpt: Path, given: int | None) -> Stage:
    """The stage that was given, or that bundle.json says."""
    from harness.files import read_json

    file = ckpt / "bundle.json"
    said = read_json(file).get("stage") if given is None and file.is_file() else given
    if said not in (3, 4):
        raise HarnessError(file, f"stage {said}", "3 or 4", "Pass --stage, or write bundle.json with `gates init`.")
    return "stage3" if said == 3 else "stage4"


class _Progress:
    """A bar on stderr, which listens as the harness's listeners do."""

    def __enter__(self) -> "_Progress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task("judging the checkpoint without a fault", total=None)
        return self

    def __call__(self, label: str, done: int, total: int, elapsed_s: float) -> None:
        del elapsed_s  # the bar has a clock of its own
        self._bar.update(self._task, description=label, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
