"""The token space: identity, ids to codes and back, and what is refused."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, TokenSpaceError
from harness.files import MAX_JSON_DEPTH, parse_json
from harness.space_difference import difference
from harness.token_space import Mode, TokenSpace, parse_token_space, read_token_space, token_space_sha256
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
        (token_space_object(text_vocab_size=True), "text_vocab_size: Input should be a valid integer"),
        (token_space_object(special_tokens={"<|a|>": 50, "<a>": 51}), "expected one spelling of each special"),
        (token_space_object(vocab_size_total=2**32 + 1), "expected at most 4294967296: ids are uint32"),
        (
            token_space_object(audio_codec={"n_codebooks": 8}),
            "audio_codec.n_codebooks 8; expected 2, as its ranges say",
        ),
        (token_space_object(audio_codec={"serialization": "by_codebook"}), "audio_codec.serialization by_codebook"),
        (
            token_space_object(image_tokenizer={"codebook_size": 8192}),
            "image_tokenizer.codebook_size 8192; expected 24",
        ),
        (_with_range("IMAGE", -1, 24), "ranges.IMAGE: Value error, start -1"),
        ({}, "version: Field required"),
    ],
    ids=[
        "overlap",
        "past the end",
        "gap in codebooks",
        "text size",
        "special in text",
        "same id",
        "type",
        "bool",
        "two spellings",
        "64-bit ids",
        "more codebooks",
        "other order",
        "other codebook",
        "negative",
        "empty",
    ],
)
def test_a_contradictory_token_space_is_refused(obj: dict[str, Any], message: str) -> None:
    if "AUDIO_CB5" in obj.get("ranges", {}):
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


@given(st.integers(0, SPACE.vocab_size_total - 1))
def test_every_id_has_one_place_and_comes_back(token_id: int) -> None:
    place = SPACE.place(token_id)

    assert SPACE.id_at(place.range, place.code) == token_id
    assert (place.codebook is None) == (not place.range.startswith("AUDIO"))
    if place.codebook is not None:
        assert token_id in SPACE.audio[place.codebook]


@pytest.mark.parametrize("code", [-1, CODEBOOK])
def test_a_code_outside_its_range_has_no_id(code: int) -> None:
    with pytest.raises(ValueError, match=f"code {code} of AUDIO_CB1: expected 0 to 15"):
        SPACE.id_at("AUDIO_CB1", code)
    with pytest.raises(ValueError, match="no range AUDIO_CB7"):
        SPACE.id_at("AUDIO_CB7", 0)
    with pytest.raises(ValueError, match="id 120 belongs to no range"):
        SPACE.place(SPACE.vocab_size_total)


@pytest.mark.parametrize("mode", ["text", "image", "audio"])
def test_the_legal_ids_of_a_mode(mode: Mode) -> None:
    legal = SPACE.legal_ids(mode)

    places = [SPACE.place(int(i)) for i in legal]
    named = {SPACE.name_of(int(i)) for i in legal}
    assert legal.dtype == np.uint32
    assert (np.diff(legal.astype(np.int64)) > 0).all()
    wanted = {"text": {"TEXT"}, "image": {"IMAGE"}, "audio": {"AUDIO_CB0", "AUDIO_CB1"}}[mode]
    assert {place.range for place in places} == wanted | {"SPECIAL"}
    assert {name for name in named if name.startswith("<|")} == {
        "text": SPACE.special_tokens.keys() - {"<|pad_mm|>"}, "image": {"<|img_end|>"}, "audio": {"<|aud_end|>"},
    }[mode]  # fmt: skip
    assert "SPECIAL" not in named  # a spare row
    assert sum(place.range != "SPECIAL" for place in places) == {"text": 48, "image": 24, "audio": 32}[mode]


def _leaves(obj: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [leaf for key, v in obj.items() for leaf in _leaves(v, (*path, key))] if isinstance(obj, dict) else [path]


@given(st.sampled_from(_leaves(token_space_object())), st.sampled_from([1, 10**6, "x", None, 0.5]))
def test_the_hash_feels_every_change(path: tuple[str, ...], value: object) -> None:
    obj = token_space_object()
    target = obj
    for key in path[:-1]:
        target = target[key]
    before, target[path[-1]] = target[path[-1]], value

    assert (token_space_sha256(obj) == SPACE.sha256) == (before == value)


def _shuffled(obj: Any, order: Any) -> Any:
    if not isinstance(obj, dict):
        return obj
    return {key: _shuffled(obj[key], order) for key in order.draw(st.permutations(list(obj)))}


@given(st.data(), st.sampled_from([None, 0, 3]), st.booleans())
def test_the_hash_is_blind_to_formatting(order: Any, indent: int | None, ascii_only: bool) -> None:
    obj = token_space_object(note="Œuvre — ½", nested={"b": [1, {"z": None}], "a": 1.5})
    text = json.dumps(_shuffled(obj, order), indent=indent, ensure_ascii=ascii_only)

    assert token_space_sha256(json.loads(text)) == token_space_sha256(obj)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "does not differ"),
        ({"created_utc": "2027"}, "differs only in created_utc: every id means the same, the file was rebuilt"),
        ({"image_tokenizer": {"kind": "vq", "local_path": "/a", "device": "cpu"}},
         "differs only in image_tokenizer.device, image_tokenizer.local_path: every"),
        ({"base_text_model": "/models/tiny/"}, "differs only in base_text_model"),
        ({"base_text_model": "tiny-2"}, "differs in meaning: base_text_model"),
        ({"created_utc": "2027", "version": "uti_v2"}, "differs in meaning: version"),
        ({"special_tokens": {"<|aud_end|>": 60, "my_path": 61}}, "differs in meaning: special_tokens.<|aud_end|>"),
        ({"ranges": _with_range("IMAGE", 64, 23)["ranges"]}, "meaning: ranges.IMAGE.end, ranges.IMAGE.size"),
        ({"note": 1}, "differs in meaning: note"),
    ],
    ids=["none", "created", "paths", "same base", "other base", "both", "special", "range", "unknown key"],
)  # fmt: skip
def test_what_two_layouts_differ_in_is_said(changes: dict[str, Any], words: str) -> None:
    other = parse_token_space(token_space_object(**changes))

    assert words in str(difference(SPACE, other))
    assert difference(other, SPACE) == difference(SPACE, other)


def test_unknown_keys_are_kept_and_listed() -> None:
    obj = token_space_object(note=1, ranges=token_space_object()["ranges"])
    obj["ranges"]["VIDEO"] = {"start": 120, "end": 129, "size": 10}
    obj["special_tokens"]["<|think|>"] = 60
    obj["vocab_size_total"] = 130
    space = parse_token_space(obj)

    assert space.unknown_keys == ("note", "ranges.VIDEO", "special_tokens.<|think|>")
    assert space.raw["note"] == 1


@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH + 1, 10**5])
def test_json_that_nests_deeply_is_refused(tmp_path: Path, depth: int) -> None:
    (tmp_path / "token_space.json").write_text('{"a":' * depth + "1" + "}" * depth)

    with pytest.raises(HarnessError, match=r"found JSON nested too deeply; expected at most .*64 levels"):
        read_token_space(tmp_path)


def test_json_that_is_huge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token_space.json").write_bytes(b" " * (4 * 2**20 + 1))

    with pytest.raises(HarnessError, match="found 4194305 bytes; expected at most 4194304"):
        read_token_space(tmp_path)


@given(st.binary(max_size=300))
def test_bytes_are_json_or_refused(content: bytes) -> None:
    with contextlib.suppress(HarnessError):
        parse_json(content, "x.json")


@pytest.mark.skipif(not FIELD.is_dir(), reason="the field's files are not on this machine")
def test_the_fields_own_layout_is_read() -> None:
    space = read_token_space(FIELD)

    assert space.sha256 == (FIELD / "token_space.sha256").read_text().strip()
    assert (space.text_vocab_size, space.vocab_size_total, space.n_codebooks) == (151_669, 164_021, 4)
    with pytest.raises(TokenSpaceError, match="sha256"):
        read_token_space(FIELD / "token_space_mismatch.json")
    mismatch = parse_token_space(json.loads((FIELD / "token_space_mismatch.json").read_text()))
    assert str(difference(space, mismatch)) == "differs in meaning: version"
    assert space.unknown_keys == ()
    assert [len(space.legal_ids(mode)) for mode in ("text", "image", "audio")] == [151_669 + 9, 8_193, 4_097]
