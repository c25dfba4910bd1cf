"""What a checkpoint that another trainer made consists of: its form, stage and step, and where its inputs seem to lie.

Where two things would do as an input, neither is taken: both are named, and an option has to say which.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bundle import ADAPTER_CONFIG, ROWS_FILE, Form
from harness.errors import BundleError, HarnessError
from harness.files import read_json
from harness.places import FOLDERS_ABOVE, Place, look, searches, where

_NAMED_BASE = "base_model_name_or_path"  # PEFT's key
# Weights as they may lie before anything is converted.
ROWS_FILES = (ROWS_FILE, "trainable_rows.pt")
MODEL_FILES = ("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin")


@dataclass(frozen=True)
class Draft:
    """What could be told.

    Attributes:
        form: rows over a base, a whole model, or a PEFT adapter with saved embeddings.
        stage, step: None where nothing says; `stage_how` and `step_how` say what did.
        base_llm: the base's name, as the checkpoint's own files give it.
        inputs: name in bundle.json to place.
        ambiguous: name to the candidates between which nothing decides.
    """

    folder: Path
    form: Form
    stage: int | None
    stage_how: str
    step: int | None
    step_how: str
    base_llm: str | None
    inputs: dict[str, Place]
    ambiguous: dict[str, tuple[Path, ...]]


def discover(folder: Path, known: dict[str, Place], stage: int | None = None, step: int | None = None) -> Draft:
    """Look around a checkpoint.

    Args:
        folder: the checkpoint's folder, resolved.
        known: what the user said, which is not looked for.
        stage, step: as the user gave them; None to infer them.

    Raises:
        BundleError: the folder holds no checkpoint.
    """
    form = form_of(folder)
    step_how = "--step"
    if step is None:
        step, step_how = _step(folder)
    inputs, ambiguous = dict(known), dict[str, tuple[Path, ...]]()
    base_llm = _base_llm(folder, form, known.get("lora"))
    # A whole model may have its adapter merged already: attaching the one beside it is the user's to say.
    for search in searches(folder, step, base_llm, adapter=form == "rows"):
        if search.name not in inputs:
            found = look(folder, search)
            if len(found) == 1:
                inputs[search.name] = Place(found[0], where(folder, found[0]))
            elif found:
                ambiguous[search.name] = tuple(found)
    stage_how = "--stage"
    if stage is None:
        stage, stage_how = _stage(folder, form, "lora" in inputs)
    if stage == 3 and "parent" not in known:
        # Stage 3 begins at the base: a stage 3 checkpoint beside it is no parent of it.
        inputs.pop("parent", None)
        ambiguous.pop("parent", None)
    return Draft(folder, form, stage, stage_how, step, step_how, base_llm, inputs, ambiguous)


def form_of(folder: Path) -> Form:
    """The form of a checkpoint, its weights pickled or not.

    Raises:
        BundleError: the folder holds no checkpoint.
    """
    if any((folder / name).is_file() for name in ROWS_FILES):
        return "rows"
    if any(any(folder.glob(name)) for name in MODEL_FILES):
        return "whole"
    if any((place / ADAPTER_CONFIG).is_file() for place in (folder, folder / "adapter")):
        return "adapter"
    if (folder / "config.json").is_file():
        return "whole"
    raise BundleError(
        folder,
        "no checkpoint",
        f"{' or '.join(ROWS_FILES)}, {ADAPTER_CONFIG}, or config.json with a model",
        "Name the checkpoint's own folder, e.g. outputs/run/checkpoint_2000.",
    )


def _stage(folder: Path, form: Form, has_adapter: bool) -> tuple[int | None, str]:
    if has_adapter or form == "adapter":
        return 4, "it has an adapter"
    for place in [folder, *folder.parents][: FOLDERS_ABOVE + 1]:
        if named := re.search(r"stage[_-]?([34])", place.name):
            return int(named[1]), f"the name of {place.name}/"
    if form == "rows":
        return 3, "rows without an adapter"
    return None, "nothing says"


def _step(folder: Path) -> tuple[int | None, str]:
    if named := re.search(r"(\d+)$", folder.name):
        return int(named[1]), "the folder's name"
    state = _json(folder / "trainer_state.json")
    if isinstance(state.get("global_step"), int):
        return state["global_step"], "trainer_state.json"
    return None, "nothing says"


def _base_llm(folder: Path, form: Form, lora: Place | None) -> str | None:
    rows = _json(folder / "trainable_rows.json").get("base_llm")
    adapters = (folder, folder / "adapter") if form == "adapter" else (lora.path,) if lora else ()
    named = rows or next((name for place in adapters if (name := _json(place / ADAPTER_CONFIG).get(_NAMED_BASE))), None)
    return named if isinstance(named, str) and named else None


def _json(file: Path) -> dict[str, Any]:
    """A JSON object that may be missing or broken: nothing is told by it then, and a gate says so later."""
    try:
        obj = read_json(file) if file.is_file() else {}
    except HarnessError:
        return {}
    return obj if isinstance(obj, dict) else {}
