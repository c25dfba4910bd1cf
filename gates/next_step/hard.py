"""Hard gates that failed: what they say comes before anything that was measured on the same checkpoint."""

from collections.abc import Iterable

from gates.next_step.step import Gates, Step, first_advice, gate_of, named, short_of, shortfalls
from harness.results import GateResult

# What a figure falls short in -> how the advice on it begins, or what it speaks of, in the gates' own lists.
ADVICE_ON = {
    "pickles": ("Pickles",),
    "malformed_files": ("Malformed",),
    "missing_tensors": ("Missing", "Frozen tensors"),
    "unexpected_tensors": ("unexpected tensors", "Frozen tensors"),
    "empty_tensors": ("empty",),
    "tensors_not_finite": ("not finite",),
    "adapter_keys_without_a_module": ("Adapter keys",),
    "wrong_row_ranges": ("Wrong rows",),
    "broken_shard_files": ("A shard whose bytes",),
    "rows_with_illegal_ids": ("Illegal ids",),
    "rows_out_of_turn": ("Illegal ids",),
    "specials_mistaken": ("tokenizer",),
    "text_rows_changed": ("Text rows moved",),
    "frozen_tensors_changed": ("Frozen tensors moved",),
    "adapted_modules": ("The adapter changes nothing",),
    "adapter_logit_change": ("The adapter changes nothing",),
    "merge_error": ("A merge is off",),
}


def first_hard_failure(gates: Gates, ids: Iterable[str]) -> Step | None:
    """The first of some gates that failed, with its own advice; None where none of them did."""
    failed = [gate for gate in gates if gate.priority == "P0" and gate.outcome == "fail"]
    for gate_id in ids:
        gate = gate_of(gates, gate_id)
        if gate is not None and gate in failed:
            why = f"{named(gate)} comes first" if len(failed) > 1 else "Found"
            return Step(why, advice_for(gate), shortfalls(gate))
    return None


def advice_for(gate: GateResult) -> str:
    """The gate's advice on the first of its figures that has one; else its first."""
    for short in short_of(gate):
        for words in ADVICE_ON.get(short.name, ()):
            for advice in gate.advice:
                if words.lower() in advice.lower():
                    return advice
    return first_advice(gate)
