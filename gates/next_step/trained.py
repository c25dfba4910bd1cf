"""What is known of the run that made a checkpoint: the tier, how far it came, why it ended."""

import re
from dataclasses import dataclass
from typing import Any

from harness.bundle import Bundle
from harness.errors import HarnessError
from harness.results import Stage
from harness.tiers import TIER_ROWS, Tier, describe_tier, tier_of
from harness.training_record import RECORD_NAME, TrainingRecord, read_training_record


@dataclass(frozen=True)
class Trained:
    """The run.

    Attributes:
        record: what its trainer wrote; None where it wrote nothing that can be used.
        problem: why what it wrote cannot be used.
    """

    record: TrainingRecord | None = None
    problem: str | None = None

    @property
    def tier(self) -> Tier | None:
        """The tier; None where nobody knows how many rows the run had."""
        return tier_of(self.record.train_rows) if self.record else None

    @property
    def unknown(self) -> str:
        """Why the tier is not known."""
        return self.problem or f"No {RECORD_NAME} says how many rows this run had"

    @property
    def running(self) -> bool:
        """Whether this is a checkpoint of a run that has not ended."""
        return self.record is not None and self.record.stopped == "running" and self.record.step < self.record.max_steps

    @property
    def plateaued(self) -> bool:
        """Whether the trainer ended the run because the gap had stopped growing."""
        return self.record is not None and self.record.stopped == "plateau"

    @property
    def too_early(self) -> bool:
        """Whether a gap near zero says nothing yet.

        The rule is for what has seen tier B's rows, or all rows of a smaller set; more than that need not be waited
        for: a full epoch is what the rule is to save.
        """
        record = self.record
        if record is None or not self.running:
            return False
        return record.step * record.effective_batch < min(record.train_rows, TIER_ROWS["B"])

    @property
    def rows_seen(self) -> int:
        """Sequences so far; 0 where that is not known."""
        return self.record.step * self.record.effective_batch if self.record else 0

    def after(self, found: str) -> str:
        """`After tier B (8,192 rows), ` and what was found; with the step where the run has not ended."""
        if self.record is None:
            return f"{found[0].upper()}{found[1:]}"
        how_far = f"step {self.record.step:,} of {self.record.max_steps:,} of " if self.running else ""
        return f"After {how_far}{describe_tier(self.record.train_rows)}, {found}"

    def small_backbone(self, real_billions: float) -> str | None:
        """The backbone's name where that says a size below the real one's: `qwen3-0.6b`."""
        name = self.record.config.get("backbone") if self.record else None
        size = re.search(r"(\d+(?:\.\d+)?)(b|m)(?![a-z])", name.lower()) if isinstance(name, str) else None
        if size is None:
            return None
        billions = float(size[1]) * (1 if size[2] == "b" else 1e-3)
        return str(name) if billions < real_billions else None

    def share_of(self, *tasks: str) -> float | None:
        """The share of tasks in the mix as the run's config has it, per cent; None where it says none."""
        mix: Any = self.record.config.get("mix") if self.record else None
        shares = mix.get("shares") if isinstance(mix, dict) else None
        if not isinstance(shares, dict) or not all(isinstance(each, int | float) for each in shares.values()):
            return None
        total = sum(shares.values())
        return 100 * sum(shares.get(task, 0) for task in tasks) / total if total > 0 else None


def what_was_trained(bundle: Bundle | None, stage: Stage) -> Trained:
    """What the checkpoint's training.json says; a malformed one, or another stage's, is a problem and no error."""
    if bundle is None:
        return Trained()
    try:
        record = read_training_record(bundle.path)
    except HarnessError as error:
        return Trained(problem=f"{RECORD_NAME} cannot be used ({error.found[:80]})")
    if record is not None and f"stage{record.stage}" != stage:
        return Trained(problem=f"{RECORD_NAME} tells of stage {record.stage}")
    return Trained(record)
