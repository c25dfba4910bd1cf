"""One stage of training, from a config to checkpoints that the gates can judge.

<out>/run.json              the resolved config; a run goes on only under the same
<out>/train_log.jsonl       losses, norms and rates; evaluations
<out>/evals/<step>.npz      every evaluation, example by example
<out>/checkpoint_<step>/    checkpoint bundles
<out>/.resume/              the Trainer's own state: optimiser, schedule, random numbers, trained tensors
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainingArguments

from harness.training_record import LearningRates, Stopped, TrainingRecord
from training import effective_batch, sharded
from training.audits import ParameterWatch, audit_losses
from training.checkpoints import LOG, CheckpointParts, write_checkpoint
from training.claim import RESUME, check_free, close, resume_point, step_of, take
from training.config import RunConfig
from training.config_files import as_values
from training.log import TrainLog
from training.prepare import Parts, prepare
from training.processes import processes
from training.rows import NewRows
from training.stations import Stations
from training.trainer import Hooks, StageTrainer

POINTERS = ("base", "shards", "golden", "dev", "text_eval", "codecs")  # of the parent, taken over
EVALS = "evals"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: the last one.
        stopped: why.
        sentence: the figures that led to it.
        checkpoint: the last one's folder.
    """

    step: int
    stopped: Stopped
    sentence: str
    checkpoint: Path


def run_stage(
    config: RunConfig, say: Callable[[str], None] = print, *, fresh: bool = False, dry_run: bool = False
) -> Outcome | None:
    """Train one stage; a run that was interrupted goes on where its last checkpoint was.

    Args:
        config: the run.
        say: is told what a person wants to know, in the main process.
        fresh: throw away what an earlier run left in `out`; else it must be of the same config.
        dry_run: load and audit everything, and end before the first step; nothing is written.

    Returns:
        How the run ended; None for a dry run.

    Raises:
        HarnessError: an input is missing or malformed, an audit failed, a loss is not finite, or `out` holds another
            run.
    """
    state = processes()
    main, out = state.is_main_process, Path(config.out)
    tell = say if main else _silent
    if not dry_run:
        check_free(config, fresh=fresh)
    torch.manual_seed(config.seed)
    parts = prepare(config, tell)
    for line in effective_batch.describe(config.batch, state.num_processes, parts.n_examples, parts.steps):
        tell(line)
    if not sharded.asked_for():
        parts.trainee.to(state.device)
    _audit(parts, config, tell)
    watch = ParameterWatch.start(parts.trainee, parts.groups)
    if dry_run:
        return None
    # Only now: what was wrong with config or data has left no trace.
    with state.main_process_first():
        if main:
            take(config, fresh=fresh)
        resume = resume_point(out)
    trainer, stations = _trainer(config, parts, watch, resume, tell)
    if main:
        trainer.train_log.start(step_of(resume))
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    step = trainer.state.global_step
    if main:
        close(config, {"step": step, "stopped": stations.stopped, "sentence": stations.sentence})
    return Outcome(step, stations.stopped, stations.sentence, out / f"checkpoint_{step}")


def _trainer(
    config: RunConfig, parts: Parts, watch: ParameterWatch, resume: Path | None, say: Callable[[str], None]
) -> tuple[StageTrainer, Stations]:
    """The Trainer and its callback, which know each other."""
    out = Path(config.out)
    stations = Stations(config, parts.dev, watch, out / EVALS, near_zero_after=parts.near_zero_after,
                        base_text=parts.base_text, say=say)  # fmt: skip

    def save(step: int, trained: dict[str, Tensor]) -> None:
        _save(config, parts, stations, step, trained)

    trainer = StageTrainer(
        parts.trainee, _arguments(config, parts, resume), plan=parts.plan, collator=parts.collator, optim=config.optim,
        train_log=TrainLog(out / LOG), hooks=Hooks(stations.evaluate, save), callbacks=[stations],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    stations.trainer = trainer
    return trainer, stations


def _audit(parts: Parts, config: RunConfig, say: Callable[[str], None]) -> None:
    gap = audit_losses(parts.trainee, parts.plan.sequences, parts.probes, parts.collator, config.precision.base)
    say(f"audit: {len(parts.probes)} training examples have the loss that the gates find, within {gap:.1g} nats")


def _save(config: RunConfig, parts: Parts, stations: Stations, step: int, trained: dict[str, Tensor]) -> None:
    """Write the checkpoint bundle of a step."""
    out = Path(config.out)
    rows = {table: trained[parts.groups[table][0]] for table in ("embeddings", "lm_head") if table in parts.groups}
    adapted = parts.trainee.model if config.stage == 4 else None
    write_checkpoint(out / f"checkpoint_{step}", CheckpointParts(
        stage=config.stage,
        step=step,
        rows=NewRows(rows["embeddings"], rows.get("lm_head", parts.rows.lm_head)),
        pointers={name: path for name, path in parts.parent.inputs.items() if name in POINTERS},
        decoding=parts.parent.decoding,
        parent=parts.parent.path,
        adapted=adapted,
        adapter=None if adapted is None else {name.removeprefix("model."): each for name, each in trained.items()},
        log=out / LOG,
        record=record(config, parts, step, stations.stopped),
        temperature=config.temperature,
    ))  # fmt: skip


def record(config: RunConfig, parts: Parts, step: int, stopped: Stopped) -> TrainingRecord:
    """training.json of a checkpoint."""
    optim = config.optim
    peaks = {"lr": optim.lr_rows} | ({"lr_lora": optim.lr_lora} if config.stage == 4 else {})
    return TrainingRecord(
        stage=config.stage, step=step, train_rows=parts.n_examples, sources=parts.kept.sources,
        effective_batch=parts.plan.per_step, max_steps=parts.steps, stopped=stopped,
        learning_rates={
            name: LearningRates(
                schedule=optim.schedule, peak=peak, warmup_steps=optim.warmup_steps, max_steps=parts.steps,
                floor=optim.floor,
            )
            for name, peak in peaks.items()
        },
        log_every=config.steps.log_every, eval_every=config.steps.eval_every, config=as_values(config),
    )  # fmt: skip


def _arguments(config: RunConfig, parts: Parts, resume: Path | None) -> TrainingArguments:
    steps, optim = config.steps, config.optim
    measured = parts.dev is not None
    return TrainingArguments(
        output_dir=str(Path(config.out) / RESUME),
        max_steps=parts.steps,
        per_device_train_batch_size=config.batch.per_device,
        gradient_accumulation_steps=config.batch.accumulation,
        learning_rate=optim.lr_rows,
        weight_decay=optim.weight_decay,
        adam_beta1=optim.beta1,
        adam_beta2=optim.beta2,
        max_grad_norm=optim.clip,
        optim=optim.name,
        logging_steps=steps.log_every,
        logging_nan_inf_filter=False,  # a NaN is to be seen, not averaged away
        eval_strategy="steps" if measured else "no",
        eval_steps=steps.eval_every or None,
        eval_on_start=measured and resume is None,
        save_steps=steps.save_every,
        save_total_limit=1,
        seed=config.seed,
        report_to=config.trackers or "none",
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # the text tables are buffers, alike in every process and a gigabyte each
    )


def _silent(_line: str) -> None:
    """What processes other than the main one say."""
