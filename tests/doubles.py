"""Small models that were really trained, on a world in which words and codes say the same, and some that were misled.

Each is a whole checkpoint on disk. They differ in nothing but the pairs that training saw, so that a gate that tells
them apart does so by what they have learned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.examples import READ_TASKS, TASKS, WRITE_TASKS, Task, build_sequence
from harness.files import write_json, write_jsonl
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import CODEBOOK, IMAGE_CODES, N_CODEBOOKS, token_space_object, write_space

Double = Literal["sound", "prompt_blind", "media_blind", "rolled", "unconditional"]

N_WORDS = 3  # of a caption
N_CHOICES = 6  # of each word
STEPS = 480
BATCH = 64
SWITCH = {"a2t": "gen_text", "i2t": "gen_text", "t2a": "gen_aud", "t2i": "gen_img"}
NOISE = 0.1  # share of codes that the caption does not determine


@dataclass(frozen=True)
class Item:
    """A caption and what it describes, as ids."""

    text: np.ndarray
    image: np.ndarray
    audio: np.ndarray

    def media(self, task: Task) -> np.ndarray:
        """The medium that a task is about."""
        return self.image if task in ("i2t", "t2i") else self.audio


def write_double(root: Path, double: Double, *, n_golden: int = 256) -> Path:
    """Train a model on the pairs that it is to be misled by, and write its checkpoint; returns the folder."""
    space = parse_token_space(token_space_object())
    rng = np.random.default_rng(7)
    train = [_item(rng, space) for _ in range(4096)]
    model = _train(space, _sampler(double, train, space, rng))
    ckpt = root / "checkpoint_1"
    model.save_pretrained(ckpt)
    write_space(ckpt, space)
    for task in TASKS:
        write_jsonl(root / "golden" / f"golden_{task}_{n_golden}.jsonl", _golden(task, n_golden, space))
    write_json(ckpt / "bundle.json", {"format": "checkpoint-bundle/1", "stage": 4, "golden": "../golden"})
    return ckpt


def _item(rng: np.random.Generator, space: TokenSpace) -> Item:
    """Three words; each decides one code of the picture and one frame of the sound, but for some noise."""
    words = rng.integers(0, N_CHOICES, size=N_WORDS)
    image = _noisy(words + 2 * np.arange(N_WORDS), IMAGE_CODES, rng)
    frames = np.stack([words, N_CHOICES + (words + np.arange(N_WORDS)) % N_CHOICES])  # (K, T)
    text = words + np.arange(N_WORDS) * N_CHOICES
    audio = _noisy(frames, CODEBOOK, rng)
    assert audio.shape[0] == N_CODEBOOKS
    return Item(text, space.to_ids("image", image), space.to_ids("audio", audio))


def _noisy(codes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(codes.shape) < NOISE, rng.integers(0, size, size=codes.shape), codes)


def _sampler(
    double: Double, train: list[Item], space: TokenSpace, rng: np.random.Generator
) -> Callable[[Task], np.ndarray]:
    """Draws a training sequence of a task, as the double gets to see it."""
    no_words = np.empty(0, dtype=np.int64)

    def draw(task: Task) -> np.ndarray:
        i = int(rng.integers(len(train)))
        item, other = train[i], train[int(rng.integers(len(train)))]
        text, media = item.text, item.media(task)
        if double == "rolled":
            text = train[(i + 1) % len(train)].text
        elif double == "prompt_blind" and task in WRITE_TASKS:
            text = other.text
        elif double == "media_blind" and task in READ_TASKS:
            media = other.media(task)
        elif double == "unconditional":
            text, media = (no_words, media) if task in WRITE_TASKS else (text, media[:0])
        return build_sequence(task, text, media, space)

    return draw


def _train(space: TokenSpace, draw: Callable[[Task], np.ndarray]) -> Any:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=space.vocab_size_total, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, head_dim=16, intermediate_size=128, tie_word_embeddings=False,
        max_position_embeddings=64,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
    for step in range(STEPS):
        task = TASKS[step % len(TASKS)]
        ids = torch.from_numpy(np.stack([draw(task) for _ in range(BATCH)]))
        # Everything after the switch to the target, as in the real training.
        n_target = ids.shape[1] - 1 - int((ids[0] == space.special(SWITCH[task])).nonzero())
        logits = model(input_ids=ids[:, :-1]).logits[:, -n_target:]
        loss = cross_entropy(logits.flatten(0, 1), ids[:, -n_target:].flatten())
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model


def _golden(task: Task, n: int, space: TokenSpace) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1 + TASKS.index(task))
    rows = []
    for i in range(n):
        item = _item(rng, space)
        ids = build_sequence(task, item.text, item.media(task), space).tolist()
        rows.append(
            {"id": f"{task}-{i}", "source": "world", "task": task, "input_ids": ids,
             "text": " ".join(f"w{word}" for word in item.text), "length": len(ids),
             "token_space_sha256": space.sha256}
        )  # fmt: skip
    return rows
