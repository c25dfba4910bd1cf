"""Prompt and media ablations, condition by condition: pairs, win rate, Δ, and the Δ of every codebook."""

from dataclasses import dataclass
from typing import Any

from harness.results import GateResult, Measurement
from reports.curves import TASKS
from reports.details import Details, Pairs
from reports.findings import standing
from reports.format import as_number, shorten

MAX_PARTS = 24
MAX_NAME = 60


@dataclass(frozen=True)
class Condition:
    """One way of ablating, of one task."""

    name: str  # `shuffled prompt`
    pairs: Pairs
    wins: Measurement | None
    gap: Measurement | None
    parts: tuple[tuple[str, float], ...]  # range or codebook, its Δ
    spoken: str  # the parts, in words

    @property
    def figures(self) -> tuple[Measurement, ...]:
        """Win rate and mean Δ, as far as they were measured."""
        return tuple(each for each in (self.wins, self.gap) if each is not None)


@dataclass(frozen=True)
class TaskAblation:
    """One task's conditions, those that are judged first."""

    task: str
    title: str
    conditions: tuple[Condition, ...]

    @property
    def low(self) -> float:
        """The least Δ of any part: one scale for all conditions."""
        return min((value for each in self.conditions for _, value in each.parts), default=0.0)

    @property
    def high(self) -> float:
        """The largest Δ of any part."""
        return max((value for each in self.conditions for _, value in each.parts), default=0.0)


def read_ablations(gate: GateResult, details: Details) -> tuple[TaskAblation, ...]:
    """The ablations of a gate, task by task; none where it has no pairs."""
    measured = {each.name: each for each in gate.measurements}
    tasks: dict[str, list[Condition]] = {}
    for pairs in details.pairs:
        task, _, name = pairs.name.partition(": ")
        task, name = (task, name) if name else ("", pairs.name)
        tasks.setdefault(task, []).append(_condition(gate, task, name, pairs, measured))
    return tuple(
        TaskAblation(task, TASKS.get(task, shorten(task, MAX_NAME)), tuple(sorted(each, key=_judged_first)))
        for task, each in tasks.items()
    )


def _condition(gate: GateResult, task: str, name: str, pairs: Pairs, measured: dict[str, Measurement]) -> Condition:
    word = name.split(" ", 1)[0]
    parts = _parts(gate.details.get("tables"), f"{task} by codebook", f"{word}: Δ")
    words = ", ".join(f"{part} {value:.3g}" for part, value in parts)
    return Condition(
        name=shorten(name, MAX_NAME),
        pairs=pairs,
        wins=measured.get(f"{task}.win_rate_{word}"),
        gap=measured.get(f"{task}.delta_{word}"),
        parts=parts,
        spoken=f"Δ of every range of ids under {name}, nats per label: {words}",
    )


def _judged_first(condition: Condition) -> bool:
    """False sorts first."""
    return all(standing(each) == "reported" for each in condition.figures)


def _parts(tables: Any, title: str, column: str) -> tuple[tuple[str, float], ...]:
    """A column of one of the gate's tables, beside its first one."""
    for table in tables if isinstance(tables, list) else ():
        if isinstance(table, dict) and table.get("title") == title and isinstance(table.get("columns"), list):
            rows = [row for row in table.get("rows") or () if isinstance(row, list)]
            at = table["columns"].index(column) if column in table["columns"] else None
            if at is not None:
                cells = [(str(row[0]), as_number(row[at])) for row in rows[:MAX_PARTS] if len(row) > at]
                return tuple((name, value) for name, value in cells if value is not None)
    return ()
