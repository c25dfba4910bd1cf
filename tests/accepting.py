"""A gate's `accept` for tests of what judges: what was measured and told, by name."""

from typing import Any

from gates.gate import Accept, Gate
from harness.results import Measurement


def accepting(*, strict: bool = False) -> Accept:
    """Of a gate of no stage."""
    return Accept(Gate(id="X", name="x", priority="P0", claim="c", source="s"), strict=strict)


def named(accept: Accept, name: str) -> Measurement:
    """The one measurement of that name."""
    (found,) = [m for m in accept.measurements if m.name == name]
    return found


def figures(accept: Accept) -> dict[str, Any]:
    """Value and number of items, by name."""
    return {m.name: (m.value, m.n) for m in accept.measurements}


def rules(accept: Accept) -> dict[str, str]:
    """What was judged and by which rule: `{"shared_content": "== 0"}`."""
    return {m.name: f"{m.op} {m.threshold:g}" for m in accept.measurements if m.op and m.threshold is not None}


def fell_short(accept: Accept) -> list[str]:
    """The names that the failures begin with."""
    return [failure.split(" ")[0] for failure in accept.failures]


def worst(accept: Accept) -> list[tuple[str, str, str]]:
    """The worst examples: id, prompt and note."""
    rows: list[dict[str, Any]] = accept.details.get("worst", [])
    return [(row["id"], row["prompt"], row["note"]) for row in rows]


def notes(accept: Accept) -> str:
    """All notes, one a line."""
    return "\n".join(accept.details.get("notes", []))
