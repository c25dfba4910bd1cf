"""A figure of what was written beside the same figure of real media: a dot an output, and the limits."""

from markupsafe import Markup

from reports.draw.svg import Axis, finite_span, frame, label_within, line, nice_ticks, path, rect, text, tick_text
from reports.format import number, shorten
from reports.prints import Print

WIDTH, HEIGHT, LEFT, RIGHT = 240, 104, 50, 10
ROWS = {"written": 34, "real": 64}  # middles, pixels from the top
AXIS_Y, SPREAD = 82, 10


def dots(shown: Print) -> Markup:
    """One figure; empty where nothing was measured."""
    limits = [each.at for each in shown.limits]
    span = finite_span([*shown.written, *shown.real, *limits])
    if span is None or not (shown.written or shown.real):
        return Markup("")
    ticks = nice_ticks(*span, 3)
    x = Axis(ticks[0], ticks[-1], LEFT, WIDTH - RIGHT)
    parts: list[Markup] = []
    for limit in shown.limits:
        left, right = (x(limit.at), x.end) if limit.side == "high" else (x.start, x(limit.at))
        parts.append(rect("collapsed", left, 20, right - left, AXIS_Y - 20))
        parts.append(line("threshold", x(limit.at), 18, x(limit.at), AXIS_Y))
        words = f"{shorten(limit.kind, 24)} {_sign(limit.side)} {number(limit.at)}"
        # Of two limits, each keeps to its own half.
        low = WIDTH / 2 if len(limits) > 1 and limit.side == "high" else 0
        parts.append(
            label_within("asked", x(limit.at), 12, words, low, WIDTH if low or len(limits) == 1 else WIDTH / 2)
        )
    for name, values in (("written", shown.written), ("real", shown.real)):
        parts.append(text("name", LEFT - 8, ROWS[name] + 4, name, "end"))
        parts.append(path(f"dots {name}", "".join(_dot(name, i, x(value)) for i, value in enumerate(values))))
    parts.append(line("zero", x.start, AXIS_Y, x.end, AXIS_Y))
    parts += [label_within("end", x(tick), AXIS_Y + 16, tick_text(tick), 0, WIDTH) for tick in ticks]
    return frame("prints", WIDTH, HEIGHT, shown.spoken, *parts)


def _dot(name: str, index: int, x: float) -> str:
    """Discs for what was written, upright strokes for real media; spread so that equal values stay apart."""
    y = ROWS[name] - SPREAD + (index * 8) % 21 * SPREAD / 10
    return f"M{x:g} {y:g}h0" if name == "written" else f"M{x:g} {y - 2:g}v4"


def _sign(side: str) -> str:
    return ">" if side == "high" else "<"
