"""Stage 4: the model learns to write (t2a, t2i) while it keeps reading, with LoRA on the backbone and the new rows.

Prompt dropout is part of the recipe: without it the start of a media block after an empty prompt is never seen, and
the loss of an empty prompt measures that instead of the prompt's worth (measured: 7 nats instead of 0.3).
"""

import warnings
from typing import Any

import torch
from torch import nn

from harness.token_space import read_token_space
from training.checkpoints import CheckpointParts, Run, latest_checkpoint, read_rows, write_checkpoint
from training.loop import Group, train, training_decks
from training.recipe import Recipe, StageRecipe
from training.rows import attach_rows, load_base, rows_of
from training.steps import clear_folder
from training.train_log import TrainLog

# All linear layers of a Qwen3 block, as in the field.
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def run_stage4(run: Run, recipe: Recipe) -> None:
    """Train rows and adapter from stage 3's last checkpoint and write stage4/checkpoint_<step>."""
    stage, folder, parent = recipe.stage4, run.root / "stage4", latest_checkpoint(run.root / "stage3")
    space = read_token_space(parent)
    clear_folder(folder)  # an earlier run's checkpoints would pass for this one's
    torch.manual_seed(recipe.seed)
    model = load_base(run.base)
    rows = attach_rows(model, read_rows(parent), space.text_vocab_size)
    adapted = adapt(model, stage)
    lora = [parameter for name, parameter in adapted.named_parameters() if "lora_" in name]
    for parameter in rows:
        parameter.requires_grad_(True)  # PEFT freezes whatever is not its own
    decks = training_decks(run.data / "train.jsonl", run.base, space, stage, recipe)
    log_file = folder / "train_log.jsonl"

    def save(step: int) -> None:
        parts = CheckpointParts(
            stage=4, step=step, rows=rows_of(adapted), parent=parent, adapted=adapted, log=log_file,
            temperature=stage.temperature,
        )  # fmt: skip
        write_checkpoint(folder / f"checkpoint_{step}", run, parts)

    train(
        adapted, decks, [Group(lora, stage.lr_lora), Group(rows, stage.lr_rows)], stage,
        TrainLog(log_file, stage.log_every), pad_id=space.special("pad_mm"), what="stage 4", at_checkpoint=save,
    )  # fmt: skip


def adapt(model: nn.Module, stage: StageRecipe) -> Any:
    """The model with a fresh LoRA adapter on all seven projections."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM", r=stage.lora_rank, lora_alpha=stage.lora_alpha, lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
    )  # fmt: skip
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 by the old name whether activations are checkpointed.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        return get_peft_model(model, config)
