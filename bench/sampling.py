"""How fast, and in how much memory, a training file is sampled: `gates sample` against the spec's own script.

    python -m bench.sampling [--rows 256408] [--repeats 5]

The file is written into a temporary folder: rows of 2 to 8 kB with the spec's mixture, 1.3 GB of them by default.
Both are processes of their own, as a user starts them, in turn and with the file in the page cache; both write tier B.
CPU seconds stand beside the wall's, since the machine may be shared. Memory is what all processes of one have resident
at the same time, asked for every 10 ms.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from tqdm import tqdm

from training.sampling.plan import PRESETS

TIER = "B"
MIN_BYTES, MAX_BYTES = 2_000, 8_000
BYTES_OF_TWO_IDS = 14.5  # an input id of six digits and a label, mostly -100, with their commas
POLL_S = 0.01

# The script of the spec's page on iterating stage 3, section 5; only its paths are arguments here.
SPEC = """
import json, random, sys
from collections import defaultdict

IN_PATH, OUT_PATH, SEED = sys.argv[1], sys.argv[2], 123
targets = {"wavcaps_audioset": 3162, "audiocaps": 1245, "clotho": 623, "llava_pretrain": 3162}
rng = random.Random(SEED)
seen = defaultdict(int)
reservoir = {k: [] for k in targets}

with open(IN_PATH, "r", encoding="utf-8") as f:
    for line in f:
        ex = json.loads(line)
        src = ex.get("source")
        if src not in targets:
            continue
        seen[src] += 1
        buf = reservoir[src]
        k = targets[src]

        if len(buf) < k:
            buf.append(line)
        else:
            j = rng.randrange(seen[src])
            if j < k:
                buf[j] = line

all_lines = []
for src, buf in reservoir.items():
    if len(buf) != targets[src]:
        raise RuntimeError(f"Source {src}: got {len(buf)} / {targets[src]}")
    all_lines.extend(buf)
rng.shuffle(all_lines)

with open(OUT_PATH, "w", encoding="utf-8") as out:
    for line in all_lines:
        out.write(line)
"""


def main() -> None:
    """Write, run both in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=256_408, help="rows of the file (default: the spec's 256408)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, in turn (default: 5)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-sampling-") as name:
        folder = Path(name)
        train, script = folder / "train.jsonl", folder / "sample_stage3.py"
        script.write_text(SPEC)
        _write(train, args.rows)
        commands = {
            "the spec's script": [sys.executable, str(script), str(train), str(folder / "spec.jsonl")],
            "gates sample": [
                sys.executable, "-c", "from gates.cli import main; main()",
                "sample", str(train), str(folder / "gates.jsonl"), "--tier", TIER,
            ],
        }  # fmt: skip
        runs: dict[str, list[tuple[float, float]]] = {command: [] for command in commands}
        for _ in range(args.repeats):
            for command, arguments in commands.items():
                runs[command].append(_run(arguments))
        for output in ("spec", "gates"):
            assert _counts(folder / f"{output}.jsonl") == PRESETS[TIER].targets, output
        peaks = {command: _peak_mb(arguments) for command, arguments in commands.items()}
        _print(args.rows, train.stat().st_size, runs, peaks)


def _run(command: list[str]) -> tuple[float, float]:
    """Seconds, and CPU seconds of all its processes."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start, _cpu_seconds() - cpu


def _peak_mb(command: list[str]) -> float:
    """What all its processes have resident at the same time; a run of its own, since asking takes time."""
    process, peak = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 0
    while process.poll() is None:
        peak = max(peak, _resident(process))
        time.sleep(POLL_S)
    return peak / 2**20


def _cpu_seconds() -> float:
    """Of processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _resident(process: psutil.Process) -> int:
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total


def _print(n_rows: int, n_bytes: int, runs: dict[str, list[tuple[float, float]]], peaks: dict[str, float]) -> None:
    print(f"{n_rows:,} rows, {n_bytes / 1e9:.2f} GB; median of {len(next(iter(runs.values())))} runs, and peak memory")
    medians = {}
    for name, measured in runs.items():
        seconds, cpu = (statistics.median(run[i] for run in measured) for i in (0, 1))
        print(f"{name:<20}{seconds:>8.2f} s{cpu:>8.2f} s CPU{n_bytes / seconds / 1e6:>6.0f} MB/s{peaks[name]:>8.0f} MB")
        medians[name] = (seconds, cpu)
    ratios = [theirs / ours for theirs, ours in zip(*medians.values(), strict=True)]
    print("ratio {:.1f}, of CPU seconds {:.1f}".format(*ratios))


def _counts(path: Path) -> Counter[str]:
    with path.open() as file:
        return Counter(json.loads(line)["source"] for line in file)


def _write(path: Path, n_rows: int) -> None:
    rng = random.Random(0)
    sources = rng.choices(list(PRESETS["C"].targets), list(PRESETS["C"].targets.values()), k=n_rows)
    ids = [str(rng.randrange(151_669, 164_021)) for _ in range(20_000)]
    with path.open("w") as file:
        for number, source in enumerate(tqdm(sources, desc="writing the file", unit="row", mininterval=5)):
            n_ids = int(rng.uniform(MIN_BYTES, MAX_BYTES) / BYTES_OF_TWO_IDS)
            first, n_text = rng.randrange(len(ids) - n_ids), n_ids // 10
            row = ids[first : first + n_ids]
            labels = ["-100"] * (n_ids - n_text) + row[n_ids - n_text :]
            file.write(
                f'{{"id": "train-{number:06d}", "source": "{source}", "task": "a2t", "input_ids": [{", ".join(row)}], '
                f'"labels": [{", ".join(labels)}], "length": {n_ids}, "text": "a caption"}}\n'
            )


if __name__ == "__main__":
    main()
