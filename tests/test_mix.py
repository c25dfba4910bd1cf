"""The plan of a run: how many sequences of each task a step holds, which ones, and in which forwards."""

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.token_space import parse_token_space
from tests.packed import pool
from tests.tiny import token_space_object
from training.config import MIX_TASKS, MixConfig
from training.mix import ForwardSampler, Plan, steps_for
from training.sequences import Draw

SPACE = parse_token_space(token_space_object())
POOL = pool(SPACE, {"a2t": 5, "i2t": 7, "t2a": 4, "t2i": 6, "text": 3})
EVEN = dict.fromkeys(MIX_TASKS, 1.0)


def _plan(mix: MixConfig | None = None, **changes: Any) -> Plan:
    mix = mix or MixConfig(shares=EVEN)
    return replace(Plan(POOL, mix, n_steps=20, per_step=16, per_forward=4, group_by_length=True, seed=3), **changes)


def _counts(plan: Plan) -> list[Counter[str]]:
    return [Counter(draw.task for draw in drawn) for drawn in plan.steps()]


def _bound(n_tasks: int) -> float:
    """How far the greedy rounding of n shares may run behind: 1/2 + … + 1/n, and one sequence at least."""
    return max(1.0, sum(1 / k for k in range(2, n_tasks + 1)))


# Extreme shares too: one task may have all but a millionth of the rest.
SHARES = st.dictionaries(
    st.sampled_from(MIX_TASKS), st.one_of(st.floats(0.01, 1), st.sampled_from([1e-6, 1e-3, 1e3, 1e6])), min_size=1
)


@settings(deadline=None, max_examples=60)
@given(
    end=SHARES, start=st.one_of(st.just({}), SHARES), ramp=st.integers(1, 30), per_step=st.sampled_from([1, 2, 7, 16])
)  # fmt: skip
def test_after_any_step_every_task_has_had_its_share_but_for_rounding(
    end: dict[str, float], start: dict[str, float], ramp: int, per_step: int
) -> None:
    mix = MixConfig(shares=end, start=start, ramp_steps=ramp if start else 0)
    plan = _plan(mix, n_steps=40, per_step=per_step, per_forward=per_step)
    owed = dict.fromkeys({**start, **end}, 0.0)
    for step, counts in enumerate(_counts(plan), start=1):
        shares = plan.shares(step)
        assert sum(shares.values()) == pytest.approx(1)
        assert counts.total() == per_step
        for task in owed:
            owed[task] += shares[task] * per_step - counts[task]
        assert max(map(abs, owed.values())) <= _bound(len(owed)) + 1e-9


def test_shares_that_divide_evenly_are_the_same_in_every_step() -> None:
    counts = _counts(_plan(MixConfig(shares={"a2t": 2.0, "i2t": 1.0, "text": 1.0})))

    assert counts == [{"a2t": 8, "i2t": 4, "text": 4}] * 20


def test_a_rare_task_gets_its_turn() -> None:
    counts = _counts(_plan(MixConfig(shares={"a2t": 99.0, "text": 1.0}), n_steps=100, per_step=1, per_forward=1))

    assert sum(counts, Counter())["text"] == 1


def test_shares_ramp_in_a_line_from_the_first_step_to_the_one_after_the_ramp() -> None:
    plan = _plan(MixConfig(shares={"a2t": 3.0, "t2a": 1.0}, start={"i2t": 2.0, "a2t": 2.0}, ramp_steps=10))

    assert plan.shares(1) == {"a2t": 0.5, "i2t": 0.5, "t2a": 0}
    assert plan.shares(6) == {"a2t": 0.625, "i2t": 0.25, "t2a": 0.125}
    assert plan.shares(11) == plan.shares(500) == {"a2t": 0.75, "i2t": 0, "t2a": 0.25}


def test_a_task_without_share_or_examples_is_never_drawn() -> None:
    mix = MixConfig(shares={"a2t": 1.0, "t2a": 0.0}, start={"i2t": 1.0, "t2i": 1.0, "text": 1.0}, ramp_steps=5)
    sequences = pool(SPACE, {"a2t": 3, "i2t": 3, "t2i": 3, "text": 3})
    for per_step in (1, 2, 5):
        counts = _counts(_plan(mix, sequences=sequences, per_step=per_step, per_forward=1))
        assert not sum(counts, Counter())["t2a"]


def test_every_example_is_drawn_once_before_any_again() -> None:
    drawn = {task: Counter(dict.fromkeys(_plan().members(task).tolist(), 0)) for task in MIX_TASKS}
    for step in _plan(n_steps=50).steps():
        for draw in step:
            drawn[draw.task][draw.index] += 1
        for task, times in drawn.items():
            assert max(times.values()) - min(times.values()) <= 1, task

    assert all(min(times.values()) > 2 for times in drawn.values())


def test_copied_media_come_from_reading_and_writing_examples() -> None:
    kinds: dict[str, set[str]] = {}
    for draw in [draw for step in _plan(n_steps=50).steps() for draw in step]:
        kinds.setdefault(draw.task, set()).add(str(POOL.tasks[draw.index]))

    assert kinds["copy_audio"] == kinds["denoise_audio"] == {"a2t", "t2a"}
    assert kinds["copy_image"] == kinds["denoise_image"] == {"i2t", "t2i"}
    assert all(kinds[task] == {task} for task in ("a2t", "i2t", "t2a", "t2i", "text"))


def test_variants_follow_the_task() -> None:
    drawn = [draw for step in _plan(MixConfig(shares=EVEN, prompt_dropout=0.0)).steps() for draw in step]

    assert {draw.variant for draw in drawn if draw.task.startswith("copy")} == {"copy"}
    assert {draw.variant for draw in drawn if draw.task.startswith("denoise")} == {"denoise"}
    assert {draw.variant for draw in drawn if "_" not in draw.task} == {"own"}
    assert len({draw.seed for draw in drawn}) == len(drawn)


def test_prompt_dropout_has_its_share_of_the_write_tasks_alone() -> None:
    drawn = [draw for step in _plan(MixConfig(shares=EVEN, prompt_dropout=0.3), n_steps=200).steps() for draw in step]
    written = [draw.variant == "empty" for draw in drawn if draw.task in ("t2a", "t2i")]

    assert 0.24 < np.mean(written) < 0.36  # 711 draws: three standard errors are 0.05
    assert not any(draw.variant == "empty" for draw in drawn if draw.task not in ("t2a", "t2i"))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_prompt_dropout_changes_nothing_but_the_variant(share: float) -> None:
    some = [draw for step in _plan(MixConfig(shares=EVEN, prompt_dropout=0.5)).steps() for draw in step]
    other = [draw for step in _plan(MixConfig(shares=EVEN, prompt_dropout=share)).steps() for draw in step]
    written = {draw.variant for draw in other if draw.task in ("t2a", "t2i")}

    assert Counter((draw.index, draw.task, draw.seed) for draw in some) == Counter(
        (draw.index, draw.task, draw.seed) for draw in other
    )
    assert written == {"empty" if share else "own"}


@pytest.mark.parametrize("grouped", [False, True])
def test_how_a_step_is_cut_into_forwards_does_not_change_what_it_holds(grouped: bool) -> None:
    steps = [
        [Counter(drawn) for drawn in _plan(per_forward=size, group_by_length=grouped).steps()] for size in (1, 4, 16)
    ]

    assert steps[0] == steps[1] == steps[2]


def test_a_forward_holds_sequences_of_many_tasks() -> None:
    plan = _plan(MixConfig(shares={"a2t": 1.0, "i2t": 1.0}), per_forward=8, group_by_length=False)
    mixed = [len({draw.task for draw in forward}) == 2 for forward in plan.forwards()]

    assert np.mean(mixed) > 0.9  # of two forwards of 8, one in 6,435 would hold one task alone


def test_forwards_are_the_steps_in_pieces() -> None:
    plan = _plan()
    forwards = list(ForwardSampler(plan))

    assert len(forwards) == len(ForwardSampler(plan)) == 20 * plan.forwards_per_step == 80
    assert {len(forward) for forward in forwards} == {4}
    for number, drawn in enumerate(plan.steps()):
        assert [draw for forward in forwards[4 * number : 4 * number + 4] for draw in forward] == drawn


def test_the_plan_is_the_same_every_time_and_another_by_another_seed() -> None:
    plan = _plan()

    assert list(plan.steps()) == list(plan.steps()) == list(_plan().steps())
    assert list(plan.steps()) != list(_plan(seed=4).steps())


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    """So that a run which skips to step k goes on with what step k would have held."""
    longer = _plan(n_steps=30)

    assert list(islice(longer.steps(), 20)) == list(_plan().steps())
    assert list(islice(longer.forwards(), 4 * 12, 4 * 13)) == list(islice(_plan().forwards(), 48, 52))


def _lengths(forward: list[Draw]) -> list[int]:
    return [POOL.length(draw) for draw in forward]


def test_sequences_of_like_length_share_a_forward() -> None:
    plan = _plan()
    orders = []
    for number in range(plan.n_steps):
        forwards = [_lengths(one) for one in islice(plan.forwards(), 4 * number, 4 * number + 4)]
        orders.append([max(one) for one in forwards])
        forwards.sort(key=min)
        assert all(max(one) <= min(other) for one, other in pairwise(forwards))
    # No process shall always have the longest.
    assert len({int(np.argmax(longest)) for longest in orders}) > 1


@pytest.mark.parametrize(
    ("task", "needed"),
    [("i2t", "i2t"), ("text", "text"), ("copy_image", "i2t or t2i"), ("denoise_image", "i2t or t2i")],
)
def test_a_share_without_examples_is_refused(task: str, needed: str) -> None:
    sequences = pool(SPACE, {"a2t": 3})
    with pytest.raises(HarnessError, match=f"found no example of {task}; expected at least one of {needed}, since"):
        _plan(MixConfig(shares={"a2t": 1.0, task: 0.5}), sequences=sequences)
    with pytest.raises(HarnessError, match=f"no example of {task}"):
        _plan(MixConfig(shares={"a2t": 1.0}, start={task: 0.5}, ramp_steps=3), sequences=sequences)


@given(st.floats(0.01, 20), st.integers(1, 300_000), st.sampled_from([1, 4, 16, 48]))
def test_so_many_passes_take_so_many_steps(epochs: float, n_sequences: int, per_step: int) -> None:
    n_steps = steps_for(epochs, n_sequences, per_step)

    assert n_steps >= 1
    assert n_steps * per_step >= epochs * n_sequences * (1 - 1e-12)
    assert n_steps == 1 or (n_steps - 1) * per_step < epochs * n_sequences


def test_copies_beyond_the_limit_are_left_out_and_never_cut() -> None:
    plan = _plan()
    lengths = [plan.sequences.length(Draw(int(i), "copy_audio", "copy")) for i in plan.members("copy_audio")]
    limit = sorted(lengths)[len(lengths) // 2]
    short = replace(plan, max_tokens=limit)

    assert len(short.members("copy_audio")) == sum(length <= limit for length in lengths)
    assert len(short.members("a2t")) == len(plan.members("a2t"))
    with pytest.raises(HarnessError, match="no example of copy_audio that is short enough"):
        replace(plan, max_tokens=4)
