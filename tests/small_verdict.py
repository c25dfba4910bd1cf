"""A verdict of given gates, without a run."""

from collections.abc import Sequence

from harness.results import CheckpointId, Decision, GateResult, RunInfo, ThresholdsUsed, Verdict


def small_verdict(
    gates: Sequence[GateResult], decision: Decision, *, next_step: str = "Next.", path: str = "runs/checkpoint_1"
) -> Verdict:
    return Verdict(
        stage="stage4", verdict=decision, checkpoint=CheckpointId(path=path, step=1, sha256="0" * 64), inputs={},
        token_space_sha256=None, gates=tuple(gates), next_step=next_step, thresholds=ThresholdsUsed(),
        run=RunInfo(command="pytest", seed=0, device="cpu", dtype="float32", versions={},
                    started="2026-01-01T00:00:00+00:00", duration_s=1.0),
    )  # fmt: skip
