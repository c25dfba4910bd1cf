"""A small world to train in: a base, its checkpoint after the surgery, and examples in which words decide codes.

The base is random: what is tested on it is mechanics. What has to be learned is tested on the small demo run.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from harness.examples import TASKS, Example, build_sequence, labels_of
from harness.files import write_jsonl
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import TEXT, token_space_object, write_space, write_tokenizer
from training.config import (
    BatchConfig,
    DataConfig,
    MeasureConfig,
    MixConfig,
    OptimConfig,
    RunConfig,
    StepsConfig,
    StopConfig,
    SurgeryConfig,
)
from training.rows import NewRows, tables_of
from training.surgery import run_surgery

N_TRAIN, N_DEV = 48, 12  # of each task
HIDDEN = 32


@dataclass(frozen=True)
class World:
    """Where the parts lie."""

    root: Path
    space: TokenSpace
    base: Path
    surgery: Path
    train: Path

    def config(self, stage: int = 3, out: str = "run", **changes: Any) -> RunConfig:
        """A short run, whose parts may be changed."""
        tasks = ("a2t", "i2t") if stage == 3 else TASKS
        return replace(
            RunConfig(
                stage=stage,  # type: ignore[arg-type]
                out=str(self.root / out),
                data=DataConfig(
                    parent=str(self.surgery), train=str(self.train), text=str(self.root / "text_train.jsonl")
                ),
                mix=MixConfig(shares=dict.fromkeys((*tasks, "text"), 1.0)),
                batch=BatchConfig(per_device=4, accumulation=1),
                optim=OptimConfig(lr_rows=1e-2, lr_lora=1e-3, warmup_steps=2),
                steps=StepsConfig(max_steps=6, log_every=2, eval_every=4, save_every=2),
                measure=MeasureConfig(examples=8),
                stop=StopConfig(on_plateau=False, near_zero_after=-1),
            ),
            **changes,
        )


def write_world(
    root: Path, *, tied: bool = False, padding: int = 0, counted: bool = False, kind: str = "qwen3"
) -> World:
    """Write a world.

    Args:
        root: an empty folder.
        tied: whether the base's head is its embedding.
        padding: rows of the base's tables beyond its words, as Qwen3 has.
        counted: whether the token space counts these rows as text.
        kind: the base's architecture, `qwen3` or `llama`.
    """
    torch.manual_seed(0)
    space = parse_token_space(_token_space(TEXT + (padding if counted else 0)))
    base = root / "base"
    AutoModelForCausalLM.from_config(_base_config(kind, tied, TEXT + padding)).save_pretrained(base)
    write_tokenizer(base)
    write_space(root / "shards", space)
    rng = np.random.default_rng(3)
    write_jsonl(root / "train.jsonl", [_row("train", task, i, space, rng) for task in TASKS for i in range(N_TRAIN)])
    write_jsonl(root / "dev.jsonl", [_row("dev", task, i, space, rng) for task in TASKS for i in range(N_DEV)])
    texts = [rng.integers(0, TEXT, size=int(rng.integers(4, 9))).tolist() for _ in range(40)]
    write_jsonl(root / "text_eval.jsonl", [{"id": f"t{i}", "input_ids": ids} for i, ids in enumerate(texts[:10])])
    write_jsonl(root / "text_train.jsonl", [{"input_ids": ids} for ids in texts[10:]])
    surgery = root / "surgery" / "checkpoint_0"
    surgery.parent.mkdir()
    pointers = {"base": base, "dev": root / "dev.jsonl", "text_eval": root / "text_eval.jsonl"}
    run_surgery(surgery, root / "shards", pointers, SurgeryConfig(noise=0.5))
    return World(root, space, base, surgery, root / "train.jsonl")


def _token_space(n_text: int) -> dict[str, Any]:
    """The tiny token space with another number of text rows."""
    obj = token_space_object()
    by = n_text - obj["text_vocab_size"]
    obj["text_vocab_size"], obj["vocab_size_total"] = n_text, obj["vocab_size_total"] + by
    obj["special_tokens"] = {name: token_id + by for name, token_id in obj["special_tokens"].items()}
    for name, each in obj["ranges"].items():
        each["end"] += by
        if name == "TEXT":
            each["size"] += by
        else:
            each["start"] += by
    return obj


def _base_config(kind: str, tied: bool, n_rows: int) -> Any:
    shape = {
        "vocab_size": n_rows, "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 48, "tie_word_embeddings": tied,
        "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    return LlamaConfig(**shape) if kind == "llama" else Qwen3Config(**shape)


def _row(split: str, task: str, i: int, space: TokenSpace, rng: np.random.Generator) -> dict[str, Any]:
    """Words and the codes that they decide; the lengths differ, so that batches are padded."""
    words = rng.integers(0, 8, size=int(rng.integers(2, 6)))
    if task in ("a2t", "t2a"):
        media = space.to_ids("audio", np.stack([words, words + 8]))
    else:
        media = space.to_ids("image", words + 2)
    ids = build_sequence(task, words, media, space)  # type: ignore[arg-type]
    example = Example(f"{split}-{task}-{i}", task, f"source-{i % 2}", ids, space.sha256, None, {})  # type: ignore[arg-type]
    return {
        "id": example.id, "source": example.source, "task": task, "input_ids": ids.tolist(),
        "labels": labels_of(example, space).tolist(), "length": len(ids), "token_space_sha256": space.sha256,
    }  # fmt: skip


def rows_of(model: Any) -> NewRows:
    """The rows that `attach_rows` attached to a model, as they are now."""
    table, head = tables_of(model)
    shared = head.new is table.new
    return NewRows(table.new.detach().clone(), None if shared else head.new.detach().clone())
