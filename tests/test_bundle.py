"""P0.0 and S3.0: defects written into the files of all three forms, harmless variants, and loading what passes."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.bundle import open_bundle
from harness.errors import BundleError, MissingInputError
from harness.faults.weights import reshard
from harness.model import load_model
from tests.bundle_defects import DEFECTS, adapter_of, base_of, merged_of, peft_of, put, rows_of, write_pickle
from tests.forms import (
    EMBEDDING,
    HEAD,
    edit_tensors,
    write_adapter_form,
    write_whole,
)
from tests.gating import findings, run_gate
from tests.tiny import Tiny, edit_json, write_tiny


@pytest.fixture(scope="session")
def shared_forms(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny bundle with the same weights in forms 2 (merged) and 3 (peft) beside it."""
    tiny = write_tiny(tmp_path_factory.mktemp("forms"), n_golden=2)
    write_whole(tiny)
    write_adapter_form(tiny)
    return tiny


@pytest.fixture
def forms(shared_forms: Tiny, tmp_path: Path) -> Tiny:
    """A copy of it to break."""
    return _copy(shared_forms, tmp_path / "forms")


def _copy(tiny: Tiny, root: Path) -> Tiny:
    shutil.copytree(tiny.root, root)
    at = {name: root / getattr(tiny, name).relative_to(tiny.root) for name in ("ckpt", "base", "golden", "shards")}
    return replace(tiny, root=root, **at)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_fails_p00_and_is_named(pytester: pytest.Pytester, forms: Tiny, defect: str) -> None:
    form, break_it, said = DEFECTS[defect]
    break_it(forms)

    gate = run_gate(pytester, "P0.0", _folder(forms, form))

    assert gate["outcome"] == "fail", gate
    for text in said:
        assert text in findings(gate)


def _folder(tiny: Tiny, form: str) -> Path:
    return {"rows": tiny.ckpt, "whole": merged_of(tiny).parent, "adapter": peft_of(tiny).parent}[form]


def _resave(file: Path) -> None:
    tensors = load_file(file)
    save_file(dict(reversed(tensors.items())), file, metadata={"saved": "again"})


def _half_rows(tiny: Tiny) -> Path:
    edit_tensors(rows_of(tiny), lambda x: x.update({k: v.bfloat16() for k, v in x.items()}))
    return tiny.ckpt


def _linked(tiny: Tiny) -> Path:
    """As the hub's cache keeps a model: links to files elsewhere."""
    base_of(tiny).rename(tiny.root / "blob")
    base_of(tiny).symlink_to("../blob")
    return tiny.ckpt


def _saved_tables(tiny: Tiny) -> Path:
    """Tables that PEFT saved because the vocabulary was resized, named by no modules_to_save."""
    edit_json(peft_of(tiny).parent / "adapter_config.json", modules_to_save=None)
    return peft_of(tiny).parent


HARMLESS: dict[str, Callable[[Tiny], Path]] = {
    "rows-and-adapter": lambda t: t.ckpt,
    "resaved": lambda t: (_resave(base_of(t)), _resave(rows_of(t)), _resave(adapter_of(t)), t.ckpt)[-1],
    "base-in-three-files": lambda t: (reshard(t.base), t.ckpt)[-1],
    "base-linked": _linked,
    "new-rows-in-another-type": _half_rows,
    "merged": lambda t: merged_of(t).parent,
    "merged-in-three-files": lambda t: (reshard(merged_of(t).parent), merged_of(t).parent)[-1],
    "padded-tables": lambda t: write_whole(t, "padded", padding=8),
    "adapter-with-modules-to-save": lambda t: peft_of(t).parent,
    "adapter-with-trained-tokens": lambda t: write_adapter_form(t, "tokens", trained_tokens=True),
    "adapter-with-saved-tables": _saved_tables,
}


@pytest.mark.parametrize("variant", HARMLESS)
def test_a_harmless_variant_passes(pytester: pytest.Pytester, forms: Tiny, variant: str) -> None:
    gate = run_gate(pytester, "P0.0", HARMLESS[variant](forms))

    assert gate["outcome"] == "pass", findings(gate)


def test_a_tied_model_passes_with_and_without_its_copy(pytester: pytest.Pytester, tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tied", tied=True, n_golden=2)
    merged, tokens = write_whole(tiny), write_adapter_form(tiny, "tokens", trained_tokens=True)
    for folder in (tiny.ckpt, merged, tokens):
        assert HEAD not in load_file(merged_of(tiny))
        assert run_gate(pytester, "P0.0", folder)["outcome"] == "pass"

    edit_tensors(merged_of(tiny), lambda x: x.update({HEAD: x[EMBEDDING]}))
    assert run_gate(pytester, "P0.0", merged)["outcome"] == "pass"


def test_s30_judges_by_the_same_rule(pytester: pytest.Pytester, forms: Tiny) -> None:
    assert run_gate(pytester, "S3.0", forms.ckpt)["outcome"] == "pass"

    edit_tensors(rows_of(forms), put(float("nan"), "embeddings"))
    gate = run_gate(pytester, "S3.0", forms.ckpt)

    assert gate["outcome"] == "fail"
    assert "embeddings: found 1 values that are NaN or infinite" in findings(gate)


def test_without_the_base_nothing_is_said_of_the_rest(pytester: pytest.Pytester, forms: Tiny) -> None:
    edit_json(forms.ckpt / "bundle.json", base="../nowhere")
    assert run_gate(pytester, "P0.0", forms.ckpt)["outcome"] == "not_run"

    write_pickle(forms.ckpt / "optimizer.pt")
    assert run_gate(pytester, "P0.0", forms.ckpt)["outcome"] == "fail"


def test_what_cannot_be_opened_fails_p00_and_is_an_error_of_the_others(pytester: pytest.Pytester, forms: Tiny) -> None:
    (forms.ckpt / "bundle.json").write_text("{")

    assert run_gate(pytester, "P0.0", forms.ckpt)["outcome"] == "fail"
    assert run_gate(pytester, "P0.4", forms.ckpt)["outcome"] == "error"


def test_padding_is_noted(pytester: pytest.Pytester, forms: Tiny) -> None:
    gate = run_gate(pytester, "P0.0", write_whole(forms, "padded", padding=8))

    assert any("rows 120 to 128 are padding" in note for note in gate["details"]["notes"])


@pytest.mark.parametrize("form", ["whole", "adapter", "tokens"])
def test_the_same_weights_in_another_form_give_the_same_logits(forms: Tiny, form: str) -> None:
    folder = write_adapter_form(forms, "t", trained_tokens=True) if form == "tokens" else _folder(forms, form)

    assert np.abs(_logits(folder) - _logits(forms.ckpt)).max() < 1e-5


@pytest.mark.parametrize("form", ["rows", "adapter", "tokens"])
def test_without_its_low_rank_part_an_adapter_keeps_the_new_rows(forms: Tiny, form: str) -> None:
    folder = write_adapter_form(forms, "t", trained_tokens=True) if form == "tokens" else _folder(forms, form)
    plain = _logits(folder, low_rank=False)
    rows_alone = replace(open_bundle(forms.ckpt), inputs={"base": forms.base})

    assert np.abs(plain - _logits(folder)).max() > 1e-3
    assert np.abs(plain - _logits(rows_alone)).max() < 1e-5


@pytest.mark.parametrize("form", ["rows", "whole", "adapter"])
def test_in_bfloat16_the_head_is_the_one_that_is_served(forms: Tiny, form: str) -> None:
    exact, narrow = _logits(_folder(forms, form)), _logits(_folder(forms, form), dtype="bfloat16")

    assert np.abs(exact - narrow).max() < 0.05


def _logits(bundle: object, *, dtype: str = "float32", low_rank: bool = True) -> np.ndarray:
    opened = open_bundle(bundle) if isinstance(bundle, Path) else bundle
    model = load_model(opened, device="cpu", dtype=dtype, low_rank=low_rank)
    with torch.inference_mode():
        return model(input_ids=torch.arange(120)[None]).logits.float().numpy()


def test_an_adapter_beside_a_merged_model_is_not_attached_unasked(forms: Tiny) -> None:
    shutil.copytree(forms.ckpt / "adapter", merged_of(forms).parents[1] / "lora_20")

    assert "lora" not in open_bundle(merged_of(forms).parent).inputs


def test_an_adapter_that_a_model_holds_is_not_attached_again(forms: Tiny) -> None:
    merged = merged_of(forms).parent
    apart = _logits(merged)
    edit_json(merged / "bundle.json", lora="../../stage4/checkpoint_20/adapter")

    assert np.array_equal(_logits(merged), apart)


def test_an_adapter_over_a_whole_model_that_holds_none_is_attached(forms: Tiny) -> None:
    whole = merged_of(forms).parent
    edit_json(forms.ckpt / "bundle.json", lora=None)
    shutil.move(forms.ckpt / "adapter", forms.root / "adapter")
    write_whole(forms, "plain")
    edit_json(forms.root / "plain/checkpoint_20/bundle.json", lora="../../adapter")

    assert np.abs(_logits(forms.root / "plain/checkpoint_20") - _logits(whole)).max() < 1e-5


def test_a_model_folder_with_an_adapters_config_is_not_loaded(forms: Tiny) -> None:
    shutil.copy(forms.ckpt / "adapter" / "adapter_config.json", forms.base)

    with pytest.raises(BundleError, match=r"adapter_config\.json beside a model"):
        load_model(open_bundle(forms.ckpt), device="cpu", dtype="float32")


def test_an_adapter_needs_its_base(forms: Tiny) -> None:
    edit_json(peft_of(forms).parent / "bundle.json", base=None)

    with pytest.raises(MissingInputError, match="base"):
        load_model(open_bundle(peft_of(forms).parent), device="cpu", dtype="float32")
