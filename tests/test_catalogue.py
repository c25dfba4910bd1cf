"""The catalogue of faults: each turns the right gate red for the right reason, and harmless changes turn none.

The whole catalogue runs on the finished demo and on its tied twin: `make catalogue`. `make test` runs a part of it on
the small run, and holds what the entries say.
"""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from gates.selftest.document import catalogue_of_page
from gates.selftest.found import Found, advised, result_of
from gates.selftest.run import SelfTest, plant
from gates.selftest.runs import NOT_BY_EXAMPLE, Settings, judge
from gates.stage3 import GATES as GATES_3
from gates.stage4 import GATES as GATES_4
from harness.faults.catalogue import FAULTS, HARMLESS, faults_of
from harness.faults.copies import NotApplicableError, clone, copy_checkpoint, original_is_untouched
from harness.faults.fault import Fault, stage_of
from harness.results import Stage
from tests.catalogue_runs import EXAMPLES, RUNS, STAGES, WHOLE, checkpoint_of, tried, whole_catalogue, work_folder

ALL_GATES = (*GATES_3, *GATES_4)
whole = pytest.mark.skipif(not RUNS.name, reason="the whole catalogue: make catalogue")
# One fault or more of every gate that looks at files, subtle ones; of the others, one that shows on a small model.
SMOKE = (
    "nan-in-a-row-never-sampled", "adapter-rank-not-as-configured", "one-bit-of-a-text-row", "merged-in-bfloat16",
    "two-rows-equal", "prompts-rolled-by-one", "sounds-never-end",
)  # fmt: skip
SMOKE_HARMLESS = ("the-same-as-a-whole-model", "adapter-in-a-folder-of-its-own")


# ---------------------------------------------------------------------- what the entries say


def test_there_are_enough_faults_and_harmless_changes() -> None:
    assert len(FAULTS) >= 60
    assert len(HARMLESS) >= 15
    names = Counter(entry.name for entry in (*FAULTS, *HARMLESS))
    assert [name for name, n in names.items() if n > 1 or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


@pytest.mark.parametrize("gate", ALL_GATES)
def test_every_gate_has_three_faults_subtle_and_gross(gate: str) -> None:
    faults = [fault for fault in FAULTS if gate in fault.gates]

    assert len(faults) >= 3
    assert {fault.subtle for fault in faults} == {True, False}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_an_entry_names_known_gates_and_says_what_must_be_said(fault: Fault) -> None:
    assert fault.gates
    assert set(fault.gates) <= set(ALL_GATES)
    assert len({stage_of(gate) for gate in fault.gates}) == len(fault.gates)
    assert fault.imitates.endswith(".")
    assert fault.reason
    assert fault.advice


def test_every_kind_of_artifact_is_hit() -> None:
    kinds = Fault.__annotations__["artifact"].__args__

    assert {fault.artifact for fault in FAULTS} == set(kinds)


def test_the_page_lists_the_catalogue() -> None:
    page = (Path(__file__).parents[1] / "docs" / "faults.md").read_text()

    assert {name.removesuffix(" *") for name in catalogue_of_page(page)} == {e.name for e in (*FAULTS, *HARMLESS)}


# ---------------------------------------------------------------------- a part of it, on the small run


@pytest.mark.parametrize("stage", STAGES)
def test_a_part_of_the_catalogue_on_the_small_run(small_run: Path, tmp_path: Path, stage: Stage) -> None:
    faults = [fault for fault in faults_of(stage) if fault.name in SMOKE]
    harmless = [change for change in HARMLESS if stage in change.stages and change.name in SMOKE_HARMLESS]

    tested = tried(checkpoint_of(small_run, stage), stage, faults, harmless, tmp_path, workers=1)

    assert len(faults) >= 3
    assert wrong(tested) == []
    assert {each.ending for each in tested.found} == {"caught", "harmless"}


# ---------------------------------------------------------------------- the whole of it, on the demo and its tied twin


@whole
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("stage", STAGES)
def test_the_whole_catalogue_is_caught_and_nothing_harmless_is(name: str, stage: Stage) -> None:
    tested = whole_catalogue(name, stage)
    for found in tested.found:
        print(f"{found.ending:12} {found.gate:5} {found.name:45} {found.why[:160]}")

    assert wrong(tested) == []


@whole
@pytest.mark.parametrize("stage", STAGES)
def test_the_whole_catalogue_has_its_place_in_the_demo(stage: Stage) -> None:
    endings: dict[str, set[str]] = {}
    for name in WHOLE:
        for found in whole_catalogue(name, stage).found:
            endings.setdefault(found.name, set()).add(found.ending)

    assert [name for name, ends in endings.items() if ends == {"no place"}] == []


@whole
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.fix], ids=lambda fault: fault.name)
def test_following_the_advice_makes_it_pass(fault: Fault) -> None:
    stage = fault.stages[-1]

    assert mended(checkpoint_of(RUNS / WHOLE[0], stage), fault, work_folder(WHOLE[0], stage))


def test_ten_faults_are_mended_by_following_the_advice() -> None:
    assert sum(fault.fix is not None for fault in FAULTS) >= 10


def wrong(tested: SelfTest) -> list[str]:
    """What did not end as it should."""
    return [_line(each) for each in tested.found if each.ending not in ("caught", "harmless", "no place")]


def _line(found: Found) -> str:
    return f"{found.ending}: {found.name} ({found.gate}): {found.why}"


def mended(bundle, fault: Fault, folder: Path) -> bool:  # type: ignore[no-untyped-def]
    """Fault in, gate red, its advice followed, gate green."""
    stage = fault.stages[-1]
    gate = fault.gate_of(stage)
    assert gate is not None
    assert fault.fix is not None
    n = None if fault.whole_run else 8 if gate in NOT_BY_EXAMPLE else EXAMPLES
    settings = Settings(folder / "evidence", n, gates=(gate,))
    for left in (folder / f"plain-{fault.name}", folder / f"mend-{fault.name}"):
        shutil.rmtree(left, ignore_errors=True)
    with original_is_untouched(bundle):
        plain = copy_checkpoint(bundle, stage, folder / f"plain-{fault.name}")
        copy = clone(plain, folder / f"mend-{fault.name}")
        try:
            plant(fault, plain, copy)
        except NotApplicableError as error:
            pytest.skip(str(error))
        broken = judge(copy, settings).verdict
        fault.fix(copy)
        fixed = judge(copy, settings).verdict
    assert broken is not None
    assert fixed is not None
    before, after = result_of(broken, gate), result_of(fixed, gate)
    assert before is not None
    assert after is not None
    assert before.outcome in (("fail", "error", "not_run") if fault.unmeasured else ("fail",))
    assert fault.advice in advised(before)
    return after.outcome == "pass"
