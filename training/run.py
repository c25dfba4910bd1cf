"""One stage of training, from a config to checkpoints that the gates can judge.

<out>/run.json              the resolved config; a run goes on only under the same
<out>/train_log.jsonl       losses, norms and rates; evaluations
<out>/evals/<step>.npz      every evaluation, example by example
<out>/checkpoint_<step>/    checkpoint bundles
<out>/.resume/              the Trainer's own state: optimiser, schedule, random numbers, trained tensors
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from harness.bundle import Bundle, open_bundle
from harness.errors import BundleError, HarnessError
from harness.examples import READ_TASKS, TASKS, Task
from harness.files import path_sha256, read_json, write_json
from harness.text_eval import read_text_eval
from harness.training_record import LearningRates, Stopped, TrainingRecord
from training import effective_batch
from training.adapter import adapt
from training.audits import ParameterWatch, Probe, audit_losses, trained_groups
from training.batches import Collator
from training.checkpoints import LOG, CheckpointParts, latest_checkpoint, read_rows, write_checkpoint
from training.config import RunConfig, as_values
from training.log import TrainLog
from training.measure import DevSlice, read_dev_slice
from training.mix import Plan, sources_of, steps_for
from training.processes import processes
from training.rows import NewRows, attach_rows, load_base
from training.sequences import TEXT, Kept, Sequences, joined, pack_texts, read_sequences
from training.stations import Stations
from training.text_replay import read_texts
from training.trainee import Trainee
from training.trainer import Hooks, StageTrainer

POINTERS = ("base", "shards", "golden", "dev", "text_eval", "codecs")  # of the parent, taken over
# Set by accelerate where a model is sharded over the processes: it is then not put on a device whole.
SHARDED = {"ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"}
RESUME, EVALS, CONFIG = ".resume", "evals", "run.json"


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
    with state.main_process_first():  # the others look only when the folder is taken
        resume = claim(config, fresh=fresh) if main and not dry_run else _resume_point(out)
    torch.manual_seed(config.seed)
    parts = prepare(config, tell)
    n_processes = state.num_processes
    for line in effective_batch.describe(config.batch, n_processes, parts.n_examples, parts.steps):
        tell(line)
    if not SHARDED & os.environ.keys():
        parts.trainee.to(state.device)
    _audit(parts, config, tell)
    watch = ParameterWatch.start(parts.trainee, parts.groups)
    if dry_run:
        return None
    stations = Stations(config, parts.dev, watch, out / EVALS, near_zero_after=parts.near_zero_after, say=tell)

    def save(step: int, trained: dict[str, Tensor]) -> None:
        _save(config, parts, stations, step, trained)

    log = TrainLog(out / LOG)
    if main:
        log.start(_step_of(resume))
    trainer = StageTrainer(
        parts.trainee, _arguments(config, parts, resume), plan=parts.plan, collator=parts.collator, optim=config.optim,
        train_log=log, hooks=Hooks(stations.evaluate, save),
        callbacks=[stations],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    stations.trainer = trainer
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    step = trainer.state.global_step
    if main:
        ended = {"step": step, "stopped": stations.stopped, "sentence": stations.sentence}
        write_json(out / CONFIG, {**read_json(out / CONFIG), "outcome": ended})
    return Outcome(step, stations.stopped, stations.sentence, out / f"checkpoint_{step}")


@dataclass(frozen=True)
class Parts:
    """Everything that a run is made of.

    Attributes:
        parent: the checkpoint that it begins at.
        rows: the new rows there.
        groups: group -> names of the parameters that train.
        plan: the steps.
        kept: what became of the training examples.
        n_examples: training examples, without replayed text.
        dev: what is measured; None for nothing.
        probes: training examples to audit with.
    """

    parent: Bundle
    rows: NewRows
    trainee: Trainee
    groups: dict[str, list[str]]
    plan: Plan
    collator: Collator
    kept: Kept
    n_examples: int
    dev: DevSlice | None
    probes: list[Probe]
    near_zero_after: int

    @property
    def steps(self) -> int:
        """Steps planned."""
        return self.plan.n_steps


def prepare(config: RunConfig, say: Callable[[str], None]) -> Parts:
    """Load and build everything; nothing is written.

    Raises:
        HarnessError: an input is missing or malformed.
    """
    parent = _parent(config)
    rows = read_rows(parent.path)
    trainee, groups = _trainee(config, parent, rows)
    sequences, kept = _sequences(config, parent)
    n_examples = sum(kept.sources.values())
    say(f"training examples: {n_examples:,} ({_by_source(kept)}); dropped: {kept.too_long} longer than "
        f"{config.data.max_tokens} tokens, {kept.other_tasks} of tasks without a share")  # fmt: skip
    per_step = config.batch.per_device * config.batch.accumulation * processes().num_processes
    one_pass = steps_for(1, n_examples, per_step)
    n_steps = config.steps.max_steps or steps_for(config.steps.epochs, n_examples, per_step)
    plan = Plan(
        sequences, config.mix, n_steps, per_step, config.batch.per_device, config.batch.group_by_length, config.seed
    )
    tasks = tuple(sorted({**config.mix.start, **config.mix.shares}))
    collator = Collator(parent.space.special("pad_mm"), config.mix.weights, tasks)
    after = config.stop.near_zero_after
    return Parts(
        parent, rows, trainee, groups, plan, collator, kept, n_examples, _dev(config, parent),
        [Probe(index, example) for index, example in kept.first.items()],
        near_zero_after=min(n_steps, max(one_pass, n_steps // 2)) if after == 0 else after,
    )  # fmt: skip


def claim(config: RunConfig, *, fresh: bool) -> Path | None:
    """Take the run's folder; returns the Trainer's state to resume from, None to begin.

    Raises:
        HarnessError: it holds something else, a run of another config or other inputs, or one that has ended.
    """
    out, mine = Path(config.out), _identity(config)
    if fresh and (out / CONFIG).is_file():
        shutil.rmtree(out)
    if (out / CONFIG).is_file():
        left = read_json(out / CONFIG)
        changed = _changed(left, mine)
        if changed or "outcome" in left:
            found = f"a run with another {', '.join(changed)}" if changed else "a run that has ended"
            raise HarnessError(
                out, found, "the same run, interrupted, to go on with it",
                "Choose another --set out=…, or begin anew with --fresh.",
            )  # fmt: skip
        return _resume_point(out)
    if out.is_dir() and any(out.iterdir()):
        raise HarnessError(out, "files of something else", "an empty folder", "Choose another --set out=….")
    write_json(out / CONFIG, mine)
    return None


def can_go_on(config: RunConfig) -> bool:
    """Whether the run's folder holds the same run, interrupted."""
    file = Path(config.out) / CONFIG
    left = read_json(file) if file.is_file() else {}
    return bool(left) and "outcome" not in left and not _changed(left, _identity(config))


def _identity(config: RunConfig) -> dict[str, Any]:
    """The config, and digests of what it trains on: the same paths may hold something else by now."""
    files = {"train": config.data.train, "text": config.data.text, "parent": config.data.parent}
    there = {name: Path(path) for name, path in files.items() if path and Path(path).exists()}
    return {"config": as_values(config), "inputs": {name: path_sha256(path) for name, path in there.items()}}


def _changed(left: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    return sorted(
        key for part in ("config", "inputs") for key in mine[part] if left.get(part, {}).get(key) != mine[part][key]
    )


def _resume_point(out: Path) -> Path | None:
    state = get_last_checkpoint(str(out / RESUME)) if (out / RESUME).is_dir() else None
    return Path(state) if state else None


def _step_of(resume: Path | None) -> int:
    return int(resume.name.rpartition("-")[2]) if resume else 0


def _parent(config: RunConfig) -> Bundle:
    path = Path(config.data.parent)
    if not config.data.parent or not path.is_dir():
        raise BundleError(path, "no checkpoint folder", "the checkpoint to begin at", "Correct data.parent.")
    if not (path / "bundle.json").is_file():
        path = latest_checkpoint(path)
    given = {"dev": config.data.dev, "text_eval": config.data.text_eval}
    bundle = open_bundle(path, {name: Path(place) for name, place in given.items() if place})
    if bundle.form != "rows":
        raise BundleError(
            path, f"a checkpoint of the form {bundle.form!r}", "trainable_rows.safetensors over a base",
            "Begin at the checkpoint of the vocabulary surgery, or at one that this training wrote.",
        )  # fmt: skip
    return bundle


def _trainee(config: RunConfig, parent: Bundle, rows: NewRows) -> tuple[Trainee, dict[str, list[str]]]:
    """The module to train, and the names of what trains in it."""
    model = load_base(parent.input("base"), getattr(torch, config.precision.base))
    if config.precision.activation_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = attach_rows(
        model, rows, parent.space.text_vocab_size, dtype=getattr(torch, config.precision.trained),
        train_head=config.train_head,
    )  # fmt: skip
    if config.stage == 4:
        model = adapt(model, config.lora, config.precision, parent.inputs.get("lora"))
        for parameter in trained.values():
            parameter.requires_grad_(True)  # PEFT freezes whatever is not its own
    trainee = Trainee(model)
    return trainee, trained_groups(trainee, trained)


def _sequences(config: RunConfig, parent: Bundle) -> tuple[Sequences, Kept]:
    tasks = {task for mixed in {**config.mix.start, **config.mix.shares} for task in sources_of(mixed)}
    if not config.data.train:
        raise HarnessError("data.train", "nothing", "a JSONL file of training examples", "Name it in the config.")
    examples, kept = read_sequences(
        Path(config.data.train), tasks & set(TASKS), parent.space, max_tokens=config.data.max_tokens,
        noise=config.mix.noise,
    )  # fmt: skip
    if TEXT not in tasks:
        return examples, kept
    if not config.data.text:
        raise HarnessError("data.text", "nothing", "a JSONL file of plain text, since the mix has a share of text",
                           "Name it in the config, or take `text` out of mix.shares.")  # fmt: skip
    folders = [parent.path, parent.input("base")]
    texts = read_texts(Path(config.data.text), parent.space, folders, config.data.max_tokens)
    return joined([examples, pack_texts(texts, parent.space)]), kept


def _dev(config: RunConfig, parent: Bundle) -> DevSlice | None:
    if config.steps.eval_every == 0:
        return None
    tasks: list[Task] = [task for task in TASKS if config.stage == 4 or task in READ_TASKS]
    trained = {task for mixed in {**config.mix.start, **config.mix.shares} for task in sources_of(mixed)}
    texts = None
    if "text_eval" in parent.inputs:
        texts = read_text_eval(parent.input("text_eval"), parent.space, [parent.path, parent.input("base")])
        texts = replace(texts, examples=texts.examples[: config.measure.texts or None])
    wanted = [task for task in tasks if task in trained]
    return read_dev_slice(parent.input("dev"), wanted, texts, parent.space, config.measure, config.seed)


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


def _by_source(kept: Kept) -> str:
    return ", ".join(f"{source} {n:,}" for source, n in kept.sources.items())


def _silent(_line: str) -> None:
    """What processes other than the main one say."""
