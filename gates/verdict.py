"""A run's results put together into its verdict."""

import importlib
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from gates.gate import Gate
from gates.next_step import next_step, what_was_trained
from gates.options import GATES_ROOT, RunOptions
from gates.outcomes import evidence_use
from gates.shown import encodable
from gates.thresholds import changed_from_spec
from harness.bundle import Bundle
from harness.device import resolve_device
from harness.evidence import Use
from harness.files import path_sha256
from harness.results import CheckpointId, GateResult, InputId, RunInfo, ThresholdsUsed, Verdict, decide

PACKAGES = ("modality-gates", "torch", "transformers", "peft", "numpy", "scipy", "pytest")


def criteria_of(stage: str) -> dict[str, Gate]:
    """Every gate of a stage, read from its files and not from what was collected: a deselected gate is missed."""
    package = importlib.import_module(f"gates.{stage}")
    criteria: dict[str, Gate] = {}
    for file in sorted((GATES_ROOT / stage).glob("test_*.py")):
        module = importlib.import_module(f"gates.{stage}.{file.stem}")
        criteria |= {value.id: value for value in vars(module).values() if isinstance(value, Gate)}
    return {id_: criteria[id_] for id_ in package.GATES}


def make_verdict(
    options: RunOptions, gates: tuple[GateResult, ...], run: RunInfo, bundle: Bundle | None = None
) -> Verdict:
    """The verdict that follows from the gates' results.

    Args:
        options: what the run was asked to do.
        gates: a result for every gate of the stage.
        run: how it was made.
        bundle: the checkpoint, where it could be opened: what the digests are of.
    """
    smoke = options.max_examples is not None
    decision = decide(gates, smoke=smoke)
    path = str(options.thresholds_path) if options.thresholds_path else None
    return Verdict(
        stage=options.stage,
        verdict=decision,
        checkpoint=CheckpointId(
            path=encodable(str(options.ckpt)),
            step=bundle.step if bundle else None,
            sha256=bundle.sha256() if bundle else None,
        ),
        inputs=_inputs(bundle) if bundle else {},
        token_space_sha256=bundle.space.sha256 if bundle else None,
        gates=gates,
        next_step=next_step(
            options.stage,
            decision,
            gates,
            smoke=smoke,
            thresholds=options.thresholds,
            trained=what_was_trained(bundle, options.stage),
        ),
        thresholds=ThresholdsUsed(path=encodable(path), changed=changed_from_spec(options.thresholds)),
        run=run,
    )


def run_info(options: RunOptions, *, command: str, started: str, duration_s: float, uses: Sequence[Use]) -> RunInfo:
    """How a run was made."""
    return RunInfo(
        command=encodable(command),
        seed=options.seed,
        device=resolve_device(options.device),
        dtype=options.dtype,
        versions=_versions(),
        started=started,
        duration_s=round(duration_s, 3),
        evidence=evidence_use(uses),
    )


def not_run(criterion: Gate) -> GateResult:
    """The result of a gate that no test reported on."""
    return GateResult(
        id=criterion.id,
        name=criterion.name,
        priority=criterion.priority,
        outcome="not_run",
        claim=criterion.claim,
        details={"reason": "the run ended before this gate, or it was deselected"},
    )


def demoted(verdict: Verdict, why: str) -> Verdict:
    """The verdict of a run that must not promote; a REJECT stays one."""
    decision = "REJECT" if verdict.verdict == "REJECT" else "INCOMPLETE"
    return verdict.model_copy(update={"verdict": decision, "next_step": encodable(why)})


def _inputs(bundle: Bundle) -> dict[str, InputId]:
    there = {name: path for name, path in bundle.inputs.items() if path.exists()}
    return {name: InputId(path=encodable(str(path)), sha256=path_sha256(path)) for name, path in there.items()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
