"""What `gates inspect` prints for a reader: the JSON object's figures, in a few tables."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_tables(seen: dict[str, Any]) -> None:
    """Print what was seen."""
    console = wide_console()
    print_table(console, "checkpoint", ("", ""), _checkpoint(seen))
    print_table(console, "token types", ("range", "first id", "last id", "ids"), _ranges(seen))
    print_table(console, "inputs", ("input", "found", "path"), _inputs(seen))
    columns = ("task", "examples", "media ids: min, median, max", "max_new", "notes")
    print_table(console, "golden set", columns, _tasks(seen))
    print_table(console, "what moved", ("", ""), _moved(seen))
    print_table(console, "missing", ("input", "option", "for"), _missing(seen))
    if "train_log" in seen:
        print_log(seen["train_log"])


def print_log(seen: dict[str, Any]) -> None:
    """Print what was read in a training log."""
    console = wide_console()
    print_table(console, "training log", ("", ""), _log(seen))
    columns = ("key", "lines", "first", "at step", "last", "at step", "lowest", "highest")
    print_table(console, "figures", columns, _figures(seen))
    findings = [[f["what"], f["key"], _number(f["step"]), _number(f["value"]), f["expected"]] for f in seen["findings"]]
    print_table(console, "findings", ("what", "key", "step", "found", "expected"), map(tuple, findings))
    remarks = [("not judged", each) for each in seen["not_judged"]] + [("note", each) for each in seen["notes"]]
    print_table(console, "remarks", ("", ""), remarks)


def wide_console() -> Console:
    """The terminal, or where there is none a console wide enough for paths."""
    console = Console(highlight=False)
    # A pipe has no width of its own to fold paths at.
    return console if console.is_terminal else Console(highlight=False, width=160)


def print_table(console: Console, title: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Print a table; nothing where it has no row."""
    table = Table(title=title, title_justify="left", show_header=any(columns), box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: what a checkpoint's files say is never read as markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    if table.row_count:
        console.print(table)
        console.print()


def _checkpoint(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    checkpoint, space, constrained = seen["checkpoint"], seen["token_space"], seen["constrained_decoding"]
    return [
        ("path", checkpoint["path"]),
        ("form", f"{checkpoint['form']}, stage {checkpoint['stage']}, step {checkpoint['step']}"),
        ("sha256", checkpoint["sha256"] or "not read"),
        ("token space", f"{space['sha256']} ({space['version']}, {space['created_utc']})"),
        ("ids", f"{space['vocab_size_total']}, of them {space['text_vocab_size']} text"),
        ("unknown keys", ", ".join(space["unknown_keys"]) or "none"),
        ("served", seen["decoding"]),
        ("constrained decoding", f"{constrained['needed']}: {constrained['why']}"),
    ]


def _ranges(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    ranges = sorted(seen["token_space"]["ranges"].items(), key=lambda item: item[1]["start"])
    rows: list[tuple[Any, ...]] = [(name, r["start"], r["end"], r["size"]) for name, r in ranges]
    return rows + [(f"  {name}", token_id, "", "") for name, token_id in seen["token_space"]["special_tokens"].items()]


def _inputs(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(n, "yes" if i["found"] else "no", i["path"] or "") for n, i in seen["inputs"].items()]


def _tasks(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for task, summary in seen["tasks"].items():
        spread = summary.get("expected_media_ids")
        lengths = f"{spread['min']}, {spread['median']:g}, {spread['max']}" if spread else "unknown"
        rows.append((task, summary["n_golden"], lengths, _max_new(summary.get("max_new")), _notes(summary)))
    return rows


def _max_new(max_new: dict[str, Any] | None) -> str:
    if max_new is None:
        return ""
    if max_new["limit"] is None:
        return "none"
    if max_new["suffices"]:
        return f"{max_new['limit']} suffices"
    return f"{max_new['limit']} cuts off {max_new['truncated']}: at least {max_new['needed']}"


def _notes(summary: dict[str, Any]) -> str:
    counted = ("without_length_in_meta", "length_differs_from_meta", "ids_out_of_turn")
    notes = [f"{summary[name]} {name.replace('_', ' ')}" for name in counted if summary.get(name)]
    return "; ".join([*notes, *summary.get("malformed", []), *([summary["problem"]] if "problem" in summary else [])])


def _moved(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    plain = {name: value for name, value in seen["what_moved"].items() if not isinstance(value, list | dict)}
    first = [
        (name, f"{len(value)}: {_brief(value[0])}") for name, value in seen["what_moved"].items() if _entries(value)
    ]
    return [*plain.items(), *first]


def _brief(entry: Any) -> str:
    """An entry without what is nested in it; the JSON object has all."""
    if not isinstance(entry, dict):
        return str(entry)
    return ", ".join(f"{name} {value}" for name, value in entry.items() if not isinstance(value, list | dict))


def _entries(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _missing(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (need["input"], need["option"], f"{need['for']}{', which block promotion' if need['blocks'] else ''}")
        for need in seen["missing"]
    ]


def _log(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    log = seen["log"]
    steps = f"steps {log['first_step']} to {log['last_step']}" if log["has_steps"] else "no steps"
    rows: list[tuple[Any, ...]] = [
        ("file", log["path"]),
        ("records", f"{log['records']} ({log['format']}), {steps}"),
        ("judged as", seen["judged_as"]),
        ("healthy", "yes" if seen["healthy"] else "NO"),
    ]
    if seen["uniform"]:
        references = ", ".join(f"{name} {value:.3f}" for name, value in seen["uniform"].items())
        rows.append(("uniform guessing", f"{references} nats/token"))
    return rows


def _figures(seen: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("n", "first", "first_step", "last", "last_step", "min", "max")
    return [(key, *(_number(figure[name]) for name in names)) for key, figure in seen["figures"].items()]


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
