"""S3.5 text: on plain text the checkpoint is its base.

Claim    The new rows have changed nothing that the base makes of text.
Measure  The largest difference of a text logit, [0:V_text), at every predicted token of some texts; the perplexity of
         all text-only examples over text logits. Without the base, each text's loss against the recorded one.
Accept   Text logits differ by 0, or by < 1e-6 where kernels are not deterministic; perplexity within 1 %, its whole
         95 % interval.
Source   design.md section 4 (S3.5); the numbers are the field's.
"""

from gates.gate import Accept, Gate, gate
from gates.stage3.thresholds import Stage3Thresholds
from gates.text import judge_logits, judge_perplexity
from harness.checkpoint import Checkpoint

S35 = Gate(
    id="S3.5",
    name="text",
    priority="P0",
    claim="Text logits are the base's",
    source="design.md section 4; numbers of the field",
    advice=(
        "Look at S3.3: a text row or a frozen tensor that moved shows here. The masking or hook is wrong.",
        "Where S3.3 passes, the model is not loaded as it was trained: compare config.json (tied head, rope, norms) "
        "and the base that bundle.json points to.",
        "Too few texts to tell: give more with --text-eval; the interval narrows with the number of texts.",
    ),
)


@gate(S35)
def test_text_logits_are_the_bases(checkpoint: Checkpoint, accept: Accept, thresholds: Stage3Thresholds) -> None:
    measured = checkpoint.text_regression()
    if measured.base_measured:
        gap = checkpoint.text_logit_gap(thresholds.text_logit_examples)
        judge_logits(accept, gap, at_most=thresholds.max_text_logit_gap)
    else:
        accept(measured.loss_gap("text_loss_gap"), at_most=thresholds.max_text_loss_gap_nats)
    judge_perplexity(accept, checkpoint, measured, max_rise_pct=thresholds.max_text_perplexity_rise_pct)
