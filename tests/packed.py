"""Packed sequences of the tiny token space, made in memory for the tests of what draws from them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.examples import Example, build_sequence, labels_of, regions
from harness.token_space import TokenSpace
from training.sequences import TEXT, Sequences, TrainSequence, joined, pack_texts

MEDIA = {"a2t": "audio", "t2a": "audio", "i2t": "image", "t2i": "image"}


def example(task: Any, i: int, space: TokenSpace, n_words: int = 3, n_codes: int = 4) -> Example:
    """An example whose ids tell its number apart: `n_words` words, `n_codes` frames or image codes."""
    rng = np.random.default_rng([i, n_words, n_codes])
    words = rng.integers(0, space.text_vocab_size, size=n_words)
    audio = MEDIA[task] == "audio"
    codes = rng.integers(0, 16, size=(space.n_codebooks, n_codes) if audio else n_codes)
    ids = build_sequence(task, words, space.to_ids("audio" if audio else "image", codes), space)
    return Example(f"{task}-{i}", task, f"source-{i % 2}", ids, space.sha256, None, {})


def row(one: Example, space: TokenSpace, **changes: Any) -> dict[str, Any]:
    """The example as a line of JSONL."""
    return {
        "id": one.id, "source": one.source, "task": one.task, "input_ids": one.input_ids.tolist(),
        "labels": labels_of(one, space).tolist(), "token_space_sha256": one.token_space_sha256,
    } | changes  # fmt: skip


def pack(examples: list[Example], space: TokenSpace, noise: float = 0.0) -> Sequences:
    """Examples as `read_sequences` packs them."""
    found = [regions(one, space) for one in examples]
    return Sequences(
        ids=np.concatenate([one.input_ids for one in examples]).astype(np.int32),
        starts=np.cumsum([0, *(len(one.input_ids) for one in examples)]),
        targets=np.array([each.target.start for each in found]),
        media=np.array([(each.media.start, each.media.stop) for each in found]),
        tasks=np.array([one.task for one in examples]),
        space=space,
        noise=noise,
    )


def pool(space: TokenSpace, counts: Mapping[str, int]) -> Sequences:
    """So many sequences of each task, of different lengths; `text` among the tasks gives plain text."""
    made = [
        example(task, i, space, 1 + i % 4, 1 + i % 5) for task, n in counts.items() if task != TEXT for i in range(n)
    ]
    texts = [TrainSequence(np.arange(2 + i % 5), 1) for i in range(counts.get(TEXT, 0))]
    parts = [pack(made, space)] if made else []
    return joined([*parts, pack_texts(texts, space)] if texts else parts)
