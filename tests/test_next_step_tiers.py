"""Stage 3 with every P0 gate green: which tier comes next, with what the next step says and what it never says."""

import pytest

from gates.next_step import Trained
from tests.next_steps import TIER, Case, check, figure, record, result, stage3

_RED_LOG = result("S3.6", "fail", figure("loss_spikes", 3, op="<=", threshold=0, unit="steps"))
CASES = (
    Case(
        "strong after tier A",
        stage3(),
        (
            "The pipeline is proven: go on to tier B (8,192 rows).",
            "a2t Δ shuffled 0.54 [0.49, 0.60] nats/token, win rate 0.96 [0.93, 0.98]",
            "text logits differ by 0, text perplexity by 0 %",
        ),
        ("stage 4", "tier C"),
        TIER["A"],
    ),
    Case("strong and stable after tier B", stage3(), ("straight on to the full run",), ("tier C",), TIER["B"]),
    Case(
        "strong after tier B, the log is red",
        stage3(_RED_LOG),
        (
            "Go on to tier C (51,200 rows) before the full run",
            "since S3.6 dynamics is red (loss spikes 3 steps, asked for <= 0)",
        ),
        trained=TIER["B"],
    ),
    Case(
        "strong after tier B, no log",
        tuple(g for g in stage3() if g.id != "S3.6"),
        ("Go on to tier C", "S3.6, the training log, was not judged"),
        trained=TIER["B"],
    ),
    Case(
        "strong after tier B, wide intervals",
        stage3(i2t={"delta": (0.5, 0.2, 0.8), "win": (0.96, 0.9, 0.98)}),
        ("Go on to tier C", "i2t Δ shuffled is known to ± 60 % only"),
        trained=TIER["B"],
    ),
    Case("strong after tier C", stage3(), ("Go on to the full run.",), ("Do not wait",), trained=TIER["C"]),
    Case(
        "strong within tier B",
        stage3(),
        ("Do not wait for the rest of this run. It looks stable: go straight on to the full run.",),
        trained=record(8192, "running", step=650),
    ),
    Case(
        "strong within tier C",
        stage3(),
        ("Do not wait for the rest of this run. Go on to the full run.",),
        trained=record(51_200, "running", step=650),
    ),
    Case(
        "strong after tier C, the log is red",
        stage3(_RED_LOG),
        ("Tier C is to show stability", "settle that"),
        trained=TIER["C"],
    ),
    Case("strong after the full run", stage3(), ("Go on to stage 4.",), trained=TIER["full"]),
    Case(
        "strong within the full run",
        stage3(),
        ("Do not wait for the rest of the epoch: go on to stage 4",),
        trained=record(256_408, "running", step=650),
    ),
    Case(
        "strong, tier unknown",
        stage3(),
        (
            "After tier A (2,048 rows) go on to tier B",
            "after tier B to tier C",
            "or to the full run where it is stable; after tier C to the full run",
        ),
    ),
    Case(
        "strong, tier unknown, the log is red",
        stage3(_RED_LOG),
        ("or to the full run where it is stable (S3.6 dynamics is red (loss spikes 3 steps, asked for <= 0)); after",),
    ),
    Case(
        "a record that is none",
        stage3(),
        ("training.json cannot be used (text that is not JSON). After tier",),
        trained=Trained(problem="training.json cannot be used (text that is not JSON)"),
    ),
    Case(
        "a small backbone",
        stage3(),
        ("small backbone qwen3-0.6b: go on to the real one",),
        trained=record(8192, backbone="qwen3-0.6b"),
    ),
    Case("the real backbone", stage3(), ("full run",), ("small backbone",), record(8192, backbone="qwen3-8b")),
    Case(
        "the trainer and the gate disagree",
        stage3(),
        ("the trainer stopped for a gap near zero",),
        trained=record(8192, "near_zero"),
    ),
    Case(
        "a red P1 gate beside",
        stage3(result("S3.2", "fail", figure("embed_rows_not_finite", 1, op="==", threshold=0, unit="rows"))),
        ("A warning to look at first: S3.2 rows (embed rows not finite 1",),
        trained=TIER["B"],
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rule_and_its_figures(case: Case) -> None:
    check(case)
