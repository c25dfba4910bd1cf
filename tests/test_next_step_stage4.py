"""Stage 4's promotion path: a table of situations, with what the next step says of each and what it never says."""

import pytest

from harness.results import GateResult
from tests.next_steps import (
    Case,
    Interval,
    check,
    decode_figures,
    figure,
    range_figures,
    record,
    result,
    stage4,
    write_figures,
)


def _prompts(**changed: Interval) -> GateResult:
    return result("P0.4", "fail", *write_figures(**changed))


def _decode(fault: str, n: int = 3) -> GateResult:
    tables = [{"title": "What did not decode", "note": "", "columns": ["fault", "t2i", "t2a"], "rows": [[fault, 0, n]]}]
    return result("P0.3", "fail", *decode_figures(t2a=95.3), tables=tables)


_COIN: Interval = (0.5, 0.44, 0.56)
_LITTLE: Interval = (0.62, 0.56, 0.68)
_SCALE = "on to the scale run"
_ALL_THREE = (
    "(1) see that the ablation tests the prompt",
    "(2) raise the T2A/T2I share",
    "(3) use stronger, less generic",
)
_ADAPTER = result(
    "P0.5",
    "fail",
    figure("text_rows_changed", 0, op="==", threshold=0, unit="rows"),
    figure("adapted_modules", 0, op=">", threshold=0, unit="modules", n=1),
)
CASES = (
    Case(
        "bundle fails",
        stage4(result("P0.0", "fail", figure("tensors_not_finite", 2, op="==", threshold=0, unit="tensors"))),
        ("P0.0 bundle failed", "tensors not finite 2", "go back to the last checkpoint"),
    ),
    Case(
        "identity fails before all else",
        stage4(
            _prompts(t2a_win_rate_shuffled=_COIN),
            result("P0.1", "fail", figure("equal_declarations", 50.0, op="==", threshold=100, unit="%")),
        ),
        ("P0.1 identity comes first: equal declarations 50 %, asked for 100", "do not train on"),
        ("(2)",),
    ),
    Case(
        "the adapter is not there",
        stage4(_ADAPTER),
        ("adapted modules 0, asked for > 0", "The adapter changes nothing"),
        ("Text rows moved",),
    ),
    Case(
        "free decoding leaks",
        stage4(result("P0.2", "fail", *range_figures(free=3.2, served="free"))),
        (
            "out of range in free decoding",
            "t2a out of range free 3.2 %",
            "its figure is 0 % already",
            '"decoding": "constrained" in bundle.json',
        ),
        ("bug", "P0.4 is red"),
    ),
    Case(
        "free decoding leaks and the prompt is unheard",
        stage4(result("P0.2", "fail", *range_figures(free=40.0, served="free")), _prompts(t2a_win_rate_shuffled=_COIN)),
        ("Serve with constrained decoding", "P0.4 is red as well"),
    ),
    Case(
        "constrained decoding leaks",
        stage4(result("P0.2", "fail", *range_figures(3.2, 0.5))),
        ("the constraint has a bug", "constrained 0.5 %"),
        ("Serve with",),
    ),
    Case(
        "free decoding leaks, and the constraint too",
        stage4(result("P0.2", "fail", *range_figures(3.2, 0.5, "free"))),
        ("the constraint has a bug",),
    ),
    Case(
        "a length mismatch",
        stage4(_decode("length mismatch")),
        (
            "t2a decode success rate 95.3",
            "length mismatch 3",
            "take the expected length of each example from its golden meta",
        ),
    ),
    Case("cut off", stage4(_decode("cut off")), ("take the expected length of each example",)),
    Case(
        "wrong types in free decoding",
        stage4(_decode("codebook mismatch"), result("P0.2", "pass", *range_figures(served="free"))),
        ("serve with constrained decoding",),
    ),
    Case("wrong types under the constraint", stage4(_decode("codebook mismatch")), ("the constraint has a bug",)),
    Case(
        "nothing decodes, uncounted",
        stage4(result("P0.3", "fail", *decode_figures(0.0))),
        ("Not everything that it writes decodes: t2a decode success rate 0",),
    ),
    Case(
        "the prompt is not heard",
        stage4(_prompts(t2a_win_rate_shuffled=_COIN, t2a_win_rate_empty=_COIN)),
        (
            "It writes t2a as if without a prompt",
            "t2a win rate shuffled 0.50 [0.44, 0.56], asked for >= 0.7",
            *_ALL_THREE,
            "Begin with the format in 1",
        ),
        (_SCALE,),
    ),
    Case(
        "the losses are equal",
        stage4(_prompts(t2a_win_rate_shuffled=(0.0, 0.0, 0.01), t2a_delta_shuffled=(0.0, 0.0, 0.0))),
        ("bit-equal", *_ALL_THREE, "the true prompt is still in use"),
    ),
    Case(
        "the prompt's presence alone is heard",
        stage4(_prompts(t2i_win_rate_shuffled=_COIN)),
        ("It writes t2i by whether there is a prompt, not by what it says", *_ALL_THREE, "begin with 2, and with 3"),
    ),
    Case(
        "the prompt is heard too weakly",
        stage4(_prompts(t2a_win_rate_shuffled=_LITTLE)),
        (
            "heard, too weakly",
            *_ALL_THREE,
            "so the test does reach the prompt: begin with 2",
            "t2a win rate reordered 0.98",
        ),
    ),
    Case(
        "the share is in the record",
        stage4(_prompts(t2a_win_rate_shuffled=_LITTLE)),
        ("raise the T2A/T2I share of the mix (it was 25 %)",),
        trained=record(8192, mix={"shares": {"a2t": 3.0, "i2t": 3.0, "t2a": 1.0, "t2i": 1.0}}),
    ),
    Case(
        "ablating nothing changed something",
        stage4(_prompts(t2a_null_gap=(0.1, 0.1, 0.1))),
        ("Ablating nothing changed the loss", "Mend the measurement first"),
    ),
    Case(
        "all green",
        stage4(),
        (
            f"Go {_SCALE}: more steps, or a larger sample pool than 8k.",
            "t2a decoded 100 %, win rate against shuffled prompts 1.00, against empty ones 1.00, Δ empty 0.60",
        ),
        ("warnings", "Keep the constraint"),
    ),
    Case(
        "all green, with a record",
        stage4(),
        ("more steps than 2,000, or a larger sample pool than the 4,096 rows",),
        trained=record(4096),
    ),
    Case(
        "red P1 gates by name",
        stage4(
            result(
                "P1.2", "fail", figure("a2t.win_rate_shuffled", 0.7, 0.6, 0.75, op=">=", threshold=0.8, unit="share")
            ),
            result("P1.3", "not_run"),
            result(
                "P1.4", "error", figure("text_perplexity_change", 0.98, -2.6, 3.7, op="<=", threshold=2.0, unit="%")
            ),
        ),
        (
            "Look first at the warnings P1.2 read_ablation (a2t win rate shuffled 0.70 [0.60, 0.75], asked for >= 0.8; "
            "give A2T/I2T more weight",
            "P1.3 fingerprints was not run",
            "too few texts to tell",
            f"then go {_SCALE}",
        ),
    ),
    Case(
        "keep the constraint",
        stage4(result("P0.2", "pass", *range_figures(free=3.2))),
        ("Keep the constraint (t2a out of range free 3.2 %",),
    ),
    Case(
        "no constraint to keep, where a few ids out of range are allowed",
        stage4(result("P0.2", "pass", *range_figures(free=0.4, served="free"))),
        (_SCALE,),
        ("Keep the constraint",),
    ),
    Case(
        "details are not heard",
        stage4(result("P0.4", "pass", *write_figures(t2a_win_rate_nearest=_COIN))),
        (_SCALE, "Details of the prompt are not heard yet (t2a win rate nearest 0.50)"),
    ),
    Case(
        "borderline, and passed",
        stage4(result("P0.4", "pass", *write_figures(t2a_win_rate_shuffled=(0.72, 0.66, 0.78)))),
        (
            _SCALE,
            "Borderline: t2a win rate shuffled 0.72 [0.66, 0.78] on 288 "
            "examples, asked for 0.7 (about 2,600 would tell). Give more held-out examples (--golden, --dev).",
        ),
    ),
    Case(
        "borderline, and failed",
        stage4(_prompts(t2a_win_rate_shuffled=(0.66, 0.59, 0.73))),
        ("Do not promote", "Borderline: t2a win rate shuffled 0.66"),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rule_and_its_figures(case: Case) -> None:
    check(case)
