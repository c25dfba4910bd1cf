"""`make mutants` itself: names that survive edits, places that are left alone, a plan and reasons that are sound."""

from pathlib import Path

import parso
import pytest
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.operators.operator import Operator

from tests.mutants.names import Mutant, change
from tests.mutants.operators import RemoveStatement, ReplaceException
from tests.mutants.places import Places
from tests.mutants.plan import ROOT, read_plan
from tests.mutants.reasons import Reason, read_reasons
from tests.mutants.tree import not_copied

SOURCE = '''\
"""A module."""


def judge(a: int | None, *, b: float = 0.5) -> "int | None":
    """Judge."""
    c = a + 1
    c += 2
    print(f"é {c * 2} and {3}", c * 2)
    return c


def word(a: int) -> str:
    return str(a + 1)
'''


def why_not(text: str, operator: str = "core/NumberReplacer", occurrence: int = 0) -> str | None:
    places = Places(SOURCE, frozenset({"word"}))
    lines = SOURCE.splitlines()
    found = [
        (row, column)
        for row, line in enumerate(lines, 1)
        for column in range(len(line))
        if line.startswith(text, column)
    ]
    row, column = found[occurrence]
    return places.why_not(operator, (row, column), (row, column + len(text)))


def test_annotations_text_and_wording_are_left_alone() -> None:
    assert why_not("| None", "core/ReplaceBinaryOperator_BitOr_BitAnd") is not None
    assert why_not("int | None") == "an annotation"
    assert why_not("3}") == "the inside of an f-string"
    assert "only words" in (why_not("a + 1", occurrence=1) or "")


def test_code_is_not() -> None:
    assert why_not("0.5") is None
    assert why_not("+", "core/ReplaceBinaryOperator_Add_Sub") is None
    assert why_not("+= 2", "judges/RemoveStatement") is None
    assert why_not("2)") is None  # behind an f-string with a letter of two bytes


def test_a_star_that_marks_keywords_is_no_multiplication() -> None:
    assert "no operator" in (why_not("*, b", "core/ReplaceBinaryOperator_Mul_Div") or "")


@pytest.mark.parametrize(
    ("removed", "added", "name"),
    [
        (["    if g < 2:"], ["    if g <= 2:"], "if g ⟦< → <=⟧ 2:"),
        (["    x = 10"], ["    x = 11"], "x = ⟦10 → 11⟧"),
        (["    @property"], [], "⟦@property → ⟧"),
        (["    accept(", "        m)"], ["    pass"], "⟦accept( m) → pass⟧"),
        (["    a = not b"], ["    a = b"], "a = ⟦not → ⟧b"),
    ],
)
def test_a_mutant_is_named_by_what_changed(removed: list[str], added: list[str], name: str) -> None:
    assert change(removed, added) == name


def test_a_reason_is_of_its_module_and_by_name_or_pattern() -> None:
    mutant = Mutant("gates/a.py", 3, "f: x = ⟦10 → 11⟧", "core/NumberReplacer")

    assert Reason("gates/a.py", "w", (mutant.name,), ()).explains(mutant)
    assert Reason("gates/*", "w", (), ("x = ⟦10",)).explains(mutant)
    assert not Reason("gates/b.py", "w", (mutant.name,), ()).explains(mutant)
    assert not Reason("gates/a.py", "w", ("other",), ("y",)).explains(mutant)
    assert Reason("gates/a.py", "w", ("other", mutant.name), ()).gone("gates/a.py", [mutant]) == ["other"]
    assert Reason("gates/*", "w", ("other",), ()).gone("gates/a.py", []) == []


def test_the_plan_names_every_file_of_the_gates_and_tests_that_are_there() -> None:
    plan = read_plan()

    paths = [judge.path for judge in plan.judges]
    assert len(paths) == len(set(paths))
    for judge in plan.judges:
        assert judge.source
        assert judge.files
        assert all((ROOT / file).is_file() for file in judge.files)


def test_the_copy_has_every_module_and_test_of_the_plan_and_nothing_that_runs_left() -> None:
    for name in {name for judge in read_plan().judges for name in (judge.path, *judge.files)}:
        for part in (Path(name), *Path(name).parents[:-1]):
            assert not not_copied(str((ROOT / part).parent), [part.name]), name
    assert not_copied(str(ROOT), ["runs", "outputs", ".cache", "gates"]) == {"runs", "outputs", ".cache"}


@pytest.mark.parametrize("operator", [RemoveStatement, ReplaceException])
def test_our_operators_do_what_their_examples_say(operator: type[Operator]) -> None:
    for example in operator.examples():
        changed = MutationVisitor(example.occurrence, operator()).walk(parso.parse(example.pre_mutation_code))
        assert changed.get_code() == example.post_mutation_code


def test_every_reason_says_why() -> None:
    for reason in read_reasons():
        assert len(reason.why) > 20
        assert reason.mutants or reason.matching
