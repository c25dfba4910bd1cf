"""`make mutants`: mutate every judge, run its tests, and say which mutants no test notices.

Ends with 1 where fewer than 85 % were killed, or one could not be tested; names survivors that have no reason.
"""

import argparse
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.mutants.operators import register
from tests.mutants.page import complaints, failures, table, write_page
from tests.mutants.plan import ROOT, TARGET_PCT, Judge, read_plan
from tests.mutants.reasons import read_reasons
from tests.mutants.sessions import Session
from tests.mutants.tree import Tree, copy_tree, environment

SESSIONS = ROOT / ".cache" / "mutants"
EVERY_S = 20.0
_NICE = 1


def main() -> int:
    """The command."""
    asked = _arguments()
    register()
    plan = read_plan()
    chosen = [judge for judge in plan.judges if not asked.modules or any(each in judge.path for each in asked.modules)]
    sessions = [Session(judge, SESSIONS) for judge in chosen]
    if not asked.report:
        for session in sessions:
            session.prepare(fresh=asked.fresh, survivors=asked.survivors)
        try:
            run(sessions, asked.workers)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", flush=True)
            os._exit(130)  # without waiting for threads whose copies are gone
    tallies = {session.judge.path: session.tally() for session in sessions if session.database.exists()}
    reasons = read_reasons()
    print(table(tallies))
    if len(tallies) == len(plan.judges):
        write_page(plan, tallies, reasons)
    wrong = failures(tallies, TARGET_PCT)
    print("\n".join([*complaints(tallies, reasons), *wrong]))
    return 1 if wrong else 0


def run(sessions: list[Session], n_workers: int) -> None:
    """Test all mutants that have no result yet, on so many copies of the tree."""
    os.nice(_NICE)
    waiting: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for session in sorted(sessions, key=_pending, reverse=True):
        if _pending(session):
            waiting.put(session)
    if waiting.empty():
        return
    tests = sorted({file for session in sessions for file in session.judge.files})
    # Here and not in the threads: an interruption ends them as they are, and the copies are to go all the same.
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        folders = [Path(folder, str(number)) for number in range(n_workers)]
        workers = [threading.Thread(target=_work, args=(waiting, each, tests), daemon=True) for each in folders]
        for worker in workers:
            worker.start()
        _watch(workers, sessions)


def _watch(workers: list[threading.Thread], sessions: list[Session]) -> None:
    begun = time.monotonic()
    while alive := [worker for worker in workers if worker.is_alive()]:
        alive[0].join(EVERY_S)
        done, of = (sum(each) for each in zip(*(session.progress() for session in sessions), strict=True))
        print(f"{done:,} of {of:,} mutants, {time.monotonic() - begun:,.0f} s", flush=True)


def _work(waiting: "queue.SimpleQueue[Session]", folder: Path, tests: list[str]) -> None:
    folder.mkdir()
    tree = copy_tree(folder, tests)
    try:
        while True:
            _exec(tree, waiting.get_nowait())
    except queue.Empty:
        return
    finally:
        tree.close()


def _exec(tree: Tree, session: Session) -> None:
    judge: Judge = session.judge
    code, said, seconds = tree.run(judge.tests)
    if code != 0:
        print(f"{judge.path}: its tests fail without any mutation:\n{said[-3000:]}", flush=True)
        return
    limit = 5 + 5 * seconds
    session.configure(tree.command(judge.tests, limit), limit + 30)
    command = [sys.executable, "-m", "tests.mutants.cosmic", "exec", str(session.config), str(session.database)]
    subprocess.run(command, cwd=tree.root, env=environment(tree.root), check=False)
    tally = session.tally()
    print(f"{judge.path}: {tally.killed} of {tally.n} killed; its tests take {seconds:.1f} s", flush=True)


def _pending(session: Session) -> int:
    done, of = session.progress()
    return of - done


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="only modules whose path holds one of these; no page is written")
    parser.add_argument(
        "--workers", type=int, default=2, help="copies of the tree that are tested at once (default: 2)"
    )
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    parser.add_argument("--survivors", action="store_true", help="test only the survivors of the last run again")
    parser.add_argument("--report", action="store_true", help="test nothing; say what is known")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
