"""A small chart of a measure over steps as inline SVG: a line a run, intervals, thresholds, the passing side shaded.

Runs differ by the shape of their marks and by the dashes of their lines; colour only repeats it.
"""

import math

from markupsafe import Markup

from reports.draw.svg import Axis, frame, line, path, polyline, rect, text
from reports.format import NARROW_SPACE, SIGNS, exact, number, shorten, with_unit
from reports.trends import Chart, Line

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 264, 132, 46, 10, 8, 22
# The mark of each run, drawn around a point that the pen has been moved to: disc, square, triangle, diamond, ×, +.
MARKS = (
    "h0",
    "m-3.5 -3.5h7v7h-7z",
    "m0 -4.5l4.5 8h-9z",
    "m0 -4.8l4.8 4.8l-4.8 4.8l-4.8 -4.8z",
    "m-3.5 -3.5l7 7m0 -7l-7 7",
    "m-4.5 0h9m-4.5 -4.5v9",
)
MAX_SPOKEN = 80  # characters of a run's name
MAX_MARKS = 40
# The whole of a unit, and the least that an axis spans: a closer look would make noise seem a change.
_WHOLE = {"share": 1.0, "%": 100.0}
_LEAST_SPAN = {"share": 0.1, "%": 4.0}


def trend_chart(chart: Chart) -> Markup:
    """The chart; its figures are said in words to those who do not see it."""
    x = Axis(chart.first_step, max(chart.last_step, chart.first_step + 1), LEFT, WIDTH - RIGHT)
    if chart.first_step == chart.last_step:
        x = Axis(chart.first_step - 1, chart.first_step + 1, LEFT, WIDTH - RIGHT)
    y = _y_axis(chart)
    lines = [part for course in reversed(chart.lines) for part in _line(course, x, y)]
    return frame("trend", WIDTH, HEIGHT, spoken(chart), *_ground(chart, x, y), *lines)


def swatch(style: int) -> Markup:
    """A short line with a run's mark, for the legend."""
    parts = path(f"course r{style}", "M1 8H31") + path(f"mark r{style}", f"M16 8{MARKS[style]}")
    return Markup('<svg class="swatch" aria-hidden="true" viewBox="0 0 32 16" width="32" height="16">{}</svg>').format(
        parts
    )


def spoken(chart: Chart) -> str:
    """What the chart shows, in words."""
    asked = f"; asked {asked_of(chart)}" if chart.rules else ""
    return f"{chart.measure} over steps{asked}. " + " ".join(_course(each) for each in chart.lines)


def asked_of(chart: Chart) -> str:
    """The rules that the latest figures were held against."""
    return ", ".join(f"{SIGNS[op]} {exact(threshold, chart.unit)}" for op, threshold in chart.rules)


def latest_of(chart: Chart) -> str:
    """The newest run's last figure."""
    step, point = chart.lines[0].points[-1]
    apart = chart.rules[0][1] if chart.rules else None
    return f"{with_unit(number(point.value, point.unit, apart_from=apart), point.unit)} at step {step}"


def _course(course: Line) -> str:
    (first, start), (last, end) = course.points[0], course.points[-1]
    name = shorten(course.run, MAX_SPOKEN)
    if first == last:
        return f"{name}: {number(start.value, start.unit)} at step {first}."
    return f"{name}: {number(start.value, start.unit)} at step {first}, {number(end.value, end.unit)} at step {last}."


def _y_axis(chart: Chart) -> Axis:
    points = [point for each in chart.lines for _, point in each.points]
    values = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    values += [threshold for _, threshold in chart.rules]
    low, high = min(values), max(values)
    least = _LEAST_SPAN.get(chart.unit, 0.2 * max(abs(low), abs(high)) or 1.0)
    pad = max(0.06 * (high - low), (least - (high - low)) / 2)
    # Where no figure lies below nothing or above the whole, the axis does not go there.
    floor = 0.0 if low >= 0 else -math.inf
    ceiling = _WHOLE[chart.unit] if high <= _WHOLE.get(chart.unit, -math.inf) else math.inf
    low, high = max(low - pad, floor), min(high + pad, ceiling)
    return Axis(low, high if high > low else low + 1.0, HEIGHT - BOTTOM, TOP)


def _ground(chart: Chart, x: Axis, y: Axis) -> list[Markup]:
    """Grid, labels, passing side and thresholds."""
    parts = [_passing(chart, x, y)]
    for value in _ticks(y.low, y.high):
        parts.append(line("grid", x.start, y(value), x.end, y(value)))
        parts.append(text("end", x.start - 6, y(value) + 4, exact(value, chart.unit), "end"))
    parts += [line("threshold", x.start, y(limit), x.end, y(limit)) for _, limit in chart.rules]
    ends = [(x.start, chart.first_step, "start"), (x.end, chart.last_step, "end")]
    if chart.first_step == chart.last_step:
        ends = [((x.start + x.end) / 2, chart.first_step, "middle")]
    for at, step, anchor in ends:
        parts.append(text("end", at, HEIGHT - 5, f"{step:,}".replace(",", NARROW_SPACE), anchor))
    return parts


def _passing(chart: Chart, x: Axis, y: Axis) -> Markup:
    """The side on which every rule is met."""
    low, high = y.low, y.high
    for op, threshold in chart.rules:
        if op in (">", ">="):
            low = max(low, threshold)
        elif op in ("<", "<="):
            high = min(high, threshold)
        else:
            return Markup("")
    if not chart.rules or low >= high:
        return Markup("")
    return rect("passing", x.start, y(high), x.end - x.start, y(low) - y(high))


def _line(course: Line, x: Axis, y: Axis) -> list[Markup]:
    at = [(x(step), y(point.value)) for step, point in course.points]
    whiskers = "".join(
        f"M{x(step)} {y(point.low)}V{y(point.high)}"
        for step, point in course.points
        if point.low is not None and point.high is not None
    )
    # Many marks would hide the line: then only the last is drawn.
    marked = at if len(at) <= MAX_MARKS else at[-1:]
    marks = "".join(f"M{left} {top}{MARKS[course.style]}" for left, top in marked)
    style = f"r{course.style}"
    return [path(f"whisker {style}", whiskers), path(f"course {style}", polyline(at)), path(f"mark {style}", marks)]


def _ticks(low: float, high: float) -> list[float]:
    """Two to five round values between the ends."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [float(f"{i * step:.10g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
