"""The checkpoint bundle: a folder with weights and a `bundle.json` that says where everything else is."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import BundleError, MissingInputError
from harness.files import read_json, tree_sha256
from harness.token_space import TokenSpace, read_token_space

Decoding = Literal["free", "constrained"]
Form = Literal["rows", "whole", "adapter"]

# What a bundle may point to. Every one of them can be overridden by an option of the same name.
INPUTS = (
    "base", "parent", "lora", "shards", "golden", "dev", "text_eval", "train_log", "base_fingerprint", "codecs",
)  # fmt: skip

MAX_NAME_BYTES = 255  # of a file or folder
ROWS_JSON = "trainable_rows.json"
ROWS_FILE = "trainable_rows.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"

# What makes up the checkpoint itself; its digest is the identity that a verdict is bound to.
CHECKPOINT_SUFFIXES = (".safetensors", ".json", ".txt", ".jinja", "token_space.sha256")


class _BundleFile(BaseModel):
    """bundle.json at the border. Unknown keys are refused: a misspelt path must not go unnoticed."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal["checkpoint-bundle/1"]
    stage: int
    step: int | None = None
    base: str | None = None
    parent: str | None = None
    lora: str | None = None
    shards: str | None = None
    golden: str | None = None
    dev: str | None = None
    text_eval: str | None = None
    train_log: str | None = None
    base_fingerprint: str | None = None
    codecs: str | None = None
    decoding: Decoding = "free"


class RowsFile(BaseModel):
    """trainable_rows.json at the border; row_end is exclusive, as in the field's own files."""

    model_config = ConfigDict(strict=True, extra="allow")

    row_start: int
    row_end: int
    base_llm: str | None = None
    has_lm_head: bool


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: the checkpoint folder.
        form: `rows` (trainable rows, and in stage 4 an adapter, over an untouched base), `whole` (a model), or
            `adapter` (a PEFT adapter that holds the vocabulary's rows too, over a base).
        step: the training step, from bundle.json or the folder's name; None where neither says.
        decoding: how the checkpoint will be served.
        inputs: name to path of everything that bundle.json or an option points to.
    """

    path: Path
    form: Form
    step: int | None
    decoding: Decoding
    space: TokenSpace
    inputs: dict[str, Path]

    def input(self, name: str) -> Path:
        """The path of an input.

        Raises:
            MissingInputError: neither bundle.json nor an option names it, or nothing is there.
        """
        path = self.inputs.get(name)
        option = f"--{name.replace('_', '-')}"
        if path is None:
            raise MissingInputError(
                self.path, f"no {name!r} in bundle.json", f"the path of {name}", f"Add it there, or pass {option}."
            )
        if not path.exists():
            raise MissingInputError(path, "nothing", f"the bundle's {name}", f"Correct bundle.json, or pass {option}.")
        return path

    def sha256(self) -> str:
        """Digest of the checkpoint: its own weights and settings, and those of an adapter that lies elsewhere."""
        own = tree_sha256(self.path, CHECKPOINT_SUFFIXES)
        lora = self.inputs.get("lora")
        if lora is None or lora.is_relative_to(self.path):
            return own
        return joint_sha256({"checkpoint": own, "lora": tree_sha256(lora, CHECKPOINT_SUFFIXES)})


def joint_sha256(parts: dict[str, str]) -> str:
    """One digest over several: SHA-256 over the sorted lines `<digest>  <name>`."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(parts.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def open_bundle(path: Path, overrides: dict[str, Path] | None = None) -> Bundle:
    """Open a checkpoint folder.

    Args:
        path: the folder.
        overrides: input name to path; these win over bundle.json.

    Raises:
        BundleError: the folder is missing, bundle.json is malformed, or the folder holds no checkpoint.
        TokenSpaceError: its token space is missing or malformed.
    """
    if not path.is_dir():
        raise BundleError(path, "no such folder", "a checkpoint folder", "Check the path given to --ckpt.")
    declared = _read_bundle_file(path)
    named = {name: getattr(declared, name) for name in INPUTS} if declared else {}
    inputs = {name: _place(path, name, value) for name, value in named.items() if value is not None}
    form = _form_of(path)
    # The adapter beside a whole model may be merged into it already: only bundle.json or --lora can say that it is not.
    if "lora" not in inputs and form != "whole" and (adapter := _find_adapter(path)):
        inputs["lora"] = adapter
    inputs.update({name: value.resolve() for name, value in (overrides or {}).items()})
    return Bundle(
        path=path.resolve(),
        form=form,
        step=declared.step if declared and declared.step is not None else _step_of(path),
        decoding=declared.decoding if declared else "free",
        space=read_token_space(path),
        inputs=inputs,
    )


def _place(path: Path, name: str, value: str) -> Path:
    """Where an input of bundle.json lies."""
    place = Path(value)
    if not value.isprintable() or any(len(part.encode()) > MAX_NAME_BYTES for part in place.parts):
        found, fix = f"{name}: {ascii(value)[:80]}", "Correct that key."
        raise BundleError(path / "bundle.json", found, "a path that a file system can hold", fix)
    return (path / place).resolve()


def read_rows_file(folder: Path) -> RowsFile:
    """What a checkpoint's trainable_rows.json declares.

    Raises:
        BundleError: it is malformed.
    """
    file = folder / ROWS_JSON
    try:
        return RowsFile.model_validate(read_json(file))
    except ValidationError as error:
        raise BundleError(file, _first(error), "row_start, row_end, has_lm_head", "Write it again.") from None


def _read_bundle_file(path: Path) -> _BundleFile | None:
    file = path / "bundle.json"
    if not file.is_file():
        return None
    try:
        return _BundleFile.model_validate(read_json(file))
    except ValidationError as error:
        raise BundleError(file, _first(error), "a checkpoint-bundle/1 object", "Correct that key.") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the object"
    return f"{key}: {first['msg']}"


def _form_of(path: Path) -> Form:
    if (path / ROWS_FILE).is_file():
        return "rows"
    if (path / "trainable_rows.pt").is_file():
        raise BundleError(
            path / "trainable_rows.pt",
            "a pickle",
            ROWS_FILE,
            f"A pickle can run code when it is opened: convert it with `gates init {path}`.",
        )
    if (path / "model.safetensors").is_file() or (path / "model.safetensors.index.json").is_file():
        return "whole"
    if any((place / ADAPTER_CONFIG).is_file() for place in (path, path / "adapter")):
        return "adapter"
    if (path / "config.json").is_file():
        return "whole"
    raise BundleError(
        path,
        "no weights",
        f"{ROWS_FILE} beside {ROWS_JSON}, config.json with model.safetensors, or {ADAPTER_CONFIG} with its adapter",
        "Point --ckpt at the checkpoint's own folder.",
    )


def _find_adapter(path: Path) -> Path | None:
    """The adapter in the folder itself, in `adapter/`, or in the field's sibling `lora_<step>/`."""
    step = _step_of(path)
    places = [path, path / "adapter", *([path.parent / f"lora_{step}"] if step is not None else [])]
    return next((place.resolve() for place in places if (place / ADAPTER_CONFIG).is_file()), None)


def _step_of(path: Path) -> int | None:
    match = re.search(r"(\d+)$", path.resolve().name)
    return int(match.group(1)) if match else None
