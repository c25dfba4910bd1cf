"""The bundle audit: whether a checkpoint is whole, safe to open and finite. Files are audited, never loaded models.

A loader fills what is missing with random values, drops what it does not know, and keeps quiet about both.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.adapter_audit import audit_adapter
from harness.bundle import ROWS_FILE, ROWS_JSON, Bundle, open_bundle, read_rows_file
from harness.defects import Defect, Defects, Kind
from harness.errors import MissingInputError
from harness.evidence import EvidenceStore
from harness.expected import Expected
from harness.finite import NotFinite, find_not_finite
from harness.model_audit import ModelFiles, audit_model, check_type
from harness.progress import Listener, silent
from harness.tensors import StoredTensor, find_pickles, read_file

_ROW_TABLES = {"embeddings": "embedding", "lm_head": "head"}


@dataclass(frozen=True)
class BundleAudit:
    """What was found.

    Attributes:
        defects: everything that is wrong.
        notes: what a reader should know, and nobody is held to.
        n_files: safetensors files whose headers were sound.
        n_tensors: tensors in them, of which every value was looked at.
        n_adapter_tensors: those of them that an adapter's file holds.
    """

    defects: tuple[Defect, ...]
    notes: tuple[str, ...]
    n_files: int
    n_tensors: int
    n_adapter_tensors: int

    def of(self, kind: Kind) -> tuple[Defect, ...]:
        """The defects of one kind."""
        return tuple(defect for defect in self.defects if defect.kind == kind)


def audit_bundle(
    path: Path,
    overrides: dict[str, Path] | None = None,
    listener: Listener = silent,
    evidence: EvidenceStore | None = None,
) -> BundleAudit:
    """Audit a checkpoint folder, its base and its adapter, as far as they can be opened.

    Args:
        path: the checkpoint's folder.
        overrides: input name to path; these win over bundle.json.
        listener: told how far the look at every value is.
        evidence: where it is kept what the configs ask for.

    Raises:
        MissingInputError: the base is needed and not given, and nothing that was given is at fault.
    """
    defects, stored, adapter = Defects(), list[StoredTensor](), list[StoredTensor]()
    _look_for_pickles(path, path, defects)
    try:
        with defects.guard():
            bundle = open_bundle(path, overrides)
            for folder in {bundle.inputs[name] for name in ("base", "lora") if name in bundle.inputs}:
                _look_for_pickles(folder, path, defects)
            stored, adapter = _audit_form(bundle, Expected(evidence), defects)
    except MissingInputError as error:
        if not defects.found:
            raise
        defects.notes.append(f"Not audited: {error}")
    _check_values([*stored, *adapter], defects, listener)
    files = {tensor.file for tensor in (*stored, *adapter)}
    return BundleAudit(tuple(defects.found), tuple(defects.notes), len(files), len(stored) + len(adapter), len(adapter))


def _audit_form(bundle: Bundle, expected: Expected, defects: Defects) -> tuple[list[StoredTensor], list[StoredTensor]]:
    """Audit what a bundle of its form consists of. Returns all tensors, the adapter's apart."""
    rows = _read_rows(bundle, defects) if bundle.form == "rows" else {}
    folder = bundle.path if bundle.form == "whole" else bundle.input("base")
    model = audit_model(folder, expected, defects)
    if bundle.form == "rows":
        _check_rows(bundle, rows, model, defects)
    elif bundle.form == "whole":
        _check_width(bundle, model, defects)
    adapter: dict[str, StoredTensor] = {}
    if bundle.form == "adapter" or "lora" in bundle.inputs:
        adapter = audit_adapter(bundle, model, expected, defects)
    return [*rows.values(), *model.tensors.values()], list(adapter.values())


def _look_for_pickles(folder: Path, checkpoint: Path, defects: Defects) -> None:
    for path in find_pickles(folder):
        owner = checkpoint if path.resolve().is_relative_to(checkpoint.resolve()) else folder
        defects.add(
            "pickle", path.resolve(), "a pickle, which can run code when it is opened", "safetensors only",
            f"`gates init {owner}` converts weights without running anything and moves pickles out of the checkpoint.",
        )  # fmt: skip


def _read_rows(bundle: Bundle, defects: Defects) -> dict[str, StoredTensor]:
    """trainable_rows.safetensors, held against trainable_rows.json and the token space."""
    file, space = bundle.path / ROWS_FILE, bundle.space
    rows: dict[str, StoredTensor] = {}
    with defects.guard():
        rows = read_file(file)
    with defects.guard():
        declared = read_rows_file(bundle.path)
        found, wanted = (declared.row_start, declared.row_end), (space.text_vocab_size, space.vocab_size_total)
        if found != wanted:
            defects.add(
                "row_range", bundle.path / ROWS_JSON, f"rows {found[0]} to {found[1]}",
                f"rows {wanted[0]} to {wanted[1]}, as the token space says",
                "The checkpoint was trained on another token space: use the one it was trained with.",
            )  # fmt: skip
        if rows and declared.has_lm_head != ("lm_head" in rows):
            defects.add(
                "contradiction", bundle.path / ROWS_JSON, f"has_lm_head {declared.has_lm_head}",
                f"what {ROWS_FILE} holds: {sorted(rows)}", "Save the rows again: a head without its rows is untrained.",
            )  # fmt: skip
    for name in sorted(rows.keys() - _ROW_TABLES.keys()):
        defects.add("unexpected", file, "a tensor nobody reads", "embeddings and lm_head", "Remove it.", tensor=name)
    return {name: tensor for name, tensor in rows.items() if name in _ROW_TABLES}


def _check_rows(bundle: Bundle, rows: dict[str, StoredTensor], model: ModelFiles, defects: Defects) -> None:
    """The new rows continue the base's tables."""
    file, space = bundle.path / ROWS_FILE, bundle.space
    n_rows = space.vocab_size_total - space.text_vocab_size
    for name, table in _ROW_TABLES.items():
        base = model.table(table)
        if name not in rows:
            # The embedding always has new rows; the head too, unless the base ties it to the embedding.
            if rows and (name == "embeddings" or (model.architecture is not None and not model.is_tied)):
                fix = "Save the rows again; what was trained in them is lost otherwise."
                defects.add("missing", file, "nothing", f"the new rows of the {table}", fix, tensor=name)
            continue
        width = base.shape[1] if base is not None and len(base.shape) == 2 else None
        shape = rows[name].shape
        if len(shape) != 2 or shape[0] != n_rows or (width is not None and shape[1] != width):
            expected = f"[{n_rows}, {width or 'd'}]: the token space's new rows, as wide as the base's"
            defects.add("wrong_shape", file, str(list(shape)), expected, "Use their own base.", tensor=name)
        check_type(rows[name], defects)
    base = model.table("embedding")
    if base is not None and base.shape and base.shape[0] < space.text_vocab_size:
        defects.add(
            "row_range", base.file, f"{base.shape[0]} rows", f"at least {space.text_vocab_size} text rows",
            "Use the base that the token space was built for.", tensor=base.name,
        )  # fmt: skip


def _check_width(bundle: Bundle, model: ModelFiles, defects: Defects) -> None:
    """A whole model has a row for every id; rows beyond are padding, whose ids are illegal."""
    total = bundle.space.vocab_size_total
    for table in ("embedding", "head"):
        tensor = model.table(table)
        if tensor is None or not tensor.shape:
            continue
        if tensor.shape[0] < total:
            fix = "Extend the tables with the vocabulary surgery before training."
            expected = f"at least {total}, as the token space says"
            defects.add("row_range", tensor.file, f"{tensor.shape[0]} rows", expected, fix, tensor=tensor.name)
        elif tensor.shape[0] > total:
            defects.notes.append(
                f"{tensor.name}: rows {total} to {tensor.shape[0]} are padding; their ids are illegal."
            )


def _check_values(stored: list[StoredTensor], defects: Defects, listener: Listener) -> None:
    for tensor in stored:
        if tensor.n_elements == 0:
            found, fix = f"shape {list(tensor.shape)}", "Save the checkpoint again from all of its parts."
            defects.add("empty", tensor.file, found, "at least one value", fix, tensor=tensor.name)
    bad: list[NotFinite] = []
    with defects.guard():
        bad = find_not_finite(stored, listener)
    for each in bad:
        found = f"{each.count} values that are NaN or infinite, the first in row {each.first_row}"
        fix = "Go back to the last checkpoint without them; lower the learning rate or clip gradients."
        defects.add("not_finite", each.tensor.file, found, "finite values", fix, tensor=each.tensor.name)
