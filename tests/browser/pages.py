"""Pages for `make browser` to look at: python -m tests.browser.pages FOLDER, which prints their paths.

One of everything, one of hostile text everywhere, one of a verdict without gates, and one that is wrong on purpose: a
check that finds nothing in that one would find nothing anywhere.
"""

import sys
from pathlib import Path

from harness.results import CheckpointId
from reports.render import render
from tests.report_world import HOSTILE, rich_verdict, verdict
from tests.test_reports_hostile import everywhere

BAD = """<!doctype html><html><head><title></title></head><body style="width:2000px">
<p style="color:#ccc;background:#fff">too pale to read</p>
<img src="data:image/png;base64,AAAA"><audio src="data:,"></audio>
<img src="https://example.invalid/x.png" alt="from elsewhere"><script>console.log("a script ran")</script></body></html>
"""


def write_pages(folder: Path) -> list[Path]:
    """Write the pages; the wrong one is `bad.html`, and not among those that are returned."""
    empty = verdict(decision="INCOMPLETE", checkpoint=CheckpointId(path="x", step=None, sha256=None))
    pages = {
        "everything": rich_verdict(folder / "everything", n_samples=16),
        "hostile": everywhere(HOSTILE, folder / "hostile"),
        "empty": empty,
    }
    (folder / "bad").mkdir(parents=True, exist_ok=True)
    (folder / "bad" / "bad.html").write_text(BAD, encoding="utf-8")
    return [render(folder / name, each).html for name, each in pages.items()]


if __name__ == "__main__":
    print(*write_pages(Path(sys.argv[1])), sep="\n")
