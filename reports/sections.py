"""What the page shows, section by section, read out of a verdict: the templates only lay it out."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.results import GateResult, Measurement, Verdict
from reports import findings
from reports import format as written
from reports.ablations import TaskAblation, read_ablations
from reports.curves import Curves, read_curves
from reports.details import Details, read_details, read_gallery
from reports.media import Budget, Gallery, Shown, build_galleries
from reports.prints import Print, read_prints
from reports.rerun import command_of_gate
from reports.samples import Smallest, notes_by_id, smallest_failing
from reports.strips import Stretch, read_stretches

MAX_BARS = 6  # of one finding; the others stand in the gate's table
GALLERY_OPEN, GALLERY_OPEN_WRONG = 12, 24  # samples of a task that show without a click, and failed ones


@dataclass(frozen=True)
class Finding:
    """A gate that did not pass."""

    gate: GateResult
    details: Details
    shown: tuple[Measurement, ...]  # judged figures, those that miss their rule first
    n_met: int  # rules that are met and not shown
    command: str  # that runs this gate alone
    smallest: Smallest | None
    media: Shown | None  # of the smallest example, where a gallery has it
    anchor: str  # of that sample in the gallery


@dataclass(frozen=True)
class ShownGallery:
    """A gallery with what its heading needs."""

    gate: GateResult
    gallery: Gallery
    n_open: int
    name: str  # prefix of its samples' anchors


@dataclass(frozen=True)
class ChangedThreshold:
    """A threshold that was not the spec's."""

    name: str
    spec: str
    used: str


@dataclass(frozen=True)
class Timing:
    """How long a gate took, and as a share of the slowest."""

    gate: GateResult
    share: float


@dataclass(frozen=True)
class Sections:
    """Everything below the masthead."""

    findings: tuple[Finding, ...]
    details: tuple[Details, ...]  # of every gate
    ablations: tuple[tuple[GateResult, tuple[TaskAblation, ...]], ...]
    galleries: tuple[ShownGallery, ...]
    curves: tuple[Curves, ...]
    stretches: tuple[tuple[GateResult, dict[str, tuple[Stretch, ...]]], ...]
    prints: tuple[tuple[GateResult, dict[str, tuple[Print, ...]]], ...]
    changed: tuple[ChangedThreshold, ...]
    timings: tuple[Timing, ...]


def read_sections(out: Path, verdict: Verdict, budget: Budget) -> Sections:
    """Read everything, media within the budget."""
    details = tuple(read_details(gate.details) for gate in verdict.gates)
    galleries = _galleries(out, verdict, list(details), budget)
    by_id = {
        shown.sample.id: (shown, f"{each.name}-{n}")
        for each in reversed(galleries)
        for n, shown in enumerate(each.gallery.shown)
    }
    not_passed = [(gate, details[verdict.gates.index(gate)]) for gate in findings.not_passed(verdict)]
    ablations = ((gate, read_ablations(gate, each)) for gate, each in zip(verdict.gates, details, strict=True))
    curves = (read_curves(gate) for gate in verdict.gates)
    slowest = max((gate.duration_s for gate in verdict.gates), default=0.0)
    return Sections(
        findings=tuple(_finding(verdict, gate, each, by_id) for gate, each in not_passed),
        details=details,
        ablations=tuple((gate, each) for gate, each in ablations if each),
        galleries=galleries,
        curves=tuple(each for each in curves if each),
        stretches=tuple((gate, tables) for gate in verdict.gates if (tables := read_stretches(gate))),
        prints=tuple((gate, tasks) for gate in verdict.gates if (tasks := read_prints(gate))),
        changed=tuple(_changed(verdict.thresholds.changed)),
        timings=tuple(Timing(gate, gate.duration_s / slowest if slowest else 0.0) for gate in verdict.gates),
    )


def masthead(verdict: Verdict) -> dict[str, Any]:
    """What page and summary both begin with."""
    return {
        "verdict": verdict,
        "name": Path(verdict.checkpoint.path).name or verdict.checkpoint.path,
        "why": findings.why(verdict),
        "counts": Counter(gate.outcome for gate in verdict.gates),
        "n_changed": len(verdict.thresholds.changed),
    }


def _galleries(out: Path, verdict: Verdict, details: list[Details], budget: Budget) -> tuple[ShownGallery, ...]:
    notes = notes_by_id(verdict, details)
    samples = {str(index): read_gallery(gate.details, notes) for index, gate in enumerate(verdict.gates)}
    built = build_galleries(out, {index: each for index, each in samples.items() if each}, budget)
    return tuple(
        ShownGallery(verdict.gates[int(each.gate)], each, _n_open(each), f"sample-{n}") for n, each in enumerate(built)
    )


def _finding(verdict: Verdict, gate: GateResult, details: Details, by_id: dict[str, tuple[Shown, str]]) -> Finding:
    judged = [each for each in findings.worst_first(gate) if findings.standing(each) != "reported"]
    wrong = [each for each in judged if findings.standing(each) != "met"]
    shown = (wrong or judged)[:MAX_BARS]
    smallest = smallest_failing(gate, details)
    media, anchor = by_id.get(smallest.id if smallest else "", (None, ""))
    command = details.rerun or command_of_gate(verdict.run.command, verdict.stage, gate.id, gate.name)
    return Finding(gate, details, tuple(shown), len(judged) - len(shown), command, smallest, media, anchor)


def _n_open(gallery: Gallery) -> int:
    return max(GALLERY_OPEN, min(GALLERY_OPEN_WRONG, sum(each.sample.ok is False for each in gallery.shown)))


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
