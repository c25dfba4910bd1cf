"""Pickles of other trainers: read without running them, and moved out of a checkpoint once they are not needed.

A pickle is a program. torch's restricted reader (weights_only=True) runs none of it, and refuses what is more than
tensors and plain values.
"""

import pickle
import re
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from harness.errors import BundleError


def load_pickle(path: Path) -> Any:
    """What a torch.save file holds, on the CPU, without running anything in it.

    Raises:
        BundleError: it is no such file, it asks for code to be run, or it would unpack to more than its own size.
    """
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_zip(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says about old formats is no news to the reader
            # Mapped where the format allows, so that rows of any size cost no memory until they are written.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # Of torch's message only the name is passed on: the rest of it recommends weights_only=False.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise BundleError(
            path,
            f"a pickle that asks for {asked[1]}" if asked else "a pickle that torch's restricted reader refuses",
            "tensors and plain values, which weights_only=True reads",
            "Nothing in it was run. Do not open it by other means: ask its author for safetensors.",
        ) from None
    except Exception as error:
        # A damaged or hostile file ends torch's reader in many ways; all of them mean that it is not opened.
        found = f"a file that cannot be read as weights ({type(error).__name__})"
        raise BundleError(path, found, "a torch.save file", "Save it again.") from None


def move_away(pickle_file: Path, folder: Path) -> Path:
    """Move a file that is no longer needed into a folder; never over another one. Returns where it is now.

    Raises:
        BundleError: something of that name is there already.
    """
    target = folder / pickle_file.name
    if target.exists():
        raise BundleError(
            target, "a file", "nothing there", "Move it away, or name another folder: --move-pickles DIR."
        )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(pickle_file, target)
    return target


def _check_zip(path: Path) -> None:
    """torch.save stores without compression; a file that unpacks to more than its size is no checkpoint."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise BundleError(path, f"a damaged archive ({error})", "a torch.save file", "Copy it again.") from None
    if unpacked > size:
        raise BundleError(path, f"{unpacked} bytes packed into {size}", "a torch.save file", "Do not open it.")
