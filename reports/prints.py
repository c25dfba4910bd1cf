"""Fingerprints: every figure of what was written beside that of real media, and where collapse begins."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.results import GateResult
from reports.format import as_number, number, shorten

MAX_FIGURES = 24  # of a task
MAX_VALUES = 256
MAX_NAME = 60


@dataclass(frozen=True)
class Limit:
    """Where an output counts as collapsed, and to which side of it."""

    kind: str
    side: str
    at: float


@dataclass(frozen=True)
class Print:
    """One figure."""

    name: str
    written: tuple[float, ...]
    real: tuple[float, ...]
    limits: tuple[Limit, ...]

    @property
    def medians(self) -> str:
        """Both medians, in words."""
        return f"median {number(_median(self.written))}, real media {number(_median(self.real))}"

    @property
    def beyond(self) -> str:
        """How many outputs lie beyond each limit, in words; empty where there is none."""
        counts = [
            f"{sum(v > each.at if each.side == 'high' else v < each.at for v in self.written)} of {len(self.written)} "
            f"beyond the limit of {each.kind}"
            for each in self.limits
        ]
        return "; ".join(counts)

    @property
    def spoken(self) -> str:
        """What is drawn, in words."""
        return f"{self.name}: {'; '.join(each for each in (self.medians, self.beyond) if each)}"


def read_prints(gate: GateResult) -> dict[str, tuple[Print, ...]]:
    """Task to its figures, those with limits first; empty for a gate without fingerprints."""
    given = gate.details.get("fingerprints")
    if not isinstance(given, dict):
        return {}
    tasks = {str(task): _prints(each) for task, each in given.items() if isinstance(each, dict)}
    return {task: each for task, each in tasks.items() if each}


def _prints(figures: dict[str, Any]) -> tuple[Print, ...]:
    read = [_print(str(name), each) for name, each in figures.items() if isinstance(each, dict)][:MAX_FIGURES]
    shown = [each for each in read if each.written or each.real]
    return tuple(sorted(shown, key=lambda each: not each.limits))


def _print(name: str, given: dict[str, Any]) -> Print:
    limits = (each for each in _list(given.get("limits")) if isinstance(each, dict))
    return Print(
        shorten(name.replace("_", " "), MAX_NAME),
        _numbers(given.get("written")),
        _numbers(given.get("real")),
        tuple(
            Limit(shorten(str(each.get("kind", "collapse")).replace("_", " "), MAX_NAME), str(each.get("side")), at)
            for each in limits
            if (at := as_number(each.get("at"))) is not None
        ),
    )


def _list(value: object) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(number for each in list(_list(value))[:MAX_VALUES] if (number := as_number(each)) is not None)


def _median(values: tuple[float, ...]) -> float | None:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2 if ordered else None
