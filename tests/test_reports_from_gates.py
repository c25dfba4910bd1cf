"""What the gates leave for the report is what the report reads: real gates, a tiny checkpoint, no made-up details."""

import pytest

from harness.results import GateResult
from reports.ablations import read_ablations
from reports.details import read_details
from reports.samples import smallest_failing
from reports.strips import read_stretches
from tests.gating import run_gate
from tests.tiny import write_tiny


def test_the_parameter_gate_leaves_the_rows_that_moved(pytester: pytest.Pytester) -> None:
    gate = GateResult.model_validate(run_gate(pytester, "P0.5", write_tiny(pytester.path).ckpt))

    ranges = read_stretches(gate)["Embedding"]

    assert [each.name for each in ranges][:3] == ["TEXT", "SPECIAL", "IMAGE"]
    assert ranges[0].moved == "0 of 48 moved"
    assert not any(each.wrong for each in ranges)
    assert any("9" in map(str, each.bins) for each in ranges[1:])


def test_the_prompt_ablation_names_the_examples_that_do_not_need_their_prompt(pytester: pytest.Pytester) -> None:
    gate = GateResult.model_validate(run_gate(pytester, "P0.4", write_tiny(pytester.path).ckpt))
    details = read_details(gate.details)

    tasks = read_ablations(gate, details)
    found = smallest_failing(gate.model_copy(update={"outcome": "fail"}), details)

    assert {each.task for each in tasks} == {"t2a", "t2i"}
    assert all(each.wins and each.gap and each.parts for task in tasks for each in task.conditions)
    lost = [pairs for pairs in details.pairs if pairs.n_above < pairs.n_finite and "reordered" not in pairs.name]
    assert (found is not None) == bool(lost)
    if found is not None:
        assert "its own prompt does not help" in found.note
