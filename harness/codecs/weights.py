"""Which file of a codec's folder holds its weights, and whether it is the one that the token space declares."""

from pathlib import Path
from typing import Any

from harness.errors import BundleError, CodecError
from harness.files import file_sha256
from harness.finite import find_not_finite
from harness.tensors import read_file

WEIGHTS_FILE = "model.safetensors"
PUBLISHED_ENCODEC = "encodec_*khz-*.th"  # the encodec package's own files


def weights_file(kind: str, folder: Path) -> Path:
    """The one file of weights of a codec that comes with this package.

    Raises:
        CodecError: there is none, or more than one.
    """
    published = sorted(folder.glob(PUBLISHED_ENCODEC)) if kind == "encodec" else []
    found = [path for path in (folder / WEIGHTS_FILE, *published) if path.is_file()]
    if not found:
        raise _no_weights(kind, folder)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CodecError(folder, names, "one file of weights", "Keep the one that made the shards.")
    return found[0]


def check_declared(weights: Path, declaration: dict[str, Any]) -> None:
    """Hold a file of weights against the declaration's `weights_sha256`, where it has one.

    Raises:
        CodecError: it is another file.
    """
    declared = declaration.get("weights_sha256")
    if declared and (actual := file_sha256(weights)) != declared:
        raise CodecError(
            weights, f"sha256 {actual}", f"{declared}, as the token space says", "Use the codec that made the shards."
        )


def check_finite(weights: Path) -> None:
    """Look at every value of a safetensors file: a picture of NaN is a picture all the same.

    Raises:
        CodecError: a value is infinite or NaN, or the file cannot be read.
    """
    if weights.name != WEIGHTS_FILE:
        return  # a published pickle, which is known by its hash
    fix = "Use the codec that made the shards, from before its training diverged."
    try:
        bad = find_not_finite(list(read_file(weights).values()))
    except BundleError as error:
        raise CodecError(weights, error.found, error.expected, fix) from None
    if bad:
        first = bad[0]
        found = f"{first.count} values of {first.tensor.name} that are not finite"
        raise CodecError(weights, found, "finite weights", fix)


def check_any_declared(folder: Path, declaration: dict[str, Any]) -> None:
    """Hold the folder of a user's own codec against `weights_sha256`: one of its files must be the declared one.

    Raises:
        CodecError: none is.
    """
    declared = declaration.get("weights_sha256")
    files = [path for path in sorted(folder.glob("*")) if path.is_file()] if declared else []
    if declared and declared not in map(file_sha256, files):
        raise CodecError(
            folder,
            f"{len(files)} files, none with the declared sha256",
            f"{declared}, as the token space says",
            "Use the codec that made the shards.",
        )


def _no_weights(kind: str, folder: Path) -> CodecError:
    pickles = [path.name for pattern in ("*.pt", "*.pth", "*.bin") for path in sorted(folder.glob(pattern))]
    found = f"no {WEIGHTS_FILE}" + (f" and no {PUBLISHED_ENCODEC}" if kind == "encodec" else "")
    fix = "Pass --codecs, or correct bundle.json."
    if pickles:
        found += f" but {', '.join(pickles)}: a pickle is a program, and is not opened"
        tool = "python -m harness.codecs.seed_convert FOLDER" if kind == "seed" else "safetensors"
        fix = f"Convert it: {tool}."
    return CodecError(folder, found, f"the {kind} codec's folder", fix)
