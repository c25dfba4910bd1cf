"""Audits of a run in memory: a wrong mask, label, or input is caught in its first seconds, not after days.

Before the first step, a few examples as training sees them must have the loss that the scorer of the gates finds for
the same examples in the file. After the first step, and at the end, everything that may not move is as it was, bit for
bit, and what shall move has moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.canary import TOLERANCE_NATS
from harness.errors import HarnessError
from harness.examples import IGNORED, TASKS, Example, labels_of, regions
from harness.live_parameters import LiveFingerprint, fingerprint_live, trainable_names
from harness.scores import ScoreItem
from harness.scoring import score
from harness.token_space import TokenSpace
from harness.vocabulary import parts_of
from training.batches import Collator
from training.rows import tables_of
from training.sequences import Draw, Sequences
from training.trainee import Trainee

# A batch sums in another order than the scorer does; ten times what two batchings of the scorer may differ by.
_TOLERANCE_FACTOR = 10


class AuditError(HarnessError):
    """Training does not do what its config says."""


@dataclass(frozen=True)
class Probe:
    """A training example, as the harness reads it from the file, and its place in the packed sequences."""

    index: int
    example: Example


def audit_losses(
    trainee: Trainee, sequences: Sequences, probes: Sequence[Probe], collator: Collator, dtype: str
) -> float:
    """Hold the losses that training computes against those that the gates' scorer finds for the same examples.

    Args:
        trainee: in any mode; it is left in eval mode.
        sequences: what training draws from.
        probes: a few examples of every task, read by the harness.
        collator: makes the batch, with padding in it.
        dtype: the precision, which says how far the two may be apart.

    Returns:
        The largest difference, nats per label.

    Raises:
        AuditError: a label stands where none belongs, or a loss is another: pads or the prompt in the loss, shifted
            labels, an end tag without loss, media that never reach the model.
    """
    space = sequences.space
    draws = [Draw(probe.index, probe.example.task) for probe in probes]
    # A mix that copies media draws on examples whose own task it may have no share of.
    batch = replace(collator, tasks=(*collator.tasks, *TASKS))([sequences[draw] for draw in draws])
    for row, probe in enumerate(probes):
        _check_labels(batch["labels"][row].numpy(), probe.example, space)
    trainee.eval()
    device = tables_of(trainee.model)[0].text.device
    inputs = {name: batch[name].to(device) for name in ("input_ids", "labels", "weights")}
    with torch.no_grad():
        ours = trainee(**inputs)["nll"].double().cpu().numpy()
    items = [ScoreItem(probe.example.input_ids, regions(probe.example, space).target) for probe in probes]
    parts = parts_of(space, tables_of(trainee.model)[1].out_features)
    theirs = score(trainee.model, items, parts=parts, batch_tokens=1).nll
    gaps = np.abs(ours - theirs)
    if not (gaps <= _TOLERANCE_FACTOR * TOLERANCE_NATS[dtype]).all():
        worst = int(np.nanargmax(np.where(np.isnan(gaps), np.inf, gaps)))
        raise AuditError(
            f"training example {probes[worst].example.id} ({probes[worst].example.task})",
            f"a training loss of {ours[worst]:.6g} nats per label",
            f"{theirs[worst]:.6g}, as the gates score it",
            "Look at what enters the loss: pads, the prompt, shifted labels, a missing end tag, masked media.",
        )
    return float(gaps.max())


def _check_labels(labels: np.ndarray, example: Example, space: TokenSpace) -> None:
    wanted = np.full(len(labels), IGNORED, dtype=np.int64)
    wanted[: len(example.input_ids)] = labels_of(example, space)
    different = np.flatnonzero(labels != wanted)
    if len(different):
        at = int(different[0])
        what = "a pad" if at >= len(example.input_ids) else space.name_of(int(example.input_ids[at]))
        raise AuditError(
            f"training example {example.id} ({example.task})",
            f"label {labels[at]} at position {at}, which is {what}",
            f"{wanted[at]} there: the target block with both its tags is supervised, and nothing else",
            "Correct how training makes its labels.",
        )


@dataclass
class ParameterWatch:
    """What may move and what may not.

    Attributes:
        trainee: the module under training.
        trained: group (`embeddings`, `lm_head`, `lora`) -> names of its parameters; nothing else may move.
        frozen: what everything else was before the first step.
        before: the trained parameters then, by name; dropped after the first step.
    """

    trainee: Trainee
    trained: Mapping[str, Sequence[str]]
    frozen: LiveFingerprint
    before: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, trainee: Trainee, trained: Mapping[str, Sequence[str]]) -> "ParameterWatch":
        """Note everything before the first step.

        Raises:
            AuditError: what takes gradients is not what is to be trained.
        """
        names = {name for group in trained.values() for name in group}
        takes = trainable_names(trainee)
        if takes != names:
            stray, missing = sorted(takes - names)[:3], sorted(names - takes)[:3]
            raise AuditError(
                "the model before its first step",
                f"gradients for {', '.join(stray) or 'nothing more'}, and none for {', '.join(missing) or 'nothing'}",
                f"gradients for {', '.join(trained)} alone",
                "Only new rows, and in stage 4 the adapter, may train: look at requires_grad.",
            )
        before = {name: tensor.detach().clone() for name, tensor in trainee.named_parameters() if name in names}
        return cls(trainee, trained, fingerprint_live(trainee, names), before)

    def check(self, when: str) -> None:
        """Everything frozen is as it was.

        Raises:
            AuditError: a frozen tensor has moved.
        """
        moved = self.frozen.moved_in(self.trainee, {name for group in self.trained.values() for name in group})
        if moved:
            raise AuditError(
                f"the model {when}",
                f"{len(moved)} frozen tensors that have moved: {'; '.join(map(str, moved[:3]))}",
                "text rows and backbone bit-identical",
                "Something that may not train does: look at what the optimiser was given, and at hooks and masks.",
            )

    def check_moved(self) -> dict[str, int]:
        """Every group has moved since the start; returns how many rows of each have. Asked once, after the first step.

        Raises:
            AuditError: a group has not moved at all.
        """
        now = dict(self.trainee.named_parameters())
        rows = {
            group: sum(_rows_moved(self.before[name], now[name]) for name in names)
            for group, names in self.trained.items()
        }
        self.before.clear()
        still = [group for group, n in rows.items() if n == 0]
        if still:
            raise AuditError(
                "the model after its first step",
                f"no change in {', '.join(still)}",
                "every trained group to move",
                "Look at the learning rates (a rate of 0?), the gradients, and whether the type rounds updates away.",
            )
        return rows


def trained_groups(trainee: Trainee, rows: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of what is to be trained: new rows by table, and the adapter.

    Args:
        trainee: the module.
        rows: table -> parameter, as `attach_rows` gives them.
    """
    names = {id(parameter): name for name, parameter in trainee.named_parameters()}
    groups = {table: [names[id(parameter)]] for table, parameter in rows.items()}
    lora = [name for name, _ in trainee.named_parameters() if ".lora_" in name]
    return groups | ({"lora": lora} if lora else {})


def _rows_moved(before: Tensor, now: Tensor) -> int:
    return int((before != now.detach().to(before.device)).flatten(1).any(1).sum())
