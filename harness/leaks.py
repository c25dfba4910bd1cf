"""The worst generated sequences in words: what leaked into them, where, and what text it is."""

from collections.abc import Sequence
from pathlib import Path

from harness.compliance import Compliance, Leak
from harness.examples import Example
from harness.token_space import TokenSpace
from harness.words import tokenizer_in

MAX_WORST = 10
_MAX_TEXT = 80  # characters


def describe_leaks(
    compliance: Compliance, examples: Sequence[Example], space: TokenSpace, folders: Sequence[Path], how: str
) -> list[dict[str, str]]:
    """The sequences with most wrong ids, worst first, as the report lists them.

    Args:
        compliance: the counts.
        examples: whose prompts were continued, in the order of the sequences.
        space: the token space.
        folders: may hold a tokenizer.json, the preferred one first; without one ids stand for texts.
        how: `free` or `constrained`, for the reader.
    """
    worst = sorted(compliance.leaks, key=lambda leak: -len(leak.out_of_range) - len(leak.out_of_turn))[:MAX_WORST]
    tokenizer = tokenizer_in(folders) if worst else None
    rows = []
    for leak in worst:
        example = examples[leak.number]
        text_ids = [token_id for _, token_id in leak.out_of_range if token_id < space.text_vocab_size]
        text = tokenizer.decode(text_ids, skip_special_tokens=False) if tokenizer and text_ids else ""
        note = f"{how}: {_faults(leak, example, space)}" + (f"; leaked text: {text[:_MAX_TEXT]!r}" if text else "")
        rows.append({"id": example.id, "prompt": example.text or "", "note": note})
    return rows


def _faults(leak: Leak, example: Example, space: TokenSpace) -> str:
    said = []
    if leak.out_of_range:
        position, token_id = leak.out_of_range[0]
        said.append(
            f"{len(leak.out_of_range)} of {leak.n_ids} ids out of range, "
            f"the first {space.name_of(token_id)} (id {token_id}) at position {position}"
        )
    if leak.out_of_turn:
        position, token_id = leak.out_of_turn[0]
        wrong = space.misplaced(example.modality, token_id, position)
        said.append(f"{len(leak.out_of_turn)} of {leak.n_ids} out of turn, the first at position {position}: {wrong}")
    return "; ".join(said)
