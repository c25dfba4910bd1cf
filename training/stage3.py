"""Stage 3: the new rows learn to be read (a2t, i2t) over a frozen backbone, with text replay.

Replay matters although no text row can move: without it the new head rows take probability from text
(measured: text loss 4.32 -> 4.76).
"""

import torch

from harness.token_space import read_token_space
from training.checkpoints import CheckpointParts, Run, read_rows, write_checkpoint
from training.loop import Group, train, training_decks
from training.recipe import Recipe
from training.rows import attach_rows, load_base, rows_of
from training.steps import clear_folder
from training.train_log import TrainLog


def run_stage3(run: Run, recipe: Recipe) -> None:
    """Train the rows of the surgery's checkpoint and write stage3/checkpoint_<step>."""
    stage, folder, parent = recipe.stage3, run.root / "stage3", run.untrained
    space = read_token_space(parent)
    clear_folder(folder)  # an earlier run's checkpoints would pass for this one's
    torch.manual_seed(recipe.seed)
    model = load_base(run.base)
    parameters = attach_rows(model, read_rows(parent), space.text_vocab_size)
    decks = training_decks(run.data / "train.jsonl", run.base, space, stage, recipe)
    log_file = folder / "train_log.jsonl"

    def save(step: int) -> None:
        parts = CheckpointParts(
            stage=3, step=step, rows=rows_of(model), parent=parent, log=log_file, temperature=stage.temperature
        )
        write_checkpoint(folder / f"checkpoint_{step}", run, parts)

    train(
        model, decks, [Group(parameters, stage.lr_rows)], stage, TrainLog(log_file, stage.log_every),
        pad_id=space.special("pad_mm"), what="stage 3", at_checkpoint=save,
    )  # fmt: skip
