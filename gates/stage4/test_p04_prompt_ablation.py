"""P0.4 prompt ablation: what the model writes depends on the prompt it was given.

Claim    Without its prompt, or with another's, an example's own codes are harder to predict.
Measure  Teacher-forced loss of the target block under the correct, a shuffled (another example's) and an empty prompt;
         the share of examples whose correct prompt has strictly the lowest loss; Δ in nats per token.
Accept   loss(correct) below both; win rates >= 0.70 (shuffled) and >= 0.80 (empty); Δempty >= 0.10 for T2A or T2I.
Source   spec/stage4-verification.md, P0.4.
"""

from gates.ablation import judge_null_control, keep_losses
from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from harness import statistics
from harness.checkpoint import Checkpoint
from harness.examples import WRITE_TASKS

P04 = Gate(
    id="P0.4",
    name="prompt_ablation",
    priority="P0",
    claim="It listens to the prompt",
    source="spec/stage4-verification.md P0.4",
    advice=(
        "Ensure that the ablation tests the prompt's influence: look for the correct prompt still in use through a "
        "cache or a format bug.",
        "Increase the proportion of T2A/T2I in the mix, or ramp them later but give them enough weight.",
        "Use stronger prompt text (less generic) for the golden set, especially for audio: instrument, genre, mood.",
    ),
)


@gate(P04)
def test_what_is_written_depends_on_the_prompt(
    checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds
) -> None:
    min_win_rate = {
        "shuffled": thresholds.min_win_rate_shuffled_prompt,
        "empty": thresholds.min_win_rate_empty_prompt,
    }
    gaps_empty = []
    for task in WRITE_TASKS:
        n = thresholds.recommended_ablation_examples
        measured = checkpoint.prompt_ablation(task, n)
        for name, at_least in min_win_rate.items():
            paired = measured.pair(name)
            gap = statistics.mean_gap(f"{task}.delta_{name}", paired, checkpoint.rng("bootstrap", task, name))
            accept(gap, above=0)
            accept(statistics.win_rate(f"{task}.win_rate_{name}", paired), at_least=at_least, recommended_n=n)
            if name == "empty":
                gaps_empty.append(gap)
        judge_null_control(accept, measured)
        keep_losses(accept, measured, "prompt")
    accept.any_of(gaps_empty, at_least=thresholds.min_gap_empty_prompt_nats)
