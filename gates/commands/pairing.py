"""Which per-example losses of two verdicts belong together, and what they say about the checkpoints' difference."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.comparison import (
    Difference,
    PairedLosses,
    mcnemar,
    paired_differences,
    resamples,
    win_rate_difference,
)
from harness.results import Measurement, Verdict
from reports.comparison import MeasureChange

SEED = 0  # of the resamples: the same verdicts give the same intervals
MAX_EXAMPLES = 20_000  # of a condition; more are not paired, so that memory stays bounded
EXAMPLE_SETS = ("golden", "dev")
_NAME = re.compile(r"(?P<task>\w+): (?P<condition>\w+) (?:prompt|media)")  # as gates.ablation.keep_losses writes it
Key = tuple[str, str]  # gate id, name of the measure


@dataclass(frozen=True)
class Pairing:
    """The losses that belong together: (gate id, task, condition) -> losses of both."""

    losses: dict[tuple[str, str, str], PairedLosses] = field(default_factory=dict)
    because: tuple[str, ...] = ()  # why nothing is paired
    caveats: tuple[str, ...] = ()

    def differences(self, levels: tuple[float, ...]) -> dict[Key, Difference]:
        """The paired differences of win rates, Δ and own loss, by gate and name of the measure."""
        found: dict[Key, Difference] = {}
        weights: dict[int, np.ndarray] = {}
        for (gate, task, condition), losses in self.losses.items():
            n = losses.n_clusters
            if n not in weights:
                weights[n] = resamples(n, np.random.default_rng([SEED, n]))
            of_losses = paired_differences(losses, weights[n], levels)
            found[gate, f"{task}.delta_{condition}"] = of_losses["delta"]
            found[gate, f"{task}.delta_{condition}_pct"] = of_losses["delta_pct"]
            found[gate, f"{task}.win_rate_{condition}"] = win_rate_difference(losses, levels)
            # The condition that covers most examples says it: some cannot change every one.
            if losses is self._widest(gate, task):
                found[gate, _own_loss(task)] = of_losses["loss"]
        return found

    def own_losses(self, differences: dict[Key, Difference]) -> list[MeasureChange]:
        """The own losses as measures; no gate judges them, so that they have no direction."""
        changes = []
        for gate, task in dict.fromkeys((gate, task) for gate, task, _ in self.losses):
            losses, name = self._widest(gate, task), _own_loss(task)
            a, b = (
                Measurement(name=name, value=float(each.mean()), unit="nats/token", n=len(each))
                for each in (losses.correct_a, losses.correct_b)
            )
            found = differences[gate, name]
            low, high = found.intervals[0]
            changes.append(MeasureChange(gate, name, a.unit, a, b, "no_direction", found.value, low, high, paired=True))
        return changes

    def p_of(self, key: Key) -> float | None:
        """p of McNemar's test for a win rate; None for other measures, and where examples share media."""
        gate, name = key
        task, _, condition = name.partition(".win_rate_")
        losses = self.losses.get((gate, task, condition))
        return mcnemar(losses) if losses is not None and losses.n_clusters == len(losses.clusters) else None

    def _widest(self, gate: str, task: str) -> PairedLosses:
        of_task = [losses for (g, t, _), losses in self.losses.items() if (g, t) == (gate, task)]
        return max(of_task, key=lambda losses: len(losses.correct_a))


def _own_loss(task: str) -> str:
    return f"{task}.loss_own"


def pairing_of(a: Verdict, b: Verdict) -> Pairing:
    """Pair the losses of two verdicts where they rest on the same examples; else say why not."""
    because = tuple(_differences_of_examples(a, b))
    if because:
        return Pairing(because=because)
    paired, caveats = {}, []
    losses_a, losses_b = _stored(a), _stored(b)
    for name in dict.fromkeys([*losses_a, *losses_b]):
        losses = _pair(losses_a.get(name), losses_b.get(name))
        if isinstance(losses, PairedLosses):
            paired[name] = losses
        else:
            caveats.append(f"{name[0]} {name[1]}, {name[2]}: not paired, {losses}")
    if not paired:
        return Pairing(because=("no per-example losses that belong together are in both verdicts",))
    if not any(losses.n_clusters < len(losses.clusters) for losses in paired.values()):
        caveats.append("every example counts as an independent one in paired intervals")
    return Pairing(paired, (), tuple(caveats))


def _differences_of_examples(a: Verdict, b: Verdict) -> list[str]:
    """Why the two may not rest on the same examples."""
    found = []
    sets = {name: tuple(v.inputs[name].sha256 if name in v.inputs else None for v in (a, b)) for name in EXAMPLE_SETS}
    if not any(all(digests) for digests in sets.values()):
        found.append("the verdicts do not say which examples they rest on")
    found += [f"their {name} sets differ" for name, (one, other) in sets.items() if one != other]
    if a.token_space_sha256 is None or a.token_space_sha256 != b.token_space_sha256:
        found.append("their token spaces differ, or are not known")
    if a.run.seed != b.run.seed:
        found.append(
            f"their seeds differ ({a.run.seed} and {b.run.seed}), so that other prompts and media were shuffled in"
        )
    return found


def _stored(verdict: Verdict) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The per-example losses in the gates' details, which anyone may have written."""
    found = {}
    for gate in verdict.gates:
        pairs = gate.details.get("pairs")
        for name, losses in pairs.items() if isinstance(pairs, dict) else ():
            matched = _NAME.fullmatch(name)
            if matched and isinstance(losses, dict):
                found[gate.id, matched["task"], matched["condition"]] = losses
    return found


def _pair(a: dict[str, Any] | None, b: dict[str, Any] | None) -> PairedLosses | str:
    """The losses side by side, or why they do not belong together."""
    if a is None or b is None:
        return f"only {'B' if a is None else 'A'} has it"
    arrays = [_numbers(each.get(which)) for each in (a, b) for which in ("correct", "ablated")]
    lengths = {len(each) for each in arrays if each is not None}
    if any(each is None for each in arrays) or 0 in lengths:
        return "an example has no loss"
    if len(lengths) > 1:
        return f"of {' and '.join(str(each) for each in sorted(lengths))} examples"
    n = lengths.pop()
    if n > MAX_EXAMPLES:
        return f"more than {MAX_EXAMPLES} examples"
    media = _numbers(a.get("media"))
    clusters = media if media is not None and len(media) == n and a.get("media") == b.get("media") else np.arange(n)
    correct_a, ablated_a, correct_b, ablated_b = (each for each in arrays if each is not None)
    return PairedLosses(correct_a, ablated_a, correct_b, ablated_b, clusters)


def _numbers(values: object) -> np.ndarray | None:
    """(N,) finite numbers; None where the list is none, or holds anything else."""
    if not isinstance(values, list) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return None
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    return numbers if np.isfinite(numbers).all() else None
