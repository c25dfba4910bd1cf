"""P1.4 text: the text ability of the base is intact.

Claim    Training the adapter has not cost the base its text.
Measure  The perplexity of text-only examples over text logits, against the base's, per cent; paired by text.
Accept   Not worse by more than 2 %: the upper end of the 95 % interval lies within that margin.
Source   design.md section 4 (P1.4); the number is the field's, with LoRA.
"""

from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from gates.text import judge_perplexity
from harness.checkpoint import Checkpoint

P14 = Gate(
    id="P1.4",
    name="text",
    priority="P1",
    claim="Text ability is intact",
    source="design.md section 4; number of the field",
    advice=(
        "Raise the share of text-only replay in the mix, of the kind of text that the table names.",
        "Lower the adapter's learning rate or rank, or stop earlier: text is lost late in training.",
        "A loss that rose on all kinds of text at once: the model is not loaded as it was trained; compare config.json "
        "(tied head, rope, norms) and the adapter's alpha with the run's.",
        "Too few texts to tell: give more with --text-eval; the interval narrows with the number of texts.",
    ),
)


@gate(P14)
def test_text_is_not_worse_than_the_bases(checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds) -> None:
    measured = checkpoint.text_regression()
    judge_perplexity(accept, checkpoint, measured, max_rise_pct=thresholds.max_text_perplexity_rise_pct)
