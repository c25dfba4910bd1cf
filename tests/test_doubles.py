"""Models that were misled in training: each fails the gate that asks for what it did not learn, and no other."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import Double, write_double
from tests.gating import findings, run_gate

# What each has learned, by gate: P0.4 it listens to the prompt; P1.2 and S3.4 it reads its media.
EXPECTED: dict[Double, dict[str, str]] = {
    "sound": {"P0.4": "pass", "P1.2": "pass", "S3.4": "pass"},
    "prompt_blind": {"P0.4": "fail", "P1.2": "pass"},
    "media_blind": {"P0.4": "pass", "P1.2": "fail", "S3.4": "fail"},
    "rolled": {"P0.4": "fail", "S3.4": "fail"},
    "unconditional": {"P0.4": "fail"},
}
CASES = [(name, gate_id) for name, outcomes in EXPECTED.items() for gate_id in outcomes]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Double], Path]:
    """The checkpoint of a double, trained when first asked for."""
    return functools.cache(lambda name: write_double(tmp_path_factory.mktemp(name), name))


@pytest.mark.parametrize(("name", "gate_id"), CASES)
def test_a_misled_model_fails_the_gate_of_what_it_did_not_learn(
    pytester: pytest.Pytester, trained: Callable[[Double], Path], name: Double, gate_id: str
) -> None:
    gate = run_gate(pytester, gate_id, trained(name))

    assert gate["outcome"] == EXPECTED[name][gate_id], findings(gate)
    if gate["outcome"] == "fail":
        assert "win_rate" in findings(gate)
        assert _win_rate_of_strangers(gate) == pytest.approx(0.5, abs=0.12)


def _win_rate_of_strangers(gate: dict[str, Any]) -> float:
    """The lowest win rate of the own prompt or medium over another's: a coin's, where nothing is listened to."""
    strangers = ("win_rate_swapped", "win_rate_shuffled")
    return min(m["value"] for m in gate["measurements"] if m["name"].endswith(strangers))
