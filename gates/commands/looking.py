"""What `gates inspect` shows: the harness's object, with what an earlier verdict and the gates' needs add to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates.dynamics_reading import Beside, read_log
from gates.needs import missing
from gates.stage4.thresholds import Stage4Thresholds
from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.errors import HarnessError
from harness.examples import WRITE_TASKS
from harness.inspect import inspect_bundle
from harness.results import Verdict, read_verdict
from harness.settings import Settings
from harness.token_space import Modality
from harness.training_record import read_training_record

DEFAULT_OUT = Path("outputs/gates/stage4")


@dataclass(frozen=True)
class Wanted:
    """What to look at.

    Attributes:
        ckpt: the checkpoint's folder.
        inputs: the inputs that options name.
        max_new: modality to the number of ids that generation may write; None where no option says.
        verdict: an earlier verdict.json; None for the one in the default output folder.
        log: a training log to read; None for none.
        weights: whether to read all weights.
    """

    ckpt: Path
    inputs: dict[str, Path]
    max_new: dict[Modality, int | None]
    verdict: Path | None
    log: Path | None
    weights: bool


def look_at(wanted: Wanted) -> dict[str, Any]:
    """The JSON object of `gates inspect`.

    Raises:
        HarnessError: the checkpoint cannot be opened, or a verdict or a log that was named cannot be read.
    """
    bundle = open_bundle(wanted.ckpt, wanted.inputs)
    # Nothing is written: the output folder is only made when there is evidence to keep.
    settings = Settings(
        device="cpu", dtype="float32", seed=0, batch_tokens=8192, max_examples=None, out=Path("outputs/gates")
    )
    seen = inspect_bundle(Checkpoint(bundle, settings), wanted.max_new, weights=wanted.weights)
    seen["constrained_decoding"] = _constrained_decoding(wanted, seen["checkpoint"]["sha256"])
    seen["missing"] = _missing(seen)
    if wanted.log:
        record, stage = read_training_record(bundle.path), seen["checkpoint"]["stage"]
        seen["train_log"] = read_log(wanted.log, Beside(bundle.space, record, stage, bundle.step))
    return seen


def _missing(seen: dict[str, Any]) -> list[dict[str, Any]]:
    present = {name for name, place in seen["inputs"].items() if place["found"]}
    stage = seen["checkpoint"]["stage"] or (4 if "lora" in present else 3)
    return [
        {"input": need.name, "option": need.option, "for": need.gates[stage], "blocks": stage in need.required}
        for need in missing(stage, seen["checkpoint"]["form"], present)
    ]


def _constrained_decoding(wanted: Wanted, sha256: str | None) -> dict[str, Any]:
    """Whether constrained decoding is needed now or can wait, from what an earlier run measured."""
    file = wanted.verdict or DEFAULT_OUT / wanted.ckpt.resolve().name / "verdict.json"
    try:
        earlier = read_verdict(file)
    except HarnessError:
        if wanted.verdict is not None:
            raise
        return {"needed": "unknown", "why": f"run the gates: no verdict in {file.parent}"}
    figures = _free_figures(earlier)
    if len(figures) < len(WRITE_TASKS):
        return {"needed": "unknown", "why": f"run the gates: {file} has no free out_of_range_pct of every write task"}
    if sha256 is not None and earlier.checkpoint.sha256 != sha256:
        return {"needed": "unknown", "why": f"run the gates: {file} is of other weights ({earlier.checkpoint.sha256})"}
    worst = max(figures.values())
    limit = Stage4Thresholds().max_out_of_range_pct
    why = ", ".join(f"{task} {value:g} % out of range when free" for task, value in sorted(figures.items()))
    return {
        "needed": "can wait" if worst <= limit else "now",
        "why": f"{why} (asked for at most {limit:g} %), by {file}",
        "free_out_of_range_pct": figures,
        "same_weights": None if sha256 is None else True,
    }


def _free_figures(verdict: Verdict) -> dict[str, float]:
    """Task to the free-running out_of_range_pct, in percent, of the tasks that have one."""
    measured = {m.name: m.value for gate in verdict.gates for m in gate.measurements}
    free = {task: measured.get(f"{task}.out_of_range_pct (free)") for task in WRITE_TASKS}
    return {task: value for task, value in free.items() if value is not None}
