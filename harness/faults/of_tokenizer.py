"""Faults of the tokenizer that is saved with a checkpoint (P0.1, S3.1)."""

from pathlib import Path
from typing import Any

from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Fault
from harness.files import read_json, write_json, write_text
from harness.tokenizer import FILE_NAME as TOKENIZER

GATES = ("S3.1", "P0.1")
SAVE = "Save the checkpoint with the tokenizer that the vocabulary surgery wrote"


def _tokenizer(copy: Copy) -> tuple[Path, dict[str, Any]]:
    file = copy.ckpt / TOKENIZER
    if not file.is_file():
        raise NotApplicableError("the checkpoint has no tokenizer.json")
    said: dict[str, Any] = read_json(file)
    return file, said


def _base_tokenizer(copy: Copy) -> None:
    file, _ = _tokenizer(copy)
    theirs = copy.input("base") / TOKENIZER
    if not theirs.is_file():
        raise NotApplicableError("the base has no tokenizer.json")
    write_json(file, read_json(theirs))


def _forget_a_special(copy: Copy) -> None:
    file, said = _tokenizer(copy)
    ours = set(copy.bundle.space.special_tokens)
    kept = [each for each in said["added_tokens"] if each["content"] in ours][:-1]
    write_json(
        file, said | {"added_tokens": [e for e in said["added_tokens"] if e["content"] not in ours or e in kept]}
    )


def _swap_specials(copy: Copy) -> None:
    file, said = _tokenizer(copy)
    ours = [each for each in said["added_tokens"] if each["content"] in copy.bundle.space.special_tokens]
    if len(ours) < 2:
        raise NotApplicableError("the tokenizer's specials are no added tokens")
    ours[0]["content"], ours[1]["content"] = ours[1]["content"], ours[0]["content"]
    write_json(file, said)


def _words_on_media_ids(copy: Copy) -> None:
    from tokenizers import Tokenizer

    file, _ = _tokenizer(copy)
    tokenizer = Tokenizer.from_file(str(file))
    space = copy.bundle.space
    first = min(r.start for modality in ("image", "audio") for r in space.ranges_of(modality))
    before = tokenizer.get_vocab_size(with_added_tokens=True)
    tokenizer.add_tokens([f"<new_{i}>" for i in range(max(1, first - before + 2))])
    write_text(file, tokenizer.to_str())


FAULTS = (
    Fault("tokenizer-of-the-base",
          "The checkpoint was saved with the tokenizer that the base came with.",
          GATES, "the tokenizer does not know it; expected id", SAVE,
          _base_tokenizer, artifact="tokenizer"),
    Fault("tokenizer-without-one-special",
          "One added token was lost when the tokenizer was saved again.",
          GATES, "specials_mistaken is 1 tokens", SAVE,
          _forget_a_special, artifact="tokenizer", subtle=True, source="domain.md row 5"),
    Fault("tokenizer-with-two-specials-swapped",
          "Specials were added in another order than the token space lists them.",
          GATES, "specials_mistaken is 2 tokens", SAVE,
          _swap_specials, artifact="tokenizer", subtle=True),
    Fault("tokenizer-with-words-on-media-ids",
          "Tokens were added to the tokenizer later on, which took the ids of media codes.",
          GATES, "tokens_on_media_ids is", SAVE,
          _words_on_media_ids, artifact="tokenizer"),
)  # fmt: skip
