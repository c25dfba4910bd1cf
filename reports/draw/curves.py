"""Training curves as small multiples: lines over steps, the levels they are held against, and what was found."""

from markupsafe import Markup

from reports.curves import Panel
from reports.draw.svg import Axis, frame, label_within, line, nice_ticks, path, polyline, text, tick_text
from reports.format import number

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 240, 172, 42, 10, 14, 32
LINE_STYLES = 4  # of the style sheet: colour and dashes


def panel(drawn: Panel) -> Markup:
    """One panel; empty where no line has a number."""
    steps = [step for each in drawn.lines for step, value in each.points if value is not None]
    values = [value for each in drawn.lines for _, value in each.points if value is not None]
    values += [level.value for level in drawn.levels]
    if not steps or not max(values) - min(values) < float("inf"):
        return Markup("")
    ticks, wide = nice_ticks(min(values), max(values), 3), nice_ticks(min(steps), max(steps), 3)
    y = Axis(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    x = Axis(min(steps), max(max(steps), min(steps) + 1), LEFT, WIDTH - RIGHT)
    parts = [*_grid(ticks, [each for each in wide if x.low <= each <= x.high], x, y)]
    parts += _levels(drawn, x, y)
    for number_of, each in enumerate(drawn.lines):
        points = [None if value is None else (x(step), y(value)) for step, value in each.points]
        parts.append(path(f"curve c{number_of % LINE_STYLES}", polyline(points)))
        parts += _ends(number_of, points)
    parts += _marks(drawn, x, y)
    return frame("curves", WIDTH, HEIGHT, drawn.spoken, *parts)


def _grid(ticks: list[float], wide: list[float], x: Axis, y: Axis) -> list[Markup]:
    parts = [line("grid", x.start, y(tick), x.end, y(tick)) for tick in ticks]
    parts += [text("end", LEFT - 6, y(tick) + 4, tick_text(tick), "end") for tick in ticks]
    parts += [label_within("end", x(tick), HEIGHT - BOTTOM + 15, tick_text(tick), 0, WIDTH) for tick in wide]
    parts.append(line("zero", x.start, y.start, x.end, y.start))
    return [*parts, text("axis", (x.start + x.end) / 2, HEIGHT - 3, "step")]


def _levels(drawn: Panel, x: Axis, y: Axis) -> list[Markup]:
    """What the lines are held against, each with its words: what is asked below its line, uniform guessing above."""
    parts = []
    for level in drawn.levels:
        at = y(level.value)
        parts.append(line(f"level {level.kind}", x.start, at, x.end, at))
        place = at + 12 if level.kind == "asked" or at < TOP + 10 else at - 4
        parts.append(text("level-name", x.end, place, f"{level.name} {number(level.value)}", "end"))
    return parts


def _ends(number_of: int, points: list[tuple[float, float] | None]) -> list[Markup]:
    """The first and the last point, which the gate reads."""
    there = [each for each in points if each is not None]
    ends = dict.fromkeys((there[0], there[-1])) if there else {}
    return [
        Markup('<circle class="curve-end c{}" cx="{}" cy="{}" r="3.2"/>').format(number_of % LINE_STYLES, *each)
        for each in ends
    ]


def _marks(drawn: Panel, x: Axis, y: Axis) -> list[Markup]:
    """Findings: an upright line where the log has it, with the number under which the caption names it."""
    parts = []
    for mark in drawn.marks:
        if mark.step is None or not x.low <= mark.step <= x.high:
            continue
        at = x(mark.step)
        parts.append(line("found", at, y.start, at, y.end))
        parts.append(Markup('<circle class="found-disc" cx="{}" cy="{}" r="8"/>').format(at, y.end))
        parts.append(text("found-number", at, y.end + 4, str(mark.number)))
    return parts
