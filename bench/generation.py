"""How fast media ids are written, and whether they are the same, held against `model.generate` of transformers.

    python -m bench.generation              # four minutes on two quiet cores

A random model with the field's vocabulary, hidden size 256, 8 layers, float32; 16 prompts of mixed length, 200 new ids
each. Constrained, ours is held against `model.generate` with our LogitsProcessor, free against plain `model.generate`.
Everything is measured in turn, several times over, so that whatever else runs on the machine slows all alike; medians
count, and need a machine with nothing else on it: small products by several threads wait for the slowest of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bench.scoring import CODES_START, TEXT, TOTAL, field_model
from harness.bundle import Decoding
from harness.generation import MARGIN_IDS, Prompt, generate
from harness.logits_processor import ModalityLogitsProcessor
from harness.sampling import Sampling
from harness.token_space import ROLES, Modality, TokenSpace, parse_token_space

BATCH, PROMPT_IDS = 16, (8, 24)
IMAGE_CODES, CODEBOOK, CODEBOOKS = 8_192, 1_024, 4
MODALITIES: tuple[Modality, ...] = ("audio", "image")
MODES: tuple[Decoding, ...] = ("constrained", "free")


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="times that everything is measured (default: 3)")
    parser.add_argument("--new", type=int, default=200, help="ids to write for each prompt (default: 200)")
    args = parser.parse_args()
    model, space = field_model(), _space()
    print(f"vocabulary {TOTAL:,}, {BATCH} prompts of {PROMPT_IDS[0]} to {PROMPT_IDS[1]} ids, {args.new} new ids each, "
          f"float32, {torch.get_num_threads()} threads")  # fmt: skip
    print(f"{'':20}{'ours':>9}{'generate':>11}{'ratio':>9}{'(of each round)':>20}   same greedy ids")
    with tqdm(total=len(MODALITIES) * len(MODES) * args.repeats, unit="round", leave=False) as bar:
        for modality in MODALITIES:
            for mode in MODES:
                tqdm.write(_measure(model, space, modality, mode, args.new, args.repeats, bar))


def _measure(
    model: Any, space: TokenSpace, modality: Modality, mode: Decoding, new: int, repeats: int, bar: Any
) -> str:
    # Free, ours goes on for a margin beyond the expected ids: it is asked for so many fewer.
    prompts = _prompts(space, modality, new - (MARGIN_IDS if mode == "free" else 0))
    pairs = []
    for _ in range(repeats):
        ours = _timed(lambda: _ours(model, space, modality, mode, prompts))
        theirs = _timed(lambda: _theirs(model, space, modality, mode, prompts, new))
        pairs.append((ours[0], theirs[0]))
        bar.update()
    same = sum(np.array_equal(a[:new], b[:new]) for a, b in zip(ours[1], theirs[1], strict=True))
    ratios = [b / a for a, b in pairs]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    rounds = " ".join(f"{ratio:.1f}x" for ratio in ratios)
    return (f"{modality + ', ' + mode:20}{medians[0]:7.2f} s{medians[1]:9.2f} s{statistics.median(ratios):8.1f}x"
            f"{rounds:>20}   {same} of {len(prompts)}")  # fmt: skip


def _ours(model: Any, space: TokenSpace, modality: Modality, mode: Decoding, prompts: list[Prompt]) -> list[np.ndarray]:
    return generate(model, prompts, modality, space, decoding=mode, sampling=Sampling(), batch_tokens=BATCH * 1024)


@torch.inference_mode()
def _theirs(
    model: Any, space: TokenSpace, modality: Modality, mode: Decoding, prompts: list[Prompt], new: int
) -> list[np.ndarray]:
    width = max(len(prompt.ids) for prompt in prompts)
    ids, mask = torch.zeros((2, len(prompts), width), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :], mask[row, width - len(prompt.ids) :] = torch.from_numpy(prompt.ids), 1
    constrained = mode == "constrained"
    processors = [ModalityLogitsProcessor(space, modality, width, [p.expected for p in prompts])] if constrained else []
    end = space.end_id(modality)
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=new, do_sample=False, eos_token_id=end, pad_token_id=end,
        logits_processor=processors,
    )  # fmt: skip
    return [row[width:].numpy() for row in out]


def _prompts(space: TokenSpace, modality: Modality, expected: int) -> list[Prompt]:
    rng = np.random.default_rng(0)
    start = space.special("aud_start" if modality == "audio" else "img_start")
    lengths = rng.integers(*PROMPT_IDS, size=BATCH, endpoint=True)
    return [Prompt(np.append(rng.integers(0, TEXT, size=n - 1), start), expected, i) for i, n in enumerate(lengths)]


def _space() -> TokenSpace:
    """The field's layout."""
    sizes = {"TEXT": TEXT, "SPECIAL": CODES_START - TEXT, "IMAGE": IMAGE_CODES}
    sizes |= {f"AUDIO_CB{k}": CODEBOOK for k in range(CODEBOOKS)}
    starts = np.cumsum([0, *sizes.values()]).tolist()
    return parse_token_space({
        "version": "uti_v1", "created_utc": "", "base_text_model": "random", "text_vocab_size": TEXT,
        "special_tokens": {f"<|{role}|>": TEXT + i for i, role in enumerate(ROLES)},
        "ranges": {
            name: {"start": start, "end": start + size - 1, "size": size}
            for (name, size), start in zip(sizes.items(), starts[:-1], strict=True)
        },
        "image_tokenizer": {}, "audio_codec": {}, "vocab_size_total": starts[-1],
    })  # fmt: skip


def _timed(work: Callable[[], list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
