"""Stage 3 with a gate that is red: what to mend or change, with what the next step says and what it never says."""

import pytest

from tests.next_steps import CHANGE, NOISY, NONE, TIER, WEAK, Case, check, figure, read_figures, record, result, stage3

_NEITHER = stage3(a2t=NONE, i2t=NONE)
_TEXT = result("S3.5", "fail", figure("text_logit_gap", 0.3, op="<=", threshold=1e-6, unit="logits"))
_GROWING, _FLAT = (
    result("S3.6", "pass", figure("delta_shuffle_a2t_last", last), figure("delta_shuffle_a2t_first", 0.05))
    for last in (0.11, 0.052)
)
CASES = (
    Case(
        "near zero after tier B: stop",
        _NEITHER,
        (
            "After tier B (8,192 rows)",
            "near zero, so stop",
            CHANGE,
            "a2t Δ shuffled 0.003 [-0.010, 0.020] nats/token, win rate 0.51 [0.45, 0.57]",
        ),
        ("tier C", "2.5-day"),
        TIER["B"],
    ),
    Case(
        "near zero in a full run: stop it now",
        _NEITHER,
        ("After step 650 of 2,000 of the full run (256,408 rows)", "stop it now", CHANGE),
        trained=record(256_408, "running", step=650),
    ),
    Case(
        "near zero, too early to tell",
        _NEITHER,
        ("1,600 rows seen", "near zero so far", "Measure again when 8,192 rows are seen"),
        (CHANGE,),
        record(256_408, "running", step=100),
    ),
    Case(
        "near zero after tier A: the pipeline",
        _NEITHER,
        ("the pipeline is not proven", "The new rows moved (modality rows moved 1,296", "2.5-day epoch won't fix"),
        (CHANGE,),
        TIER["A"],
    ),
    Case(
        "near zero after tier A, rows stand still",
        stage3(
            result("S3.2", "fail", figure("embed_seen_rows_unmoved", 93.0, op="<=", threshold=1.0, unit="%")),
            a2t=NONE,
            i2t=NONE,
        ),
        ("embed seen rows unmoved 93 %", "mend S3.2 first"),
        trained=TIER["A"],
    ),
    Case(
        "near zero, tier unknown: both cases",
        _NEITHER,
        (
            "No training.json says how many rows",
            "if this was tier A (2,048 rows), the pipeline is not proven",
            "if it was tier B or more, stop.",
            CHANGE,
        ),
    ),
    Case(
        "near zero for one modality",
        stage3(a2t=NONE),
        ("gap of a2t is still near zero (that of i2t is not)", "i2t Δ shuffled 0.54", CHANGE),
        trained=TIER["B"],
    ),
    Case(
        "the intervals hold nothing and everything",
        stage3(a2t=NOISY),
        ("no gap at all as well as all that is asked for", "independent media", "Borderline: "),
        (CHANGE, "Give more held-out examples (--golden"),
        TIER["B"],
    ),
    Case(
        "below the numbers after tier A",
        stage3(a2t=WEAK, i2t=WEAK),
        ("below the numbers", "a2t win rate shuffled 0.70 [0.64, 0.75], asked for >= 0.8", "take tier B (8,192 rows)"),
        (CHANGE,),
        TIER["A"],
    ),
    Case(
        "below the numbers and growing",
        stage3(_GROWING, a2t=WEAK),
        ("Train longer on the same rows", "delta_shuffle_a2t 0.05 to 0.11 in the log"),
        (CHANGE,),
        TIER["B"],
    ),
    Case("below the numbers and flat", stage3(_FLAT, a2t=WEAK), ("It has plateaued there.", CHANGE), trained=TIER["B"]),
    Case(
        "below the numbers, the trainer saw a plateau",
        stage3(a2t=WEAK),
        ("It has plateaued there.", CHANGE),
        trained=record(8192, "plateau"),
    ),
    Case(
        "below the numbers, no trend", stage3(a2t=WEAK), ("while the gap grows", "plateaued already"), trained=TIER["C"]
    ),
    Case(
        "below the numbers, tier unknown",
        stage3(a2t=WEAK),
        ("if this was tier A (2,048 rows), take tier B", "if it was tier B or more, train longer"),
    ),
    Case("order is not read", stage3(a2t_shuffled=NONE), ("not its own in another order (a2t)",), (), TIER["B"]),
    Case(
        "text is not clean",
        stage3(_TEXT),
        (
            "S3.5 text failed",
            "Text is not clean",
            "text logit gap 0.3",
            "Mend that first",
            "Where S3.3 passes, the model is not loaded",
        ),
        ("tier C",),
        TIER["B"],
    ),
    Case(
        "text is not clean, the parameters were not measured",
        stage3(_TEXT, result("S3.3", "not_run")),
        ("Text is not clean", "replay text where they are to train. "),
        ("Where S3.3 passes",),
        TIER["B"],
    ),
    Case(
        "text before a gap near zero",
        stage3(_TEXT, a2t=NONE, i2t=NONE),
        ("S3.4 modality_ablation and S3.5 text failed", "Text is not clean", "a2t Δ shuffled 0.003"),
        (CHANGE,),
        TIER["B"],
    ),
    Case(
        "a hard gate comes first",
        stage3(
            result("S3.3", "fail", figure("text_rows_changed", 12, op="==", threshold=0, unit="rows")),
            a2t=NONE,
            i2t=NONE,
        ),
        ("S3.3 parameters comes first: text rows changed 12, asked for 0", "The masking or hook is wrong"),
        (CHANGE,),
        TIER["B"],
    ),
    Case(
        "held out fails",
        stage3(result("S3.7", "fail", figure("shared_content", 3, op="==", threshold=0, unit="examples"))),
        ("shared content 3 examples", "Drop the listed examples"),
    ),
    Case(
        "ablating nothing changed something",
        stage3(
            result(
                "S3.4",
                "fail",
                *read_figures(a2t=NONE, i2t=NONE)[1:],
                figure("a2t.null_gap", 0.01, op="==", threshold=0, unit="nats/token"),
            )
        ),
        ("Ablating nothing changed the loss: a2t null gap 0.01", "Check the harness first"),
        (CHANGE,),
        TIER["B"],
    ),
    Case(
        "NaN",
        stage3(
            result(
                "S3.4",
                "fail",
                *[
                    m.model_copy(update={"value": float("nan"), "low": None, "high": None})
                    for m in read_figures(a2t=NONE, i2t=NONE)
                ],
            )
        ),
        ("could not be computed", "Look for NaN"),
        (CHANGE,),
        TIER["B"],
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rule_and_its_figures(case: Case) -> None:
    check(case)
