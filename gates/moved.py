"""What both parameter gates judge and say: nothing but what a stage may train has moved, and what moved the rest."""

from dataclasses import asdict

from gates.gate import Accept
from harness.drift import Pattern
from harness.moved import Moved
from harness.parameters import ParameterAudit
from harness.results import Measurement

MAX_NAMED = 20
TABLE_NAMES = {"embed": "embedding", "lm_head": "head"}
ADVICE: dict[Pattern, str] = {
    "weight decay": "Weight decay moves rows whose gradient is masked: set it to 0 for both tables, or train the new "
    "rows as a parameter of their own.",
    "momentum": "Few rows and small steps: gradients or the optimiser's momentum reached text rows. Mask after the "
    "optimiser's step as well, or train the new rows as a parameter of their own.",
    "training": "Most of it moved by small steps: it was trained. Freeze it; the masking or hook is wrong.",
    "dtype round trip": "The weights went through a narrower type and came back: load and save the frozen weights in "
    "the type that the base is stored in.",
    "other dtype": "Every value is the base's, stored in another type: save the frozen weights in the base's type.",
    "shifted table": "Rows are the base's own at an offset: the table was cut or extended at the wrong id. Never "
    "resize below the base's rows, and insert nothing before V_text.",
    "re-initialised": "The values have nothing to do with the base's: the table was drawn anew when it was resized, "
    "or lost when it was saved. Copy the base's rows first, and compare both tables before training.",
    "isolated values": "A handful of single values differ: a damaged or hand-edited file. Copy it again and compare "
    "checksums.",
    "unknown": "No known pattern: hold the run's list of trainable parameters against what moved.",
}

BASE_CHANGED = (
    "What moved lies in the base that bundle.json points to, which the checkpoint is served over: the base was saved "
    "again or exchanged since its fingerprint was taken. Restore the base that the checkpoint was trained over."
)

SETTINGS_CHANGED = (
    "Frozen weights compute something else under other settings: compare config.json (tied head, rope, norms) with the "
    "base's, and restore what differs."
)


def judge_moved(accept: Accept, audit: ParameterAudit) -> None:
    """Judge what moved, and name it."""
    counts = {
        "text_rows_changed": (audit.text_rows_changed, "rows", audit.text_rows_compared),
        "frozen_tensors_changed": (audit.tensors_changed, "tensors", audit.tensors_compared),
        "unexpected_tensors": (len(audit.unexpected), "tensors", max(1, audit.tensors_compared)),
        "missing_tensors": (len(audit.missing), "tensors", max(1, audit.tensors_compared)),
    }
    for name, (value, unit, n) in counts.items():
        accept(Measurement(name=name, value=value if n else None, unit=unit, n=n), exactly=0)
    if audit.modality_rows_moved is not None:
        moved = Measurement(
            name="modality_rows_moved", value=audit.modality_rows_moved, unit="rows", n=audit.modality_rows
        )
        accept(moved, above=0)
    if audit.settings is not None:
        changed, n = audit.settings.changed, audit.settings.compared
        accept(Measurement(name="settings_changed", value=len(changed), unit="settings", n=n), exactly=0)
    accept.details["rows"] = [asdict(each) for each in audit.stretches]
    accept.details["worst"] = _named(audit)[:MAX_NAMED]
    patterns = dict.fromkeys(each.pattern for each in audit.moved if each.pattern)
    accept.details["notes"] = [
        f"Held against {audit.against}.",
        *([SETTINGS_CHANGED] if audit.settings and audit.settings.changed else []),
        *([BASE_CHANGED] if audit.moved and audit.of_base else []),
        *(_sentence(each) for each in audit.moved[:MAX_NAMED]),
        *(f"{pattern}: {ADVICE[pattern]}" for pattern in patterns),
    ]


def _named(audit: ParameterAudit) -> list[dict[str, str]]:
    rows = [
        {
            "id": f"{each.name} row {row.row}",
            "prompt": row.token,
            "note": _join([_largest(row.largest), _looks(each)]) or "not as in the base",
        }
        for each in audit.moved
        for row in each.first
    ]
    tensors = [
        {"id": each.name, "prompt": "", "note": _join([_largest(each.largest), _looks(each)]) or "not as in the base"}
        for each in audit.moved
        if not each.is_table
    ]
    settings = [
        {"id": f"config.json {each.name}", "prompt": "", "note": f"{each.now!r}; the base has {each.base!r}"}
        for each in (audit.settings.changed if audit.settings else ())
    ]
    strays = [{"id": name, "prompt": "", "note": "the base has no such tensor"} for name in audit.unexpected]
    gone = [{"id": name, "prompt": "", "note": "missing; the base has it"} for name in audit.missing]
    return [*settings, *strays, *gone, *rows[: MAX_NAMED // 2], *tensors]


def _sentence(moved: Moved) -> str:
    what = f"{moved.name} moved"
    if moved.is_table:
        what = f"{moved.n_changed:,} of {moved.n_rows:,} text rows of the {TABLE_NAMES[moved.name]} moved"
    return _join([what, _largest(moved.largest), _looks(moved)]) + "."


def _largest(change: float | None) -> str:
    return "" if change is None else f"largest change {change:.3g}"


def _looks(moved: Moved) -> str:
    if moved.pattern is None:
        return moved.figure
    return f"looks like {moved.pattern}" + (f" ({moved.figure})" if moved.figure else "")


def _join(parts: list[str]) -> str:
    return "; ".join(part for part in parts if part)
