"""A measured figure as a bar: its interval, its point, the threshold, and the side on which the rule is met."""

import math

from markupsafe import Markup

from harness.results import Measurement
from reports.draw.svg import Axis, frame, line, rect
from reports.findings import STANDING_WORD, sentence, standing
from reports.format import exact, measured, rule_of, value_of

# Drawn in CSS pixels; the page scales a drawing down where there is less room.
BAR_WIDTH, BAR_HEIGHT, BAR_MARGIN = 360, 66, 10
MINI_WIDTH, MINI_HEIGHT, MINI_MARGIN = 132, 20, 6

# The natural bounds of a unit, and the least that its axis spans: a zoom further in would make noise look like a gap.
_BOUNDS = {"share": (0.0, 1.0), "%": (0.0, 100.0)}
_LEAST_SPAN = {"share": 0.2, "%": 20.0}


def interval_bar(measurement: Measurement) -> Markup:
    """The large bar: interval, point, threshold, and the side on which the rule is met; empty when nothing is known."""
    axis = _bar_axis(measurement, BAR_MARGIN, BAR_WIDTH - BAR_MARGIN)
    if axis is None:
        return Markup("")
    spoken = f"{sentence(measurement)}: {STANDING_WORD[standing(measurement)]}"
    return frame(
        "bar", BAR_WIDTH, BAR_HEIGHT, spoken, _bar_body(measurement, axis, 34, 9), _bar_labels(measurement, axis)
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
        line("track", axis.start, y, axis.end, y),
        _passing_side(measurement, axis, y, reach),
        _interval(measurement, axis, y, reach),
    ]
    if measurement.threshold is not None and math.isfinite(measurement.threshold):
        x = axis(measurement.threshold)
        parts.append(line("threshold", x, y - reach - 1, x, y + reach + 1))
    parts.append(_point(measurement, axis, y))
    return Markup("").join(parts)


def _passing_side(measurement: Measurement, axis: Axis, y: float, reach: float) -> Markup:
    if measurement.threshold is None or measurement.op in (None, "=="):
        return Markup("")
    x = axis(measurement.threshold)
    left, right = (axis.start, x) if measurement.op in ("<", "<=") else (x, axis.end)
    return rect("passing", left, y - reach, right - left, 2 * reach)


def _interval(measurement: Measurement, axis: Axis, y: float, reach: float) -> Markup:
    if measurement.low is None or measurement.high is None:
        return Markup("")
    if not (math.isfinite(measurement.low) and math.isfinite(measurement.high)):
        return Markup("")
    left, right, cap = axis(measurement.low), axis(measurement.high), reach / 2
    style = f"interval {standing(measurement)}"
    return (
        line(style, left, y, right, y)
        + line(style, left, y - cap, left, y + cap)
        + line(style, right, y - cap, right, y + cap)
    )


def _point(measurement: Measurement, axis: Axis, y: float) -> Markup:
    """A disc where the rule is met or there is none, a cross where it is not: readable without colour."""
    x, style = axis(measurement.value or 0.0), standing(measurement)
    if style != "not_met":
        return Markup('<circle class="point {}" cx="{}" cy="{}" r="4.5"/>').format(style, x, y)
    cross = Markup("M{} {}l9 9m0 -9l-9 9").format(x - 4.5, y - 4.5)
    return Markup('<path class="point halo" d="{d}"/><path class="point not_met" d="{d}"/>').format(d=cross)


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
