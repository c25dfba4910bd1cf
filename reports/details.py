"""The `details` of a gate result, read tolerantly: what has the agreed form is typed here, the rest stays JSON.

A report must come out of any verdict, so nothing in here raises: a value of another form is shown as it is.
"""

import json
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from reports.format import as_number, shorten
from reports.tables import Table, is_table, read_table

MAX_JSON_BYTES = 4096
MAX_SAMPLES = 256  # per gate and task; the gates generate 64
MAX_ROWS = 50  # of `worst` and `notes`
MAX_TABLES = 40  # of a gate
MAX_POINTS = 1200  # of a scatter
MAX_GAPS = 300  # of the sorted differences: a step a pixel
MAX_NAME = 60  # characters of a sample's id and task
MAX_TEXT = 600  # characters of a prompt, note or reason

_LIMITS = {"worst": MAX_ROWS, "notes": MAX_ROWS, "tables": MAX_TABLES}
# Read by other parts of the report.
_SHOWN_ELSEWHERE = {"reason", "rerun", "curves", "uniform", "findings", "rows", "fingerprints"}


@dataclass(frozen=True)
class Sample:
    """One entry of `gallery`."""

    id: str
    task: str
    prompt: str
    file: str | None  # relative to the output folder, and not to be trusted
    reference: str | None
    ok: bool | None  # None where the entry does not say
    reason: str
    notes: tuple[str, ...] = ()  # what other gates say of it

    @property
    def rank(self) -> int:
        """The worst first: not ok, then noted by some gate, then not said to be ok."""
        return 0 if self.ok is False else 1 if self.notes else 2 if self.ok is None else 3


@dataclass(frozen=True)
class Pairs:
    """One entry of `pairs`: the losses of the same examples under two conditions."""

    name: str
    points: tuple[tuple[float, float], ...]  # (correct, ablated)
    n_total: int  # examples, whether they have both losses or not
    n_finite: int  # examples that have both
    n_above: int  # of those, how many lose more when ablated
    gaps: tuple[float, ...] = ()  # ablated minus correct, sorted; of many examples every so-manieth


@dataclass(frozen=True)
class Worst:
    """One entry of `worst`."""

    id: str
    prompt: str
    note: str


@dataclass(frozen=True)
class Details:
    """What the report shows beside a gate's figures."""

    reason: str = ""
    rerun: str = ""
    conditions: tuple[str, ...] = ()  # column heads of `losses`
    losses: dict[str, tuple[float | None, ...]] = field(default_factory=dict)  # task -> one mean loss a condition
    pairs: tuple[Pairs, ...] = ()
    worst: tuple[Worst, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    left_out: tuple[str, ...] = ()  # said aloud: what a limit cut
    other: str = ""  # everything else, as JSON

    @property
    def anything(self) -> bool:
        """Whether there is something to show beside a reason and what other sections draw."""
        return bool(self.losses or self.worst or self.notes or self.tables or self.left_out or self.other)


def read_details(details: dict[str, Any]) -> Details:
    """Everything but the gallery, which `read_gallery` reads because it needs the files too."""
    losses: Any = details.get("losses")
    pairs: Any = details.get("pairs")
    tables: Any = details.get("tables")
    good = {
        "gallery": _is_list_of_dicts(details.get("gallery")),
        "losses": isinstance(losses, dict) and all(isinstance(each, dict) for each in losses.values()),
        "pairs": isinstance(pairs, dict) and all(_is_pair(each) for each in pairs.values()),
        "worst": _is_list_of_dicts(details.get("worst")),
        "notes": isinstance(details.get("notes"), list),
        "tables": isinstance(tables, list) and all(is_table(each) for each in tables),
    }
    conditions = _conditions(losses) if good["losses"] else ()
    return Details(
        reason=_text(details.get("reason")),
        rerun=_text(details.get("rerun")),
        conditions=conditions,
        losses=_losses(losses, conditions) if good["losses"] else {},
        pairs=tuple(_pairs(str(name), each) for name, each in pairs.items()) if good["pairs"] else (),
        worst=tuple(_worst(each) for each in details["worst"][:MAX_ROWS]) if good["worst"] else (),
        notes=tuple(_text(each) for each in details["notes"][:MAX_ROWS]) if good["notes"] else (),
        tables=tuple(read_table(each) for each in tables[:MAX_TABLES]) if good["tables"] else (),
        left_out=_left_out(details, {key: limit for key, limit in _LIMITS.items() if good[key]}),
        other=_other({key: value for key, value in details.items() if not good.get(key, key in _SHOWN_ELSEWHERE)}),
    )


def read_gallery(details: dict[str, Any], notes: dict[str, tuple[str, ...]] | None = None) -> tuple[Sample, ...]:
    """The gallery's samples, the worst first; `notes` are what other gates say of a sample, by its id."""
    entries: Any = details.get("gallery")
    if not _is_list_of_dicts(entries):
        return ()
    samples = (replace(sample, notes=(notes or {}).get(sample.id, ())) for sample in map(_sample, entries))
    return tuple(sorted(samples, key=lambda sample: sample.rank))


def _sample(entry: dict[str, Any]) -> Sample:
    ok = entry.get("ok")
    return Sample(
        id=shorten(_text(entry.get("id")), MAX_NAME),
        task=shorten(_text(entry.get("task")), MAX_NAME),
        prompt=_text(entry.get("prompt")),
        file=_path(entry.get("file")),
        reference=_path(entry.get("reference")),
        ok=ok if isinstance(ok, bool) else None,
        reason=_text(entry.get("reason")),
    )


def _path(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _text(value: object) -> str:
    if value is None:
        return ""
    return shorten(value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False), MAX_TEXT)


def _is_list_of_dicts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _is_pair(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), list) for key in ("correct", "ablated"))


def _conditions(losses: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(condition) for row in losses.values() for condition in row))


def _losses(losses: dict[str, Any], conditions: tuple[str, ...]) -> dict[str, tuple[float | None, ...]]:
    return {str(task): tuple(as_number(row.get(name)) for name in conditions) for task, row in losses.items()}


def _pairs(name: str, entry: dict[str, Any]) -> Pairs:
    both = [(as_number(x), as_number(y)) for x, y in zip(entry["correct"], entry["ablated"], strict=False)]
    points = [(x, y) for x, y in both if x is not None and y is not None]
    step = max(1, -(-len(points) // MAX_POINTS))  # every step-th, so that what is drawn stays spread over the set
    n_total = max(len(entry["correct"]), len(entry["ablated"]))
    gaps = _thinned(sorted(y - x for x, y in points), MAX_GAPS)
    return Pairs(
        shorten(name, MAX_NAME), tuple(points[::step]), n_total, len(points), sum(y > x for x, y in points), gaps
    )


def _thinned(ordered: list[float], at_most: int) -> tuple[float, ...]:
    """At most so many of some sorted values: the middle one of every stretch, and both ends as they are."""
    if len(ordered) <= at_most:
        return tuple(ordered)
    edges = [i * len(ordered) // at_most for i in range(at_most + 1)]
    middle = [ordered[(a + b) // 2] for a, b in pairwise(edges)]
    return (ordered[0], *middle[1:-1], ordered[-1])


def _worst(entry: dict[str, Any]) -> Worst:
    return Worst(_text(entry.get("id")), _text(entry.get("prompt")), _text(entry.get("note")))


def _left_out(details: dict[str, Any], limits: dict[str, int]) -> tuple[str, ...]:
    cut = {key: len(details[key]) - limit for key, limit in limits.items()}
    return tuple(f"{n} more of “{key}” are in verdict.json" for key, n in cut.items() if n > 0)


def _other(unknown: dict[str, Any]) -> str:
    if not unknown:
        return ""
    try:
        text = json.dumps(unknown, indent=2, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = "details nested too deeply to be shown"
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_JSON_BYTES:
        return text
    return f"{encoded[:MAX_JSON_BYTES].decode('utf-8', 'ignore')}\n… cut here; all of it is in verdict.json"
