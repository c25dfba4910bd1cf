"""Source and length are what `json.loads` finds, and a line is malformed where `json.loads` says so."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from training.sampling.fields import MalformedLineError, count_ids, read_fields
from training.sampling.scan import read_blocks, scan

KEYS = st.sampled_from(["source", "length", "input_ids", "so\\u0075rce", "meta"]) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text()
    | st.sampled_from(['"source": "x"', '\\"', "\\", "{", "source", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
PAIRS = st.lists(st.tuples(KEYS, VALUES), max_size=6)  # a key may be there twice
SPACE = st.sampled_from(["", " ", "\t", " \r"])


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    ascii_only, space = draw(st.booleans()), draw(SPACE)
    pairs = [
        # Keys as they are where they hold an escape already.
        (f'"{key}"' if "\\u0075" in key else json.dumps(key, ensure_ascii=ascii_only))
        + space + ":" + space + json.dumps(value, ensure_ascii=ascii_only)
        for key, value in draw(PAIRS)
    ]  # fmt: skip
    text = space + "{" + f"{space},{space}".join(pairs) + "}" + space
    return text.encode(errors="surrogatepass")


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    line = draw(_lines())
    place = draw(st.integers(0, len(line)))
    return line[:place] + draw(st.binary(max_size=2)) + line[place + draw(st.integers(0, 2)) :]


def _reference(line: bytes) -> tuple[str | None, int] | None:
    """What `json.loads` finds; None for a malformed line."""
    try:
        row = json.loads(line.decode())
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("source"), str | None):
        return None
    length: Any = row.get("length")
    return row.get("source"), length if type(length) is int and 0 <= length <= 2**40 else -1


def _found(line: bytes) -> tuple[str | None, int] | None:
    try:
        return read_fields(line)
    except MalformedLineError:
        return None


@given(_lines())
@example(b'{"source": "a", "source": "b", "length": 1, "length": 2}')
@example(b'{"meta": {"source": "b"}, "text": "\\"source\\": \\"c\\"", "source": "a"}')
@example(b'{"source": "a", "meta": {"source": "b", "length": 5}, "length": 3}')
@example(b'{"s\\u006furce": "a", "length": 3.0}')
@example(b'{"source": "\\ud83d\\ude00", "x": [NaN, -Infinity]}')
@example(b'{"x": "\\\\", "source": "a"}')
def test_fields_are_what_json_finds(line: bytes) -> None:
    assert _found(line) == _reference(line)


@given(_damaged())
@example(b'{"source": "\xed\xa0\x80"}')
@example(b'{"x": "\xc3", "source": "a"}')
@example(b'\xef\xbb\xbf{"source": "a"}')
def test_a_damaged_line_is_malformed_where_json_says_so(line: bytes) -> None:
    assert _found(line) == _reference(line)


@given(st.lists(_lines() | _damaged(), min_size=1, max_size=4))
@example([b"{", b"}{}"])
@example([b"{}", b"{}{}", b""])
@example([b'{"source":"a"}', b'{"x":[{', b"},{", b'}]}{"source":"b"}'])
@example([b'{"source":"a"}', b'{"source":"b","x":"\xff"}'])
@example([b'{"source":"a"}{"source":"b"}', b'{"x":{', b"}}"])
def test_a_block_of_lines_is_read_as_its_lines_are(lines: list[bytes]) -> None:
    lines = [line for joined in lines for line in joined.split(b"\n")]
    expected = [None if not line.strip() else _reference(line) for line in lines]

    part = scan(read_blocks(io.BytesIO(b"".join(line + b"\n" for line in lines))), by_length=False, skip_bad=True)

    names = list(part.names)
    found = [(names[number], length) for number, length in zip(part.source, part.length, strict=True)]
    assert found == [row for row in expected if row is not None]
    assert part.lines == len(lines)
    places = np.cumsum([0, *(len(line) + 1 for line in lines)])[:-1]
    assert list(zip(part.starts, part.sizes, strict=True)) == [
        (place, len(line)) for place, line, row in zip(places, lines, expected, strict=True) if row is not None
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"input_ids": [1, 2, 3]}', 3),
        (b'{"input_ids": []}', 0),
        (b'{"input_ids": [NaN, 2]}', 2),
        (b'{"x": {"input_ids": [1]}}', -1),
        (b'{"input_ids": "abc"}', -1),
        (b'{"input_ids": [1], "input_ids": [1, 2]}', 2),
    ],
)
def test_ids_are_counted(line: bytes, expected: int) -> None:
    assert count_ids(line) == expected
