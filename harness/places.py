"""Where a checkpoint's inputs usually lie, and what makes a file or folder the right one.

Looked at are the checkpoint's folder and the three above it, under names that are in use, the nearest first.
"""

import glob
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.bundle import ADAPTER_CONFIG
from harness.token_space import FILE_NAME

FOLDERS_ABOVE = 3
# Wildcards look no further than the run's own folder and the one that holds the runs.
FOLDERS_ABOVE_FOR_WILDCARDS = 2
SHARDS = ("shards", "tokenized", "data/shards", "data/tokenized", "stage3_uti/data/tokenized")
GOLDEN = ("golden", "data/golden", "*/golden")
DEV = ("dev.jsonl", "data/dev.jsonl", "*/dev.jsonl", "eval.jsonl", "eval_*.jsonl", "*/eval_*.jsonl")
TEXT_EVAL = ("text_eval.jsonl", "data/text_eval.jsonl", "*/text_eval.jsonl")
_LOG_HEAD_BYTES = 2**20  # of a text log: enough to get past a loader's progress bars


@dataclass(frozen=True)
class Place:
    """Something that was found.

    Attributes:
        path: where it is.
        how: why it was taken, for the reader: `beside the checkpoint`, `--base`.
    """

    path: Path
    how: str


@dataclass(frozen=True)
class Search:
    """Where to look for one input: patterns relative to each folder, and what makes a candidate the right thing."""

    name: str
    patterns: tuple[str, ...]
    accepts: Callable[[Path], bool]
    folders_above: int = FOLDERS_ABOVE


def searches(folder: Path, step: int | None, base_llm: str | None, *, adapter: bool) -> list[Search]:
    """What to look for around a checkpoint.

    Args:
        folder: the checkpoint.
        step: its training step, which names the field's `lora_<step>/`.
        base_llm: the base's name, as the checkpoint gives it.
        adapter: whether to look for one.
    """
    run = glob.escape(folder.parent.name)
    logs = ("train_log.jsonl", "trainer_state.json", f"{run}.log", f"logs/{run}.log", f"logs/{run}*.log", "*.log")
    lora = ("adapter", *([f"lora_{step}"] if step is not None else []))
    found = [
        Search("base", _base_patterns(base_llm), _is_model),
        Search("shards", SHARDS, _is_shards),
        Search("golden", GOLDEN, _is_golden),
        Search("dev", DEV, Path.is_file),
        Search("text_eval", TEXT_EVAL, Path.is_file),
        Search("train_log", logs, _is_log),
        Search("base_fingerprint", ("base_fingerprint.json",), Path.is_file, folders_above=0),
        Search("codecs", ("codecs", "data/codecs"), _is_codecs),
        Search("parent", ("stage3*/checkpoint_*",), lambda path: path != folder and _is_checkpoint(path)),
    ]  # fmt: skip
    if adapter:
        found.append(Search("lora", lora, _is_adapter, folders_above=1))
    return found


def look(folder: Path, search: Search) -> list[Path]:
    """The candidates at the nearest folder, and the first pattern, that has any."""
    for height, place in enumerate([folder, *folder.parents][: search.folders_above + 1]):
        for pattern in search.patterns:
            if "*" in pattern and height > FOLDERS_ABOVE_FOR_WILDCARDS:
                continue
            found = sorted(path for path in place.glob(pattern) if path != folder and search.accepts(path))
            if found:
                return found
    return []


def where(folder: Path, path: Path) -> str:
    """Where a candidate lies, seen from the checkpoint."""
    if path.is_relative_to(folder):
        return "in the checkpoint"
    if path.parent == folder.parent:
        return "beside the checkpoint"
    return "above the checkpoint"


def _base_patterns(base_llm: str | None) -> tuple[str, ...]:
    """The base under its own name, whole or its last part, then under the usual ones."""
    usual = ("base", "base_model", "models/base")
    if base_llm is None or "\0" in base_llm:
        return usual
    name = PurePosixPath(base_llm)
    # Only downwards: a name that climbs is followed by _is_model on the folders above anyway, by its last part.
    whole = () if name.is_absolute() or ".." in name.parts else (glob.escape(str(name)),)
    last = glob.escape(name.name)
    return tuple(dict.fromkeys((*whole, *((last, f"models/{last}") if name.name not in ("", "..") else ()), *usual)))


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def _is_shards(path: Path) -> bool:
    tars = ("*.tar", "*/*.tar", "*/*/*.tar")
    return path.is_dir() and ((path / "manifest.json").is_file() or any(any(path.glob(tar)) for tar in tars))


def _is_golden(path: Path) -> bool:
    return path.is_dir() and any(path.glob("golden_*.jsonl"))


def _is_codecs(path: Path) -> bool:
    return (path / "image").is_dir() or (path / "audio").is_dir()


def _is_adapter(path: Path) -> bool:
    return (path / ADAPTER_CONFIG).is_file()


def _is_checkpoint(path: Path) -> bool:
    return (path / FILE_NAME).is_file()


def _is_log(path: Path) -> bool:
    """A file that is a log by its name, or a text log with steps and losses in it."""
    if not path.is_file():
        return False
    if path.suffix != ".log":
        return True
    with path.open("rb") as file:
        head = file.read(_LOG_HEAD_BYTES)
    return bool(re.search(rb"\bstep\s*[=:]\s*\d", head) and re.search(rb"\bloss\w*\s*[=:]", head))
