"""P0.4, P1.2 and S3.4: what they ask of win rates, and simulated checkpoints for their own judging code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from gates.ablation import MediaRule, judge_media_ablation
from gates.gate import Accept, Gate
from gates.looks import until_clear
from gates.power.exact import Figure
from gates.power.losses import draw_losses
from gates.power.rule import ShareRule
from gates.power.trial import OneGenerator
from gates.stage3 import test_s34_modality_ablation as s34
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4 import test_p04_prompt_ablation as p04
from gates.stage4 import test_p12_read_ablation as p12
from gates.stage4.thresholds import Stage4Thresholds
from harness.ablation import Ablation
from harness.examples import READ_TASKS, WRITE_TASKS, Task
from harness.looks import Looks, plan

AblationId = Literal["P0.4", "P1.2", "S3.4"]
Thresholds = Stage3Thresholds | Stage4Thresholds
_Judge = Callable[[Accept, OneGenerator, Mapping[Task, Ablation], Mapping[Task, Looks]], None]


@dataclass(frozen=True)
class AblationGate:
    """What an ablation gate asks.

    Attributes:
        criterion: the gate.
        what: what it ablates, `prompt` or `media`.
        tasks: all of which have to pass.
        min_win_rates: condition -> the win rate that it asks for; None where it judges the gap alone.
        recommended_n: examples of the first look.
        further: examples in all at the looks that follow.
        judge: holds the ablations of all tasks at their looks against the rules; the gate's own code.
    """

    criterion: Gate
    what: str
    tasks: tuple[Task, ...]
    min_win_rates: dict[str, float | None]
    recommended_n: int
    further: tuple[int, ...]
    judge: _Judge

    def figures(self, truth: "Truth", *, strict: bool = False) -> list[list[Figure]]:
        """The win rates that it judges, task by task, for a checkpoint with true ones."""
        return [
            [
                Figure(ShareRule(least, self.recommended_n, strict=strict), rate)
                for name, rate in self.win_rates(truth, task).items()
                if (least := self.min_win_rates[name]) is not None
            ]
            for task in self.tasks
        ]

    def looks(self, available: int) -> Looks:
        """The looks that it plans where the golden set holds what it recommends, and dev the rest of those there."""
        return plan(min(self.recommended_n, available), available, self.further)

    def win_rates(self, truth: "Truth", task: Task) -> dict[str, float]:
        """Condition -> true win rate in a task."""
        here = task == self.tasks[0] or not truth.in_one_task
        return {
            name: truth.win_rate if here and truth.condition in (None, name) else 1.0 for name in self.min_win_rates
        }


@dataclass(frozen=True)
class Truth:
    """What a checkpoint's win rates truly are.

    Attributes:
        win_rate: the chance that an example's own prompt or media give the lower loss.
        condition: against which that is so, None meaning all; every other one loses to every example.
        in_one_task: whether it is so in the first task alone; the other always wins.
    """

    win_rate: float
    condition: str | None = None
    in_one_task: bool = False


@dataclass(frozen=True)
class AblationTrial:
    """A checkpoint with true win rates, under an ablation gate.

    Attributes:
        gate: which.
        thresholds: of its stage.
        truth: its win rates.
        looks: planned.
        correlation: of an example's gaps under two conditions.
        strict: as under --strict.
        resamples: of every bootstrap.
    """

    gate: AblationId
    thresholds: Thresholds
    truth: Truth
    looks: Looks
    correlation: float = 0.0
    strict: bool = False
    resamples: int = 100

    @property
    def criterion(self) -> Gate:
        """The gate that judges."""
        return ablation_gate(self.gate, self.thresholds).criterion

    @property
    def drawn(self) -> str:
        """What is drawn."""
        return f"{self.gate} {self.truth} {self.looks.sizes} {self.correlation}"

    def judge(self, accept: Accept, draws: OneGenerator) -> None:
        """Draw all examples that there are, and judge as many of them as the gate looks at."""
        gate = ablation_gate(self.gate, self.thresholds)
        n, rates = self.looks.sizes[-1], {task: gate.win_rates(self.truth, task) for task in gate.tasks}
        drawn = {
            task: draw_losses(task, gate.what, rates[task], n, self.correlation, draws.generator) for task in gate.tasks
        }
        for looks in until_clear(accept, dict.fromkeys(gate.tasks, self.looks)):
            ablations = {task: drawn[task].first(task, look.so_far[-1]) for task, look in looks.items()}
            gate.judge(accept, draws, ablations, looks)


def ablation_gate(id: AblationId, thresholds: Thresholds) -> AblationGate:
    """An ablation gate under the thresholds of its stage.

    Raises:
        TypeError: they are another stage's.
    """
    further = thresholds.further_ablation_examples
    if id == "S3.4" and isinstance(thresholds, Stage3Thresholds):
        n = thresholds.recommended_ablation_examples
        return _media_gate(s34.S34, s34.rules_of(thresholds), n, further)
    if id == "P1.2" and isinstance(thresholds, Stage4Thresholds):
        n = thresholds.recommended_read_ablation_examples
        return _media_gate(p12.P12, p12.rules_of(thresholds), n, further)
    if id == "P0.4" and isinstance(thresholds, Stage4Thresholds):
        return AblationGate(
            criterion=p04.P04,
            what="prompt",
            tasks=WRITE_TASKS,
            min_win_rates=dict(p04.min_win_rates(thresholds)),
            recommended_n=thresholds.recommended_ablation_examples,
            further=further,
            judge=lambda accept, draws, ablations, looks: p04.judge_prompts(
                accept, draws, ablations, looks, thresholds
            ),
        )
    raise TypeError(f"{id} is not judged by {type(thresholds).__name__}")


def _media_gate(criterion: Gate, rules: dict[str, MediaRule], n: int, further: tuple[int, ...]) -> AblationGate:
    def judge(
        accept: Accept, draws: OneGenerator, ablations: Mapping[Task, Ablation], looks: Mapping[Task, Looks]
    ) -> None:
        for task, measured in ablations.items():
            judge_media_ablation(accept, draws, measured, looks[task], rules, n)

    rates = {name: rule.min_win_rate for name, rule in rules.items()}
    return AblationGate(criterion, "media", READ_TASKS, rates, n, further, judge)
