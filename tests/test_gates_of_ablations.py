"""S3.4, P0.4 and P1.2 judge losses that were made up: every condition by its own numbers, and the losers named."""

from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from gates.ablation import MediaRule, judge_media_ablation, judge_null_control, keep_losses
from gates.gate import Accept
from gates.stage3 import test_s34_modality_ablation as s34
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4 import test_p04_prompt_ablation as p04
from gates.stage4 import test_p12_read_ablation as p12
from gates.stage4.thresholds import Stage4Thresholds
from harness.ablation import Ablation
from harness.looks import Looks
from harness.token_space import parse_token_space
from tests.accepting import accepting, fell_short, figures, named, notes, rules, worst
from tests.tiny import token_space_object

N = 200
LOOK = Looks((N,))


class Draws:
    """A generator for every purpose."""

    def rng(self, *purpose: str) -> np.random.Generator:
        return np.random.default_rng(crc32("|".join(purpose).encode()))


def ablation(task: Any = "a2t", n: int = N, own: float = 2.0, **gaps: Any) -> Ablation:
    """Losses of `own`, and of that and so much under every condition."""
    correct = np.full(n, own)
    scores: dict[str, Any] = {"correct": SimpleNamespace(nll=correct)}
    scores |= {name: SimpleNamespace(nll=correct + np.broadcast_to(gap, n)) for name, gap in gaps.items()}
    examples: Any = tuple(SimpleNamespace(id=f"e{i:03}", text="w" * (1 + i % 7), source=f"s{i % 2}") for i in range(n))
    index = {name: np.arange(n) for name in scores}
    return Ablation(task, examples, 0, tuple(map(str, range(n))), scores, index, 0.0, 0.0)


def spread(mean: float, wins: float = 1.0, n: int = N) -> np.ndarray:
    """Gaps of that mean, of which a share is above 0."""
    lost = round((1 - wins) * n)
    gaps = np.full(n, (mean * n + 0.001 * lost) / (n - lost))
    gaps[:lost] = -0.001
    return gaps


# ---------------------------------------------------------------------- one rule

RULE = MediaRule(min_win_rate=0.8, min_gap_nats=0.1, min_gap_pct=5.0)


def media(gaps: Any, rule: MediaRule = RULE, own: float = 2.0, recommended: int = N) -> Accept:
    accept = accepting()
    measured = ablation(own=own, noise=gaps)
    judge_media_ablation(accept, Draws(), measured, LOOK, {"noise": rule}, recommended)
    return accept


def test_media_that_are_read() -> None:
    accept = media(spread(0.3, 0.95))

    assert accept.failures == accept.unclear == []
    assert rules(accept) == {
        "a2t.win_rate_noise": ">= 0.8", "a2t.delta_noise": ">= 0.1", "a2t.delta_noise_pct": ">= 5",
    }  # fmt: skip
    assert named(accept, "a2t.delta_noise").value == pytest.approx(0.3)
    assert named(accept, "a2t.delta_noise_pct").value == pytest.approx(15)


def test_the_win_rate_is_judged_apart_from_the_gap() -> None:
    assert fell_short(media(spread(0.3, 0.6))) == ["a2t.win_rate_noise"]
    assert set(fell_short(media(spread(0.02, 1.0)))) == {"a2t.delta_noise", "a2t.delta_noise_pct"}


def test_either_unit_of_the_gap_will_do() -> None:
    assert media(spread(0.15), own=9.0).failures == []
    assert media(spread(0.06), own=1.0).failures == []


def test_on_fewer_examples_than_recommended_only_what_is_proven_passes() -> None:
    assert media(spread(0.3, 0.82), recommended=N).unclear == []
    assert len(media(spread(0.3, 0.82), recommended=N + 1).unclear) == 1


@pytest.mark.parametrize(
    "rule", [MediaRule(), MediaRule(min_gap_nats=0.1), MediaRule(min_gap_pct=5.0)], ids=["none", "nats", "pct"]
)
def test_without_both_numbers_any_gap_above_nought_will_do(rule: MediaRule) -> None:
    accept = media(spread(0.01, 0.7), rule)

    assert rules(accept) == {"a2t.delta_noise": "> 0"}
    assert accept.failures == []
    assert figures(accept)["a2t.win_rate_noise"] == (pytest.approx(0.7), N)
    assert fell_short(media(np.zeros(N), rule)) == ["a2t.delta_noise"]


def test_every_condition_is_judged() -> None:
    accept = accepting()
    measured = ablation(shuffled=spread(0.3), noise=spread(0.01))
    judge_media_ablation(accept, Draws(), measured, LOOK, {"noise": MediaRule(), "shuffled": RULE}, N)

    assert set(rules(accept)) == {
        "a2t.delta_noise",
        "a2t.win_rate_shuffled",
        "a2t.delta_shuffled",
        "a2t.delta_shuffled_pct",
    }


def test_the_level_is_that_of_the_looks() -> None:
    accept, wide = accepting(), accepting()
    measured = ablation(noise=spread(0.3, 0.9))
    judge_media_ablation(accept, Draws(), measured, LOOK, {"noise": RULE}, N)
    judge_media_ablation(wide, Draws(), measured, Looks((N, 512, 1024)), {"noise": RULE}, N)

    for name in ("a2t.win_rate_noise", "a2t.delta_noise", "a2t.delta_noise_pct"):
        assert (named(wide, name).low or 0) < (named(accept, name).low or 0)


@pytest.mark.parametrize(("gap", "failed"), [(0.0, []), (1e-9, ["a2t.null_gap"])])
def test_ablating_nothing_changes_nothing(gap: float, failed: list[str]) -> None:
    accept = accepting()
    judge_null_control(accept, Ablation("a2t", tuple(range(99)), 0, (), {}, {}, gap, 1e-7))  # type: ignore[arg-type]

    assert fell_short(accept) == failed
    assert figures(accept)["a2t.canary_gap"] == (1e-7, 1)
    few = accepting()
    judge_null_control(few, Ablation("a2t", (1, 2), 0, (), {}, {}, gap, 0.0))  # type: ignore[arg-type]
    assert figures(accept)["a2t.null_gap"][1] > figures(few)["a2t.null_gap"][1] == 2


# ---------------------------------------------------------------------- what is kept


def kept(measured: Ablation, **judge: MediaRule) -> Accept:
    accept = accepting()
    judge_media_ablation(accept, Draws(), measured, LOOK, judge, N)
    keep_losses(accept, measured, "media")
    return accept


def test_the_losses_of_every_condition_are_kept() -> None:
    measured = ablation(n=4, shuffled=1.0, noise=[1.0, 2.0, 3.0, 4.0])
    accept = kept(measured)

    pairs = accept.details["pairs"]
    assert set(pairs) == {"a2t: shuffled media", "a2t: noise media"}
    assert pairs["a2t: noise media"] == {"correct": [2.0] * 4, "ablated": [3.0, 4.0, 5.0, 6.0], "media": [0, 1, 2, 3]}
    assert accept.details["losses"] == {"a2t": {"correct": 2.0, "shuffled": 3.0, "noise": 4.5}}
    assert notes(accept) == ""


def test_dev_examples_and_shared_media_are_told() -> None:
    one = ablation(n=4, noise=1.0)
    fields = {**vars(one), "from_dev": 3, "media": ("a", "a", "b", "a")}
    accept = kept(Ablation(**fields))

    assert "a2t: 3 examples came from the dev set" in notes(accept)
    assert "a2t: 4 examples share 2 media; intervals count the media" in notes(accept)
    assert accept.details["pairs"]["a2t: noise media"]["media"] == [0, 0, 1, 0]


def test_losers_of_a_judged_condition_are_named_the_shortest_and_the_worst() -> None:
    gaps = spread(0.5)
    gaps[[3, 7, 12]] = [-0.1, 0.0, -0.9]  # texts of four, one and six letters
    accept = kept(ablation(shuffled=gaps, noise=gaps), shuffled=RULE)

    assert worst(accept) == [
        ("e007", "w", "a2t, shuffled media: Δ 0 nats/token, so that its own media does not help"),
        ("e012", "w" * 6, "a2t, shuffled media: Δ -0.9 nats/token, so that its own media does not help"),
    ]


def test_a_loser_is_named_once_and_a_nan_is_one() -> None:
    gaps = spread(0.5)
    gaps[7] = np.nan

    assert [id_ for id_, *_ in worst(kept(ablation(noise=gaps), noise=RULE))] == ["e007"]
    assert worst(kept(ablation(noise=spread(0.5)), noise=RULE)) == []


def test_sources_are_tabulated_and_those_a_condition_cannot_change_are_left_open() -> None:
    measured = ablation(n=4, shuffled=[1.0, -1.0, 1.0, -1.0], noise=1.0)
    index = measured.index | {"noise": np.array([0, 2])}
    noise: Any = SimpleNamespace(nll=np.array([3.0, 4.0]))
    accept = kept(Ablation(**{**vars(measured), "index": index, "scores": measured.scores | {"noise": noise}}))

    (table,) = accept.details["tables"]
    assert table["columns"] == ["source", "n", "shuffled: win rate", "shuffled: Δ", "noise: win rate", "noise: Δ"]
    assert table["rows"] == [["s0", 2, 1.0, 1.0, 1.0, 1.5], ["s1", 2, 0.0, -1.0, None, None]]


# ---------------------------------------------------------------------- the gates


class Checkpoint(Draws):
    """One whose ablations are made up."""

    def __init__(self, **ablations: Ablation) -> None:
        self.ablations, self.asked = ablations, list[tuple[str, int, tuple[int, ...]]]()

    def planned_looks(self, task: str, n: int, further: tuple[int, ...]) -> Looks:
        self.asked.append((task, n, further))
        return LOOK

    def media_ablation(self, task: str, n: int, look: Looks) -> Ablation:
        return self.ablations[task]


def read_gate(test: Any, thresholds: Any, **gaps: Any) -> tuple[Accept, Checkpoint]:
    accept = accepting()
    healthy: dict[str, Any] = dict.fromkeys(("shuffled", "swapped", "noise", "constant"), spread(0.5))
    checkpoint = Checkpoint(a2t=ablation("a2t", **healthy | gaps), i2t=ablation("i2t", **healthy))
    test(checkpoint, accept, thresholds)
    return accept, checkpoint


READ_GATES = [
    pytest.param(s34.test_the_text_depends_on_the_media, Stage3Thresholds(), id="S3.4"),
    pytest.param(p12.test_the_text_still_depends_on_the_media, Stage4Thresholds(), id="P1.2"),
]


@pytest.mark.parametrize(("test", "thresholds"), READ_GATES)
def test_both_tasks_are_judged_under_every_condition(test: Any, thresholds: Any) -> None:
    accept, checkpoint = read_gate(test, thresholds)

    assert accept.failures == []
    assert checkpoint.asked == [(task, 128, (512, 1024)) for task in ("a2t", "i2t")]
    judged = rules(accept)
    for task in ("a2t", "i2t"):
        for name in ("shuffled", "swapped"):
            assert judged[f"{task}.win_rate_{name}"] == ">= 0.8"
            assert judged[f"{task}.delta_{name}"] == ">= 0.1"
            assert judged[f"{task}.delta_{name}_pct"] == ">= 5"
        assert judged[f"{task}.win_rate_noise"] == ">= 0.85"
        assert judged[f"{task}.delta_noise"] == ">= 0.15"
        assert judged[f"{task}.delta_noise_pct"] == ">= 8"
        assert f"{task}.delta_constant" in judged
        assert judged[f"{task}.null_gap"] == "== 0"
    assert set(accept.details["losses"]) == {"a2t", "i2t"}


@pytest.mark.parametrize(("test", "thresholds"), READ_GATES)
@pytest.mark.parametrize("name", ["shuffled", "swapped", "noise", "constant"])
def test_a_condition_that_changes_nothing_fails_the_gate(test: Any, thresholds: Any, name: str) -> None:
    accept, _ = read_gate(test, thresholds, **{name: np.zeros(N)})

    assert f"a2t.delta_{name}" in fell_short(accept)
    assert not [each for each in fell_short(accept) if not each.startswith("a2t.") or name not in each]


def prompts(t2a: dict[str, Any] | None = None, t2i: dict[str, Any] | None = None, n: int = 300) -> Accept:
    accept = accepting()
    healthy: dict[str, Any] = {"shuffled": spread(0.5, n=n), "empty": spread(0.5, n=n)}
    ablations = {"t2a": ablation("t2a", n, **healthy | (t2a or {})), "t2i": ablation("t2i", n, **healthy | (t2i or {}))}
    looks = dict.fromkeys(ablations, LOOK)
    p04.judge_prompts(accept, Draws(), ablations, looks, Stage4Thresholds())  # type: ignore[arg-type]
    return accept


def test_prompts_that_are_listened_to() -> None:
    accept = prompts()

    assert accept.failures == accept.unclear == []
    judged = [(m.name, m.op, m.threshold) for m in accept.measurements if m.op]
    for task in ("t2a", "t2i"):
        for name, rate in (("shuffled", 0.7), ("empty", 0.8)):
            assert (f"{task}.delta_{name}", ">", 0) in judged
            assert (f"{task}.win_rate_{name}", ">=", rate) in judged
        assert (f"{task}.delta_empty", ">=", 0.1) in judged


def test_prompts_without_which_nothing_changes() -> None:
    assert set(fell_short(prompts(t2a={"shuffled": np.zeros(300)}))) == {"t2a.delta_shuffled", "t2a.win_rate_shuffled"}
    assert fell_short(prompts(t2i={"shuffled": spread(0.5, 0.69, 300)})) == ["t2i.win_rate_shuffled"]
    assert fell_short(prompts(t2i={"empty": spread(0.5, 0.79, 300)})) == ["t2i.win_rate_empty"]


def test_one_task_has_to_gain_a_tenth_of_a_nat_from_its_prompt() -> None:
    small = {"empty": spread(0.05, n=300)}

    assert prompts(t2a=small).failures == []
    assert fell_short(prompts(t2a=small, t2i=small)) == ["t2a.delta_empty", "t2i.delta_empty"]


@pytest.mark.parametrize(("n", "enough"), [(256, True), (255, False)])
def test_256_examples_are_enough(n: int, enough: bool) -> None:
    accept = prompts(t2a={"shuffled": spread(0.5, 0.72, n)}, n=n)

    assert accept.failures == []
    assert bool(accept.unclear) is not enough


def test_the_prompt_gate_judges_both_tasks_and_reports_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, Any]] = []
    for name in ("report_beside", "report_nearest", "report_retrieval"):
        monkeypatch.setattr(p04, name, lambda *args, name=name, **more: called.append((name, more)))
    healthy: dict[str, Any] = {"shuffled": spread(0.5), "empty": spread(0.5)}
    ablations: dict[str, Ablation] = {
        "t2a": ablation("t2a", **healthy),
        "t2i": ablation("t2i", shuffled=np.zeros(N), empty=spread(0.5)),
    }
    checkpoint: Any = Checkpoint(**ablations)
    checkpoint.prompt_ablation = lambda task, n, look: ablations[task]
    checkpoint.nearest_prompt = checkpoint.retrieval = lambda task, n: task
    checkpoint.bundle = SimpleNamespace(space=parse_token_space(token_space_object()))
    accept = accepting()
    p04.test_what_is_written_depends_on_the_prompt(checkpoint, accept, Stage4Thresholds())

    assert {"t2i.delta_shuffled", "t2i.win_rate_shuffled"} <= set(fell_short(accept))
    assert not [name for name in fell_short(accept) if name.startswith("t2a.delta")]
    assert checkpoint.asked == [(task, 256, (512, 1024)) for task in ("t2a", "t2i")]
    assert {"t2a.null_gap", "t2i.null_gap"} <= set(rules(accept))
    assert set(accept.details["losses"]) == {"t2a", "t2i"}
    assert [name for name, _ in called].count("report_beside") == 2
    assert [name for name, _ in called].count("report_retrieval") == 2
    assert [more for name, more in called if name == "report_nearest"] == [{"listens_from": 0.7}] * 2
