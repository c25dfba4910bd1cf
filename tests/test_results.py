"""verdict.json: its schema, its round trip, and what follows from outcomes."""

import itertools
import json
from pathlib import Path

import jsonschema
import pytest

import harness
from harness.errors import HarnessError
from harness.results import (
    EXIT_CODES,
    CheckpointId,
    GateResult,
    InputId,
    Measurement,
    Outcome,
    Priority,
    RunInfo,
    ThresholdsUsed,
    Verdict,
    decide,
    read_verdict,
    write_verdict,
)

SCHEMA = Path(harness.__file__).parent / "verdict.schema.json"


def _gate(outcome: Outcome, priority: Priority = "P0") -> GateResult:
    return GateResult(id="P0.9", name="n", priority=priority, outcome=outcome, claim="c")


def _verdict(*gates: GateResult) -> Verdict:
    return Verdict(
        stage="stage4",
        verdict="REJECT",
        checkpoint=CheckpointId(path="c", step=None, sha256=None),
        inputs={"base": InputId(path="b", sha256="0" * 64)},
        token_space_sha256=None,
        gates=gates,
        next_step="n",
        thresholds=ThresholdsUsed(),
        run=RunInfo(
            command="c", seed=0, device="cpu", dtype="float32", versions={}, started="2026-01-01", duration_s=0.0
        ),
    )


def test_promote_takes_every_p0_gate_and_nothing_else() -> None:
    outcomes: tuple[Outcome, ...] = ("pass", "fail", "error", "not_run")
    for a, b in itertools.product(outcomes, repeat=2):
        decision = decide((_gate(a), _gate(b)), smoke=False)
        expected = "REJECT" if "fail" in (a, b) else "PROMOTE" if (a, b) == ("pass", "pass") else "INCOMPLETE"
        assert decision == expected


@pytest.mark.parametrize("outcome", ["fail", "error", "not_run"])
def test_a_p1_gate_warns_and_does_not_block(outcome: Outcome) -> None:
    assert decide((_gate("pass"), _gate(outcome, "P1")), smoke=False) == "PROMOTE"


def test_no_gate_and_no_p0_gate_are_incomplete() -> None:
    assert decide((), smoke=False) == "INCOMPLETE"
    assert decide((_gate("pass", "P1"),), smoke=False) == "INCOMPLETE"


def test_a_smoke_run_is_incomplete_even_when_green() -> None:
    assert decide((_gate("pass"),), smoke=True) == "INCOMPLETE"
    assert decide((_gate("fail"),), smoke=True) == "REJECT"


def test_a_verdict_survives_the_file_and_nan_becomes_null(tmp_path: Path) -> None:
    nan = Measurement(name="m", value=float("nan"), unit="share", n=0, op=">=", threshold=0.7)
    path = tmp_path / "verdict.json"

    write_verdict(path, _verdict(_gate("fail").model_copy(update={"measurements": (nan,)})))

    assert "NaN" not in path.read_text()
    assert read_verdict(path).gates[0].measurements[0].value is None
    jsonschema.validate(json.loads(path.read_text()), json.loads(SCHEMA.read_text()))


def test_the_shipped_schema_is_that_of_the_code() -> None:
    shipped = json.loads(SCHEMA.read_text())

    assert shipped.pop("$schema") == "https://json-schema.org/draft/2020-12/schema"
    assert shipped == Verdict.model_json_schema(mode="serialization")


def test_a_file_that_is_no_verdict_is_named(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    path.write_text("{}")

    with pytest.raises(HarnessError, match=r"verdict\.json: found stage: Field required; expected a gate-verdict/1"):
        read_verdict(path)


def test_exit_codes_are_the_contracts() -> None:
    assert EXIT_CODES == {"PROMOTE": 0, "REJECT": 1, "INCOMPLETE": 10}
