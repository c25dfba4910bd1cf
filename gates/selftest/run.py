"""The self-test: every fault of the catalogue planted in a copy of one checkpoint, one at a time."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from gates.selftest.found import BAD, Found, judge_fault, judge_harmless
from gates.selftest.runs import NOT_BY_EXAMPLE, Settings, judge
from harness.bundle import Bundle
from harness.errors import HarnessError
from harness.faults.copies import (
    Copy,
    NotApplicableError,
    changed_files,
    clone,
    copy_checkpoint,
    original_is_untouched,
    stamps,
)
from harness.faults.fault import Fault, Harmless
from harness.progress import Listener
from harness.results import Stage, Verdict


@dataclass(frozen=True)
class Options:
    """How a self-test goes about its work.

    Attributes:
        work: where a folder for the copies is made, on the checkpoint's own file system, where they cost next to
            nothing. What else lies there is left alone.
        settings: how copies are judged.
        workers: copies that are judged at a time.
        keep: whether the copies of what was not caught stay, to be looked at.
    """

    work: Path
    settings: Settings
    workers: int = 1
    keep: bool = False


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found.

    Attributes:
        control: the verdict on the copy with nothing wrong in it.
        found: what became of every fault and every harmless change, in the catalogue's order.
        duration_s: of all of it.
    """

    stage: Stage
    control: Verdict
    found: tuple[Found, ...]
    duration_s: float


def selftest(
    source: Bundle, stage: Stage, faults: Sequence[Fault], harmless: Sequence[Harmless], options: Options,
    listener: Listener,
) -> SelfTest:  # fmt: skip
    """Plant every fault and every harmless change in a copy of a checkpoint, and judge what the gates make of it.

    Raises:
        HarnessError: the copy with nothing wrong in it cannot be judged.
        RuntimeError: the original was written to.
    """
    start, alone = time.monotonic(), "judging the checkpoint without a fault"
    options.work.mkdir(parents=True, exist_ok=True)
    with original_is_untouched(source), _own_folder(options) as folder:
        plain = copy_checkpoint(source, stage, folder / "plain")
        controls = _Controls(plain)
        listener(alone, 0, 1, 0.0)
        control = controls.verdict(options.settings)
        listener(alone, 1, 1, time.monotonic() - start)
        everything: list[Fault | Harmless] = [*faults, *harmless]
        entries = [entry for entry in everything if stage in entry.stages]
        trials = [_Trial(entry, plain, controls, options) for entry in entries]
        found = _work_off(trials, options.workers, listener, start)
        shutil.rmtree(plain.root)
    return SelfTest(stage, control, tuple(found), time.monotonic() - start)


@contextlib.contextmanager
def _own_folder(options: Options) -> Iterator[Path]:
    """A new folder for the copies, removed at the end; with `keep` only where nothing was kept in it."""
    folder = Path(tempfile.mkdtemp(prefix="copies-", dir=options.work))
    try:
        yield folder
    finally:
        if not options.keep or not any(folder.iterdir()):
            shutil.rmtree(folder)


NO_CHANGE = "it changes no byte of this checkpoint"


class _Controls:
    """Verdicts on copies with nothing wrong in them, each made when first asked for."""

    def __init__(self, plain: Copy) -> None:
        self._plain, self._lock = plain, threading.Lock()
        self._made: dict[Settings, Verdict] = {}

    def verdict(self, settings: Settings) -> Verdict:
        """The verdict under some settings.

        Raises:
            HarnessError: there is none: the checkpoint itself cannot be judged.
        """
        with self._lock:
            if settings not in self._made:
                self._made[settings] = self._make(settings, f"control-{len(self._made)}")
            return self._made[settings]

    def _make(self, settings: Settings, name: str) -> Verdict:
        copy = clone(self._plain, self._plain.root.with_name(name))
        run = judge(copy, settings)
        if run.verdict is None:
            log = run.log.read_text(errors="replace")[-2000:] if run.log.exists() else ""
            found = f"no verdict (exit code {run.exit_code}): {log}"
            fix = "Run the gates on it by themselves first."
            raise HarnessError(copy.ckpt, found, "a checkpoint that the gates can judge", fix)
        shutil.rmtree(copy.root)
        return run.verdict


@dataclass(frozen=True)
class _Trial:
    """One entry of the catalogue to be tried."""

    entry: Fault | Harmless
    plain: Copy
    controls: _Controls
    options: Options

    @property
    def gate(self) -> str:
        """The gate that has to turn red; none for a harmless change."""
        return (self.entry.gate_of(self.plain.stage) or "") if isinstance(self.entry, Fault) else ""

    def __call__(self) -> Found:
        """Plant it in a copy, run the gates, and judge what they made of it."""
        stage, name = self.plain.stage, self.entry.name
        copy = clone(self.plain, self.plain.root.with_name(name))
        try:
            plant(self.entry, self.plain, copy)
            found = self._judge(copy)
        except NotApplicableError as error:
            found = Found(name, stage, self.gate, "no place", str(error))
        except Exception as error:  # one that cannot be planted must not cost what the others tell
            found = Found(name, stage, self.gate, "untold", f"it could not be tried: {error!r}")
        if not (self.options.keep and found.ending in BAD):
            shutil.rmtree(copy.root)
        return found

    def _judge(self, copy: Copy) -> Found:
        settings, stage, name = self.options.settings, copy.stage, self.entry.name
        if isinstance(self.entry, Harmless):
            return judge_harmless(name, stage, judge(copy, settings), self.controls.verdict(settings))
        if self.entry.whole_run and settings.max_examples is not None:
            # What shows only on all examples is asked of its own gate alone: a large checkpoint stays affordable.
            settings = replace(settings, max_examples=None, gates=(self.gate,))
        elif self.gate in NOT_BY_EXAMPLE and not self.entry.whole_run:
            settings = settings.with_few()
        return judge_fault(self.entry, stage, judge(copy, settings), self.controls.verdict(settings))


def plant(entry: Fault | Harmless, plain: Copy, copy: Copy) -> list[str]:
    """Plant an entry of the catalogue in a copy. Returns the files that changed.

    Raises:
        NotApplicableError: the copy has no place for it, or no byte changed: in bfloat16, say, some are silently none.
        RuntimeError: it wrote into the copy that all others are made of.
    """
    before = stamps(plain.root)
    entry.inject(copy)
    if stamps(plain.root) != before:
        raise RuntimeError(f"{entry.name} wrote through a link into {plain.root}")
    changed = changed_files(plain, copy)
    if not changed:
        raise NotApplicableError(NO_CHANGE)
    return changed


def _work_off(trials: Sequence[_Trial], workers: int, listener: Listener, start: float) -> list[Found]:
    done: dict[int, Found] = {}
    listener("faults planted", 0, len(trials), time.monotonic() - start)
    with ThreadPoolExecutor(workers) as pool:
        under_way: dict[Future[Found], int] = {pool.submit(trial): number for number, trial in enumerate(trials)}
        try:
            for future in as_completed(under_way):
                done[under_way[future]] = future.result()
                listener("faults planted", len(done), len(trials), time.monotonic() - start)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [done[number] for number in sorted(done)]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
