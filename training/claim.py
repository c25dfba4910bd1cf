"""A run's folder: whose it is, and where an interrupted run goes on.

`run.json` holds the config and digests of what is trained on, and, once the run has ended, how.
"""

import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from harness.errors import HarnessError
from harness.files import path_sha256, read_json, write_json
from training.config import RunConfig
from training.config_files import as_values

CONFIG, RESUME = "run.json", ".resume"


def check_free(config: RunConfig, *, fresh: bool) -> None:
    """See that a run may use its folder; nothing is written.

    Args:
        config: the run.
        fresh: whether what an earlier run left there is to be thrown away.

    Raises:
        HarnessError: the folder holds something else, a run of another config or other inputs, or one that has ended.
    """
    out = Path(config.out)
    if not (out / CONFIG).is_file():
        if out.is_dir() and any(out.iterdir()):
            raise HarnessError(out, "files of something else", "an empty folder", "Choose another --set out=….")
        return
    left = read_json(out / CONFIG)
    changed = _changed(left, _identity(config))
    if not fresh and (changed or "outcome" in left):
        found = f"a run with another {', '.join(changed)}" if changed else "a run that has ended"
        raise HarnessError(
            out, found, "the same run, interrupted, to go on with it",
            "Choose another --set out=…, or begin anew with --fresh.",
        )  # fmt: skip


def take(config: RunConfig, *, fresh: bool) -> None:
    """Make the folder the run's, after `check_free`."""
    out = Path(config.out)
    if fresh and (out / CONFIG).is_file():
        shutil.rmtree(out)
    if not (out / CONFIG).is_file():
        write_json(out / CONFIG, _identity(config))


def can_go_on(config: RunConfig) -> bool:
    """Whether the run's folder holds the same run, interrupted."""
    file = Path(config.out) / CONFIG
    left = read_json(file) if file.is_file() else {}
    return bool(left) and "outcome" not in left and not _changed(left, _identity(config))


def close(config: RunConfig, outcome: dict[str, Any]) -> None:
    """Note how the run ended."""
    file = Path(config.out) / CONFIG
    write_json(file, {**read_json(file), "outcome": outcome})


def resume_point(out: Path) -> Path | None:
    """The Trainer's own state to resume from; None to begin."""
    state = get_last_checkpoint(str(out / RESUME)) if (out / RESUME).is_dir() else None
    return Path(state) if state else None


def step_of(resume: Path | None) -> int:
    """The step of a state to resume from; 0 without one."""
    return int(resume.name.rpartition("-")[2]) if resume else 0


def _identity(config: RunConfig) -> dict[str, Any]:
    """The config, and digests of what it trains on: the same paths may hold something else by now."""
    files = {"train": config.data.train, "text": config.data.text, "parent": config.data.parent}
    there = {name: Path(path) for name, path in files.items() if path and Path(path).exists()}
    return {"config": as_values(config), "inputs": {name: path_sha256(path) for name, path in there.items()}}


def _changed(left: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    return sorted(
        key for part in ("config", "inputs") for key in mine[part] if left.get(part, {}).get(key) != mine[part][key]
    )
