"""A complete checkpoint bundle of random weights, written in a second: base, rows, adapter, shards, golden set, codecs.

Nothing in it has learned anything, so that statistical gates fail on it and exact ones pass.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.codecs.encodec import EncodecCodec, EncodecConfig
from harness.codecs.vq import ImageVQ, ImageVQConfig
from harness.examples import TASKS, Task, build_sequence
from harness.files import file_sha256, write_json, write_jsonl, write_text
from harness.token_space import ROLES, TokenSpace, parse_token_space
from training.shards import FOOTER_KEY, SCHEMA
from training.text import with_specials

TEXT = 48
SPECIALS = 16
IMAGE_CODES = 24
CODEBOOK = 16
N_CODEBOOKS = 2
N_FRAMES = 4
HIDDEN = 32
N_SHARD_ROWS = 8  # of each modality
N_TEXTS = 24


@dataclass(frozen=True)
class Tiny:
    """Where the parts lie."""

    root: Path
    space: TokenSpace
    ckpt: Path
    base: Path
    golden: Path
    shards: Path


def token_space_object(**changes: Any) -> dict[str, Any]:
    """A uti_v1 object with TEXT, SPECIAL, IMAGE and two audio codebooks."""
    ranges: dict[str, dict[str, int]] = {}
    start = 0
    sizes = {"TEXT": TEXT, "SPECIAL": SPECIALS, "IMAGE": IMAGE_CODES}
    sizes |= {f"AUDIO_CB{k}": CODEBOOK for k in range(N_CODEBOOKS)}
    for name, size in sizes.items():
        ranges[name] = {"start": start, "end": start + size - 1, "size": size}
        start += size
    return {
        "version": "uti_v1",
        "created_utc": "2026-01-01T00:00:00Z",
        "base_text_model": "tiny",
        "text_vocab_size": TEXT,
        "special_tokens": {f"<|{role}|>": TEXT + i for i, role in enumerate(ROLES)},
        "ranges": ranges,
        "image_tokenizer": {"kind": "vq"},
        "audio_codec": {"kind": "encodec", "serialization": "flatten_by_time_interleaved_codebooks"},
        "vocab_size_total": start,
    } | changes


def write_tiny(root: Path, *, tied: bool = False, n_golden: int = 12, adapter: bool = True) -> Tiny:
    """Write the whole bundle below `root`."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    image, audio = _write_codecs(root / "codecs")
    declared = token_space_object()
    declared["image_tokenizer"] |= {"weights_sha256": file_sha256(root / "codecs/image/model.safetensors")}
    declared["audio_codec"] |= {"weights_sha256": file_sha256(root / "codecs/audio/model.safetensors")}
    space = parse_token_space(declared)
    base = _write_base(root / "base", tied)
    ckpt = root / "stage4" / "checkpoint_20"
    _write_rows(ckpt, space, tied, seed=1)
    _write_rows(root / "stage3" / "checkpoint_10", space, tied, seed=2)
    if adapter:
        _write_adapter(base, ckpt / "adapter")
    for folder in (ckpt, root / "stage3" / "checkpoint_10", root / "shards"):
        write_space(folder, space)
    for task in TASKS:
        rows = [_example(task, i, space, image, audio, rng) for i in range(n_golden)]
        write_jsonl(root / "golden" / f"golden_{task}_{n_golden}.jsonl", rows)
    write_jsonl(root / "text_eval.jsonl", text_rows())
    write_shards(root / "shards", space)
    write_tokenizer(base)
    write_tokenizer(ckpt, space)
    write_json(
        ckpt / "bundle.json",
        {
            "format": "checkpoint-bundle/1", "stage": 4, "step": 20, "base": "../../base",
            "parent": "../../stage3/checkpoint_10", "shards": "../../shards", "golden": "../../golden",
            "text_eval": "../../text_eval.jsonl", "codecs": "../../codecs", "decoding": "constrained",
        } | ({"lora": "adapter"} if adapter else {}),
    )  # fmt: skip
    return Tiny(root, space, ckpt, root / "base", root / "golden", root / "shards")


def write_space(folder: Path, space: TokenSpace) -> None:
    """token_space.json and its sidecar."""
    write_json(folder / "token_space.json", space.raw)
    write_text(folder / "token_space.sha256", space.sha256 + "\n")


def text_rows() -> list[dict[str, Any]]:
    """Text-only examples of two sources, every other one as ids."""
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for i in range(N_TEXTS):
        ids = rng.integers(0, TEXT, size=6 + i % 5).tolist()
        content = {"input_ids": ids} if i % 2 else {"text": " ".join(f"w{token_id}" for token_id in ids)}
        rows.append({"id": f"text-{i}", "source": "odd" if i % 2 else "even"} | content)
    return rows


def write_shards(
    folder: Path, space: TokenSpace, footer: str | None = None, rows_per_file: int = 2 * N_SHARD_ROWS
) -> None:
    """Parquet shards in the Stage 2 schema and their manifest; `footer` overrides the hash in the Parquet footers."""
    rows = shard_rows(space)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, start in enumerate(range(0, len(rows), rows_per_file)):
        name = f"part-{number}.parquet"
        write_parquet(folder / name, rows[start : start + rows_per_file], footer or space.sha256)
        files.append({"path": name, "rows": len(rows[start : start + rows_per_file])})
    manifest = {
        "format": "shards/1",
        "token_space_sha256": space.sha256,
        "files": files,
        "sources": {"tiny": len(rows)},
    }
    write_json(folder / "manifest.json", manifest)
    sign_shards(folder)


def shard_rows(space: TokenSpace) -> list[dict[str, Any]]:
    """Rows of both modalities in turn, whose content is no golden example's."""
    rng = np.random.default_rng(99)
    rows = []
    for i in range(N_SHARD_ROWS):
        codes = rng.integers(0, CODEBOOK, size=(N_CODEBOOKS, N_FRAMES + i % 2))
        meta: dict[str, Any] = {"n_frames": codes.shape[1], "n_codebooks": N_CODEBOOKS}
        rows.append(_shard_row(i, "audio", space.to_ids("audio", codes), meta, rng))
        codes = np.concatenate([rng.integers(0, 8, size=2), rng.integers(8, IMAGE_CODES, size=4)])
        meta = {"n_tokens": len(codes), "proc_size": [16, 16]}
        rows.append(_shard_row(i, "image", space.to_ids("image", codes), meta, rng))
    return rows


def _shard_row(
    i: int, modality: str, ids: np.ndarray, meta: dict[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    return {
        "id": f"shard-{modality}-{i}", "source": "tiny", "modality": modality, "text": f"shard caption {i}",
        "text_ids": rng.integers(0, TEXT, size=3 + i % 3).tolist(), "ids": ids.tolist(),
        "meta": json.dumps({modality: meta, "attributes": {"number": i}}),
    }  # fmt: skip


def write_parquet(path: Path, rows: list[dict[str, Any]], footer: str | None, schema: pa.Schema = SCHEMA) -> None:
    """One Parquet shard; no declaration in its footer where `footer` is None."""
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table.replace_schema_metadata({FOOTER_KEY: footer} if footer else None), path)


def sign_shards(folder: Path) -> None:
    """Write the hashes of the files as they are now into the manifest, so that a test's one defect is the only one."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        entry["sha256"] = file_sha256(folder / entry["path"])
    write_json(folder / "manifest.json", manifest)


def write_tokenizer(folder: Path, space: TokenSpace | None = None) -> None:
    """A tokenizer of 48 words; with a token space, its specials at their ids."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(TEXT)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder.mkdir(parents=True, exist_ok=True)
    (with_specials(words, space) if space else words).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object on disk."""
    write_json(path, json.loads(path.read_text()) | changes)


def _write_codecs(root: Path) -> tuple[ImageVQ, EncodecCodec]:
    config = ImageVQConfig(
        proc_size=16, n_shape_tokens=4, n_colour_codes=8, n_shape_codes=IMAGE_CODES - 8, latent_dim=4, width=4, hidden=8
    )
    image = ImageVQ(config).eval()
    image.codebook.normal_()
    image.save(root / "image")
    audio = EncodecCodec(
        EncodecConfig(
            ratios=(4, 4), n_filters=2, dimension=8, n_codebooks=N_CODEBOOKS, codebook_size=CODEBOOK, kernel_size=3
        )
    )
    audio.save(root / "audio")
    return image, audio


def _write_base(folder: Path, tied: bool) -> Path:
    config = Qwen3Config(
        vocab_size=TEXT, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, intermediate_size=48, tie_word_embeddings=tied, max_position_embeddings=512,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def _write_rows(ckpt: Path, space: TokenSpace, tied: bool, seed: int) -> None:
    ckpt.mkdir(parents=True, exist_ok=True)
    n = space.vocab_size_total - space.text_vocab_size
    generator = torch.Generator().manual_seed(seed)
    names = ("embeddings",) if tied else ("embeddings", "lm_head")
    rows = {name: 0.02 * torch.randn(n, HIDDEN, generator=generator) for name in names}
    save_file(rows, ckpt / "trainable_rows.safetensors")
    bounds = {"row_start": space.text_vocab_size, "row_end": space.vocab_size_total}
    write_json(ckpt / "trainable_rows.json", bounds | {"base_llm": "tiny", "has_lm_head": not tied})


def _write_adapter(base: Path, folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = Qwen3ForCausalLM.from_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    adapted.save_pretrained(folder)


def _example(
    task: Task, i: int, space: TokenSpace, image: ImageVQ, audio: EncodecCodec, rng: np.random.Generator
) -> dict[str, Any]:
    text = rng.integers(0, TEXT, size=3 + i % 3)
    row: dict[str, Any] = {"id": f"golden-{task}-{i}", "source": "tiny", "task": task, "text": f"caption {i}"}
    if task in ("a2t", "t2a"):
        codes = rng.integers(0, CODEBOOK, size=(N_CODEBOOKS, N_FRAMES))
        media = space.to_ids("audio", codes)
        row["audio_meta"] = {
            "n_frames": N_FRAMES, "n_codebooks": N_CODEBOOKS, "sample_rate": audio.sample_rate,
            "channels": audio.channels, "n_samples": N_FRAMES * audio.hop_length,
        }  # fmt: skip
    else:
        # Colour and shape tokens have code ranges of their own, as the tokenizer writes them.
        colours = rng.integers(0, 8, size=2)
        shapes = rng.integers(8, IMAGE_CODES, size=4)
        media = space.to_ids("image", np.concatenate([colours, shapes]))
        row["image_meta"] = {"n_tokens": image.n_tokens, "proc_size": [16, 16]}
    ids = build_sequence(task, text, media, space).tolist()
    return row | {"input_ids": ids, "length": len(ids), "token_space_sha256": space.sha256}
