"""Simulated checkpoints: drawn from a stated model, judged by the gates' own code, and counted."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gates.gate import Accept, Gate
from gates.power.chances import Counts, Outcome
from gates.power.rule import outcome_of
from harness import statistics
from harness.progress import Listener, silent, track

_CHUNK = 4  # trials that a worker takes at once


class Trial(Protocol):
    """A truth, and how a gate judges what was drawn from it; a frozen dataclass."""

    @property
    def criterion(self) -> Gate:
        """The gate that judges."""

    @property
    def drawn(self) -> str:
        """What is drawn, by which the random numbers are chosen: no rule is part of it, so that all judge the same."""

    @property
    def strict(self) -> bool:
        """Whether it judges as under --strict."""

    @property
    def resamples(self) -> int:
        """How many resamples its bootstraps take."""

    def judge(self, accept: Accept, draws: "OneGenerator") -> None:
        """Draw once, and judge it."""


@dataclass(frozen=True)
class OneGenerator:
    """A stand-in for a checkpoint where judging asks for random numbers: one generator for every purpose."""

    generator: np.random.Generator

    def rng(self, *purpose: str) -> np.random.Generator:
        """The generator."""
        del purpose
        return self.generator


@dataclass(frozen=True)
class Runs:
    """How to simulate.

    Attributes:
        n: simulations of each trial.
        seed: of all of them; every trial draws its own numbers from it, whatever others are run.
        workers: processes; what comes out does not depend on them.
    """

    n: int
    seed: int = 0
    workers: int = 1


def run_trial(trial: Trial, runs: Runs) -> Counts:
    """Judge a trial's checkpoints, and count what became of them."""
    digest = hashlib.sha256(trial.drawn.encode()).digest()
    draws = OneGenerator(np.random.default_rng([runs.seed, *np.frombuffer(digest[:16], dtype=np.uint32)]))
    outcomes: list[Outcome] = []
    with statistics.resamples(trial.resamples):
        for _ in range(runs.n):
            accept = Accept(trial.criterion, strict=trial.strict)
            trial.judge(accept, draws)
            outcomes.append(outcome_of(accept))
    return Counts(outcomes.count("passes"), outcomes.count("fails"), runs.n)


def run_trials(trials: Iterable[Trial], runs: Runs, listener: Listener = silent) -> dict[Trial, Counts]:
    """Run every trial once, and tell the listener how far it is."""
    distinct = list(dict.fromkeys(trials))
    if not runs.n:
        return {}
    counts = track(_counts(distinct, runs), len(distinct), "simulating checkpoints", listener)
    return dict(zip(distinct, counts, strict=True))


def _counts(trials: Sequence[Trial], runs: Runs) -> Iterator[Counts]:
    if runs.workers == 1:
        yield from (run_trial(trial, runs) for trial in trials)
        return
    with ProcessPoolExecutor(runs.workers) as pool:
        yield from pool.map(run_trial, trials, [runs] * len(trials), chunksize=_CHUNK)
