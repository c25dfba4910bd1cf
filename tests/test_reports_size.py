"""The page stays under its limit, says what it leaves out, and needs neither model nor heavy library."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.results import write_verdict
from reports.media import NO_BUDGET, Budget, build_galleries, load_medium
from reports.render import MAX_PAGE_BYTES, render
from tests.report_world import gallery, gate, measurement, rich_verdict, verdict, write_sound


def test_64_samples_a_task_fit_and_what_does_not_is_said(tmp_path: Path) -> None:
    figures = gate("P0.3", "fail", details={"gallery": gallery(tmp_path, 64)})
    report = render(tmp_path, verdict(figures))
    text = report.html.read_text("utf-8")
    assert report.html.stat().st_size <= MAX_PAGE_BYTES
    assert text.count('aria-label="generated sound') == 64
    assert "media budget of 4.0" in text
    assert NO_BUDGET in text


def test_a_spent_budget_leaves_samples_without_media_the_failed_one_last(tmp_path: Path) -> None:
    samples = read_sorted(tmp_path)
    size = len(load_medium(tmp_path, "generated/t2i_4.png").picture or "")
    budget = Budget(size)
    [pictures] = build_galleries(tmp_path, {"0": samples}, budget)
    assert [bool(each.generated.picture) for each in pictures.shown] == [True, False, False, False, False, False]
    assert pictures.shown[1].generated.note == NO_BUDGET
    assert budget.used <= budget.limit
    assert budget.refused == 11


def read_sorted(out: Path) -> Any:
    from reports.details import read_gallery

    return read_gallery({"gallery": [row for row in gallery(out, 6) if row["task"] == "t2i"]})


def test_text_takes_the_place_of_media_where_both_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.render.MAX_PAGE_BYTES", 150_000)
    report = render(tmp_path, verdict(gate("P0.3", claim="c" * 50_000, details={"gallery": gallery(tmp_path, 6)})))
    assert report.html.stat().st_size <= 150_000
    assert NO_BUDGET in report.html.read_text("utf-8")


def test_a_long_sound_is_cut_and_said(tmp_path: Path) -> None:
    write_sound(tmp_path / "long.wav", 0, seconds=10)
    medium = load_medium(tmp_path, "long.wav")
    assert medium.sound is not None
    assert len(medium.sound) < 540_000
    assert medium.note == "10.00 s, 24 kHz, the first 8.3 s embedded"


def test_rendering_needs_no_heavy_library(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    figures = (measurement("x", 0.6, low=0.5, high=0.7, threshold=0.7, op=">="),) * 20
    write_verdict(path, verdict(*(gate(f"P0.{index}", "fail", measurements=figures) for index in range(12))))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from reports.render import render\n"
        "from harness.results import read_verdict\n"
        "render(Path(sys.argv[1]).parent, read_verdict(Path(sys.argv[1])))\n"
        "heavy = [name for name in ('torch', 'transformers', 'matplotlib', 'scipy') if name in sys.modules]\n"
        "import json; print(json.dumps(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_same_verdict_gives_the_same_report(tmp_path: Path) -> None:
    first = render(tmp_path, rich_verdict(tmp_path)).html.read_bytes()
    assert render(tmp_path, rich_verdict(tmp_path)).html.read_bytes() == first
