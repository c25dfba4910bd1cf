"""P0.2 compliance: generation stays in the modality's own ranges.

Claim    Every id that the checkpoint writes into a sound or a picture is one of that modality's codes.
Measure  out_of_range_pct: ids that are neither such a code nor the end tag, in percent of those written for the golden
         prompts, decoded as the bundle says that it will be served.
Accept   0 %. The figure of free decoding and the probability outside the ranges are reported beside it.
Source   spec/stage4-verification.md, P0.2.
"""

from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from harness import statistics
from harness.checkpoint import Checkpoint, Generations
from harness.examples import WRITE_TASKS
from harness.results import Measurement

P02 = Gate(
    id="P0.2",
    name="compliance",
    priority="P0",
    claim="Generation stays in the modality's own ranges",
    source="spec/stage4-verification.md P0.2",
    advice=(
        "Serve with constrained decoding (a LogitsProcessor, or masked logits before sampling): for T2A allow only "
        'the AUDIO_CB ranges and <aud_end>, for T2I only IMAGE and <img_end>; then set "decoding": "constrained" '
        "in bundle.json.",
        "If the free figure is far from 0 as well, train longer or raise the T2A/T2I share: the constraint would only "
        "hide that the model does not know its codes.",
    ),
)


@gate(P02)
def test_generation_stays_in_range(checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds) -> None:
    served = checkpoint.bundle.decoding
    for task in WRITE_TASKS:
        for how in ("free", "constrained"):
            written = checkpoint.generations(task, thresholds.generation_examples, how)
            figure = out_of_range_pct(written)
            if how == served:
                accept(figure, at_most=thresholds.max_out_of_range_pct)
                accept.details.setdefault("worst", []).extend(worst(written, checkpoint))
            else:
                accept.report(figure)
            accept.report(sequences_out_of_range(written))
        outside = checkpoint.prompt_ablation(task, thresholds.recommended_ablation_examples).mass_outside
        accept.report(
            Measurement(name=f"{task}.mass_outside", value=float(outside.mean()), unit="probability", n=len(outside))
        )


def out_of_range_pct(written: Generations) -> Measurement:
    """Ids out of range, in percent of the ids written."""
    counts = written.compliance
    name = f"{written.task}.out_of_range_pct ({written.decoding})"
    value = 100 * counts.out_of_range / counts.n_ids if counts.n_ids else float("nan")
    return Measurement(name=name, value=value, unit="%", n=counts.n_sequences)


def sequences_out_of_range(written: Generations) -> Measurement:
    """Sequences with an id out of range: the independent items, so the interval is theirs."""
    counts = written.compliance
    name = f"{written.task}.sequences_out_of_range ({written.decoding})"
    return statistics.proportion(name, counts.sequences_out_of_range, counts.n_sequences, unit="%", scale=100)


def worst(written: Generations, checkpoint: Checkpoint) -> list[dict[str, str]]:
    """The first sequences that leaked, with what leaked."""
    return [
        {
            "id": written.examples[number].id,
            "prompt": written.examples[number].text or "",
            "note": f"{checkpoint.bundle.space.name_of(token_id)} (id {token_id}) at position {position}",
        }
        for number, position, token_id in written.compliance.first_leaks[:10]
    ]
