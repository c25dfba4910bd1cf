"""A model folder as the parameter audit sees it: its two vocabulary tables, and every other tensor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError
from harness.files import read_json
from harness.tensors import StoredTensor, read_folder

Table = Literal["embed", "lm_head"]
TABLES: tuple[Table, ...] = ("embed", "lm_head")
# How decoders of the Hugging Face hub end the names of their tables; Qwen, Llama, Mistral, Gemma and Phi use the first.
_ENDINGS: dict[Table, tuple[str, ...]] = {
    "embed": ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight"),
    "lm_head": ("lm_head.weight", "embed_out.weight"),
}


@dataclass(frozen=True)
class StoredModel:
    """A model on disk.

    Attributes:
        folder: where it lies.
        embed, head: the vocabulary tables, (rows, d); None where the files hold none.
        tied: whether config.json says that the head is the embedding.
        others: every other tensor, by name.
    """

    folder: Path
    embed: StoredTensor | None
    head: StoredTensor | None
    tied: bool
    others: dict[str, StoredTensor]

    def stored_table(self, table: Table) -> StoredTensor | None:
        """A table that has bytes of its own."""
        return self.embed if table == "embed" else self.head

    def served_table(self, table: Table) -> StoredTensor | None:
        """The table that is used: a head that is not stored is the embedding, where the config ties the two."""
        stored = self.stored_table(table)
        return self.embed if stored is None and table == "lm_head" and self.tied else stored


def read_stored_model(folder: Path) -> StoredModel:
    """Read a model folder's headers; no weight is read.

    Raises:
        BundleError: it holds no well-formed safetensors files.
    """
    tensors = dict(read_folder(folder))
    names = {table: _find(tensors, table) for table in TABLES}
    embed, head = (tensors.pop(name) if (name := names[table]) else None for table in TABLES)
    return StoredModel(folder, embed, head, _is_tied(folder), tensors)


def table_of(name: str) -> Table | None:
    """Which vocabulary table a tensor of this name is; None for any other."""
    return next((table for table in TABLES if name.endswith(_ENDINGS[table])), None)


def _find(tensors: dict[str, StoredTensor], table: Table) -> str | None:
    """The tensor of the shortest name with one of the endings."""
    found = [name for name, tensor in tensors.items() if name.endswith(_ENDINGS[table]) and len(tensor.shape) == 2]
    return min(found, key=len, default=None)


def _is_tied(folder: Path) -> bool:
    try:
        config: Any = read_json(folder / "config.json")
    except HarnessError:
        return False  # whether a config is there and readable is the bundle gate's question
    if not isinstance(config, dict):
        return False
    text = config.get("text_config")
    declared = config.get("tie_word_embeddings", text.get("tie_word_embeddings") if isinstance(text, dict) else None)
    return declared is True
