"""The nearest prompt: the most similar other one, the words between them, and a model that ignores one of them."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from harness import nearest
from harness.bundle import open_bundle
from harness.checkpoint import Checkpoint
from harness.errors import ExampleError
from harness.examples import build_sequence, read_examples
from harness.files import write_jsonl
from harness.nearest import NearestPrompt, nearest_prompts, word_groups, word_pairs
from harness.settings import Settings
from harness.statistics import Paired
from harness.words import Words, changed_words
from tests.tiny import Tiny

prompts = st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=12)


def _edit_distance(a: list[int], b: list[int]) -> int:
    """The textbook's recursion, by rows."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        above = row
        row = [i]
        for j, y in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def _arrays(ids: list[list[int]]) -> list[np.ndarray]:
    return [np.array(each, dtype=np.int64) for each in ids]


@pytest.mark.parametrize("rows_at_once", [256, 2], ids=["one block of rows", "several"])
@given(ids=prompts, seed=st.integers(0, 3))
def test_no_other_prompt_is_more_similar(rows_at_once: int, ids: list[list[int]], seed: int) -> None:
    assume(any(each != ids[0] for each in ids))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "ROWS_AT_ONCE", rows_at_once)
        found = nearest_prompts(_arrays(ids), np.random.default_rng(seed))

    for own, other in zip(ids, found, strict=True):
        assert ids[other] != own
        assert _edit_distance(own, ids[other]) == min(_edit_distance(own, each) for each in ids if each != own)


@given(prompts, st.integers(0, 3))
def test_the_seed_decides(ids: list[list[int]], seed: int) -> None:
    assume(any(each != ids[0] for each in ids))

    first, second = (nearest_prompts(_arrays(ids), np.random.default_rng(seed)) for _ in range(2))

    assert first.tolist() == second.tolist()


def test_equal_prompts_have_no_nearest() -> None:
    with pytest.raises(ExampleError, match="3 prompts: found all of equal content; expected at least two"):
        nearest_prompts(_arrays([[1, 2]] * 3), np.random.default_rng(0))


def test_a_place_where_many_prompts_differ_does_not_crowd_out_another() -> None:
    # From the first prompt, 40 others differ in the first word and one in the second.
    ids = _arrays([[0, 0], [0, 1], *([n, 0] for n in range(1, 41))])

    chosen = [nearest_prompts(ids, np.random.default_rng(seed))[0] for seed in range(200)]

    # A fair coin lands outside this once in a million.
    assert 65 <= chosen.count(1) <= 135
    assert len(set(chosen)) > 20


# ------------------------------------------------------------------ word by word


def _measured(*rows: tuple[str, int, bool]) -> NearestPrompt:
    """Prompts, which other is nearest, and whether the own one wins."""
    words: list[Words] = [tuple(text.split()) for text, _, _ in rows]
    other = np.array([nearest_of for _, nearest_of, _ in rows])
    correct = np.arange(len(rows), dtype=np.float64)
    return NearestPrompt(
        task="t2i",
        examples=(),
        words=tuple(words),
        other=other,
        changed=tuple(changed_words(words[i], words[j]) for i, j in enumerate(other)),
        paired=Paired(
            correct=correct,
            ablated=correct + np.where([wins for _, _, wins in rows], 0.5, -0.5),
            clusters=np.array([f"m{i}" for i in range(len(rows))]),
            sources=np.array(["made"] * len(rows)),
        ),
    )


def test_a_word_has_the_examples_in_which_it_differs_alone() -> None:
    measured = _measured(
        ("a red four", 1, False),
        ("a red five", 0, True),
        ("a blue five", 0, True),  # blue and five differ: blue nowhere alone, five there above
        ("a red four", 1, True),
    )

    pairs = word_pairs(measured)

    assert {word: paired.correct.tolist() for word, paired in pairs.items()} == {
        "blue": [2.0], "five": [1.0], "four": [0.0, 3.0],
    }  # fmt: skip
    assert pairs["four"].gaps.tolist() == [-0.5, 0.5]
    assert pairs["four"].clusters.tolist() == ["m0", "m3"]


def test_a_word_that_stands_twice_counts_its_example_once() -> None:
    pairs = word_pairs(_measured(("no no", 1, True), ("yes yes", 0, True)))

    assert {word: len(paired.correct) for word, paired in pairs.items()} == {"no": 1, "yes": 1}


def test_words_that_take_one_anothers_place_are_a_group() -> None:
    measured = _measured(
        ("a red four on blue", 1, False),  # four <-> five
        ("a red five on blue", 2, False),  # five <-> six
        ("a red six on blue", 1, True),
        ("a blue six on blue", 2, True),  # blue <-> red, at another place than the next
        ("a red six on red", 2, True),  # red <-> blue
        ("a white one on black", 0, True),  # more than one word differs
    )

    groups = word_groups(measured)

    assert {name: paired.correct.tolist() for name, paired in groups.items()} == {
        "word 2: blue / red": [3.0], "word 3: five / four / six": [0.0, 1.0, 2.0], "word 5: blue / red": [4.0],
    }  # fmt: skip


def test_a_large_group_has_a_short_name() -> None:
    measured = _measured(*((f"say w{i:02}", (i + 1) % 30, True) for i in range(30)))

    ((name, paired),) = word_groups(measured).items()

    assert name.endswith("w11 and 18 more")
    assert len(paired.correct) == 30


# ------------------------------------------------------------------ on a checkpoint


def _checkpoint(tiny: Tiny, out: Path) -> Checkpoint:
    settings = Settings(device="cpu", dtype="float32", seed=0, batch_tokens=512, max_examples=None, out=out)
    return Checkpoint(open_bundle(tiny.ckpt), settings)


def test_the_checkpoint_measures_it_over_the_ablations_examples(shared_tiny: Tiny, tmp_path: Path) -> None:
    checkpoint = _checkpoint(shared_tiny, tmp_path)
    ablation = checkpoint.prompt_ablation("t2i", 12)

    measured = checkpoint.nearest_prompt("t2i", 12)

    assert measured.examples == ablation.examples
    assert measured.words == tuple(("caption", str(i)) for i in range(12))
    assert measured.changed == tuple((str(i),) for i in range(12))
    assert np.array_equal(measured.paired.correct, ablation.scores["correct"].nll)
    assert np.isfinite(measured.paired.gaps).all()
    # What was scored for the ablation is not scored again.
    assert [use.label for use in checkpoint.evidence.uses if not use.measured] == ["t2i: correct"]


def _write_two_word_prompts(tiny: Tiny) -> None:
    """Golden t2i prompts `w<a> w<b>` for every a of 1 to 4 and b of 11 to 14, over the pictures that are there."""
    (file,) = tiny.golden.glob("golden_t2i_*.jsonl")
    pictures = read_examples(file, tiny.space)
    rows = []
    for i in range(16):
        first, second = 1 + i // 4, 11 + i % 4
        codes = pictures[i % len(pictures)].input_ids[-7:-1]
        ids = build_sequence("t2i", [first, second], codes, tiny.space)
        text = f"w{first} w{second}"
        rows.append({"id": f"p{i}", "task": "t2i", "source": "made", "text": text, "input_ids": ids.tolist()})
    shutil.rmtree(tiny.golden)
    write_jsonl(tiny.golden / "golden_t2i_16.jsonl", rows)


def test_a_model_deaf_to_one_word_is_told_from_one_deaf_to_the_other(tiny: Tiny, tmp_path: Path) -> None:
    """The embeddings of w11 to w14 are made nearly equal: what is written can hardly depend on the second word."""
    _write_two_word_prompts(tiny)
    file = tiny.base / "model.safetensors"
    tensors = load_file(file)
    table = tensors["model.embed_tokens.weight"]
    table[12:15] = table[11] * (1 + 1e-5 * torch.arange(1, 4)[:, None])
    save_file(tensors, file, {"format": "pt"})

    measured = _checkpoint(tiny, tmp_path).nearest_prompt("t2i", 16)

    gaps = {name: np.abs(paired.gaps).max() for name, paired in word_groups(measured).items()}
    heard, unheard = gaps["word 1: w1 / w2 / w3 / w4"], gaps["word 2: w11 / w12 / w13 / w14"]
    assert unheard < heard / 50
    assert {len(changed) for changed in measured.changed} == {1}
    assert set(Counter(word for changed in measured.changed for word in changed)) == set(word_pairs(measured))
