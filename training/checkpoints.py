"""Checkpoint bundles, form 1: the trained rows, in stage 4 an adapter, and pointers to everything else of the run."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.bundle import Decoding
from harness.errors import BundleError
from harness.files import read_json, write_json
from harness.token_space import FILE_NAME, SIDECAR_NAME, TokenSpace, read_token_space
from harness.training_record import RECORD_NAME, TrainingRecord
from training.rows import NewRows
from training.steps import new_folder
from training.text import read_tokenizer, save_tokenizer, with_specials

ROWS_JSON = "trainable_rows.json"
ROWS_FILE = "trainable_rows.safetensors"
FINGERPRINT = "base_fingerprint.json"
ADAPTER = "adapter"
LOG = "train_log.jsonl"


@dataclass(frozen=True)
class Run:
    """Where the parts of a run lie; a bundle's pointers are relative to the bundle."""

    root: Path

    @property
    def base(self) -> Path:
        """The text backbone."""
        return self.root / "base"

    @property
    def shards(self) -> Path:
        """Stage 2 shards."""
        return self.root / "shards"

    @property
    def data(self) -> Path:
        """Examples."""
        return self.root / "data"

    @property
    def codecs(self) -> Path:
        """Folder of `image/` and `audio/`."""
        return self.root / "codecs"

    @property
    def pointers(self) -> dict[str, Path]:
        """What the run's bundles point to."""
        return {
            "base": self.base,
            "shards": self.shards,
            "golden": self.data / "golden",
            "dev": self.data / "dev.jsonl",
            "text_eval": self.data / "text_eval.jsonl",
            "codecs": self.codecs,
        }

    @property
    def untrained(self) -> Path:
        """The checkpoint that the vocabulary surgery writes."""
        return self.root / "surgery" / "checkpoint_0"


@dataclass(frozen=True)
class CheckpointParts:
    """What a bundle is written from.

    Attributes:
        stage: 2 for the untrained checkpoint, then 3 and 4.
        pointers: name in bundle.json -> path, of what lies elsewhere; `base` always.
        decoding: how the checkpoint is to be served.
        parent: the checkpoint that training began from, whose token space, tokenizer and fingerprint are taken over;
            None for the untrained one.
        adapted: the PeftModel whose adapter is saved; None without one.
        adapter: its tensors by name, where they were gathered from several processes; None takes the model's own.
        log: the train log so far; None without one.
        record: how the run went; None for the untrained one.
        temperature: what the checkpoint is to be sampled at; 0 is greedy.
    """

    stage: int
    step: int
    rows: NewRows
    pointers: Mapping[str, Path]
    decoding: Decoding = "constrained"
    parent: Path | None = None
    adapted: Any | None = None
    adapter: dict[str, Tensor] | None = None
    log: Path | None = None
    record: TrainingRecord | None = None
    temperature: float = 0.0


def write_untrained(
    target: Path, shards: Path, pointers: Mapping[str, Path], rows: NewRows, fingerprint: dict[str, Any]
) -> None:
    """Write the checkpoint of the vocabulary surgery; all later ones take its tokenizer and fingerprint over.

    Args:
        target: its folder.
        shards: the folder that holds the token space and its sidecar.
        pointers: as of `CheckpointParts`.
        rows: the new rows.
        fingerprint: of the base.
    """
    space = read_token_space(shards)
    with new_folder(target) as folder:
        for name in (FILE_NAME, SIDECAR_NAME):
            shutil.copyfile(shards / name, folder / name)
        tokenizer = with_specials(read_tokenizer(pointers["base"]), space)
        save_tokenizer(tokenizer, folder, pad_token=_pad_token(space))
        write_json(folder / FINGERPRINT, fingerprint)
        _write_parts(folder, target, space, CheckpointParts(stage=2, step=0, rows=rows, pointers=pointers))


def write_checkpoint(target: Path, parts: CheckpointParts) -> None:
    """Write a trained checkpoint, whole or not at all.

    Raises:
        ValueError: it has no parent.
    """
    if parts.parent is None:
        raise ValueError(f"{target}: a trained checkpoint has a parent")
    space = read_token_space(parts.parent)
    with new_folder(target) as folder:
        for path in sorted(parts.parent.iterdir()):
            if path.name in (FILE_NAME, SIDECAR_NAME, FINGERPRINT) or path.name.startswith("tokenizer"):
                shutil.copyfile(path, folder / path.name)
        _write_parts(folder, target, space, parts)


def read_rows(checkpoint: Path) -> NewRows:
    """The new rows of a bundle.

    Raises:
        BundleError: they are not there, or not as many as the token space wants.
    """
    file = checkpoint / ROWS_FILE
    if not file.is_file():
        raise BundleError(file, "nothing", "trained rows", "Run the step before this one.")
    space = read_token_space(checkpoint)
    declared, tensors = read_json(checkpoint / ROWS_JSON), load_file(file)
    found = (declared["row_start"], declared["row_end"], len(tensors["embeddings"]))
    n = space.vocab_size_total - space.text_vocab_size
    if found != (space.text_vocab_size, space.vocab_size_total, n):
        raise BundleError(
            file,
            f"rows {found[0]} to {found[1]}, {found[2]} of them",
            f"rows {space.text_vocab_size} to {space.vocab_size_total}",
            "Run the step surgery again.",
        )
    return NewRows(tensors["embeddings"], tensors.get("lm_head"))


def latest_checkpoint(folder: Path) -> Path:
    """The checkpoint of the highest step in a stage's folder.

    Raises:
        BundleError: there is none.
    """
    found = [path for path in folder.glob("checkpoint_*") if path.name.removeprefix("checkpoint_").isdigit()]
    if not found:
        raise BundleError(folder, "no checkpoint_<step>", "at least one", "Run the stage first.")
    return max(found, key=lambda path: int(path.name.removeprefix("checkpoint_")))


def _write_parts(folder: Path, target: Path, space: TokenSpace, parts: CheckpointParts) -> None:
    """Fill `folder`, which will be renamed to `target`."""
    tensors = {"embeddings": parts.rows.embeddings.contiguous()}
    if parts.rows.lm_head is not None:
        tensors["lm_head"] = parts.rows.lm_head.contiguous()
    save_file(tensors, folder / ROWS_FILE)
    write_json(folder / ROWS_JSON, {
        "row_start": space.text_vocab_size,
        "row_end": space.vocab_size_total,  # exclusive
        "base_llm": os.path.relpath(parts.pointers["base"], target),
        "has_lm_head": parts.rows.lm_head is not None,
    })  # fmt: skip
    if parts.adapted is not None:
        _save_adapter(parts.adapted, parts.adapter, folder / ADAPTER)
    if parts.log is not None:
        shutil.copyfile(parts.log, folder / LOG)
    if parts.record is not None:
        write_json(folder / RECORD_NAME, parts.record.model_dump(mode="json"))
    if parts.temperature:
        sampling = {"do_sample": True, "temperature": parts.temperature, "top_k": 0, "top_p": 1.0}
        write_json(folder / "generation_config.json", sampling)
    write_json(folder / "bundle.json", _bundle(target, parts))


def _bundle(target: Path, parts: CheckpointParts) -> dict[str, Any]:
    own: dict[str, Path | None] = {
        "parent": parts.parent,
        "lora": target / ADAPTER if parts.adapted is not None else None,
        "train_log": target / LOG if parts.log is not None else None,
        "base_fingerprint": target / FINGERPRINT,
    }
    pointers = {name: path for name, path in {**parts.pointers, **own}.items() if path is not None}
    return {
        "format": "checkpoint-bundle/1",
        "stage": parts.stage,
        "step": parts.step,
        **{name: Path(os.path.relpath(path, target)).as_posix() for name, path in pointers.items()},
        "decoding": parts.decoding,
    }


def _save_adapter(adapted: Any, tensors: dict[str, Tensor] | None, folder: Path) -> None:
    for config in adapted.peft_config.values():
        # PEFT would write the path that the base was loaded from: somebody's home folder, and a name to look up.
        config.base_model_name_or_path = "base"
    # "auto" would compare vocabularies with a base of that name, on the hub if need be. The rows are saved already.
    adapted.save_pretrained(folder, save_embedding_layers=False, state_dict=tensors)
    (folder / "README.md").unlink(missing_ok=True)  # a template of unanswered questions
    # PEFT keeps target_modules as a set, whose order changes from process to process, and the digest with it.
    config_file = folder / "adapter_config.json"
    saved = read_json(config_file)
    write_json(config_file, {**saved, "target_modules": sorted(saved["target_modules"])})


def _pad_token(space: TokenSpace) -> str:
    return next(name for name, token_id in space.special_tokens.items() if token_id == space.special("pad_mm"))
