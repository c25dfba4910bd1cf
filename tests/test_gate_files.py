"""Every gate file holds one gate that its test is marked with, and a test that hands the audit to the common rule."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gates.gate import Gate
from gates.options import GATES_ROOT
from gates.verdict import criteria_of
from tests.accepting import accepting, fell_short

FILES = sorted(GATES_ROOT.glob("stage?/test_*.py"))


def gate_and_test(file: Path) -> tuple[Gate, Any]:
    module = importlib.import_module(f"gates.{file.parent.name}.{file.stem}")
    (criterion,) = [each for each in vars(module).values() if isinstance(each, Gate)]
    (test,) = [each for name, each in vars(module).items() if name.startswith("test_")]
    return criterion, test


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_test_is_marked_with_the_files_gate(file: Path) -> None:
    criterion, test = gate_and_test(file)

    assert [mark.args for mark in test.pytestmark if mark.name == "gate"] == [(criterion,)]
    number, _, name = file.stem.removeprefix("test_").partition("_")
    assert criterion.id.replace(".", "").lower() == number
    assert criterion.name == name
    assert criterion.priority == ("P1" if number.startswith(("p1", "s32", "s36")) else "P0")
    assert criterion.advice


@pytest.mark.parametrize("stage", ["stage3", "stage4"])
def test_a_stage_lists_the_gates_of_its_files(stage: str) -> None:
    criteria = criteria_of(stage)

    of_files = {gate_and_test(file)[0].id for file in FILES if file.parent.name == stage}
    assert set(criteria) == of_files
    assert list(criteria) == list(importlib.import_module(f"gates.{stage}").GATES)
    assert all(criterion.id == id_ for id_, criterion in criteria.items())


@pytest.mark.parametrize("stem", ["s30_bundle", "p00_bundle"])
def test_the_bundle_gates_judge_the_audit(stem: str) -> None:
    defect = SimpleNamespace(kind="pickle", where="f")
    audit = SimpleNamespace(
        n_files=1, n_tensors=1, n_adapter_tensors=1, notes=(), of=lambda kind: [defect] if kind == "pickle" else []
    )
    accept = accepting()
    _test(stem)(audit, accept)

    assert fell_short(accept) == ["pickles"]


@pytest.mark.parametrize("stem", ["s31_identity", "p01_identity"])
def test_the_identity_gates_judge_the_audit(stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = _judged_by(stem, "judge_identity", monkeypatch)
    accept = accepting()
    _test(stem)(SimpleNamespace(identity=lambda: "the audit"), accept)

    assert judged == [("the audit", accept)]


@pytest.mark.parametrize("stem", ["s37_held_out", "p06_held_out"])
def test_the_held_out_gates_judge_the_checkpoint(stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = _judged_by(stem, "judge", monkeypatch)
    accept = accepting()
    _test(stem)("the checkpoint", accept)

    assert judged == [("the checkpoint", accept)]


def _test(stem: str) -> Any:
    (file,) = [file for file in FILES if file.stem == f"test_{stem}"]
    return gate_and_test(file)[1]


def _judged_by(stem: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    called: list[tuple[Any, ...]] = []
    stage = "stage3" if stem.startswith("s") else "stage4"
    monkeypatch.setattr(f"gates.{stage}.test_{stem}.{rule}", lambda *args: called.append(args))
    return called
