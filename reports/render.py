"""The report of a verdict: one self-contained HTML page for people, and a Markdown summary for pull requests.

    render(out, verdict)  ->  out/report.html, out/summary.md

Neither needs a model, torch or the network: everything comes from the verdict and from the media files in `out`. All
text in a verdict is foreign (prompts, paths, logs): the templates escape it, and `reports.format` shows what hides.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.files import write_text
from harness.results import GateResult, Measurement, Verdict
from reports import draw, findings
from reports import format as written
from reports.details import Details, read_details, read_gallery
from reports.media import MEDIA_BUDGET_BYTES, Budget, Gallery, build_galleries

MAX_PAGE_BYTES = 5_000_000
MAX_BARS = 6  # of one finding; the others stand in the gate's table
MAX_WORST = 3  # findings in the summary
GALLERY_OPEN = 12  # samples of a task that show without a click; the failed ones always do


@dataclass(frozen=True)
class RenderedReport:
    """The files that a rendering wrote."""

    html: Path
    summary: Path


@dataclass(frozen=True)
class Finding:
    """A gate that did not pass, as the page's second section shows it."""

    gate: GateResult
    details: Details
    shown: tuple[Measurement, ...]  # judged figures, those that miss their rule first
    n_met: int  # rules that are met and not shown
    command: str


@dataclass(frozen=True)
class ChangedThreshold:
    """A threshold that was not the spec's."""

    name: str
    spec: str
    used: str


def render(out: Path, verdict: Verdict) -> RenderedReport:
    """Write `report.html` and `summary.md` into `out`; media named in the gates' details are read from there."""
    report = RenderedReport(out / "report.html", out / "summary.md")
    write_text(report.html, _page(out, verdict))
    summary = _environment("markdown").get_template("summary.md.j2")
    worst = findings.not_passed(verdict)[:MAX_WORST]
    write_text(report.summary, summary.render(**_common(verdict), worst=worst, report=str(report.html)))
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
    samples = {str(index): read_gallery(gate.details) for index, gate in enumerate(verdict.gates)}
    galleries = build_galleries(out, {index: each for index, each in samples.items() if each}, budget)
    template = _environment("html").get_template("report.html.j2")
    return template.render(
        **_common(verdict),
        findings=[_finding(verdict, gate) for gate in findings.not_passed(verdict)],
        details=[read_details(gate.details) for gate in verdict.gates],
        galleries=[(verdict.gates[int(each.gate)], each, _n_open(each)) for each in galleries],
        budget=budget,
        changed=_changed(verdict.thresholds.changed),
    )


def _common(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "name": Path(verdict.checkpoint.path).name or verdict.checkpoint.path,
        "why": findings.why(verdict),
        "counts": Counter(gate.outcome for gate in verdict.gates),
        "n_changed": len(verdict.thresholds.changed),
    }


def _finding(verdict: Verdict, gate: GateResult) -> Finding:
    details = read_details(gate.details)
    judged = [each for each in findings.worst_first(gate) if findings.standing(each) != "reported"]
    wrong = [each for each in judged if findings.standing(each) != "met"]
    shown = (wrong or judged)[:MAX_BARS]
    return Finding(gate, details, tuple(shown), len(judged) - len(shown), details.rerun or verdict.run.command)


def _n_open(gallery: Gallery) -> int:
    return max(GALLERY_OPEN, sum(each.sample.ok is False for each in gallery.shown))


def _changed(changed: dict[str, Any]) -> list[ChangedThreshold]:
    rows = []
    for name, entry in sorted(changed.items()):
        spec, used = (entry.get("spec"), entry.get("used")) if isinstance(entry, dict) else (None, entry)
        rows.append(ChangedThreshold(name, _threshold(spec), _threshold(used)))
    return rows


def _threshold(value: object) -> str:
    if isinstance(value, float):
        return written.exact(value)
    return "not known" if value is None else written.shorten(str(value), 200)


def _environment(kind: str) -> Environment:
    """Jinja with autoescape, and with what every written value goes through: there is no way around it."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=written.for_html if kind == "html" else written.for_markdown,
    )
    environment.globals.update(written=written, found=findings, draw=draw)
    return environment
