"""Stage 3: which tier comes next, or what to change. The rules of spec/stage3-iteration.md, in the order they apply."""

from gates.next_step.gap import Gap, gaps_of
from gates.next_step.hard import first_hard_failure
from gates.next_step.promising import after_a_strong_gap
from gates.next_step.step import (
    Gates,
    Step,
    figure,
    first_advice,
    gate_of,
    listed,
    measured,
    number,
    outcome_is,
    shortfalls,
)
from gates.next_step.trained import Trained
from gates.next_step.trend import Trend, trend_of
from gates.stage3.thresholds import Stage3Thresholds
from harness.results import GateResult
from harness.tiers import TIER_ROWS

HARD = ("S3.0", "S3.1", "S3.3", "S3.7")
ABLATION, TEXT, ROWS, PARAMETERS = "S3.4", "S3.5", "S3.2", "S3.3"
CHANGE = "Change the modelling, in this order: prompting, masking, copy mix, clip policy; not the dataset size."
IF_A = f"if this was tier A ({TIER_ROWS['A']:,} rows)"


def step(gates: Gates, thresholds: Stage3Thresholds, trained: Trained) -> Step:
    """The next step of a run that was judged whole, whether it passed or failed."""
    gaps = gaps_of(gate_of(gates, ABLATION), thresholds)
    return (
        first_hard_failure(gates, HARD)
        or text_first(gates, gaps)
        or measurement_first(gates, gaps)
        or near_zero(gates, gaps, trained)
        or below_the_numbers(gates, gaps, thresholds, trained)
        or any_other(gates)
        or unmeasured(gates)
        or after_a_strong_gap(gates, gaps, thresholds, trained)
    )


def text_first(gates: Gates, gaps: list[Gap]) -> Step | None:
    """Text that is not the base's: no gap is worth that, and a run that moved text proves nothing about the rows."""
    gate = gate_of(gates, TEXT)
    if gate is None or gate.outcome != "fail":
        return None
    rows_clean = outcome_is(gates, PARAMETERS, "pass")
    loaded_wrong = next((advice for advice in gate.advice if advice.startswith("Where S3.3 passes")), None)
    advice = loaded_wrong if rows_clean and loaded_wrong else first_advice(gate)
    action = f"Mend that first: keep text rows and backbone frozen; replay text where they are to train. {advice}"
    return Step("Text is not clean", action, (*shortfalls(gate), *(gap.figures for gap in gaps)))


def measurement_first(gates: Gates, gaps: list[Gap]) -> Step | None:
    """An ablation that contradicts itself, or has no numbers, says nothing about the model."""
    gate = _failed(gates, ABLATION)
    if gate is None:
        return None
    moved = [m for gap in gaps if (m := measured(gate, f"{gap.task}.null_gap")) and number(m.value)]
    if moved:
        found = tuple(figure(m) for m in moved)
        return Step("Ablating nothing changed the loss", f"Mend the measurement first. {first_advice(gate)}", found)
    if missing := [gap.task for gap in gaps if gap.state == "not_computed"]:
        action = "Look for NaN in weights or losses first: the learning rate, the gradients' clipping, the data."
        return Step(f"The ablation gap of {listed(missing)} could not be computed", action, shortfalls(gate))
    if any(gap.state == "unclear" for gap in gaps):
        action = "Give more held-out examples of independent media (--golden, --dev) and run again."
        why = "The intervals hold no gap at all as well as all that is asked for"
        return Step(why, action, tuple(gap.figures for gap in gaps))
    return None


def near_zero(gates: Gates, gaps: list[Gap], trained: Trained) -> Step | None:
    """Section 8: near zero after tier B or later is a matter of modelling; after tier A the pipeline is not proven."""
    none = [gap for gap in gaps if gap.state == "near_zero"]
    if not none or _failed(gates, ABLATION) is None:
        return None
    rest = [gap.task for gap in gaps if gap.state != "near_zero"]
    but = f" (that of {listed(rest)} is not)" if rest else ""
    figures = (*(gap.figures for gap in gaps), f"{listed(gap.task for gap in none)} no better swapped or with noise")
    of = f"the ablation gap of {listed(gap.task for gap in none)} is"
    if trained.too_early and trained.record:
        wait = min(trained.record.train_rows, TIER_ROWS["B"])
        action = f"Measure again when {wait:,} rows are seen; do not wait for an epoch beyond that."
        why = trained.after(f"{trained.rows_seen:,} rows seen, {of} near zero so far{but}")
        return Step(why, f"{action} {_rows_moved(gates)}", figures)
    if trained.tier == "A":
        why = trained.after(f"{of} near zero{but}, and the pipeline is not proven")
        return Step(why, f"{_rows_moved(gates)} A 2.5-day epoch won't fix it.", figures)
    if trained.tier is not None:
        stop = "stop it now" if trained.running else "stop"
        return Step(trained.after(f"{of} still near zero{but}, so {stop}"), CHANGE, figures)
    action = (
        f"{trained.unknown}: {IF_A}, the pipeline is not proven, and a 2.5-day epoch won't fix it; if it was tier B or "
        f"more, stop. {CHANGE}"
    )
    return Step(trained.after(f"{of} near zero{but}"), action, (*figures, *_rows(gates)))


def below_the_numbers(gates: Gates, gaps: list[Gap], thresholds: Stage3Thresholds, trained: Trained) -> Step | None:
    """A gap that exists and is not yet what is asked for: tier B after tier A; else as long as it grows."""
    gate = _failed(gates, ABLATION)
    if gate is None:
        return None
    trend = trend_of(gates, trained, thresholds)
    unread = [gap.task for gap in gaps if gap.order_unread]
    order = (
        f" It tells other media from its own, but not its own in another order ({listed(unread)})." if unread else ""
    )
    why = trained.after("there is an ablation gap, below the numbers")
    return Step(why, f"{_what_follows(trained, trend)}{order}", (*shortfalls(gate, 3), *trend.figures))


def any_other(gates: Gates) -> Step | None:
    """A P0 gate that failed and has no rule of its own: its own advice."""
    return first_hard_failure(gates, [gate.id for gate in gates])


def unmeasured(gates: Gates) -> Step | None:
    """No rule of section 8 applies without the ablation."""
    if outcome_is(gates, ABLATION, "pass"):
        return None
    return Step(f"{ABLATION}, the modality ablation, was not measured", "Measure it: every rule rests on its gap.")


def _what_follows(trained: Trained, trend: Trend) -> str:
    longer = "Train longer on the same rows while the gap grows, and stop when it has plateaued."
    if trained.tier is None:
        return (
            f"{trained.unknown}: {IF_A}, take tier B ({TIER_ROWS['B']:,} rows); if it "
            f"was tier B or more, train longer on the same rows while the gap grows (S3.6). Where it has plateaued: "
            f"{CHANGE[0].lower()}{CHANGE[1:]}"
        )
    if trained.tier == "A":
        return f"The model can read: take tier B ({TIER_ROWS['B']:,} rows), and run it until the gap stabilises."
    if trend.state == "growing":
        return longer
    if trend.state == "plateau":
        return f"It has plateaued there. {CHANGE}"
    return f"{longer} Where it has plateaued already: {CHANGE[0].lower()}{CHANGE[1:]}"


def _rows_moved(gates: Gates) -> str:
    """Whether gradients reach the rows, as far as S3.3 and S3.2 tell."""
    told = _rows(gates)
    if not told:
        return "See that gradients reach the new rows (S3.2, S3.3) and that the media reach the model."
    rows = gate_of(gates, ROWS)
    if rows is not None and rows.outcome == "fail":
        return f"Gradients do not reach all new rows as they should ({'; '.join(told)}): mend S3.2 first."
    return f"The new rows moved ({'; '.join(told)}): see that the media reach the model, then format and masking."


def _rows(gates: Gates) -> list[str]:
    """How many rows moved, and how many of those seen did not."""
    found = [measured(gate_of(gates, PARAMETERS), "modality_rows_moved")]
    found += [measured(gate_of(gates, ROWS), f"{table}_seen_rows_unmoved") for table in ("embed", "lm_head")]
    return [figure(m) for m in found if m is not None and number(m.value) is not None]


def _failed(gates: Gates, gate_id: str) -> GateResult | None:
    gate = gate_of(gates, gate_id)
    return gate if gate is not None and gate.outcome == "fail" else None
