"""Stored tensors: what a hostile or damaged file can do is to be refused, quickly, in so many words."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from harness.errors import BundleError, HarnessError
from harness.files import read_json
from harness.finite import find_not_finite
from harness.tensors import read_file, read_folder
from tests.forms import write_raw

GOOD = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the one file that a test is writing."""
    return tmp_path_factory.mktemp("stored") / "model.safetensors"


HEADERS = {
    "type-that-is-a-list": ({"a": GOOD["a"] | {"dtype": []}}, "dtype"),
    "type-that-nobody-knows": ({"a": GOOD["a"] | {"dtype": "F31"}}, "F31"),
    "negative-shape": ({"a": GOOD["a"] | {"shape": [-2, -3]}}, "whole numbers"),
    "fractional-shape": ({"a": GOOD["a"] | {"shape": [2.0, 3]}}, "whole numbers"),
    "shape-of-truths": ({"a": GOOD["a"] | {"shape": [True, 6]}}, "whole numbers"),
    "astronomic-shape": ({"a": GOOD["a"] | {"shape": [10**4000, 0]}}, "whole numbers"),
    "a-thousand-axes": ({"a": GOOD["a"] | {"shape": [1] * 1000}}, "whole numbers"),
    "shape-and-span-disagree": ({"a": GOOD["a"] | {"shape": [2, 4]}}, "32 for F32"),
    "span-that-ends-before-it-starts": ({"a": GOOD["a"] | {"data_offsets": [24, 0]}}, "-24 bytes"),
    "three-offsets": ({"a": GOOD["a"] | {"data_offsets": [0, 24, 24]}}, "whole numbers"),
    "no-offsets": ({"a": {"dtype": "F32", "shape": [2, 3]}}, "whole numbers"),
    "entry-that-is-a-number": ({"a": 7}, "a: 7"),
    "name-that-acts-on-a-terminal": ({"\x1b[2J": GOOD["a"]}, "printable"),
    "name-of-half-a-character": (b'{"\\ud800": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}', "printable"),
    "metadata-of-numbers": (GOOD | {"__metadata__": {"a": 1}}, "__metadata__"),
    "list": (b"[]", "JSON list"),
    "not-json": (b"{", "not JSON"),
    "not-utf-8": (b'{"\xff": 1}', "not JSON"),
    "deep": (b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_broken_header_is_refused(file: Path, name: str) -> None:
    header, said = HEADERS[name]
    write_raw(file, header, bytes(24))

    with pytest.raises(BundleError) as caught:
        read_file(file)

    assert said in str(caught.value)
    str(caught.value).encode()  # what cannot be written to a report would end the run that reports it


@pytest.mark.parametrize(
    "header",
    [b"[" * 30_000_000, b"[" + b"[]," * 10_000_000, b'["' + b'\\"' * 15_000_000, b"[" + b'"",' * 10_000_000,
     b"[" + b"9" * 30_000_000 + b"]", b'{"a":{"dtype":"F32","shape":[' + b"9," * 10_000_000 + b"9]}}"],
    ids=["open", "empty-lists", "endless-string", "empty-strings", "long-number", "long-shape"],
)  # fmt: skip
def test_a_large_hostile_header_is_refused(file: Path, header: bytes) -> None:
    write_raw(file, header, b"")

    with pytest.raises(BundleError):
        read_file(file)


@given(content=st.binary(max_size=200))
@settings(deadline=None, max_examples=150)
def test_arbitrary_bytes_are_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    assert _read_or_refused(file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": JSON | st.sampled_from(["F32", "BF16", "I64", "F8_E4M3", "BOOL"]),
        "shape": JSON | st.lists(st.integers(0, 8), max_size=3),
        "data_offsets": JSON | st.lists(st.integers(0, 64), min_size=2, max_size=2),
    },
)


@given(header=st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), ENTRY | JSON, max_size=3))
@settings(deadline=None, max_examples=300)
def test_arbitrary_headers_are_read_or_refused(file: Path, header: dict[str, object]) -> None:
    write_raw(file, json.dumps(header).encode(), bytes(32))

    assert _read_or_refused(file)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 200))
@settings(deadline=None, max_examples=300)
def test_a_sound_file_with_a_byte_changed_or_a_tail_cut_is_read_or_refused(
    file: Path, at: int, value: int, cut: int
) -> None:
    save_file({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, file)
    content = bytearray(file.read_bytes())
    content[at % len(content)] = value
    file.write_bytes(content[: len(content) - cut])

    assert _read_or_refused(file)


def _read_or_refused(file: Path) -> bool:
    """Whether a file is read through to its last value, or refused; anything else is raised."""
    try:
        tensors = read_file(file)
    except BundleError as error:
        return bool(str(error).encode())
    find_not_finite(list(tensors.values()))
    return all(sum(map(len, t.pieces())) == t.stop - t.start for t in tensors.values())


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 100 + "1" + "}" * 100, "[" + "[]," * 4_000_000 + "1]"])
def test_json_is_bounded(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)

    with pytest.raises(HarnessError, match="at most 3000000 values in 64 levels"):
        read_json(tmp_path / "a.json")


def test_brackets_inside_strings_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({'"[': "[" * 1000 + '\\"{,'}))

    assert read_json(tmp_path / "a.json") == {'"[': "[" * 1000 + '\\"{,'}


TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found(file: Path, dtype: torch.dtype, value: float) -> None:
    tensor = torch.randn(700, 1000).clamp(-3, 3)  # several pieces
    tensor[611, 999] = value
    stored = tensor.to(dtype)
    expected = int((~torch.isfinite(stored.float())).sum())  # E4M3 has no infinity
    save_file({"a": stored, "b": torch.zeros(3)}, file)

    found = find_not_finite(list(read_file(file).values()))

    assert [(each.tensor.name, each.count, each.first_row) for each in found] == [("a", 1, 611)][:expected]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_largest_values_are_finite(file: Path, dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    save_file({"a": torch.tensor([limits.max, limits.min, 0.0, -0.0], dtype=torch.float64).to(dtype)}, file)

    assert find_not_finite(list(read_file(file).values())) == []


def test_finite_at_an_odd_offset(file: Path) -> None:
    data = b"\0" + np.array([1.0, np.nan, 2.0], dtype=np.float32).tobytes()
    header = {"u": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}} | {
        "a": {"dtype": "F32", "shape": [3], "data_offsets": [1, 13]}
    }
    write_raw(file, header, data)

    (found,) = find_not_finite(list(read_file(file).values()))

    assert (found.tensor.name, found.first) == ("a", 1)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    (tmp_path / "a.json").mkdir()

    with pytest.raises(BundleError, match="no regular file"):
        read_file(tmp_path / "model.safetensors")
    with pytest.raises(HarnessError, match="a folder or a device"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "sub/x.safetensors", "", "..", "a\x00b"])
def test_an_index_names_only_files_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))

    with pytest.raises(BundleError):
        read_folder(tmp_path)


def test_a_file_that_shrinks_after_its_header_was_read_is_refused(file: Path) -> None:
    save_file({"a": torch.ones(100_000)}, file)
    tensor = read_file(file)["a"]
    file.write_bytes(file.read_bytes()[:200])

    with pytest.raises(BundleError, match="changed"):
        list(tensor.pieces())
