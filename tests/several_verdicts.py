"""Verdicts for the tests of what spans several: plain ones, and ones whose every text is hostile."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from harness.results import CheckpointId, GateResult, InputId, Measurement, RunInfo, ThresholdsUsed, Verdict
from harness.results import write_verdict as write

SCRIPT = "<script>alert(1)</script>"
# Everything that UTF-8 can hold; half a surrogate pair it cannot, which tests write as an escape.
HOSTILE = f"{SCRIPT} \"'> ]]> {{{{ 7 }}}} \x00\x1b[31m\x7f \u202eevil\u2066 ::error::x\n::warning::y"


def figure(name: str, value: float | None, **more: Any) -> Measurement:
    return Measurement(**{"name": name, "value": value, "unit": "share", "n": 256, **more})


def win_rate(value: float, name: str = "t2a.win_rate_shuffled", **more: Any) -> Measurement:
    return figure(name, value, **{"low": value - 0.05, "high": value + 0.04, "threshold": 0.7, "op": ">=", **more})


def gate(id: str = "P0.4", outcome: str = "pass", *measurements: Measurement, **more: Any) -> GateResult:
    return GateResult(
        **{"id": id, "name": "prompt_ablation", "priority": id[:2] if id[0] == "P" else "P0", "outcome": outcome,
           "claim": "It listens.", "measurements": measurements, **more}
    )  # fmt: skip


def verdict(*gates: GateResult, step: int | None = 200, run: str = "runs/trial", **more: Any) -> Verdict:
    info = {"command": "pytest", "seed": 0, "device": "cpu", "dtype": "float32", "versions": {},
            "started": "2026-11-02T20:41:00+00:00", "duration_s": 4.0}  # fmt: skip
    info |= {key: more.pop(key) for key in list(more) if key in info}
    rests_on = {name: InputId(path=f"data/{name}", sha256=f"{name} digest") for name in ("golden", "dev")}
    return Verdict(
        **{
            "stage": "stage4", "verdict": "PROMOTE", "inputs": rests_on, "token_space_sha256": "ef56" * 16,
            "checkpoint": CheckpointId(path=f"{run}/checkpoint_{step}", step=step, sha256="ab12" * 16),
            "gates": gates or (gate("P0.4", "pass", win_rate(0.9)),), "next_step": "Go on.",
            "thresholds": ThresholdsUsed(), "run": RunInfo(**info), **more,
        }
    )  # fmt: skip


def put(folder: Path, name: str, written: Verdict, *, report: bool = True) -> Path:
    """Write a verdict as a run does; the path of its file."""
    path = folder / name / "verdict.json"
    write(path, written)
    if report:
        path.with_name("report.html").write_text("<!doctype html>")
    return path


def losses(rng: np.random.Generator, n: int = 256, gap: float = 0.5) -> dict[str, list[float]]:
    """Per-example losses as `gates.ablation.keep_losses` keeps them."""
    correct = rng.normal(4, 0.5, n)
    return {"correct": correct.tolist(), "ablated": (correct + rng.normal(gap, 0.2, n)).tolist()}


def hostile_verdict() -> Verdict:
    """Every text is hostile, and one is a megabyte."""
    long = HOSTILE + "x" * 1_000_000
    pairs = {f"t2a: {HOSTILE} prompt": {"correct": [1.0], "ablated": [2.0]}, "t2a: shuffled prompt": HOSTILE}
    measures = (win_rate(0.9, name=f"t2a.win_rate_{SCRIPT}"), win_rate(0.9, unit=HOSTILE),
                figure(long, 0.1, op=">=", threshold=0.2))  # fmt: skip
    bad = gate(f"P0.{HOSTILE}", "fail", *measures, name=long, details={"pairs": pairs, "reason": HOSTILE})
    return verdict(
        bad, verdict="REJECT", started=HOSTILE, device=HOSTILE, run=f"runs/{HOSTILE}/{long}",
        token_space_sha256=HOSTILE, inputs={"golden": InputId(path=HOSTILE, sha256=HOSTILE)},
        thresholds=ThresholdsUsed(changed={HOSTILE: {"spec": 1, "used": HOSTILE}}),
    )  # fmt: skip


class Elements(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.found if "id" in attributes]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]
