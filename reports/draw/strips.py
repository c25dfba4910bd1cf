"""The rows of a vocabulary table as a strip: a bar where rows moved, as high as the share of them that did."""

from markupsafe import Markup

from reports.draw.svg import path
from reports.strips import FULL, Stretch

HEIGHT = 22  # of the drawing's own units; it is stretched to the width that there is


def strip(stretch: Stretch) -> Markup:
    """One range of ids; the words beside it say the same, so that it is hidden from screen readers."""
    bars = "".join(
        f"M{i} {HEIGHT}v{-HEIGHT * digit / FULL:g}h1v{HEIGHT * digit / FULL:g}z"
        for i, digit in enumerate(stretch.bins)
        if digit
    )
    kind = "text" if stretch.is_text else "new"
    return Markup(
        '<svg class="strip {}" aria-hidden="true" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    ).format(kind, max(1, len(stretch.bins)), HEIGHT, path("moved", bars))


def share_bar(share: float) -> Markup:
    """A bar whose length is a share of its cell; the figure stands beside it."""
    width = round(100 * min(max(share, 0.0), 1.0), 1)
    return Markup(
        '<svg class="share" aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none">'
        '<rect width="{}" height="8"/></svg>'
    ).format(width)
