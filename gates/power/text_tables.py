"""The sections of the gates that judge plain text: P1.4 and S3.5."""

from typing import Literal

from gates.power.asked import Asked
from gates.power.chances import Outcome
from gates.power.needed import Needed
from gates.power.tables import Cell, Row, Section, Table
from gates.power.texts import (
    DEMO_SPREAD,
    MAX_TEXTS,
    UNEVEN_SPREAD,
    TextId,
    TextTrial,
    TextTruth,
    text_chances,
    texts_needed,
)

_SHARES_OF_MARGIN = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # true changes in the tables
_MORE_TEXTS = (1_024, 4_096)  # a small margin needs more than the other gates do
_FINE_SPREAD = 0.03  # of a text of 160 tokens, where 0.11 is that of the demo's of twelve: a guess, 1/root
_SIMULATED_UP_TO = 1_024


def text_section(id: TextId, margin_pct: float, asked: Asked) -> Section:
    """How often a text gate passes and fails by true change and number of texts."""
    spread = asked.text_spread
    whose = f"spread {spread:g} nats/token"
    tables = (
        _chances(id, margin_pct, asked, "passes", f"Chance to pass, %: {whose}"),
        _chances(id, margin_pct, asked, "fails", f"Chance to be rejected, %: {whose}"),
        *(_needed(margin_pct, asked, each) for each in dict.fromkeys((spread, UNEVEN_SPREAD, _FINE_SPREAD))),
    )
    name = {"P1.4": "P1.4 text", "S3.5": "S3.5 text"}[id]
    return Section(id, name, _text(id, margin_pct), tables)


def _chances(id: TextId, margin_pct: float, asked: Asked, outcome: Outcome, title: str) -> Table:
    numbers = tuple(dict.fromkeys([*asked.examples, *_MORE_TEXTS]))
    rows = []
    for truth in _truths(margin_pct, asked.text_spread):
        cells = []
        for n in numbers:
            chances = text_chances(truth, n)
            trial = TextTrial(id, truth, n) if n <= _SIMULATED_UP_TO else None
            cells.append(Cell(chances.passes if outcome == "passes" else chances.fails, outcome, trial))
        rows.append(Row(_about(truth), tuple(cells)))
    return Table(title, ("change, %", "is", *(f"{n:,}" for n in numbers)), tuple(rows))


def _needed(margin_pct: float, asked: Asked, spread: float) -> Table:
    rows = []
    for truth in _truths(margin_pct, spread):
        numbers = [
            _shown(texts_needed(truth, certainty, outcome)) for outcome in _OUTCOMES for certainty in asked.certainties
        ]
        rows.append(Row(_about(truth), tuple(numbers)))
    columns = [f"{kind}, {100 * each:g} %" for kind in ("passes", "is rejected") for each in asked.certainties]
    title = f"Texts that a wanted certainty needs: spread {spread:g} nats/token"
    return Table(title, ("change, %", "is", *columns), tuple(rows))


_OUTCOMES: tuple[Literal["passes", "fails"], ...] = ("passes", "fails")


def _truths(margin_pct: float, spread: float) -> list[TextTruth]:
    return [TextTruth(share * margin_pct, spread, margin_pct) for share in _SHARES_OF_MARGIN]


def _about(truth: TextTruth) -> tuple[str, str]:
    standing = "at the margin" if truth.change_pct == truth.margin_pct else "good" if truth.room > 0 else "bad"
    return f"{truth.change_pct:+g}" if truth.change_pct else "0", standing


def _shown(number: Needed) -> str:
    return number if number == "never" else f"> {MAX_TEXTS:,}" if number == "more" else f"{number:,}"


def _text(id: TextId, margin_pct: float) -> tuple[str, ...]:
    lines = [
        f"Asked for: the whole 95 % interval of the change of the perplexity lies below +{margin_pct:g} %. A change "
        "beyond the margin is rejected; one within it whose interval is not is too few texts to tell. Under --strict "
        "nothing is different.",
        f"What decides is the spread: the standard deviation of the texts' changes, in nats per token. {DEMO_SPREAD:g} "
        f"is the finished demo's, whose 739 texts have 12 tokens on average; {UNEVEN_SPREAD:g} was that of a text set "
        f"of which a twentieth, long and half learnt by heart, carried most; {_FINE_SPREAD:g} is a guess for texts of "
        "hundreds of tokens. Yours follows from any verdict: with an interval of the change from a to b per cent over "
        "n texts it is about √n · (b − a) / 392; give it as --text-spread.",
    ]
    if id == "S3.5":
        lines.append(
            "A stage 3 checkpoint whose new rows alone have moved changes no text logit: its changes are all 0, and "
            "any two texts prove it. The tables are for a checkpoint that is not so; the gate then also fails by its "
            "rule on the logits, which needs no statistics and is left out here."
        )
    return tuple(lines)
