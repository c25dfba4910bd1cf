"""What a run found: the table, what is wrong, and docs/mutants.md."""

from collections.abc import Mapping
from pathlib import Path

from tests.mutants.names import Mutant
from tests.mutants.plan import ROOT, TARGET_PCT, Plan
from tests.mutants.reasons import Reason
from tests.mutants.sessions import Tally

PAGE = ROOT / "docs" / "mutants.md"
Tallies = Mapping[str, Tally]

INTRODUCTION = Path(__file__).with_name("introduction.md")


def table(tallies: Tallies) -> str:
    """A row for every module, and one for all."""
    head = "| module | mutants | tested | killed | survived | killed, % of the tested |"
    rows = [head, "|---|---|---|---|---|---|"]
    for module, tally in tallies.items():
        share = f"{100 * tally.killed / tally.done:.1f}" if tally.done else "–"
        counts = f"{tally.n} | {tally.done} | {tally.killed} | {len(tally.survivors)}"
        rows.append(f"| {module} | {counts} | {share} |")
    n, done, killed, lived = (sum(each) for each in zip(*map(_counts, tallies.values()), strict=True))
    share = f"{100 * killed / max(1, done):.1f}"
    rows.append(f"| **all** | **{n:,}** | **{done:,}** | **{killed:,}** | **{lived}** | **{share}** |")
    return "\n".join(rows)


def _counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.n, tally.done, tally.killed, len(tally.survivors)


def failures(tallies: Tallies, target_pct: float) -> list[str]:
    """What a run has to be red for."""
    found = []
    n, killed = sum(each.n for each in tallies.values()), sum(each.killed for each in tallies.values())
    if 100 * killed < target_pct * n:
        found.append(f"{100 * killed / n:.1f} % of the mutants were killed, asked for {target_pct:g} %")
    for module, tally in tallies.items():
        if tally.done < tally.n:
            found.append(f"{module}: {tally.n - tally.done} mutants were not tested; run again")
    return found


def complaints(tallies: Tallies, reasons: tuple[Reason, ...]) -> list[str]:
    """Survivors that nobody has given a reason for, and reasons that have no survivor any more."""
    found = []
    for module, tally in tallies.items():
        found += [
            f"{module}:{each.line}: no reason for {each.name}"
            for each in tally.survivors
            if not any(reason.explains(each) for reason in reasons)
        ]
        found += [
            f"{module}: reasons.toml speaks of {name}, which does not survive"
            for reason in reasons
            for name in reason.gone(module, tally.survivors)
        ]
    return found


def write_page(plan: Plan, tallies: Tallies, reasons: tuple[Reason, ...]) -> None:
    """Write docs/mutants.md."""
    skipped: dict[str, int] = {}
    for tally in tallies.values():
        for why, n in tally.left_out.items():
            skipped[why] = skipped.get(why, 0) + n
    n, done = (sum(each) for each in zip(*((t.n, t.done) for t in tallies.values()), strict=True))
    sample = "" if done == n else f" {done:,} of {n:,} were tested so far: a module without a figure was not reached."
    parts = [
        INTRODUCTION.read_text(encoding="utf-8").rstrip(),
        f"## What became of them\n\nAsked for: {TARGET_PCT:g} % killed.{sample}\n\n{table(tallies)}",
        "## What is not mutated\n\n" + "\n".join(
            [*(f"- `{path}`: {why}" for path, why in plan.left_out.items()),
             *(f"- {why}: {n:,} mutants of the modules above" for why, n in sorted(skipped.items()))]),
        "## Survivors, and why each is harmless",
        *(_survivors(module, tally.survivors, reasons) for module, tally in tallies.items() if tally.survivors),
    ]  # fmt: skip
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _survivors(module: str, survivors: tuple[Mutant, ...], reasons: tuple[Reason, ...]) -> str:
    lines, listed = [f"### {module}"], set[str]()
    for reason in reasons:
        explained = [each for each in survivors if reason.explains(each) and each.name not in listed]
        listed |= {each.name for each in explained}
        if explained:
            lines.append("\n".join([f"{reason.why}\n", *(f"- {_code(each)}" for each in explained)]))
    left = [each for each in survivors if each.name not in listed]
    if left:
        lines.append("\n".join(["**No reason is given yet.**\n", *(f"- {_code(each)}" for each in left)]))
    return "\n\n".join(lines)


def _code(mutant: Mutant) -> str:
    return f"line {mutant.line}, `{mutant.name.replace('`', '’')}`"
