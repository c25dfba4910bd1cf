"""Counting what was written: ids out of range and out of turn apart, the field's failures by name, exact bounds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from harness.compliance import count_compliance, upper_bound
from harness.examples import Example
from harness.leaks import describe_leaks
from harness.token_space import ROLES, Modality, TokenSpace, parse_token_space
from tests.tiny import token_space_object, write_tokenizer


def _ids(space: TokenSpace, names: list[str | int]) -> np.ndarray:
    """`cb0`, `cb1`, `img`, `end`, `img_end`, `spare` by name; numbers as they are."""
    known = {"cb0": space.id_at("AUDIO_CB0", 3), "cb1": space.id_at("AUDIO_CB1", 3), "img": space.id_at("IMAGE", 3),
             "end": space.end_id("audio"), "img_end": space.end_id("image"), "spare": 63}  # fmt: skip
    return np.array([known[name] if isinstance(name, str) else name for name in names], dtype=np.int64)


def test_range_and_turn_are_counted_apart(space: TokenSpace) -> None:
    sequences = [_ids(space, names) for names in (["cb0", "cb1", "end"], ["cb1", "cb0", "end"], ["cb0", 3, "cb0", 70])]

    counts = count_compliance(sequences, [2, 2, 2], "audio", space)

    assert (counts.n_ids, counts.out_of_range, counts.out_of_turn) == (10, 2, 2)
    assert (counts.n_sequences, counts.sequences_out_of_range, counts.sequences_out_of_turn) == (3, 1, 1)
    assert counts.leaked == {"TEXT": 1, "IMAGE": 1}
    assert [(leak.number, leak.out_of_range) for leak in counts.leaks] == [(1, ()), (2, ((1, 3), (3, 70)))]


@pytest.mark.parametrize(
    ("modality", "names", "kinds"),
    [
        pytest.param("audio", ["cb0", "cb1", "end"], [], id="as-it-should-be"),
        pytest.param("audio", ["cb0", "cb0", "end"], ["codebook mismatch"], id="codebook-mismatch"),
        pytest.param("audio", ["cb0", "img", "end"], ["id in no AUDIO range"], id="another-modality"),
        pytest.param("audio", ["cb0", "spare", "end"], ["id in no AUDIO range"], id="a-spare-special"),
        pytest.param("audio", ["cb0", 999, "end"], ["id in no AUDIO range"], id="the-padding-gap"),
        pytest.param("audio", ["cb0", 5, "end"], ["id in no AUDIO range", "text leak"], id="text"),
        pytest.param("audio", ["cb0", "img_end", "end"], ["id in no AUDIO range", "text leak"], id="another-end-tag"),
        pytest.param("audio", ["end"], ["empty output"], id="empty"),
        pytest.param("audio", [], ["empty output"], id="nothing-at-all"),
        pytest.param("audio", ["end", "cb0", "cb1", "end"], ["codebook mismatch", "empty output"], id="two-end-tags"),
        pytest.param("audio", ["cb0"], ["ended early", "missing end tag"], id="one-id"),
        pytest.param("audio", ["cb0", "end"], ["ended early"], id="early"),
        pytest.param("audio", ["cb0", "cb1", "cb0"], ["missing end tag"], id="no-end-tag"),
        pytest.param("image", ["img", "cb0", "img_end"], ["id not in IMAGE range"], id="not-in-image"),
    ],
)
def test_the_fields_failures_have_names(
    space: TokenSpace, modality: Modality, names: list[str | int], kinds: list[str]
) -> None:
    counts = count_compliance([_ids(space, names)], [2], modality, space)

    assert counts.kinds == dict.fromkeys(kinds, 1)


def test_the_first_id_behind_the_text_is_no_text(space: TokenSpace) -> None:
    behind = space.text_vocab_size
    moved = {f"<|{role}|>": behind + 1 + i for i, role in enumerate(ROLES)}
    spare_first = parse_token_space(token_space_object(special_tokens=moved))
    ids = [np.array([id_, spare_first.end_id("audio")]) for id_ in (behind - 1, behind)]

    assert count_compliance(ids, [1, 1], "audio", spare_first).kinds == {"id in no AUDIO range": 2, "text leak": 1}


def test_every_sequence_has_its_expected_count(space: TokenSpace) -> None:
    with pytest.raises(ValueError, match="zip"):
        count_compliance([_ids(space, ["end"])], [2, 2], "audio", space)


def test_none_of_64_is_below_five_per_cent() -> None:
    assert upper_bound(0, 64) == pytest.approx(1 - 0.05 ** (1 / 64))
    assert f"{100 * upper_bound(0, 64):.1f}" == "4.6"
    assert upper_bound(64, 64) == 1
    assert np.isnan(upper_bound(0, 0))


@given(n=st.integers(1, 500), share=st.floats(0, 0.99))
def test_a_rate_at_the_bound_gives_so_few_hits_once_in_twenty(n: int, share: float) -> None:
    hits = int(share * n)

    assert binom.cdf(hits, n, upper_bound(hits, n)) == pytest.approx(0.05, abs=1e-6)


def test_the_worst_come_first_with_the_text_that_leaked(space: TokenSpace, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, space)
    sequences = [_ids(space, ["cb1", "end"]), _ids(space, ["cb0", 5, 7, "img", "end"])]
    examples = [Example(f"e{i}", "t2a", "s", np.array([1]), None, f"caption {i}", {}) for i in range(2)]
    counts = count_compliance(sequences, [2, 2], "audio", space)

    worst = describe_leaks(counts, examples, space, [tmp_path], "free")
    without = describe_leaks(counts, examples, space, [], "free")

    assert [row["id"] for row in worst] == ["e1", "e0"]
    assert worst[0]["note"] == (
        "free: 3 of 5 ids out of range, the first TEXT (id 5) at position 1; leaked text: 'w5 w7'"
    )
    assert "codebook mismatch, found AUDIO_CB1, expected AUDIO_CB0" in worst[1]["note"]
    assert "leaked text" not in without[0]["note"]
