"""docs/faults.md: the catalogue, and what became of it: python -m gates.selftest.document PAGE SELFTEST.json …"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.faults.catalogue import FAULTS, HARMLESS
from harness.faults.fault import Fault
from harness.files import read_json, write_text

GATES = tuple(sorted({gate for fault in FAULTS for gate in fault.gates}))
_INTRODUCTION = """# Faults that the gates catch

Written by `make catalogue`; do not edit by hand.

A gate that never failed proves nothing. Each entry below is planted on disk, in a copy of a trained checkpoint or of
what it is judged by, and the stage's gates are run on the copy. It counts as caught when the gate that is named here is
red, says the reason and prints the advice that the entry asks for, and no other P0 gate ended with an exception that
nobody foresaw. Harmless changes must leave every gate as it is.

`gates selftest CKPT` does the same on a checkpoint of yours, with your thresholds:

```
gates selftest outputs/run/checkpoint_2000 --thresholds ours.toml      # which faults would get through?
gates selftest outputs/run/checkpoint_2000 --gate P0.4                 # how far may its thresholds be loosened?
```

The checkpoint is only read: small files are copied, large ones share their bytes (reflinks or hard links). It exits 0
when every fault that applies is caught and nothing harmless is taken for one, 1 when not, 10 when a gate is red without
any fault, so that its faults cannot be told. `--max-examples N` says on how many examples a task: 64 by default, 0 for
all.
Faults that leave weights and examples alone cost no forward pass.

In brackets stands where a fault was seen: a row of the project's list of faults in the wild (domain.md).
"""


def document(records: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The page, from self-tests: (name of the checkpoint, its JSON object)."""
    parts = [_INTRODUCTION, _results(records), *map(_of_gate, GATES), _harmless()]
    return "\n".join(parts)


def catalogue_of_page(page: str) -> set[str]:
    """The entries that a page lists."""
    return {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ") and "-" in line[:40]}


def _results(records: Sequence[tuple[str, dict[str, Any]]]) -> str:
    lines = [
        "\n## What was caught\n",
        "| checkpoint | stage | faults planted | caught | got through | misnamed | crashed | no place for | harmless "
        "changes | false alarms | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, seen in records:
        counts = seen["counts"]
        places = sum(each["ending"] == "no place" for each in seen["faults"])
        alarms, harmless = counts.get("false alarm", 0), counts.get("harmless", 0)
        cells = [
            name, seen["stage"], len(seen["faults"]) - places, counts.get("caught", 0), counts.get("got through", 0),
            counts.get("misnamed", 0), counts.get("crashed", 0), places, harmless + alarms, alarms,
            f"{seen['duration_s'] / 60:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    subtle = sum(fault.subtle for fault in FAULTS)
    mended = sum(fault.fix is not None for fault in FAULTS)
    lines.append(
        f"\n{len(FAULTS)} faults, {subtle} of them subtle (a bit, a row, a shard, an example), and {len(HARMLESS)} "
        f"harmless changes. For {mended} faults, marked *, what the advice says is also done to the broken copy, by a "
        "program, and the gate is green then. A fault has no place in a checkpoint that lacks what it breaks: a "
        "head of its own, say.\n"
    )
    return "\n".join(lines)


def _of_gate(gate: str) -> str:
    lines = [f"\n## {gate}\n", "| fault | what it imitates | in | | advice that is printed |", "|---|---|---|---|---|"]
    lines += [_row(fault) for fault in FAULTS if gate in fault.gates]
    return "\n".join(lines)


def _row(fault: Fault) -> str:
    name = fault.name + (" *" if fault.fix else "")
    size = "subtle" if fault.subtle else "gross"
    source = f" ({fault.source})" if fault.source != "ours" else ""
    cells = (name, fault.imitates + source, fault.artifact, size, f"… {fault.advice} …")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _harmless() -> str:
    lines = ["\n## Harmless changes\n", "| change | what | in |", "|---|---|---|"]
    lines += [f"| {change.name} | {change.what} | {change.artifact} |" for change in HARMLESS]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write the page from self-tests below folders that are named after their checkpoints."""
    out, *files = map(Path, arguments)
    records = [(file.parent.parent.name, read_json(file)) for file in files]
    write_text(out, document(records))


if __name__ == "__main__":
    main(sys.argv[1:])
