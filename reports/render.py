"""The report of a verdict: one self-contained HTML page for people, and a Markdown summary for pull requests.

    render(out, verdict)  ->  out/report.html, out/summary.md

Neither needs a model, torch or the network: everything comes from the verdict and from the media files in `out`. All
text in a verdict is foreign (prompts, paths, logs): the templates escape it, and `reports.format` shows what hides.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.files import write_text
from harness.results import Verdict
from reports.environment import html_environment
from reports.media import MEDIA_BUDGET_BYTES, Budget
from reports.sections import masthead, read_sections
from reports.summary import summary_text

MAX_PAGE_BYTES = 5_000_000


@dataclass(frozen=True)
class RenderedReport:
    """The files that a rendering wrote."""

    html: Path
    summary: Path


def render(out: Path, verdict: Verdict) -> RenderedReport:
    """Write `report.html` and `summary.md` into `out`; media named in the gates' details are read from there."""
    report = RenderedReport(out / "report.html", out / "summary.md")
    write_text(report.html, _page(out, verdict))
    write_text(report.summary, summary_text(verdict, report.html))
    return report


def _page(out: Path, verdict: Verdict) -> str:
    """The page, with as much media as leaves it under its limit."""
    budget = Budget(MEDIA_BUDGET_BYTES)
    page = _render_page(out, verdict, budget)
    excess = len(page.encode()) - MAX_PAGE_BYTES
    if excess > 0 and budget.used:
        # Only a verdict with far more text than usual gets here; text goes before media.
        page = _render_page(out, verdict, Budget(max(0, budget.used - excess)))
    return page


def _render_page(out: Path, verdict: Verdict, budget: Budget) -> str:
    sections = read_sections(out, verdict, budget)
    template = html_environment().get_template("report.html.j2")
    return template.render(**masthead(verdict), **vars(sections), budget=budget)
