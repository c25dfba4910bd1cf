"""Where generation ended: whether the end tag came, where relative to the expected end, and what it was before.

Earlier figures are read from the verdict.json files that lie beside the output folder.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.results import Measurement, Stage, Verdict, read_verdict

VERDICT = "verdict.json"
# Rows of the histogram: what an end tag's place is called, by its distance from the expected end in shares of it.
PLACES = ("at once", "early by half or more", "early by a tenth or more", "early", "in place", "late", "never")
_FAR, _NEAR = 0.5, 0.1
_Z = 1.959964  # of the standard normal distribution, 95 % two-sided


@dataclass(frozen=True)
class EndTags:
    """Where the end tags of some sequences came.

    Attributes:
        offsets: position of the first end tag minus the expected count; None where none came in time.
        expected: the expected counts.
    """

    offsets: tuple[int | None, ...]
    expected: tuple[int, ...]

    @property
    def n(self) -> int:
        """Sequences."""
        return len(self.offsets)

    @property
    def in_time(self) -> int:
        """Sequences that ended by themselves."""
        return sum(offset is not None for offset in self.offsets)

    @property
    def in_place(self) -> int:
        """Sequences that ended exactly where they should."""
        return sum(offset == 0 for offset in self.offsets)

    def histogram(self) -> dict[str, int]:
        """How many sequences ended where; every one of PLACES is a key."""
        counts = Counter(_place(offset, length) for offset, length in zip(self.offsets, self.expected, strict=True))
        return {place: counts[place] for place in PLACES}


@dataclass(frozen=True)
class Earlier:
    """An earlier checkpoint's figure.

    Attributes:
        step: its step.
        checkpoint: its path, as its verdict says.
        figure: the measurement of the same name.
    """

    step: int
    checkpoint: str
    figure: Measurement


def find_end_tags(
    sequences: Sequence[np.ndarray], expected: Sequence[int], end_id: int, max_new: int | None = None
) -> EndTags:
    """Find the end tags of sequences as `generate` returns them; behind `max_new` ids none would have been written."""
    offsets: list[int | None] = []
    for ids, length in zip(sequences, expected, strict=True):
        ends = np.flatnonzero(ids[:max_new] == end_id)
        offsets.append(int(ends[0]) - length if len(ends) else None)
    return EndTags(tuple(offsets), tuple(expected))


def find_earlier(
    out: Path, stage: Stage, step: int | None, inputs: dict[str, str], names: Sequence[str]
) -> tuple[dict[str, list[Earlier]], list[str]]:
    """The same figures of earlier checkpoints, from `*/verdict.json` beside an output folder.

    Args:
        out: this run's output folder.
        stage: only verdicts of this stage.
        step: only those of smaller steps; None finds none.
        inputs: name of an input (`token_space`, `golden`) to the SHA-256 that it must have had.
        names: of the measurements.

    Returns:
        Per name the figures by growing step; and why verdicts of smaller steps were passed over.
    """
    found: dict[str, list[Earlier]] = {name: [] for name in names}
    passed_over = []
    for file in sorted(out.resolve().parent.glob(f"*/{VERDICT}")) if step is not None else []:
        if file.parent == out.resolve():
            continue
        try:
            verdict = read_verdict(file)
        except (HarnessError, OSError) as error:
            passed_over.append(f"{file.parent.name}: unreadable ({str(error)[:120]})")
            continue
        theirs = verdict.checkpoint.step
        if verdict.stage != stage or theirs is None or step is None or theirs >= step:
            continue
        if other := _other_inputs(verdict, inputs):
            passed_over.append(f"{file.parent.name}: another {' and '.join(other)}")
            continue
        for figure in (figure for gate in verdict.gates for figure in gate.measurements if figure.name in found):
            if figure.value is not None and figure.n > 0:
                found[figure.name].append(Earlier(theirs, verdict.checkpoint.path, figure))
    return {name: sorted(each, key=lambda earlier: earlier.step) for name, each in found.items()}, passed_over


def change_of_share(name: str, now: Measurement, before: Measurement) -> Measurement:
    """A share now minus the same share before, both in per cent of independent items; in percentage points.

    Source of the interval: Newcombe 1998, Interval estimation for the difference between independent proportions,
    Statistics in Medicine 17, 873-890, method 10; the same prompts are in both, which would only narrow it.
    """
    p, q = (now.value or 0.0) / 100, (before.value or 0.0) / 100
    (p_low, p_high), (q_low, q_high) = _wilson(p, now.n), _wilson(q, before.n)
    low = p - q - np.hypot(p - p_low, q_high - q)
    high = p - q + np.hypot(p_high - p, q - q_low)
    return Measurement(
        name=name, value=100 * (p - q), unit="percentage points", n=now.n, low=100 * float(low), high=100 * float(high)
    )


def _wilson(share: float, n: int) -> tuple[float, float]:
    """The interval of Wilson 1927 for a share of n items."""
    centre = share + _Z**2 / (2 * n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + _Z**2 / n), (centre + half) / (1 + _Z**2 / n)
    return max(0.0, float(low)), min(1.0, float(high))


def _place(offset: int | None, expected: int) -> str:
    if offset is None:
        return "never"
    if offset >= 0:
        return "late" if offset else "in place"
    if offset == -expected:
        return "at once"
    early = -offset / expected
    return "early by half or more" if early >= _FAR else "early by a tenth or more" if early >= _NEAR else "early"


def _other_inputs(verdict: Verdict, inputs: dict[str, str]) -> list[str]:
    """Names of the inputs that a verdict was not measured on."""
    theirs = {name: each.sha256 for name, each in verdict.inputs.items()} | {"token_space": verdict.token_space_sha256}
    return [name.replace("_", " ") for name, sha256 in inputs.items() if theirs.get(name) != sha256]
