"""Single examples: the smallest one that shows a failure, and what any gate says of a sample."""

from collections import defaultdict
from dataclasses import dataclass

from harness.results import GateResult, Verdict
from reports.details import Details, read_gallery
from reports.format import shorten

MAX_NOTES = 3  # of a sample
MAX_NOTE = 160  # characters; all of it stands in the gate's own list


@dataclass(frozen=True)
class Smallest:
    """The smallest example that shows why a gate failed."""

    id: str
    prompt: str
    note: str


def smallest_failing(gate: GateResult, details: Details) -> Smallest | None:
    """Of what the gate names as wrong, the one with the shortest prompt; None where it names nothing."""
    if gate.outcome not in ("fail", "error"):
        return None
    wrong = [Smallest(each.id, each.prompt, each.reason) for each in read_gallery(gate.details) if each.ok is False]
    wrong = wrong or [Smallest(each.id, each.prompt, each.note) for each in details.worst]
    return min(wrong, key=lambda each: (not each.prompt, len(each.prompt)), default=None)


def notes_by_id(verdict: Verdict, details: list[Details]) -> dict[str, tuple[str, ...]]:
    """What the gates' lists of worst examples say, by example: `P1.3: loop: …`."""
    notes: defaultdict[str, list[str]] = defaultdict(list)
    for gate, each in zip(verdict.gates, details, strict=True):
        # A gate that has the gallery says there what is wrong with a sample.
        for worst in () if "gallery" in gate.details else each.worst:
            if worst.note and len(notes[worst.id]) < MAX_NOTES:
                notes[worst.id].append(shorten(f"{gate.id}: {worst.note}", MAX_NOTE))
    return {id_: tuple(said) for id_, said in notes.items()}
