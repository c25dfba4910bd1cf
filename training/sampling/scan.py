"""What a pass over lines notes of each: its place, source and length.

It imports little, since every process that reads pays for that.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from training.sampling.fields import MalformedLineError, count_ids, fields_of_lines, read_fields

# Read at once: what fits the cache, and is too small for malloc to ask the kernel for it (and hand it back) every time.
BLOCK_BYTES = 2**16
# A clip of a minute is 1 MB. A file without line feeds must not fill the memory.
MAX_LINE_BYTES = 2**28


_OPEN, _CLOSE = b"{}"


class LineTooLongError(ValueError):
    """A line beyond measure."""


@dataclass
class Part:
    """What is known of consecutive lines of a file.

    Attributes:
        names: source to its number, in order of first occurrence.
        source, length, starts, sizes: of each example its source's number, its length in ids (-1: not known), and the
            place of its line in bytes, without the line feed.
        lines: how many there are, blank and malformed ones among them.
        blank, bad: how many of them are.
        first_bad: number within the part, from 1, of the first malformed line, and what is wrong with it.
    """

    names: dict[str | None, int] = field(default_factory=dict)
    source: "array[int]" = field(default_factory=lambda: array("q"))
    length: "array[int]" = field(default_factory=lambda: array("q"))
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    lines: int = 0
    blank: int = 0
    bad: int = 0
    first_bad: tuple[int, str] | None = None


def scan(blocks: Iterable[tuple[bytes, int]], *, by_length: bool, skip_bad: bool) -> Part:
    """Note every line of blocks of whole lines, each with its offset.

    Args:
        blocks: as `read_blocks` gives them.
        by_length: every example's length must be known; where `length` does not say it, `input_ids` are counted.
        skip_bad: go on after a malformed line; else it is the last one noted.
    """
    part = Part()
    for block, offset in blocks:
        if _take_all(part, block, offset, by_length):
            continue
        start = 0
        for line in block[:-1].split(b"\n"):
            part.lines += 1
            if (found := _look(part, line, by_length)) is not None:
                part.source.append(part.names.setdefault(found[0], len(part.names)))
                part.length.append(found[1])
                part.starts.append(offset + start)
                part.sizes.append(len(line))
            elif part.bad and not skip_bad:
                return part
            start += len(line) + 1
    return part


def _take_all(part: Part, block: bytes, offset: int, by_length: bool) -> bool:
    """Note all lines of a block at once; False, with nothing noted, where one of them needs to be looked at."""
    ends = _ends_of_objects(block)
    rows = fields_of_lines(block) if ends else None
    if rows is None or len(rows) != len(ends):
        return False
    lengths = [row.length_or_unknown() for row in rows]
    if by_length and min(lengths) < 0:
        return False
    part.lines += len(ends)
    part.source.extend([part.names.setdefault(row.source, len(part.names)) for row in rows])
    part.length.extend(lengths)
    starts = [0, *(end + 1 for end in ends[:-1])]
    part.starts.extend([offset + start for start in starts])
    part.sizes.extend([end - start for start, end in zip(starts, ends, strict=True)])
    return True


def _ends_of_objects(block: bytes) -> list[int]:
    """Where the lines of a block end, if each begins with `{` and ends with `}`; else nothing.

    No JSON has `}` before `{` but for a comma between them: then no value reaches from one line to the next, and as
    many values as lines are one in each.
    """
    ends, end, last = [], -1, len(block) - 1
    while end < last:
        if block[end + 1] != _OPEN:
            return []
        end = block.find(b"\n", end + 1)
        if block[end - 1] != _CLOSE:
            return []
        ends.append(end)
    return ends


def _look(part: Part, line: bytes, by_length: bool) -> tuple[str | None, int] | None:
    """Source and length of a line that may be blank or malformed: then it is counted, and None."""
    if not line or line.isspace():
        part.blank += 1
        return None
    try:
        source, length = read_fields(line)
        if length < 0 and by_length:
            length = count_ids(line)
            if length < 0:
                raise MalformedLineError("neither length nor input_ids, to hold against a limit of length")
    except MalformedLineError as error:
        part.bad += 1
        part.first_bad = part.first_bad or (part.lines, str(error))
        return None
    return source, length


def read_blocks(file: IO[bytes], first: int = 0, last: int | None = None) -> Iterator[tuple[bytes, int]]:
    """Blocks of the lines that begin at offsets from `first` to below `last`, each with its offset.

    Every line ends with a line feed, the file's last one too.

    Raises:
        LineTooLongError: a line has more than MAX_LINE_BYTES.
    """
    start = first
    if first:
        file.seek(first - 1)  # the line feed before a line that begins at `first`
        start += len(_rest_of_line(file)) - 1
    while last is None or start < last:
        block = file.read(BLOCK_BYTES if last is None else min(BLOCK_BYTES, last - start))
        if not block:
            return
        if not block.endswith(b"\n"):
            block += _rest_of_line(file)
        if not block.endswith(b"\n"):
            block += b"\n"
        yield block, start
        start += len(block)


def _rest_of_line(file: IO[bytes]) -> bytes:
    rest = file.readline(MAX_LINE_BYTES)
    if len(rest) == MAX_LINE_BYTES:
        raise LineTooLongError(f"a line of {MAX_LINE_BYTES} bytes or more")
    return rest
