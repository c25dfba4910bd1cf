"""Self-tests that several tests look at: run once for each checkpoint, and kept for the rest of the process."""

import functools
import os
from pathlib import Path

from gates.selftest.record import record
from gates.selftest.run import Options, SelfTest, cores, selftest
from gates.selftest.runs import Settings
from harness.bundle import Bundle, open_bundle
from harness.faults.catalogue import faults_of, harmless_of
from harness.faults.fault import Fault, Harmless
from harness.files import write_json
from harness.results import Stage
from tests.small_run import last_checkpoint

STAGES: tuple[Stage, ...] = ("stage3", "stage4")
# Names of finished runs below this folder: `make catalogue` sets it.
RUNS = Path(os.environ.get("CATALOGUE_RUNS", ""))
WHOLE = ("demo", "tied")
EXAMPLES = 48


def work_folder(name: str, stage: Stage) -> Path:
    """Where a run's copies are made: on its own file system, so that they cost next to nothing."""
    return RUNS / "catalogue" / name / stage


def checkpoint_of(run: Path, stage: Stage) -> Bundle:
    """The last checkpoint of a stage."""
    return open_bundle(last_checkpoint(run, stage))


@functools.cache
def whole_catalogue(name: str, stage: Stage) -> SelfTest:
    """Everything, on the last checkpoint of a finished run."""
    return tried(
        checkpoint_of(RUNS / name, stage), stage, faults_of(stage), harmless_of(stage), work_folder(name, stage)
    )


def tried(
    bundle: Bundle, stage: Stage, faults: list[Fault], harmless: list[Harmless], folder: Path, workers: int = cores()
) -> SelfTest:
    """Some entries of the catalogue on a checkpoint."""
    settings = Settings(folder / "evidence", EXAMPLES, threads=max(1, cores() // workers))
    tested = selftest(bundle, stage, faults, harmless, Options(folder / "work", settings, workers, keep=True), _say)
    write_json(folder / "selftest.json", record(tested, [*faults, *harmless]))
    return tested


def _say(label: str, done: int, total: int, elapsed_s: float) -> None:
    if done % 10 == 0 or done == total:
        print(f"{label}: {done} of {total}, {elapsed_s:.0f} s", flush=True)
