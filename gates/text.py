"""What both text gates judge and say: the perplexity of plain text against the base's, over text logits."""

from gates.gate import Accept
from harness import statistics
from harness.checkpoint import Checkpoint
from harness.results import Measurement
from harness.text_regression import TextLogitGap, TextRegression, in_pct

MAX_NAMED = 10
CHANGE = "text_perplexity_change"


def judge_logits(accept: Accept, gap: TextLogitGap, *, at_most: float) -> None:
    """No text logit may differ from the base's, on any of some texts."""
    measured = gap.measurement("text_logit_gap")
    if not accept(measured, at_most=at_most):
        example, row = gap.worst
        accept.note(f"Text {example.id!r} differs most, in the logit of row {row}.")
    elif measured.value == 0:
        accept.note("Text logits are the base's, bit for bit.")


def judge_perplexity(accept: Accept, checkpoint: Checkpoint, measured: TextRegression, *, max_rise_pct: float) -> None:
    """Hold the rise of the perplexity against the margin, and say beside it where it comes from."""
    judge_change(accept, checkpoint, measured, max_rise_pct=max_rise_pct)
    _report_whole_softmax(accept, measured)
    _tabulate_sources(accept, checkpoint, measured)
    _name_worst(accept, measured)
    accept.note(f"Held against {measured.against}, over text logits alone: a wider softmax changes nothing.")
    if measured.unscored:
        named = ", ".join(measured.unscored[:MAX_NAMED])
        accept.note(f"{len(measured.unscored)} texts of fewer than two tokens have no loss and were left out: {named}")


def judge_change(accept: Accept, draws: statistics.Draws, measured: TextRegression, *, max_rise_pct: float) -> None:
    """Non-inferiority: the whole 95 % interval of the rise must lie within the margin."""
    change = measured.perplexity_change(CHANGE, draws.rng("bootstrap", CHANGE))
    within = accept(change, at_most=max_rise_pct, proven=True)
    if within and change.high is None:
        accept.unclear.append(
            f"{CHANGE} is {change.value:.4g} % and has no interval: {measured.against} is one mean over all texts; "
            "pass --base, or write base_fingerprint.json again with the vocabulary surgery"
        )


def _report_whole_softmax(accept: Accept, measured: TextRegression) -> None:
    n = len(measured.examples)
    accept.report(measured.whole_softmax_change(f"{CHANGE}_whole_softmax"))
    outside = measured.losses.share_outside
    accept.report(Measurement(name="probability_outside_text", value=outside, unit="share", n=n))
    accept.report(Measurement(name="text_loss", value=measured.losses.mean, unit="nats/token", n=n))
    accept.report(Measurement(name="text_loss_base", value=measured.base_mean, unit="nats/token", n=n))


def _tabulate_sources(accept: Accept, checkpoint: Checkpoint, measured: TextRegression) -> None:
    if measured.deltas is None:
        return
    rows: list[list[str | float | None]] = []
    for source in measured.sources:
        rng = checkpoint.rng("bootstrap", CHANGE, source)
        change = measured.perplexity_change(CHANGE, rng, source)
        rows.append([source, change.n, change.value, change.low, change.high])
    accept.table(
        "Text perplexity by source",
        ["source", "texts", "change %", "95 % from", "to"],
        rows,
        note="Against the base, over text logits. Reported, not judged.",
    )


def _name_worst(accept: Accept, measured: TextRegression) -> None:
    """The texts whose loss rose most."""
    accept.details["worst"] = [
        {
            "id": example.id,
            "prompt": example.text,
            "note": f"{rise:+.4g} nats/token, perplexity {in_pct(rise):+.3g} %",
        }
        for example, rise in measured.most_risen(MAX_NAMED)
    ]
