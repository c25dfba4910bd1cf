"""A self-test as one JSON object, format gate-selftest/1."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gates.selftest.found import BAD, Ending, Found
from gates.selftest.margins import margins
from gates.selftest.run import SelfTest
from harness.faults.fault import Fault, Harmless
from harness.results import EXIT_CODES

FORMAT = "gate-selftest/1"
THROUGH = 1  # exit code: a fault got through, or a harmless change was taken for one


def exit_code(tested: SelfTest) -> int:
    """0 where every fault that applies is caught and nothing harmless is; 1 where not; 10 where something is untold."""
    endings = {each.ending for each in tested.found}
    if endings & set(BAD):
        return THROUGH
    # Nothing tried is nothing shown.
    if "untold" in endings or not endings & {"caught"}:
        return EXIT_CODES["INCOMPLETE"]
    return EXIT_CODES["PROMOTE"]


def counts(found: Sequence[Found]) -> dict[Ending, int]:
    """How often each ending was met."""
    return dict(Counter(each.ending for each in found))


def record(tested: SelfTest, entries: Sequence[Fault | Harmless]) -> dict[str, Any]:
    """Everything that a self-test found."""
    known = {entry.name: entry for entry in entries}
    control = tested.control
    return {
        "format": FORMAT,
        "stage": tested.stage,
        "checkpoint": control.checkpoint.model_dump(),
        "thresholds": control.thresholds.model_dump(),
        "run": control.run.model_dump(),
        "gates": [{"id": gate.id, "outcome": gate.outcome} for gate in control.gates],
        "counts": counts(tested.found),
        "faults": [_fault(each, entry) for each in tested.found if isinstance(entry := known[each.name], Fault)],
        "harmless": [
            _harmless(each, entry) for each in tested.found if isinstance(entry := known[each.name], Harmless)
        ],
        "margins": [asdict(margin) for margin in margins(control, tested.found)],
        "duration_s": round(tested.duration_s, 1),
    }


def _fault(found: Found, fault: Fault) -> dict[str, Any]:
    entry = {name: getattr(fault, name) for name in ("imitates", "source", "artifact", "subtle", "advice")}
    return _ending(found) | entry


def _harmless(found: Found, change: Harmless) -> dict[str, Any]:
    return _ending(found) | {"what": change.what, "artifact": change.artifact}


def _ending(found: Found) -> dict[str, Any]:
    names = ("name", "gate", "ending", "why", "also_red")
    return {name: list(value) if isinstance(value := getattr(found, name), tuple) else value for name in names}
