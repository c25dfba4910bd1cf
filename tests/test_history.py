"""`gates history`: every verdict below a folder on one page; nothing that lies there stops it or leads it away."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gates.cli import app
from harness.results import InputId
from reports import history, trends, verdicts
from reports.trend_chart import trend_chart
from reports.verdicts import find_verdicts
from tests.several_verdicts import HOSTILE, SCRIPT, Elements, figure, gate, hostile_verdict, put, verdict, win_rate

runner = CliRunner()


def page_of(folder: Path) -> str:
    result = runner.invoke(app, ["history", str(folder)])
    assert result.exit_code == 0, result.output
    return (folder / "index.html").read_text(encoding="utf-8")


# --- the table -------------------------------------------------------------------------------------------------------


def test_every_verdict_has_a_row_the_newest_first_with_a_link_to_its_report(tmp_path: Path) -> None:
    put(tmp_path, "a", verdict(step=100, started="2026-11-01T10:00:00+00:00"))
    put(tmp_path, "b/deep er", verdict(step=300, started="2026-11-03T10:00:00+00:00"))
    put(tmp_path, "c", verdict(step=200, started="2026-11-02T10:00:00+02:00"), report=False)

    page = page_of(tmp_path)

    places = [page.index(f"<bdi>checkpoint_{step}</bdi>") for step in (300, 200, 100)]
    assert places == sorted(places)
    links = [each["href"] for each in Elements(page).of("a") if not str(each["href"]).startswith("#")]
    assert links == ["./b/deep%20er/report.html", "./a/report.html"]
    assert "2026-11-02 08:00" in page  # in UTC
    assert "3 verdicts" in page


def test_links_hold_from_wherever_the_page_is_written(tmp_path: Path) -> None:
    put(tmp_path / "out", "javascript:alert(1)", verdict())

    runner.invoke(app, ["history", str(tmp_path / "out"), "--out", str(tmp_path / "pages/index.html")])

    page = (tmp_path / "pages/index.html").read_text()
    assert 'href="./../out/javascript%3Aalert%281%29/report.html"' in page
    assert not (tmp_path / "out/index.html").exists()


def test_a_row_counts_gates_and_names_those_that_did_not_pass(tmp_path: Path) -> None:
    gates = (gate("P0.0"), gate("P0.4", "fail"), gate("P0.5", "not_run"), gate("P1.1", "error"), gate("P1.2"))
    put(tmp_path, "a", verdict(*gates, verdict="REJECT"))

    page = page_of(tmp_path)

    assert "1 of 3" in page
    assert "1 of 2" in page
    assert "P0.4 fail, P0.5 not run, P1.1 error" in page


def test_more_rows_than_the_page_holds_are_said_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_ROWS", 2)
    for step in (1, 2, 3):
        put(tmp_path, str(step), verdict(step=step))

    assert "1 more, older ones, are not listed" in page_of(tmp_path)


# --- what cannot be read ---------------------------------------------------------------------------------------------

BROKEN = {
    "no json": b"{",
    "empty": b"",
    "a list": b"[]",
    "another format": b'{"format": "else"}',
    "no utf-8": b'{"format": "gate-verdict/1", "stage": "\xff"}',
    "a number beyond numbers": json.dumps({"format": "gate-verdict/1"}).encode()[:-1] + b', "step": 1e999}',
    "too deep": b'{"format": "gate-verdict/1", "x": ' + b"[" * 100_000,
    "a string that never ends": b'{"format": "gate-verdict/1", "stage": "' + b"\\" * 1_000_001,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_malformed_verdict_is_named_and_counted_and_stops_nothing(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "good", verdict())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/verdict.json").write_bytes(content)

    result = runner.invoke(app, ["history", str(tmp_path)])

    assert result.exit_code == 0
    assert "not read: " in result.stderr
    assert "bad/verdict.json" in result.stderr
    assert "(1 verdicts, 1 could not be read)" in result.stdout
    assert "1 could not be read" in (tmp_path / "index.html").read_text()


def test_a_promotion_that_its_gates_do_not_bear_out_is_not_listed_as_one(tmp_path: Path) -> None:
    put(tmp_path, "a", verdict(gate("P0.0"), gate("P0.4", "fail"), verdict="PROMOTE"))

    found = find_verdicts(tmp_path)

    assert not found.rows
    assert "PROMOTE, though not every P0 gate passed" in found.unusable[0][1]


def test_half_a_character_is_no_reason_to_leave_a_verdict_out(tmp_path: Path) -> None:
    path = put(tmp_path, "a", verdict(run="runs/HALF"))
    path.write_text(path.read_text().replace("HALF", "\\ud800"))

    assert "runs/\ufffd" in page_of(tmp_path)
    assert json.loads(runner.invoke(app, ["history", str(tmp_path), "--json"]).stdout)["verdicts"]


def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", "secret", verdict(run="runs/secret"))
    inside = tmp_path / "inside"
    put(inside, "a", verdict())
    (inside / "folder").symlink_to(outside.parent)
    (inside / "loop").symlink_to(inside)
    (inside / "file").mkdir()
    (inside / "file/verdict.json").symlink_to(outside)

    found = find_verdicts(inside)

    assert [row.run for row in found.rows] == ["runs/trial"]
    assert [(path.parent.name, why.split(";")[0]) for path, why in found.unusable] == [
        ("file", "found a link that leaves the folder")
    ]


def test_folders_too_deep_and_verdicts_too_many_are_said_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "MAX_DEPTH", 1)
    monkeypatch.setattr(verdicts, "MAX_VERDICTS", 2)
    put(tmp_path, "a/b", verdict())
    for name in "cde":
        put(tmp_path, name, verdict())

    page = page_of(tmp_path)

    assert "1 folders more than 1 levels down were not looked into" in page
    assert "1 more were not read: 2 are the most" in page


def test_evidence_and_media_beside_a_verdict_are_not_searched(tmp_path: Path) -> None:
    put(tmp_path, "a", verdict())
    put(tmp_path, "a/evidence/x", verdict())
    put(tmp_path, "a/media", verdict())
    put(tmp_path, ".hidden", verdict())
    put(tmp_path, "evidence/x", verdict(step=5))

    assert sorted(str(row.path.relative_to(tmp_path)) for row in find_verdicts(tmp_path).rows) == [
        "a/verdict.json", "evidence/x/verdict.json",
    ]  # fmt: skip


def test_no_verdict_and_no_folder_are_usage_errors(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        result = runner.invoke(app, ["history", str(folder)])
        assert result.exit_code == 4
        assert "found no" in result.stderr
    assert not (tmp_path / "index.html").exists()


# --- what is written over --------------------------------------------------------------------------------------------


def test_only_an_earlier_history_is_written_over(tmp_path: Path) -> None:
    put(tmp_path, "a", verdict())
    foreign = tmp_path / "mine.html"
    foreign.write_text("<!doctype html>mine")
    page_of(tmp_path)
    page_of(tmp_path)

    for target in (foreign, tmp_path / "a", tmp_path / "a/report.html"):
        result = runner.invoke(app, ["history", str(tmp_path), "--out", str(target)])
        assert result.exit_code == 4
        assert "expected no file, or an earlier page of its own" in result.stderr
    assert foreign.read_text() == "<!doctype html>mine"


def test_json_alone_writes_no_page(tmp_path: Path) -> None:
    put(tmp_path, "a", verdict(gate("P0.4", "pass", win_rate(0.9)), step=100))

    result = runner.invoke(app, ["history", str(tmp_path), "--json"])

    whole = json.loads(result.stdout)
    assert whole["format"] == "gate-history/1"
    assert whole["verdicts"][0]["path"] == "a/verdict.json"
    assert whole["verdicts"][0]["p0"] == {"passed": 1, "of": 1}
    assert whole["verdicts"][0]["measures"]["t2a.win_rate_shuffled"]["rules"] == [{"op": ">=", "threshold": 0.7}]
    assert not (tmp_path / "index.html").exists()


# --- trends ----------------------------------------------------------------------------------------------------------


def groups_of(folder: Path) -> tuple[trends.Group, ...]:
    return trends.trends_of(find_verdicts(folder).rows).groups


def test_figures_stand_together_only_on_the_same_examples(tmp_path: Path) -> None:
    other = {"golden": InputId(path="g", sha256="other"), "dev": InputId(path="d", sha256="dev digest")}
    put(tmp_path, "a", verdict(step=100))
    put(tmp_path, "b", verdict(step=200))
    put(tmp_path, "c", verdict(step=300, inputs=other))
    put(tmp_path, "d", verdict(step=300, stage="stage3"))

    assert [(group.stage, group.n_verdicts) for group in groups_of(tmp_path)] == [
        ("stage3", 1), ("stage4", 2), ("stage4", 1),
    ]  # fmt: skip


def test_runs_are_lines_of_their_own_and_a_step_judged_again_counts_once(tmp_path: Path) -> None:
    for run in ("one", "two"):
        for step in (100, 200):
            put(tmp_path, f"{run}{step}", verdict(gate("P0.4", "pass", win_rate(0.8)), step=step, run=run))
    again = verdict(gate("P0.4", "pass", win_rate(0.9)), step=200, run="two", started="2026-11-09T10:00:00+00:00")
    put(tmp_path, "again", again)
    put(tmp_path, "nowhere", verdict(step=None))

    (group,) = groups_of(tmp_path)
    ((_, (chart,)),) = group.headed

    assert (group.n_repeated, group.n_without_step) == (1, 1)
    lines = {line.run: [(step, point.value) for step, point in line.points] for line in chart.lines}
    assert lines == {"one": [(100, 0.8), (200, 0.8)], "two": [(100, 0.8), (200, 0.9)]}
    assert len({line.style for line in chart.lines}) == 2


def test_more_runs_than_marks_are_said_aloud(tmp_path: Path) -> None:
    for index in range(trends.MAX_RUNS + 2):
        put(tmp_path, str(index), verdict(run=f"run{index}"))

    assert "2 more runs, judged longer ago, are not drawn" in page_of(tmp_path)


def test_a_long_line_is_thinned_and_keeps_its_ends() -> None:
    course = [(step, None) for step in range(1000)]

    thinned = trends._thinned(course, 100)  # type: ignore[arg-type]

    assert len(thinned) == 100
    assert (thinned[0], thinned[-1]) == (course[0], course[-1])


def test_a_chart_draws_intervals_thresholds_and_says_what_it_shows(tmp_path: Path) -> None:
    for step, value in ((100, 0.6), (200, 0.9)):
        put(tmp_path, str(step), verdict(gate("P1.2", "pass", win_rate(value)), gate(), step=step))

    ((_, (chart,)),) = groups_of(tmp_path)[0].headed
    svg = str(trend_chart(chart))

    assert svg.count('class="threshold"') == 1
    assert 'class="passing"' in svg
    assert 'class="whisker r0" d="M' in svg
    assert "t2a.win_rate_shuffled over steps; asked ≥ 70" in svg
    assert "60\u202f% at step 100" in svg.replace("60.0", "60")


@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (1e299, -1e299), (5e-324, 0.0), (1e15, 1e15 + 0.125), (-3.0, 2.0)], ids=str
)
def test_no_figure_is_too_odd_to_draw(tmp_path: Path, values: tuple[float, float]) -> None:
    for step, value in enumerate(values):
        measures = [figure("t2a.delta_empty", value, unit=unit) for unit in ("nats/token",)]
        measures += [figure("t2a.end_tag_pct", value, unit="%"), figure("t2a.win_rate_empty", value, low=-1, high=1e30)]
        put(tmp_path, str(step), verdict(gate("P0.4", "pass", *measures), step=step * (2**53 - 1)))

    page = page_of(tmp_path)

    assert page.count('class="trend"') == 3
    assert "nan" not in page.split("</style>")[1]
    assert "inf" not in page.split("</style>")[1]


def test_a_measure_that_could_not_be_computed_has_no_point(tmp_path: Path) -> None:
    put(tmp_path, "a", verdict(gate("P0.4", "pass", win_rate(0.9), figure("t2a.end_tag_pct", None))))

    assert list(find_verdicts(tmp_path).rows[0].points) == ["t2a.win_rate_shuffled"]


# --- the page itself -------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile_page(tmp_path: Path) -> str:
    put(tmp_path, "a <b>&'\"", hostile_verdict())
    put(tmp_path, "b", verdict(run=f"runs/{SCRIPT}"))
    (tmp_path / SCRIPT.replace("/", "∕")).mkdir()
    (tmp_path / SCRIPT.replace("/", "∕") / "verdict.json").write_text(HOSTILE)
    return page_of(tmp_path)


def test_hostile_text_stays_text(hostile_page: str) -> None:
    elements = Elements(hostile_page)

    assert not elements.of("script")
    assert not [a for _, attributes in elements.found for a in attributes if a.startswith("on")]
    assert "&lt;script&gt;alert(1)" in hostile_page
    assert not set(hostile_page) & set("\x00\x1b\x7f\u202e\u2066")
    assert "{{ 7 }}" in hostile_page
    assert len(hostile_page) < 400_000  # the megabyte is cut
    for each in elements.of("a"):
        assert str(each["href"]).startswith(("#", "./"))


def test_the_terminal_is_given_nothing_to_obey(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\nb").mkdir()
    (tmp_path / "a\x1b[31m\nb/verdict.json").write_text("{")

    result = runner.invoke(app, ["history", str(tmp_path)])

    assert "\x1b" not in result.output
    assert [line.split(":")[0] for line in result.output.splitlines()] == ["not read", "history"]


def test_the_page_fetches_and_runs_nothing(hostile_page: str) -> None:
    elements = Elements(hostile_page)

    policy = next(each for each in elements.of("meta") if each.get("http-equiv"))
    assert str(policy["content"]).startswith("default-src 'none'")
    assert not [attributes for _, attributes in elements.found if "src" in attributes]
    assert not elements.of("link")
    assert len(elements.ids) == len(set(elements.ids))
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in elements.of("svg"))


def test_history_and_compare_need_no_torch(tmp_path: Path) -> None:
    put(tmp_path, "a", verdict())
    code = (
        "import sys\nfrom gates.cli import app\n"
        f"app(['history', {str(tmp_path)!r}], standalone_mode=False)\n"
        f"app(['compare', {str(tmp_path / 'a')!r}, {str(tmp_path / 'a')!r}], standalone_mode=False)\n"
        "sys.exit(bool({'torch', 'transformers', 'matplotlib', 'statsmodels'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
