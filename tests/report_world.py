"""A verdict that has something to show in every section of the report, and hostile text wherever text can stand."""

import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from harness.results import (
    CheckpointId,
    Decision,
    GateResult,
    InputId,
    Measurement,
    Outcome,
    RunInfo,
    ThresholdsUsed,
    Verdict,
)

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    f"{SCRIPT} | `code` \u202eevil\u2066 \x1b[31m \x00 \"quoted\" 'single' ]]> --> </style></svg></text> "
    "[link](https://evil.example) \ud800 \u2028 @someone"
)
RATE = 24_000
SOUND_S = 0.64


def measurement(name: str, value: float | None, **more: Any) -> Measurement:
    return Measurement(**{"name": name, "value": value, "unit": "share", "n": 256, **more})


def gate(id: str = "P0.4", outcome: Outcome = "pass", **more: Any) -> GateResult:
    return GateResult(
        **{"id": id, "name": "prompt ablation", "priority": id[:2], "outcome": outcome, "claim": "It listens.", **more}
    )


def verdict(*gates: GateResult, decision: Decision = "REJECT", **more: Any) -> Verdict:
    return Verdict(
        **{
            "stage": "stage4",
            "verdict": decision,
            "checkpoint": CheckpointId(path="runs/stage4/checkpoint_2000", step=2000, sha256="ab12" * 16),
            "inputs": {"golden": InputId(path="data/golden", sha256="cd34" * 16)},
            "token_space_sha256": "ef56" * 16,
            "gates": gates,
            "next_step": "Increase the share of T2A and T2I in the mixture.",
            "thresholds": ThresholdsUsed(),
            "run": RunInfo(
                command="pytest gates/stage4 --ckpt=runs/stage4/checkpoint_2000",
                seed=0,
                device="cpu",
                dtype="float32",
                versions={"python": "3.11.2", "torch": "2.13.0"},
                started="2026-11-02T20:41:00+00:00",
                duration_s=412.3,
            ),
            **more,
        }
    )


def write_picture(path: Path, seed: int, size: int = 32) -> None:
    """A few soft shapes on a ground, as a small model might draw them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    pixels = np.ones((size, size, 3)) * rng.uniform(0.1, 0.9, 3)
    for _ in range(3):
        centre, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.3)
        inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
        pixels = np.where(inside, rng.uniform(0, 1, 3), pixels)
    pixels = pixels + rng.normal(0, 0.02, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(path)


def write_sound(path: Path, seed: int, seconds: float = SOUND_S) -> None:
    """Three plucked notes and a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(RATE * seconds)) / RATE
    wave = rng.normal(0, 0.003, len(t))
    for onset in (0.0, 0.2, 0.4):
        after = np.maximum(t - onset, 0)
        pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
        chord = sum(np.sin(2 * np.pi * pitch * k * after) / k**2 for k in (1, 2, 3, 4))
        wave += 0.25 * chord * np.exp(-8 * after) * (t >= onset)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.astype(np.float32), RATE, subtype="PCM_16")


def gallery(out: Path, n: int = 64) -> list[dict[str, Any]]:
    """`n` samples a task with real files, the fifth of each task not ok."""
    rows = []
    for task, suffix, write in (("t2i", "png", write_picture), ("t2a", "wav", write_sound)):
        for index in range(n):
            file, reference = f"generated/{task}_{index}.{suffix}", f"reference/{task}_{index}.{suffix}"
            write(out / file, index)
            write(out / reference, index + 10_000)
            ok = index != 4
            reason = None if ok else "decoded to 640 samples, 15 360 asked"
            prompt = f"a small round shape, number {index}" if task == "t2i" else f"three plucked notes, number {index}"
            rows.append({"id": f"{task}-{index:03d}", "task": task, "prompt": prompt, "file": file,
                         "reference": reference, "ok": ok, "reason": reason})  # fmt: skip
    return rows


def moved_rows() -> list[dict[str, Any]]:
    """The rows of one table, a text row among those that moved."""
    return [
        {"table": "embed", "name": "TEXT", "start": 0, "end": 767, "moved": 45, "bins": "0001990"},
        {"table": "embed", "name": "IMAGE", "start": 784, "end": 1039, "moved": 256, "bins": "9999"},
        {"table": "embed", "name": "AUDIO_CB0", "start": 1040, "end": 1295, "moved": None, "bins": ""},
        {"table": HOSTILE, "name": HOSTILE, "start": "x", "end": [], "moved": HOSTILE, "bins": HOSTILE},
    ]


def fingerprints() -> dict[str, Any]:
    """A figure with a limit that one output of three lies beyond, and one of a hostile name."""
    limits = [{"kind": "silence", "side": "low", "at": 0.004}, {"kind": HOSTILE, "side": HOSTILE, "at": 0.2}]
    return {"fingerprints": {
        "t2a": {"rms": {"limits": limits, "written": [0.001, 0.08, 0.09, None], "real": [0.07, 0.08, 0.1]},
                HOSTILE: {"limits": HOSTILE, "written": [1, 2], "real": ["x"]}},
        HOSTILE: {"rms": {"written": [3.0]}},
    }}  # fmt: skip


def training_log() -> dict[str, Any]:
    """Curves with a spike, a hole, and keys that nobody should have logged."""
    steps = list(range(0, 600, 50))
    falling = [5.6 * 0.7**i + 0.3 for i in range(12)]
    return {
        "curves": {
            "t2a_avg": {"steps": steps, "values": [*falling[:6], 9.1, *falling[7:]]},
            "grad_norm": {"steps": steps, "values": [0.5, 0.6, None, *[0.5] * 9]},
            "win_shuffle_t2a": {"steps": steps, "values": [0.5 + 0.04 * i for i in range(12)]},
            HOSTILE: {"steps": [1, 2, HOSTILE], "values": [1.0, 2.0, 3.0]},
        },
        "uniform": {"vocabulary": 7.632, "t2a": 5.545, "t2i": "x"},
        "findings": [
            {"what": "spike", "key": "t2a_avg", "step": 300, "value": 9.1, "expected": "below 2.4"},
            {"what": HOSTILE, "key": HOSTILE, "step": 1, "value": HOSTILE, "expected": HOSTILE},
            {"what": "gap", "key": "", "step": 400, "value": "nothing until 500", "expected": "a line every 50"},
        ],
    }


def rich_verdict(out: Path, n_samples: int = 5) -> Verdict:
    """Every section of the report has something to show, and every foreign string is hostile somewhere."""
    rng = np.random.default_rng(1)
    correct = rng.normal(4.4, 0.5, 256)
    ablated = correct + rng.normal(0.06, 0.12, 256)
    win = {"threshold": 0.70, "op": ">=", "source": "spec stage 4, P0.4"}
    samples = gallery(out, n_samples)
    samples.append({"id": HOSTILE, "task": "t2i", "prompt": HOSTILE, "file": "../secret.png",
                    "reference": "/etc/passwd", "ok": False, "reason": HOSTILE})  # fmt: skip
    gates = (
        gate("P0.0", name="bundle", claim="The checkpoint is whole, safe to open and finite.", measurements=(
            measurement("tensors.not_finite", 0, unit="tensors", n=212, threshold=0, op="=="),)),
        gate("P0.2", "pass", name="compliance", claim="Generation stays in the modality's own ranges.", measurements=(
            measurement("t2a.out_of_range_pct", 0.0, unit="%", n=64, low=0.0, high=5.6, threshold=0, op="=="),
            measurement("t2a.free_running_pct", 3.4, unit="%", n=64, low=2.1, high=5.0),)),
        gate("P0.3", "fail", name="decode", claim="What it writes can be heard and seen.", measurements=(
            measurement("t2i.decode_success_rate", 63 / 64, n=64, low=0.917, high=0.997, threshold=1.0, op="==",
                        confidence="refuted", source="spec stage 4, P0.3"),),
            advice=("Use constrained decoding.", "Use per-sample dynamic length."),
            details={"gallery": samples, "notes": [HOSTILE, "Length margin 8 tokens."]}),
        gate("P0.4", "fail", name="prompt ablation", claim="It listens to the prompt.", measurements=(
            measurement("t2a.win_rate_shuffled", 0.6996, low=0.64, high=0.753, confidence="borderline", **win),
            measurement("t2a.win_rate_empty", 0.91, low=0.87, high=0.94, threshold=0.8, op=">=", confidence="proven"),
            measurement("t2i.win_rate_shuffled", 0.742, low=0.685, high=0.792, confidence="borderline", **win),
            measurement("t2a.delta_empty", 0.031, unit="nats/token", low=-0.012, high=0.074, threshold=0.1, op=">=",
                        confidence="refuted"),
            measurement("t2i.delta_empty", math.nan, unit="nats/token", threshold=0.1, op=">="),),
            advice=("Ensure the ablation really tests prompt influence: caching, format.",
                    "Increase the proportion of T2A and T2I in the mix.", "Use stronger prompt text."),
            details={
                "losses": {"t2a": {"correct": 5.581, "shuffled": 5.602, "empty": 5.612},
                           "t2i": {"correct": 4.417, "shuffled": 4.9, "empty": None}},
                "pairs": {"t2a shuffled": {"correct": correct.tolist(), "ablated": ablated.tolist()},
                          HOSTILE: {"correct": [1.0, 2.0, None], "ablated": [2.0, 1.5, 3.0]}},
                "worst": [{"id": "t2a-17", "prompt": HOSTILE, "note": "ablated is better by 0.4"},
                          {"id": "t2a-3", "prompt": "a slow low melody of four notes", "note": "equal"}],
                "rank_of_prompt": {"text": HOSTILE, "figures": list(range(2000))},
                "tables": [{"title": "t2a by codebook", "note": HOSTILE,
                            "columns": ["range", "labels", "shuffled: Δ"],
                            "rows": [["AUDIO_CB0", 1728, 0.41], ["AUDIO_CB1", 1728, -0.02], [HOSTILE, 3, 0.1]]},
                           {"title": HOSTILE, "columns": [HOSTILE, "n"], "rows": [[HOSTILE, 1], ["x", None]]}],
            }, duration_s=71.2),
        gate("P0.5", "error", name="parameters", claim="Only what stage 4 may train has moved.",
             details={"reason": "base_fingerprint.json: found no file; expected one. Run `gates init`.",
                      "rows": moved_rows()}),
        gate("P1.3", "pass", name="fingerprints", claim="Outputs have not collapsed.", details=fingerprints()),
        gate("P1.5", "fail", name="dynamics", claim="The log tells a healthy run.", details=training_log()),
        gate("P1.4", "not_run", name="text", claim="Text ability is intact.", advice=("Give --text-eval FILE.",)),
    )  # fmt: skip
    return verdict(*gates, thresholds=ThresholdsUsed(
        path="mine.toml", changed={"MIN_WIN_RATE_EMPTY": {"spec": 0.8, "used": 0.75}, f"X{SCRIPT}": {"spec": HOSTILE}}
    ))  # fmt: skip


class Elements(HTMLParser):
    """Every tag with its attributes, and the text outside <style>."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]
