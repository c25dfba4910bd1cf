"""S3.6 dynamics: the loss moves, and the ablation gap has grown or stays on its plateau.

Claim    The run that made the checkpoint taught it to read, and was stable throughout.
Measure  The training log up to the checkpoint's step: the fall of its losses (by task where it has them), the gaps of
         the ablations at its evaluations (nats/token), the rise of any loss over its best level, robust z-scores of
         single lines, norms of the rows, learning rates against the recorded schedule, gaps and repeats of steps; and
         the loss of dev examples now, against the one that was logged.
Accept   No finding of any kind; losses 5 % below where they began; every gap above 0.02 nats/token at the end, and at
         most a quarter below its largest; the logged loss is the loss now.
Source   spec/stage3-iteration.md, sections 2, 3 and 6A ("does the ablation gap exist and grow?"); the numbers are ours.
"""

from gates.dynamics import LOG_ADVICE, judge_lines, raise_unmeasured, show
from gates.dynamics_curves import judge_losses, judge_movement, judge_norms, judge_rates
from gates.dynamics_shown import show_log
from gates.dynamics_tasks import judge_ablation_gaps, judge_agreement, task_keys
from gates.gate import Accept, Gate, gate
from gates.stage3.thresholds import Stage3Thresholds
from harness.checkpoint import Checkpoint
from harness.errors import MissingInputError
from harness.examples import READ_TASKS
from harness.train_log import TrainLog
from harness.train_log_keys import overall_loss_key
from harness.training_record import TrainingRecord, read_training_record

S36 = Gate(
    id="S3.6",
    name="dynamics",
    priority="P1",
    claim="The loss moves, and the ablation gap grows or has plateaued",
    source="spec/stage3-iteration.md sections 2, 3, 6A; numbers are ours",
    advice=(
        "A loss that does not fall: see that gradients reach the modality rows (S3.3 must show that they moved).",
        "No gap: stop and change the objective or format (prompting, masking, copy mix, clip policy); do not just "
        "train longer.",
        "A gap that shrinks while the loss falls: it learns the captions and not the media; stop earlier, or mix more "
        "sources.",
        "No gap in the log: evaluate every few hundred steps, and log delta_shuffle_<task> and delta_noise_<task>.",
        *LOG_ADVICE,
    ),
)


@gate(S36)
def test_the_loss_moves_and_the_gap_grows(checkpoint: Checkpoint, accept: Accept, thresholds: Stage3Thresholds) -> None:
    log = checkpoint.train_log()
    record = read_training_record(checkpoint.bundle.path)
    unmeasured = judge_stage3_log(accept, log, record, checkpoint.bundle.step, thresholds)
    judge_agreement(accept, checkpoint, log, READ_TASKS, thresholds)
    show(accept)
    raise_unmeasured(accept, unmeasured)


def judge_stage3_log(
    accept: Accept, log: TrainLog, record: TrainingRecord | None, step: int | None, thresholds: Stage3Thresholds
) -> list[MissingInputError]:
    """What the log alone tells. Returns what it does not tell."""
    show_log(accept, log, None)
    reads = list(task_keys(accept, log, READ_TASKS).values())
    overall = overall_loss_key(log.series)
    moving = reads or ([overall] if overall else [])
    unmeasured = judge_lines(accept, log, step, thresholds)
    judge_losses(accept, log, thresholds)
    judge_movement(accept, log, moving, thresholds, min_fall_pct=thresholds.min_loss_fall_pct)
    judge_norms(accept, log, thresholds)
    judge_rates(accept, log, record, thresholds)
    unmeasured += judge_ablation_gaps(
        accept, log, min_last_nats=thresholds.min_last_gap_nats, max_drop_pct=thresholds.max_gap_drop_pct
    )
    if not moving:
        found = "no training loss"
        unmeasured.append(MissingInputError(log.where, found, "a loss that moves", "Log loss_mean, or loss."))
    return unmeasured
