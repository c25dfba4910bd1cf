"""How fast, in how much memory and how exactly sequences are scored, held against lm-eval and a loop over transformers.

    python -m bench.scoring                 # three to four minutes on two quiet cores, 10 GB of memory for lm-eval

A random model with the field's vocabulary, hidden size 256, 8 layers, float32. Read work has its loss on a caption
after media, write work on media after a caption. Everything is measured in turn, several times over, so that whatever
else runs on the machine slows all alike; medians count. The floor is the time that the operations counted from the
shapes would take at the rate of a plain matrix product, measured before and after each of our runs.
"""

import argparse
import functools
import logging
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from harness.lanes import Run, in_turn, lanes
from harness.scores import ScoreItem
from harness.scoring import score
from harness.vocabulary import Part

TEXT, TOTAL, CODES_START = 151_669, 164_021, 151_733  # the field's sizes
HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 256, 8, 4, 2, 64, 1_024
PARTS = (Part("TEXT", 0, TEXT), Part("SPECIAL", TEXT, CODES_START), Part("CODES", CODES_START, TOTAL, allowed=True))
LM_EVAL_BATCHES = (1, 4, 16)
PRODUCT = 1_024  # rows and columns of the matrix product that the floor is counted in, HIDDEN deep
PRODUCTS = 48  # a quarter of a second


@dataclass(frozen=True)
class Kind:
    """Sequences of one kind; bounds are inclusive, in tokens."""

    name: str
    n: int
    before: tuple[int, int]
    labels: tuple[int, int]

    def items(self, n: int | None = None) -> list[ScoreItem]:
        """The same sequences at every call."""
        rng = np.random.default_rng(0)
        sizes = [(rng.integers(*self.before, endpoint=True), rng.integers(*self.labels, endpoint=True))
                 for _ in range(n or self.n)]  # fmt: skip
        return [ScoreItem(rng.integers(0, TOTAL, size=a + b), slice(int(a), int(a + b))) for a, b in sizes]


KINDS = (
    Kind("read, 8-24 labels", 16, (200, 420), (8, 24)),
    Kind("write, 33 labels", 48, (8, 24), (33, 33)),
    Kind("write, 200-420 labels", 16, (8, 24), (200, 420)),
)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2, help="times that everything is measured (default: 2)")
    parser.add_argument("--batch-tokens", type=int, default=8_192, help="ours (default: 8192)")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # lm-eval's, at being given a model
    model = field_model()
    print(f"vocabulary {TOTAL:,}, hidden {HIDDEN}, {LAYERS} layers, float32, {torch.get_num_threads()} threads")
    print(f"{'':24}{'ours':>9}{'lm-eval':>16}{'loop of one':>14}{'share of floor':>17}{'largest difference':>20}")
    with tqdm(total=len(KINDS) * args.repeats, unit="round", leave=False) as bar:
        for kind in KINDS:
            row = _measure(model, kind, args.repeats, args.batch_tokens, bar)
            tqdm.write(row)
    for batch_tokens in sorted({args.batch_tokens, 65_536}):
        peaks = [_peak_mb(kind, batch_tokens) for kind in KINDS]
        print(f"peak above the weights at --batch-tokens {batch_tokens}: {max(peaks):.0f} MB")


def _measure(model: Any, kind: Kind, repeats: int, batch_tokens: int, bar: Any) -> str:
    items = kind.items()
    theirs: dict[str, Callable[[], np.ndarray]] = {"loop": lambda: _loop_of_one(model, items)}
    for size in LM_EVAL_BATCHES:
        theirs[f"lm-eval at {size}"] = functools.partial(_lm_eval_losses, _lm_eval(model, size), items)
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *theirs)}
    shares: list[float] = []
    largest = 0.0
    score(model, items, parts=PARTS, batch_tokens=batch_tokens)  # warm
    for _ in range(repeats):
        for name, work in theirs.items():
            before = _products_per_second()
            took, ours = _timed(lambda: score(model, items, parts=PARTS, batch_tokens=batch_tokens).nll)
            rate = (before + _products_per_second()) / 2
            seconds["ours"].append(took)
            shares.append(_operations(model, items) / rate / took)
            took, other = _timed(work)
            seconds[name].append(took)
            largest = max(largest, float(np.abs(ours - other).max()))
        bar.update()
    median = {name: statistics.median(values) for name, values in seconds.items()}
    best = min((name for name in median if name.startswith("lm-eval")), key=lambda name: median[name])
    times = {name: f"{median[name] / median['ours']:.1f}x" for name in (best, "loop")}
    return (
        f"{kind.name:24}{median['ours']:7.2f} s{times[best]:>7} ({best.split()[-1]:>2} a batch){times['loop']:>9}"
        f"{statistics.median(shares):13.0%} ({min(shares):.0%}-{max(shares):.0%}){largest:12.1e} nats"
    )


# ---------------------------------------------------------------------- the two others


def _loop_of_one(model: Any, items: list[ScoreItem]) -> np.ndarray:
    losses = []
    with torch.inference_mode():
        for item in items:
            labels = np.full(len(item.ids), -100)
            labels[item.target] = item.ids[item.target]
            loss = model(input_ids=torch.from_numpy(item.ids)[None], labels=torch.from_numpy(labels)[None]).loss
            losses.append(float(loss))
    return np.array(losses)


def _lm_eval(model: Any, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="a", pad_token="a")
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


def _lm_eval_losses(lm: Any, items: list[ScoreItem]) -> np.ndarray:
    requests = [
        ((None, None), item.ids[: item.target.start].tolist(), item.ids[item.target].tolist()) for item in items
    ]
    answers = lm._loglikelihood_tokens(requests, disable_tqdm=True)
    return np.array([-log / len(labels) for (log, _), (_, _, labels) in zip(answers, requests, strict=True)])


# ---------------------------------------------------------------------- the floor


def _operations(model: Any, items: list[ScoreItem]) -> float:
    """Floating point operations that no way to compute the same goes without: two for a multiplication with its sum."""
    weights = sum(weight.numel() for weight in model.model.layers.parameters() if weight.ndim == 2)
    read = np.array([item.target.stop - 1 for item in items], dtype=float)
    labels = sum(item.target.stop - item.target.start for item in items)
    # Scores and values, below the diagonal alone.
    attention = 2 * 2 * LAYERS * HEADS * HEAD_DIM * (read**2).sum() / 2
    return float(2 * weights * read.sum() + attention + 2 * HIDDEN * TOTAL * labels)


def _products_per_second() -> float:
    """Operations a second of plain matrix products: threads inside one, or one for each thread, whichever is faster."""
    together = _rate(in_turn)
    with lanes(torch.device("cpu")) as run:
        return max(together, _rate(run))


def _rate(run: Run) -> float:
    left, right = torch.ones(PRODUCT, HIDDEN), torch.ones(HIDDEN, PRODUCT)
    outs = [torch.empty(PRODUCT, PRODUCT) for _ in range(PRODUCTS)]
    start = time.perf_counter()
    run(lambda out: torch.mm(left, right, out=out), outs)
    return PRODUCTS * 2 * PRODUCT * PRODUCT * HIDDEN / (time.perf_counter() - start)


# ---------------------------------------------------------------------- time and memory


def _timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _peak_mb(kind: Kind, batch_tokens: int) -> float:
    """Memory that scoring takes above the model, in a process of its own; enough sequences to fill several batches."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_peak_in_child, args=(kind, batch_tokens, theirs))
    child.start()
    peak: float = ours.recv()
    child.join()
    return peak


def _peak_in_child(kind: Kind, batch_tokens: int, pipe: Any) -> None:
    model, items = field_model(), kind.items(3 * kind.n)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _memory_mb("VmRSS")
    score(model, items, parts=PARTS, batch_tokens=batch_tokens)
    pipe.send(_memory_mb("VmHWM") - before)


def _memory_mb(which: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which)]
    return int(line.split()[1]) / 1024


def field_model() -> Any:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=TOTAL, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, intermediate_size=INTERMEDIATE, tie_word_embeddings=False,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


if __name__ == "__main__":
    main()
