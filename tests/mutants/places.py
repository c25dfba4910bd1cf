"""Places of a source file that are not mutated: nothing is judged there."""

import ast
from collections.abc import Iterator

Position = tuple[int, int]  # line from 1, column from 0 in characters
Span = tuple[Position, Position]
_BINARY = "core/ReplaceBinaryOperator"


class Places:
    """The places of one module.

    Args:
        source: its text.
        wording: names of its functions that only word or draw something.
    """

    def __init__(self, source: str, wording: frozenset[str]) -> None:
        self._lines = source.splitlines()
        nodes = list(ast.walk(ast.parse(source)))
        self._left_out = {self._span(part, part): why for node in nodes for part, why in _left_out(node, wording)}
        self._operators = [self._span(*ends) for node in nodes for ends in _operators(node)]

    def why_not(self, operator: str, start: Position, end: Position) -> str | None:
        """Why what lies between two positions is not mutated by an operator; None where it is."""
        if operator.startswith(_BINARY) and not any(first <= start and end <= last for first, last in self._operators):
            return "a star that is no operator (`*, name`)"
        return next((why for (first, last), why in self._left_out.items() if first <= start and end <= last), None)

    def _span(self, first: ast.expr | ast.stmt, last: ast.expr | ast.stmt) -> Span:
        start, end = (first.lineno, first.col_offset), (last.end_lineno or 0, last.end_col_offset or 0)
        return self._in_characters(start), self._in_characters(end)

    def _in_characters(self, position: Position) -> Position:
        """`ast` counts columns in bytes of UTF-8."""
        row, column = position
        return row, len(self._lines[row - 1].encode()[:column].decode())


def _left_out(node: ast.AST, wording: frozenset[str]) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
        if isinstance(annotation, ast.expr):
            yield annotation, "an annotation"
    if isinstance(node, ast.JoinedStr):
        yield node, "the inside of an f-string"
    if isinstance(node, ast.FunctionDef) and node.name in wording:
        yield node, "a function that only words or draws something (`wording` in plan.toml)"


def _operators(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.expr | ast.stmt]]:
    if isinstance(node, ast.BinOp):
        yield node.left, node.right
    elif isinstance(node, ast.AugAssign):
        yield node, node
