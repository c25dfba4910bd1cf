"""The gates' power, simulated: the gates' own code judges, and what comes out agrees with what was computed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gates.gate import Accept
from gates.power.ablations import AblationId, AblationTrial, Truth, ablation_gate
from gates.power.chances import Chances, Counts
from gates.power.exact import Figure, gate_chances
from gates.power.losses import draw_losses
from gates.power.shares import CollapseTrial, EndTrial, collapse_rule, end_chances
from gates.power.texts import TextTrial, TextTruth, text_chances
from gates.power.trial import OneGenerator, Runs, Trial, run_trial, run_trials
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4 import test_p04_prompt_ablation as p04
from gates.stage4.thresholds import Stage4Thresholds
from harness.looks import Looks
from harness.results import Measurement

SPEC = Stage4Thresholds()
RUNS = Runs(100)


def thresholds_of(id: AblationId) -> Stage3Thresholds | Stage4Thresholds:
    return Stage3Thresholds() if id == "S3.4" else SPEC


def ablation_trial(id: AblationId, truth: Truth, *sizes: int, strict: bool = False) -> AblationTrial:
    return AblationTrial(id, thresholds_of(id), truth, Looks(sizes), strict=strict)


def agrees(counts: Counts, chances: Chances) -> bool:
    """Within four standard errors. The seeds are fixed: it holds now, or there is something to find."""
    return all(
        abs(counts.share(outcome) - getattr(chances, outcome)) <= 4 * counts.error(outcome)
        for outcome in ("passes", "fails")
    )


# ---------------------------------------------------------------- agreement


@pytest.mark.parametrize(
    ("id", "truth", "sizes", "strict"),
    [
        pytest.param("P0.4", Truth(0.85, "shuffled"), (64,), False, id="P0.4-too-few"),
        pytest.param("P0.4", Truth(0.72, "shuffled"), (256,), False, id="P0.4-enough"),
        pytest.param("P0.4", Truth(0.85), (256,), True, id="P0.4-strict"),
        pytest.param("P0.4", Truth(0.72, "shuffled"), (256, 512), False, id="P0.4-two-looks"),
        pytest.param("P0.4", Truth(0.82, "shuffled"), (64, 128), True, id="P0.4-two-looks-strict"),
        pytest.param("P0.4", Truth(0.70, "shuffled", in_one_task=True), (256,), False, id="P0.4-one-task"),
        pytest.param("S3.4", Truth(0.82, "shuffled"), (128, 256), False, id="S3.4-two-looks"),
        pytest.param("P1.2", Truth(0.87), (128,), False, id="P1.2-every-condition"),
    ],
)
def test_what_the_gates_judge_agrees_with_what_was_computed(
    id: AblationId, truth: Truth, sizes: tuple[int, ...], strict: bool
) -> None:
    gate = ablation_gate(id, thresholds_of(id))
    computed = gate_chances(gate.figures(truth, strict=strict), Looks(sizes))

    counts = run_trial(ablation_trial(id, truth, *sizes, strict=strict), RUNS)

    assert agrees(counts, computed), (counts, computed)
    assert 0.02 < computed.passes < 0.98  # a cell in which something may come out wrong


@pytest.mark.parametrize("change", [0.0, 2.0, 2.5])
def test_texts_agree(change: float) -> None:
    truth = TextTruth(change, 0.1, 2.0)

    counts = run_trial(TextTrial("P1.4", truth, 128), Runs(400))

    assert agrees(counts, text_chances(truth, 128)), counts


@pytest.mark.parametrize(("before", "now"), [(None, 0.02), (0.9, 0.8), (0.5, 0.5)])
def test_end_tags_agree(before: float | None, now: float) -> None:
    counts = run_trial(EndTrial(SPEC, before, now, 64), Runs(400))

    assert agrees(counts, end_chances(SPEC, before, now, 64)), counts


def test_collapse_agrees() -> None:
    counts = run_trial(CollapseTrial(SPEC, 0.10, 64), Runs(400))

    assert agrees(counts, gate_chances([[Figure(collapse_rule(SPEC), 0.9)]], Looks((64,)))), counts


# ---------------------------------------------------------------- it is the gates that judge


def test_the_gates_own_function_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(accept: Accept, *_: object) -> None:
        accept(Measurement(name="t2a.nothing", value=0.0, unit="", n=1), at_least=1)

    assert run_trial(ablation_trial("P0.4", Truth(0.9), 256), Runs(5)).passes == 5
    monkeypatch.setattr(p04, "judge_prompts", refuse)

    assert run_trial(ablation_trial("P0.4", Truth(0.9), 256), Runs(5)).fails == 5


@pytest.mark.parametrize(
    ("changed", "passes"),
    [
        pytest.param({}, True, id="the-specs"),
        pytest.param({"min_win_rate_empty_prompt": 0.99}, False, id="win-rate"),
        pytest.param({"min_gap_empty_prompt_nats": 0.5}, False, id="the-gap-that-nothing-was-computed-of"),
        pytest.param({"recommended_ablation_examples": 2000}, False, id="recommended"),
    ],
)
def test_a_changed_threshold_changes_what_comes_out(changed: dict[str, float], passes: bool) -> None:
    thresholds = Stage4Thresholds.model_validate(changed)
    trial = AblationTrial("P0.4", thresholds, Truth(0.85), Looks((256,)))

    counts = run_trial(trial, Runs(30))

    assert (counts.passes > 20) is passes, counts


def test_other_thresholds_judge_the_same_draws() -> None:
    found = [
        run_trial(AblationTrial("P0.4", thresholds, Truth(0.7, "shuffled"), Looks((256,))), Runs(40)).passes
        for least in (0.67, 0.70, 0.73)
        for thresholds in (Stage4Thresholds(min_win_rate_shuffled_prompt=least),)
    ]

    assert found[0] > found[1] > found[2]
    # What P0.4 does not ask for changes nothing at all.
    others = Stage4Thresholds(max_collapsed_share=0.5)
    assert run_trial(AblationTrial("P0.4", others, Truth(0.7, "shuffled"), Looks((256,))), Runs(40)).passes == found[1]


def test_further_looks_are_taken_only_where_a_figure_is_borderline() -> None:
    gate, seen = ablation_gate("P0.4", SPEC), []

    def watch(accept: Accept, draws: OneGenerator, ablations: object, looks: dict[str, Looks]) -> None:
        seen.append([look.so_far[-1] for look in looks.values()])
        gate.judge(accept, draws, ablations, looks)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gates.power.ablations.ablation_gate", lambda *_: replace(gate, judge=watch))
        for w in (0.99, 0.7):
            run_trial(ablation_trial("P0.4", Truth(w, "shuffled", in_one_task=True), 256, 512), Runs(1))

    assert seen == [[256, 256], [256, 256], [512, 256]]


# ---------------------------------------------------------------- the model


@settings(max_examples=25, deadline=None)
@given(w=st.floats(0, 1), correlation=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 1000))
def test_the_drawn_losses_have_the_true_win_rate(w: float, correlation: float, seed: int) -> None:
    n, rates = 4000, {"shuffled": w, "empty": 0.5}

    drawn = draw_losses("t2a", "prompt", rates, n, correlation, np.random.default_rng(seed))
    won = drawn.first("t2a", n).pair("shuffled").win_share

    assert won == pytest.approx(w, abs=6 * np.sqrt(w * (1 - w) / n) + 1e-9)
    assert drawn.correct.min() >= 0
    assert np.isfinite(drawn.gaps["shuffled"]).all()


@pytest.mark.parametrize(("w", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_nobody_or_everybody_wins(w: float, share: float) -> None:
    drawn = draw_losses("i2t", "media", {"noise": w}, 500, 0.0, np.random.default_rng(0))

    assert drawn.first("i2t", 500).pair("noise").win_share == share


def test_a_later_look_sees_the_examples_of_the_earlier_one() -> None:
    drawn = draw_losses("t2i", "prompt", {"empty": 0.8}, 20, 0.0, np.random.default_rng(0))
    few, all_of_them = drawn.first("t2i", 8).pair("empty"), drawn.first("t2i", 20).pair("empty")

    assert few.ablated.tolist() == all_of_them.ablated[:8].tolist()
    assert len(set(all_of_them.clusters)) == 20


# ---------------------------------------------------------------- running


def test_neither_the_others_nor_the_workers_change_what_a_trial_gives() -> None:
    trials: list[Trial] = [CollapseTrial(SPEC, share, 64) for share in (0.05, 0.10, 0.15)]

    alone = [run_trial(trial, Runs(50, 7)) for trial in trials]

    assert list(run_trials([*trials, trials[0]], Runs(50, 7)).values()) == alone
    assert list(run_trials(trials, Runs(50, 7, workers=2)).values()) == alone
    assert list(run_trials(trials, Runs(50, 8)).values()) != alone
    assert run_trials(trials, Runs(0)) == {}


def test_none_of_few_has_an_error() -> None:
    counts = Counts(passes=0, fails=20, n=20)

    assert counts.share("passes") == 0
    assert counts.error("passes") == pytest.approx(counts.error("fails")) == pytest.approx(0.0466, abs=1e-4)
    assert counts.share("unclear") == 0
