"""What the ablation gates share: how media are judged, and what is kept beside the judgements."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gates.gate import Accept
from harness import statistics
from harness.ablation import NULL_CONTROL_EXAMPLES, Ablation
from harness.looks import Looks
from harness.results import Measurement


@dataclass(frozen=True)
class MediaRule:
    """What destroying the media in one way must do to the loss of the text.

    Attributes:
        min_win_rate: share of examples whose own media give the lower loss; None where only the gap is judged.
        min_gap_nats, min_gap_pct: mean Δ in nats per token, or in percent of the correct loss: either will do, because
            a model with a low loss has few nats to lose. Both None: any Δ above 0.
    """

    min_win_rate: float | None = None
    min_gap_nats: float | None = None
    min_gap_pct: float | None = None


class MediaThresholds(Protocol):
    """The numbers that both stages have for destroyed media."""

    min_win_rate_shuffled_media: float
    min_gap_shuffled_media_nats: float
    min_gap_shuffled_media_pct: float
    min_win_rate_noise_media: float
    min_gap_noise_media_nats: float
    min_gap_noise_media_pct: float


def media_rules(thresholds: MediaThresholds, constant: MediaRule) -> dict[str, MediaRule]:
    """What each way to destroy the media must do to the loss of the text; `constant` media differ by stage."""
    destroyed = MediaRule(
        min_win_rate=thresholds.min_win_rate_shuffled_media,
        min_gap_nats=thresholds.min_gap_shuffled_media_nats,
        min_gap_pct=thresholds.min_gap_shuffled_media_pct,
    )
    noise = MediaRule(
        min_win_rate=thresholds.min_win_rate_noise_media,
        min_gap_nats=thresholds.min_gap_noise_media_nats,
        min_gap_pct=thresholds.min_gap_noise_media_pct,
    )
    return {"shuffled": destroyed, "swapped": destroyed, "noise": noise, "constant": constant}


def judge_media_ablation(
    accept: Accept, draws: statistics.Draws, measured: Ablation, look: Looks, rules: dict[str, MediaRule], n: int
) -> None:
    """Hold every condition of a read task against its rule; `n` examples are recommended."""
    for name, rule in rules.items():
        task, paired = measured.task, measured.pair(name)
        wins = statistics.win_rate(f"{task}.win_rate_{name}", paired, look.level)
        gap = statistics.mean_gap(f"{task}.delta_{name}", paired, draws.rng("bootstrap", task, name), look.level)
        if rule.min_win_rate is None:
            accept.report(wins)
        else:
            accept(wins, at_least=rule.min_win_rate, recommended_n=n)
        if rule.min_gap_nats is None or rule.min_gap_pct is None:
            accept(gap, above=0)
            continue
        rng = draws.rng("bootstrap", task, name)
        in_pct = statistics.relative_gap(f"{task}.delta_{name}_pct", paired, rng, look.level)
        accept.either([(gap, rule.min_gap_nats), (in_pct, rule.min_gap_pct)], recommended_n=n)


def judge_null_control(accept: Accept, measured: Ablation) -> None:
    """Ablating nothing must change nothing: the same inputs scored twice give bit-equal losses."""
    n = min(NULL_CONTROL_EXAMPLES, len(measured.examples))
    accept(Measurement(name=f"{measured.task}.null_gap", value=measured.null_gap, unit="nats/token", n=n), exactly=0)
    # Too large a gap of the canary is an error long before this: what is reported here is within the tolerance.
    canary = Measurement(name=f"{measured.task}.canary_gap", value=measured.canary_gap, unit="nats/token", n=1)
    accept.report(canary)


def keep_losses(accept: Accept, measured: Ablation, what: str) -> None:
    """Hand the report the losses of every condition, also by source; `what` was ablated: prompt or media."""
    for name in _ablated(measured):
        paired = measured.pair(name)
        accept.details.setdefault("pairs", {})[f"{measured.task}: {name} {what}"] = {
            "correct": paired.correct.tolist(),
            "ablated": paired.ablated.tolist(),
            # Which examples share media and are no independent items: `gates compare` draws media, not examples.
            "media": np.unique(paired.clusters, return_inverse=True)[1].tolist(),
        }
        _name_losers(accept, measured, name, what)
    means = {name: float(each.nll.mean()) for name, each in measured.scores.items()}
    accept.details.setdefault("losses", {})[measured.task] = means
    if measured.from_dev:
        accept.note(f"{measured.task}: {measured.from_dev} examples came from the dev set")
    n_media = len(set(measured.media))
    if n_media < len(measured.examples):
        accept.note(
            f"{measured.task}: {len(measured.examples)} examples share {n_media} media; intervals count the media"
        )
    tabulate_sources(accept, measured)


def _name_losers(accept: Accept, measured: Ablation, name: str, what: str) -> None:
    """Of the examples that do not win under a judged condition: the one with the shortest text, and the worst one."""
    judged = {f"{measured.task}.{figure}_{name}" for figure in ("win_rate", "delta")}
    gaps, index = measured.pair(name).gaps, measured.index[name]
    losers = [(measured.examples[index[i]], float(gaps[i])) for i in np.flatnonzero(~(gaps > 0))]
    if not losers or not any(m.op and m.name in judged for m in accept.measurements):
        return
    shortest = min(losers, key=lambda each: (len(each[0].text or ""), each[0].id))
    worst = min(losers, key=lambda each: (each[1], each[0].id))
    for example, gap in {each[0].id: each for each in (shortest, worst)}.values():
        note = f"{measured.task}, {name} {what}: Δ {gap:.3g} nats/token, so that its own {what} does not help"
        accept.details.setdefault("worst", []).append({"id": example.id, "prompt": example.text or "", "note": note})


def tabulate_sources(accept: Accept, measured: Ablation) -> None:
    """A row for every source: its examples, and win rate and Δ under every condition."""
    names = _ablated(measured)
    rows: dict[str, list[str | float | None]] = {}
    for source, paired in measured.pair("correct").by_source().items():
        rows[source] = [source, len(paired.correct)]
    for name in names:
        of_source = measured.pair(name).by_source()
        for source, row in rows.items():
            # A condition may be unable to change any example of a source.
            there = of_source.get(source)
            row += [there.win_share, there.mean_gap] if there else [None, None]
    accept.table(
        f"{measured.task} by source",
        ["source", "n", *(f"{name}: {figure}" for name in names for figure in ("win rate", "Δ"))],
        list(rows.values()),
        note="Win rate as a share of the examples, Δ in nats per token. Reported, not judged.",
    )


def _ablated(measured: Ablation) -> list[str]:
    return [name for name in measured.scores if name != "correct"]
