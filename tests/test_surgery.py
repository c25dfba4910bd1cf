"""The vocabulary surgery: where new rows begin, what is fingerprinted, and that the checkpoint is one for the gates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.bundle import open_bundle
from harness.bundle_audit import audit_bundle
from harness.checkpoint import Checkpoint
from harness.errors import BundleError
from harness.fingerprint import fingerprint, read_fingerprint
from harness.parameters import audit_parameters
from harness.settings import Settings
from harness.text_reference import recorded_losses
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import TEXT, token_space_object
from tests.training_world import HIDDEN, World, write_world
from training.checkpoints import read_rows
from training.config import SurgeryConfig
from training.rows import load_base
from training.surgery import initial_rows, run_surgery

WORLDS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tied": True},
    "padded": {"padding": 8},
    "padded and counted": {"padding": 8, "counted": True},
    "llama": {"kind": "llama"},
}


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"), **WORLDS[request.param])


def _tables(base: Path) -> dict[str, torch.Tensor]:
    """The base's stored tables; a tied head is not stored."""
    tensors = load_file(base / "model.safetensors")
    names = {"embeddings": "model.embed_tokens.weight", "lm_head": "lm_head.weight"}
    return {table: tensors[name] for table, name in names.items() if name in tensors}


def test_new_rows_cover_the_token_space_and_have_a_head_of_their_own_where_the_base_has(world: World) -> None:
    rows, n = read_rows(world.surgery), world.space.vocab_size_total - world.space.text_vocab_size
    declared = json.loads((world.surgery / "trainable_rows.json").read_text())

    assert rows.embeddings.shape == (n, HIDDEN)
    assert rows.embeddings.dtype == torch.float32
    assert (rows.lm_head is not None) == ("lm_head" in _tables(world.base)) == declared["has_lm_head"]
    assert (declared["row_start"], declared["row_end"]) == (world.space.text_vocab_size, world.space.vocab_size_total)


def test_the_checkpoint_opens_and_passes_the_audits_of_the_gates(world: World) -> None:
    bundle, audit = open_bundle(world.surgery), audit_bundle(world.surgery)

    assert (bundle.form, bundle.step, bundle.space.sha256) == ("rows", 0, world.space.sha256)
    assert audit.defects == ()
    assert audit.n_tensors > 0
    parameters = audit_parameters(bundle)
    assert (parameters.moved, parameters.unexpected, parameters.missing) == ((), (), ())
    assert parameters.text_rows_compared > 0


def test_the_fingerprint_is_that_of_the_base(world: World) -> None:
    n_text = world.space.text_vocab_size
    read = read_fingerprint(world.surgery / "base_fingerprint.json", n_text)
    fresh = fingerprint(world.base, n_text)

    assert (read.tensors, read.text_rows) == (fresh.tensors, fresh.text_rows)
    assert set(fresh.text_rows) == ({"embed", "lm_head"} if "lm_head" in _tables(world.base) else {"embed"})
    assert all(len(hashes) == n_text for hashes in read.text_rows.values())
    assert set(read.stored) == set(load_file(world.base / "model.safetensors"))


def test_the_recorded_text_loss_is_what_the_gates_measure_of_base_and_checkpoint(world: World, tmp_path: Path) -> None:
    settings = Settings("cpu", "float32", 0, 512, None, tmp_path / "out")
    checkpoint = Checkpoint(open_bundle(world.surgery), settings)
    measured = checkpoint.text_regression()
    recorded, mean = recorded_losses(world.surgery / "base_fingerprint.json", checkpoint.text_eval, "float32")

    assert recorded is not None
    assert measured.base_nll is not None
    np.testing.assert_allclose(recorded, measured.base_nll, rtol=1e-6)
    np.testing.assert_allclose(recorded, measured.losses.nll, rtol=1e-5)
    assert mean == pytest.approx(measured.base_mean)


# ---------------------------------------------------------------------- the rows themselves


def _wide_space(n_codes: int = 4000) -> TokenSpace:
    """A token space with so many image codes that means and deviations can be told."""
    obj = token_space_object()
    shift = n_codes - obj["ranges"]["IMAGE"]["size"]
    for name, each in obj["ranges"].items():
        if name == "IMAGE":
            each["size"], each["end"] = n_codes, each["end"] + shift
        elif name.startswith("AUDIO"):
            each["start"], each["end"] = each["start"] + shift, each["end"] + shift
    obj["vocab_size_total"] += shift
    return parse_token_space(obj)


@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_new_rows_scatter_around_the_mean_text_row(world: World, noise: float) -> None:
    space, tables = _wide_space(), _tables(world.base)
    rows = initial_rows(load_base(world.base), space, SurgeryConfig(noise=noise))
    found = {"embeddings": rows.embeddings, "lm_head": rows.lm_head}
    for table, stored in tables.items():
        text, new = stored[:TEXT], found[table]
        assert new is not None
        # The mean of 4,000 rows is off by a 63rd of their deviation; 5 of these are allowed, in 32 dimensions.
        assert ((new.mean(0) - text.mean(0)).abs() < 5 / 63 * noise * text.std(0)).all()
        torch.testing.assert_close(new.std(0), noise * text.std(0), rtol=0.06, atol=0)
        assert len(new.unique(dim=0)) == len(new)


def test_the_scatter_is_that_of_the_seed(world: World) -> None:
    base = load_base(world.base)
    one, again, other = (initial_rows(base, world.space, SurgeryConfig(seed=seed)) for seed in (1, 1, 2))

    assert torch.equal(one.embeddings, again.embeddings)
    assert not torch.equal(one.embeddings, other.embeddings)
    assert one.lm_head is None or not torch.equal(one.embeddings, one.lm_head)


def test_a_padded_table_gives_its_text_rows_alone_to_the_mean(tmp_path: Path) -> None:
    world = write_world(tmp_path, padding=8)
    before = initial_rows(load_base(world.base), world.space, SurgeryConfig())
    tensors = load_file(world.base / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name][TEXT:] = 1e6
    save_file(tensors, world.base / "model.safetensors", metadata={"format": "pt"})
    after = initial_rows(load_base(world.base), world.space, SurgeryConfig())

    assert torch.equal(before.embeddings, after.embeddings)
    assert before.lm_head is not None
    assert after.lm_head is not None
    assert torch.equal(before.lm_head, after.lm_head)


def _again(world: World, folder: Path, config: SurgeryConfig, **pointers: Path) -> Path:
    target = folder / "checkpoint_0"
    run_surgery(target, world.root / "shards", {"base": world.base, **pointers}, config)
    return target


def test_over_a_tied_base_new_head_rows_may_have_a_table_of_their_own(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", tied=True)
    rows = read_rows(_again(world, tmp_path, SurgeryConfig(untie_new_rows=True)))

    assert rows.lm_head is not None
    assert not torch.equal(rows.lm_head, rows.embeddings)
    assert audit_bundle(tmp_path / "checkpoint_0").defects == ()


def test_without_text_no_loss_is_recorded_and_bfloat16_is_said(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world")
    silent = json.loads((_again(world, tmp_path / "a", SurgeryConfig()) / "base_fingerprint.json").read_text())
    text = {"text_eval": world.root / "text_eval.jsonl"}
    half = _again(world, tmp_path / "b", SurgeryConfig(dtype="bfloat16"), **text)
    spoken = json.loads((half / "base_fingerprint.json").read_text())

    assert "text_only" not in silent
    assert spoken["text_only"]["dtype"] == "bfloat16"
    assert spoken["tensors"] == silent["tensors"]  # of the files, whatever the base was run in
    assert read_rows(half).embeddings.dtype == torch.float32


def test_a_base_with_fewer_rows_than_text_ids_is_refused(tmp_path: Path) -> None:
    small, large = write_world(tmp_path / "small"), write_world(tmp_path / "large", padding=8, counted=True)
    with pytest.raises(BundleError, match=rf"base: found {TEXT} rows; expected at least text_vocab_size = {TEXT + 8}"):
        _again(replace(small, root=large.root), tmp_path, SurgeryConfig())

    assert not (tmp_path / "checkpoint_0").exists()
