"""S3.3 and P0.5 judge an audit: what moved, what is missing, a merge that is off, an adapter without effect."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gates.gate import Accept
from gates.moved import BASE_CHANGED, MAX_NAMED, judge_moved
from gates.stage3 import test_s33_parameters as s33
from gates.stage4 import test_p05_parameters as p05
from gates.stage4.thresholds import Stage4Thresholds
from harness.merge import Merge
from harness.moved import Moved, MovedRow
from harness.moved_rows import Stretch
from harness.parameters import ParameterAudit
from harness.settings_changed import Setting, SettingsChanged
from tests.accepting import accepting, fell_short, figures, notes, rules, worst


def audited(*moved: Moved, **changes: Any) -> ParameterAudit:
    fields: dict[str, Any] = {
        "against": "the base", "text_rows_compared": 96, "tensors_compared": 9, "moved": moved, "unexpected": (),
        "missing": (), "modality_rows": 72, "modality_rows_moved": 70, "adapter_modules": 2,
    }  # fmt: skip
    return ParameterAudit(**fields | changes)


def table(
    n_changed: int = 3, name: str = "embed", pattern: Any = "momentum", first: int = 3, figure: str = ""
) -> Moved:
    rows = tuple(MovedRow(i, f"w{i}", 0.25) for i in range(first))
    return Moved(name, True, n_changed, 48, 0.5, pattern, figure, rows)


def tensor(name: str = "norm", largest: float | None = 0.5, pattern: Any = None, figure: str = "") -> Moved:
    return Moved(name, False, 1, 1, largest, pattern, figure)


def judged(audit: ParameterAudit) -> Accept:
    accept = accepting()
    judge_moved(accept, audit)
    return accept


def test_what_has_not_moved_passes() -> None:
    accept = judged(audited())

    assert accept.failures == []
    assert figures(accept) == {
        "text_rows_changed": (0, 96), "frozen_tensors_changed": (0, 9), "unexpected_tensors": (0, 9),
        "missing_tensors": (0, 9), "modality_rows_moved": (70, 72),
    }  # fmt: skip
    assert rules(accept) == dict.fromkeys(figures(accept), "== 0") | {"modality_rows_moved": "> 0"}
    assert worst(accept) == []
    assert notes(accept) == "Held against the base."


@pytest.mark.parametrize(
    ("audit", "name"),
    [
        (audited(table(3), table(2, "lm_head")), "text_rows_changed"),
        (audited(tensor()), "frozen_tensors_changed"),
        (audited(unexpected=("x",)), "unexpected_tensors"),
        (audited(missing=("x",)), "missing_tensors"),
        (audited(modality_rows_moved=0), "modality_rows_moved"),
        (audited(text_rows_compared=0), "text_rows_changed"),
        (audited(tensors_compared=0), "frozen_tensors_changed"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_kind_fails_alone(audit: ParameterAudit, name: str) -> None:
    assert fell_short(judged(audit)) == [name]


def test_nothing_compared_is_nothing_known() -> None:
    accept = judged(audited(text_rows_compared=0, tensors_compared=0, unexpected=("x",)))

    assert figures(accept)["text_rows_changed"] == (None, 0)
    assert figures(accept)["unexpected_tensors"] == (1, 1)
    assert figures(accept)["missing_tensors"] == (0, 1)


def test_without_a_parent_it_is_not_asked_whether_new_rows_moved() -> None:
    assert "modality_rows_moved" not in figures(judged(audited(modality_rows_moved=None)))


def test_what_moved_is_named_strays_first() -> None:
    accept = judged(audited(table(2, first=1), tensor(figure="shape [2]"), unexpected=("u",), missing=("m",)))

    assert worst(accept) == [
        ("u", "", "the base has no such tensor"),
        ("m", "", "missing; the base has it"),
        ("embed row 0", "w0", "largest change 0.25; looks like momentum"),
        ("norm", "", "largest change 0.5; shape [2]"),
    ]


def test_what_is_only_known_to_differ_is_said_to() -> None:
    bare = Moved("embed", True, 1, 48, None, None, "", (MovedRow(4, "", None),))

    assert [note for *_, note in worst(judged(audited(bare, tensor(largest=None))))] == ["not as in the base"] * 2


def test_no_table_takes_all_the_room() -> None:
    accept = judged(audited(table(40, first=40), *(tensor(f"t{i}") for i in range(30))))

    ids = [id_ for id_, *_ in worst(accept)]
    assert len(ids) == MAX_NAMED == 20
    assert ids[9:11] == ["embed row 9", "t0"]


def test_every_pattern_is_told_with_what_to_do_once() -> None:
    moved = [table(1, "embed", "weight decay", figure="the base's times 0.99"), table(48, "lm_head", "weight decay"),
             tensor(pattern="training")]  # fmt: skip
    told = notes(judged(audited(*moved)))

    assert (
        "1 of 48 text rows of the embedding moved; largest change 0.5; looks like weight decay (the base's times"
        in told
    )
    assert "48 of 48 text rows of the head moved" in told
    assert "norm moved; largest change 0.5; looks like training." in told
    assert told.count("weight decay: Weight decay moves rows") == 1
    assert told.count("training: Most of it moved") == 1


def test_only_the_first_are_told_in_a_sentence() -> None:
    told = judged(audited(*(tensor(f"t{i}") for i in range(30)))).details["notes"]

    assert len([each for each in told if " moved;" in each]) == MAX_NAMED


def test_the_report_gets_every_stretch() -> None:
    accept = judged(audited(stretches=(Stretch("embed", "TEXT", 0, 47, 0, "0"),)))

    assert accept.details["rows"] == [
        {"table": "embed", "name": "TEXT", "start": 0, "end": 47, "moved": 0, "bins": "0"}
    ]


# ---------------------------------------------------------------------- the gates


class Checkpoint:
    """What of one the gates ask for."""

    def __init__(self, audit: ParameterAudit, changes: np.ndarray) -> None:
        self.audit, self.changes, self.asked = audit, changes, list[int]()

    def parameters(self) -> ParameterAudit:
        return self.audit

    def adapter_effect(self, n: int) -> np.ndarray:
        self.asked.append(n)
        return self.changes


def stage4(*changes: float, **fields: Any) -> tuple[Accept, Checkpoint]:
    accept, checkpoint = accepting(), Checkpoint(audited(**fields), np.array(changes))
    test: Callable[..., None] = p05.test_only_modality_rows_and_the_adapter_have_moved
    test(checkpoint, Stage4Thresholds(), accept)
    return accept, checkpoint


@pytest.mark.parametrize(("modules", "failed"), [(0, []), (1, ["adapted_modules"])])
def test_stage_3_has_no_adapter(modules: int, failed: list[str]) -> None:
    accept = accepting()
    checkpoint: Any = Checkpoint(audited(adapter_modules=modules), np.array([]))
    s33.test_only_modality_rows_have_moved(checkpoint, accept)

    assert fell_short(accept) == failed
    assert figures(accept)["adapted_modules"] == (modules, 1)


def test_stage_4_has_an_adapter_that_changes_something() -> None:
    accept, checkpoint = stage4(0.0, 0.5, 0.1)

    assert accept.failures == []
    assert figures(accept)["adapter_logit_change"] == (0.5, 3)
    assert figures(accept)["adapter_modules_without_effect"] == (0, 2)
    assert checkpoint.asked == [2]
    assert worst(accept) == []


def test_an_adapter_of_one_module_is_one() -> None:
    accept, checkpoint = stage4(0.5, adapter_modules=1)

    assert accept.failures == []
    assert checkpoint.asked == [2]


def test_an_adapter_without_effect_fails_and_is_named() -> None:
    accept, _ = stage4(0.0, 0.0, zero_modules=("a", "b"))
    partly, _ = stage4(0.5, zero_modules=("b",))
    several, _ = stage4(0.5, zero_modules=("b", "c"), adapter_modules=3)

    assert fell_short(accept) == ["adapter_logit_change"]
    assert worst(accept) == [("adapter", "", "A or B is all zeros in 2 of 2 adapted modules: a no-op")]
    assert worst(partly) == [("b", "", "A or B is all zeros in 1 of 2 adapted modules: a no-op")]
    assert worst(several) == [("b", "", "A or B is all zeros in 2 of 3 adapted modules: a no-op")]
    assert partly.failures == several.failures == []


def test_an_effect_on_no_example_is_not_known() -> None:
    assert figures(stage4()[0])["adapter_logit_change"] == (None, 0)


def test_without_an_adapter_no_effect_is_looked_for() -> None:
    accept, checkpoint = stage4(0.5, adapter_modules=0)

    assert fell_short(accept) == ["adapted_modules"]
    assert checkpoint.asked == []


def test_a_merge_is_held_against_what_it_should_be() -> None:
    right = (Merge("a", 1.0, 1.0, None), Merge("b", 64.0, 1.0, None))
    accept, checkpoint = stage4(merges=right)

    assert accept.failures == []
    assert figures(accept)["merge_error"] == (64.0, 2)
    assert (checkpoint.asked, worst(accept)) == ([], [])


@pytest.mark.parametrize(
    ("off", "value", "note"),
    [
        (Merge("b", 65.0, 0.5, None), 65.0, "65 float32 units from base + scale * B @ A, of which it holds 0.5 times"),
        (Merge("b", 300.0, 1.0, "BF16"), 300.0, "merged and rounded in BF16: 300 float32 units from base"),
        (Merge("b", math.nan, math.nan, None), None, "nan float32 units"),
        (Merge("b", math.inf, math.nan, None), None, "inf float32 units"),
    ],
)
def test_a_merge_that_is_off_fails_and_is_named(off: Merge, value: float | None, note: str) -> None:
    accept, _ = stage4(merges=(Merge("a", 1.0, 1.0, None), off))

    assert fell_short(accept) == ["merge_error"]
    assert figures(accept)["merge_error"] == (value, 2)
    ((name, _, told),) = worst(accept)
    assert name == "b"
    assert told.startswith(note)


def test_only_the_first_merges_that_are_off_are_named() -> None:
    accept, _ = stage4(merges=tuple(Merge(str(i), 99.0, 1.0, None) for i in range(30)))

    assert len(worst(accept)) == 20


def test_either_stage_judges_what_moved() -> None:
    accept = accepting()
    checkpoint: Any = Checkpoint(audited(table(3), adapter_modules=0), np.array([]))
    s33.test_only_modality_rows_have_moved(checkpoint, accept)

    assert fell_short(accept) == ["text_rows_changed"]
    assert fell_short(stage4(0.5, moved=(table(3),))[0]) == ["text_rows_changed"]
    assert figures(stage4(0.5)[0])["adapted_modules"] == (2, 1)


def test_settings_that_are_not_the_bases_fail_and_are_named() -> None:
    same = judged(audited(settings=SettingsChanged((), 20)))
    other = judged(audited(settings=SettingsChanged((Setting("rope_theta", 1e6, 1e4),), 20)))

    assert same.failures == []
    assert figures(same)["settings_changed"] == (0, 20)
    assert notes(same) == "Held against the base."
    assert fell_short(other) == ["settings_changed"]
    assert worst(other) == [("config.json rope_theta", "", "1000000.0; the base has 10000.0")]
    assert len(other.details["notes"]) == 2


@pytest.mark.parametrize(("of_base", "moved", "told"), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_a_base_that_changed_since_its_fingerprint_is_told(of_base: bool, moved: bool, told: int) -> None:
    accept = judged(audited(*([tensor()] if moved else []), of_base=of_base))

    assert accept.details["notes"].count(BASE_CHANGED) == told
