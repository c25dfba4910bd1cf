"""Whether a tokenizer knows the token space's specials at exactly their ids. `tokenizers` alone, no remote code."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.token_space import TokenSpace

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE_NAME = "tokenizer.json"
MAX_BYTES = 256 * 2**20  # Qwen3's is 11 MB


@dataclass(frozen=True)
class TokenizerAudit:
    """What a tokenizer makes of the token space.

    Attributes:
        where: the tokenizer.json.
        specials: how many the token space has.
        wrong: special, and how the tokenizer mistakes it.
        strays: token, and the id beyond text that it has without being that special.
        problem: why the file cannot be used; None where it can.
    """

    where: Path
    specials: int
    wrong: tuple[tuple[str, str], ...] = ()
    strays: tuple[tuple[str, str], ...] = ()
    problem: str | None = None


def audit_tokenizer(file: Path, space: TokenSpace) -> TokenizerAudit:
    """Hold a tokenizer.json against the token space. A broken file gives a problem, no error."""
    from tokenizers import Tokenizer

    n = len(space.special_tokens)
    if file.stat().st_size > MAX_BYTES:
        return TokenizerAudit(file, n, problem=f"{file.stat().st_size} bytes; expected at most {MAX_BYTES}")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        return TokenizerAudit(file, n, problem=f"it cannot be read ({str(error)[:200]})")
    wrong = [(name, note) for name, i in space.special_tokens.items() if (note := _mistake(tokenizer, name, i))]
    return TokenizerAudit(file, n, tuple(wrong), tuple(_strays(tokenizer, space)))


def _mistake(tokenizer: "Tokenizer", name: str, token_id: int) -> str | None:
    """How a special goes wrong on its way to an id and back; None where it does not."""
    found = tokenizer.token_to_id(name)
    if found != token_id:
        return f"the tokenizer {'does not know it' if found is None else f'has it at {found}'}; expected id {token_id}"
    # Between letters too, where a token that was not added as a special is cut into pieces or loses its spaces.
    for text in (name, f"a{name}b", f"a {name} b"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if ids.count(token_id) != 1 or (text == name and ids != [token_id]):
            return f"{text!r} is encoded as {ids[:12]}; expected one id {token_id}"
    if (written := tokenizer.decode([token_id], skip_special_tokens=False)) != name:
        return f"id {token_id} is decoded as {written!r}; expected {name!r}"
    return None


def _strays(tokenizer: "Tokenizer", space: TokenSpace) -> list[tuple[str, str]]:
    """Tokens with an id beyond text, spare special rows excepted: text could then be read as media."""
    special = space.layout.ranges.get("SPECIAL")
    taken = {token_id: name for name, token_id in space.special_tokens.items()}
    strays = []
    for token, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        spare = special is not None and token_id in special and token_id not in taken
        if token_id >= space.text_vocab_size and not spare and taken.get(token_id) != token:
            strays.append((token, f"has id {token_id}, which is {space.name_of(token_id)}"))
    return sorted(strays)
