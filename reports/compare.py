"""A comparison of two checkpoints as one self-contained page, or as one JSON object."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.errors import HarnessError
from harness.files import write_text
from harness.results import Measurement, Verdict
from reports import comparison as words
from reports.comparison import Change, Comparison, MeasureChange
from reports.draw.svg import Axis, line, path
from reports.environment import html_environment
from reports.pages import refuse_foreign

MAX_MEASURES = 1_000
MAX_PLACES = 120  # characters of a checkpoint's name
# What makes a page one of ours, which may be written over.
MARK = '<meta name="generator" content="modality-gates comparison">'
BAR_WIDTH, BAR_HEIGHT, BAR_MARGIN = 132, 20, 6
_TONE: dict[Change, str] = {"worse": "not_met", "lost": "unproven", "better": "met"}


def write_comparison(comparison: Comparison, page: Path) -> None:
    """Write the page.

    Raises:
        HarnessError: something is at `page` that is no page of a comparison, or it cannot be written.
    """
    refuse_foreign(page, MARK, "gates compare")
    measures = comparison.measures[:MAX_MEASURES]
    text = html_environment().get_template("compare.html.j2").render(
        mark=MARK,
        it=comparison,
        names=[name_of(comparison.a), name_of(comparison.b)],
        tables=[
            ("clear", "What is worse or better", _of(measures, "worse", "lost", "better")),
            ("unclear", "Judged, without a clear difference", _of(measures, "unclear", "absent", "same")),
            ("reported", "Reported, not judged", _of(measures, "no_direction")),
        ],
        n_more=len(comparison.measures) - len(measures),
        words=words,
        bar=difference_bar,
    )  # fmt: skip
    try:
        write_text(page, text)
    except OSError as error:
        raise HarnessError(page, error.strerror or "no place", "a file that can be written", "Name another.") from None


def _of(measures: Sequence[MeasureChange], *changes: Change) -> list[MeasureChange]:
    return [each for each in measures if each.change in changes]


def name_of(verdict: Verdict) -> str:
    """A checkpoint's name."""
    path = verdict.checkpoint.path
    return (Path(path).name or path)[:MAX_PLACES]


def difference_bar(change: MeasureChange) -> Markup:
    """The interval of a difference around 0; hidden from screen readers, since the row holds the figures."""
    known = [each for each in (change.difference, change.low, change.high) if each is not None]
    if len(known) < 3:
        return Markup("")
    reach = 1.1 * max(abs(each) for each in known)
    if not 0 < reach < math.inf:
        return Markup("")
    x, y = Axis(-reach, reach, BAR_MARGIN, BAR_WIDTH - BAR_MARGIN), BAR_HEIGHT / 2
    value, low, high = (x(each) for each in known)
    style = _TONE.get(change.change, "reported")
    parts = (
        line("track", x.start, y, x.end, y),
        line("threshold", x(0), 2, x(0), BAR_HEIGHT - 2),
        path(f"interval {style}", f"M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"),
        Markup('<circle class="point {}" cx="{}" cy="{}" r="4.5"/>').format(style, value, y),
    )
    return Markup(
        '<svg class="bar mini" aria-hidden="true" viewBox="0 0 {w} {h}" width="{w}" height="{h}">{body}</svg>'
    ).format(w=BAR_WIDTH, h=BAR_HEIGHT, body=Markup("").join(parts))


def as_json(comparison: Comparison) -> str:
    """The comparison for a machine: one JSON object, in ASCII, so that half a character in a verdict can be printed."""
    whole = {
        "format": "gate-comparison/1",
        "a": _side(comparison.path_a, comparison.a),
        "b": _side(comparison.path_b, comparison.b),
        "worse": bool(comparison.regressions),
        "regressions": list(comparison.regressions),
        "paired": not comparison.unpaired_because,
        "unpaired_because": list(comparison.unpaired_because),
        "caveats": list(comparison.caveats),
        "judged_together": comparison.n_together,
        "gates": [{"id": g.id, "name": g.name, "priority": g.priority, "a": g.a, "b": g.b, "change": g.change}
                  for g in comparison.gates],
        "measures": [_as_object(each) for each in comparison.measures],
    }  # fmt: skip
    return json.dumps(whole, indent=2, allow_nan=False)


def _side(path: str, verdict: Verdict) -> dict[str, Any]:
    checkpoint = verdict.checkpoint
    return {"path": path, "stage": verdict.stage, "verdict": verdict.verdict, "checkpoint": checkpoint.path,
            "step": checkpoint.step, "sha256": checkpoint.sha256}  # fmt: skip


def _as_object(each: MeasureChange) -> dict[str, Any]:
    judged = each.judged
    return {
        "gate": each.gate, "name": each.name, "unit": each.unit, "a": _figure(each.a), "b": _figure(each.b),
        "difference": each.difference, "low": each.low, "high": each.high, "paired": each.paired, "p": each.p,
        "op": judged.op if judged else None, "change": each.change,
    }  # fmt: skip


def _figure(measurement: Measurement | None) -> dict[str, Any] | None:
    return measurement.model_dump(mode="json", include={"value", "n", "low", "high"}) if measurement else None
