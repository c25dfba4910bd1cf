"""What every drawing is made of: axes, lines, labels, and the frame that says in words what is drawn.

Everything is drawn with the page's own colours (classes, see the style sheets), so that dark mode and print follow.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.format import clean, shorten

MAX_SPOKEN = 600  # characters of a drawing's text alternative
SMALLEST = 1e-290  # span of an axis: below that, floats run out of digits
CHARACTER = 6.6  # pixels that a character of a label takes, on average


@dataclass(frozen=True)
class Axis:
    """A linear map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def frame(style: str, width: float, height: float, spoken: str, *parts: Markup) -> Markup:
    """A drawing with its text alternative, in CSS pixels; the page scales it down where there is less room."""
    return Markup(
        '<svg class="{}" role="img" viewBox="0 0 {w} {h}" width="{w}" height="{h}" aria-label="{label}">{body}</svg>'
    ).format(
        style,
        w=width,
        h=height,
        label=clean(shorten(spoken, MAX_SPOKEN)),
        body=Markup("").join(parts),
    )


def line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line."""
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(style, x1, y1, x2, y2)


def rect(style: str, x: float, y: float, width: float, height: float) -> Markup:
    """A rectangle."""
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        style, x, round(y, 1), round(width, 1), round(height, 1)
    )


def path(style: str, d: str) -> Markup:
    """A path; `d` is of our own making."""
    return Markup('<path class="{}" d="{}"/>').format(style, Markup(d))


def text(style: str, x: float, y: float, words: str, anchor: str = "middle") -> Markup:
    """A label; whatever the words are, they stay words."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        style, round(x, 1), round(y, 1), anchor, clean(words)
    )


def label_within(style: str, x: float, y: float, words: str, low: float, high: float) -> Markup:
    """A label at `x`, moved as far as it takes to stay between two edges."""
    half = CHARACTER / 2 * len(words)
    return text(style, min(max(x, low + half), max(high - half, low + half)), y, words)


def nice_ticks(low: float, high: float, steps: int = 4) -> list[float]:
    """About as many round steps, that enclose the values."""
    span = high - low
    if not span > 1e-12 * max(abs(low), abs(high)):  # one value, or too near to tell apart
        span = max(abs(high), abs(low))
    if span < SMALLEST:
        span = 1.0
    rough = span / steps
    if not math.isfinite(rough):
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def tick_text(value: float) -> str:
    """What stands at a tick."""
    return f"{value:.6g}".replace("-", "−").replace("e+", "e")


def polyline(points: Iterable[tuple[float, float] | None]) -> str:
    """A path through points; None breaks it."""
    parts, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{point[0]:g} {point[1]:g}")
        pen = "L"
    return "".join(parts)


def finite_span(values: Sequence[float]) -> tuple[float, float] | None:
    """The least and the largest value, where an axis can span them."""
    if not values or not math.isfinite(max(values) - min(values)):
        return None
    return min(values), max(values)
