"""P1.3 judges figures that were made up: each kind of collapse at its bound, duplicates and codebooks beside real."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gates.collapse import (
    MAX_SHOWN,
    N_WORST,
    Kind,
    judge_codebooks,
    judge_duplicates,
    judge_kinds,
    judge_reference,
    show_figures,
)
from gates.gate import Accept
from gates.stage4 import test_p13_fingerprints as p13
from gates.stage4.thresholds import Stage4Thresholds
from harness.outputs.figures import Outputs
from tests.accepting import accepting, fell_short, figures, named, notes, rules, worst

NAN = math.nan


def outputs(n: int = 20, *, prompts: Any = None, codes: Any = None, prints: Any = None, failed: Any = (),
            modality: str = "audio", **shown: Any) -> Outputs:  # fmt: skip
    """N outputs, each unlike the others, with some figures."""
    examples: Any = tuple(SimpleNamespace(id=f"e{i}", text=f"prompt {i}", modality=modality) for i in range(n))
    rng = np.random.default_rng(0)
    return Outputs(
        examples=examples,
        prompts=tuple(str(i if prompts is None else prompts[i]).encode() for i in range(n)),
        codes=tuple(rng.integers(0, 16, (2, 8)) for _ in range(n)) if codes is None else tuple(codes),
        figures={name: np.broadcast_to(np.asarray(each, dtype=float), n).copy() for name, each in shown.items()},
        fingerprints=10.0 * np.arange(n)[:, None] * np.ones(3) if prints is None else np.asarray(prints, dtype=float),
        failed=tuple(failed),
    )


# ---------------------------------------------------------------------- kinds

HIGH = Kind("loop", "loop_share", "high", 1.0, 0.5)
LOW = Kind("silence", "rms", "low", 0.0, 0.5)


def kinds(written: Outputs, real: Outputs, *chosen: Kind, max_share: float = 0.1) -> Accept:
    accept = accepting()
    judge_kinds(accept, "t2a", written, real, chosen, tail=0.0, max_share=max_share)
    return accept


def some(n: int, bad: float, good: float, of: int = 20) -> np.ndarray:
    return np.where(np.arange(of) < n, bad, good)


@pytest.mark.parametrize(("n", "failed"), [(2, []), (3, ["t2a.loop"])])
def test_a_tenth_of_the_outputs_may_collapse(n: int, failed: list[str]) -> None:
    real = outputs(loop_share=np.linspace(0, 0.5, 20))
    accept = kinds(outputs(loop_share=some(n, 0.76, 0.75)), real, HIGH)

    assert fell_short(accept) == failed
    assert figures(accept)["t2a.loop"] == (n / 20, 20)
    assert rules(accept) == {"t2a.loop": "<= 0.1"}
    assert [id_ for id_, *_ in worst(accept)] == [f"e{i}" for i in range(n)]


def test_the_worst_lie_furthest_from_real_media() -> None:
    real = outputs(loop_share=np.linspace(0, 0.5, 20), rms=np.linspace(1, 2, 20))
    loops = kinds(outputs(loop_share=np.linspace(0.8, 0.99, 20)), real, HIGH)
    silent = kinds(outputs(rms=np.linspace(0.4, 0.01, 20)), real, LOW)

    assert [id_ for id_, *_ in worst(loops)] == [f"e{i}" for i in (19, 18, 17, 16, 15)]
    assert [id_ for id_, *_ in worst(silent)] == [f"e{i}" for i in (19, 18, 17, 16, 15)]
    assert len(worst(loops)) == N_WORST
    assert worst(loops)[0][1:] == ("prompt 19", "loop: loop share 0.99 (real media 0 to 0.5, limit 0.75)")
    assert worst(silent)[0][2] == "silence: rms 0.01 (real media 1 to 2, limit 0.5)"


def test_two_figures_of_one_kind_add_up() -> None:
    real = outputs(rms=np.linspace(1, 2, 20), silent_share=0.0)
    quiet = Kind("silence", "silent_share", "high", 1.0, 0.5)
    written = outputs(rms=some(2, 0.1, 1.5), silent_share=some(1, 0.9, 0.0)[::-1])

    assert figures(kinds(written, real, LOW, quiet)) == {"t2a.silence": (3 / 20, 20)}


def test_what_another_kind_says_already_is_not_said_again() -> None:
    one_code = Kind("one_code", "dominant", "high", 1.0, 0.5)
    loop = Kind("loop", "loop_share", "high", 1.0, 0.5, unless="one_code")
    real = outputs(dominant=0.0, loop_share=0.0)
    accept = kinds(outputs(dominant=some(1, 1.0, 0.0), loop_share=some(3, 1.0, 0.0)), real, one_code, loop)

    assert figures(accept) == {"t2a.one_code": (1 / 20, 20), "t2a.loop": (2 / 20, 20)}


def test_the_report_gets_the_limits() -> None:
    accept = kinds(outputs(loop_share=0.1), outputs(loop_share=NAN), HIGH)
    assert accept.details["fingerprints"]["t2a"]["loop_share"]["limits"] == [
        {"kind": "loop", "side": "high", "at": None}
    ]

    drawn = kinds(outputs(loop_share=0.1), outputs(loop_share=1 / 3), HIGH)
    assert drawn.details["fingerprints"]["t2a"]["loop_share"]["limits"][0]["at"] == 0.6667


def test_where_nothing_was_decoded_nothing_has_passed() -> None:
    nothing = Outputs((), (), (), {}, np.empty((0, 3)), ("e0",))
    accept = kinds(nothing, outputs(loop_share=0.1), HIGH)

    assert fell_short(accept) == ["t2a.loop"]
    assert figures(accept)["t2a.loop"][1] == 0


# ---------------------------------------------------------------------- duplicates


def duplicates(written: Outputs, real: Outputs, way: float = 0.1, tolerance: float = 1.0) -> Accept:
    accept = accepting()
    judge_duplicates(accept, "t2a", written, real, tolerance=tolerance, way=way)
    return accept


EQUAL, ALIKE = "t2a.one_output_for_all (equal codes)", "t2a.one_output_for_all (alike)"


def test_outputs_that_differ_are_no_duplicates() -> None:
    accept = duplicates(outputs(), outputs())

    assert accept.failures == []
    assert {name: each[1] for name, each in figures(accept).items()} == {EQUAL: 20, ALIKE: 20}
    assert named(accept, EQUAL).threshold == 0.1


def test_equal_codes_and_alike_media_fail_apart() -> None:
    same = outputs(codes=[np.zeros((1, 4), dtype=int)] * 20)
    near = outputs(prints=np.zeros((20, 3)))

    assert [m.name for m in duplicates(same, outputs()).measurements if m.value == 1] == [EQUAL]
    assert [m.name for m in duplicates(near, outputs()).measurements if m.value == 1] == [ALIKE]
    told = worst(duplicates(near, outputs()))
    assert told[0] == ("e0", "prompt 0", "one output for all (alike): the same as 19 of 19 others, such as e1")
    assert len(told) == N_WORST


def test_of_several_twins_those_with_most_others_come_first() -> None:
    groups = np.array([0, 0, 1, 1, 1, 2, 3, 4, 5, 6])
    accept = duplicates(outputs(10, prints=10.0 * groups[:, None] * np.ones(3)), outputs(10), way=0.05)

    assert [id_ for id_, *_ in worst(accept)] == ["e2", "e3", "e4", "e0", "e1"]
    assert worst(accept)[3][2] == "one output for all (alike): the same as 1 of 9 others, such as e1"


def test_real_media_that_are_alike_leave_the_rest_of_the_way() -> None:
    half = [0] * 10 + list(range(1, 11))
    real = outputs(prints=10.0 * np.array(half)[:, None] * np.ones(3))

    of_real = 10 * 9 / (20 * 19)
    assert named(duplicates(outputs(), real), ALIKE).threshold == pytest.approx(of_real + 0.1 * (1 - of_real))


def test_one_prompt_may_give_one_output() -> None:
    same = outputs(prompts=[0] * 20, prints=np.zeros((20, 3)))
    accept = duplicates(same, same)

    assert math.isnan(named(accept, ALIKE).value or 0)
    assert named(accept, ALIKE).threshold == 0.1


@pytest.mark.parametrize(
    ("modality", "apart", "alike"),
    [("audio", 1.0, True), ("audio", 1.1, False), ("image", 1 / 3, True), ("image", 0.4, False)],
)
def test_alike_is_within_the_tolerance(modality: str, apart: float, alike: bool) -> None:
    prints = np.concatenate([np.zeros((1, 3)), np.full((1, 3), apart)])
    accept = duplicates(outputs(2, prints=prints, modality=modality), outputs(2, modality=modality))

    assert (named(accept, ALIKE).value == 1) is alike


@pytest.mark.parametrize(("n_alike", "failed"), [(2, []), (20, ["t2a.golden_media_alike"])])
def test_real_media_must_differ_themselves(n_alike: int, failed: list[str]) -> None:
    prints = 10.0 * np.maximum(np.arange(20) - n_alike + 1, 0)[:, None] * np.ones(3)
    accept = accepting()
    judge_reference(accept, "t2a", outputs(prints=prints), tolerance=1.0, max_alike=0.5)

    assert fell_short(accept) == failed
    assert figures(accept)["t2a.golden_media_alike"] == (pytest.approx(n_alike * (n_alike - 1) / 380), 20)


@pytest.mark.parametrize("same", [{"prompts": [0] * 20}, {"codes": [np.zeros((1, 4), dtype=int)] * 20}])
def test_of_one_medium_there_is_nothing_to_compare(same: dict[str, Any]) -> None:
    accept = accepting()
    judge_reference(accept, "t2a", outputs(prints=np.zeros((20, 3)), **same), tolerance=1.0, max_alike=0.5)

    assert accept.measurements == []


# ---------------------------------------------------------------------- codebooks and figures


def test_codebooks_keep_half_of_their_entropy() -> None:
    real = outputs(8, codes=[np.array([[i, i]]) for i in range(8)])  # three bits
    half = outputs(8, codes=[np.array([[i % 2, i % 2]]) for i in range(8)])  # one bit
    accept = accepting()
    judge_codebooks(accept, "t2a", half, real, min_entropy_pct=50)

    assert figures(accept)["t2a.few_codes"] == (pytest.approx(100 / 3), 8)
    assert rules(accept) == {"t2a.few_codes": ">= 50"}
    (table,) = accept.details["tables"]
    assert table["columns"] == [
        "codebook", "codes in use", "codes in use: real", "perplexity", "perplexity: real",
        "entropy at one position, bits", "entropy at one position, bits: real",
    ]  # fmt: skip
    assert table["rows"] == [["0", 2.0, 8.0, pytest.approx(2), pytest.approx(8), pytest.approx(1), pytest.approx(3)]]


def test_the_entropy_at_one_position_is_told_codebook_by_codebook() -> None:
    """The first codebook holds one bit at the first of three positions; the second says the same everywhere."""
    written = outputs(4, codes=[np.array([[i % 2, 5, 6], [7, 7, 7]]) for i in range(4)])
    accept = accepting()
    judge_codebooks(accept, "t2a", written, written, min_entropy_pct=50)

    (table,) = accept.details["tables"]
    assert [row[-1] for row in table["rows"]] == [pytest.approx(1 / 3), 0.0]


def test_of_no_codes_there_is_no_entropy() -> None:
    accept = accepting()
    judge_codebooks(accept, "t2a", Outputs((), (), (), {}, np.empty((0, 3)), ()), outputs(), min_entropy_pct=50)

    assert fell_short(accept) == ["t2a.few_codes"]
    assert "tables" not in accept.details


def shown(written: Outputs, real: Outputs) -> Accept:
    accept = accepting()
    show_figures(accept, "t2a", written, real, 0.25)
    return accept


def test_figures_are_shown_beside_real_medias() -> None:
    accept = shown(outputs(5, some_figure=np.arange(5.0)), outputs(5, some_figure=np.arange(5.0) + 1))

    (table,) = accept.details["tables"]
    assert table["columns"] == ["figure", "25 %", "50 %", "75 %", "real: 25 %", "real: 50 %", "real: 75 %"]
    assert table["rows"] == [["some figure", 1.0, 2.0, 3.0, 2.0, 3.0, 4.0]]
    assert accept.details["fingerprints"]["t2a"]["some_figure"]["written"] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert notes(accept) == ""


@pytest.mark.parametrize(("own", "outside"), [(1.0, False), (5.0, False), (0.9, True), (5.1, True)])
def test_a_median_that_no_real_output_reaches_is_noted(own: float, outside: bool) -> None:
    accept = shown(outputs(5, f=own), outputs(5, f=np.arange(5.0) + 1))

    assert (f"medians that no real output reaches, not judged: f {own:.3g} (real 1 to 5)" in notes(accept)) is outside


@pytest.mark.parametrize(
    ("values", "outside"),
    [
        ([-9.0, -8.0, 3.0, 11.0, 12.0], False),
        ([2.0, 3.0, 11.0, 12.0, 13.0], True),
        ([-9.0, -8.0, -7.0, 3.0, 4.0], True),
    ],
)
def test_it_is_the_median_that_is_noted_and_no_tail(values: list[float], outside: bool) -> None:
    accept = shown(outputs(5, f=values), outputs(5, f=np.arange(5.0) + 1))

    assert ("medians that no real output reaches" in notes(accept)) is outside


def test_what_did_not_decode_is_counted_and_the_first_named() -> None:
    accept = shown(outputs(2, failed=["a", "b", "c", "d"]), outputs(2, failed=["x", "y", "z"]))

    assert "t2a: 4 outputs did not decode and have no figures: a, b, c, …" in notes(accept)
    assert "t2a: 3 golden media did not decode: x, y, z" in notes(accept)
    assert "…" not in notes(accept).split("\n")[1]


def test_so_many_values_are_drawn() -> None:
    accept = shown(outputs(300, f=NAN), outputs(300, f=0.123456))

    drawn = accept.details["fingerprints"]["t2a"]["f"]
    assert drawn["written"] == [None] * MAX_SHOWN
    assert drawn["real"] == [0.1235] * MAX_SHOWN


# ---------------------------------------------------------------------- the gate


def test_the_kinds_of_either_task() -> None:
    limits = Stage4Thresholds()

    assert [(k.name, k.figure, k.side, k.extreme, k.way, k.unless) for k in p13.kinds_of("t2i", limits)] == [
        ("one_code_everywhere", "dominant_code_share", "high", 1.0, 0.5, None),
        ("loop", "loop_share", "high", 1.0, 0.5, "one_code_everywhere"),
        ("blank", "pixel_std", "low", 0.0, 0.75, None),
        ("noise", "roughness", "high", 1.0, 0.5, None),
    ]
    assert [(k.name, k.figure, k.side, k.extreme, k.way) for k in p13.kinds_of("t2a", limits)][2:] == [
        ("disorder", "loop_share", "low", 0.0, 0.5), ("silence", "rms", "low", 0.0, 0.9),
        ("silence", "silent_share", "high", 1.0, 0.5), ("noise", "flatness_db", "high", 0.0, 0.5),
        ("clipping", "clipped_share", "high", 1.0, 0.01),
    ]  # fmt: skip


HEALTHY: dict[str, dict[str, Any]] = {
    "audio": {"dominant_code_share": 0.1, "loop_share": 0.2, "rms": 0.3, "silent_share": 0.1, "flatness_db": -20.0,
              "clipped_share": 0.0},
    "image": {"dominant_code_share": 0.1, "loop_share": 0.2, "pixel_std": 0.3, "roughness": 0.1},
}  # fmt: skip


def judged(**written: Any) -> Accept:
    def found(generated: str) -> tuple[Outputs, Outputs]:
        modality = {"t2a": "audio", "t2i": "image"}[generated]
        real = outputs(modality=modality, **HEALTHY[modality])
        return outputs(modality=modality, **HEALTHY[modality] | written.get(generated, {})), real

    checkpoint: Any = SimpleNamespace(
        generations=lambda task, n, how: task, outputs=found, bundle=SimpleNamespace(decoding="free")
    )
    accept = accepting()
    p13.test_outputs_have_not_collapsed(checkpoint, accept, Stage4Thresholds())
    return accept


def test_healthy_outputs_pass_by_every_kind() -> None:
    accept = judged()

    assert accept.failures == []
    expected = {"one_code_everywhere", "loop", "noise", "few_codes", "golden_media_alike",
                "one_output_for_all (equal codes)", "one_output_for_all (alike)"}  # fmt: skip
    names = set(figures(accept))
    assert names == {f"{task}.{name}" for task in ("t2a", "t2i") for name in expected} | {
        "t2a.disorder", "t2a.silence", "t2a.clipping", "t2i.blank",
    }  # fmt: skip
    assert len(accept.details["tables"]) == 4


@pytest.mark.parametrize(
    ("task", "figure", "value", "name"),
    [("t2a", "rms", 0.0, "t2a.silence"), ("t2a", "silent_share", 1.0, "t2a.silence"),
     ("t2i", "pixel_std", 0.0, "t2i.blank"),
     ("t2a", "clipped_share", 0.02, "t2a.clipping"), ("t2i", "roughness", 0.9, "t2i.noise"),
     ("t2a", "loop_share", 0.05, "t2a.disorder"), ("t2i", "dominant_code_share", 1.0, "t2i.one_code_everywhere")],
)  # fmt: skip
def test_each_collapse_fails_by_its_name(task: str, figure: str, value: float, name: str) -> None:
    assert fell_short(judged(**{task: {figure: value}})) == [name]


@pytest.mark.parametrize(
    ("task", "apart", "alike"), [("t2a", 1.0, True), ("t2a", 2.0, False), ("t2i", 1.3, True), ("t2i", 1.4, False)]
)
def test_each_task_has_its_own_tolerance(task: str, apart: float, alike: bool) -> None:
    """Pictures may differ in four bits (of three numbers here), sounds by one decibel."""

    def found(generated: str) -> tuple[Outputs, Outputs]:
        modality = {"t2a": "audio", "t2i": "image"}[generated]
        real = outputs(modality=modality, **HEALTHY[modality])
        near = outputs(
            modality=modality, prints=np.where(np.arange(20) < 10, 0, apart)[:, None] * np.ones(3), **HEALTHY[modality]
        )
        return (near if generated == task else real), real

    checkpoint: Any = SimpleNamespace(
        generations=lambda task, n, how: task, outputs=found, bundle=SimpleNamespace(decoding="free")
    )
    accept = accepting()
    p13.test_outputs_have_not_collapsed(checkpoint, accept, Stage4Thresholds())

    assert (named(accept, f"{task}.one_output_for_all (alike)").value == 1) is alike
