"""The self-test: what it makes of a fault, how it treats the original, its table, its JSON and its exit code."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gates.cli import app
from gates.selftest.found import Found, judge_fault, judge_harmless, said
from gates.selftest.margins import margins
from gates.selftest.page import by_gate, sentence
from gates.selftest.record import exit_code, record
from gates.selftest.run import NO_CHANGE, Options, SelfTest, plant, selftest
from gates.selftest.runs import Run, Settings, file_of
from gates.stage3 import GATES as GATES_3
from gates.stage4 import GATES as GATES_4
from harness.bundle import open_bundle
from harness.faults.catalogue import FAULTS
from harness.faults.copies import (
    NotApplicableError,
    changed_files,
    clone,
    clone_tree,
    copy_checkpoint,
    original_is_untouched,
)
from harness.faults.fault import Fault, Harmless
from harness.faults.weights import edit_tensors
from harness.files import read_json, tree_sha256, write_json, write_text
from harness.results import GateResult, Measurement, Verdict
from tests.small_verdict import small_verdict
from tests.tiny import Tiny

LOG = Path("log.txt")
FAULT = Fault(
    name="a-fault", imitates="A fault.", gates=("P0.4",), reason="win_rate is", advice="mend it",
    inject=lambda copy: None, artifact="weights",
)  # fmt: skip
WINS = Measurement(name="t2a.win_rate", value=0.9, unit="share", n=64, threshold=0.7, op=">=")


def verdict_of(
    outcome: Any, *, reason: str = "", advice: str = "mend it", value: float = 0.9, **details: Any
) -> Verdict:
    """A stage 4 verdict whose P0.4 ended so."""
    gate = GateResult(
        id="P0.4", name="prompt_ablation", priority="P0", outcome=outcome, claim="", advice=(advice,),
        measurements=(WINS.model_copy(update={"value": value}),), details={"reason": reason, **details},
    )  # fmt: skip
    return small_verdict([gate], "INCOMPLETE")


def judged(run: Verdict | None, control: Verdict, fault: Fault = FAULT) -> Found:
    """What becomes of the fault."""
    return judge_fault(fault, "stage4", Run(run, 1, LOG), control)


GREEN = verdict_of("pass")
RED = verdict_of("fail", reason="t2a.win_rate is 0.5", value=0.5)


# ---------------------------------------------------------------------- endings


def test_a_fault_is_caught_by_its_gate_for_its_reason_with_its_advice() -> None:
    assert judged(RED, GREEN).ending == "caught"


@pytest.mark.parametrize(
    ("run", "control", "ending"),
    [
        (GREEN, GREEN, "got through"),
        (verdict_of("error", reason="too few to tell"), GREEN, "got through"),
        (verdict_of("not_run"), GREEN, "got through"),
        (verdict_of("fail", reason="something else"), GREEN, "misnamed"),
        (verdict_of("fail", reason="t2a.win_rate is 0.5", advice="train longer"), GREEN, "misnamed"),
        (verdict_of("error", reason="x", unexpected="KeyError"), GREEN, "crashed"),
        (None, GREEN, "crashed"),
        (RED, verdict_of("fail"), "untold"),
        (RED, verdict_of("not_run"), "untold"),
        # A gate that cannot tell for want of examples can refute.
        (RED, verdict_of("error", reason="too few to tell"), "caught"),
    ],
)
def test_everything_else_is_not_caught(run: Verdict | None, control: Verdict, ending: str) -> None:
    assert judged(run, control).ending == ending


def test_a_gate_that_cannot_measure_catches_only_what_cannot_be_measured() -> None:
    unmeasured = replace(FAULT, unmeasured=True)
    error = verdict_of("error", reason="win_rate is none")

    assert judged(error, GREEN, unmeasured).ending == "caught"
    assert judged(error, GREEN).ending == "got through"
    assert judged(error, verdict_of("error"), unmeasured).ending == "untold"


def test_reasons_are_looked_for_in_everything_that_a_gate_says() -> None:
    (gate,) = verdict_of(
        "fail", reason="the reason", notes=["a note"], worst=[{"id": "e1", "prompt": "p", "note": "the worst"}],
        findings=[{"what": "a spike"}], tables=[{"rows": [["a cell", 1]]}],
    ).gates  # fmt: skip

    assert all(words in said(gate) for words in ("the reason", "a note", "e1 p the worst", "a spike", "a cell 1"))


def test_a_harmless_change_may_turn_no_gate_red() -> None:
    assert judge_harmless("x", "stage4", Run(GREEN, 0, LOG), GREEN).ending == "harmless"
    assert judge_harmless("x", "stage4", Run(RED, 1, LOG), GREEN).ending == "false alarm"
    assert judge_harmless("x", "stage4", Run(verdict_of("error"), 1, LOG), GREEN).ending == "false alarm"
    assert judge_harmless("x", "stage4", Run(None, -9, LOG), GREEN).ending == "crashed"
    # What was red before is no alarm.
    assert judge_harmless("x", "stage4", Run(RED, 1, LOG), RED).ending == "harmless"


def _tested(*endings: str) -> SelfTest:
    found = tuple(Found(f"f{i}", "stage4", "P0.4", ending, "") for i, ending in enumerate(endings))  # type: ignore[arg-type]
    return SelfTest("stage4", GREEN, found, 1.0)


@pytest.mark.parametrize(
    ("endings", "code"),
    [
        (("caught", "harmless", "no place"), 0),
        (("caught", "got through"), 1),
        (("caught", "misnamed"), 1),
        (("caught", "crashed", "untold"), 1),
        (("caught", "false alarm"), 1),
        (("caught", "untold"), 10),
        (("no place",), 10),
        ((), 10),
    ],
)
def test_only_everything_caught_exits_with_0(endings: tuple[str, ...], code: int) -> None:
    assert exit_code(_tested(*endings)) == code


# ---------------------------------------------------------------------- margins


def test_a_threshold_may_be_loosened_to_the_nearest_fault_that_depends_on_it() -> None:
    control = verdict_of("pass", value=0.95)
    found = [
        replace(judged(verdict_of("fail", reason="win_rate is", value=value), control), name=f"at-{value}")
        for value in (0.3, 0.62, 0.5)
    ]
    (margin,) = margins(control, found)

    assert (margin.own, margin.threshold, margin.nearest, margin.fault) == (0.95, 0.7, 0.62, "at-0.62")
    assert (margin.n_alone, margin.n_failed) == (3, 3)


def test_a_fault_that_fails_two_figures_binds_neither() -> None:
    other = WINS.model_copy(update={"name": "t2i.win_rate", "value": 0.1})
    run = verdict_of("fail", reason="win_rate is", value=0.5)
    (gate,) = run.gates
    both = run.model_copy(update={"gates": (gate.model_copy(update={"measurements": (*gate.measurements, other)}),)})

    (margin,) = margins(GREEN, [judged(both, GREEN)])

    assert (margin.nearest, margin.n_alone, margin.n_failed) == (None, 0, 1)


def test_no_loosening_lets_through_what_could_not_be_computed() -> None:
    (gate,) = RED.gates
    nothing = gate.model_copy(update={"measurements": (WINS.model_copy(update={"value": None}),)})
    run = RED.model_copy(update={"gates": (nothing,)})

    (margin,) = margins(GREEN, [judged(run, GREEN)])

    assert (margin.nearest, margin.n_alone, margin.n_failed) == (None, 0, 1)
    json.dumps(asdict(margin), allow_nan=False)


def test_of_a_bound_from_above_the_lowest_fault_is_the_nearest() -> None:
    def figure(verdict: Verdict, value: float) -> Verdict:
        (gate,) = verdict.gates
        leak = WINS.model_copy(update={"op": "<=", "threshold": 0.1, "value": value})
        return verdict.model_copy(update={"gates": (gate.model_copy(update={"measurements": (leak,)}),)})

    control = figure(GREEN, 0.0)
    found = [replace(judged(figure(RED, value), control), name=str(value)) for value in (0.9, 0.2, 0.4)]

    assert margins(control, found)[0].nearest == 0.2


# ---------------------------------------------------------------------- copies


def test_a_copy_shares_what_it_does_not_change_and_spares_the_original(tiny: Tiny, tmp_path: Path) -> None:
    source = open_bundle(tiny.ckpt)
    before = tree_sha256(tiny.root)
    with original_is_untouched(source):
        plain = copy_checkpoint(source, "stage4", tmp_path / "plain")
        broken = clone(plain, tmp_path / "broken")
        edit_tensors(broken, broken.ckpt / "trainable_rows.safetensors", lambda t: t["embeddings"].zero_())
        broken.edit_json(broken.ckpt / "trainable_rows.json", row_start=1)

    assert tree_sha256(tiny.root) == before
    assert changed_files(plain, broken) == [
        "stage4/checkpoint_20/trainable_rows.json", "stage4/checkpoint_20/trainable_rows.safetensors",
    ]  # fmt: skip
    shared, own = (copy.input("base") / "model.safetensors" for copy in (broken, plain))
    # A hard link of the other copy, or a reflink, which has no other name; never a link of an original so small.
    assert shared.samefile(own) or shared.stat().st_nlink == 1
    assert not shared.samefile(tiny.base / "model.safetensors")


def test_a_copy_is_judged_by_its_own_files_alone(tiny: Tiny, tmp_path: Path) -> None:
    copy = copy_checkpoint(open_bundle(tiny.ckpt), "stage4", tmp_path / "copy")

    assert {path.is_relative_to(copy.root) for path in copy.bundle.inputs.values()} == {True}
    assert copy.bundle.inputs.keys() == open_bundle(tiny.ckpt).inputs.keys()
    assert (copy.bundle.step, copy.bundle.decoding) == (20, "constrained")


def test_writing_to_the_original_is_found(tiny: Tiny) -> None:
    with pytest.raises(RuntimeError, match=r"token_space\.json"), original_is_untouched(open_bundle(tiny.ckpt)):
        write_text(tiny.ckpt / "token_space.json", "{}")


def test_a_copy_never_goes_where_something_is(tiny: Tiny, tmp_path: Path) -> None:
    source, before = open_bundle(tiny.ckpt), tree_sha256(tiny.root)
    plain = copy_checkpoint(source, "stage4", tmp_path / "plain")

    # What lies there is hard links of the original: writing to them would destroy it.
    with pytest.raises(FileExistsError):
        copy_checkpoint(source, "stage4", tmp_path / "plain")
    with pytest.raises(FileExistsError):
        clone(plain, tmp_path / "plain")
    with pytest.raises(FileExistsError):
        clone_tree(tiny.ckpt, plain.ckpt)

    assert tree_sha256(tiny.root) == before


def test_a_file_outside_the_copy_is_not_given_away(tiny: Tiny, tmp_path: Path) -> None:
    copy = copy_checkpoint(open_bundle(tiny.ckpt), "stage4", tmp_path / "copy")

    with pytest.raises(ValueError, match="no part of the copy"):
        copy.own(tiny.ckpt / "bundle.json")


def test_a_fault_that_changes_no_byte_is_not_planted(tiny: Tiny, tmp_path: Path) -> None:
    plain = copy_checkpoint(open_bundle(tiny.ckpt), "stage4", tmp_path / "plain")

    def save_again(copy: Any) -> None:
        write_json(copy.ckpt / "bundle.json", read_json(copy.ckpt / "bundle.json"))

    with pytest.raises(NotApplicableError, match=NO_CHANGE):
        plant(replace(FAULT, inject=save_again), plain, clone(plain, tmp_path / "copy"))


def test_a_fault_that_writes_through_a_link_is_found(tiny: Tiny, tmp_path: Path) -> None:
    plain = copy_checkpoint(open_bundle(tiny.ckpt), "stage4", tmp_path / "plain")
    copy = clone(plain, tmp_path / "copy")

    def write_through(copy: Any) -> None:
        (copy.ckpt / "bundle.json").write_text("{}")

    if not (copy.ckpt / "bundle.json").samefile(plain.ckpt / "bundle.json"):
        pytest.skip("this file system has reflinks, through which nothing can be written")
    with pytest.raises(RuntimeError, match="wrote through a link"):
        plant(replace(FAULT, inject=write_through), plain, copy)


# ---------------------------------------------------------------------- the whole of it


@pytest.mark.parametrize("gate", [*GATES_3, *GATES_4])
def test_every_gate_has_a_file(gate: str) -> None:
    assert file_of(gate).is_file()


def test_an_entry_that_cannot_be_planted_costs_only_itself(tiny: Tiny, tmp_path: Path) -> None:
    def fails(copy: Any) -> None:
        raise KeyError("x")

    def no_place(copy: Any) -> None:
        raise NotApplicableError("it has none")

    def pickle_beside(copy: Any) -> None:
        (copy.ckpt / "optimizer.pt").write_bytes(b"")

    entries = [
        replace(FAULT, name="it-fails", gates=("P0.0",), inject=fails),
        replace(FAULT, name="it-has-no-place", gates=("P0.0",), inject=no_place),
        replace(FAULT, name="a-pickle", gates=("P0.0",), reason="a pickle", advice="gates init", inject=pickle_beside),
    ]
    note = Harmless("a-note", "A note.", lambda copy: write_text(copy.ckpt / "note.txt", "x"), "weights")
    options = Options(tmp_path / "work", Settings(tmp_path / "evidence", max_examples=2, few_examples=2))
    write_text(tmp_path / "work" / "mine.txt", "somebody's own")

    tested = selftest(open_bundle(tiny.ckpt), "stage4", entries, [note], options, lambda *_: None)

    endings = {each.name: each.ending for each in tested.found}
    assert endings == {"it-fails": "untold", "it-has-no-place": "no place", "a-pickle": "caught", "a-note": "harmless"}
    assert exit_code(tested) == 10
    assert by_gate(tested.found)[-1] == ("all", "3", "1", "·", "·", "·", "1", "1")
    seen = record(tested, [*entries, note])
    assert sentence(seen).startswith("1 of 2 faults caught, 0 got through or were misnamed, 1 could not be told;")
    # The folder is the user's: what else lies there stays, and what was made there goes.
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["mine.txt"]
    json.dumps(seen, allow_nan=False)


def test_the_command_tests_one_gate_of_a_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    arguments = ["selftest", str(tiny.ckpt), "--gate", "P0.6", "--max-examples", "2", "--out", str(tmp_path / "out")]
    before = tree_sha256(tiny.root)

    result = CliRunner().invoke(app, arguments)

    seen = json.loads((tmp_path / "out" / "selftest.json").read_text())
    assert tree_sha256(tiny.root) == before
    assert result.exit_code == 0, result.output
    assert {fault["ending"] for fault in seen["faults"]} <= {"caught", "no place"}
    assert len(seen["faults"]) == sum("P0.6" in fault.gates for fault in FAULTS)
    assert "false alarms among" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--gate", "P9.9"], "no fault in the catalogue"),
        (["--thresholds", "absent.toml"], "nothing there"),
        (["--stage", "5"], "less than or equal to 4"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(tiny: Tiny, arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, ["selftest", str(tiny.ckpt), *arguments])

    assert result.exit_code == 4
    assert expected in result.output
