"""A self-test for a reader: what was caught gate by gate, what was not and why, and how far thresholds may be moved."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from gates.commands.tables import print_table
from gates.selftest.found import BAD, Ending, Found
from gates.selftest.margins import Margin, margins
from gates.selftest.run import SelfTest
from gates.shown import one_line

COLUMNS: tuple[Ending, ...] = ("caught", "got through", "misnamed", "crashed", "untold", "no place")
_LOOK_AT: tuple[Ending, ...] = (*BAD, "untold")
_WIDTH = 300


def by_gate(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """A row for every gate: how many of its faults ended in each way; a last one for all."""
    faults = [each for each in found if each.ending not in ("harmless", "false alarm") and each.gate]
    gates = sorted({each.gate for each in faults})
    rows = [(gate, *_numbers([each for each in faults if each.gate == gate])) for gate in gates]
    return [*rows, ("all", *_numbers(faults))]


def print_page(console: Console, seen: dict[str, Any], tested: SelfTest) -> None:
    """Print tables, and one sentence at the end; `seen` is the same as a JSON object."""
    found = tested.found
    print_table(console, "faults, by the gate that has to find them", ("gate", "faults", *COLUMNS), by_gate(found))
    bad = [each for each in found if each.ending in _LOOK_AT]
    rows = [(each.ending, each.gate, each.name, one_line(each.why, _WIDTH)) for each in bad]
    print_table(console, "to look at", ("", "gate", "fault", "why"), rows)
    places = [
        (each.name, each.gate or "all", one_line(each.why, _WIDTH)) for each in found if each.ending == "no place"
    ]
    print_table(console, "not planted: the checkpoint has no place for them", ("", "gate", "why"), places)
    columns = ("gate", "figure", "asked for", "this checkpoint", "may be loosened to", "before this gets through")
    loose = [_margin(each) for each in margins(tested.control, found) if each.nearest is not None]
    print_table(console, "how far a threshold may be loosened", columns, loose)
    console.print(Text(sentence(seen)))


def sentence(seen: dict[str, Any]) -> str:
    """The self-test in a sentence."""
    n, counts = len(seen["faults"]), seen["counts"]
    planted = n - sum(each["ending"] == "no place" for each in seen["faults"])
    through = sum(counts.get(each, 0) for each in ("got through", "misnamed", "crashed"))
    said = f"{counts.get('caught', 0)} of {planted} faults caught, {through} got through or were misnamed"
    if untold := counts.get("untold", 0):
        said += f", {untold} could not be told"
    harmless = counts.get("harmless", 0) + counts.get("false alarm", 0)
    return f"{said}; {counts.get('false alarm', 0)} false alarms among {harmless} harmless changes."


def _numbers(found: Sequence[Found]) -> tuple[str, ...]:
    numbers = [sum(each.ending == ending for each in found) for ending in COLUMNS]
    return (str(len(found)), *(str(number or "·") for number in numbers))


def _margin(margin: Margin) -> tuple[str, ...]:
    own = "–" if margin.own is None else f"{margin.own:.3g}"
    others = f" (and {margin.n_alone - 1} more)" if margin.n_alone > 1 else ""
    asked = f"{margin.op} {margin.threshold:g} {margin.unit}"
    return margin.gate, margin.figure, asked, own, f"{margin.nearest:.3g}", f"{margin.fault}{others}"
