"""Judges that say which digit, ink and paper a picture shows. They are trained on real pictures only.

Colours: the paper is the median of the border; the ink is the mean of the pixels farthest from the paper;
each is named after the nearest of the demo's colours. Digit: how far each pixel is from paper towards ink, as
a 16 x 16 map, read by a support vector classifier. A blank picture still gets answers: its paper's for the
ink, and always the same digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from training.demo.pictures import COLOURS, DIGITS, Picture

ATTRIBUTES = ("digit", "ink", "paper")
_BORDER_PX = 2
_INK_SHARE = 0.06  # of the pixels: fewer than the thinnest stroke covers fully
_MIN_CONTRAST = 20.0  # RGB distance below which a picture counts as blank
_MAP_SIDE = 16


@dataclass(frozen=True)
class PictureJudges:
    """Made by `train_judges`."""

    digit_classifier: SVC

    def answers(self, pixels: NDArray[np.uint8]) -> dict[str, list[str]]:
        """Attribute to the word for each picture; pixels are uint8 (N, 32, 32, 3)."""
        ink, paper = ink_and_paper(pixels)
        digits = self.digit_classifier.predict(_ink_map(pixels, ink, paper))
        return {
            "digit": [DIGITS[d] for d in digits],
            "ink": _colour_names(ink),
            "paper": _colour_names(paper),
        }

    def correct(self, pixels: NDArray[np.uint8], asked: Sequence[Picture]) -> dict[str, NDArray[np.bool_]]:
        """Attribute to whether each picture shows what was asked for, (N,)."""
        answers = self.answers(pixels)
        return {
            name: np.array([answer == p.attributes[name] for answer, p in zip(answers[name], asked, strict=True)])
            for name in ATTRIBUTES
        }

    def accuracy(self, pixels: NDArray[np.uint8], asked: Sequence[Picture]) -> dict[str, float]:
        """Attribute to the share of pictures that show what was asked for."""
        return {name: float(hits.mean()) for name, hits in self.correct(pixels, asked).items()}


def train_judges(pixels: NDArray[np.uint8], pictures: Sequence[Picture]) -> PictureJudges:
    """Train on real training pictures, pixels uint8 (N, 32, 32, 3); only the digit judge learns anything.

    Raises:
        ValueError: if a picture is not of the training split: its accuracy elsewhere would mean little.
    """
    held_out = [p.id for p in pictures if p.split != "train"]
    if held_out:
        raise ValueError(f"train_judges: {len(held_out)} held-out pictures, first {held_out[0]}; expected none.")
    ink, paper = ink_and_paper(pixels)
    classifier = SVC(C=10.0, gamma="scale")
    classifier.fit(_ink_map(pixels, ink, paper), [DIGITS.index(p.digit) for p in pictures])
    return PictureJudges(classifier)


def ink_and_paper(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimated ink and paper of each picture, both (N, 3), RGB 0-255."""
    border = np.ones(pixels.shape[1:3], bool)
    border[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = False
    paper = np.median(pixels[:, border].astype(np.float64), axis=1)
    flat = pixels.reshape(len(pixels), -1, 3).astype(np.float64)
    distance = np.linalg.norm(flat - paper[:, None], axis=2)
    n_ink = max(1, round(_INK_SHARE * flat.shape[1]))
    farthest = np.argpartition(distance, -n_ink, axis=1)[:, -n_ink:]
    ink = np.take_along_axis(flat, farthest[..., None], axis=1).mean(axis=1)
    return ink, paper


def _ink_map(pixels: NDArray[np.uint8], ink: NDArray[np.float64], paper: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 256): 0 where a pixel is paper, 1 where it is ink, on a 16 x 16 grid; all 0 for a blank picture."""
    direction = ink - paper  # (N, 3)
    contrast = np.linalg.norm(direction, axis=1)
    share = np.einsum("nhwc,nc->nhw", pixels - paper[:, None, None], direction)
    share /= np.maximum(contrast, _MIN_CONTRAST)[:, None, None] ** 2
    share[contrast < _MIN_CONTRAST] = 0
    step = pixels.shape[1] // _MAP_SIDE
    coarse = share.reshape(len(pixels), _MAP_SIDE, step, _MAP_SIDE, step).mean(axis=(2, 4))
    return np.clip(coarse, 0, 1).reshape(len(pixels), -1)


def _colour_names(colours: NDArray[np.float64]) -> list[str]:
    """The nearest named colour to each of (N, 3)."""
    names, table = list(COLOURS), np.array(list(COLOURS.values()), np.float64)
    return [names[i] for i in np.linalg.norm(colours[:, None] - table, axis=2).argmin(axis=1)]
