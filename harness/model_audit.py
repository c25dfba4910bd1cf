"""The key audit of a model folder: every tensor that its config asks for, once, in its shape, and no other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.bundle import ADAPTER_CONFIG
from harness.defects import Defects
from harness.errors import HarnessError
from harness.expected import Expected
from harness.expected_tensors import Architecture
from harness.files import read_json
from harness.tensors import FLOATS, INDEX_SUFFIX, StoredTensor, read_folder


@dataclass(frozen=True)
class ModelFiles:
    """A model folder.

    Attributes:
        folder: where it lies.
        tensors: what its files hold; nothing where they are malformed.
        architecture: what its config asks for; None where that is malformed.
    """

    folder: Path
    tensors: dict[str, StoredTensor]
    architecture: Architecture | None

    @property
    def is_tied(self) -> bool:
        """Whether the head is the embedding."""
        asked = self.architecture
        return asked is not None and asked.head in asked.group_of(asked.embedding)

    def table(self, table: str) -> StoredTensor | None:
        """The stored `embedding` or `head`; None where it is not stored or not known."""
        if self.architecture is None:
            return None
        name = self.architecture.embedding if table == "embedding" else self.architecture.head
        return self.tensors.get(name)


def audit_model(folder: Path, expected: Expected, defects: Defects) -> ModelFiles:
    """Audit a model's files against its config."""
    tensors: dict[str, StoredTensor] = {}
    asked: Architecture | None = None
    with defects.guard():
        tensors = read_folder(folder)
    if tensors:
        with defects.guard():
            asked = expected.of_model(folder, len(tensors))
            _check_keys(folder, tensors, asked, defects)
    for tensor in tensors.values():
        check_type(tensor, defects)
    _look_for_strays(folder, tensors, defects)
    _look_for_remote_code(folder, defects)
    return ModelFiles(folder, tensors, asked)


def _check_keys(folder: Path, tensors: dict[str, StoredTensor], asked: Architecture, defects: Defects) -> None:
    for name in sorted(asked.shapes):
        group = asked.group_of(name)
        if name not in tensors and (name != min(group) or not group.isdisjoint(tensors)):
            continue  # its values are there under another name, or its group is reported once
        if name not in tensors:
            fix = "Save the model again; a loader would fill it with random values."
            expected = f"a tensor of shape {list(asked.shapes[name])}"
            defects.add("missing", folder, "nothing", expected, fix, tensor=" or ".join(sorted(group)))
        elif tensors[name].shape != asked.shapes[name]:
            found, expected = str(list(tensors[name].shape)), f"{list(asked.shapes[name])}, as config.json says"
            fix = "Restore the config that the weights were saved with, or the weights."
            defects.add("wrong_shape", tensors[name].file, found, expected, fix, tensor=name)
    for name in sorted(tensors.keys() - asked.shapes.keys()):
        if not asked.is_ignored(name):
            fix = "Save the model again; a loader would drop it."
            defects.add("unexpected", tensors[name].file, "a tensor", "none of that name", fix, tensor=name)
    for group in asked.tied:
        _check_tied([tensors[name] for name in sorted(group) if name in tensors], defects)


def _check_tied(copies: list[StoredTensor], defects: Defects) -> None:
    for copy in copies[1:]:
        if not same_bits(copies[0], copy):
            defects.add(
                "contradiction", copy.file, f"values that differ from {copies[0].name}",
                "the same values: config.json ties the two",
                "Set tie_word_embeddings to false if the head was trained apart, else save one of them.",
                tensor=copy.name,
            )  # fmt: skip


def check_type(tensor: StoredTensor, defects: Defects) -> None:
    """Weights are floating-point numbers."""
    if tensor.dtype not in FLOATS:
        fix = "Save the weights in a floating-point type."
        defects.add("wrong_shape", tensor.file, tensor.dtype, "a floating-point type", fix, tensor=tensor.name)


def same_bits(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two tensors are stored alike, bit for bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(np.array_equal(a, b) for a, b in zip(one.pieces(), other.pieces(), strict=True))


def _look_for_strays(folder: Path, tensors: dict[str, StoredTensor], defects: Defects) -> None:
    """Weights that the index does not name, of which another loader may read the wrong ones."""
    used = {tensor.file.name for tensor in tensors.values()}
    for path in sorted(folder.glob("model*.safetensors")) if used else []:
        if path.name not in used:
            expected = f"only the files that model{INDEX_SUFFIX} names"
            fix = "Remove what is left over: some loaders would read it instead."
            defects.add("unexpected", path, "weights that are no part of the model", expected, fix)
    if (folder / ADAPTER_CONFIG).is_file() and used:
        fix = "Move the adapter to adapter/: transformers would load the model that it names instead of this one."
        file = folder / ADAPTER_CONFIG
        defects.add("contradiction", file, "an adapter's config beside a model", "one of the two in a folder", fix)


def _look_for_remote_code(folder: Path, defects: Defects) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            continue
        try:
            declared: Any = read_json(folder / name)
        except HarnessError:
            if name != "config.json":
                continue  # the tokenizer is the identity gate's question
            declared = None  # reported already
        if isinstance(declared, dict) and "auto_map" in declared:
            found = f"auto_map {ascii(declared['auto_map'])[:120]}"
            fix = "Remove auto_map: a checkpoint that brings code of its own is not opened."
            defects.add("remote_code", folder / name, found, "a model that transformers itself knows", fix)
