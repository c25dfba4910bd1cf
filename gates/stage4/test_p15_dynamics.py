"""P1.5 dynamics: the log tells a healthy run.

Claim    The run that made the checkpoint learned to write, kept what it reads, and was stable throughout.
Measure  The training log up to the checkpoint's step: losses by task against uniform guessing over the vocabulary and
         over the range whose turn it is (nats/token), the fall of write losses, the rise of any loss over its best
         level, robust z-scores of single lines, norms of the rows, learning rates against the recorded schedule, gaps
         and repeats of steps; and the loss of dev examples now, against the one that was logged.
Accept   No finding of any kind; write losses at most 0.9 of uniform over their range, and 10 % below where they began;
         the logged loss is the loss now.
Source   spec/stage4-verification.md, section A, which reads its log in words; the numbers are ours.
"""

from gates.dynamics import LOG_ADVICE, judge_lines, raise_unmeasured, show
from gates.dynamics_curves import judge_losses, judge_movement, judge_norms, judge_rates
from gates.dynamics_shown import show_log
from gates.dynamics_tasks import judge_agreement, judge_read_losses, judge_write_losses, task_keys
from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from harness.checkpoint import Checkpoint
from harness.dynamics_losses import Uniform, uniform_losses
from harness.errors import MissingInputError
from harness.examples import READ_TASKS, TASKS, WRITE_TASKS
from harness.train_log import TrainLog
from harness.training_record import TrainingRecord, read_training_record

P15 = Gate(
    id="P1.5",
    name="dynamics",
    priority="P1",
    claim="The log tells a healthy run",
    source="spec/stage4-verification.md section A; numbers are ours",
    advice=(
        "A write loss near uniform: see that gradients reach head rows and adapter (P0.5), and that labels supervise "
        "the media block.",
        "A read loss that rises: raise the share of A2T/I2T in the mix, or lower the adapter's learning rate.",
        "A read loss that is gone, or falls off a cliff, is a leak or a mask: see that no caption stands in the "
        "context, and that the labels are the text block's.",
        *LOG_ADVICE,
    ),
)


@gate(P15)
def test_the_log_tells_a_healthy_run(checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds) -> None:
    log = checkpoint.train_log()
    record = read_training_record(checkpoint.bundle.path)
    uniform = uniform_losses(checkpoint.bundle.space)
    unmeasured = judge_stage4_log(accept, log, uniform, record, checkpoint.bundle.step, thresholds)
    judge_agreement(accept, checkpoint, log, TASKS, thresholds)
    show(accept)
    raise_unmeasured(accept, unmeasured)


def judge_stage4_log(
    accept: Accept,
    log: TrainLog,
    uniform: Uniform | None,
    record: TrainingRecord | None,
    step: int | None,
    thresholds: Stage4Thresholds,
) -> list[MissingInputError]:
    """What the log alone tells. Returns what it does not tell."""
    show_log(accept, log, uniform)
    writes, reads = task_keys(accept, log, WRITE_TASKS), task_keys(accept, log, READ_TASKS)
    unmeasured = judge_lines(accept, log, step, thresholds)
    judge_losses(accept, log, thresholds)
    judge_movement(accept, log, writes.values(), thresholds, min_fall_pct=thresholds.min_write_loss_fall_pct)
    if uniform:
        judge_write_losses(
            accept,
            log,
            writes,
            uniform,
            thresholds,
            max_share=thresholds.max_write_loss_of_uniform,
            max_first_share=thresholds.max_first_write_loss_of_uniform,
        )
    judge_read_losses(
        accept,
        log,
        reads,
        thresholds,
        floor_nats=thresholds.min_read_loss_nats,
        notable_nats=thresholds.notable_read_loss_nats,
        max_cliff_pct=thresholds.max_read_loss_cliff_pct,
    )
    judge_norms(accept, log, thresholds)
    judge_rates(accept, log, record, thresholds)
    if not writes:
        found, fix = "no training loss of t2a or t2i", "Log the losses by task: t2a_avg, t2i_avg, a2t_avg, i2t_avg."
        unmeasured.append(MissingInputError(log.where, found, "write losses, to hold against uniform guessing", fix))
    return unmeasured
