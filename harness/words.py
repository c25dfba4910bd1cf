"""The words of prompts, and in which of them two prompts differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rapidfuzz.distance import Levenshtein

from harness.conditions import prompts_of
from harness.examples import Example
from harness.token_space import TokenSpace
from harness.tokenizer import FILE_NAME, MAX_BYTES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Words = tuple[str, ...]


class Substitution(NamedTuple):
    """One word for another, the only difference between two prompts; `place` counts words from 0."""

    place: int
    own: str
    other: str


def prompt_words(examples: Sequence[Example], space: TokenSpace, folders: Sequence[Path]) -> list[Words]:
    """The words of the examples' prompts, split at white space.

    They come from `text` where every example has it, else from the ids through the first tokenizer in `folders`; with
    no tokenizer every id is a word, `#17`.
    """
    texts = [example.text for example in examples if example.text is not None]
    if len(texts) == len(examples):
        return [tuple(text.split()) for text in texts]
    prompts = [ids.tolist() for ids in prompts_of(examples, space)]
    tokenizer = tokenizer_in(folders)
    if tokenizer is None:
        return [tuple(f"#{token_id}" for token_id in ids) for ids in prompts]
    return [tuple(tokenizer.decode(ids, skip_special_tokens=False).split()) for ids in prompts]


def changed_words(own: Sequence[str], other: Sequence[str]) -> Words:
    """The words of a prompt that another one replaces or lacks, by the shortest way from one to the other."""
    opcodes = Levenshtein.opcodes(own, other)
    return tuple(word for op in opcodes if op.tag != "equal" for word in own[op.src_start : op.src_end])


def substitution(own: Sequence[str], other: Sequence[str]) -> Substitution | None:
    """The one word that another prompt replaces by one; None where they differ in more, or otherwise."""
    changes = [op for op in Levenshtein.opcodes(own, other) if op.tag != "equal"]
    if len(changes) != 1 or changes[0].tag != "replace" or changes[0].src_end - changes[0].src_start != 1:
        return None
    place = changes[0].src_start
    return Substitution(place, own[place], other[changes[0].dest_start])


def tokenizer_in(folders: Sequence[Path]) -> "Tokenizer | None":
    """The first tokenizer.json that can be read; None where there is none."""
    from tokenizers import Tokenizer

    for folder in folders:
        file = folder / FILE_NAME
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            continue
        try:
            return Tokenizer.from_file(str(file))
        except Exception:  # tokenizers raises plain Exception; that the file is broken, the identity gate says
            continue
    return None
