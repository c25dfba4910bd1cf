"""The steps of `gates init`: settle the token space, convert and move pickles, look around, write bundle.json."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates.needs import missing
from harness.bundle import INPUTS, ROWS_FILE, open_bundle
from harness.convert import ROWS_PICKLE, Converted, convert_folder
from harness.discover import Draft, discover, form_of
from harness.errors import BundleError, HarnessError
from harness.files import read_json, write_json, write_text
from harness.pickles import move_away
from harness.places import Place
from harness.results import EXIT_CODES
from harness.tensors import find_pickles
from harness.token_space import FILE_NAME, SIDECAR_NAME, TokenSpace, read_token_space

BUNDLE = "bundle.json"
# What trainers keep beside the weights in order to resume: pickles that no gate needs.
RESUME_FILES = ("optimizer*", "scheduler*", "scaler*", "rng_state*", "training_args.bin")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        inputs: name in bundle.json to an absolute path.
        token_space: the file to take over where the checkpoint has none.
        pickles: the folder that pickles are moved to; None leaves them.
        force: whether an existing bundle.json may be replaced.
    """

    folder: Path
    inputs: dict[str, Path]
    token_space: Path | None
    stage: int | None
    step: int | None
    decoding: str | None
    pickles: Path | None
    force: bool


def prepare(request: Request, say: Say) -> int:
    """Make a bundle of a checkpoint's folder, saying what was done and what is missing. Returns the exit code.

    Raises:
        HarnessError: it has a bundle.json already, holds no checkpoint, or something in it cannot be used.
        OSError: the folder cannot be written.
    """
    folder = request.folder
    earlier = _earlier(request)
    form_of(folder)
    space = _settle_token_space(request, say)
    if space is None:
        return EXIT_CODES["INCOMPLETE"]
    known = {name: Place(path, "bundle.json said so") for name, path in _paths(folder, earlier).items()}
    known |= {name: Place(path, f"--{name.replace('_', '-')}") for name, path in request.inputs.items()}
    done = convert_folder(folder, space)
    draft = discover(folder, known, request.stage or earlier.get("stage"), _first(request.step, earlier.get("step")))
    adapter = draft.inputs["lora"].path if "lora" in draft.inputs else folder / "adapter"
    done += convert_folder(adapter, None)
    _say_converted(done, say)
    _move_pickles(request, draft, done, say)
    _say_draft(draft, say)
    if draft.stage is None:
        say(_line("missing", "stage", "nothing says which: --stage 3 or --stage 4. No bundle.json was written"))
        return EXIT_CODES["INCOMPLETE"]
    write_json(folder / BUNDLE, _bundle_object(draft, request.decoding or earlier.get("decoding") or "free"))
    say(_line("written", BUNDLE, str(folder / BUNDLE)))
    return _say_missing(draft, draft.stage, say)


def _earlier(request: Request) -> dict[str, Any]:
    """The bundle.json that is to be replaced; empty where there is none, or none that can be read."""
    file = request.folder / BUNDLE
    if not file.is_file():
        return {}
    if not request.force:
        raise BundleError(file, f"a {BUNDLE}", "none yet", "Edit it, or pass --force to have it written again.")
    try:
        obj = read_json(file)
    except HarnessError:
        return {}
    kinds = dict.fromkeys(("stage", "step"), int) | dict.fromkeys(("decoding", *INPUTS), str)
    known = obj.items() if isinstance(obj, dict) else ()
    return {name: value for name, value in known if name in kinds and isinstance(value, kinds[name]) and _plain(value)}


def _paths(folder: Path, earlier: dict[str, Any]) -> dict[str, Path]:
    """Where an earlier bundle.json pointed, as far as something is there."""
    named = {name: (folder / str(earlier[name])).resolve() for name in INPUTS if earlier.get(name)}
    return {name: path for name, path in named.items() if path.exists()}


def _settle_token_space(request: Request, say: Say) -> TokenSpace | None:
    file = request.folder / FILE_NAME
    if not file.is_file():
        # Never taken from the shards or a parent: the identity gate would then compare a copy with its original.
        if request.token_space is None:
            say(_line("missing", FILE_NAME, "--token-space FILE, the very file that it was trained with"))
            return None
        read_token_space(request.token_space)
        shutil.copyfile(request.token_space, file)
        say(_line("written", FILE_NAME, f"a copy of {request.token_space}"))
    space = read_token_space(request.folder)
    if request.token_space and (other := read_token_space(request.token_space)).sha256 != space.sha256:
        raise BundleError(
            request.token_space, f"sha256 {other.sha256}", f"{space.sha256}, as {file} has", "Leave --token-space out."
        )
    if not (request.folder / SIDECAR_NAME).is_file():
        write_text(request.folder / SIDECAR_NAME, space.sha256 + "\n")
        say(_line("written", SIDECAR_NAME, space.sha256))
    return space


def _move_pickles(request: Request, draft: Draft, done: list[Converted], say: Say) -> None:
    lora = draft.inputs.get("lora")
    unneeded = {converted.source for converted in done}
    for folder in {request.folder, *([lora.path] if lora else [])}:
        for pickle in find_pickles(folder):
            if pickle not in unneeded and not any(pickle.match(name) for name in RESUME_FILES):
                say(_line("left", pickle.name, f"{pickle}: an unknown pickle, which the bundle gate refuses"))
            elif request.pickles is None:
                say(_line("left", pickle.name, f"{pickle}: no longer needed, and the bundle gate refuses it"))
            else:
                place = request.pickles / folder.name / pickle.relative_to(folder).parent
                say(_line("moved", pickle.name, f"no longer needed: {move_away(pickle, place)}"))


def _bundle_object(draft: Draft, decoding: str) -> dict[str, Any]:
    paths = {name: draft.inputs[name].path for name in INPUTS if name in draft.inputs}
    return {
        "format": "checkpoint-bundle/1",
        "stage": draft.stage,
        **({} if draft.step is None else {"step": draft.step}),
        **{name: Path(os.path.relpath(path, draft.folder)).as_posix() for name, path in paths.items()},
        "decoding": decoding,
    }


def _say_converted(done: list[Converted], say: Say) -> None:
    for converted in done:
        say(_line("converted", converted.source.name, f"{converted.target.name}: {converted.what}"))


def _say_draft(draft: Draft, say: Say) -> None:
    forms = {"rows": "rows over a base", "whole": "a whole model", "adapter": "a PEFT adapter with saved embeddings"}
    say(_line("found", "form", forms[draft.form]))
    if draft.stage is not None:
        say(_line("found", "stage", f"{draft.stage}: {draft.stage_how}"))
    if draft.step is not None:
        say(_line("found", "step", f"{draft.step}: {draft.step_how}"))
    for name in INPUTS:
        if place := draft.inputs.get(name):
            say(_line("found", name, f"{os.path.relpath(place.path, draft.folder)} ({place.how})"))


def _say_missing(draft: Draft, stage: int, say: Say) -> int:
    code = EXIT_CODES["PROMOTE"]
    for need in missing(stage, draft.form, draft.inputs):
        required = stage in need.required
        candidates = [os.path.relpath(path, draft.folder) for path in draft.ambiguous.get(need.name, ())]
        which = f"; one of {', '.join(candidates[:5])}?" if candidates else ""
        named = f" ({draft.base_llm!r})" if need.name == "base" and draft.base_llm else ""
        text = f"{need.option}, {need.what}{named}: for {need.gates[stage]}{which}"
        say(_line("missing" if required else "optional", need.name, text))
        code = EXIT_CODES["INCOMPLETE"] if required else code
    parent = draft.inputs.get("parent")
    if parent and (parent.path / ROWS_PICKLE).is_file() and not (parent.path / ROWS_FILE).is_file():
        say(_line("optional", "parent's rows", f"gates init {parent.path} converts them: for what moved since"))
    try:
        open_bundle(draft.folder)
    except HarnessError as error:
        say(_line("problem", BUNDLE, str(error)))
        code = EXIT_CODES["INCOMPLETE"]
    return code


def _plain(value: object) -> bool:
    """Whether a path can be made of it."""
    return "\0" not in str(value)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _line(verb: str, name: str, text: str) -> str:
    return f"{verb:<10} {name:<18} {text}"
