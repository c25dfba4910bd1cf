"""`gates power`: how often a checkpoint of a known truth passes each gate, and how many examples that takes."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from gates.commands.options import refuse
from gates.commands.progress import Bar
from gates.thresholds import StageThresholds, read_thresholds
from harness.errors import HarnessError

ThresholdsFile = Annotated[
    Path | None, typer.Option("--thresholds", metavar="FILE.toml", help="your numbers instead of the spec's")
]
GateIds = Annotated[
    list[str] | None, typer.Option("--gate", metavar="ID", help="only this gate, e.g. P0.4; may repeat")
]
Certainty = Annotated[
    list[float] | None,
    typer.Option(metavar="SHARE", help="wanted of a right decision, e.g. 0.95; may repeat (default: 0.8, 0.95, 0.99)"),
]
Examples = Annotated[
    list[int] | None,
    typer.Option(min=1, metavar="N", help="examples a task; may repeat (default: 64, 256, 512)"),
]
WinRates = Annotated[
    list[float] | None,
    typer.Option("--win-rate", min=0, max=1, metavar="W", help="true win rates; may repeat (default: 0.60 … 0.90)"),
]
TextSpread = Annotated[
    float | None,
    typer.Option(
        metavar="NATS", help="standard deviation of the change of a text's loss, nats/token (default: the demo's)"
    ),
]
Correlation = Annotated[
    float, typer.Option(min=0, max=1, help="of an example's gaps under two conditions, in the simulation")
]
Simulations = Annotated[
    int, typer.Option(min=0, metavar="N", help="simulated checkpoints a cell, judged by the gates; 0: only computed")
]
Seed = Annotated[int, typer.Option(min=0, help="of the simulation")]
Workers = Annotated[int, typer.Option(min=1, help="processes that simulate; changes no number")]
Out = Annotated[Path | None, typer.Option(metavar="FILE.md", help="write the page there instead of printing it")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
T = TypeVar("T", bound=StageThresholds)


def power(
    thresholds: ThresholdsFile = None,
    gate: GateIds = None,
    certainty: Certainty = None,
    examples: Examples = None,
    win_rate: WinRates = None,
    text_spread: TextSpread = None,
    correlation: Correlation = 0.0,
    simulations: Simulations = 0,
    seed: Seed = 0,
    workers: Workers = 1,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Say how often each gate passes and rejects a checkpoint of a known truth, and how many examples that takes.

    Needs no checkpoint. Prints Markdown tables: computed, and simulated with --simulations. Exits 0, or 4.
    """
    # Imported here: no other command pays for scipy and the gates.
    from gates.power import asked, page
    from gates.power.tables import trials_of
    from gates.power.trial import Runs, run_trials
    from gates.stage3.thresholds import Stage3Thresholds
    from gates.stage4.thresholds import Stage4Thresholds

    wanted = tuple(gate or page.GATES)
    if unknown := [each for each in wanted if each not in page.GATES]:
        refuse(f"--gate {unknown[0]}: no statistical gate; expected one of {', '.join(page.GATES)}")
    if bad := [each for each in certainty or () if not 0 < each < 1]:
        refuse(f"--certainty {bad[0]:g}: expected a share between 0 and 1, like 0.95")
    if text_spread is not None and not text_spread > 0:
        refuse(f"--text-spread {text_spread:g}: expected nats per token above 0")
    errors: list[HarnessError] = []
    stage3 = _read(Stage3Thresholds, thresholds, "S", wanted, errors)
    stage4 = _read(Stage4Thresholds, thresholds, "P", wanted, errors)
    if errors and stage3 is None and stage4 is None:
        refuse(str(errors[-1]))
    if errors:
        typer.echo("gates power: these thresholds are of one stage; the gates of the other are left out", err=True)
    default = asked.Asked()
    of = asked.Asked(
        examples=tuple(sorted(set(examples or default.examples))),
        certainties=tuple(sorted(set(certainty or default.certainties))),
        win_rates=tuple(sorted(set(win_rate or default.win_rates))),
        correlation=correlation,
        text_spread=text_spread or default.text_spread,
    )
    runs = Runs(simulations, seed, workers)
    with Bar() as bar:
        built = page.build_page(wanted, stage3, stage4, of, runs, bar)
        simulated = run_trials(trials_of(built.sections), runs, bar)
    if as_json:
        text = json.dumps(page.as_json(built, simulated), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = page.markdown(built, simulated, _command())
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        refuse(f"--out {out}: {error.strerror or error}")
    typer.echo(f"power: {out}", err=True)


def _read(
    kind: type[T], path: Path | None, initial: str, wanted: tuple[str, ...], errors: list[HarnessError]
) -> T | None:
    """The thresholds of a stage; None where none of its gates is wanted, or the file's are not its, which is noted."""
    if not any(each.startswith(initial) for each in wanted):
        return None
    try:
        return read_thresholds(kind, path)
    except HarnessError as error:
        errors.append(error)
        return None


def _command() -> str:
    """What was called, to be called again."""
    return " ".join(["gates", *(shlex.quote(each) for each in sys.argv[1:])])
