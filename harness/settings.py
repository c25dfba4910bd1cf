"""How to measure."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        device, dtype: torch names; `auto` for the device takes cuda where there is one.
        seed: of every derangement, noise, sample and bootstrap.
        batch_tokens: padded tokens in a batch.
        max_examples: caps every task's examples in a smoke run; None otherwise.
        out: the output folder.
        reuse_evidence: whether evidence of earlier runs is used.
        threads: torch's threads in this process; None leaves torch's own choice.
        evidence: the folder of evidence; None takes `evidence` in the output folder.
    """

    device: str
    dtype: str
    seed: int
    batch_tokens: int
    max_examples: int | None
    out: Path
    reuse_evidence: bool = True
    threads: int | None = None
    evidence: Path | None = None

    @property
    def cache(self) -> Path:
        """The folder of evidence in force."""
        return self.evidence or self.out / "evidence"
