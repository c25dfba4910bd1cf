"""Stage 4: the promotion path of spec/stage4-verification.md, sections B and C, in the order in which to mend."""

import re

from gates.next_step.decode import decode_first
from gates.next_step.hard import first_hard_failure
from gates.next_step.prompts import deaf_details, prompt_first
from gates.next_step.step import (
    Gates,
    Step,
    first_advice,
    gate_of,
    listed,
    measured,
    named,
    number,
    outcome_is,
    point,
    shortfall,
    shortfalls,
)
from gates.next_step.trained import Trained
from harness.examples import WRITE_TASKS, Task
from harness.results import GateResult, Measurement

HARD = ("P0.0", "P0.1", "P0.5", "P0.6")
COMPLIANCE, DECODE, PROMPTS, TEXT = "P0.2", "P0.3", "P0.4", "P1.4"
POOL = "8k"  # examples of the spec's trial
_OUT_OF_RANGE = re.compile(r"\w+\.out_of_range_pct \((free|constrained)\)")
# What a red P1 gate asks for, in a clause; those of other ids have their own first advice.
CLAUSES = {
    "P1.1": "decode by fixed lengths meanwhile",
    "P1.2": "give A2T/I2T more weight in the mix",
    "P1.3": "look at and listen to its worst outputs beside the golden ones",
    "P1.4": "replay text, or lower the adapter's rate or rank",
    "P1.5": "read the training log before training longer",
}


def step(gates: Gates, trained: Trained) -> Step:
    """The next step of a run that was judged whole, whether it passed or failed."""
    return (
        first_hard_failure(gates, HARD)
        or range_first(gates)
        or decode_first(gate_of(gates, DECODE), constrained=served_constrained(gates))
        or prompt_first(gate_of(gates, PROMPTS), trained)
        or first_hard_failure(gates, [gate.id for gate in gates])
        or unmeasured(gates)
        or scale(gates, trained)
    )


def range_first(gates: Gates) -> Step | None:
    """Ids out of range: serve constrained; under the constraint they are a bug, since it allows no other id."""
    gate = gate_of(gates, COMPLIANCE)
    if gate is None or gate.outcome != "fail":
        return None
    constrained = _out_of_range(gate, "constrained")
    broken = [m for m in constrained if number(m.value) != 0]
    figures = tuple(told for task in WRITE_TASKS if (told := _leaks(gate, task)))
    if served_constrained(gates) or broken:
        why = "Ids lie out of range under constrained decoding, which allows none, so the constraint has a bug"
        action = (
            "Hold the ranges that it allows against token_space.json (offsets, padding ids, the end tag), and see that "
            "it masks logits before sampling; training longer cannot mend that."
        )
        return Step(why, action, figures)
    known = "; its figure is 0 % already" if constrained else ""
    action = (
        f"Serve with constrained decoding{known}: for T2A allow only the AUDIO_CB ranges and <aud_end>, for T2I only "
        'IMAGE and <img_end> (docs/generation.md), set "decoding": "constrained" in bundle.json, and run again.'
    )
    if outcome_is(gates, PROMPTS, "fail"):
        action += " P0.4 is red as well, which no constraint mends: raise the T2A/T2I share."
    return Step("Ids lie out of range in free decoding", action, figures)


def scale(gates: Gates, trained: Trained) -> Step:
    """Every P0 gate is green: the warnings by name, then the scale run."""
    red = [gate for gate in gates if gate.priority == "P1" and gate.outcome != "pass"]
    warnings = "warning" if len(red) == 1 else "warnings"
    first = f"Look first at the {warnings} {listed(map(_warning, red))}; then go" if red else "Go"
    record = trained.record
    pool = f"the {record.train_rows:,} rows of this run" if record else POOL
    more = f"more steps than {record.step:,}" if record else "more steps"
    action = f"{first} on to the scale run: {more}, or a larger sample pool than {pool}."
    for remark in (_constraint_needed(gates), deaf_details(gate_of(gates, PROMPTS))):
        action += f" {remark}" if remark else ""
    return Step("Decoding and conditionality both hold", action, _held(gates))


def unmeasured(gates: Gates) -> Step | None:
    """Without both conditions there is nothing to scale."""
    missing = [gate_id for gate_id in (DECODE, PROMPTS) if not outcome_is(gates, gate_id, "pass")]
    if not missing:
        return None
    return Step(f"No result of {listed(missing)}", "Measure decoding and conditionality: promotion rests on both.")


def served_constrained(gates: Gates) -> bool:
    """Whether the checkpoint is judged as served under the constraint: that figure is the one that has a rule."""
    gate = gate_of(gates, COMPLIANCE)
    return gate is not None and any(m.op for m in _out_of_range(gate, "constrained"))


def _leaks(gate: GateResult, task: Task) -> str:
    """A task's ids out of range either way of decoding, and the probability that the model gives to such ids."""
    names = {"out_of_range_pct (free)": "free", "out_of_range_pct (constrained)": "constrained",
             "mass_outside": "and probability outside"}  # fmt: skip
    found = {says: measured(gate, f"{task}.{name}") for name, says in names.items()}
    told = [f"{says} {point(m).removesuffix(' probability')}" for says, m in found.items() if m is not None]
    return f"{task} out of range {', '.join(told)}" if told else ""


def _out_of_range(gate: GateResult, how: str) -> list[Measurement]:
    found = [(m, _OUT_OF_RANGE.fullmatch(m.name)) for m in gate.measurements]
    return [m for m, match in found if match and match[1] == how]


def _held(gates: Gates) -> tuple[str, ...]:
    """The figures of both conditions, task by task, without their intervals: they are to be read in one sentence."""
    names = {"decode_success_rate": "decoded", "win_rate_shuffled": "win rate against shuffled prompts",
             "win_rate_empty": "against empty ones", "delta_empty": "Δ empty"}  # fmt: skip
    told = []
    for task in WRITE_TASKS:
        gate_ids = (DECODE, PROMPTS, PROMPTS, PROMPTS)
        found = [measured(gate_of(gates, id_), f"{task}.{name}") for id_, name in zip(gate_ids, names, strict=True)]
        words = [f"{says} {point(m)}" for says, m in zip(names.values(), found, strict=True) if m is not None]
        told += [f"{task} {', '.join(words)}"] if words else []
    return tuple(told)


def _warning(gate: GateResult) -> str:
    if gate.outcome == "not_run":
        return f"{named(gate)} was not run"
    found = list(shortfalls(gate, 1)[:1]) or [shortfall(m) for m in gate.measurements if m.confidence == "borderline"]
    clause = CLAUSES.get(gate.id) or first_advice(gate).rstrip(".")
    if gate.outcome == "error":
        if not found:
            return f"{named(gate)} could not be measured"
        clause = "too few texts to tell, give more with --text-eval" if gate.id == TEXT else "too few examples to tell"
    return f"{named(gate)} ({'; '.join([*found[:1], clause])})"


def _constraint_needed(gates: Gates) -> str:
    """Whether constrained decoding can be done without, where the free figure is known."""
    gate = gate_of(gates, COMPLIANCE)
    if gate is None or not served_constrained(gates) or not any(number(m.value) for m in _out_of_range(gate, "free")):
        return ""
    return f"Keep the constraint ({'; '.join(_leaks(gate, task) for task in WRITE_TASKS)})."
