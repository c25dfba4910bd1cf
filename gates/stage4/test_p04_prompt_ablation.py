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

from collections.abc import Mapping

from gates.ablation import judge_null_control, keep_losses
from gates.gate import Accept, Gate, gate
from gates.looks import until_clear
from gates.prompt_words import report_beside, report_nearest, report_retrieval
from gates.stage4.thresholds import Stage4Thresholds
from harness import statistics
from harness.ablation import Ablation
from harness.checkpoint import Checkpoint
from harness.examples import WRITE_TASKS, Task
from harness.looks import Looks

P04 = Gate(
    id="P0.4",
    name="prompt_ablation",
    priority="P0",
    claim="It listens to the prompt",
    source="spec/stage4-verification.md P0.4",
    advice=(
        "Ensure that the ablation tests the prompt's influence: look for the correct prompt still in use through a "
        "cache or a format bug.",
        "Check that captions and media are paired rightly: pair them again by the media's content.",
        "Check that head rows and adapter are those that were trained: see P0.5, and in P1.5 whether the loss that was "
        "logged is the loss now.",
        "Increase the proportion of T2A/T2I in the mix, or ramp them later but give them enough weight.",
        "Use stronger prompt text (less generic) for the golden set, especially for audio: instrument, genre, mood.",
    ),
)


@gate(P04)
def test_what_is_written_depends_on_the_prompt(
    checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds
) -> None:
    n, further = thresholds.recommended_ablation_examples, thresholds.further_ablation_examples
    planned = {task: checkpoint.planned_looks(task, n, further) for task in WRITE_TASKS}
    for looks in until_clear(accept, planned):
        ablations = {task: checkpoint.prompt_ablation(task, n, look) for task, look in looks.items()}
        judge_prompts(accept, checkpoint, ablations, looks, thresholds)
        for task, measured in ablations.items():
            judge_null_control(accept, measured)
            keep_losses(accept, measured, "prompt")
            report_beside(accept, checkpoint, measured, looks[task])
    for task in WRITE_TASKS:
        nearest = checkpoint.nearest_prompt(task, n)
        report_nearest(accept, checkpoint, nearest, listens_from=thresholds.min_win_rate_shuffled_prompt)
        report_retrieval(accept, checkpoint.retrieval(task, n))


def judge_prompts(
    accept: Accept,
    draws: statistics.Draws,
    ablations: Mapping[Task, Ablation],
    looks: Mapping[Task, Looks],
    thresholds: Stage4Thresholds,
) -> None:
    """Hold every task's win rates and gaps at one look against the rules above."""
    gaps_empty = []
    for task, measured in ablations.items():
        for name, at_least in min_win_rates(thresholds).items():
            paired, rng, level = measured.pair(name), draws.rng("bootstrap", task, name), looks[task].level
            gap = statistics.mean_gap(f"{task}.delta_{name}", paired, rng, level)
            wins = statistics.win_rate(f"{task}.win_rate_{name}", paired, level)
            accept(gap, above=0)
            accept(wins, at_least=at_least, recommended_n=thresholds.recommended_ablation_examples)
            if name == "empty":
                gaps_empty.append(gap)
    accept.any_of(gaps_empty, at_least=thresholds.min_gap_empty_prompt_nats)


def min_win_rates(thresholds: Stage4Thresholds) -> dict[str, float]:
    """How many examples' own prompts must win against each condition, as a share."""
    return {"shuffled": thresholds.min_win_rate_shuffled_prompt, "empty": thresholds.min_win_rate_empty_prompt}
