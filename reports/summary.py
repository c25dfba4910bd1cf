"""The summary of a verdict in Markdown, for a pull request: verdict, table, three worst findings, link to the report.

All text in it is foreign: it is cut to a length that a reader takes in, and every character that means something to
Markdown or HTML is escaped, so that no cell leaves its table. GitHub takes 65,536 characters in a comment; the limits
below keep the text under that, also where every character of it has to be escaped.
"""

import functools
from pathlib import Path

from jinja2 import Template

from harness.results import Verdict
from reports import findings
from reports import format as written
from reports.environment import environment

MAX_WORST = 3
# Characters, before escaping.
LIMITS = {"name": 100, "cell": 160, "sentence": 500, "finding": 600, "step": 1_200, "path": 300}


def summary_text(verdict: Verdict, html: Path) -> str:
    """The Markdown.

    Args:
        verdict: what it is about.
        html: the report, which the summary lies beside.
    """
    return _template().render(
        verdict=verdict,
        name=Path(verdict.checkpoint.path).name or verdict.checkpoint.path,
        why=findings.why(verdict),
        n_changed=len(verdict.thresholds.changed),
        worst=findings.not_passed(verdict)[:MAX_WORST],
        report=str(html),
    )


@functools.cache
def _template() -> Template:
    made = environment(written.for_markdown)
    made.filters["cut"] = _cut
    return made.get_template("summary.md.j2")


def _cut(text: object, kind: str) -> str:
    return written.shorten(str(text), LIMITS[kind])
