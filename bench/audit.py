"""How fast, and in how much memory, a checkpoint's parameters are held against its base's.

    python -m bench.audit --gigabytes 4     # writes two models into a temporary folder, measures, deletes them

Both are sharded bfloat16 models in the layout of Qwen3 with the field's vocabulary; one byte in 4 GB differs. Every
figure is a ratio to something measured in the same run on the same files, warm: to `cat`, to `sha256sum`, and to
loading both models with transformers and comparing their tensors.
"""

import argparse
import functools
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from harness.bundle import Bundle
from harness.files import file_sha256, tree_sha256, write_json
from harness.token_space import TokenSpace, parse_token_space

TEXT, TOTAL = 151_669, 164_021  # the field's sizes
HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM = 1_024, 3_072, 16, 8, 128  # those of Qwen3-0.6B
BFLOAT16_BYTES = 2
SHARD_BYTES = 2**29
CHANGED_ROW = 17
REPEATS = 3  # of which the fastest counts: whatever else runs on the machine only adds time


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of each of the two models (default: 4)")
    parser.add_argument("--no-transformers", action="store_true", help="leave the slowest comparison out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as name:
        base, ckpt = Path(name, "base"), Path(name, "checkpoint")
        layers = _n_layers(args.gigabytes * 1e9)
        with tqdm(desc="writing models", unit="B", unit_scale=True) as bar:
            _write_model(base, TEXT, layers, bar.update)
            _write_model(ckpt, TOTAL, layers, bar.update)
        _flip_one_bit(ckpt)
        _measure(base, ckpt, transformers=not args.no_transformers)


def _measure(base: Path, ckpt: Path, *, transformers: bool) -> None:
    files = sorted([*base.glob("*.safetensors"), *ckpt.glob("*.safetensors")])
    gigabytes = sum(file.stat().st_size for file in files) / 1e9
    one = max(files, key=lambda file: file.stat().st_size)
    print(f"a pair of {gigabytes:.2f} GB in {len(files)} files, {os.cpu_count()} cores; the fastest of {REPEATS}")
    cat = _fastest(lambda: _run("cat", *files))
    audit, peak_mb = _fastest_child(_audit, base, ckpt)
    print(
        f"audit: {gigabytes / audit:.2f} GB/s; cat {gigabytes / cat:.2f} GB/s: {100 * cat / audit:.0f} % of cat's rate"
    )
    print(f"audit: peak {peak_mb:.0f} MB above the interpreter and its imports")
    size = one.stat().st_size / 1e9
    theirs, ours = _fastest(lambda: _run("sha256sum", one)), _fastest(lambda: file_sha256(one))
    tree = _fastest(lambda: tree_sha256(base.parent, (".safetensors",)))
    print(
        f"hashing, one thread: {size / ours:.2f} GB/s; sha256sum {size / theirs:.2f} GB/s: {100 * theirs / ours:.0f} %"
    )
    cores = (gigabytes / tree) / (size / ours)
    print(f"hashing, a folder: {gigabytes / tree:.2f} GB/s, {cores:.2f} times one thread's on {os.cpu_count()} cores")
    fingerprint, peak_mb = _fastest_child(_fingerprint, base, ckpt)
    print(f"fingerprint of the base: {fingerprint:.2f} s, peak {peak_mb:.0f} MB above the interpreter and its imports")
    if transformers:
        loading, peak_mb = _fastest_child(_load_and_compare, base, ckpt, repeats=1)
        print(f"transformers: {loading:.2f} s, peak {peak_mb:.0f} MB; the audit is {loading / audit:.1f} times faster")


# ---------------------------------------------------------------------- what is measured


def _audit(base: Path, ckpt: Path) -> Callable[[], None]:
    from harness.parameters import audit_parameters

    bundle = Bundle(path=ckpt, form="whole", step=None, decoding="free", space=_space(), inputs={"base": base})

    def run() -> None:
        audit = audit_parameters(bundle)
        assert audit.text_rows_changed == 1, audit
        assert audit.tensors_changed == 0, audit

    return run


def _fingerprint(base: Path, ckpt: Path) -> Callable[[], None]:  # noqa: ARG001 - one signature for all
    from harness.fingerprint import fingerprint

    def run() -> None:
        assert len(fingerprint(base, TEXT).text_rows["embed"]) == TEXT

    return run


def _load_and_compare(base: Path, ckpt: Path) -> Callable[[], None]:
    import torch
    from transformers import AutoModelForCausalLM

    def run() -> None:
        was, now = (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True).state_dict()
            for folder in (base, ckpt)
        )
        changed = [name for name, tensor in was.items() if not torch.equal(tensor, now[name][: len(tensor)])]
        assert changed == ["model.embed_tokens.weight"], changed

    return run


# ---------------------------------------------------------------------- timing


def _fastest(work: Callable[[], Any]) -> float:
    return min(_seconds(work) for _ in range(REPEATS))


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _run(command: str, *files: Path) -> None:
    subprocess.run([command, *map(str, files)], check=True, stdout=subprocess.DEVNULL)


def _fastest_child(prepare: Any, base: Path, ckpt: Path, repeats: int = REPEATS) -> tuple[float, float]:
    """Seconds and MB above what the imports took, each in a process of its own; the fastest, and the highest peak."""
    context = multiprocessing.get_context("spawn")
    measured = []
    for _ in range(repeats):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(prepare, base, ckpt, theirs))
        child.start()
        measured.append(ours.recv())
        child.join()
    return min(seconds for seconds, _ in measured), max(peak for _, peak in measured)


def _child(prepare: Any, base: Path, ckpt: Path, pipe: Any) -> None:
    work = prepare(base, ckpt)
    before = _memory_mb("VmRSS")
    pipe.send((_seconds(work), _memory_mb("VmHWM") - before))


def _memory_mb(which: str) -> float:
    # Not ru_maxrss: a process takes over the peak of the one that started it.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which)]
    return int(line.split()[1]) / 1024


# ---------------------------------------------------------------------- the models


def _n_layers(n_bytes: float) -> int:
    tables = 2 * TEXT * HIDDEN * BFLOAT16_BYTES
    layer = sum(int(np.prod(shape)) for _, shape in _layer(0)) * BFLOAT16_BYTES
    return max(1, round((n_bytes - tables) / layer))


def _layer(number: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    heads, kv_heads = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (heads, HIDDEN), "self_attn.k_proj": (kv_heads, HIDDEN),
        "self_attn.v_proj": (kv_heads, HIDDEN), "self_attn.o_proj": (HIDDEN, heads),
        "self_attn.q_norm": (HEAD_DIM,), "self_attn.k_norm": (HEAD_DIM,),
        "mlp.gate_proj": (INTERMEDIATE, HIDDEN), "mlp.up_proj": (INTERMEDIATE, HIDDEN),
        "mlp.down_proj": (HIDDEN, INTERMEDIATE), "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,),
    }  # fmt: skip
    for name, shape in shapes.items():
        yield f"model.layers.{number}.{name}.weight", shape


def _write_model(folder: Path, rows: int, layers: int, wrote: Callable[[int], Any]) -> None:
    """A sharded model; tensors of one name are equal in every model, a table's first rows too."""
    folder.mkdir()
    shapes = [("model.embed_tokens.weight", (rows, HIDDEN)), ("lm_head.weight", (rows, HIDDEN))]
    shapes += [("model.norm.weight", (HIDDEN,)), *(pair for n in range(layers) for pair in _layer(n))]
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    for name, shape in shapes:
        if sum(_n_bytes(held) for _, held in shards[-1]) + _n_bytes(shape) > SHARD_BYTES and shards[-1]:
            shards.append([])
        shards[-1].append((name, shape))
    files = [f"model-{n + 1:05d}-of-{len(shards):05d}.safetensors" for n in range(len(shards))]
    for file, held in zip(files, shards, strict=True):
        _write_shard(folder / file, held, wrote)
    where = {name: file for file, held in zip(files, shards, strict=True) for name, _ in held}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    write_json(folder / "config.json", {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": rows, "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": layers, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "tie_word_embeddings": False, "dtype": "bfloat16",
    })  # fmt: skip


def _write_shard(file: Path, held: list[tuple[str, tuple[int, ...]]], wrote: Callable[[int], Any]) -> None:
    header, end = {}, 0
    for name, shape in held:
        span = [end, end + _n_bytes(shape)]
        header[name], end = {"dtype": "BF16", "shape": list(shape), "data_offsets": span}, span[1]
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with file.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in held:
            # Random values, repeated: drawing 8 GB of them would take longer than all that is measured.
            block = _random_block()[2 * len(name) :]
            for first in range(0, _n_bytes(shape), len(block)):
                wrote(out.write(block[: _n_bytes(shape) - first]))


@functools.cache
def _random_block() -> bytes:
    """16 MB of bfloat16 values."""
    values = np.random.default_rng(0).standard_normal(2**23, dtype=np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def _n_bytes(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * BFLOAT16_BYTES


def _flip_one_bit(folder: Path) -> None:
    from harness.tensors import read_folder

    table = read_folder(folder)["model.embed_tokens.weight"]
    with table.file.open("r+b") as file:
        file.seek(table.start + CHANGED_ROW * table.row_bytes)
        value = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([value[0] ^ 1]))


def _space() -> TokenSpace:
    ranges = {"TEXT": (0, TEXT), "SPECIAL": (TEXT, 64), "IMAGE": (TEXT + 64, TOTAL - TEXT - 64)}
    return parse_token_space({
        "version": "uti_v1", "text_vocab_size": TEXT, "special_tokens": {}, "vocab_size_total": TOTAL,
        "ranges": {name: {"start": at, "end": at + n - 1, "size": n} for name, (at, n) in ranges.items()},
    })  # fmt: skip


if __name__ == "__main__":
    main()
