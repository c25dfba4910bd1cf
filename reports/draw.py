"""Drawings as inline SVG: an interval against its threshold, and paired losses as a scatter.

Everything is drawn with the page's own colours (classes, see report.css.j2), so that dark mode and print follow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from harness.results import Measurement
from reports.details import Pairs
from reports.findings import STANDING_WORD, sentence, standing
from reports.format import clean, exact, measured, number, rule_of, value_of

# Drawn in CSS pixels; the page scales a drawing down where there is less room.
BAR_WIDTH, BAR_HEIGHT, BAR_MARGIN = 360, 66, 10
MINI_WIDTH, MINI_HEIGHT, MINI_MARGIN = 132, 20, 6
SCATTER_SIZE, SCATTER_LEFT, SCATTER_BOTTOM, SCATTER_PAD = 300, 44, 40, 10

# The natural bounds of a unit, and the least that its axis spans: a zoom further in would make noise look like a gap.
_BOUNDS = {"share": (0.0, 1.0), "%": (0.0, 100.0)}
_LEAST_SPAN = {"share": 0.2, "%": 20.0}


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


def interval_bar(measurement: Measurement) -> Markup:
    """The large bar: interval, point, threshold, and the side on which the rule is met; empty when nothing is known."""
    axis = _bar_axis(measurement, BAR_MARGIN, BAR_WIDTH - BAR_MARGIN)
    if axis is None:
        return Markup("")
    spoken = f"{sentence(measurement)}: {STANDING_WORD[standing(measurement)]}"
    return Markup(
        '<svg class="bar" role="img" viewBox="0 0 {w} {h}" width="{w}" height="{h}" aria-label="{label}">{body}</svg>'
    ).format(
        w=BAR_WIDTH,
        h=BAR_HEIGHT,
        label=clean(spoken),
        body=_bar_body(measurement, axis, 34, 9) + _bar_labels(measurement, axis),
    )


def mini_bar(measurement: Measurement) -> Markup:
    """The bar of a table row: no words and hidden from screen readers, since the row holds the figures."""
    axis = _bar_axis(measurement, MINI_MARGIN, MINI_WIDTH - MINI_MARGIN)
    if axis is None:
        return Markup("")
    return Markup(
        '<svg class="bar mini" aria-hidden="true" viewBox="0 0 {w} {h}" width="{w}" height="{h}">{body}</svg>'
    ).format(w=MINI_WIDTH, h=MINI_HEIGHT, body=_bar_body(measurement, axis, MINI_HEIGHT / 2, 7))


def _bar_axis(measurement: Measurement, start: float, end: float) -> Axis | None:
    if measurement.value is None or not measured(measurement.value):
        return None
    ends = (measurement.low, measurement.high, measurement.threshold)
    known = [measurement.value, *(each for each in ends if each is not None and math.isfinite(each))]
    low, high = min(known), max(known)
    if len(known) == 1 or not math.isfinite(high - low):
        return None  # a bare figure has nothing to be drawn against
    least = _LEAST_SPAN.get(measurement.unit, 0.4 * max(abs(low), abs(high)) or 1.0)
    pad = max(0.25 * (high - low), (least - (high - low)) / 2)
    floor, ceiling = _BOUNDS.get(measurement.unit, (-math.inf, math.inf))
    low, high = min(low, max(low - pad, floor)), max(high, min(high + pad, ceiling))
    return Axis(low, high, start, end) if high > low and math.isfinite(high - low) else None


def _bar_body(measurement: Measurement, axis: Axis, y: float, reach: float) -> Markup:
    """Track, passing side, interval, threshold and point, from back to front."""
    parts = [
        Markup('<line class="track" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(axis.start, axis.end, y=y),
        _passing_side(measurement, axis, y, reach),
        _interval(measurement, axis, y, reach),
    ]
    if measurement.threshold is not None and math.isfinite(measurement.threshold):
        x = axis(measurement.threshold)
        parts.append(_line("threshold", x, y - reach - 1, x, y + reach + 1))
    parts.append(_point(measurement, axis, y))
    return Markup("").join(parts)


def _passing_side(measurement: Measurement, axis: Axis, y: float, reach: float) -> Markup:
    if measurement.threshold is None or measurement.op in (None, "=="):
        return Markup("")
    x = axis(measurement.threshold)
    left, right = (axis.start, x) if measurement.op in ("<", "<=") else (x, axis.end)
    return Markup('<rect class="passing" x="{}" y="{}" width="{}" height="{}"/>').format(
        left, y - reach, round(right - left, 1), 2 * reach
    )


def _interval(measurement: Measurement, axis: Axis, y: float, reach: float) -> Markup:
    if measurement.low is None or measurement.high is None:
        return Markup("")
    if not (math.isfinite(measurement.low) and math.isfinite(measurement.high)):
        return Markup("")
    left, right, cap = axis(measurement.low), axis(measurement.high), reach / 2
    style = f"interval {standing(measurement)}"
    return (
        _line(style, left, y, right, y)
        + _line(style, left, y - cap, left, y + cap)
        + _line(style, right, y - cap, right, y + cap)
    )


def _point(measurement: Measurement, axis: Axis, y: float) -> Markup:
    """A disc where the rule is met or there is none, a cross where it is not: readable without colour."""
    x, style = axis(measurement.value or 0.0), standing(measurement)
    if style != "not_met":
        return Markup('<circle class="point {}" cx="{}" cy="{}" r="4.5"/>').format(style, x, y)
    cross = Markup("M{} {}l9 9m0 -9l-9 9").format(x - 4.5, y - 4.5)
    return Markup('<path class="point halo" d="{d}"/><path class="point not_met" d="{d}"/>').format(d=cross)


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(style, x1, y1, x2, y2)


def _bar_labels(measurement: Measurement, axis: Axis) -> Markup:
    """The threshold above the bar; the value below it, between the ends of the axis."""
    parts = []
    if measurement.threshold is not None and math.isfinite(measurement.threshold):
        parts.append(_label("asked", axis(measurement.threshold), 15, f"asked {rule_of(measurement)}"))
    x, text = axis(measurement.value or 0.0), value_of(measurement)
    parts.append(_label("value", x, 62, text))
    # An end of the axis is labelled only where the value leaves room for it.
    room = 3.6 * len(text) + 42
    if x - axis.start > room:
        parts.append(_label("end", axis.start, 62, _tick(axis.low, measurement.unit), "start"))
    if axis.end - x > room:
        parts.append(_label("end", axis.end, 62, _tick(axis.high, measurement.unit), "end"))
    return Markup("").join(parts)


def _tick(value: float, unit: str) -> str:
    """An end of the axis, to three digits: where it lies is the drawing's choice, not a measurement."""
    return exact(float(f"{value:.3g}"), unit)


def _label(style: str, x: float, y: float, text: str, anchor: str = "") -> Markup:
    half = 3.4 * len(text)  # about half the text's width; a label near an edge is anchored to it
    near_left, near_right = x < half, x > BAR_WIDTH - half
    anchor = anchor or ("start" if near_left else "end" if near_right else "middle")
    x = {"start": max(x - half, 0), "end": min(x + half, BAR_WIDTH)}.get(anchor, x) if near_left or near_right else x
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(style, x, y, anchor, text)


def scatter_text(pairs: Pairs) -> str:
    """What the scatter shows, in words."""
    if not pairs.points:
        return f"{pairs.name}: {NO_PAIRS}"
    share = number(pairs.n_above / pairs.n_finite, "share")
    missing = pairs.n_total - pairs.n_finite
    lost = f" {missing} without both losses are left out." if missing else ""
    drawn = f" {len(pairs.points)} of them are drawn." if len(pairs.points) < pairs.n_finite else ""
    return (
        f"{pairs.n_above} of {pairs.n_finite} examples ({share}) lose more when ablated: "
        f"they lie above the diagonal.{lost}{drawn}"
    )


NO_PAIRS = "no example has both losses, so there is nothing to draw."


def scatter(pairs: Pairs) -> Markup:
    """Loss under the correct condition on x, under the ablated one on y, with the diagonal; empty without points."""
    if not pairs.points:
        return Markup("")
    values = [each for point in pairs.points for each in point]
    ticks = _nice_ticks(min(values), max(values))
    x = Axis(ticks[0], ticks[-1], SCATTER_LEFT, SCATTER_SIZE - SCATTER_PAD)
    y = Axis(ticks[0], ticks[-1], SCATTER_SIZE - SCATTER_BOTTOM, SCATTER_PAD)
    return Markup(
        '<svg class="scatter" role="img" viewBox="0 0 {s} {s}" width="{s}" height="{s}" aria-label="{label}">'
        "{grid}{points}</svg>"
    ).format(
        s=SCATTER_SIZE,
        label=clean(f"Scatter of {pairs.name}. {scatter_text(pairs)}"),
        grid=_scatter_grid(ticks, x, y),
        points=_scatter_points(pairs, x, y),
    )


def _scatter_grid(ticks: list[float], x: Axis, y: Axis) -> Markup:
    parts = []
    for tick in ticks:
        parts.append(_line("grid", x(tick), y.start, x(tick), y.end))
        parts.append(_line("grid", x.start, y(tick), x.end, y(tick)))
        text = f"{tick:.6g}".replace("-", "−")
        parts.append(
            Markup('<text class="end" x="{}" y="{}" text-anchor="middle">{}</text>').format(x(tick), y.start + 15, text)
        )
        parts.append(
            Markup('<text class="end" x="{}" y="{}" text-anchor="end">{}</text>').format(x.start - 6, y(tick) + 4, text)
        )
    parts.append(_line("diagonal", x.start, y.start, x.end, y.end))
    middle_x, middle_y = (x.start + x.end) / 2, (y.start + y.end) / 2
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">loss, correct</text>').format(
            middle_x, SCATTER_SIZE - 6
        )
    )
    parts.append(
        Markup(
            '<text class="axis" transform="translate(11 {}) rotate(-90)" text-anchor="middle">loss, ablated</text>'
        ).format(middle_y)
    )
    return Markup("").join(parts)


def _scatter_points(pairs: Pairs, x: Axis, y: Axis) -> Markup:
    """Two paths and not a mark a point: a tenth of the bytes. Above the diagonal discs, on or below it crosses."""
    above = _path(pairs, lambda a, b: b > a, "M{} {}h0", x, y)
    below = _path(pairs, lambda a, b: b <= a, "M{} {}m-2.5 -2.5l5 5m0 -5l-5 5", x, y)
    return Markup('<path class="above" d="{}"/><path class="below" d="{}"/>').format(above, below)


def _path(pairs: Pairs, keep: Callable[[float, float], bool], mark: str, x: Axis, y: Axis) -> str:
    return "".join(mark.format(x(a), y(b)) for a, b in pairs.points if keep(a, b))


def _nice_ticks(low: float, high: float) -> list[float]:
    """About four round steps that enclose the values."""
    span = high - low or max(abs(high), 1.0)
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]
