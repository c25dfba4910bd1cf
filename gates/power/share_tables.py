"""The sections of the gates that count outputs: P0.3, P1.1 and P1.3."""

from collections.abc import Sequence

from gates.power.asked import Asked
from gates.power.chances import Outcome
from gates.power.exact import Figure, chances_of_every_n, gate_chances
from gates.power.needed import UP_TO, needed, shown
from gates.power.rule import ShareRule
from gates.power.shares import CollapseTrial, EndTrial, collapse_rule, end_chances
from gates.power.tables import Cell, Row, Section, Table
from gates.stage4.thresholds import Stage4Thresholds
from harness.examples import WRITE_TASKS
from harness.looks import Looks

_UNDECODED = (0.001, 0.005, 0.01, 0.02, 0.05)  # true shares of outputs
_COLLAPSED = (0.01, 0.02, 0.05, 0.075, 0.10, 0.125, 0.15, 0.20, 0.30)
_ENDING = (0.0, 0.005, 0.01, 0.02, 0.05, 0.10)
_CHANGES = (0.05, 0.0, -0.05, -0.10, -0.20, -0.30)
_BEFORE = (0.90, 0.50)
_STEP, _MOST = 32, 4_096  # of the numbers of prompts that are tried for a fall; each takes its time


def decode_section(thresholds: Stage4Thresholds, asked: Asked) -> Section:
    """How often P0.3 misses that some outputs do not decode."""
    rule = ShareRule(thresholds.min_decode_success_pct / 100)
    rows, numbers = [], []
    for share in _UNDECODED:
        tasks = [[Figure(rule, 1 - share)]] * len(WRITE_TASKS)
        found = [gate_chances(tasks, Looks((n,))) for n in asked.examples]
        rows.append(Row((f"{share:.1%}",), tuple(Cell(each.passes) for each in found)))
        fails = chances_of_every_n(tasks, UP_TO)[1]
        least = [shown(needed(fails, each, ever=1 - share < rule.bound)) for each in asked.certainties]
        numbers.append(Row((f"{share:.1%}",), tuple(least)))
    text = (
        f"Asked for: {thresholds.min_decode_success_pct:g} % of the outputs of each task decode. No interval is asked "
        "for, so that a rare fault shows only if one of the prompts meets it. P0.2 allows no id out of range in any "
        "output, and is as blind to what is rarer; read the table for it as the share of outputs with such an id.",
    )
    title = "Chance to pass, %: so many outputs of each task do not decode"
    return Section("P0.3", "P0.3 decode, and P0.2", text, (
        Table(title, ("do not decode", *_columns(asked)), tuple(rows)),
        Table("Prompts a task that a wanted certainty needs", ("do not decode", *_needed_columns(asked, ("fails",))),
              tuple(numbers)),
    ))  # fmt: skip


def collapse_section(thresholds: Stage4Thresholds, asked: Asked) -> Section:
    """How often P1.3 passes by the true share of outputs that collapse in one way."""
    rule, tables = collapse_rule(thresholds), []
    for outcome, title in _TITLES:
        rows = [
            Row(
                (f"{share:.1%}", _standing(share, thresholds.max_collapsed_share)),
                tuple(_collapse_cell(thresholds, share, n, outcome) for n in asked.examples),
            )
            for share in _COLLAPSED
        ]
        tables.append(Table(f"{title}: one kind of collapse in one task", ("collapsed", "is", *_columns(asked)),
                            tuple(rows)))  # fmt: skip
    numbers = [
        _numbers_row(
            [[Figure(rule, 1 - share)]],
            (f"{share:.1%}", _standing(share, thresholds.max_collapsed_share)),
            rule,
            1 - share,
            asked,
        )
        for share in _COLLAPSED
    ]
    columns = ("collapsed", "is", *_needed_columns(asked))
    tables.append(Table("Prompts a task that a wanted certainty needs", columns, tuple(numbers)))
    n, most = thresholds.generation_examples, thresholds.max_collapsed_share
    text = (
        f"Asked for: at most {100 * most:g} % of the outputs collapse in any one way. The gate writes for "
        f"{n} golden prompts a task. The tables are of a single kind in a single task, all others being sound; what "
        "counts as collapsed is held against real media, and may itself misjudge an output: that is not in here, nor "
        "are near duplicates and the entropy of the codes, which are no shares of independent outputs.",
    )
    return Section("P1.3", "P1.3 fingerprints", text, tuple(tables))


def end_section(thresholds: Stage4Thresholds, asked: Asked) -> Section:
    """How often P1.1 passes by the true share that ends, now and at the checkpoint before."""
    truths: list[tuple[float | None, float]] = [(None, now) for now in _ENDING]
    truths += [(before, round(before + change, 3)) for before in _BEFORE for change in _CHANGES]
    rows, numbers = [], []
    for before, now in truths:
        about = ("–" if before is None else f"{before:.0%}", f"{now:.1%}")
        cells = [
            Cell(end_chances(thresholds, before, now, n).passes, trial=EndTrial(thresholds, before, now, n))
            for n in asked.examples
        ]
        rows.append(Row(about, tuple(cells)))
        if before is not None and now < before:
            numbers.append(Row(about, tuple(_prompts(thresholds, before, now, each) for each in asked.certainties)))
    title = "Chance to pass, %: shares that end, of both tasks, at the checkpoint before and now; the rest is warned of"
    columns = [f"is warned of, {100 * each:g} %" for each in asked.certainties]
    text = (
        "Asked for: some sequence ends by itself, and the share has not provably fallen since the checkpoint before "
        "(as many prompts, of both tasks). Where there is no checkpoint before (–), only the first rule applies. Rows "
        "in which nothing has fallen show how often a sound checkpoint is warned of: at most about 5 % for two tasks, "
        "whatever the number of prompts.",
    )
    needs = f"Prompts a task that a wanted certainty of a warning needs, to the next {_STEP}"
    return Section("P1.1", "P1.1 end tokens", text, (
        Table(title, ("before", "now", *_columns(asked)), tuple(rows)),
        Table(needs, ("before", "now", *columns), tuple(numbers)),
    ))  # fmt: skip


_TITLES: tuple[tuple[Outcome, str], ...] = (("passes", "Chance to pass, %"), ("fails", "Chance to be warned of, %"))


def _collapse_cell(thresholds: Stage4Thresholds, share: float, n: int, outcome: Outcome) -> Cell:
    chances = gate_chances([[Figure(collapse_rule(thresholds), 1 - share)]], Looks((n,)))
    chance = chances.passes if outcome == "passes" else chances.fails
    return Cell(chance, outcome, CollapseTrial(thresholds, share, n))


def _standing(share: float, most: float) -> str:
    return "at the threshold" if share == most else "good" if share < most else "bad"


def _numbers_row(
    tasks: Sequence[Sequence[Figure]], about: tuple[str, ...], rule: ShareRule, good: float, asked: Asked
) -> Row:
    passes, fails = chances_of_every_n(tasks, UP_TO)
    better, worse = good > rule.least_good, good < rule.least_good
    numbers = [
        shown(needed(chance, certainty, ever=ever))
        for chance, ever in ((passes, better), (fails, worse))
        for certainty in asked.certainties
    ]
    return Row(about, tuple(numbers))


def _prompts(thresholds: Stage4Thresholds, before: float, now: float, certainty: float) -> str:
    """The least multiple of some prompts at which a fall is warned of with a certainty."""

    def enough(steps: int) -> bool:
        return end_chances(thresholds, before, now, steps * _STEP).fails >= certainty

    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high * _STEP > _MOST:
            return f"> {_MOST:,}"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return f"{high * _STEP:,}"


def _columns(asked: Asked) -> list[str]:
    return [f"{n:,}" for n in asked.examples]


def _needed_columns(asked: Asked, kinds: Sequence[str] = ("passes", "is warned of")) -> list[str]:
    return [f"{kind}, {100 * each:g} %" for kind in kinds for each in asked.certainties]
