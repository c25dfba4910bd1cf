"""Measuring while training: ablations and text loss on a fixed dev slice, by the scorer that judges checkpoints.

Every process measures everything: a sharded model (FSDP, ZeRO-3) needs all of them in step, and the others would wait.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import statistics
from harness.conditions import Conditions, content_key, media_conditions, media_of, prompt_conditions
from harness.errors import HarnessError
from harness.examples import READ_TASKS, TASKS, Example, Task, iterate_examples
from harness.files import write_bytes
from harness.results import Measurement
from harness.scores import ScoreItem
from harness.scoring import score
from harness.statistics import Paired
from harness.text_eval import TextEval
from harness.text_losses import TextLosses
from harness.text_regression import in_pct
from harness.token_space import TokenSpace
from harness.vocabulary import parts_of
from training.config import MeasureConfig
from training.rows import tables_of

# What is taken away, by kind of task: the log's word for it -> the harness's condition. The spec's words are the log's.
READ_CONDITIONS = {"shuffle": "shuffled", "noise": "noise"}
WRITE_CONDITIONS = {"shuffle": "shuffled", "empty": "empty"}


@dataclass(frozen=True)
class DevTask:
    """The dev examples of a task under every condition that is measured.

    Attributes:
        media: (N,) content keys: examples that share media are no independent items.
        conditions: `correct` and those of READ_CONDITIONS or WRITE_CONDITIONS, by the harness's names.
    """

    task: Task
    media: np.ndarray
    conditions: Conditions


@dataclass(frozen=True)
class DevSlice:
    """What is measured at every evaluation: always the same sequences."""

    tasks: tuple[DevTask, ...]
    texts: TextEval | None
    space: TokenSpace


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        step: of the run; 0 before training.
        correct: task -> (N,) losses of the examples as they are, nats per label.
        gaps: `<condition>_<task>` -> (M,) loss under the condition minus the correct one, nats per label.
        media: the same keys -> (M,) content keys of the examples' media.
        text: (K,) losses of the plain texts over text logits, summed over tokens, nats; empty where none are measured.
        text_whole: (K,) the same over the whole vocabulary.
        text_tokens: (K,) tokens of each.
    """

    step: int
    correct: dict[str, np.ndarray]
    gaps: dict[str, np.ndarray]
    media: dict[str, np.ndarray]
    text: np.ndarray
    text_whole: np.ndarray
    text_tokens: np.ndarray

    def logged(self) -> dict[str, float]:
        """The keys of train_log.jsonl."""
        line: dict[str, float] = {f"dev_loss_{task}": float(nll.mean()) for task, nll in self.correct.items()}
        for name, gaps in self.gaps.items():
            line |= {f"delta_{name}": float(gaps.mean()), f"win_{name}": float((gaps > 0).mean())}
        if len(self.text):
            n = self.text_tokens.sum()
            line |= {"text_loss": float(self.text.sum() / n), "text_loss_whole": float(self.text_whole.sum() / n)}
        return line

    def summary(self) -> str:
        """One line for a reader: each gap with its win rate, and the text's loss."""
        gaps = [f"{name} {gaps.mean():+.3f} ({(gaps > 0).mean():.0%} won)" for name, gaps in self.gaps.items()]
        text = [f"text {self.text.sum() / self.text_tokens.sum():.3f}"] if len(self.text) else []
        return ", ".join([*gaps, *text])

    def gap(self, name: str, rng: np.random.Generator) -> Measurement:
        """The mean of a gap, with its interval over media."""
        return statistics.mean(f"delta_{name}", self.gaps[name], self.media[name], "nats/token", rng)

    def wins(self, name: str) -> Measurement:
        """The share of examples whose own condition has the lower loss."""
        gaps = self.gaps[name]
        zeros, sources = np.zeros(len(gaps)), np.full(len(gaps), "")
        return statistics.win_rate(f"win_{name}", Paired(zeros, gaps, self.media[name], sources))

    def text_rise_pct(self, base: np.ndarray, rng: np.random.Generator) -> Measurement:
        """How much higher the perplexity of text is than the base's, %, over text logits; paired by text.

        Args:
            base: (K,) the base's losses of the same texts, summed over tokens, nats.
            rng: draws the resamples.
        """
        rises, n = self.text - base, self.text_tokens
        texts = np.arange(len(n)).astype(str)
        low, high = statistics.bootstrap_ratio(rises, n, texts, rng, statistics.CONFIDENCE_LEVEL)
        value = in_pct(float(rises.sum() / n.sum()))
        return Measurement(
            name="text_perplexity_change", value=value, unit="%", n=len(n), low=in_pct(low), high=in_pct(high)
        )


def read_dev_slice(
    path: Path, tasks: Sequence[Task], texts: TextEval | None, space: TokenSpace, config: MeasureConfig, seed: int
) -> DevSlice:
    """The first dev examples of each task under every condition.

    Raises:
        HarnessError: the dev set holds no example of a task, or too alike ones to shuffle.
    """
    by_task: dict[str, list[Example]] = {task: [] for task in tasks}
    for example in iterate_examples(path, space):
        if len(by_task.get(example.task, ())) < config.examples and example.task in by_task:
            by_task[example.task].append(example)
    for task, examples in by_task.items():
        if len(examples) < 2:
            raise HarnessError(
                path, f"{len(examples)} examples of {task}", "two at least", "Add some, or set steps.eval_every = 0."
            )
    return DevSlice(tuple(_dev_task(task, by_task[task], space, seed) for task in tasks), texts, space)


def evaluate(model: Any, dev: DevSlice, step: int, batch_tokens: int) -> Evaluation:
    """Measure a model in memory; it is left in eval mode."""
    n_rows = tables_of(model)[1].out_features
    parts = parts_of(dev.space, n_rows)

    def losses(items: Sequence[ScoreItem], label: str) -> np.ndarray:
        return score(model, items, parts=parts, batch_tokens=batch_tokens, label=label).nll

    correct: dict[str, np.ndarray] = {}
    gaps: dict[str, np.ndarray] = {}
    media: dict[str, np.ndarray] = {}
    for each in dev.tasks:
        own = losses(each.conditions["correct"].items, f"{each.task}: correct")
        correct[each.task] = own
        for word, name in _words(each.task).items():
            condition = each.conditions[name]
            gaps[f"{word}_{each.task}"] = losses(condition.items, f"{each.task}: {name}") - own[condition.index]
            media[f"{word}_{each.task}"] = each.media[condition.index]
    text = text_whole = np.empty(0)
    text_tokens = np.empty(0, dtype=np.int64)
    if dev.texts is not None:
        found = TextLosses.of(score(model, dev.texts.items, parts=parts, batch_tokens=batch_tokens, label="text only"))
        text, text_whole, text_tokens = found.nll, found.nll_whole, found.n_tokens
    return Evaluation(step, correct, gaps, media, text, text_whole, text_tokens)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Keep an evaluation as `<step>.npz`, example by example: the plateau rule looks back, also after a resume."""
    arrays = {"text": evaluation.text, "text_whole": evaluation.text_whole, "text_tokens": evaluation.text_tokens}
    for kind in ("correct", "gaps", "media"):
        arrays |= {f"{kind}/{name}": array for name, array in getattr(evaluation, kind).items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / f"{evaluation.step}.npz", buffer.getvalue())


def read_evaluations(folder: Path) -> list[Evaluation]:
    """All evaluations of a run, in the order of their steps."""
    files = sorted((file for file in folder.glob("*.npz") if file.stem.isdigit()), key=lambda file: int(file.stem))
    return [_read(file) for file in files]


def _read(file: Path) -> Evaluation:
    with np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def of(kind: str) -> dict[str, np.ndarray]:
        return {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{kind}/")}

    return Evaluation(
        step=int(file.stem), correct=of("correct"), gaps=of("gaps"), media=of("media"),
        text=arrays["text"], text_whole=arrays["text_whole"], text_tokens=arrays["text_tokens"],
    )  # fmt: skip


def _words(task: str) -> dict[str, str]:
    return READ_CONDITIONS if task in READ_TASKS else WRITE_CONDITIONS


def _dev_task(task: Task, examples: list[Example], space: TokenSpace, seed: int) -> DevTask:
    rng = np.random.default_rng([seed, 9, TASKS.index(task)])
    make = media_conditions if task in READ_TASKS else prompt_conditions
    made = make(examples, space, rng)
    kept = {name: made[name] for name in ("correct", *_words(task).values())}
    return DevTask(task, np.array([content_key(ids) for ids in media_of(examples, space)]), kept)
