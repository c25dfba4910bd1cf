"""Drawings as inline SVG, each with a text alternative or beside words that say the same."""

from reports.draw.bars import BAR_WIDTH, MINI_WIDTH, interval_bar, mini_bar
from reports.draw.curves import panel
from reports.draw.paired import part_bars, scatter, scatter_text, sorted_differences
from reports.draw.prints import dots
from reports.draw.strips import share_bar, strip
from reports.draw.svg import Axis

__all__ = [
    "BAR_WIDTH", "MINI_WIDTH", "Axis", "dots", "interval_bar", "mini_bar", "panel", "part_bars", "scatter",
    "scatter_text", "share_bar", "sorted_differences", "strip",
]  # fmt: skip
