"""Steps resume: what is up to date is left alone and says so, what has changed runs again."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from training.config import MixConfig, RunConfig
from training.pipeline import COMMANDS, NEEDS, in_order, make_steps
from training.recipe import DEMO, RECIPES
from training.steps import Step, as_json, claim_run, new_folder, progress, run_step


@dataclass
class Copy:
    """A double: a step that writes its input's text and its config, and counts how often."""

    root: Path
    config: object = "first"
    runs: int = 0
    said: list[str] = field(default_factory=list)

    def run(self) -> bool:
        source, target = self.root / "source.txt", self.root / "out" / "copy.txt"

        def work() -> None:
            self.runs += 1
            target.parent.mkdir(exist_ok=True)
            target.write_text(f"{source.read_text()} {self.config}")

        step = Step("copy", self.config, (source,), (target,), self.root / "out" / ".done.json", work)
        return run_step(step, self.said.append)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    (tmp_path / "source.txt").write_text("one")
    return Copy(tmp_path)


def test_a_second_run_does_nothing_and_says_so(copy: Copy) -> None:
    assert copy.run() is True
    assert copy.run() is False
    assert copy.runs == 1
    assert "up to date, nothing to do" in copy.said[-1]


def _change_config(copy: Copy) -> None:
    copy.config = "second"


def _change_input(copy: Copy) -> None:
    (copy.root / "source.txt").write_text("two")


def _lose_output(copy: Copy) -> None:
    (copy.root / "out" / "copy.txt").unlink()


def _spoil_output(copy: Copy) -> None:
    (copy.root / "out" / "copy.txt").write_text("spoilt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [(_change_config, "config has changed"), (_change_input, r"inputs have changed \(source.txt\)"),
     (_lose_output, r"outputs are not what it wrote \(copy.txt\)"), (_spoil_output, "outputs are not what it wrote")],
)  # fmt: skip
def test_a_change_runs_the_step_again_and_gives_the_reason(
    copy: Copy, change: Callable[[Copy], None], reason: str
) -> None:
    copy.run()
    change(copy)

    assert copy.run() is True
    assert any(line for line in copy.said if re.search(reason, line))
    assert copy.run() is False


def test_a_step_that_fails_leaves_no_stamp(tmp_path: Path) -> None:
    stamp = tmp_path / "out" / ".done.json"
    stamp.parent.mkdir()

    def fail() -> None:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        run_step(Step("fail", None, (), (), stamp, fail), print)
    assert not stamp.exists()


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    step = Step("late", None, (tmp_path / "absent",), (), tmp_path / "out" / ".done.json", lambda: None)

    with pytest.raises(HarnessError, match=r"absent: found nothing; expected an input of the step late"):
        run_step(step)


def test_a_folder_that_fails_half_way_is_as_it_was(tmp_path: Path) -> None:
    with new_folder(tmp_path / "x") as folder:
        (folder / "whole").write_text("old")
    with pytest.raises(RuntimeError, match="half way"):
        _fail_half_way(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def _fail_half_way(path: Path) -> None:
    with new_folder(path) as folder:
        (folder / "half").write_text("new")
        raise RuntimeError("half way")


def test_somebody_elses_folder_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(HarnessError, match="files that no training run wrote"):
        claim_run(tmp_path)


def test_a_new_run_is_claimed_and_known_again(tmp_path: Path) -> None:
    claim_run(tmp_path / "run")
    claim_run(tmp_path / "run")


def test_every_step_comes_after_what_it_needs() -> None:
    order = in_order(["demo"])

    assert set(order) == set(NEEDS)
    assert all(order.index(needed) < order.index(name) for name in order for needed in NEEDS[name])
    assert set(in_order(COMMANDS)) == set(NEEDS)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_what_a_step_reads_is_written_by_what_it_needs(recipe: object, tmp_path: Path) -> None:
    steps = make_steps(tmp_path, recipe)  # type: ignore[arg-type]
    for name, step in steps.items():
        before = {path for needed in in_order([name])[:-1] for path in steps[needed].outputs}
        assert set(step.inputs) <= before, name


def test_a_hyperparameter_reruns_its_step_and_leaves_the_earlier_ones(tmp_path: Path) -> None:
    hotter = replace(DEMO, stage4=replace(DEMO.stage4, optim=replace(DEMO.stage4.optim, lr_lora=1.0)))
    before, after = make_steps(tmp_path, DEMO), make_steps(tmp_path, hotter)
    changed = [name for name in before if as_json(before[name].config) != as_json(after[name].config)]

    assert changed == ["stage4"]


def test_a_config_is_json_of_its_fields() -> None:
    stage = RunConfig(stage=3, mix=MixConfig(shares={"a2t": 2.0}))

    assert as_json(stage)["mix"]["shares"] == {"a2t": 2.0}
    with pytest.raises(TypeError, match="cannot be part of a step's config"):
        as_json({"x": object()})


def test_progress_is_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress(1000, "work") as bar:
        for _ in range(1000):
            bar.update()

    lines = stream.getvalue().splitlines()
    assert len(lines) == 1  # the first; the next would be due after seconds
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
