"""Whether all that Stage 2 shards hold is legal: every file's bytes, every row's ids, turns, frames and counts."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import HarnessError
from harness.files import file_sha256
from harness.stage2 import Block, Declaration, Problem, ShardFile, ShardFolder, open_shards
from harness.stage2_parquet import ParquetShard
from harness.stage2_rows import Offence, offences
from harness.stage2_tar import TarShard
from harness.token_space import TokenSpace

MAX_OFFENDERS = 20  # named of each offence; all are counted


@dataclass(frozen=True)
class Offender:
    """A row that is wrong."""

    file: str
    row: str
    note: str


@dataclass
class ShardAudit:
    """What was found in a folder of shards.

    Attributes:
        files, rows, ids: how many were looked at.
        problems: files whose bytes, rows or place are not what the manifest says, or that cannot be read.
        declarations: the token spaces declared by the manifest, the footers and the samples.
        offending: offence to number of rows.
        offenders: the first rows of each offence.
    """

    files: int = 0
    rows: int = 0
    ids: int = 0
    problems: list[Problem] = field(default_factory=list)
    declarations: list[Declaration] = field(default_factory=list)
    offending: Counter[Offence] = field(default_factory=Counter)
    offenders: dict[Offence, list[Offender]] = field(default_factory=dict)


def audit_shards(folder: Path, space: TokenSpace) -> ShardAudit:
    """Look at every row of every shard. What is broken becomes a problem of its file, never an error."""
    shards = open_shards(folder)
    audit = ShardAudit(files=len(shards.files), problems=list(shards.problems))
    if shards.declared is not None:
        audit.declarations.append(shards.declared)
    sources: Counter[str] = Counter()
    for file in shards.files:
        try:
            _audit_bytes(file, audit)
            if file.path.suffix == ".parquet":
                sources += _audit_parquet(file, space, audit)
            else:
                _audit_tar(file, space, audit)
        except HarnessError as error:
            audit.problems.append(Problem(error.where, f"found {error.found}; expected {error.expected}"))
    _audit_sources(shards, sources, audit)
    return audit


def _audit_bytes(file: ShardFile, audit: ShardAudit) -> None:
    try:
        found = file_sha256(file.path)
    except OSError as error:
        raise HarnessError(file.path, error.strerror or "an unreadable file", "a shard", "Check its rights.") from None
    if file.sha256 is not None and found != file.sha256.lower():
        note = f"its bytes have sha256 {found}; the manifest says {file.sha256[:64]}"
        audit.problems.append(Problem(str(file.path), note))


def _audit_parquet(file: ShardFile, space: TokenSpace, audit: ShardAudit) -> Counter[str]:
    shard = ParquetShard(file.path)
    audit.declarations.append(shard.declaration())
    audit.rows += shard.rows
    _audit_rows(file, shard.rows, audit)
    for block in shard.blocks():
        _audit_block(file.path, block, space, audit)
    return shard.sources


def _audit_tar(file: ShardFile, space: TokenSpace, audit: ShardAudit) -> None:
    shard = TarShard(file.path)
    try:
        for block in shard.blocks():
            _audit_block(file.path, block, space, audit)
    finally:
        # What was read before a tar turned out to be damaged has been declared all the same.
        audit.declarations += shard.declarations()
        audit.rows += shard.rows
    _audit_rows(file, shard.rows, audit)


def _audit_rows(file: ShardFile, rows: int, audit: ShardAudit) -> None:
    if rows == 0:
        audit.problems.append(Problem(str(file.path), "it holds no row"))
    if file.rows is not None and rows != file.rows:
        audit.problems.append(Problem(str(file.path), f"it holds {rows} rows; the manifest says {file.rows}"))


def _audit_sources(shards: ShardFolder, found: Counter[str], audit: ShardAudit) -> None:
    if shards.sources is None or audit.problems:
        return  # a file that is missing or broken changes the sums too, and has been named
    wrong = sorted(name for name in shards.sources.keys() | found.keys() if found[name] != shards.sources.get(name, 0))
    # Tars name their source in each sample's JSON, in whatever form: only Parquet rows are summed.
    if found and wrong:
        name = wrong[0]
        note = f"source {name!r}: {found[name]} rows; the manifest says {shards.sources.get(name, 0)}"
        audit.problems.append(Problem(str(shards.path), note))


def _audit_block(path: Path, block: Block, space: TokenSpace, audit: ShardAudit) -> None:
    audit.ids += len(block.ids)
    for offence, rows, note in offences(block, space):
        audit.offending[offence] += len(rows)
        named = audit.offenders.setdefault(offence, [])
        for row in rows[: MAX_OFFENDERS - len(named)]:
            named.append(Offender(str(path), str(block.names[int(row)]), note(int(row))))
