"""The worked example: a checkpoint of a stated truth under P0.4, in words."""

from gates.power.ablations import Truth, ablation_gate
from gates.power.exact import chances_of_every_n, gate_chances
from gates.power.needed import UP_TO, needed, shown
from gates.power.rule import bounds
from gates.power.tables import pct
from gates.power.win_rate_tables import SHUFFLED
from gates.stage4.thresholds import Stage4Thresholds
from harness.looks import Looks

GOOD, BAD, FEW, CERTAINTY = 0.75, 0.65, 64, 0.95


def worked_example(thresholds: Stage4Thresholds) -> tuple[str, ...]:
    """What becomes of a good and of a bad checkpoint with few examples, with enough, and how many are enough."""
    gate = ablation_gate("P0.4", thresholds)
    n = gate.recommended_n
    good, bad = (gate.figures(Truth(w, SHUFFLED)) for w in (GOOD, BAD))
    half_bad = gate.figures(Truth(BAD, SHUFFLED, in_one_task=True))
    figure = next(each for each in good[0] if each.truth == GOOD)
    few, many = (gate_chances(good, Looks((each,))) for each in (FEW, n))
    slips = [gate_chances(bad, Looks((each,))).passes for each in (FEW, n)]
    half_slips = [gate_chances(half_bad, Looks((each,))).passes for each in (FEW, n, 2 * n)]
    passes, fails = chances_of_every_n(good, UP_TO)[0], chances_of_every_n(half_bad, UP_TO)[1]
    least = figure.rule.bound
    enough = shown(needed(passes, CERTAINTY, ever=least < GOOD))
    to_reject = shown(needed(fails, CERTAINTY, ever=least > BAD))
    at = bounds(figure.rule, FEW, Looks((FEW,)).level)
    return (
        f"Your checkpoint's true win rate against {SHUFFLED} prompts is {GOOD:g} in both tasks, and against empty "
        f"ones it always wins. P0.4 asks for {least:g}. You have {FEW} golden examples a task and no dev set.",
        f"The gate passes with {pct(few.passes)} %, rejects with {pct(few.fails)} %, and says INCOMPLETE with "
        f"{pct(few.unclear)} %. It recommends {n} examples; with {FEW}, each task must win {at.passes_from} of them, "
        f"and a checkpoint like yours wins {GOOD * FEW:g} on average.",
        f"With {n} golden examples it passes with {pct(many.passes)} % and is rejected with {pct(many.fails)} %. To be "
        f"promoted with {100 * CERTAINTY:g} % it needs {enough} of them.",
        f"And a bad one? A checkpoint whose true win rate is {BAD:g} in both tasks passes with {pct(slips[0])} % at "
        f"{FEW} examples and {pct(slips[1])} % at {n}. One that is so bad in one task alone passes with "
        f"{pct(half_slips[0])} % at {FEW}, {pct(half_slips[1])} % at {n} and {pct(half_slips[2])} % at {2 * n}; to be "
        f"rejected with {100 * CERTAINTY:g} % it needs {to_reject}.",
    )
