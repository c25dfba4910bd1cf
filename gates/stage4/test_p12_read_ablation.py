"""P1.2 read ablation: learning to write has not taught the model to ignore the media that it reads.

Claim    After stage 4, as before it, an example's own text is harder to predict with its media destroyed.
Measure  As in S3.4: teacher-forced loss of the text block under correct, shuffled (the media's own ids permuted),
         swapped (another example's media), noise (random ids of the range whose turn it is) and constant media, which
         is the spec's "zero"; win rates and Δ.
Accept   shuffled and swapped: Δ >= 0.10 nats/token or >= 5 %, win rate >= 0.80; noise: Δ >= 0.15 or >= 8 %, win rate
         >= 0.85; constant: Δ >= 0.10 or >= 5 %; 128 examples or more for each modality, and more where a figure is
         borderline.
Source   spec/stage4-verification.md, P1.2; the numbers are the field's.
"""

from gates.ablation import MediaRule, judge_media_ablation, judge_null_control, keep_losses, media_rules
from gates.gate import Accept, Gate, gate
from gates.looks import until_clear
from gates.stage4.thresholds import Stage4Thresholds
from harness.checkpoint import Checkpoint
from harness.examples import READ_TASKS

P12 = Gate(
    id="P1.2",
    name="read_ablation",
    priority="P1",
    claim="It still reads",
    source="spec/stage4-verification.md P1.2; numbers of the field",
    advice=(
        "Ensure that the ablation tests the media's influence: look for the correct media still in use through a "
        "cache or a format bug.",
        "Check that captions and media are paired rightly: pair them again by the media's content.",
        "Check that codec, order of the codes and rows belong together: media of another training of the codec are "
        "noise to the model.",
        "Compare with the stage 3 parent: pytest gates/stage3. If S3.4 fails there as well, stage 4 is not the cause.",
        "Give A2T/I2T more weight in the mix: stage 4 taught the model to ignore its media while it learned to write.",
    ),
)


@gate(P12)
def test_the_text_still_depends_on_the_media(
    checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds
) -> None:
    n, further = thresholds.recommended_read_ablation_examples, thresholds.further_ablation_examples
    planned = {task: checkpoint.planned_looks(task, n, further) for task in READ_TASKS}
    for looks in until_clear(accept, planned):
        for task, look in looks.items():
            measured = checkpoint.media_ablation(task, n, look)
            judge_media_ablation(accept, checkpoint, measured, look, rules_of(thresholds), n)
            judge_null_control(accept, measured)
            keep_losses(accept, measured, "media")


def rules_of(thresholds: Stage4Thresholds) -> dict[str, MediaRule]:
    """What each way to destroy the media must do to the loss of the text."""
    zero = MediaRule(
        min_gap_nats=thresholds.min_gap_constant_media_nats, min_gap_pct=thresholds.min_gap_constant_media_pct
    )
    return media_rules(thresholds, constant=zero)
