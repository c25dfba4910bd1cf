"""The training loop that stages 3 and 4 share: a forward for each task, weighted losses, one optimiser step."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.examples import TASKS, read_examples
from harness.token_space import TokenSpace
from training.batches import Deck, TrainSequence, batch_loss, collate, task_sequence
from training.recipe import Recipe, StageRecipe
from training.rows import tables_of
from training.schedule import cosine_share
from training.steps import progress
from training.text import line_sequences, read_tokenizer, text_corpus
from training.train_log import TEXT, TrainLog


@dataclass(frozen=True)
class Group:
    """Parameters that share a peak learning rate; `grad_norm` and clipping span all groups."""

    parameters: list[nn.Parameter]
    lr: float


def training_decks(
    examples: Path, base: Path, space: TokenSpace, stage: StageRecipe, recipe: Recipe
) -> dict[str, Deck]:
    """A deck for each task that the stage trains on.

    Raises:
        HarnessError: there is no example of a task.
    """
    wanted = [task for task in TASKS if stage.per_step.get(task, 0)]
    by_task: dict[str, list[TrainSequence]] = {task: [] for task in wanted}
    for example in read_examples(examples, space, wanted):
        by_task[example.task].append(task_sequence(example, space))
    if stage.per_step.get(TEXT, 0):
        by_task[TEXT] = _replay(base, stage, recipe)
    for task, sequences in by_task.items():
        if not sequences:
            raise HarnessError(
                examples,
                f"no example of {task}",
                "at least one",
                "Write some, or leave the task out of the recipe's per_step.",
            )
    rng = np.random.default_rng([recipe.seed, 2])
    return {task: Deck(sequences, rng, stage.prompt_dropout) for task, sequences in by_task.items()}


def train(
    model: Any,
    decks: Mapping[str, Deck],
    groups: Sequence[Group],
    stage: StageRecipe,
    log: TrainLog,
    *,
    pad_id: int,
    what: str,
    at_checkpoint: Callable[[int], None],
) -> None:
    """Train; `at_checkpoint(step)` is called every `checkpoint_every` steps and after the last.

    Args:
        model: a causal LM with split tables, adapted or not.
        groups: what is trained, the rows last (their rate is the one that is logged).
        what: name of the progress bar.

    Raises:
        HarnessError: a loss is not finite.
    """
    optimiser = torch.optim.AdamW(
        [{"params": group.parameters, "lr": group.lr} for group in groups], weight_decay=0.0, betas=(0.9, stage.beta2)
    )
    model.train()
    with progress(stage.steps, what) as bar:
        for step in range(1, stage.steps + 1):
            share = cosine_share(step - 1, stage.steps, stage.warmup, stage.lr_floor)
            for group, settings in zip(groups, optimiser.param_groups, strict=True):
                settings["lr"] = group.lr * share
            losses, grad_norm = _step(model, decks, optimiser, stage, pad_id)
            _check_finite(losses, step, what)
            log.add(losses, _weights(stage, losses))
            if log.due(step, last=step == stage.steps):
                embedding, head = tables_of(model)
                log.write(step, embeddings=embedding.new, head=head.new, lr=groups[-1].lr * share, grad_norm=grad_norm)
            if step % stage.checkpoint_every == 0 or step == stage.steps:
                at_checkpoint(step)
            bar.update()
            bar.set_postfix_str(" ".join(f"{task} {loss:.2f}" for task, loss in losses.items()), refresh=False)


def _step(
    model: Any, decks: Mapping[str, Deck], optimiser: torch.optim.Optimizer, stage: StageRecipe, pad_id: int
) -> tuple[dict[str, float], float]:
    """One optimiser step. Returns the loss of each task and the gradient's norm before clipping."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    losses = {}
    for task, deck in decks.items():
        # A task at a time: its sequences are of like length, so that little is spent on padding.
        loss = batch_loss(inner.model, inner.lm_head, collate(deck.draw(stage.per_step[task]), pad_id))
        torch.autograd.backward(loss * stage.weights.get(task, 1.0))
        losses[task] = loss.item()
    grad_norm = nn.utils.clip_grad_norm_(_parameters(optimiser), stage.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return losses, float(grad_norm)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _weights(stage: StageRecipe, losses: Mapping[str, float]) -> dict[str, float]:
    return {task: stage.weights.get(task, 1.0) for task in losses}


def _check_finite(losses: Mapping[str, float], step: int, what: str) -> None:
    bad = [task for task, loss in losses.items() if not math.isfinite(loss)]
    if bad:
        raise HarnessError(
            f"{what}, step {step}",
            f"a loss that is not finite ({', '.join(bad)})",
            "finite losses",
            "Lower lr_rows or lr_lora in training/recipe.py.",
        )


def _replay(base: Path, stage: StageRecipe, recipe: Recipe) -> list[TrainSequence]:
    """Plain text of all groups, in the proportions of `replay_mix`."""
    tokenizer, corpus = read_tokenizer(base), text_corpus(recipe)
    rng = np.random.default_rng([recipe.seed, 3])
    largest = max(len(lines) for lines in corpus.values())
    sequences = []
    for group, share in stage.replay_mix.items():
        lines = line_sequences(tokenizer, corpus[group], recipe.text)
        sequences += [lines[i] for i in rng.integers(len(lines), size=round(share * largest))]
    return sequences
