"""`make mutants`: mutate every judge, run its tests, and say which mutants no test notices.

Ends with 1 where fewer than 85 % were killed, where one could not be tested, or where a survivor has no reason.
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
from tests.mutants.page import problems, table, write_page
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
        run(sessions, asked.workers)
    tallies = {session.judge.path: session.tally() for session in sessions if session.database.exists()}
    reasons = read_reasons()
    print(table(tallies))
    if len(chosen) == len(plan.judges):
        write_page(plan, tallies, reasons)
    wrong = problems(tallies, reasons, TARGET_PCT)
    print("\n".join(wrong))
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
    workers = [threading.Thread(target=_work, args=(waiting, tests), daemon=True) for _ in range(n_workers)]
    for worker in workers:
        worker.start()
    begun = time.monotonic()
    while any(worker.is_alive() for worker in workers):
        workers[0].join(EVERY_S) if workers[0].is_alive() else workers[-1].join(EVERY_S)
        done, of = (sum(each) for each in zip(*(session.progress() for session in sessions), strict=True))
        print(f"{done:,} of {of:,} mutants, {time.monotonic() - begun:,.0f} s", flush=True)


def _work(waiting: "queue.SimpleQueue[Session]", tests: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = copy_tree(Path(folder), tests)
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
    parser.add_argument("modules", nargs="*", help="only modules whose path holds one of these; docs are not written")
    parser.add_argument(
        "--workers", type=int, default=2, help="copies of the tree that are tested at once (default: 2)"
    )
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    parser.add_argument("--survivors", action="store_true", help="test only the survivors of the last run again")
    parser.add_argument("--report", action="store_true", help="test nothing; say what is known")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
