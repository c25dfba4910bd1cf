"""The training log's curves as panels: which lines share one, which levels they are held against, what was found.

The log's keys are its writer's: what is known by its name stands together, everything else has a panel of its own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from harness.results import GateResult, Measurement
from reports.format import as_number, number, shorten

MAX_CURVES = 60
MAX_POINTS = 400  # of a curve
MAX_LINES = 4  # of a panel: as many as colour and dashes tell apart
MAX_MARKS = 12  # of a panel
MAX_KEY = 60
FAR_ABOVE = 1.7  # a level beyond that many times the largest value would flatten the curves: it is said instead

TASKS = {"t2a": "Text to sound", "t2i": "Text to picture", "a2t": "Sound to text", "i2t": "Picture to text"}
_TASK = re.compile(r"(?:^|_)(a2t|i2t|t2a|t2i)(?:_|$)")
_GROUPS = ("Losses", "Ablation gaps", "Win rates", "Norms and learning rates", "Other keys")


@dataclass(frozen=True)
class Line:
    """One key's curve; None where no number was logged."""

    key: str
    points: tuple[tuple[float, float | None], ...]


@dataclass(frozen=True)
class Level:
    """A horizontal line that curves are held against: `uniform` guessing, `chance`, or what the gate `asked`."""

    name: str
    value: float
    kind: Literal["uniform", "chance", "asked"]


@dataclass(frozen=True)
class Mark:
    """A finding of the gate in this panel."""

    number: int
    step: float | None
    words: str


@dataclass(frozen=True)
class Panel:
    """One drawing."""

    group: str
    title: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    marks: tuple[Mark, ...] = ()
    judged: tuple[Measurement, ...] = ()  # the gate's figures about these lines
    said: tuple[str, ...] = ()  # levels that are not drawn

    @property
    def spoken(self) -> str:
        """What is drawn, in words."""
        return f"{self.title} over steps. " + "; ".join(_in_words(each) for each in self.lines)


@dataclass(frozen=True)
class Curves:
    """The panels of one gate, in groups."""

    gate: GateResult
    groups: tuple[tuple[str, tuple[Panel, ...]], ...]
    marks: tuple[Mark, ...]  # that belong to no panel
    n_left_out: int

    @property
    def has_findings(self) -> bool:
        """Whether the gate found anything."""
        return bool(self.marks or any(panel.marks for _, panels in self.groups for panel in panels))


def read_curves(gate: GateResult) -> Curves | None:
    """The panels of a gate that has read a log; None for any other."""
    given = gate.details.get("curves")
    if not isinstance(given, dict):
        return None
    lines = [_line(str(key), each) for key, each in list(given.items())[:MAX_CURVES] if _is_curve(each)]
    if not lines:
        return None
    uniform, marks = _uniform(gate.details.get("uniform")), _marks(gate.details.get("findings"))
    panels = [_panel(gate, group, title, tuple(each), uniform, marks) for (group, title), each in _sorted(lines)]
    shown = {mark.number for panel in panels for mark in panel.marks}
    groups = [(name, tuple(each for each in panels if each.group == name)) for name in _GROUPS]
    return Curves(
        gate,
        tuple((name, each) for name, each in groups if each),
        tuple(mark for mark, _ in marks if mark.number not in shown),
        len(given) - len(lines),
    )


def _sorted(lines: list[Line]) -> list[tuple[tuple[str, str], list[Line]]]:
    """Lines by panel: what is of one kind and one task together, as many as can be told apart."""
    together: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        together.setdefault(_place(line.key), []).append(line)
    cut = [(key, each[i : i + MAX_LINES]) for key, each in together.items() for i in range(0, len(each), MAX_LINES)]
    return sorted(cut, key=lambda each: _GROUPS.index(each[0][0]))


def _place(key: str) -> tuple[str, str]:
    """The group and the panel that a key belongs to."""
    found = _TASK.search(key)
    of_task = TASKS[found[1]] if found else "Text" if key.startswith("text") else ""
    if key.startswith("delta_"):
        return "Ablation gaps", of_task or key
    if key.startswith("win_"):
        return "Win rates", of_task or key
    if "norm" in key:
        return "Norms and learning rates", key.rsplit("_", 1)[0] if key.endswith(("_mean", "_std")) else key
    if key in ("lr", "learning_rate") or key.startswith("lr_") or key.endswith("_lr"):
        return "Norms and learning rates", "Learning rates"
    if of_task or re.search(r"(?:^|_)(?:loss|nll)(?:_|$)", key):
        return "Losses", of_task or "All tasks"
    return "Other keys", key


def _panel(
    gate: GateResult,
    group: str,
    title: str,
    lines: tuple[Line, ...],
    uniform: dict[str, float],
    marks: list[tuple[Mark, str]],
) -> Panel:
    keys = {line.key for line in lines}
    task = next((task for task, name in TASKS.items() if name == title), None)
    judged = _judged(gate, task) if group == "Losses" and task else ()
    levels, said = _levels(group, task, lines, uniform, judged)
    here = tuple(mark for mark, key in marks if key in keys)[:MAX_MARKS]
    return Panel(group, title, lines, levels, here, judged, said)


def _judged(gate: GateResult, task: str) -> tuple[Measurement, ...]:
    return tuple(each for each in gate.measurements if each.op and each.name.startswith(f"{task}."))


def _levels(
    group: str, task: str | None, lines: tuple[Line, ...], uniform: dict[str, float], judged: tuple[Measurement, ...]
) -> tuple[tuple[Level, ...], tuple[str, ...]]:
    """The levels that are drawn, and those that lie too far above to be."""
    if group == "Win rates":
        return (Level("chance", 0.5, "chance"),), ()
    if group == "Ablation gaps":
        return (Level("no difference", 0.0, "chance"),), ()
    if group != "Losses" or not uniform or task is None:
        return (), ()
    levels = [Level("uniform, vocabulary", uniform["vocabulary"], "uniform")] if "vocabulary" in uniform else []
    if task in uniform:
        levels.append(Level("uniform, own range", uniform[task], "uniform"))
        asked = next((each for each in judged if each.name == f"{task}.loss_of_uniform_range"), None)
        if asked is not None and asked.threshold is not None:
            levels.append(Level("asked ≤", asked.threshold * uniform[task], "asked"))
    top = max((abs(value) for line in lines for _, value in line.points if value is not None), default=0.0)
    near = tuple(each for each in levels if each.value <= FAR_ABOVE * top)
    far = tuple(f"{each.name} {number(each.value)} nats/token" for each in levels if each not in near)
    return near, far


def _uniform(given: object) -> dict[str, float]:
    if not isinstance(given, dict):
        return {}
    known = {str(key): as_number(value) for key, value in given.items()}
    return {key: value for key, value in known.items() if value is not None}


def _marks(given: object) -> list[tuple[Mark, str]]:
    """Findings with the key that each is about; one about whole lines is about every key, and belongs to none."""
    findings: Iterable[Any] = given if isinstance(given, list) else ()
    found: list[tuple[Mark, str]] = []
    for each in findings:
        if isinstance(each, dict):
            value, step = each.get("value"), as_number(each.get("step"))
            shown = number(as_number(value)) if as_number(value) is not None else shorten(str(value), 80)
            where = "" if step is None else f" at step {step:g}"
            what = f"{each.get('what', 'finding')}: {each.get('key') or 'the log'}{where} is {shown}"
            words = shorten(f"{what}, expected {each.get('expected', 'something else')}", 300)
            found.append((Mark(len(found) + 1, step, words), shorten(str(each.get("key") or ""), MAX_KEY)))
    return found


def _is_curve(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), list) for name in ("steps", "values"))


def _line(key: str, given: dict[str, Any]) -> Line:
    both = [(as_number(step), as_number(value)) for step, value in zip(given["steps"], given["values"], strict=False)]
    points = [(step, value) for step, value in both if step is not None]
    step = max(1, -(-len(points) // MAX_POINTS))
    return Line(shorten(key, MAX_KEY), tuple(points[::step]))


def _in_words(line: Line) -> str:
    values = [(step, value) for step, value in line.points if value is not None]
    if not values:
        return f"{line.key}: no number was logged"
    (first, begins), (last, ends) = values[0], values[-1]
    return f"{line.key} from {number(begins)} at step {first:g} to {number(ends)} at step {last:g}"
