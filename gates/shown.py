"""Foreign text (prompts, paths, error texts, names of checkpoints) on its way to a terminal, a log or a file.

A prompt may hold an escape sequence that clears the screen or rewrites what stands above it, and a path or a JSON
string half a character, which no encoder takes. Both are shown escaped, as Python writes them: `\\x1b`, `\\ud800`.
"""

import re
from typing import Any

import pytest
from _pytest._code.code import TerminalRepr

# Control characters but newline and tab, marks that reorder or hide text, separators of lines, and lone surrogates.
_REORDERING = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f"
_UNPRINTABLE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_REORDERING}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_MESSAGE = 20_000  # characters of an error on a terminal; the whole of it stands in the verdict


def printable(text: str) -> str:
    """The text without a character that a terminal would act on; newline and tab stay."""
    return _UNPRINTABLE.sub(_escaped, text)


def one_line(text: str, limit: int) -> str:
    """The text as one printable line of at most `limit` characters; a cut shows as an ellipsis."""
    # Cut before it is escaped as well: a megabyte is not to be rewritten for a line.
    line = " ".join(printable(text[: 4 * limit]).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def message(text: str) -> str:
    """An error's text as a terminal and a JUnit file get it."""
    shown = printable(text[:MAX_MESSAGE])
    left = len(text) - MAX_MESSAGE
    return f"{shown}… ({left} more characters: see verdict.json)" if left > 0 else shown


def encodable(value: Any) -> Any:
    """A JSON-able value in which every string can be written as UTF-8."""
    if isinstance(value, str):
        return _SURROGATE.sub(_escaped, value)
    if isinstance(value, dict):
        return {encodable(key): encodable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(each) for each in value]
    return value


def make_printable(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make what a report shows of an error, and of what was printed meanwhile, printable in place."""
    report.longrepr = _printable(report.longrepr)
    report.sections = [(name, printable(content)) for name, content in report.sections]


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return message(value)
    if isinstance(value, list | tuple):
        return type(value)(_printable(each) for each in value)
    if isinstance(value, TerminalRepr):
        # pytest's tracebacks: objects that hold strings and each other.
        for name, each in vars(value).items():
            setattr(value, name, _printable(each))
    return value


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
