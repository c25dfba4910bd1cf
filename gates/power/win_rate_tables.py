"""The sections of the gates that judge win rates: P0.4, P1.2, S3.4."""

from dataclasses import dataclass, replace

from gates.power.ablations import AblationGate, AblationId, AblationTrial, Thresholds, Truth, ablation_gate
from gates.power.asked import Asked
from gates.power.chances import Outcome
from gates.power.exact import chances_of_every_n, gate_chances
from gates.power.needed import UP_TO, needed, shown
from gates.power.rule import ShareRule, bounds
from gates.power.tables import Cell, Row, Section, Table
from harness.looks import Looks

SHUFFLED = "shuffled"  # the condition that is the hardest to win: every gate has it


@dataclass(frozen=True)
class _Scenario:
    """Whose win rate the rows' is.

    Attributes:
        truth: the same with any win rate.
        says: in words.
        whole: whether every table is made of it and simulated, or only how often it passes and what that needs.
    """

    truth: Truth
    says: str
    whole: bool = True


def win_rate_section(id: AblationId, thresholds: Thresholds, asked: Asked) -> Section:
    """How often an ablation gate passes and fails by true win rate and number of examples."""
    gate = ablation_gate(id, thresholds)
    tables: list[Table] = []
    for scenario in _scenarios(gate):
        says, passes = scenario.says, _chances(id, thresholds, asked, scenario, "passes")
        tables.append(Table(f"Chance to pass, %: {says}", *passes))
        if scenario.whole:
            fails = _chances(id, thresholds, asked, scenario, "fails")
            strict = _chances(id, thresholds, asked, scenario, "passes", strict=True)
            tables.append(Table(f"Chance to be rejected, %: {says}", *fails))
            tables.append(Table(f"Chance to pass under --strict, %: {says}", *strict))
        tables.append(Table(f"Examples a task that a wanted certainty needs: {says}", *_needed(gate, asked, scenario)))
    return Section(id, f"{id} {gate.criterion.name.replace('_', ' ')}", _text(gate, asked), tuple(tables))


def _scenarios(gate: AblationGate) -> tuple[_Scenario, ...]:
    against = f"w is the win rate against {SHUFFLED} {media(gate)}"
    return (
        _Scenario(Truth(0, SHUFFLED), f"{against}, in both tasks; every other one is 1"),
        _Scenario(Truth(0), "w is the win rate under every condition, in both tasks"),
        _Scenario(Truth(0, SHUFFLED, True), f"{against}, in {gate.tasks[0]} alone; every other one is 1", whole=False),
    )


def media(gate: AblationGate) -> str:
    """What it ablates, in the plural."""
    return "prompts" if gate.what == "prompt" else gate.what


def designs(gate: AblationGate, asked: Asked) -> list[Looks]:
    """How many examples there are: a single look at each number asked for, then the looks that the gate plans."""
    single = [Looks((n,)) for n in asked.examples]
    planned = [gate.looks(n) for n in gate.further]
    return list(dict.fromkeys([*single, *planned]))


_Grid = tuple[tuple[str, ...], tuple[Row, ...]]  # columns and rows


def _chances(
    id: AblationId,
    thresholds: Thresholds,
    asked: Asked,
    scenario: _Scenario,
    outcome: Outcome,
    *,
    strict: bool = False,
) -> _Grid:
    gate, rows = ablation_gate(id, thresholds), []
    for truth in _truths(scenario, asked):
        cells = []
        for looks in designs(gate, asked):
            chances = gate_chances(gate.figures(truth, strict=strict), looks)
            trial = AblationTrial(id, thresholds, truth, looks, asked.correlation)
            chance = chances.passes if outcome == "passes" else chances.fails
            cells.append(Cell(chance, outcome, trial if scenario.whole and not strict else None))
        rows.append(Row(_about(gate, truth), tuple(cells)))
    return ("w", "is", *(_sizes(looks) for looks in designs(gate, asked))), tuple(rows)


def _needed(gate: AblationGate, asked: Asked, scenario: _Scenario) -> _Grid:
    rows = []
    for truth in _truths(scenario, asked):
        passes, fails = chances_of_every_n(gate.figures(truth), UP_TO)
        proven, _ = chances_of_every_n(gate.figures(truth, strict=True), UP_TO)
        good, bad = truth.win_rate > _least(gate, truth), truth.win_rate < _least(gate, truth)
        numbers = [
            shown(needed(chance, certainty, ever=ever))
            for chance, ever in ((passes, good), (proven, good), (fails, bad))
            for certainty in asked.certainties
        ]
        rows.append(Row(_about(gate, truth), tuple(numbers)))
    kinds = ("passes", "passes --strict", "is rejected")
    return ("w", "is", *(f"{kind}, {100 * each:g} %" for kind in kinds for each in asked.certainties)), tuple(rows)


def _truths(scenario: _Scenario, asked: Asked) -> list[Truth]:
    return [replace(scenario.truth, win_rate=w) for w in asked.win_rates]


def _least(gate: AblationGate, truth: Truth) -> float:
    """What the row's win rate must reach: the highest of those asked of the conditions that have it."""
    return max(
        each for name, each in gate.min_win_rates.items() if each is not None and truth.condition in (None, name)
    )


def _about(gate: AblationGate, truth: Truth) -> tuple[str, str]:
    w, least = truth.win_rate, _least(gate, truth)
    return f"{w:.2f}", "at the threshold" if w == least else "good" if w > least else "bad"


def _sizes(looks: Looks) -> str:
    return ", then ".join(f"{n:,}" for n in looks.sizes)


def _text(gate: AblationGate, asked: Asked) -> tuple[str, ...]:
    n = gate.recommended_n
    asks = ", ".join(
        f"{least:g} ({name} {media(gate)})" for name, least in gate.min_win_rates.items() if least is not None
    )
    lines = [
        f"Asked for: win rates of {asks}, in {gate.tasks[0]} and in {gate.tasks[1]}; all of them have to pass. "
        f"{n} examples a task are recommended."
    ]
    small = [each for each in asked.examples if each < n]
    if small:
        rule = ShareRule(gate.min_win_rates[SHUFFLED] or 0.0, n)
        first = bounds(rule, small[0], Looks((small[0],)).level)
        lines.append(
            f"With {small[0]} examples, which are fewer, a win rate passes against {SHUFFLED} {media(gate)} from "
            f"{first.passes_from} wins on, where its interval lies above {rule.bound:g}; it is rejected below "
            f"{first.not_failed_from}; between them there are too few to tell."
        )
    return tuple(lines)
