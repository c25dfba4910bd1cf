"""How figures go over the steps of a run: grouped by what makes them comparable, then one small chart a measure.

Figures of two verdicts are comparable where stage, token space, golden set and dev set are the same. Within such a
group every training run (a folder of checkpoints) is a line of its own.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from harness.results import Op, Stage
from reports.verdicts import TRENDS, Point, Row, heading_of

MAX_GROUPS = 6  # of a stage
MAX_RUNS = 6  # of a group: as many as marks and dashes tell apart
MAX_CHARTS = 48  # of a group
MAX_POINTS = 120  # of a line; less where there are many lines, so that the page stays small
POINT_BUDGET = 50_000  # of the page


@dataclass(frozen=True)
class Line:
    """A measure over the steps of one run; `style` is the run's, the same in all charts of the group."""

    style: int
    run: str
    points: tuple[tuple[int, Point], ...]


@dataclass(frozen=True)
class Chart:
    """One measure over steps, in all runs of a group."""

    measure: str
    unit: str
    lines: tuple[Line, ...]
    rules: tuple[tuple[Op, float], ...]  # the latest verdicts'; none where the measure is only reported
    first_step: int
    last_step: int


@dataclass(frozen=True)
class Run:
    """A run of a group, for the legend."""

    style: int
    name: str
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Verdicts of one stage whose figures are comparable."""

    stage: Stage
    rests_on: tuple[str, str, str]
    n_verdicts: int
    n_repeated: int  # older verdicts on a step that has a newer one
    n_without_step: int
    runs: tuple[Run, ...]
    n_more_runs: int
    headed: tuple[tuple[str, tuple[Chart, ...]], ...]
    n_more_charts: int


@dataclass(frozen=True)
class Trends:
    """All groups that are drawn, and how many are not."""

    groups: tuple[Group, ...]
    n_more_groups: int
    max_points: int  # of a line; longer ones are thinned, their last point is kept


def trends_of(rows: list[Row]) -> Trends:
    """Group the verdicts (the newest first) and lay out their charts; the largest groups come first in each stage."""
    grouped: dict[Stage, dict[tuple[str, str, str], list[Row]]] = {}
    for row in rows:
        grouped.setdefault(row.stage, {}).setdefault(row.rests_on, []).append(row)
    chosen, n_more = [], 0
    for stage in sorted(grouped):
        with_charts = [each for each in grouped[stage].values() if any(row.points for row in each)]
        largest = sorted(with_charts, key=len, reverse=True)
        chosen += largest[:MAX_GROUPS]
        n_more += len(largest[MAX_GROUPS:])
    n_lines = sum(_n_lines(group) for group in chosen)
    max_points = max(8, min(MAX_POINTS, POINT_BUDGET // max(1, n_lines)))
    return Trends(tuple(_group(each, max_points) for each in chosen), n_more, max_points)


def _n_lines(rows: list[Row]) -> int:
    measures = {name for row in rows for name in row.points}
    return min(len(measures), MAX_CHARTS) * min(len({row.run for row in rows}), MAX_RUNS)


def _group(rows: list[Row], max_points: int) -> Group:
    latest: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:  # the newest first: an older verdict on the same step is not drawn
        if row.step is not None:
            latest[row.run].setdefault(row.step, row)
    # The runs judged last are drawn; of these the longest is the first, whose figures stand above the charts.
    names = sorted(list(latest)[:MAX_RUNS], key=lambda name: -len(latest[name]))
    runs = tuple(Run(style, name, tuple(sorted(latest[name]))) for style, name in enumerate(names))
    measures = _measures([row for name in names for row in latest[name].values()])
    charts = [_chart(measure, runs, latest, max_points) for measure in measures[:MAX_CHARTS]]
    n_with_step = sum(row.step is not None for row in rows)
    return Group(
        stage=rows[0].stage,
        rests_on=rows[0].rests_on,
        n_verdicts=len(rows),
        n_repeated=n_with_step - sum(len(steps) for steps in latest.values()),
        n_without_step=len(rows) - n_with_step,
        runs=runs,
        n_more_runs=len(latest) - len(names),
        headed=_headed(charts),
        n_more_charts=len(measures[MAX_CHARTS:]),
    )


def _measures(rows: list[Row]) -> list[str]:
    """Names of measures, those that are judged first, then those that most verdicts have."""
    counts = Counter(name for row in rows for name in row.points)
    judged = {name for row in rows for name, point in row.points.items() if point.rules}
    order = {heading: index for index, (heading, _) in enumerate(TRENDS)}
    return sorted(counts, key=lambda name: (name not in judged, -counts[name], order[heading_of(name) or ""]))


def _headed(charts: list[Chart]) -> tuple[tuple[str, tuple[Chart, ...]], ...]:
    """Charts under their headings, in the order of the headings; judged ones first."""
    found = []
    for heading, _ in TRENDS:
        under = [chart for chart in charts if heading_of(chart.measure) == heading]
        if under:
            found.append((heading, tuple(sorted(under, key=lambda chart: (not chart.rules, chart.measure)))))
    return tuple(found)


def _chart(measure: str, runs: tuple[Run, ...], latest: dict[str, dict[int, Row]], max_points: int) -> Chart:
    lines = []
    for run in runs:
        of_run = latest[run.name]
        course = [(step, of_run[step].points[measure]) for step in run.steps if measure in of_run[step].points]
        if course:
            lines.append(Line(run.style, run.name, tuple(_thinned(course, max_points))))
    steps = [step for run in runs for step in run.steps]
    newest = lines[0].points[-1][1]
    rules = tuple(dict.fromkeys(rule for line in lines for rule in line.points[-1][1].rules))
    return Chart(measure, newest.unit, tuple(lines), rules, min(steps), max(steps))


def _thinned(course: list[tuple[int, Point]], limit: int) -> list[tuple[int, Point]]:
    """At most `limit` points, evenly taken, the first and the last among them."""
    if len(course) <= limit:
        return course
    return [course[round(index * (len(course) - 1) / (limit - 1))] for index in range(limit)]
