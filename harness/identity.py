"""Which token space each part of a run was made with, to be compared with the checkpoint's own."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.bundle import Bundle
from harness.errors import HarnessError
from harness.example_audit import ExampleAudit, audit_examples, lines_of
from harness.files import parse_json, read_json
from harness.space_difference import difference
from harness.stage2 import Declaration
from harness.stage2_audit import ShardAudit, audit_shards
from harness.token_space import FILE_NAME, MAX_FILE_BYTES, TokenSpace, parse_token_space, read_token_space
from harness.tokenizer import FILE_NAME as TOKENIZER_NAME
from harness.tokenizer import TokenizerAudit, audit_tokenizer

MAX_LINE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class IdentityAudit:
    """What shards, parent, examples and tokenizer say of the token space.

    Attributes:
        own: the checkpoint's.
        declarations: what each file says that it was made with.
        others: SHA-256 to the token spaces found beside those files, to say what one differs in.
        shards: what is in the shards.
        examples: what is in the golden and the dev set.
        tokenizer: the checkpoint's tokenizer; the base's where it has none; None where neither has one.
        has_tokenizer: whether it is the checkpoint's.
        notes: what could not be compared, and why.
    """

    own: TokenSpace
    declarations: tuple[Declaration, ...]
    others: dict[str, TokenSpace]
    shards: ShardAudit
    examples: ExampleAudit
    tokenizer: TokenizerAudit | None
    has_tokenizer: bool
    notes: tuple[str, ...]

    @cached_property
    def strangers(self) -> tuple[Declaration, ...]:
        """Declarations of another token space, or of none."""
        return tuple(declared for declared in self.declarations if declared.sha256 != self.own.sha256)

    @property
    def findings(self) -> Iterator[tuple[str, str]]:
        """All that is wrong, each with its place: declarations, then files, rows, examples and tokens."""
        for declared in self.strangers:
            yield declared.where, self.explain(declared) + (f" ({declared.n} of them)" if declared.n > 1 else "")
        for problem in self.shards.problems:
            yield problem.where, problem.note
        for offenders in self.shards.offenders.values():
            for offender in offenders:
                yield f"{offender.file}: {offender.row}", offender.note
        yield from self.examples.offenders
        if self.tokenizer is not None and self.has_tokenizer:
            if self.tokenizer.problem is not None:
                yield str(self.tokenizer.where), self.tokenizer.problem
            for token, note in (*self.tokenizer.wrong, *self.tokenizer.strays):
                yield f"{self.tokenizer.where}: {token}", note

    def explain(self, declared: Declaration) -> str:
        """What is wrong with a stranger, in words."""
        if declared.sha256 is None:
            return declared.problem or "declares no token space"
        said = f"declares {declared.sha256[:64]}, not {self.own.sha256}"
        other = self.others.get(declared.sha256)
        if other is None:
            return f"{said}; no {FILE_NAME} of that hash is at hand, so that it cannot be told what differs"
        return f"{said}; that one {difference(self.own, other)}"


def audit_identity(bundle: Bundle) -> IdentityAudit:
    """Read everything that declares a token space, every row of the shards and every held-out example.

    Raises:
        MissingInputError: shards or golden set are not given, or parent or dev set are named and not there.
    """
    shards, golden = bundle.input("shards"), bundle.input("golden")
    parent = bundle.input("parent") if "parent" in bundle.inputs else None
    dev = bundle.input("dev") if "dev" in bundle.inputs else None
    found = audit_shards(shards, bundle.space)
    folders = sorted({*(file.parent for file in shards.rglob(FILE_NAME)), *([parent] if parent else [])})
    declared = [*found.declarations, *map(space_declaration, folders)]
    held_out = [golden, *([dev] if dev else [])]
    for path in held_out:
        declared += example_declarations(path)
    examples = audit_examples(itertools.chain.from_iterable(map(lines_of, held_out)), bundle.space)
    tokenizer, has_tokenizer = _tokenizer(bundle)
    notes = [] if parent else ["no parent is named: the stage before was not compared"]
    if not has_tokenizer:
        notes.append(f"no {TOKENIZER_NAME} in the checkpoint: nothing to hold against the token space")
    beside = {*folders, shards.parent, golden, golden.parent, *([dev.parent] if dev else [])}
    others = _spaces_in(beside)
    return IdentityAudit(bundle.space, tuple(declared), others, found, examples, tokenizer, has_tokenizer, tuple(notes))


def space_declaration(folder: Path) -> Declaration:
    """The token space in a folder (a parent checkpoint's, the shards')."""
    try:
        return Declaration(str(folder / FILE_NAME), read_token_space(folder).sha256)
    except HarnessError as error:
        return Declaration(str(folder / FILE_NAME), None, f"found {error.found}; expected {error.expected}")


def example_declarations(path: Path) -> list[Declaration]:
    """The token spaces that the examples of a JSONL file, or of a folder of them, declare; equal ones are counted."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    found: dict[tuple[Path, str | None, str | None], tuple[str, int]] = {}
    for file in files:
        for number, line in _lines(file):
            name, sha256, problem = _declared(line, f"{file}:{number}")
            first, n = found.get((file, sha256, problem), (name, 0))
            found[file, sha256, problem] = (first, n + 1)
    if not found:
        return [Declaration(str(path), None, "there is no example in it")]
    return [Declaration(f"{file}: {first}", sha, why, n) for (file, sha, why), (first, n) in found.items()]


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE_BYTES), b""), start=1):
            if line.strip():
                yield number, line


def _declared(line: bytes, where: str) -> tuple[str, str | None, str | None]:
    """An example's id, the hash it declares, and why it declares none."""
    try:
        row: Any = parse_json(line, where)
    except HarnessError as error:
        return where, None, f"found {error.found}"
    if not isinstance(row, dict):
        return where, None, f"found a JSON {type(row).__name__}"
    sha256 = row.get("token_space_sha256")
    name = str(row.get("id", where))
    return (name, sha256, None) if isinstance(sha256, str) else (name, None, "declares no token_space_sha256")


def _spaces_in(folders: set[Path]) -> dict[str, TokenSpace]:
    """The token spaces that lie in folders, by hash; a sidecar that disagrees does not matter here."""
    found = {}
    for folder in folders:
        try:
            obj = read_json(folder / FILE_NAME, MAX_FILE_BYTES)
            space = parse_token_space(obj if isinstance(obj, dict) else {}, folder / FILE_NAME)
        except HarnessError:
            continue  # not there, or not readable: a declaration says so where it matters
        found[space.sha256] = space
    return found


def _tokenizer(bundle: Bundle) -> tuple[TokenizerAudit | None, bool]:
    own = bundle.path / TOKENIZER_NAME
    if own.is_file():
        return audit_tokenizer(own, bundle.space), True
    base = bundle.inputs.get("base")
    theirs = base / TOKENIZER_NAME if base is not None else None
    return (audit_tokenizer(theirs, bundle.space) if theirs is not None and theirs.is_file() else None), False
