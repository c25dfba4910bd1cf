"""What a gate run leaves behind: measurements, gate results, and the verdict (`verdict.json`, format gate-verdict/1).

No torch here: reports are rendered from these objects alone, without a model.
"""

import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from harness.errors import HarnessError
from harness.files import read_json, write_json

Outcome = Literal["pass", "fail", "error", "not_run"]
Op = Literal["<", "<=", ">", ">=", "=="]
Confidence = Literal["proven", "borderline", "refuted"]
Priority = Literal["P0", "P1"]
Stage = Literal["stage3", "stage4"]
Decision = Literal["PROMOTE", "REJECT", "INCOMPLETE"]

# What each rule asks of a value and its threshold.
RULES: dict[Op, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
EXIT_CODES: dict[Decision, int] = {"PROMOTE": 0, "REJECT": 1, "INCOMPLETE": 10}
FORMAT: Literal["gate-verdict/1"] = "gate-verdict/1"


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Plain):
    """One figure, with the interval that it is known to and the rule that it was held against."""

    name: str = Field(description="What was measured, e.g. t2a.win_rate_shuffled")
    value: float | None = Field(description="The point estimate; null where it could not be computed (NaN)")
    unit: str = Field(description="Unit of the value: share, nats/token, %, tensors, …")
    n: int = Field(description="How many independent items the value rests on")
    low: float | None = Field(default=None, description="Lower end of the 95 % interval; null where there is none")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval; null where there is none")
    threshold: float | None = Field(default=None, description="What it was held against; null when only reported")
    op: Op | None = Field(default=None, description="The rule: value op threshold")
    source: str = Field(default="", description="Where the threshold comes from")
    confidence: Confidence | None = Field(default=None, description="On which side of the threshold the interval lies")

    @field_serializer("value", "low", "high")
    def _finite(self, number: float | None) -> float | None:
        # JSON has no NaN. A value that is none is written as null, and can never satisfy a rule.
        return number if number is not None and math.isfinite(number) else None


class GateResult(_Plain):
    """The outcome of one gate."""

    id: str
    name: str
    priority: Priority
    outcome: Outcome
    claim: str
    measurements: tuple[Measurement, ...] = ()
    advice: tuple[str, ...] = Field(default=(), description="What to do about a failure, in the order to try it")
    details: dict[str, Any] = Field(default_factory=dict, description="What the report shows beside the figures")
    duration_s: float = 0.0


class CheckpointId(_Plain):
    """Which checkpoint was judged."""

    path: str
    step: int | None
    sha256: str | None


class InputId(_Plain):
    """A file or folder that went into the measurement."""

    path: str
    sha256: str


class ThresholdsUsed(_Plain):
    """Which thresholds were in force."""

    path: str | None = None
    changed: dict[str, Any] = Field(default_factory=dict, description="name: {spec, used}")


class EvidenceUse(_Plain):
    """What a run measured, and what it found measured."""

    measured: int = Field(default=0, description="Measurements made by this run")
    reused: int = Field(default=0, description="Measurements that earlier runs had made and this one used")


class RunInfo(_Plain):
    """How the run was made."""

    command: str
    seed: int
    device: str
    dtype: str
    versions: dict[str, str]
    started: str
    duration_s: float
    evidence: EvidenceUse = Field(default_factory=EvidenceUse)


class Verdict(_Plain):
    """The verdict on a checkpoint."""

    format: Literal["gate-verdict/1"] = FORMAT
    stage: Stage
    verdict: Decision
    checkpoint: CheckpointId
    inputs: dict[str, InputId]
    token_space_sha256: str | None
    gates: tuple[GateResult, ...]
    next_step: str
    thresholds: ThresholdsUsed
    run: RunInfo


def decide(gates: tuple[GateResult, ...], *, smoke: bool) -> Decision:
    """The verdict that follows from the gates' outcomes.

    REJECT when a P0 gate failed; else PROMOTE only when there is a P0 gate, every one of them passed, and the run was
    no smoke run; everything else is INCOMPLETE: unmeasured is not passed.
    """
    blocking = [gate for gate in gates if gate.priority == "P0"]
    if any(gate.outcome == "fail" for gate in blocking):
        return "REJECT"
    if blocking and not smoke and all(gate.outcome == "pass" for gate in blocking):
        return "PROMOTE"
    return "INCOMPLETE"


def write_verdict(path: Path, verdict: Verdict) -> None:
    """Write `verdict.json` atomically."""
    write_json(path, verdict.model_dump(mode="json"))


def read_verdict(path: Path) -> Verdict:
    """Read a verdict.json.

    Raises:
        HarnessError: the file is missing, no JSON, or does not follow the schema.
    """
    try:
        return Verdict.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise HarnessError(path, f"{key}: {first['msg']}", f"a {FORMAT} file", "Run the gates again.") from None
