"""The page: what power is, how to read the tables, a worked example, and the sections of the gates."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gates.power.asked import Asked
from gates.power.chances import Counts
from gates.power.example import worked_example
from gates.power.share_tables import collapse_section, decode_section, end_section
from gates.power.tables import Section, section_json, table_markdown
from gates.power.text_tables import text_section
from gates.power.trial import Runs, Trial
from gates.power.win_rate_tables import win_rate_section
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4.thresholds import Stage4Thresholds
from gates.thresholds import changed_from_spec
from harness.progress import Listener, silent, track

GATES = ("P0.4", "S3.4", "P1.2", "P1.4", "S3.5", "P1.1", "P1.3", "P0.3")
FORMAT = "gate-power/1"
_WIDTH = 120

INTRODUCTION = (
    "A gate sees some examples of all that a checkpoint will meet. It can be unlucky: a good checkpoint may be turned "
    "away, and a bad one let through. This page says how often, for every gate that judges by counting or averaging "
    "examples, so that you know how many examples to hold ready before you believe a verdict.",
    "Gates that compare bits (bundle, identity, parameters, held out) are always right about what they compare, and "
    "have no power to speak of. P1.5 and S3.6 judge a log.",
)
HOW_TO_READ = (
    "A row is a truth that nobody knows: the share of all possible examples that the checkpoint would win. A column is "
    "a number of held-out examples a task, no two of which share media (those that do tell less). A cell is the "
    "chance, in per cent, that the gate ends as the table's title says; in brackets, where there are any, what "
    "simulated checkpoints gave, and its standard error.",
    "“256, then 512” is what the gate does where the golden set holds 256 and dev holds more: it measures the rest "
    "only where a figure is borderline, and its intervals are wider for it. A single number is a golden set of that "
    "size, and nothing more.",
    "Rows marked good are checkpoints that should pass: the chance that they do not is what you lose. Rows marked bad "
    "should not: their chance to pass is the risk that a bad checkpoint is promoted. Near the threshold the two meet, "
    "and no number of examples helps; that is why “never” stands there. In rows at the threshold, a figure passes as "
    "often as a coin falls heads, and several of them must.",
    "What neither passes nor is rejected has too few examples to tell: of a P0 gate (P0.4, S3.4, S3.5) the verdict is "
    "then INCOMPLETE. That happens with fewer examples than are recommended, and under --strict. A P1 gate blocks "
    "nothing: what it does not pass is a warning.",
    "Examples that a certainty needs are those of a single look: the least number from which on the chance is at "
    "least so high.",
)
COMPUTED = (
    "Computed numbers are exact binomial probabilities over the counts that the gate's own `accept` passes, fails or "
    "leaves open; all tasks and conditions must pass. They take the conditions of a task as independent of each other, "
    "and leave out what is asked of gaps (Δ) beside the win rates. For text they are those of the noncentral t "
    "distribution.",
)


@dataclass(frozen=True)
class Page:
    """What is to be shown.

    Attributes:
        sections: of the gates.
        asked: what of them.
        runs: how it was simulated.
        changed: thresholds that are not the spec's.
        stage4: the thresholds of the worked example; None where it has none.
    """

    sections: tuple[Section, ...]
    asked: Asked
    runs: Runs
    changed: dict[str, Any]
    stage4: Stage4Thresholds | None


def build_page(
    gates: Sequence[str],
    stage3: Stage3Thresholds | None,
    stage4: Stage4Thresholds | None,
    asked: Asked,
    runs: Runs,
    listener: Listener = silent,
) -> Page:
    """Compute the sections of some gates; of a stage without thresholds there are none."""
    chosen = [gate for gate in GATES if gate in gates]
    sections = [_section(gate, stage3, stage4, asked) for gate in track(chosen, len(chosen), "computing", listener)]
    changed = {name: each for stage in (stage3, stage4) if stage for name, each in changed_from_spec(stage).items()}
    example = stage4 if "P0.4" in gates else None
    return Page(tuple(each for each in sections if each), asked, runs, changed, example)


def _section(
    gate: str, stage3: Stage3Thresholds | None, stage4: Stage4Thresholds | None, asked: Asked
) -> Section | None:
    of_stage3: dict[str, Callable[[Stage3Thresholds], Section]] = {
        "S3.4": lambda t: win_rate_section("S3.4", t, asked),
        "S3.5": lambda t: text_section("S3.5", t.max_text_perplexity_rise_pct, asked),
    }
    of_stage4: dict[str, Callable[[Stage4Thresholds], Section]] = {
        "P0.4": lambda t: win_rate_section("P0.4", t, asked),
        "P1.2": lambda t: win_rate_section("P1.2", t, asked),
        "P1.4": lambda t: text_section("P1.4", t.max_text_perplexity_rise_pct, asked),
        "P1.1": lambda t: end_section(t, asked),
        "P1.3": lambda t: collapse_section(t, asked),
        "P0.3": lambda t: decode_section(t, asked),
    }
    if gate in of_stage3:
        return of_stage3[gate](stage3) if stage3 else None
    return of_stage4[gate](stage4) if stage4 else None


def markdown(page: Page, simulated: Mapping[Trial, Counts], command: str) -> str:
    """The page in Markdown."""
    parts = ["# The gates' power", f"Written by `{command}`; do not edit.", *map(_filled, INTRODUCTION)]
    if page.changed:
        changed = ", ".join(f"{name} {each['used']} (spec: {each['spec']})" for name, each in page.changed.items())
        parts.append(_filled(f"Thresholds that are not the spec's: {changed}."))
    parts += ["## How to read it", *map(_filled, HOW_TO_READ)]
    if page.stage4 is not None:
        parts += ["## A worked example", *map(_filled, worked_example(page.stage4))]
    for section in page.sections:
        parts += [f"## {section.title}", *map(_filled, section.text)]
        parts += [table_markdown(table, simulated) for table in section.tables]
    parts += ["## How it was computed and simulated", *map(_filled, (*COMPUTED, *_simulation(page.asked, page.runs)))]
    return "\n\n".join(parts) + "\n"


def as_json(page: Page, simulated: Mapping[Trial, Counts]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "format": FORMAT,
        "thresholds_changed": page.changed,
        "simulations": page.runs.n,
        "seed": page.runs.seed,
        "sections": [section_json(section, simulated) for section in page.sections],
    }


def _simulation(asked: Asked, runs: Runs) -> tuple[str, ...]:
    if not runs.n:
        return ("Nothing was simulated: --simulations N puts simulated numbers in brackets behind the computed ones.",)
    return (
        f"Numbers in brackets were simulated: {runs.n:,} checkpoints a cell (seed {runs.seed}), with one standard "
        "error. The losses of each were drawn from a model, and judged by the gate's own code: win rates, bootstrap "
        "intervals, either-or rules, looks and verdict. Passing and rejection of a cell are of the same draws.",
        "The model: gaps of examples are normal, with the true win rate w of the row and a standard deviation as "
        "measured on the finished demo (0.45 nats/token against shuffled prompts, 0.14 against empty ones, 0.38 to "
        "0.48 for media); where every example wins, the mean gap is four standard deviations. Correct losses are "
        "gamma-distributed with the demo's mean and spread (t2a 0.37, t2i 1.91, a2t 0.03, i2t 0.04 nats/token). Gaps "
        f"of an example under two conditions have correlation {asked.correlation:g} (the demo: -0.05 to 0.39; "
        "--correlation). Changes of texts are normal with the stated spread. Bootstraps take 100 resamples instead of "
        "5,000, for text 1,000: the ends of single intervals waver more for it, the chances hardly.",
        "A gap has to be positive as well, and one Δempty at least 0.10. That can only add rejections to what was "
        "computed. With the demo's spread and the spec's numbers it adds them in one place: a checkpoint that wins "
        "less than 0.76 against empty prompts has a true Δempty below 0.10, so that P0.4 rejects it by its gap where "
        "64 examples leave its win rates open.",
    )


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False)
