"""Runs of two made-up gates, for tests of the process that owns the verdict."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gates.gate import Gate
from gates.stage4.thresholds import Stage4Thresholds
from harness.results import GateResult, Outcome

P0 = Gate(id="P0.9", name="hard", priority="P0", claim="c", source="s", advice=("mend it",))
P1 = Gate(id="P1.9", name="soft", priority="P1", claim="c", source="s")
OK, FAILED, INTERRUPTED = 0, 1, 2


def options(folder: Path, **changes: Any) -> Any:
    """What a run was asked to do."""
    fields = {
        "out": folder / "out", "cache": folder / "cache", "stage": "stage4", "ckpt": folder / "ckpt", "overrides": {},
        "max_examples": None, "thresholds": Stage4Thresholds(), "thresholds_path": None, "seed": 7, "device": "cpu",
        "dtype": "float32",
    }  # fmt: skip
    return SimpleNamespace(**fields | changes)


def result(outcome: Outcome, criterion: Gate = P0) -> GateResult:
    """Of one of them."""
    return GateResult(id=criterion.id, name=criterion.name, priority=criterion.priority, outcome=outcome, claim="c")
