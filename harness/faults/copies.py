"""A copy of a checkpoint with everything that it points to, cheap to make and safe to break.

Of the original, small files are copied, and large ones are reflinks or hard links; of a copy, all are. Whatever is
edited is first given bytes of its own, so that the original is never written to; `original_is_untouched` proves it.
"""

import contextlib
import errno
import fcntl
import filecmp
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bundle import Bundle, open_bundle
from harness.errors import HarnessError
from harness.files import files_below, read_json, write_json
from harness.results import Stage

# Linux: make a file share another one's blocks until either is written to. ioctl_ficlone(2).
FICLONE = 0x40049409
# Of the original, what is smaller is copied and not linked, so that hardly anything of it can be written through to.
COPIED_BELOW_BYTES = 64 * 2**20
_NO_REFLINK = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.EPERM, errno.ENOSYS)


class NotApplicableError(Exception):
    """A fault cannot be planted in this checkpoint; the message says why."""


@dataclass(frozen=True)
class Copy:
    """One copy.

    Attributes:
        root: the folder that holds all of it.
        ckpt: the checkpoint's folder.
        stage: the stage that it is judged as.
        earlier: folder of the verdicts on earlier checkpoints, beside which a run's own output folder lies.
    """

    root: Path
    ckpt: Path
    stage: Stage

    @property
    def earlier(self) -> Path:
        """Where verdicts on earlier checkpoints lie, as they do beside a run's output folder."""
        return self.root / "judged"

    @property
    def bundle(self) -> Bundle:
        """The checkpoint as it is now."""
        return open_bundle(self.ckpt)

    def input(self, name: str) -> Path:
        """An input that bundle.json points to.

        Raises:
            NotApplicableError: the checkpoint has none of that name.
        """
        path = self.bundle.inputs.get(name)
        if path is None or not path.exists():
            raise NotApplicableError(f"the checkpoint has no {name}")
        return path

    def own(self, path: Path) -> Path:
        """Give a file bytes of its own, so that it may be written to in place. Returns its path.

        Raises:
            ValueError: it lies outside the copy.
        """
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"{path} is no part of the copy {self.root}")
        loose = path.with_name(f".{path.name}.own")
        shutil.copyfile(path, loose)
        loose.replace(path)
        return path

    def edit_json(self, path: Path, **changes: Any) -> None:
        """Change keys of a JSON object on disk; None drops a key."""
        said = read_json(path) | changes
        write_json(path, {key: value for key, value in said.items() if value is not None})

    def point(self, **inputs: Path | str | int | None) -> None:
        """Change keys of bundle.json; a path is written as seen from the checkpoint."""
        changes = {
            name: os.path.relpath(value, self.ckpt) if isinstance(value, Path) else value
            for name, value in inputs.items()
        }
        self.edit_json(self.ckpt / "bundle.json", **changes)


def copy_checkpoint(source: Bundle, stage: Stage, root: Path) -> Copy:
    """Copy a checkpoint with its inputs into a new folder, in a layout of its own.

    Args:
        source: the opened checkpoint, options that override its inputs included.
        stage: the stage that it is to be judged as.
        root: the folder to make.

    Raises:
        HarnessError: an input is missing, so that the original itself cannot be judged as it stands.
        FileExistsError: the folder is there already.
    """
    root = root.resolve()  # as a bundle's inputs are, which tell by it whether they are the copy's own
    root.mkdir(parents=True)  # never into a folder that is there: its files may be links of the original's
    ckpt = root / stage / source.path.name
    clone_tree(source.path, ckpt, copied_below=COPIED_BELOW_BYTES)
    places: dict[str, Path] = {}
    for name, path in source.inputs.items():
        if not path.exists():
            raise HarnessError(path, "nothing", f"the bundle's {name}", f"Correct bundle.json, or pass --{name}.")
        if path.is_relative_to(source.path):
            places[name] = ckpt / path.relative_to(source.path)
        else:
            places[name] = root / name / path.name
            clone_tree(path, places[name], copied_below=COPIED_BELOW_BYTES)
    pointers = {name: os.path.relpath(place, ckpt) for name, place in places.items()}
    declared = {"format": "checkpoint-bundle/1", "stage": 3 if stage == "stage3" else 4, "decoding": source.decoding}
    write_json(ckpt / "bundle.json", declared | ({} if source.step is None else {"step": source.step}) | pointers)
    if "parent" in places:
        _repoint_parent(source, places)
    return Copy(root, ckpt, stage)


def clone(copy: Copy, root: Path) -> Copy:
    """Another copy of a copy, in a folder that is not there yet."""
    root = root.resolve()
    root.mkdir(parents=True)
    clone_tree(copy.root, root)
    return Copy(root, root / copy.ckpt.relative_to(copy.root), copy.stage)


def clone_tree(source: Path, target: Path, *, copied_below: int = 0) -> None:
    """Copy a file or a folder, hidden files left out; bytes are shared with the source as long as nobody edits them.

    Args:
        source: a file or a folder.
        target: its new name; files of it must not be there yet.
        copied_below: files of fewer bytes get bytes of their own at once.
    """
    if source.is_file():
        _clone_file(source, target, copied_below)
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in files_below(source):
        _clone_file(path, target / path.relative_to(source), copied_below)


def changed_files(before: Copy, after: Copy) -> list[str]:
    """The files that one of two copies has and the other has not, or has with other bytes.

    A hard link that is still the same file is not read.
    """
    had = {path.relative_to(before.root).as_posix(): path for path in files_below(before.root)}
    has = {path.relative_to(after.root).as_posix(): path for path in files_below(after.root)}
    both = had.keys() & has.keys()
    other = {name for name in both if not _same(had[name], has[name])}
    return sorted((had.keys() ^ has.keys()) | other)


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)


@contextlib.contextmanager
def original_is_untouched(source: Bundle) -> Iterator[None]:
    """Hold that nothing of the original was written to while copies of it were broken.

    Raises:
        RuntimeError: a file of the original has another size or time stamp than before, or is gone.
    """
    before = _stamps_of(source)
    yield
    if (now := _stamps_of(source)) != before:
        changed = sorted({name for name, _ in before ^ now})
        raise RuntimeError(f"the original was written to: {', '.join(changed[:5])}. This is a fault of the self-test.")


def stamps(folder: Path) -> set[tuple[str, tuple[int, int]]]:
    """Every file below a folder with its size and its time of change."""
    return {_stamp(file) for file in files_below(folder)}


def _stamps_of(source: Bundle) -> set[tuple[str, tuple[int, int]]]:
    places = [source.path, *(path for path in source.inputs.values() if path.exists())]
    return set().union(*({_stamp(place)} if place.is_file() else stamps(place) for place in places))


def _stamp(file: Path) -> tuple[str, tuple[int, int]]:
    status = file.stat()
    return str(file), (status.st_size, status.st_mtime_ns)


def _repoint_parent(source: Bundle, places: dict[str, Path]) -> None:
    """Let the copied parent point to what was copied, and to the originals of everything else."""
    file, home = places["parent"] / "bundle.json", source.inputs["parent"]
    if not file.is_file():
        return
    copied = {source.inputs[name]: place for name, place in places.items()}
    said: dict[str, Any] = read_json(file)
    for name, value in said.items():
        if isinstance(value, str) and (home / value).exists() and name not in ("format", "decoding"):
            path = (home / value).resolve()
            if not path.is_relative_to(home):
                said[name] = os.path.relpath(copied[path], places["parent"]) if path in copied else str(path)
    write_json(file, said)


def _clone_file(source: Path, target: Path, copied_below: int) -> None:
    """Share a file's bytes under another name.

    Raises:
        FileExistsError: something is there. It may be a link of an original, which writing would destroy.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    if target.exists():
        raise FileExistsError(f"{target} is there already; a copy goes where nothing is")
    if source.stat().st_size < copied_below:
        shutil.copy2(source, target)
        return
    if _reflink(source, target):
        shutil.copystat(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _reflink(source: Path, target: Path) -> bool:
    with source.open("rb") as read, target.open("xb") as write:
        try:
            fcntl.ioctl(write.fileno(), FICLONE, read.fileno())
        except OSError as error:
            if error.errno not in _NO_REFLINK:
                raise
            target.unlink()
            return False
    return True
