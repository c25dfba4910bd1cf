"""The audit of a stored adapter: every key lands on a module of its base, in the shape that its config says."""

import contextlib
from pathlib import Path

from harness.bundle import ADAPTER_CONFIG, ADAPTER_FILE, Bundle
from harness.defects import Defects
from harness.errors import BundleError, HarnessError
from harness.expected import Expected
from harness.files import read_json
from harness.model_audit import ModelFiles, check_type
from harness.peft_adapter import PREFIX, AdapterArchitecture, saved_width
from harness.tensors import StoredTensor, read_file
from harness.token_space import TokenSpace


def audit_adapter(bundle: Bundle, model: ModelFiles, expected: Expected, defects: Defects) -> dict[str, StoredTensor]:
    """Audit a bundle's adapter against the model that it stands on. Returns its tensors."""
    folder, space = bundle.input("lora"), bundle.space
    tensors: dict[str, StoredTensor] = {}
    with defects.guard():
        if not (folder / ADAPTER_FILE).is_file():
            raise BundleError(folder, f"no {ADAPTER_FILE}", "an adapter saved as safetensors", "Save it again.")
        tensors = read_file(folder / ADAPTER_FILE)
    with defects.guard("remote_code" if _asks_for_code(folder) else "malformed"):
        _note_base(expected.base_of_adapter(folder), model.folder, defects)
    if model.architecture is None or not tensors:
        return tensors
    own_rows = model.architecture.vocab_size
    width = {
        "rows": space.vocab_size_total,
        "whole": own_rows,
        "adapter": saved_width(tensors) or max(own_rows, space.vocab_size_total),
    }[bundle.form]
    with defects.guard("adapter_misplaced"):
        asked = expected.of_adapter(folder, model.folder, len(model.tensors), width)
        _check_keys(folder, tensors, asked, defects)
        if bundle.form == "adapter":
            _check_new_rows(folder, tensors, asked, model, space, defects)
    return tensors


def _check_keys(folder: Path, tensors: dict[str, StoredTensor], asked: AdapterArchitecture, defects: Defects) -> None:
    file, shapes = folder / ADAPTER_FILE, asked.required | asked.optional
    config = f"{ADAPTER_CONFIG}'s rank, targets and tables"
    for name in sorted(asked.required.keys() - tensors.keys()):
        fix = "Save the adapter again, or correct target_modules: PEFT would go on with an untrained module."
        defects.add("missing", file, "nothing", f"{list(shapes[name])}, by {config}", fix, tensor=name)
    for name, tensor in tensors.items():
        if name not in shapes:
            fix = "Use the adapter's own base, or correct target_modules: PEFT would drop it without a word."
            expected = f"a key that lands on a module of the base and follows {config}"
            defects.add("adapter_misplaced", file, "a tensor", expected, fix, tensor=name)
        elif tensor.shape != shapes[name]:
            fix = "Save the adapter again, or correct r."
            expected = f"{list(shapes[name])}, by {config}"
            defects.add("wrong_shape", file, str(list(tensor.shape)), expected, fix, tensor=name)
        else:
            check_type(tensor, defects)


def _check_new_rows(
    folder: Path,
    tensors: dict[str, StoredTensor],
    asked: AdapterArchitecture,
    model: ModelFiles,
    space: TokenSpace,
    defects: Defects,
) -> None:
    """Every new row of both tables is stored somewhere: in the base, in a saved table, or as a trained token."""
    base = model.architecture
    if base is None:
        return
    saved = {"embedding": _saved_rows(base.embedding, tensors), "head": _saved_rows(base.head, tensors)}
    if model.is_tied and "embedding" not in asked.whole_tables:
        # A table that modules_to_save wraps is a copy of its own, and the head stays with the base's.
        saved["head"] = max(saved.values())
    for table, ids in asked.token_rows.items():
        strange = sorted(row for row in ids if not space.text_vocab_size <= row < space.vocab_size_total)
        if strange:
            found, expected = f"{len(strange)} trained tokens, the first {strange[0]}", "only the token space's new ids"
            fix = "Train the new rows alone: text rows are the base's."
            defects.add("row_range", folder / ADAPTER_CONFIG, found, expected, fix, tensor=table)
        new = range(base.vocab_size, space.vocab_size_total)
        lost = [row for row in new if row >= saved[table] and row not in ids]
        if lost:
            found, expected = f"no values for {len(lost)} rows, the first {lost[0]}", f"all new rows of the {table}"
            fix = "Save both tables with the adapter (modules_to_save), or train the tokens of both."
            defects.add("row_range", folder / ADAPTER_FILE, found, expected, fix, tensor=table)


def _saved_rows(table: str, tensors: dict[str, StoredTensor]) -> int:
    """Rows of a vocabulary table that the adapter holds as a whole; 0 where it does not."""
    names = (f"{PREFIX}{table}", f"{PREFIX}{table.removesuffix('weight')}base_layer.weight")
    return max((tensors[name].shape[0] for name in names if name in tensors and tensors[name].shape), default=0)


def _asks_for_code(folder: Path) -> bool:
    """Whether an adapter's config names a module that PEFT would import."""
    with contextlib.suppress(HarnessError):
        declared = read_json(folder / ADAPTER_CONFIG)
        return isinstance(declared, dict) and bool(declared.get("megatron_config"))
    return False


def _note_base(declared: object, base: Path, defects: Defects) -> None:
    """Only a note: the name is a path of the machine that trained, or a name of a hub."""
    name = str(declared or "").rstrip("/").split("/")[-1]
    if name and name != base.name:
        defects.notes.append(f"The adapter's config names {ascii(name)[:80]} as its base; the bundle's is {base.name}.")
