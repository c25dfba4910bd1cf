"""Everything that a run is made of, loaded and built; nothing is written."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers.training_args import OptimizerNames

from harness.bundle import Bundle, open_bundle
from harness.errors import BundleError, HarnessError, MissingInputError
from harness.examples import TASKS
from harness.text_eval import TextEval, read_text_eval
from harness.text_reference import recorded_losses
from training.adapter import adapt
from training.audits import Probe, trained_groups
from training.batches import Collator
from training.checkpoints import latest_checkpoint, read_rows
from training.config import RunConfig
from training.measure import DevSlice, read_dev_slice
from training.mix import Plan, sources_of, steps_for
from training.processes import processes
from training.rows import NewRows, attach_rows, load_base
from training.sequences import TEXT, Kept, Sequences, joined, pack_texts, read_sequences
from training.text_replay import read_texts
from training.trainee import Trainee


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
        near_zero_after: the step from which a gap near zero ends the run; -1 for never.
        base_text: (K,) the base's own losses of the plain texts, summed over tokens; None where they are not on record.
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
    base_text: np.ndarray | None

    @property
    def steps(self) -> int:
        """Steps planned."""
        return self.plan.n_steps


def prepare(config: RunConfig, say: Callable[[str], None]) -> Parts:
    """Load and build everything; nothing is written.

    Raises:
        HarnessError: an input is missing or malformed.
    """
    known = [each.value for each in OptimizerNames]
    if config.optim.name not in known:
        raise HarnessError("optim.name", repr(config.optim.name), f"one of {', '.join(known)}", "Correct it.")
    parent = _parent(config)
    rows = read_rows(parent.path)
    # The data first: what is wrong with them shows before a large model is loaded.
    sequences, kept = _sequences(config, parent)
    trainee, groups = _trainee(config, parent, rows)
    n_examples = sum(kept.sources.values())
    say(f"training examples: {n_examples:,} ({_by_source(kept)}); dropped: {kept.too_long} longer than "
        f"{config.data.max_tokens} tokens, {kept.other_tasks} of tasks without a share")  # fmt: skip
    per_step = config.batch.per_device * config.batch.accumulation * processes().num_processes
    one_pass = steps_for(1, n_examples, per_step)
    n_steps = config.steps.max_steps or steps_for(config.steps.epochs, n_examples, per_step)
    plan = Plan(
        sequences, config.mix, n_steps, per_step, config.batch.per_device, config.batch.group_by_length, config.seed,
        config.data.max_tokens,
    )  # fmt: skip
    collator = Collator(parent.space.special("pad_mm"), config.mix.weights, plan.tasks)
    after, dev = config.stop.near_zero_after, _dev(config, parent)
    return Parts(
        parent, rows, trainee, groups, plan, collator, kept, n_examples, dev,
        [Probe(index, example) for index, example in kept.first.items()],
        near_zero_after=min(n_steps, max(one_pass, n_steps // 2)) if after == 0 else after,
        base_text=_base_text(parent, dev.texts if dev else None, config.precision.base),
    )  # fmt: skip


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
    if config.stage == 3 and "lora" in parent.inputs:
        raise BundleError(
            parent.path, "a checkpoint with an adapter", "rows alone to begin stage 3 at",
            "Begin at the checkpoint of the vocabulary surgery or of stage 3.",
        )  # fmt: skip
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
    tasks = {source for task in _mixed(config) for source in sources_of(task)}
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


def _mixed(config: RunConfig) -> list[str]:
    """The tasks of the mix that are trained at some step."""
    shares = {**config.mix.start, **config.mix.shares}
    return [task for task in shares if max(config.mix.start.get(task, 0), config.mix.shares.get(task, 0)) > 0]


def _dev(config: RunConfig, parent: Bundle) -> DevSlice | None:
    """What is measured: the tasks that the run trains to its end, and plain text where there is some."""
    if config.steps.eval_every == 0:
        return None
    texts = None
    if "text_eval" in parent.inputs:
        texts = read_text_eval(parent.input("text_eval"), parent.space, [parent.path, parent.input("base")])
        texts = replace(texts, examples=texts.examples[: config.measure.texts or None])
    wanted = [task for task in TASKS if config.mix.shares.get(task, 0) > 0]
    return read_dev_slice(parent.input("dev"), wanted, texts, parent.space, config.measure, config.seed)


def _base_text(parent: Bundle, texts: TextEval | None, dtype: str) -> np.ndarray | None:
    """The base's losses as its fingerprint keeps them: a stage that begins where another ended adds to its drift."""
    if texts is None or "base_fingerprint" not in parent.inputs:
        return None
    try:
        return recorded_losses(parent.input("base_fingerprint"), texts, dtype)[0]
    except MissingInputError:  # of other texts, or in another precision
        return None


def _by_source(kept: Kept) -> str:
    return ", ".join(f"{source} {n:,}" for source, n in kept.sources.items())
