"""Finds the verdicts below a folder, and takes of each what a history shows."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath

from harness.errors import HarnessError
from harness.files import MAX_JSON_BYTES
from harness.results import Decision, Op, Outcome, Priority, Stage
from reports.stored_verdict import StoredGate, StoredVerdict, decode

VERDICT_FILE, REPORT_FILE = "verdict.json", "report.html"
BESIDE_A_VERDICT = {"evidence", "media"}  # what a run keeps there: large, and no place for verdicts
MAX_DEPTH = 12
MAX_VERDICTS = 10_000
# The measures whose course over steps is worth a drawing; the first one that fits says under which heading.
TRENDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("Sequences that end by themselves", re.compile(r"\w+\.end_tag_pct")),
    ("Win rates", re.compile(r"\w+\.win_rate_\w+")),
    ("Δ, nats per token", re.compile(r"\w+\.delta_\w+(?<!_pct)")),
    ("Ids out of range in free generation", re.compile(r"\w+\.out_of_range_pct \(free\)")),
    ("Text perplexity against the base", re.compile(r"text_perplexity_change")),
)


@dataclass(frozen=True)
class Point:
    """A measure at one checkpoint; `rules` are all that it was held against."""

    value: float
    unit: str
    n: int
    low: float | None
    high: float | None
    rules: tuple[tuple[Op, float], ...]


@dataclass(frozen=True)
class Row:
    """One verdict, as the history shows it."""

    path: Path
    has_report: bool
    stage: Stage
    verdict: Decision
    started: str
    checkpoint: str
    step: int | None
    sha256: str | None
    gates: tuple[tuple[str, str, Priority, Outcome], ...]  # id, name, priority, outcome
    n_changed: int  # thresholds that are not the spec's
    rests_on: tuple[str, str, str]  # digests of token space, golden set and dev set
    points: dict[str, Point]

    @property
    def name(self) -> str:
        """The checkpoint's own name."""
        return PurePosixPath(self.checkpoint).name or self.checkpoint

    @property
    def run(self) -> str:
        """The folder of checkpoints that it is one of: a training run."""
        return str(PurePosixPath(self.checkpoint).parent)

    @property
    def moment(self) -> datetime:
        """When it was judged, in UTC; the beginning of time where the verdict does not say."""
        return _moment(self.started)

    def count(self, priority: Priority, *, passed: bool = False) -> int:
        """How many gates of a priority there are, or how many of them passed."""
        return sum(p == priority and (not passed or outcome == "pass") for _, _, p, outcome in self.gates)


@dataclass
class Found:
    """What lies below a folder."""

    folder: Path
    rows: list[Row] = field(default_factory=list)  # the newest first
    unusable: list[tuple[Path, str]] = field(default_factory=list)  # which, and why
    n_too_deep: int = 0  # folders that were not looked into
    n_not_read: int = 0  # verdicts beyond MAX_VERDICTS


def find_verdicts(folder: Path) -> Found:
    """Read every verdict.json below a folder; what cannot be read is named and counted, and stops nothing.

    Raises:
        HarnessError: there is no such folder.
    """
    if not folder.is_dir():
        raise HarnessError(folder, "no folder", "a folder that verdicts lie below", "Check the path.")
    found = Found(folder)
    for path in _walk(folder, found):
        if len(found.rows) + len(found.unusable) >= MAX_VERDICTS:
            found.n_not_read += 1
            continue
        try:
            found.rows.append(_read(path, folder))
        except HarnessError as error:
            found.unusable.append((path, f"found {error.found}; expected {error.expected}"))
    found.rows.sort(key=lambda row: (row.moment, row.step or 0, str(row.path)), reverse=True)
    return found


def _walk(folder: Path, found: Found) -> Iterator[Path]:
    """Paths of verdicts, in a fixed order; links to folders are not followed, so that no walk leaves the folder."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        inside = VERDICT_FILE in files
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not (inside and f in BESIDE_A_VERDICT))
        if len(here.relative_to(folder).parts) >= MAX_DEPTH:
            found.n_too_deep += len(folders)
            folders.clear()
        if inside:
            yield here / VERDICT_FILE


def _read(path: Path, folder: Path) -> Row:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise HarnessError(path, "a link that leaves the folder", "a file inside it", "Copy the verdict.")
    verdict = decode(_bytes(path), path)
    if verdict.verdict == "PROMOTE" and not _may_promote(verdict):
        raise HarnessError(path, "PROMOTE, though not every P0 gate passed", "a verdict that follows from its gates",
                           "Run the gates again.")  # fmt: skip
    return _row(path, verdict)


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise HarnessError(path, "no plain file", "a JSON file", "Check the path.")
        with path.open("rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise HarnessError(path, error.strerror or "an unreadable file", "a JSON file", "Check the path.") from None
    if len(content) > MAX_JSON_BYTES:
        raise HarnessError(path, f"more than {MAX_JSON_BYTES} bytes", "a verdict", "This is none.")
    return content


def _may_promote(verdict: StoredVerdict) -> bool:
    blocking = [gate.outcome for gate in verdict.gates if gate.priority == "P0"]
    return bool(blocking) and all(outcome == "pass" for outcome in blocking)


def _row(path: Path, verdict: StoredVerdict) -> Row:
    inputs = verdict.inputs
    golden, dev = (inputs[name].sha256 if name in inputs else "" for name in ("golden", "dev"))
    return Row(
        path=path,
        has_report=path.with_name(REPORT_FILE).is_file(),
        stage=verdict.stage,
        verdict=verdict.verdict,
        started=verdict.run.started,
        checkpoint=verdict.checkpoint.path,
        step=verdict.checkpoint.step,
        sha256=verdict.checkpoint.sha256,
        gates=tuple((gate.id, gate.name, gate.priority, gate.outcome) for gate in verdict.gates),
        n_changed=len(verdict.thresholds.changed),
        rests_on=(verdict.token_space_sha256 or "", golden, dev),
        points=_points(verdict.gates),
    )


def _points(gates: list[StoredGate]) -> dict[str, Point]:
    """The measures that have a course; one that was judged twice has both rules."""
    points: dict[str, Point] = {}
    for figure in (figure for gate in gates for figure in gate.measurements):
        value = _finite(figure.value) if heading_of(figure.name) else None
        if value is None:
            continue
        known = points[figure.name].rules if figure.name in points else ()
        threshold = _finite(figure.threshold)
        new = ((figure.op, threshold),) if figure.op is not None and threshold is not None else ()
        rules = tuple(dict.fromkeys([*known, *new]))
        low, high = _finite(figure.low), _finite(figure.high)
        points[figure.name] = Point(value, figure.unit, figure.n, low, high, rules)
    return points


@lru_cache(maxsize=10_000)
def heading_of(measure: str) -> str | None:
    """Under which heading a measure's course is drawn; None where it has none."""
    return next((heading for heading, pattern in TRENDS if pattern.fullmatch(measure)), None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < 1e300 else None


def _moment(iso: str) -> datetime:
    try:
        moment = datetime.fromisoformat(iso)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)
