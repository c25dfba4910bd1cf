"""What is to be sampled, and what became of it: presets, plans and reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

DEFAULT_SEED = 123  # the spec's own script


@dataclass(frozen=True)
class Preset:
    """So many rows of each source, and none of any other.

    Attributes:
        name: as it is asked for.
        targets: source to rows.
    """

    name: str
    targets: Mapping[str, int]

    @property
    def size(self) -> int:
        """Rows in all."""
        return sum(self.targets.values())


@dataclass(frozen=True)
class InProportion:
    """So many rows, of every source as many as it has its share in the file; largest remainders round up."""

    size: int


@dataclass(frozen=True)
class Uniform:
    """So many rows, whatever their source."""

    size: int


Shares = Preset | InProportion | Uniform

_SOURCES = ("wavcaps_audioset", "audiocaps", "clotho", "llava_pretrain")
# The spec's section 3. Its own numbers: another rounding of the whole file's mixture differs by a row here and there.
PRESETS = {
    name: Preset(name, dict(zip(_SOURCES, rows, strict=True)))
    for name, rows in {
        "A": (791, 311, 156, 790),
        "B": (3_162, 1_245, 623, 3_162),
        "C": (19_766, 7_782, 3_892, 19_760),
    }.items()
}


@dataclass(frozen=True)
class SamplePlan:
    """How to sample a file.

    Attributes:
        shares: how many rows, and how the sources share them.
        seed: not negative; the same seed draws the same rows of the same file in the same order.
        max_tokens: rows of more ids are left out before anything is drawn; None leaves out none.
        drop_longest: the share of rows, of those left by then, that is left out for being the longest; 0 to below 1.
        skip_bad: count malformed lines and go on, instead of stopping at the first.
    """

    shares: Shares
    seed: int = DEFAULT_SEED
    max_tokens: int | None = None
    drop_longest: Fraction = Fraction(0)
    skip_bad: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: a size below 1, a negative target or seed, or a share that is none.
        """
        if self.shares.size < 1 or (isinstance(self.shares, Preset) and min(self.shares.targets.values()) < 0):
            raise ValueError(f"{self.shares} asks for no rows, or for less than none")
        if self.seed < 0 or not 0 <= self.drop_longest < 1 or (self.max_tokens is not None and self.max_tokens < 1):
            raise ValueError(f"{self} has a negative seed, or a limit that leaves out all rows")

    @property
    def by_length(self) -> bool:
        """Whether every row's length must be known."""
        return self.max_tokens is not None or self.drop_longest > 0


@dataclass(frozen=True)
class SourceCount:
    """One source's rows; `source` is None for rows that name none."""

    source: str | None
    in_file: int
    taken: int


@dataclass(frozen=True)
class LeftOut:
    """Rows that could not be drawn.

    Attributes:
        too_long: rows of more than `max_tokens`.
        longest: rows dropped as the longest share.
        longest_kept: ids in the longest row left after both; None where no length was asked for, or none is left.
    """

    too_long: int = 0
    longest: int = 0
    longest_kept: int | None = None


@dataclass(frozen=True)
class SampleReport:
    """What was written.

    Attributes:
        out: the file or folder.
        sources: the sources that could be drawn from, largest first.
        ignored: the sources that a preset does not name, largest first.
        left_out: by length.
        blank: lines without anything.
        bad: malformed lines that were skipped.
        first_bad: what is wrong with the first of them, by its line number.
        tokens: ids in all rows taken; None where a row's length is not known.
        longest: ids in the longest of them.
    """

    out: Path
    sources: tuple[SourceCount, ...]
    ignored: tuple[SourceCount, ...]
    left_out: LeftOut
    blank: int
    bad: int
    first_bad: str | None
    tokens: int | None
    longest: int | None

    @property
    def taken(self) -> int:
        """Rows written."""
        return sum(count.taken for count in self.sources)
