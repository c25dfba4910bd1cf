"""One cosmic-ray session a module: which mutants it has, and what became of them. Kept, so that a run can go on."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cosmic_ray.commands
from cosmic_ray.work_db import WorkDB, WorkResultStorage, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

from tests.mutants.names import Mutant, name_of
from tests.mutants.operators import OPERATORS
from tests.mutants.places import Places
from tests.mutants.plan import ROOT, Judge

ANSWERED = "pytest ended with"  # begins what the client says; without it the tests never ran


@dataclass(frozen=True)
class Tally:
    """What became of the mutants of a module.

    Attributes:
        n: mutants.
        killed: those that a test noticed, or that never ended.
        survivors: those that none noticed.
        broken: those that could not be tested.
        left_out: how many were not tested, by the reason.
    """

    n: int
    killed: int
    survivors: tuple[Mutant, ...]
    broken: tuple[str, ...]
    left_out: dict[str, int]

    @property
    def done(self) -> int:
        """Mutants whose fate is known."""
        return self.killed + len(self.survivors)


@dataclass(frozen=True)
class Session:
    """A module's session on disk."""

    judge: Judge
    folder: Path

    @property
    def database(self) -> Path:
        """cosmic-ray's own; its tools (`cr-report`, `cr-html`) read it."""
        return self.folder / f"{self.judge.path.replace('/', '.')}.sqlite"

    @property
    def config(self) -> Path:
        """cosmic-ray's configuration."""
        return self.database.with_suffix(".toml")

    def prepare(self, *, fresh: bool = False, survivors: bool = False) -> None:
        """Begin it, or leave it as it is where neither module, tests nor operators have changed.

        Args:
            fresh: begin it anyway.
            survivors: keep what was killed by older tests, and test only the survivors again.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        key_file, key = self.database.with_suffix(".key"), self._key()
        known = json.loads(key_file.read_text()) if key_file.exists() and self.database.exists() else {}
        if not fresh and survivors and known.get("module") == key["module"]:
            self._forget(lambda result: result.test_outcome == TestOutcome.SURVIVED)
        elif fresh or known != key:
            self.database.unlink(missing_ok=True)
            self._begin()
        self._forget(lambda result: not _tested(result))
        key_file.write_text(json.dumps(key))

    def configure(self, command: str, timeout_s: float) -> None:
        """Say how the tests are run."""
        lines = [
            "[cosmic-ray]", f'module-path = "{self.judge.path}"', f"timeout = {timeout_s:.1f}", "excluded-modules = []",
            f"test-command = {json.dumps(command)}", "[cosmic-ray.distributor]", 'name = "local"',
        ]  # fmt: skip
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def progress(self) -> tuple[int, int]:
        """Mutants with a result, those that are left out among them, and all."""
        with use_db(self.database, WorkDB.Mode.open) as db:
            return db.num_results, db.num_work_items

    def tally(self) -> Tally:
        """What became of its mutants."""
        killed, survivors, broken, skipped = 0, [], [], Counter[str]()
        places = Places(self.judge.source, self.judge.wording)
        with use_db(self.database, WorkDB.Mode.open) as db:
            n = db.num_work_items
            for item, result in db.completed_work_items:
                mutation = item.mutations[0]
                if why := places.why_not(mutation.operator_name, mutation.start_pos, mutation.end_pos):
                    skipped[why] += 1
                elif not _tested(result):
                    broken.append(f"{self.judge.path}:{mutation.start_pos[0]} {mutation.operator_name}")
                elif result.test_outcome == TestOutcome.SURVIVED:
                    survivors.append(name_of(self.judge.path, mutation, result.diff or ""))
                else:
                    killed += 1
        return Tally(n - sum(skipped.values()), killed, tuple(sorted(survivors)), tuple(broken), skipped)

    def _key(self) -> dict[str, str]:
        """Of the mutants themselves, and of the tests."""
        module = [self.judge.source.encode(), str(OPERATORS).encode()]
        tests = [(ROOT / file).read_bytes() for file in self.judge.files]
        return {"module": _digest(module), "tests": _digest([*tests, str(self.judge.tests).encode()])}

    def _begin(self) -> None:
        places = Places(self.judge.source, self.judge.wording)
        with use_db(self.database, WorkDB.Mode.create) as db:
            cosmic_ray.commands.init([Path(self.judge.path)], db, {})
            for item in db.work_items:
                mutation = item.mutations[0]
                if why := places.why_not(mutation.operator_name, mutation.start_pos, mutation.end_pos):
                    db.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED, output=why))

    def _forget(self, which: Callable[[WorkResult], bool]) -> None:
        with use_db(self.database, WorkDB.Mode.open) as db:
            ids = [id_ for id_, result in db.results if which(result)]
            with db._session_maker.begin() as session:
                for first in range(0, len(ids), 500):
                    chosen = WorkResultStorage.job_id.in_(ids[first : first + 500])
                    session.query(WorkResultStorage).where(chosen).delete()


def _tested(result: WorkResult) -> bool:
    """Whether the tests really ran, or the mutant was left out: a client that reached no server kills nothing."""
    if result.worker_outcome == WorkerOutcome.SKIPPED:
        return True
    return result.worker_outcome == WorkerOutcome.NORMAL and (result.output or "").startswith(ANSWERED)


def _digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
