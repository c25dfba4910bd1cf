"""The demo's pictures: real handwritten digits, each in one ink on one paper, with a caption that says so.

The handwriting is scikit-learn's `load_digits` (1,797 scans of 8 x 8 pixels, from the UCI repository). A
picture is a scan, enlarged, painted with an ink on a paper: "a red seven on a blue background". A
*combination* is (digit, ink, paper); combinations and handwriting are both split, so a golden picture shows a
combination never trained on, in handwriting never trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

SIZE_PX = 32
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# RGB, 0-255. The nearest two (orange, yellow) are 87 apart, so a colour judge has room to be right.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 150, 50),
    "blue": (40, 70, 220),
    "yellow": (240, 220, 40),
    "orange": (245, 135, 20),
    "purple": (130, 40, 170),
    "pink": (250, 150, 200),
    "cyan": (60, 210, 220),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
}
SPLITS = ("train", "dev", "golden")

_SCAN_MAX = 16.0  # load_digits' grey levels are 0..16
_SCAN_MARGIN = 2  # empty scan pixels added all round, so that turned strokes are not cut off
# Grey levels below 0.15 are paper and above 0.65 are ink: bicubic enlargement alone leaves strokes too pale.
_INK_FROM, _INK_FULL = 0.15, 0.65

Combination = tuple[str, str, str]  # digit, ink, paper


@dataclass(frozen=True)
class PicturesConfig:
    """How many pictures, and how much the handwriting of training pictures is varied."""

    n_train: int = 8192
    n_golden_combinations: int = 288  # one picture each
    n_dev_combinations: int = 160  # one picture each
    golden_handwriting: float = 0.18  # share of each digit's scans
    dev_handwriting: float = 0.07  # share of each digit's scans
    max_turn_degrees: float = 8.0
    max_shift_px: float = 1.5
    max_scale: float = 0.08  # relative
    seed: int = 0


@dataclass(frozen=True)
class Warp:
    """How a scan is placed on the picture."""

    turn_degrees: float = 0.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Picture:
    """One captioned picture; its pixels follow from the fields, see `render`."""

    id: str
    split: str
    digit: str
    ink: str
    paper: str
    scan: int  # row of load_digits
    warp: Warp

    @property
    def combination(self) -> Combination:
        """What the splits keep apart."""
        return self.digit, self.ink, self.paper

    @property
    def attributes(self) -> dict[str, str]:
        """Attribute name to word; each word occurs in the caption once."""
        return {"digit": self.digit, "ink": self.ink, "paper": self.paper}

    @property
    def caption(self) -> str:
        """The prompt."""
        return caption(self.digit, self.ink, self.paper)


def caption(digit: str, ink: str, paper: str) -> str:
    """The one template. "A orange" stays, so that captions differing in one attribute differ in one word."""
    return f"a {ink} {digit} on a {paper} background"


def all_combinations() -> list[Combination]:
    """Every (digit, ink, paper) with ink and paper different: 900."""
    return [(digit, ink, paper) for digit in DIGITS for ink, paper in permutations(COLOURS, 2)]


def split_combinations(config: PicturesConfig) -> dict[str, list[Combination]]:
    """Combinations by split, disjoint, in random order."""
    rng = np.random.default_rng([config.seed, 1])
    combinations = all_combinations()
    shuffled = [combinations[i] for i in rng.permutation(len(combinations))]
    n_golden, n_dev = config.n_golden_combinations, config.n_dev_combinations
    if n_golden + n_dev >= len(shuffled):
        raise ValueError(
            f"{n_golden} golden and {n_dev} dev combinations leave none of {len(shuffled)} to train on; "
            "lower n_golden_combinations or n_dev_combinations."
        )
    return {
        "golden": shuffled[:n_golden],
        "dev": shuffled[n_golden : n_golden + n_dev],
        "train": shuffled[n_golden + n_dev :],
    }


def split_handwriting(config: PicturesConfig) -> dict[str, dict[str, list[int]]]:
    """Split to digit to rows of load_digits, disjoint between splits."""
    rng = np.random.default_rng([config.seed, 2])
    by_split: dict[str, dict[str, list[int]]] = {split: {} for split in SPLITS}
    _, labels = _scans()
    for value, digit in enumerate(DIGITS):
        rows = rng.permutation(np.flatnonzero(labels == value)).tolist()
        n_golden, n_dev = (
            round(config.golden_handwriting * len(rows)),
            round(config.dev_handwriting * len(rows)),
        )
        by_split["golden"][digit] = rows[:n_golden]
        by_split["dev"][digit] = rows[n_golden : n_golden + n_dev]
        by_split["train"][digit] = rows[n_golden + n_dev :]
    return by_split


def build_pictures(config: PicturesConfig | None = None) -> dict[str, list[Picture]]:
    """Pictures by split: held-out combinations once each, unwarped; training ones in turn, warped anew."""
    config = config or PicturesConfig()
    combinations, handwriting = split_combinations(config), split_handwriting(config)
    n_pictures = {split: len(combinations[split]) for split in SPLITS} | {"train": config.n_train}
    return {
        split: list(_draw(split, combinations[split], handwriting[split], n_pictures[split], config))
        for split in SPLITS
    }


def _draw(
    split: str,
    combinations: Sequence[Combination],
    handwriting: dict[str, list[int]],
    n_pictures: int,
    config: PicturesConfig,
) -> Iterator[Picture]:
    rng = np.random.default_rng([config.seed, 3, SPLITS.index(split)])
    turn = dict.fromkeys(DIGITS, 0)  # scans are used in turn, so that all are used equally often
    for i in range(n_pictures):
        digit, ink, paper = combinations[i % len(combinations)]
        scan = handwriting[digit][turn[digit] % len(handwriting[digit])]
        turn[digit] += 1
        warp = _random_warp(config, rng) if split == "train" else Warp()
        yield Picture(f"{split}_{i:05d}", split, digit, ink, paper, scan, warp)


def _random_warp(config: PicturesConfig, rng: np.random.Generator) -> Warp:
    return Warp(
        turn_degrees=rng.uniform(-1, 1) * config.max_turn_degrees,
        shift_x_px=rng.uniform(-1, 1) * config.max_shift_px,
        shift_y_px=rng.uniform(-1, 1) * config.max_shift_px,
        scale=1 + rng.uniform(-1, 1) * config.max_scale,
    )


def render(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    """Pixels of the pictures, (N, 32, 32, 3)."""
    if not pictures:
        return np.zeros((0, SIZE_PX, SIZE_PX, 3), np.uint8)
    coverage = np.stack([ink_coverage(p.scan, p.warp) for p in pictures])
    return paint(coverage, [p.ink for p in pictures], [p.paper for p in pictures])


def ink_coverage(scan: int, warp: Warp) -> NDArray[np.float32]:
    """How much of each pixel is ink, 0..1, (32, 32): the scan enlarged bicubically and placed by `warp`."""
    scans, _ = _scans()
    padded = np.pad(scans[scan], _SCAN_MARGIN)
    placed = Image.fromarray(padded).transform(
        (SIZE_PX, SIZE_PX), Image.Transform.AFFINE, _output_to_scan(warp), Image.Resampling.BICUBIC
    )
    grey = np.asarray(placed, np.float32)
    return np.clip((grey - _INK_FROM) / (_INK_FULL - _INK_FROM), 0, 1)


def _output_to_scan(warp: Warp) -> tuple[float, float, float, float, float, float]:
    """PIL's affine coefficients: where in the padded scan an output pixel is looked up."""
    scan_px_per_px = 8 / SIZE_PX / warp.scale
    angle = np.deg2rad(warp.turn_degrees)
    a, b = scan_px_per_px * np.cos(angle), scan_px_per_px * np.sin(angle)
    centre_out_x, centre_out_y = SIZE_PX / 2 + warp.shift_x_px, SIZE_PX / 2 + warp.shift_y_px
    centre_scan = 4 + _SCAN_MARGIN
    return (
        a, b, centre_scan - a * centre_out_x - b * centre_out_y,
        -b, a, centre_scan + b * centre_out_x - a * centre_out_y,
    )  # fmt: skip


def paint(coverage: NDArray[np.float32], inks: Sequence[str], papers: Sequence[str]) -> NDArray[np.uint8]:
    """Coverage (N, 32, 32) painted with named inks on named papers, (N, 32, 32, 3)."""
    ink, paper = (np.array([COLOURS[name] for name in names], np.float32) for names in (inks, papers))
    share = coverage[..., None]
    pixels = share * ink[:, None, None, :] + (1 - share) * paper[:, None, None, :]
    return np.round(pixels).astype(np.uint8)


@cache
def _scans() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scans (1797, 8, 8) in 0..1, and the digit each shows (1797,)."""
    bunch = load_digits()
    return (bunch.images / _SCAN_MAX).astype(np.float32), bunch.target.astype(np.int64)
