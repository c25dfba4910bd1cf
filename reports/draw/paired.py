"""Paired losses drawn: each example by its two losses, all examples by their difference, and the Δ of every part."""

from collections.abc import Callable

from markupsafe import Markup

from reports.details import Pairs
from reports.draw.svg import Axis, finite_span, frame, line, nice_ticks, path, rect, text, tick_text
from reports.format import number, shorten

SCATTER_SIZE, SCATTER_LEFT, SCATTER_BOTTOM, SCATTER_PAD = 240, 42, 40, 10
SORTED_WIDTH, SORTED_HEIGHT, SORTED_LEFT, SORTED_BOTTOM, SORTED_PAD = 240, 160, 42, 30, 10
PARTS_WIDTH, PARTS_ROW, PARTS_NAME, PARTS_VALUE = 240, 22, 84, 46
NO_PAIRS = "no example has both losses, so there is nothing to draw."


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


def scatter(pairs: Pairs) -> Markup:
    """Loss under the correct condition on x, under the ablated one on y, with the diagonal; empty without points."""
    span = finite_span([each for point in pairs.points for each in point])
    if span is None:
        return Markup("")
    ticks = nice_ticks(*span, 3)
    x = Axis(ticks[0], ticks[-1], SCATTER_LEFT, SCATTER_SIZE - SCATTER_PAD)
    y = Axis(ticks[0], ticks[-1], SCATTER_SIZE - SCATTER_BOTTOM, SCATTER_PAD)
    spoken = f"Scatter of {pairs.name}. {scatter_text(pairs)}"
    return frame(
        "scatter", SCATTER_SIZE, SCATTER_SIZE, spoken, _scatter_grid(ticks, x, y), _scatter_points(pairs, x, y)
    )


def _scatter_grid(ticks: list[float], x: Axis, y: Axis) -> Markup:
    parts = []
    for tick in ticks:
        parts.append(line("grid", x(tick), y.start, x(tick), y.end))
        parts.append(line("grid", x.start, y(tick), x.end, y(tick)))
        parts.append(text("end", x(tick), y.start + 15, tick_text(tick)))
        parts.append(text("end", x.start - 6, y(tick) + 4, tick_text(tick), "end"))
    parts.append(line("diagonal", x.start, y.start, x.end, y.end))
    parts.append(text("axis", (x.start + x.end) / 2, SCATTER_SIZE - 6, "loss, correct"))
    parts.append(_turned(11, (y.start + y.end) / 2, "loss, ablated"))
    return Markup("").join(parts)


def _turned(x: float, y: float, words: str) -> Markup:
    return Markup('<text class="axis" transform="translate({} {}) rotate(-90)" text-anchor="middle">{}</text>').format(
        x, y, words
    )


def _scatter_points(pairs: Pairs, x: Axis, y: Axis) -> Markup:
    """Two paths and not a mark a point: a tenth of the bytes. Above the diagonal discs, on or below it crosses."""
    above = _marks(pairs, lambda a, b: b > a, "M{:g} {:g}h0", x, y)
    below = _marks(pairs, lambda a, b: b <= a, "M{:g} {:g}m-2.5 -2.5l5 5m0 -5l-5 5", x, y)
    return path("above", above) + path("below", below)


def _marks(pairs: Pairs, keep: Callable[[float, float], bool], mark: str, x: Axis, y: Axis) -> str:
    return "".join(mark.format(x(a), y(b)) for a, b in pairs.points if keep(a, b))


def sorted_differences(pairs: Pairs) -> Markup:
    """Δ of every example, the smallest first: above zero the ablation hurt it, at or below zero it did not."""
    if not pairs.gaps or finite_span(pairs.gaps) is None:
        return Markup("")
    ticks = nice_ticks(min(pairs.gaps[0], 0.0), max(pairs.gaps[-1], 0.0), 3)
    y = Axis(ticks[0], ticks[-1], SORTED_HEIGHT - SORTED_BOTTOM, SORTED_PAD)
    x = Axis(0, len(pairs.gaps), SORTED_LEFT, SORTED_WIDTH - SORTED_PAD)
    n_lost = pairs.n_finite - pairs.n_above
    spoken = (
        f"Sorted differences of {pairs.name}, ablated minus correct, nats per token: from {number(pairs.gaps[0])} to "
        f"{number(pairs.gaps[-1])}; {pairs.n_above} of {pairs.n_finite} examples lie above zero, {n_lost} do not."
    )
    parts = [line("grid", x.start, y(tick), x.end, y(tick)) for tick in ticks]
    parts += [text("end", x.start - 6, y(tick) + 4, tick_text(tick), "end") for tick in ticks]
    first_won = next((i for i, gap in enumerate(pairs.gaps) if gap > 0), len(pairs.gaps))
    parts.append(path("lost-area", _area(pairs.gaps, 0, first_won, x, y)))
    parts.append(path("won-area", _area(pairs.gaps, first_won, len(pairs.gaps), x, y)))
    parts.append(line("zero", x.start, y(0), x.end, y(0)))
    parts.append(_turned(11, (y.start + y.end) / 2, "Δ"))
    parts.append(text("axis", (x.start + x.end) / 2, SORTED_HEIGHT - 6, "examples, sorted by Δ"))
    return frame("sorted", SORTED_WIDTH, SORTED_HEIGHT, spoken, *parts)


def _area(gaps: tuple[float, ...], first: int, end: int, x: Axis, y: Axis) -> str:
    """Steps between the zero line and the differences of a stretch of examples."""
    if first >= end:
        return ""
    steps = "".join(f"V{y(gaps[i]):g}H{x(i + 1):g}" for i in range(first, end))
    return f"M{x(first):g} {y(0):g}{steps}V{y(0):g}Z"


def part_bars(parts: tuple[tuple[str, float], ...], low: float, high: float, spoken: str) -> Markup:
    """Δ of every part of the labels (codebook by codebook) as bars from zero, on the scale [low, high]."""
    low, high = min(low, 0.0), max(high, 0.0)
    if not parts or not high > low or finite_span([low, high]) is None:
        return Markup("")
    # Room for the figure beside a bar, on whichever side bars reach out to; a trace of one has its figure on the right.
    leftwards, rightwards = low < 0.02 * (low - high), high > 0
    x = Axis(low, high, PARTS_NAME + PARTS_VALUE * leftwards, PARTS_WIDTH - (PARTS_VALUE if rightwards else 4))
    height = PARTS_ROW * len(parts) + 4
    drawn = [line("zero", x(0), 2, x(0), height - 2)]
    for row, (name, value) in enumerate(parts):
        top = 2 + row * PARTS_ROW
        left, right = sorted((x(0), x(value)))
        drawn.append(text("name", PARTS_NAME - 8, top + 15, shorten(name, 12), "end"))
        drawn.append(rect("won-area" if value > 0 else "lost-area", left, top + 4, max(right - left, 0.5), 14))
        outside = (left - 5, "end") if value < 0 and leftwards else (right + 5, "start")
        drawn.append(text("value", outside[0], top + 15, f"{value:.3f}".replace("-", "−"), outside[1]))
    return frame("parts", PARTS_WIDTH, height, spoken, *drawn)
