"""What to do next, whatever the stage: what is not measured, what is borderline, any mix of outcomes and figures."""

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates.dynamics_tasks import judge_ablation_gaps
from gates.gate import Accept
from gates.next_step import Trained, next_step
from gates.next_step.borderline import needed
from gates.next_step.decode import advice_on
from gates.next_step.hard import ADVICE_ON
from gates.next_step.trend import logged_gaps
from gates.stage3.thresholds import Stage3Thresholds
from harness.media_faults import FAULTS
from harness.results import Confidence, GateResult, Measurement, Op, Outcome, Priority, Stage, decide
from harness.tiers import tier_of
from harness.train_log import read_train_log
from harness.training_record import Stopped, TrainingRecord
from tests import test_next_step_stage3, test_next_step_stage4, test_next_step_tiers
from tests.next_steps import CRITERIA, NONE, TIER, WEAK, Case, Interval, figure, result, say, stage3, stage4

ALL = (*test_next_step_stage3.CASES, *test_next_step_tiers.CASES, *test_next_step_stage4.CASES)
_ADAPTER = result("P0.5", "fail", figure("adapted_modules", 0, op=">", threshold=0, unit="modules", n=1))


def test_too_few_examples_are_not_a_thing_to_mend() -> None:
    short = figure("t2a.win_rate_shuffled", 0.75, 0.6, 0.87, op=">=", threshold=0.7, unit="share", n=64)
    reason = "t2a.win_rate_shuffled is 0.75, asked for >= 0.7; 64 examples are too few to tell"

    said = say("stage4", stage4(result("P0.4", "error", short, reason=reason)))

    assert said.startswith("Not judged yet: P0.4 prompt_ablation had too few examples to tell. Borderline: ")
    assert "on 64 examples, asked for 0.7 (about 580 would tell)" in said


def test_what_is_not_measured_is_named() -> None:
    said = say("stage4", stage4(result("P0.3", "not_run"), result("P0.4", "error", reason="out of memory")))

    assert said.startswith(
        "Not judged yet: P0.3 decode and P0.4 prompt_ablation must be measured. Mend what stopped them"
    )


def test_a_failure_names_what_was_not_measured_beside_it() -> None:
    said = say("stage4", stage4(result("P0.3", "not_run"), _ADAPTER))

    assert said.startswith("Do not promote: P0.5 parameters failed; not measured: P0.3 decode. ")


def test_a_smoke_run_and_an_empty_one() -> None:
    assert "--max-examples" in next_step("stage4", "INCOMPLETE", stage4(), smoke=True)
    assert next_step("stage3", "INCOMPLETE", (), smoke=False) == "Not a whole run: run all gates again."


@pytest.mark.parametrize(
    ("interval", "n", "expected"),
    [
        pytest.param((0.72, 0.66, 0.78), 256, 2_400, id="a-third-of-the-half-width"),
        pytest.param((0.78, 0.69, 0.85), 128, 170, id="nearly-proven"),
        pytest.param((0.7001, 0.64, 0.76), 256, None, id="no-affordable-number"),
        pytest.param((0.70, 0.64, 0.76), 256, None, id="at-the-threshold"),
    ],
)
def test_how_many_examples_would_tell(interval: Interval, n: int, expected: int | None) -> None:
    assert needed(figure("m", *interval, op=">=", threshold=0.70, unit="share", n=n)) == expected


@pytest.mark.parametrize("gate_id", ["S3.0", "S3.1", "P0.0", "P0.1", "P0.5"])
def test_every_word_for_a_hard_gates_advice_is_still_in_it(gate_id: str) -> None:
    """ADVICE_ON looks for words of the gates' own advice: whoever rewords that is told here."""
    advice = " ".join(text for gate in CRITERIA.values() for text in gate.advice).lower()

    assert [words for each in ADVICE_ON.values() for words in each if words.lower() not in advice] == []
    assert CRITERIA[gate_id].advice


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_decoding_has_its_own_advice(fault: str) -> None:
    gate = result("P0.3", "fail")

    assert fault.lower() in advice_on(gate, fault).partition(":")[0].lower()


def test_tiers() -> None:
    assert [tier_of(rows) for rows in (0, 2048, 2049, 8192, 8193, 51_200, 51_201)] == [
        "A", "A", "B", "B", "C", "C", "full",
    ]  # fmt: skip


def test_thresholds_of_the_run_are_used() -> None:
    gates, lenient = stage3(a2t=WEAK), Stage3Thresholds(near_zero_gap_nats=-1.0)

    strict = next_step("stage3", "REJECT", stage3(a2t=NONE), smoke=False, thresholds=lenient, trained=TIER["B"])

    assert "near zero" not in strict
    assert "below the numbers" in say("stage3", gates, TIER["B"])


# ---------------------------------------------------------------------- whatever the gates left

_NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True)
_GAPS = {"delta_shuffle_a2t_first", "delta_shuffle_a2t_last"}
_NAMES = sorted({m.name for g in (*stage3(), *stage4()) for m in g.measurements} | _GAPS)
_MEASUREMENTS = st.builds(
    Measurement,
    name=st.sampled_from(_NAMES),
    value=_NUMBERS, low=_NUMBERS, high=_NUMBERS, threshold=_NUMBERS,
    unit=st.sampled_from(["share", "nats/token", "%", "rows"]),
    n=st.integers(0, 10**6),
    op=st.none() | st.sampled_from(get_args(Op)),
    confidence=st.none() | st.sampled_from(get_args(Confidence)),
)  # fmt: skip
_TABLES: list[dict[str, Any]] = [{}, {"reason": "too few to tell"}, {"tables": [{"rows": [["cut off", None, 2]]}]}]
_DETAILS = st.sampled_from(_TABLES)
_CONFIGS = [{}, {"backbone": "qwen3-0.6b"}, {"backbone": 3}, {"mix": {"shares": {"t2a": 0}}}, {"mix": 1}]
_RECORDS = st.builds(
    TrainingRecord,
    stage=st.sampled_from([3, 4]), step=st.integers(0, 10**6), train_rows=st.integers(0, 10**6),
    effective_batch=st.integers(1, 512), max_steps=st.integers(1, 10**6), stopped=st.sampled_from(get_args(Stopped)),
    config=st.sampled_from(_CONFIGS),
)  # fmt: skip
_TRAINED = st.builds(Trained, record=st.none() | _RECORDS, problem=st.none() | st.just("training.json is odd"))


@st.composite
def _runs(draw: st.DrawFn) -> tuple[Stage, tuple[GateResult, ...]]:
    stage: Stage = draw(st.sampled_from(get_args(Stage)))
    ids = draw(st.sets(st.sampled_from([g.id for g in (stage3() if stage == "stage3" else stage4())]), min_size=1))
    outcome: st.SearchStrategy[Outcome] = st.sampled_from([*get_args(Outcome), "pass", "pass"])
    gates = []
    for gate_id in sorted(ids):
        figures = draw(st.lists(_MEASUREMENTS, max_size=8))
        gates.append(result(gate_id, draw(outcome), *figures, **draw(_DETAILS)))
    priority: Priority = draw(st.sampled_from(get_args(Priority)))
    return stage, (*gates, result("P0.9", draw(outcome)).model_copy(update={"priority": priority}))


@given(_runs(), _TRAINED, st.booleans())
def test_any_mix_of_outcomes_and_figures_has_a_next_step(
    run: tuple[Stage, tuple[GateResult, ...]], trained: Trained, smoke: bool
) -> None:
    stage, gates = run
    decision = decide(gates, smoke=smoke)

    said = next_step(stage, decision, gates, smoke=smoke, trained=trained)

    assert said.strip()
    green = all(gate.outcome == "pass" for gate in gates if gate.priority == "P0")
    if smoke or not green:
        assert "go on" not in said.lower()
        assert "scale run" not in said
    if decision == "REJECT":
        assert said.startswith("Do not promote")


@given(st.sampled_from(ALL), _TRAINED, st.data())
def test_a_gate_that_is_not_green_is_never_gone_on_from(case: Case, trained: Trained, data: st.DataObject) -> None:
    """As above, on results as the gates leave them, one P0 gate of which ended otherwise."""
    which = data.draw(st.sampled_from([gate.id for gate in case.gates if gate.priority == "P0"]))
    outcome = data.draw(st.sampled_from(["fail", "error", "not_run"]))
    gates = tuple(g.model_copy(update={"outcome": outcome}) if g.id == which else g for g in case.gates)

    said = say(case.stage, gates, trained)

    assert which in said or decide(gates, smoke=False) == "REJECT"
    assert "go on" not in said.lower()


def test_the_trend_reads_what_the_log_gate_reports(tmp_path: Path) -> None:
    log = tmp_path / "train_log.jsonl"
    log.write_text('{"step": 50, "delta_shuffle_a2t": 0.04}\n{"step": 100, "delta_shuffle_a2t": 0.09}\n')
    accept = Accept(CRITERIA["S3.6"])

    judge_ablation_gaps(accept, read_train_log(log), min_last_nats=0.02, max_drop_pct=25.0)

    assert logged_gaps((result("S3.6", "pass", *accept.measurements),)) == {"delta_shuffle_a2t": (0.04, 0.09)}
