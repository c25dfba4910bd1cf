"""The token space: identity, ids to codes and back, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import TokenSpaceError
from harness.token_space import TokenSpace, parse_token_space, read_token_space, token_space_sha256
from tests.tiny import CODEBOOK, N_CODEBOOKS, TEXT, token_space_object, write_space

FIELD = Path(__file__).parents[2] / "shared" / "field"
SPACE = parse_token_space(token_space_object())


@given(st.integers(0, 12).flatmap(lambda t: st.lists(st.integers(0, CODEBOOK - 1), min_size=2 * t, max_size=2 * t)))
def test_audio_codes_survive_the_way_to_ids_and_back(flat: list[int]) -> None:
    codes = np.array(flat, dtype=np.int64).reshape(N_CODEBOOKS, -1)

    ids = SPACE.to_ids("audio", codes)

    assert ids.dtype == np.uint32
    assert SPACE.in_turn("audio", ids).all()
    assert np.array_equal(SPACE.to_codes("audio", ids), codes)


def test_audio_ids_are_frame_major(space: TokenSpace) -> None:
    ids = space.to_ids("audio", np.array([[0, 1, 2], [3, 4, 5]]))

    first, second = (r.start for r in space.audio)
    assert ids.tolist() == [first, second + 3, first + 1, second + 4, first + 2, second + 5]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["cb1", "cb0"], "codebook mismatch, found AUDIO_CB1, expected AUDIO_CB0"),
        (["cb0"], "no whole number of frames of 2 codebooks"),
        ([3, "cb1"], "found TEXT, not in AUDIO range"),
        (["cb0", "aud_end"], r"found <\|aud_end\|>, not in AUDIO range"),
    ],
    ids=["out of turn", "half a frame", "text", "special"],
)
def test_ids_that_are_no_audio_are_named(space: TokenSpace, ids: list[Any], message: str) -> None:
    known = {"cb0": space.audio[0].start, "cb1": space.audio[1].start, "aud_end": space.special("aud_end")}

    with pytest.raises(ValueError, match=message):
        space.to_codes("audio", np.array([known.get(i, i) for i in ids]))


@given(st.permutations(list(token_space_object())))
def test_the_hash_does_not_depend_on_the_order_of_keys(order: list[str]) -> None:
    obj = token_space_object()

    assert token_space_sha256({key: obj[key] for key in order}) == SPACE.sha256
    assert token_space_sha256(json.loads(json.dumps(obj, indent=7))) == SPACE.sha256


def test_the_hash_covers_every_key() -> None:
    assert parse_token_space(token_space_object(unknown_key=1)).sha256 != SPACE.sha256
    assert parse_token_space(token_space_object(created_utc="2026-01-02T00:00:00Z")).sha256 != SPACE.sha256


def _with_range(name: str, start: int, size: int) -> dict[str, Any]:
    obj = token_space_object()
    obj["ranges"][name] = {"start": start, "end": start + size - 1, "size": size}
    return obj


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (_with_range("IMAGE", TEXT + 10, 24), "found IMAGE starts at 58; expected after SPECIAL ends at 63"),
        (_with_range("AUDIO_CB1", 200, 16), "AUDIO_CB1 ends at 215; expected an id below vocab_size_total 120"),
        (_with_range("AUDIO_CB5", 104, 16), "expected .'AUDIO_CB0', 'AUDIO_CB1', 'AUDIO_CB2'."),
        (_with_range("TEXT", 0, 47), "expected TEXT from 0 with 48 ids"),
        (token_space_object(special_tokens={"<|aud_end|>": 3}), "expected an id inside SPECIAL"),
        (token_space_object(special_tokens={"<|a|>": 50, "<|b|>": 50}), "one id for each special"),
        (token_space_object(text_vocab_size="48"), "text_vocab_size: Input should be a valid integer"),
    ],
    ids=["overlap", "past the end", "gap in codebooks", "text size", "special in text", "same id", "type"],
)
def test_a_contradictory_token_space_is_refused(obj: dict[str, Any], message: str) -> None:
    if "AUDIO_CB5" in obj["ranges"]:
        del obj["ranges"]["AUDIO_CB1"]
        obj["ranges"]["AUDIO_CB2"] = {"start": 120, "end": 135, "size": 16}
        obj["vocab_size_total"] = 136

    with pytest.raises(TokenSpaceError, match=message):
        parse_token_space(obj)


def test_both_spellings_of_specials_have_the_same_role() -> None:
    obj = token_space_object()
    obj["special_tokens"]["<aud_end>"] = obj["special_tokens"].pop("<|aud_end|>")

    assert parse_token_space(obj).special("aud_end") == SPACE.special("aud_end")


def test_a_file_that_does_not_match_its_sidecar_is_refused(tmp_path: Path, space: TokenSpace) -> None:
    write_space(tmp_path, space)
    file = tmp_path / "token_space.json"
    file.write_text(file.read_text().replace("2026-01-01", "2026-01-02"))

    with pytest.raises(TokenSpaceError, match=r"as its own token_space\.sha256 says"):
        read_token_space(tmp_path)


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field's files are not on this machine")
def test_the_fields_own_layout_is_read() -> None:
    space = read_token_space(FIELD)

    assert space.sha256 == (FIELD / "token_space.sha256").read_text().strip()
    assert (space.text_vocab_size, space.vocab_size_total, space.n_codebooks) == (151_669, 164_021, 4)
    with pytest.raises(TokenSpaceError, match="sha256"):
        read_token_space(FIELD / "token_space_mismatch.json")
