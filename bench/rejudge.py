"""How long a gate run takes cold, and judging again under other thresholds, warm: where the seconds go.

    python -m bench.rejudge runs/demo/stage4/checkpoint_600 [--stage stage4] [--gates test_p04,test_p12]

Each run is a process of its own, as a user starts it. CPU seconds stand beside the wall's, since the machine may be
shared; of the warm runs the one with the shortest wall counts, because whatever else runs only adds time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import gates

HERE = Path(gates.__file__).parent
CHANGED = "recommended_ablation_examples = 64\n"  # a threshold of both stages


class Clock:
    """A pytest plugin that notes when each phase ends: wall and CPU seconds since the process began."""

    def __init__(self, began: float) -> None:
        self.began, self.marks = began, [("interpreter and pytest", *self._now(began))]

    @staticmethod
    def _now(began: float) -> tuple[float, float]:
        return time.time() - began, time.process_time()

    def _mark(self, name: str) -> None:
        self.marks.append((name, *self._now(self.began)))

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Plugins, options, and the import of the gates are done."""
        self._mark("plugins, gates and harness")

    def pytest_collection_finish(self) -> None:
        """All gates are known."""
        self._mark("collection")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A gate is judged."""
        self._mark(nodeid.split("/")[-1].split("::")[0].removesuffix(".py"))

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self) -> Any:
        """The verdict and the report are written."""
        result = yield
        self._mark("digests, verdict, report")
        return result


def main() -> None:
    """Measure and print; or, with --child, be one of the runs that are measured."""
    if sys.argv[1:2] == ["--child"]:
        _child(float(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path)
    parser.add_argument("--stage", default="stage4", choices=("stage3", "stage4"))
    parser.add_argument("--gates", default="", help="beginnings of gate files, comma-separated (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="warm runs (default: 5)")
    args = parser.parse_args()
    wanted = tuple(args.gates.split(","))
    files = [str(file) for file in sorted((HERE / args.stage).glob("test_*.py")) if file.name.startswith(wanted)]
    with tempfile.TemporaryDirectory(prefix="bench-rejudge-") as name:
        options = [*files, f"--ckpt={args.ckpt}", f"--out={Path(name, 'out')}"]
        cold = _run(options)
        thresholds = Path(name, "other.toml")
        thresholds.write_text(CHANGED)
        warm = [_run([*options, f"--thresholds={thresholds}"]) for _ in range(args.repeats)]
    _print(cold, min(warm, key=lambda run: run["marks"][-1][1]))


def _child(began: float, options: list[str]) -> None:
    clock = Clock(began)
    pytest.main([*options, "-q", "-p", "no:cacheprovider"], plugins=[clock])
    out = Path(next(option for option in options if option.startswith("--out=")).removeprefix("--out="))
    used = json.loads((out / "verdict.json").read_text())["run"]["evidence"]
    print(json.dumps({"marks": clock.marks, "evidence": used, "torch": "torch" in sys.modules}))


def _run(options: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.rejudge", "--child", str(time.time()), *options]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _print(cold: dict[str, Any], warm: dict[str, Any]) -> None:
    print(f"{'':<32}{'cold: wall':>12}{'CPU':>8}{'warm: wall':>14}{'CPU':>8}   seconds")
    before = {"cold": (0.0, 0.0), "warm": (0.0, 0.0)}
    for (name, *of_cold), (_, *of_warm) in zip(cold["marks"], warm["marks"], strict=True):
        c = [now - then for now, then in zip(of_cold, before["cold"], strict=True)]
        w = [now - then for now, then in zip(of_warm, before["warm"], strict=True)]
        before = {"cold": tuple(of_cold), "warm": tuple(of_warm)}
        print(f"{name:<32}{c[0]:>12.2f}{c[1]:>8.2f}{w[0]:>14.2f}{w[1]:>8.2f}")
    (_, *c), (_, *w) = cold["marks"][-1], warm["marks"][-1]
    print(f"{'in all':<32}{c[0]:>12.2f}{c[1]:>8.2f}{w[0]:>14.2f}{w[1]:>8.2f}")
    for name, run in (("cold", cold), ("warm", warm)):
        imported = "with" if run["torch"] else "without"
        print(f"{name}: {run['evidence']['measured']} measured, {run['evidence']['reused']} reused, {imported} torch")


if __name__ == "__main__":
    main()
