"""Batches: nothing lost, nothing twice, little padding; and what happens when memory runs out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.batching import OutOfMemoryError, for_each_batch, next_batch, padded_tokens
from harness.bundle import open_bundle
from harness.model import load_model
from harness.scores import ScoreItem
from harness.scoring import score
from harness.vocabulary import Part, parts_of
from tests.tiny import Tiny

CPU = torch.device("cpu")


@given(
    lengths=st.lists(st.integers(1, 600), min_size=1, max_size=200),
    batch_tokens=st.integers(1, 5000),
    piece_tokens=st.integers(1, 1000),
)
def test_a_batch_is_within_its_budget_and_a_tenth_of_padding(
    lengths: list[int], batch_tokens: int, piece_tokens: int
) -> None:
    waiting = sorted(range(len(lengths)), key=lambda i: -lengths[i])

    batch = next_batch(waiting, lengths, batch_tokens, piece_tokens)

    assert [index for piece in batch for index in piece] == waiting[: sum(map(len, batch))], "the longest, in order"
    alone = sum(map(len, batch)) == 1
    assert sum(padded_tokens(piece, lengths) for piece in batch) <= batch_tokens or alone
    for piece in batch:
        padded = padded_tokens(piece, lengths)
        assert padded <= piece_tokens or len(piece) == 1
        assert padded - sum(lengths[index] for index in piece) <= 0.1 * padded + 1e-9


@given(
    lengths=st.lists(st.integers(1, 400), max_size=100),
    batch_tokens=st.integers(1, 20_000),
    fits=st.integers(400, 2000),
)
@settings(max_examples=30, deadline=None)
def test_every_sequence_is_worked_on_once_also_where_memory_runs_out(
    lengths: list[int], batch_tokens: int, fits: int
) -> None:
    seen: list[int] = []
    told: list[int] = []

    def work(batch: list[list[int]]) -> None:
        if sum(padded_tokens(piece, lengths) for piece in batch) > fits:
            raise torch.OutOfMemoryError
        seen.extend(index for piece in batch for index in piece)

    for_each_batch(lengths, batch_tokens, CPU, work, told.append)

    assert sorted(seen) == list(range(len(lengths)))
    assert told == sorted(told)
    assert told[-1:] == ([len(lengths)] if lengths else [])


def test_an_error_that_is_not_about_memory_is_not_swallowed() -> None:
    def work(batch: list[list[int]]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        for_each_batch([3, 4], 100, CPU, work, lambda done: None)


@pytest.fixture(scope="module")
def model(shared_tiny: Tiny) -> Any:
    return load_model(open_bundle(shared_tiny.ckpt), device="cpu", dtype="float32")


def _items(n: int) -> list[ScoreItem]:
    rng = np.random.default_rng(3)
    lengths = rng.integers(8, 40, size=n)
    return [ScoreItem(rng.integers(0, 100, size=length), slice(4, int(length))) for length in lengths]


def _parts(tiny: Tiny) -> tuple[Part, ...]:
    return parts_of(tiny.space, tiny.space.vocab_size_total)


def _out_of_memory_above(rows: int) -> Any:
    def hook(_: Any, args: Any, given: dict[str, Any]) -> None:
        if len(given["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return hook


@pytest.mark.parametrize("rows", [1, 3, 17])
def test_out_of_memory_makes_smaller_batches_with_the_same_results(model: Any, shared_tiny: Tiny, rows: int) -> None:
    plain = score(model, _items(60), parts=_parts(shared_tiny), batch_tokens=8192)

    hook = model.model.register_forward_pre_hook(_out_of_memory_above(rows), with_kwargs=True)
    smaller = score(model, _items(60), parts=_parts(shared_tiny), batch_tokens=8192)
    hook.remove()

    np.testing.assert_allclose(smaller.nll, plain.nll, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(smaller.labels, plain.labels)


def test_a_sequence_that_does_not_fit_alone_is_an_error_that_says_so(model: Any, shared_tiny: Tiny) -> None:
    hook = model.model.register_forward_pre_hook(_out_of_memory_above(0), with_kwargs=True)
    longest = max(item.target.stop - 1 for item in _items(5))

    with pytest.raises(OutOfMemoryError, match=f"memory ran out on one sequence of {longest} tokens.*--dtype bfloat16"):
        score(model, _items(5), parts=_parts(shared_tiny), batch_tokens=8192)
    hook.remove()


# The allocator of the CPU fails as it does on a full machine: no more address space.
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from harness import batching
from harness.bundle import open_bundle
from harness.model import load_model
from harness.scores import ScoreItem
from harness.scoring import score
from harness.vocabulary import Part

torch.set_num_threads(1)
batching.CPU_PIECE_TOKENS = batching.CPU_BATCH_TOKENS = 10**6  # as much at once as would be on a GPU
model = load_model(open_bundle(Path(sys.argv[1])), device="cpu", dtype="float32")
ids = np.random.default_rng(0).integers(0, 100, size=(2000, 100))
items = [ScoreItem(row, slice(90, 100)) for row in ids]
pieces = []
model.model.register_forward_pre_hook(lambda _, args, given: pieces.append(len(given["input_ids"])), with_kwargs=True)
parts = [Part("ALL", 0, model.lm_head.weight.shape[0])]
plenty = score(model, items, parts=parts, batch_tokens=10_000).nll
(size,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")]
resource.setrlimit(resource.RLIMIT_AS, (int(size.split()[1]) * 1024 + 80 * 2**20,) * 2)
pieces.clear()
little = score(model, items, parts=parts, batch_tokens=10**6).nll
assert pieces[0] == 2000 > pieces[-1], pieces
assert np.abs(little - plenty).max() < 1e-5
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits address space the way Linux does")
def test_the_cpu_allocators_own_error_makes_smaller_batches(shared_tiny: Tiny) -> None:
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(shared_tiny.ckpt)], capture_output=True, text=True, check=False
    )

    assert child.returncode == 0, child.stderr
