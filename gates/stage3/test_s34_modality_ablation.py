"""S3.4 modality ablation: the model reads its media tokens.

Claim    With its media destroyed, an example's own text is harder to predict.
Measure  Teacher-forced loss of the text block under correct, shuffled (the media's own ids permuted), swapped (another
         example's media), noise (random ids of the range whose turn it is) and constant media; win rates and Δ.
Accept   shuffled and swapped: Δ >= 0.10 nats/token or >= 5 %, win rate >= 0.80; noise: Δ >= 0.15 or >= 8 %, win rate
         >= 0.85; constant: Δ > 0; 128 examples or more for each modality, and more where a figure is borderline.
Source   spec/stage3-iteration.md, sections 1 and 6A; the numbers are the field's.
"""

from gates.ablation import MediaRule, judge_media_ablation, judge_null_control, keep_losses, media_rules
from gates.gate import Accept, Gate, gate
from gates.looks import until_clear
from gates.stage3.thresholds import Stage3Thresholds
from harness.checkpoint import Checkpoint
from harness.examples import READ_TASKS

S34 = Gate(
    id="S3.4",
    name="modality_ablation",
    priority="P0",
    claim="It reads its media tokens",
    source="spec/stage3-iteration.md section 6A; numbers of the field",
    advice=(
        "Check the harness first: do the input hashes of two conditions differ, are losses bit-equal?",
        "Check that captions and media are paired rightly: pair them again by the media's content.",
        "Check that codec, order of the codes and rows belong together: media of another training of the codec are "
        "noise to the model.",
        "Check that gradients reach the modality rows: the parameter audit must show that they moved.",
        "Change the objective or format (prompting, masking, copy mix, clip policy); do not just train longer.",
    ),
)


@gate(S34)
def test_the_text_depends_on_the_media(checkpoint: Checkpoint, accept: Accept, thresholds: Stage3Thresholds) -> None:
    n, further = thresholds.recommended_ablation_examples, thresholds.further_ablation_examples
    planned = {task: checkpoint.planned_looks(task, n, further) for task in READ_TASKS}
    for looks in until_clear(accept, planned):
        for task, look in looks.items():
            measured = checkpoint.media_ablation(task, n, look)
            judge_media_ablation(accept, checkpoint, measured, look, rules_of(thresholds), n)
            judge_null_control(accept, measured)
            keep_losses(accept, measured, "media")


def rules_of(thresholds: Stage3Thresholds) -> dict[str, MediaRule]:
    """What each way to destroy the media must do to the loss of the text."""
    return media_rules(thresholds, constant=MediaRule())
