"""A line of a JSONL file at the border: parsed and held against its model, or refused with its place."""

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import ExampleError

Row = TypeVar("Row", bound=BaseModel)


def parse_line(kind: type[Row], line: bytes, where: str, expected: str) -> Row:
    """The row that a line holds.

    Args:
        kind: what it must be.
        line: the line's bytes.
        where: file and number, for the message.
        expected: what a row looks like, for the message.

    Raises:
        ExampleError: it is no JSON, or no such row.
    """
    try:
        return kind.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
        raise ExampleError(where, found, expected, "Correct or drop the line.") from None
    except (ValueError, RecursionError) as error:
        raise ExampleError(where, f"text that is not JSON ({error})", expected, "Drop the line.") from None
