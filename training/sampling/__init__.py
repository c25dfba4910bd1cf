"""Smaller training and evaluation files that keep the mixture of the whole: the spec's `sample_stage3.py`.

    sample_examples(Path("train.jsonl"), Path("train.small_8192.jsonl"), SamplePlan(PRESETS["B"]))

JSONL files of examples (plain, .gz, .zst) and Parquet shards of Stage 2; see docs/sampling.md.
"""

from pathlib import Path

from training.sampling.jsonl import sample_lines
from training.sampling.plan import (
    DEFAULT_SEED,
    PRESETS,
    InProportion,
    LeftOut,
    Preset,
    SamplePlan,
    SampleReport,
    Shares,
    SourceCount,
    Uniform,
)

__all__ = [
    "DEFAULT_SEED",
    "PRESETS",
    "InProportion",
    "LeftOut",
    "Preset",
    "SamplePlan",
    "SampleReport",
    "Shares",
    "SourceCount",
    "Uniform",
    "sample_examples",
]


def sample_examples(source: Path, out: Path, plan: SamplePlan) -> SampleReport:
    """Write a sample of `source` to `out`: a JSONL file of a JSONL file, a folder of shards of Parquet shards.

    Every line (row) is kept as it stands. `out` appears whole or not at all, and is never `source`.

    Raises:
        HarnessError: `source` cannot be read as what it is, or has fewer rows than are wanted; nothing is written.
    """
    if source.is_dir() or source.suffix == ".parquet":
        # Imported here: a file of examples is sampled without Arrow.
        from training.sampling.parquet import sample_shards

        return sample_shards(source, out, plan)
    return sample_lines(source, out, plan)
