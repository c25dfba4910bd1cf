"""What is read of a verdict.json where many are read: its gates and figures, without details.

A verdict.json is mostly per-example losses and tables, which msgspec skips without building them: a thousand verdicts
are read in the time that pydantic takes for fifty.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from harness.errors import HarnessError
from harness.files import parse_json
from harness.results import Decision, Op, Outcome, Priority, Stage

_Step = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class StoredFigure(msgspec.Struct, gc=False):
    """A measurement."""

    name: str
    value: float | None
    unit: str
    n: int = 0
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    op: Op | None = None


class StoredGate(msgspec.Struct):
    """A gate's result."""

    id: str
    name: str
    priority: Priority
    outcome: Outcome
    measurements: list[StoredFigure] = []


class StoredCheckpoint(msgspec.Struct):
    """Which checkpoint was judged."""

    path: str
    step: _Step | None
    sha256: str | None


class StoredInput(msgspec.Struct):
    """What went in."""

    sha256: str


class StoredThresholds(msgspec.Struct):
    """Which thresholds are not the spec's."""

    changed: dict[str, Any] = {}


class StoredRun(msgspec.Struct):
    """When it was judged."""

    started: str = ""


class StoredVerdict(msgspec.Struct, tag_field="format", tag="gate-verdict/1"):
    """The verdict."""

    stage: Stage
    verdict: Decision
    checkpoint: StoredCheckpoint
    gates: list[StoredGate]
    inputs: dict[str, StoredInput] = {}
    token_space_sha256: str | None = None
    thresholds: StoredThresholds = msgspec.field(default_factory=StoredThresholds)
    run: StoredRun = msgspec.field(default_factory=StoredRun)


_DECODER = msgspec.json.Decoder(StoredVerdict)


def decode(content: bytes, path: Path) -> StoredVerdict:
    """The verdict, read fast; what msgspec refuses as JSON, such as half a surrogate pair, is read the slow way.

    Raises:
        HarnessError: it is no gate-verdict/1 file.
    """
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError):
            raise _not_a_verdict(path, error) from None
    try:
        return msgspec.convert(parse_json(content, path), StoredVerdict)
    except (msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise _not_a_verdict(path, error) from None


def _not_a_verdict(path: Path, error: Exception) -> HarnessError:
    return HarnessError(path, str(error), "a gate-verdict/1 file", "Run the gates again.")
