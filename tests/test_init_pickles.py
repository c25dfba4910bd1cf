"""`gates init`: pickled weights of every form are converted, and those that lie are refused without being run."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.files import write_json
from tests.foreign import bundle, field_checkpoint, init, whole_model
from tests.tiny import HIDDEN, Tiny


@pytest.fixture
def field_ckpt(tiny: Tiny) -> Path:
    """As the field's trainer leaves it."""
    return field_checkpoint(tiny)


def test_awhole_model_of_pickles_is_converted(tiny: Tiny) -> None:
    ckpt = whole_model(tiny, tied=True)
    weights = load_file(ckpt / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # tied tables are one storage in a pickle
    torch.save(weights, ckpt / "pytorch_model.bin")
    (ckpt / "model.safetensors").unlink()
    torch.save({"lr": 1.0}, ckpt / "optimizer.pt")

    result = init(ckpt, "--stage", "4")

    assert result.exit_code == 0, result.output
    after = load_file(ckpt / "model.safetensors")
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    assert sorted(p.name for p in (ckpt.parent / "pickles").rglob("*.*")) == ["optimizer.pt", "pytorch_model.bin"]


def test_shards_of_a_pickled_model_get_an_index(tiny: Tiny) -> None:
    ckpt = whole_model(tiny)
    weights = load_file(ckpt / "model.safetensors")
    (ckpt / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[:5], names[5:]), start=1):
        torch.save({name: weights[name] for name in part}, ckpt / f"pytorch_model-0000{number}-of-00002.bin")

    result = init(ckpt, "--stage", "4")

    assert result.exit_code == 0, result.output
    index = json.loads((ckpt / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == weights.keys()
    assert set(index["weight_map"].values()) == {f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}


def test_nothing_says_which_stage_awhole_model_is_of(tiny: Tiny) -> None:
    result = init(whole_model(tiny))

    assert result.exit_code == 10
    assert "--stage 3 or --stage 4. No bundle.json was written" in result.output


def test_a_checkpoint_without_a_token_space_takes_no_other_ones(field_ckpt: Path, tiny: Tiny) -> None:
    (field_ckpt / "token_space.json").unlink()

    result = init(field_ckpt)

    assert result.exit_code == 10
    assert "--token-space FILE, the very file that it was trained with" in result.output
    assert init(field_ckpt, "--token-space", tiny.shards / "token_space.json").exit_code == 0


def test_a_peft_adapter_is_a_form_of_its_own(tiny: Tiny) -> None:
    ckpt = tiny.root / "peft" / "checkpoint_5"
    shutil.copytree(tiny.ckpt / "adapter", ckpt)
    shutil.copyfile(tiny.ckpt / "token_space.json", ckpt / "token_space.json")
    torch.save(load_file(ckpt / "adapter_model.safetensors"), ckpt / "adapter_model.bin")
    (ckpt / "adapter_model.safetensors").unlink()

    result = init(ckpt)

    assert "a PEFT adapter with saved embeddings" in result.output
    assert "converted  adapter_model.bin  adapter_model.safetensors" in result.output
    written = bundle(ckpt)
    assert (written["stage"], written["base"]) == (4, "../../base")


class _Malicious:
    """Unpickled by a reader without restrictions, this makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("how", ["zip", "legacy", "plain"])
def test_a_malicious_pickle_is_refused_and_never_run(field_ckpt: Path, tmp_path: Path, how: str) -> None:
    trace, file = tmp_path / "it-ran", field_ckpt / "trainable_rows.pt"
    payload = torch.load(file, weights_only=True) | {"note": _Malicious(trace)}
    if how == "plain":
        file.write_bytes(pickle.dumps(_Malicious(trace)))
    else:
        torch.save(payload, file, _use_new_zipfile_serialization=how == "zip")
    content = file.read_bytes()

    result = init(field_ckpt)

    assert result.exit_code == 4
    assert "Nothing in it was run" in result.stderr
    if how == "zip":
        assert "found a pickle that asks for posix.system; expected tensors and plain values" in result.stderr
    assert not trace.exists()
    assert "weights_only=False" not in result.stderr
    assert file.read_bytes() == content
    assert not (field_ckpt / "bundle.json").exists()


def _saved(**changes: Any) -> Callable[[Path], None]:
    def break_it(ckpt: Path) -> None:
        file = ckpt / "trainable_rows.pt"
        torch.save(torch.load(file, weights_only=True) | changes, file)

    return break_it


def _declared(**changes: Any) -> Callable[[Path], None]:
    def break_it(ckpt: Path) -> None:
        file = ckpt / "trainable_rows.json"
        write_json(file, json.loads(file.read_text()) | changes)

    return break_it


def _cut_short(ckpt: Path) -> None:
    file = ckpt / "trainable_rows.pt"
    file.write_bytes(file.read_bytes()[:-200])


def _compressed(ckpt: Path) -> None:
    """Few bytes that unpack to many."""
    file = ckpt / "trainable_rows.pt"
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/99", bytes(10**6))


def _repeated(ckpt: Path) -> None:
    """One stored row that claims to be all of them."""
    file = ckpt / "trainable_rows.pt"
    payload = torch.load(file, weights_only=True)
    n = payload["row_end"] - payload["row_start"]
    wide = {name: torch.zeros(1, 4096).expand(n, 4096) for name in ("embeddings", "lm_head")}
    torch.save(payload | wide, file)


DEFECTS = [
    pytest.param(_saved(row_start=47), "found rows 47 to 120; expected rows 48 to 120", id="other-first-row"),
    pytest.param(_saved(row_end=387), "found rows 48 to 387", id="other-last-row"),
    pytest.param(_saved(embeddings=torch.zeros(71, HIDDEN)), "embeddings (71, 32)", id="a-row-short"),
    pytest.param(_saved(lm_head=torch.zeros(72, 8)), "lm_head (72, 8)", id="head-of-another-width"),
    pytest.param(_saved(embeddings=torch.zeros(72, HIDDEN, dtype=torch.int64)), "torch.int64", id="no-floats"),
    pytest.param(_saved(embeddings=torch.zeros(72, HIDDEN, device="meta")), "tensors that are stored", id="no-values"),
    pytest.param(_saved(embeddings=torch.zeros(72, HIDDEN).to_sparse()), "tensors that are stored", id="sparse"),
    pytest.param(_saved(embeddings=None), "embeddings: ", id="no-embeddings"),
    pytest.param(_saved(row_start="48"), "row_start: ", id="a-row-number-in-quotes"),
    pytest.param(_saved(lm_head=None), "has_lm_head True; expected False", id="json-says-head"),
    pytest.param(_declared(row_end=119), "row_end 119; expected 120", id="json-of-another-run"),
    pytest.param(_cut_short, "cannot be read as weights", id="cut-short"),
    pytest.param(lambda ckpt: (ckpt / "trainable_rows.pt").write_bytes(b""), "cannot be read as weights", id="empty"),
    pytest.param(lambda ckpt: torch.save([1], ckpt / "trainable_rows.pt"), "row_start", id="a-list"),
    pytest.param(_compressed, "bytes packed into", id="zip-bomb"),
    pytest.param(_repeated, "bytes in a file of", id="one-row-repeated"),
]


@pytest.mark.parametrize(("break_it", "says"), DEFECTS)
def test_a_defective_pickle_is_refused_and_left(
    field_ckpt: Path, break_it: Callable[[Path], object], says: str
) -> None:
    break_it(field_ckpt)

    result = init(field_ckpt)

    assert result.exit_code == 4
    assert says in result.stderr
    assert (field_ckpt / "trainable_rows.pt").exists()
    assert not (field_ckpt / "trainable_rows.safetensors").exists()
    assert not (field_ckpt / "bundle.json").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_tied_views_in_any_precision_are_harmless(field_ckpt: Path, dtype: torch.dtype) -> None:
    """A slice of a larger table, saved twice as one storage: how tied tables come out of a trainer on the CPU."""
    table = torch.randn(200, HIDDEN).to(dtype)
    rows = table[48:120]
    _saved(embeddings=rows, lm_head=rows, dtype=str(dtype))(field_ckpt)

    assert init(field_ckpt).exit_code == 0
    after = load_file(field_ckpt / "trainable_rows.safetensors")
    assert torch.equal(after["embeddings"], rows)
    assert torch.equal(after["lm_head"], rows)
