"""P0.4 prompt ablation: what the model writes depends on the prompt it was given.

Claim    Without its prompt, or with another's, an example's own codes are harder to predict.
Measure  Teacher-forced loss of the target block under the correct, a shuffled (another example's) and an empty prompt;
         the share of examples whose correct prompt has strictly the lower loss; Δ in nats per token. More examples
         where a figure is borderline.
Accept   loss(correct) below both; win rates >= 0.70 (shuffled) and >= 0.80 (empty); Δempty >= 0.10 for T2A or T2I.
         Reported beside it: the same words in random order, the most similar other prompt word by word, retrieval of
         the true prompt, Δ by codebook, PMI.
Source   spec/stage4-verification.md, P0.4.
"""

from gates.ablation import judge_null_control, keep_losses
from gates.gate import Accept, Gate, gate
from gates.looks import until_clear
from gates.prompt_words import report_beside, report_nearest, report_retrieval
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
    n, further = thresholds.recommended_ablation_examples, thresholds.further_ablation_examples
    planned = {task: checkpoint.planned_looks(task, n, further) for task in WRITE_TASKS}
    for looks in until_clear(accept, planned):
        gaps_empty = []
        for task, look in looks.items():
            measured = checkpoint.prompt_ablation(task, n, look)
            for name, at_least in min_win_rate.items():
                paired, rng = measured.pair(name), checkpoint.rng("bootstrap", task, name)
                gap = statistics.mean_gap(f"{task}.delta_{name}", paired, rng, look.level)
                wins = statistics.win_rate(f"{task}.win_rate_{name}", paired, look.level)
                accept(gap, above=0)
                accept(wins, at_least=at_least, recommended_n=n)
                if name == "empty":
                    gaps_empty.append(gap)
            judge_null_control(accept, measured)
            keep_losses(accept, measured, "prompt")
            report_beside(accept, checkpoint, measured, look)
        accept.any_of(gaps_empty, at_least=thresholds.min_gap_empty_prompt_nats)
    for task in WRITE_TASKS:
        nearest = checkpoint.nearest_prompt(task, n)
        report_nearest(accept, checkpoint, nearest, listens_from=thresholds.min_win_rate_shuffled_prompt)
        report_retrieval(accept, checkpoint.retrieval(task, n))
