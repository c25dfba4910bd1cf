"""Steps that resume: each leaves a stamp that says what it was made of, and is left alone while that still holds."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from harness.errors import HarnessError
from harness.files import path_sha256, read_json, write_json

RUN_MARKER = ".training-run.json"
STAMP_NAME = ".done.json"
STAMP_FORMAT = "training-step/1"

_LINE_INTERVAL_S = 5.0  # between two lines of progress where there is no terminal
_BAR_INTERVAL_S = 0.2


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: as on the command line.
        config: what it depends on beyond files; anything `as_json` takes.
        inputs: files and folders that it reads.
        outputs: files and folders that it writes; nobody else writes them.
        stamp: the file that is written last.
        work: does it; called only when the stamp does not hold.
        threads: of torch; fixed by step, since sums of floats depend on it.
    """

    name: str
    config: object
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    stamp: Path
    work: Callable[[], None] = field(repr=False)
    threads: int = 1


def run_step(step: Step, say: Callable[[str], None] = print) -> bool:
    """Do a step unless its stamp shows that config, inputs and outputs are what they were. Returns whether it ran."""
    # Beside the step's folder: the folder itself is replaced while the step runs.
    lock = step.stamp.parent.parent / f".{step.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Two commands over the same run must not write the same files; the second finds the work done.
    with FileLock(lock):
        reason = why_run(step)
        if reason is None:
            say(f"{step.name}: up to date, nothing to do ({step.stamp})")
            return False
        say(f"{step.name}: {reason}")
        step.stamp.unlink(missing_ok=True)
        inputs = _digests(step.inputs)
        wall, cpu = time.perf_counter(), _cpu_seconds()
        step.work()
        spent = {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(_cpu_seconds() - cpu, 2)}
        write_json(step.stamp, {**_stamp(step, inputs), "outputs": _digests(step.outputs), **spent})
        say(f"{step.name}: done in {spent['wall_s']:.1f} s wall, {spent['cpu_s']:.1f} s CPU")
    return True


def why_run(step: Step) -> str | None:
    """The reason to do a step, as a sentence; None when there is none.

    Raises:
        HarnessError: an input is missing.
    """
    for path in step.inputs:
        if not path.exists():
            raise HarnessError(path, "nothing", f"an input of the step {step.name}", "Run the step that writes it.")
    if not step.stamp.is_file():
        return "not done yet"
    left = read_json(step.stamp)
    wanted = _stamp(step, _digests(step.inputs))
    if left.get("format") != STAMP_FORMAT or left.get("config") != wanted["config"]:
        return "its config has changed"
    if left.get("inputs") != wanted["inputs"]:
        return f"its inputs have changed ({_changed(left.get('inputs', {}), wanted['inputs'])})"
    outputs = _digests(step.outputs)
    if left.get("outputs") != outputs:
        return f"its outputs are not what it wrote ({_changed(left.get('outputs', {}), outputs)})"
    return None


def as_json(config: object) -> Any:
    """A config (dataclasses, mappings, tuples, numbers, text) as what JSON gives back when it is read again.

    Raises:
        TypeError: something in it is none of these.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: as_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): as_json(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [as_json(value) for value in config]
    if config is None or isinstance(config, (bool, int, float, str)):
        return config
    raise TypeError(f"{config!r} cannot be part of a step's config")


def claim_run(root: Path) -> None:
    """Mark a folder as a run's; steps may replace what lies in it.

    Raises:
        HarnessError: the folder holds files and no run's mark, so that replacing could destroy someone's work.
    """
    marker = root / RUN_MARKER
    if not marker.is_file():
        if root.is_dir() and any(root.iterdir()):
            raise HarnessError(
                root,
                "files that no training run wrote",
                "an empty folder or an earlier run",
                "Choose another folder with --runs.",
            )
        write_json(marker, {"format": "training-run/1"})


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends well; else `path` stays as it was."""
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _share_files(fresh)
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def clear_folder(path: Path) -> None:
    """Make a folder that is empty."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def progress(total: int, what: str, unit: str = "step") -> "tqdm[Any]":
    """A progress bar; where stderr is no terminal, a plain line every 5 s at most."""
    if sys.stderr.isatty() and "TRAINING_PLAIN_PROGRESS" not in os.environ:
        return tqdm(total=total, desc=what, unit=unit, mininterval=_BAR_INTERVAL_S, ascii=True, leave=False)
    # miniters=1: tqdm else adapts its stride to the first, often slow, iterations. ncols: no terminal to ask.
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        mininterval=_LINE_INTERVAL_S,
        miniters=1,
        ascii=True,
        ncols=110,
        leave=False,
        file=_Lines(),
    )


class _Lines:
    """A stream for tqdm that prints its redrawings as lines of their own."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            sys.stderr.write(line + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _share_files(folder: Path) -> None:
    """Give every file the permissions of any other new file: safetensors makes files that only the owner can read."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~umask)


def _stamp(step: Step, inputs: dict[str, str]) -> dict[str, Any]:
    config = as_json(step.config)
    digest = hashlib.sha256(json.dumps([config, inputs], sort_keys=True).encode()).hexdigest()
    return {"format": STAMP_FORMAT, "step": step.name, "sha256": digest, "config": config, "inputs": inputs}


def _digests(paths: tuple[Path, ...]) -> dict[str, str]:
    """Digest by name of each path; names, not paths, so that a run may be moved."""
    return {path.name: path_sha256(path) if path.exists() else "missing" for path in paths}


def _changed(left: dict[str, str], now: dict[str, str]) -> str:
    return ", ".join(sorted(name for name in {*left, *now} if left.get(name) != now.get(name)))


def _cpu_seconds() -> float:
    """CPU seconds of this process and of the children that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
