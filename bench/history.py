"""How long `gates history` takes over many verdicts, from the command to the page on disk.

    python -m bench.history [--verdicts 1000] [--like VERDICT.json]

The verdicts are generated: 20 runs of 50 steps, with the figures of a stage 4 run and with per-example losses and
tables of the size that real ones have (400 kB each); `--like` copies a real one instead, step by step. Said beside it:
the seconds that only reading the same bytes takes, and those of the parts, measured in this process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from reports.history import write_history
from reports.verdicts import find_verdicts

RUNS = 20
FILLING = 400_000  # bytes of details
TASKS, MEDIA_TASKS = ("t2a", "t2i"), ("a2t", "i2t")


def main() -> None:
    """Generate, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=1_000)
    parser.add_argument("--like", type=Path, help="a verdict.json to copy")
    args = parser.parse_args()
    like = json.loads(args.like.read_bytes()) if args.like else None
    with tempfile.TemporaryDirectory() as folder:
        write_verdicts(Path(folder), args.verdicts, like)
        _report(Path(folder), args.verdicts)


def write_verdicts(folder: Path, count: int, like: dict[str, Any] | None = None) -> None:
    """Verdicts of a few runs, step by step; the same every time."""
    rng = np.random.default_rng(0)
    filling = json.dumps(rng.normal(4, 1, FILLING // 20).tolist())
    for index in range(count):
        run, place = index % RUNS, index // RUNS
        verdict = dict(like) if like else _verdict(rng, place)
        step = 100 * (place + 1)
        verdict["checkpoint"] = {"path": f"runs/trial_{run}/checkpoint_{step}", "step": step, "sha256": f"{index:064x}"}
        text = json.dumps(verdict)
        out = folder / f"trial_{run}" / f"checkpoint_{step}"
        out.mkdir(parents=True)
        (out / "verdict.json").write_text(text if like else text.replace('"FILLING"', filling))
        (out / "report.html").touch()


def _verdict(rng: np.random.Generator, place: int) -> dict[str, Any]:
    progress = 1 - 0.5 ** (place / 10)
    figures = [_figure(name, unit, value, rng) for name, unit, value in _names(progress)]
    gates = [
        {"id": f"P{priority}.{index}", "name": f"gate {index}", "priority": f"P{priority}", "outcome": "pass",
         "claim": "It does.", "measurements": figures if (priority, index) == (0, 4) else [], "advice": [],
         "details": {"pairs": "FILLING"} if (priority, index) == (0, 4) else {}, "duration_s": 1.0}
        for priority, count in ((0, 7), (1, 5))
        for index in range(count)
    ]  # fmt: skip
    return {
        "format": "gate-verdict/1", "stage": "stage4", "verdict": "PROMOTE", "gates": gates,
        "inputs": {name: {"path": f"data/{name}", "sha256": "ab" * 32} for name in ("golden", "dev", "shards")},
        "token_space_sha256": "cd" * 32, "next_step": "Go on.", "thresholds": {"path": None, "changed": {}},
        "run": {"command": "pytest", "seed": 0, "device": "cpu", "dtype": "float32", "versions": {},
                "started": f"2026-11-{1 + place % 28:02d}T12:00:00+00:00", "duration_s": 60.0},
    }  # fmt: skip


def _names(progress: float) -> list[tuple[str, str, float]]:
    found = [(f"{task}.end_tag_pct", "%", 100 * progress) for task in TASKS]
    for task, names in ((TASKS, ("shuffled", "empty", "reordered", "nearest")),
                        (MEDIA_TASKS, ("shuffled", "swapped", "noise", "constant"))):  # fmt: skip
        for each in task:
            found += [(f"{each}.win_rate_{name}", "share", 0.5 + 0.5 * progress) for name in names]
            found += [(f"{each}.delta_{name}", "nats/token", 2 * progress) for name in names]
    found += [(f"{task}.out_of_range_pct (free)", "%", 10 * (1 - progress)) for task in TASKS]
    found += [("text_perplexity_change", "%", progress)]
    return found + [(f"figure_{index}", "rows", 0.0) for index in range(120)]


def _figure(name: str, unit: str, value: float, rng: np.random.Generator) -> dict[str, Any]:
    value = value * float(rng.uniform(0.97, 1.0))
    return {"name": name, "value": value, "unit": unit, "n": 288, "low": value * 0.95, "high": value * 1.02,
            "threshold": 0.1, "op": ">=", "source": "spec", "confidence": "proven"}  # fmt: skip


def _report(folder: Path, count: int) -> None:
    began = time.perf_counter()
    n_bytes = sum(len(path.read_bytes()) for path in folder.rglob("verdict.json"))
    reading = time.perf_counter() - began
    began = time.perf_counter()
    found = find_verdicts(folder)
    finding = time.perf_counter() - began
    write_history(found, folder / "index.html")
    writing = time.perf_counter() - began - finding
    began = time.perf_counter()
    command = [sys.executable, "-c", "from gates.cli import main; main()", "history", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - began
    size = (folder / "index.html").stat().st_size
    print(f"{count} verdicts, {n_bytes / 1e6:.0f} MB: bytes alone {reading:.2f} s")
    print(f"find and decode {finding:.2f} s, page {writing:.2f} s ({size / 1e6:.2f} MB)")
    print(f"gates history, whole process: {whole:.2f} s")


if __name__ == "__main__":
    main()
