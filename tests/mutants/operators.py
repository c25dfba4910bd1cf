"""Which of cosmic-ray's operators are used, and one of our own: a judgement that is left out.

cosmic-ray replaces every operator by every other one. Here each is replaced by its neighbour and its opposite, as the
usual reduced sets do: whatever tells `<` from `<=` and from `>=` tells it from `==` and `is not` too, and eleven
replacements for one `+` would count one weak test eleven times, or one strong one.
"""

from collections.abc import Iterator
from typing import Any

import cosmic_ray.plugins
import parso
from cosmic_ray.exceptions import CosmicRayTestingException
from cosmic_ray.operators.exception_replacer import ExceptionReplacer
from cosmic_ray.operators.operator import Example, Operator
from parso.python.tree import Name

_COMPARISONS = (
    "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Eq_NotEq", "NotEq_Eq",
    "Is_IsNot", "IsNot_Is",
)  # fmt: skip
_BINARY = (
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul", "BitOr_BitAnd", "BitAnd_BitOr",
    "BitXor_BitAnd", "LShift_RShift",
)  # fmt: skip
_UNARY = ("USub_UAdd", "Delete_Not", "Delete_Invert")
_OTHERS = (
    "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer", "RemoveDecorator",
    "ZeroIterationForLoop",
)  # fmt: skip
_OURS = "judges"
Node = Any  # of parso, which has no types

OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{each}" for each in _COMPARISONS),
    *(f"core/ReplaceBinaryOperator_{each}" for each in _BINARY),
    *(f"core/ReplaceUnaryOperator_{each}" for each in _UNARY),
    *(f"core/{each}" for each in _OTHERS),
    f"{_OURS}/RemoveStatement",
)


class RemoveStatement(Operator):
    """Leaves a statement out that is a call, such as `accept(…)`, or that adds to a variable in place."""

    def mutation_positions(self, node: Node) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """The statements of the kind, each once."""
        if node.parent is None or node.parent.type != "simple_stmt":
            return
        called = node.type in ("atom_expr", "power") and node.children[-1].get_code().startswith("(")
        added = node.type == "expr_stmt" and node.children[1].get_code().strip() in ("+=", "-=", "|=", "&=", "*=")
        if called or added:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Node, index: int) -> Node:
        """`pass` in its place."""
        assert index == 0
        return parso.parse(f"{node.get_first_leaf().prefix}pass")

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """As cosmic-ray asks for."""
        return (Example("accept(m)\nx = 1\n", "pass\nx = 1\n"), Example("x += 1\n", "pass\n"))


class ReplaceException(ExceptionReplacer):
    """cosmic-ray's own breaks where one of several exceptions is named with its module: `except (a.B, C)`."""

    def mutate(self, node: Node, index: int) -> Node:
        """Another exception in its place, as theirs."""
        replaced = self._name_nodes(node)[index]
        if replaced.type not in ("power", "atom_expr"):
            return super().mutate(node, index)
        name = Name(CosmicRayTestingException.__name__, replaced.start_pos, replaced.get_first_leaf().prefix)
        replaced.children[:] = [name]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """As cosmic-ray asks for."""
        replaced = CosmicRayTestingException.__name__
        given = "try: pass\nexcept (a.B, C): pass"
        return (Example(given, f"try: pass\nexcept ({replaced}, C): pass"),
                Example(given, f"try: pass\nexcept (a.B, {replaced}): pass", occurrence=1))  # fmt: skip


def register() -> None:
    """Let cosmic-ray know these operators and no others."""
    own = {"RemoveStatement": RemoveStatement}
    core = dict.fromkeys(name.split("/")[1] for name in OPERATORS if name.startswith("core/"))
    known = cosmic_ray.plugins.OPERATOR_PROVIDERS["core"]
    cosmic_ray.plugins.OPERATOR_PROVIDERS.clear()
    replaced = {"ExceptionReplacer": ReplaceException}
    cosmic_ray.plugins.OPERATOR_PROVIDERS["core"] = {name: replaced.get(name, known[name]) for name in core}
    cosmic_ray.plugins.OPERATOR_PROVIDERS[_OURS] = own
