"""The prompt ablation is weak: section C's three fixes, and which of them the figures point to."""

from gates.next_step.step import Step, figure, label, listed, lowest, measured, number, point, shortfalls, uncomputed
from gates.next_step.trained import Trained
from harness.examples import WRITE_TASKS, Task
from harness.results import GateResult

A_COIN = 0.5  # the win rate of a model that ignores its prompt
TEST = (
    "see that the ablation tests the prompt (no correct prompt left in use by a cache, golden prompts in the format "
    "that was trained)"
)
STRONGER = "use stronger, less generic prompt text in the golden set (for audio: instrument, genre, mood)"
CONDITIONS = ("shuffled", "empty")


def prompt_first(gate: GateResult | None, trained: Trained) -> Step | None:
    """The three fixes in their order, and where to begin; None where P0.4 did not fail."""
    if gate is None or gate.outcome != "fail":
        return None
    moved = [m for task in WRITE_TASKS if (m := measured(gate, f"{task}.null_gap")) and number(m.value)]
    if moved:
        action = "Mend the measurement first: the same inputs scored twice must give equal losses."
        return Step("Ablating nothing changed the loss", action, tuple(figure(m) for m in moved))
    if uncomputed(gate.measurements):
        action = "Look for NaN in weights or losses first: the learning rate, the gradients' clipping, the data."
        return Step("The prompt ablation could not be computed", action, shortfalls(gate))
    why, begin = diagnosis(gate)
    action = f"In order: (1) {TEST}; (2) {more_weight(trained)}; (3) {STRONGER}. {begin}"
    return Step(why, action, (*shortfalls(gate, 3), *beside(gate)))


def diagnosis(gate: GateResult) -> tuple[str, str]:
    """What the figures say of the prompt's influence, and where they say to begin."""
    of = {task: {name: heard(gate, task, name) for name in CONDITIONS} for task in WRITE_TASKS}
    equal = [task for task in WRITE_TASKS if any(bit_equal(gate, task, name) for name in CONDITIONS)]
    deaf = [task for task, each in of.items() if each == {"shuffled": False, "empty": False}]
    presence = [task for task, each in of.items() if each == {"shuffled": False, "empty": True}]
    sound = "Ablating nothing gives 0 and losses differ, so the test does reach the prompt"
    if equal:
        why = f"The losses of {listed(equal)} are bit-equal without the own prompt"
        return why, "Begin with 1: the true prompt is still in use."
    if deaf:
        begin = "Begin with the format in 1: without it 2 trains what is never asked for."
        return f"It writes {listed(deaf)} as if without a prompt", begin
    if presence:
        begin = f"{sound}: begin with 2, and with 3 where the prompts are much alike."
        return f"It writes {listed(presence)} by whether there is a prompt, not by what it says", begin
    return "The prompt is heard, too weakly", f"{sound}: begin with 2."


def heard(gate: GateResult, task: Task, name: str) -> bool | None:
    """Whether the win rate is above a coin's, with its whole interval; None where it was not measured."""
    low = lowest(measured(gate, f"{task}.win_rate_{name}"))
    return None if low is None else low > A_COIN


def bit_equal(gate: GateResult, task: Task, name: str) -> bool:
    """Whether taking the prompt away changed no loss at all: no example won, and the mean gap is exactly 0."""
    delta, wins = measured(gate, f"{task}.delta_{name}"), measured(gate, f"{task}.win_rate_{name}")
    return delta is not None and wins is not None and delta.value == 0 and wins.value == 0


def beside(gate: GateResult) -> tuple[str, ...]:
    """Which words are heard, of the tasks that fell short: the reordered prompt, and the most similar other one."""
    short = {m.name.partition(".")[0] for m in gate.measurements if m.op and m.confidence in ("refuted", "borderline")}
    found = [measured(gate, f"{task}.{name}") for task in WRITE_TASKS if task in short
             for name in ("win_rate_reordered", "win_rate_nearest")]  # fmt: skip
    return tuple(f"{label(m.name)} {point(m)}" for m in found if m is not None)


def more_weight(trained: Trained) -> str:
    """The second fix, with the share as the run had it where its record says so."""
    share = trained.share_of(*WRITE_TASKS)
    had = f" (it was {share:.0f} %)" if share is not None else ""
    return f"raise the T2A/T2I share of the mix{had}"


def deaf_details(gate: GateResult | None) -> str:
    """A prompt that passes as a whole while what sets it apart from the most similar one is not heard."""
    if gate is None:
        return ""
    deaf = [m for task in WRITE_TASKS for name in ("reordered", "nearest")
            if heard(gate, task, name) is False and (m := measured(gate, f"{task}.win_rate_{name}"))]  # fmt: skip
    if not deaf:
        return ""
    told = listed(f"{label(m.name)} {number(m.value) or 0:.2f}" for m in deaf)
    return f"Details of the prompt are not heard yet ({told}): stronger prompt text, or more T2A/T2I."
