"""Source and length of an example's line, without building the rest of it.

`msgspec` decodes the two declared fields and checks all others for being JSON without keeping them, at eight times the
speed of `json.loads`. Keys are found by a parser: nested ones, text that looks like one, and escapes do not mislead it;
of a key that is there twice the last holds, as in `json.loads`.
"""

import json
from typing import Any

import msgspec

# Beyond this a length is none: it must fit a signed 64-bit integer, and sums of them too.
_MAX_LENGTH = 2**40


class Fields(msgspec.Struct, gc=False):
    """What a line says; `length` may be anything."""

    source: str | None = None
    length: Any = None

    def length_or_unknown(self) -> int:
        """The length, -1 where it is none."""
        length = self.length
        # A bool is an int to Python, and no length.
        return length if type(length) is int and 0 <= length <= _MAX_LENGTH else -1


class _Ids(msgspec.Struct, gc=False):
    input_ids: Any = None


_fields = msgspec.json.Decoder(Fields)
_decode_ids = msgspec.json.Decoder(_Ids).decode


class MalformedLineError(ValueError):
    """A line that is no example; the text says why."""


def fields_of_lines(block: bytes) -> list[Fields] | None:
    """The fields of consecutive JSON values in UTF-8, whatever white space is between them; None where one is odd."""
    try:
        return _fields.decode_lines(block) if _is_utf8(block) else None
    except (ValueError, RecursionError):
        return None


def read_fields(line: bytes) -> tuple[str | None, int]:
    """Source, None where the line names none, and `length`, -1 where it says none.

    Raises:
        MalformedLineError: the line is not a JSON object in UTF-8, or its source is no string.
    """
    try:
        fields = _fields.decode(line) if _is_utf8(line) else None
    except (ValueError, RecursionError):
        fields = None
    if fields is None:
        row = _loads(line)
        fields = Fields(_source(row), row.get("length"))
    return fields.source, fields.length_or_unknown()


def _is_utf8(content: bytes) -> bool:
    # msgspec does not look into the strings that it skips.
    try:
        return content.isascii() or bool(content.decode())
    except UnicodeDecodeError:
        return False


def count_ids(line: bytes) -> int:
    """Number of `input_ids` of a line that `read_fields` took; -1 where it has none."""
    try:
        ids = _decode_ids(line).input_ids
    except (ValueError, RecursionError):
        ids = _loads(line).get("input_ids")
    return len(ids) if isinstance(ids, list) else -1


def _loads(line: bytes) -> dict[str, Any]:
    """What `json.loads` makes of a line: it takes NaN and halves of surrogate pairs, which msgspec does not."""
    try:
        row = json.loads(line.decode())
    except RecursionError:
        raise MalformedLineError("JSON nested too deeply") from None
    except ValueError as error:
        raise MalformedLineError(str(error)) from None
    if not isinstance(row, dict):
        raise MalformedLineError(f"a JSON {type(row).__name__}, not an object")
    return row


def _source(row: dict[str, Any]) -> str | None:
    source = row.get("source")
    if source is not None and not isinstance(source, str):
        raise MalformedLineError(f"a source that is no string but {type(source).__name__}")
    return source
