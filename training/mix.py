"""The plan of a run: which sequences every step trains on, in which forwards.

The plan depends on config and data alone, and not on how many processes share the work: a step's sequences are the same
for 1 process x 2 and 2 processes x 1, and a run that resumes goes on with the step that comes next.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import HarnessError
from training.config import MixConfig
from training.sequences import Draw, Sequences, Variant

# Mix task -> the tasks of the examples whose medium it uses, and the variant.
MADE_OF: dict[str, tuple[tuple[str, ...], Variant]] = {
    "copy_audio": (("a2t", "t2a"), "copy"),
    "copy_image": (("i2t", "t2i"), "copy"),
    "denoise_audio": (("a2t", "t2a"), "denoise"),
    "denoise_image": (("i2t", "t2i"), "denoise"),
}
WRITE_TASKS = ("t2a", "t2i")


def sources_of(task: str) -> tuple[str, ...]:
    """The tasks of the examples that a task of the mix draws from."""
    return MADE_OF[task][0] if task in MADE_OF else (task,)


def variant_of(task: str) -> Variant:
    """The variant of the example that a task of the mix asks for."""
    return MADE_OF[task][1] if task in MADE_OF else "own"


@dataclass(frozen=True)
class Plan:
    """Every step of a run.

    Attributes:
        sequences: what is drawn from.
        mix: shares, ramp, prompt dropout.
        n_steps: steps in all.
        per_step: sequences a step.
        per_forward: sequences a forward; divides per_step.
        group_by_length: whether a step's sequences are sorted by length before they are cut into forwards.
        seed: of everything that is drawn.
        max_tokens: a copy of a medium takes more than twice its ids; those that would be longer are left out.
    """

    sequences: Sequences
    mix: MixConfig
    n_steps: int
    per_step: int
    per_forward: int
    group_by_length: bool
    seed: int
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse a mix that asks for what is not there.

        Raises:
            HarnessError: there is no example of a task that has a share.
        """
        for task, share in {**self.mix.start, **self.mix.shares}.items():
            if share > 0 and not len(self.members(task)):
                limited = task in MADE_OF and self.max_tokens is not None
                raise HarnessError(
                    "the training data",
                    f"no example of {task}" + (" that is short enough" if limited else ""),
                    f"at least one of {' or '.join(sources_of(task))}, since mix.shares gives it {share:g}",
                    "Add some (text comes from data.text), or take it out of mix.shares.",
                )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the mix, in order."""
        return tuple(sorted({**self.mix.start, **self.mix.shares}))

    @property
    def forwards_per_step(self) -> int:
        """Forwards of all processes together in a step."""
        return self.per_step // self.per_forward

    def shares(self, step: int) -> dict[str, float]:
        """Each task's share of the sequences at a step counted from 1; they add up to 1."""
        # What only `start` has stays at 0 after the ramp: what rounding owes it is paid, and all debts add up to 0.
        end = {**dict.fromkeys(self.mix.start, 0.0), **_normal(self.mix.shares)}
        if not self.mix.start or step > self.mix.ramp_steps:
            return end
        start, way = _normal(self.mix.start), (step - 1) / self.mix.ramp_steps
        return {task: (1 - way) * start.get(task, 0) + way * share for task, share in end.items()}

    def steps(self) -> Iterator[list[Draw]]:
        """The sequences of every step, in the order of its forwards."""
        decks = {task: _Deck(self.members(task), [self.seed, number]) for number, task in enumerate(self.tasks)}
        owed = dict.fromkeys(self.tasks, 0.0)
        for step in range(1, self.n_steps + 1):
            counts = _counts(self.shares(step), self.per_step, owed)
            # A generator of the step's own: what one step draws does not depend on the others.
            rng = np.random.default_rng([self.seed, len(self.tasks), step])
            drawn = [self._draw(task, decks[task].draw(), rng) for task, n in counts.items() for _ in range(n)]
            drawn = [drawn[i] for i in rng.permutation(len(drawn))]
            if self.group_by_length and self.per_forward > 1:
                drawn = self._grouped(drawn, rng)
            yield drawn

    def forwards(self) -> Iterator[list[Draw]]:
        """The sequences of every forward, one step's after the other's."""
        for drawn in self.steps():
            for start in range(0, len(drawn), self.per_forward):
                yield drawn[start : start + self.per_forward]

    def _grouped(self, drawn: list[Draw], rng: np.random.Generator) -> list[Draw]:
        """Forwards of like length, in random order: no process shall always have the longest."""
        by_length = sorted(drawn, key=self.sequences.length)
        forwards = [by_length[i : i + self.per_forward] for i in range(0, len(drawn), self.per_forward)]
        return [draw for i in rng.permutation(len(forwards)) for draw in forwards[i]]

    def members(self, task: str) -> np.ndarray:
        """The places of the examples that a task of the mix draws from."""
        found = np.flatnonzero(np.isin(self.sequences.tasks, sources_of(task)))
        if task not in MADE_OF or self.max_tokens is None:
            return found
        variant = variant_of(task)
        return np.array(
            [i for i in found if self.sequences.length(Draw(int(i), task, variant)) <= self.max_tokens], int
        )

    def _draw(self, task: str, index: int, rng: np.random.Generator) -> Draw:
        # Drawn whether used or not, so that prompt dropout changes nothing else.
        dropped, seed = rng.random() < self.mix.prompt_dropout, int(rng.integers(2**31))
        variant = variant_of(task)
        if task in WRITE_TASKS and dropped:
            variant = "empty"
        return Draw(index, task, variant, seed)


class ForwardSampler:
    """The plan as a batch sampler of torch's DataLoader; accelerate deals its batches out to the processes in turn."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.batch_size, self.drop_last = plan.per_forward, False  # accelerate asks for them

    def __len__(self) -> int:
        return self.plan.n_steps * self.plan.forwards_per_step

    def __iter__(self) -> Iterator[list[Draw]]:
        return self.plan.forwards()


def steps_for(epochs: float, n_sequences: int, per_step: int) -> int:
    """Steps that so many passes over the training examples take."""
    return max(1, math.ceil(epochs * n_sequences / per_step))


class _Deck:
    """Indices, drawn without replacement and shuffled anew when used up."""

    def __init__(self, members: np.ndarray, seed: Sequence[int]) -> None:
        self._members, self._rng = members, np.random.default_rng(list(seed))
        self._order: list[int] = []

    def draw(self) -> int:
        if not self._order:
            self._order = self._rng.permutation(self._members).tolist()
        return self._order.pop()


def _normal(shares: Mapping[str, float]) -> dict[str, float]:
    total = sum(shares.values())
    return {task: share / total for task, share in shares.items()}


def _counts(shares: Mapping[str, float], per_step: int, owed: dict[str, float]) -> dict[str, int]:
    """How many sequences of each task a step holds: `per_step` in all; what rounding leaves is owed to later steps."""
    for task, share in shares.items():
        owed[task] += share * per_step
    counts = {task: max(0, math.floor(owed[task])) for task in shares}
    while (short := per_step - sum(counts.values())) != 0:
        # Rounding down leaves a few to give out; tasks that are ahead of their share (owed < 0) can take too many.
        left = {task: owed[task] - counts[task] for task in shares if short > 0 or counts[task]}
        if short > 0:
            counts[max(left, key=left.__getitem__)] += 1
        else:
            counts[min(left, key=left.__getitem__)] -= 1
    for task, count in counts.items():
        owed[task] -= count
    return counts
