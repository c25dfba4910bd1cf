"""Stage 3 with every P0 gate green: which run comes next. A full epoch is not what to wait for."""

from gates.next_step.gap import Gap
from gates.next_step.step import (
    Gates,
    Step,
    gate_of,
    highest,
    label,
    listed,
    lowest,
    measured,
    named,
    number,
    shortfalls,
)
from gates.next_step.trained import Trained
from gates.next_step.trend import DYNAMICS
from gates.stage3.thresholds import Stage3Thresholds
from harness.tiers import TIER_ROWS

ABLATION, TEXT, ROWS = "S3.4", "S3.5", "S3.2"
MOST_NAMED = 3


def after_a_strong_gap(gates: Gates, gaps: list[Gap], thresholds: Stage3Thresholds, trained: Trained) -> Step:
    """Section 8: a strong gap and clean text lead to tier C or the full run, depending on how stable it looks."""
    doubts = unstable(gates, thresholds)
    action = (_real_backbone(trained, thresholds) or _next_run(trained, doubts)) + _rows(gates)
    why = trained.after("the ablation gap is strong and text is clean")
    if trained.record is not None and trained.record.stopped == "near_zero":
        why += ", though the trainer stopped for a gap near zero (compare its dev set with this one)"
    return Step(why, action, (*(gap.figures for gap in gaps), *_text(gates)))


def unstable(gates: Gates, thresholds: Stage3Thresholds) -> list[str]:
    """What speaks against calling the run stable; empty where nothing does."""
    doubts = []
    dynamics, ablation = gate_of(gates, DYNAMICS), gate_of(gates, ABLATION)
    if dynamics is None or dynamics.outcome in ("not_run", "error"):
        doubts.append(f"{DYNAMICS}, the training log, was not judged")
    elif dynamics.outcome == "fail":
        doubts.append(f"{named(dynamics)} is red ({'; '.join(shortfalls(dynamics)) or 'see its report'})")
    judged = {m.name: m for m in ablation.measurements if m.op} if ablation else {}
    unproven = [label(m.name) for m in judged.values() if m.confidence not in (None, "proven")]
    if unproven:
        doubts.append(f"{listed(unproven[:MOST_NAMED])} is not proven")
    for task in ("a2t", "i2t"):
        spread = _spread_pct(gates, f"{task}.delta_shuffled")
        if spread is None:
            doubts.append(f"the spread of {task} Δ shuffled is not known")
        elif spread > thresholds.max_gap_spread_pct:
            doubts.append(f"{task} Δ shuffled is known to ± {spread:.0f} % only")
    return doubts


def _next_run(trained: Trained, doubts: list[str]) -> str:
    to_b = f"tier B ({TIER_ROWS['B']:,} rows)"
    to_c = f"tier C ({TIER_ROWS['C']:,} rows)"
    if trained.tier == "A":
        return f"The pipeline is proven: go on to {to_b}."
    all_rows = "Where these are all the rows there are, this was the full run: go on to stage 4."
    early = "Do not wait for the rest of this run. " if trained.running else ""
    if trained.tier == "B":
        if doubts:
            return f"{early}Go on to {to_c} before the full run, since {listed(doubts)}. {all_rows}"
        return f"{early}It looks stable: go straight on to the full run. {all_rows}"
    if trained.tier == "C":
        if doubts:
            settle = f"Tier C is to show stability, and {listed(doubts)}: settle that, then go"
            return f"{early}{settle} on to the full run. {all_rows}"
        return f"{early}Go on to the full run. {all_rows}"
    if trained.tier == "full":
        done = "Do not wait for the rest of the epoch: go" if trained.running else "Go"
        return f"{done} on to stage 4.{f' Look first: {listed(doubts)}.' if doubts else ''}"
    open_questions = f" ({listed(doubts)})" if doubts else ""
    return (
        f"{trained.unknown}. After tier A ({TIER_ROWS['A']:,} rows) go on to {to_b}; after tier B to {to_c}, or to the "
        f"full run where it is stable{open_questions}; after tier C to the full run; after that to stage 4."
    )


def _real_backbone(trained: Trained, thresholds: Stage3Thresholds) -> str:
    """Section 7: once the approach passes on the small backbone, scale that and not the rows."""
    small = trained.small_backbone(thresholds.real_backbone_billions)
    if small is None or trained.tier in (None, "A"):
        return ""
    return f"The approach passes on the small backbone {small}: go on to the real one, with the same recipe and tier."


def _rows(gates: Gates) -> str:
    gate = gate_of(gates, ROWS)
    if gate is None or gate.outcome == "pass":
        return ""
    what = "; ".join(shortfalls(gate)) if gate.outcome == "fail" else "not measured"
    return f" A warning to look at first: {named(gate)} ({what or 'see its report'})."


def _text(gates: Gates) -> tuple[str, ...]:
    """The largest difference of a text logit, or loss, and the change of perplexity."""
    names = {"text_logit_gap": "text logits differ by", "text_loss_gap": "text losses differ by",
             "text_perplexity_change": "text perplexity by"}  # fmt: skip
    found = {says: measured(gate_of(gates, TEXT), name) for name, says in names.items()}
    told = [f"{says} {m.value:.3g}{' %' if m.unit == '%' else ''}"
            for says, m in found.items() if m is not None and number(m.value) is not None]  # fmt: skip
    return (", ".join(told),) if told else ()


def _spread_pct(gates: Gates, name: str) -> float | None:
    """Half the width of a figure's interval, in per cent of it."""
    m = measured(gate_of(gates, ABLATION), name)
    value, low, high = (number(m.value), lowest(m), highest(m)) if m else (None, None, None)
    if value is None or low is None or high is None or value <= 0:
        return None
    return 50 * (high - low) / value
