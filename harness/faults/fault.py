"""What a fault is: how it is planted, what it imitates, and what has to be said about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.faults.copies import Copy
from harness.results import Stage

Artifact = Literal[
    "weights", "adapter", "config", "token space", "tokenizer", "base", "parent", "shards", "golden", "dev",
    "text_eval", "log", "record", "codec", "generation_config", "bundle.json", "verdicts",
]  # fmt: skip
Edit = Callable[[Copy], object]


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a checkpoint or with what it is judged by.

    Attributes:
        name: kebab-case, unique in the catalogue.
        imitates: what goes wrong in a real run so that a checkpoint ends up like this, in a sentence.
        gates: ids of the gates that must turn red, at most one a stage; the stages that it applies to follow from them.
        reason: words that the red gate's own findings must hold (its reason, notes, worst examples, tables).
        advice: words that its printed advice must hold.
        inject: plants it in a copy; raises NotApplicableError where the copy has nothing to plant it in.
        artifact: what kind of file it changes.
        subtle: one bit, row, shard or example; gross otherwise.
        source: where such a fault was seen; domain.md's list by its row, else our own thinking.
        fix: does to the broken copy what the advice says; None where only training again helps.
        unmeasured: the gate cannot measure it and is an error, which is no pass either; a failure otherwise.
        whole_run: shows only with all examples, and not on a slice.
    """

    name: str
    imitates: str
    gates: tuple[str, ...]
    reason: str
    advice: str
    inject: Edit
    artifact: Artifact
    subtle: bool = False
    source: str = "ours"
    fix: Edit | None = None
    unmeasured: bool = False
    whole_run: bool = False

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages whose gates have to find it."""
        return tuple(dict.fromkeys(stage_of(gate) for gate in self.gates))

    def gate_of(self, stage: Stage) -> str | None:
        """The gate that has to find it in a stage; None where the fault does not apply to it."""
        return next((gate for gate in self.gates if stage_of(gate) == stage), None)


@dataclass(frozen=True)
class Harmless:
    """A change that harms nothing: every gate must say what it says without it.

    Attributes:
        name: kebab-case, unique in the catalogue.
        what: what is changed, and why that is harmless, in a sentence.
        inject: makes the change; raises NotApplicableError where it cannot be made.
        artifact: what kind of file it changes.
        stages: the stages that it applies to.
    """

    name: str
    what: str
    inject: Edit
    artifact: Artifact
    stages: tuple[Stage, ...] = ("stage3", "stage4")


def stage_of(gate: str) -> Stage:
    """The stage that a gate belongs to, by its id."""
    return "stage3" if gate.startswith("S3") else "stage4"
