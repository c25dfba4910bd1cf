"""Which rows are drawn: by sorting random keys, so that seed and row number alone decide.

A row's key is a 64-bit number of a PCG64 stream; of each source the rows with the smallest keys are taken. NumPy
promises the raw stream of a bit generator to be the same in every version and on every machine, which it does not
promise of `choice` and `shuffle`. A larger sample with the same seed holds the smaller one, source by source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from training.sampling.plan import InProportion, LeftOut, Preset, SamplePlan, SourceCount

# One stream for each use: a tie broken by the keys that draw would favour some rows.
_DRAW, _ORDER, _TIES = range(3)


@dataclass(frozen=True)
class Rows:
    """What is kept of a file's rows to draw among them.

    Attributes:
        names: the sources, as they first occur; None stands for rows that name none.
        source: (R,) each row's index in `names`.
        length: (R,) int64, ids; -1 where that is not known.
    """

    names: tuple[str | None, ...]
    source: np.ndarray
    length: np.ndarray


@dataclass(frozen=True)
class Choice:
    """What was drawn.

    Attributes:
        rows: (N,) row numbers, in the order in which they are to be written.
        sources, ignored, left_out: as `SampleReport` has them.
    """

    rows: np.ndarray
    sources: tuple[SourceCount, ...]
    ignored: tuple[SourceCount, ...]
    left_out: LeftOut


def choose(rows: Rows, plan: SamplePlan, where: Path) -> Choice:
    """Draw rows.

    Raises:
        HarnessError: a source, or the file, has fewer rows than are wanted; `where` is named.
    """
    eligible = _eligible(rows, plan)
    kept, left_out = _within_length(rows.length, eligible, plan)
    drawn = _draw(rows, kept, plan, where)
    shuffled = drawn[np.argsort(_keys(plan.seed, _ORDER, len(rows.source))[drawn], kind="stable")]
    in_file, taken = (np.bincount(rows.source[part], minlength=len(rows.names)) for part in (slice(None), drawn))
    counts = [SourceCount(*row) for row in zip(rows.names, in_file.tolist(), taken.tolist(), strict=True)]
    counts.sort(key=lambda count: (-count.in_file, count.source or ""))
    wanted = plan.shares.targets if isinstance(plan.shares, Preset) else None
    ignored = tuple(count for count in counts if wanted is not None and count.source not in wanted)
    return Choice(shuffled, tuple(count for count in counts if count not in ignored), ignored, left_out)


def largest_remainder(counts: Mapping[str | None, int], size: int) -> dict[str | None, int]:
    """Share `size` rows in proportion to counts, in whole numbers that add up to it.

    Each gets its quota rounded down; rows still missing go to the largest remainders, on a tie to the larger count,
    then to the name that comes first. Nobody gets more than it has.

    Raises:
        ValueError: there are fewer rows than `size`.
    """
    total = sum(counts.values())
    if size > total:
        raise ValueError(f"{size} of {total} rows")
    quotas = {name: divmod(size * count, total) for name, count in counts.items()}  # whole numbers: no rounding error
    missing = size - sum(floor for floor, _ in quotas.values())
    first = sorted(counts, key=lambda name: (-quotas[name][1], -counts[name], name or ""))[:missing]
    return {name: floor + (name in first) for name, (floor, _) in quotas.items()}


def _eligible(rows: Rows, plan: SamplePlan) -> np.ndarray:
    """Numbers of the rows whose source is asked for."""
    if not isinstance(plan.shares, Preset):
        return np.arange(len(rows.source))
    named = [number for number, name in enumerate(rows.names) if name in plan.shares.targets]
    return np.flatnonzero(np.isin(rows.source, named))


def _within_length(length: np.ndarray, candidates: np.ndarray, plan: SamplePlan) -> tuple[np.ndarray, LeftOut]:
    """The candidates that are not too long, ascending, and what was left out."""
    if not plan.by_length:
        return candidates, LeftOut()
    limit = plan.max_tokens
    short = candidates if limit is None else candidates[length[candidates] <= limit]
    n_longest = int(plan.drop_longest * len(short))
    # The last key sorts first. Ties by a key of their own, not by place: a file is often sorted by source.
    by_length = short[np.lexsort((_keys(plan.seed, _TIES, len(length))[short], length[short]))]
    kept = np.sort(by_length[: len(short) - n_longest])
    longest_kept = int(length[kept].max()) if len(kept) else None
    return kept, LeftOut(len(candidates) - len(short), n_longest, longest_kept)


def _draw(rows: Rows, kept: np.ndarray, plan: SamplePlan, where: Path) -> np.ndarray:
    by_key = kept[np.argsort(_keys(plan.seed, _DRAW, len(rows.source))[kept], kind="stable")]
    if plan.shares.size > len(kept) and not isinstance(plan.shares, Preset):
        raise _too_few(where, f"{len(kept)} rows", str(plan.shares.size), plan)
    if not isinstance(plan.shares, Preset | InProportion):
        return by_key[: plan.shares.size]
    n_kept = np.bincount(rows.source[kept], minlength=len(rows.names)).tolist()
    there: dict[str | None, int] = dict(zip(rows.names, n_kept, strict=True))
    if isinstance(plan.shares, Preset):
        wanted: dict[str | None, int] = dict(plan.shares.targets.items())
        _check_enough(there, wanted, plan, where)
    else:
        wanted = largest_remainder(there, plan.shares.size)
    sources = rows.source[by_key]
    parts = [by_key[sources == number][: wanted.get(name, 0)] for number, name in enumerate(rows.names)]
    return np.concatenate(parts)


def _check_enough(
    there: Mapping[str | None, int], wanted: Mapping[str | None, int], plan: SamplePlan, where: Path
) -> None:
    short = [name for name in wanted if there.get(name, 0) < wanted[name]]
    if short:
        found, expected = (", ".join(f"{n.get(s, 0)} of {s}" for s in short) for n in (there, wanted))
        raise _too_few(where, f"rows: {found}", expected, plan)


def _too_few(where: Path, found: str, wanted: str, plan: SamplePlan) -> HarnessError:
    lengths = ", after leaving out by length" if plan.by_length else ""
    return HarnessError(where, f"{found}{lengths}", wanted, "Ask for fewer rows, or give a file that has them.")


def _keys(seed: int, use: int, n: int) -> np.ndarray:
    """(n,) uint64; the first keys are the same, whatever n is."""
    keys: np.ndarray = np.random.PCG64(np.random.SeedSequence([seed, use])).random_raw(n)
    return keys
