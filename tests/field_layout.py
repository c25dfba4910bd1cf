"""A tiny untrained model of the field's real vocabulary, written exactly as the field's trainers leave it on disk.

Below the root, as there: models/, outputs/{stage3_token_lm,stage4_mmpt,stage4_mmpt_trial,logs}/ and
stage3_uti/data/tokenized/. Real is the token space; ids, weights and captions are drawn at random.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.examples import IGNORED, TASKS, Task, build_sequence
from harness.files import write_json, write_jsonl, write_text
from harness.token_space import TokenSpace

# The project's checkout may have the first users' own files beside it; they are read there and never copied.
FIELD = Path(__file__).parents[2] / "shared" / "field"

BASE_LLM = "Qwen/Qwen3-8B-Base"
PADDED_VOCABULARY = 151_936  # rows of the real base's tables; 151,669 of them are tokens
HIDDEN = 16
N_FRAMES = 8
N_CODEBOOKS = 4
N_IMAGE_IDS = 32
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class FieldLayout:
    """Where the parts lie."""

    root: Path
    space: TokenSpace
    base: Path
    stage3: Path
    stage4: Path
    lora: Path
    golden: Path
    shards: Path
    log: Path


def write_field_layout(root: Path, space: TokenSpace, *, n_golden: int = 8) -> FieldLayout:
    """Write everything below `root`; about 25 MB."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    outputs = root / "outputs"
    layout = FieldLayout(
        root=root,
        space=space,
        base=root / "models" / "Qwen3-8B-Base",
        stage3=outputs / "stage3_token_lm" / "checkpoint_7000",
        stage4=outputs / "stage4_mmpt_trial" / "checkpoint_2000",
        lora=outputs / "stage4_mmpt_trial" / "lora_2000",
        golden=outputs / "stage4_mmpt" / "golden",
        shards=root / "stage3_uti" / "data" / "tokenized",
        log=outputs / "logs" / "stage4_mmpt_trial.log",
    )
    _write_base(layout.base)
    _write_adapter(layout.base, layout.lora)
    for checkpoint, seed in ((layout.stage3, 1), (layout.stage4, 2)):
        write_rows_pickle(checkpoint, space, seed=seed)
        write_json(checkpoint / "token_space.json", space.raw)  # the field's checkpoints have no sidecar
    for task in TASKS:
        rows = [_example(task, i, space, rng, "golden") for i in range(n_golden)]
        write_jsonl(layout.golden / f"golden_{task}_64.jsonl", rows)
    held_out = [_example(task, i, space, rng, "eval") for task in TASKS for i in range(n_golden)]
    write_jsonl(outputs / "stage4_mmpt" / "eval_512.jsonl", held_out)
    trained_on = [_example(task, i, space, rng, "train") for task in TASKS for i in range(n_golden)]
    write_jsonl(outputs / "stage4_mmpt" / "train_8k.jsonl", trained_on)
    for number, task in enumerate(TASKS):
        samples = [_sample(task, i, space, rng) for i in range(n_golden)]
        write_tar(layout.shards / "clotho" / "train" / f"shard-{number:06d}.tar", samples)
    write_text(layout.log, _log())
    return layout


def write_rows_pickle(checkpoint: Path, space: TokenSpace, *, seed: int = 0, **changes: Any) -> None:
    """trainable_rows.pt and trainable_rows.json as the field's trainer saves them; `changes` go into the payload."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    bounds = {"row_start": space.text_vocab_size, "row_end": space.vocab_size_total, "base_llm": BASE_LLM}
    generator = torch.Generator().manual_seed(seed)
    n = space.vocab_size_total - space.text_vocab_size
    # Rows are cut out of the whole table, and a view is saved with all that it is a view of.
    embeddings, lm_head = (
        torch.randn(n + 7, HIDDEN, generator=generator).mul(0.02).to(torch.bfloat16)[7:] for _ in range(2)
    )
    payload = bounds | {"embeddings": embeddings, "lm_head": lm_head, "dtype": str(embeddings.dtype)} | changes
    torch.save(payload, checkpoint / "trainable_rows.pt")
    write_json(checkpoint / "trainable_rows.json", bounds | {"has_lm_head": True})


def write_tar(path: Path, samples: Iterable[tuple[str, dict[str, Any], dict[str, np.ndarray]]]) -> None:
    """One WebDataset shard of (key, JSON, arrays)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, sample, arrays in samples:
            _add(tar, f"{key}.json", json.dumps(sample).encode())
            for name, array in arrays.items():
                content = io.BytesIO()
                np.save(content, array.astype(np.int32), allow_pickle=False)
                _add(tar, f"{key}.{name}.npy", content.getvalue())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _write_base(folder: Path) -> None:
    config = Qwen3Config(
        vocab_size=PADDED_VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, intermediate_size=32, tie_word_embeddings=False,
        max_position_embeddings=512, dtype="bfloat16",
    )  # fmt: skip
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def _write_adapter(base: Path, folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = Qwen3ForCausalLM.from_pretrained(base)
    adapted = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=16, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM")
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    adapted.peft_config["default"].base_model_name_or_path = BASE_LLM
    adapted.save_pretrained(folder, save_embedding_layers=False)


def _media(task: Task, space: TokenSpace, rng: np.random.Generator) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Global ids, the modality, and its meta."""
    if task in ("a2t", "t2a"):
        codes = rng.integers(0, space.audio[0].size, size=(N_CODEBOOKS, N_FRAMES))
        codec = {"nb_frames": 1, "frame_len": N_FRAMES, "last_frame_pad_length": 0, "scales": [[[0.1]]]}
        meta = {
            "orig_sample_rate": 16000, "sample_rate": 48000, "channels": 2, "clip_seconds": 10.0, "modality": "audio",
            "codec": "facebook/encodec_48khz", "n_codebooks": N_CODEBOOKS, "codebook_size": space.audio[0].size,
            "n_frames": N_FRAMES, "serialization": "flatten_by_time_interleaved_codebooks",
            "token_count": N_FRAMES * N_CODEBOOKS, "codec_meta": codec,
        }  # fmt: skip
        return space.to_ids("audio", codes), "audio", meta
    assert space.image is not None
    ids = space.to_ids("image", rng.integers(0, space.image.size, size=N_IMAGE_IDS))
    meta = {
        "orig_size": [64, 64], "proc_size": [224, 224], "image_mode": "RGB", "modality": "image",
        "tokenizer": "AILab-CVC/seed-tokenizer-2", "grid": None, "n_tokens": N_IMAGE_IDS, "dtype": "uint8",
    }  # fmt: skip
    return ids, "image", meta


def _example(task: Task, i: int, space: TokenSpace, rng: np.random.Generator, split: str) -> dict[str, Any]:
    text = rng.integers(0, 50_000, size=3 + i % 4)
    media, modality, meta = _media(task, space, rng)
    ids = build_sequence(task, text, media, space)
    last = space.special({"a2t": "gen_text", "i2t": "gen_text", "t2a": "gen_aud", "t2i": "gen_img"}[task])
    target = int(np.flatnonzero(ids == last)[0]) + 1
    labels = np.where(np.arange(len(ids)) < target, IGNORED, ids)
    return {
        "input_ids": ids.tolist(), "labels": labels.tolist(), "length": len(ids), "task": task, "source": "clotho",
        "id": f"clotho:{split}-{task}-{i}", "base_task": task, "token_space_sha256": space.sha256,
        "text_meta": {"len": len(text)}, "image_meta": None, "audio_meta": None, f"{modality}_meta": meta,
    }  # fmt: skip


def _sample(
    task: Task, i: int, space: TokenSpace, rng: np.random.Generator
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    text = rng.integers(0, 50_000, size=5)
    media, modality, meta = _media(task, space, rng)
    side = "text_out" if task in ("a2t", "i2t") else "text_in"
    arrays = {modality: media, side: text}
    key = f"{i:08d}"
    sample = {
        "__key__": key, "id": f"shard-{task}-{i}", "task": task, "source": "clotho",
        "token_space_sha256": space.sha256, "tokens": {name: len(array) for name, array in arrays.items()},
        "special": space.special_tokens, "source_meta": {},
        "meta": {"audio": None, "image": None, "text": {"len": len(text)}, modality: meta},
    }  # fmt: skip
    return key, sample, arrays


def _log() -> str:
    lines = ["`torch_dtype` is deprecated! Use `dtype` instead!", "Loading checkpoint shards:   0%|  | 0/5\rdone"]
    for step in range(50, 2001, 50):
        share = 1 - step / 4000
        losses = {"a2t": 2.1 * share, "i2t": 1.5 * share, "t2a": 9.8 * share, "t2i": 12.8 * share}
        named = " ".join(f"{task}_avg={loss:.4f}" for task, loss in losses.items())
        norms = "emb_norm_mean=2.0938 emb_norm_std=1.3516 head_norm_mean=0.4570 head_norm_std=0.0327"
        lines.append(f"[train] step={step} loss_mean={9.7 * share:.4f} {named} {norms}")
    return "\n".join(lines) + "\n"
