"""P0.3 decode: what the checkpoint writes can be heard and seen.

Claim    Every golden prompt yields a picture or a sound that the codec accepts and that has the promised form.
Measure  decode_success_rate over the golden T2A and T2I prompts, in percent: decoded, finite, and of the sample rate,
         channels, length and proc_size that the golden meta says; exactly the expected number of ids is sliced, of
         what max_new_tokens leaves. A golden meta that its own medium contradicts promises nothing, and is a failure.
Accept   100 % for both. Whatever failed is listed with its reason, and the faults are counted in a table.
Source   spec/stage4-verification.md, P0.3.
"""

from collections import Counter
from typing import Any

from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from harness import media_faults as faults
from harness import statistics
from harness.checkpoint import Checkpoint
from harness.examples import WRITE_TASKS, Task
from harness.lengths import limits_of
from harness.written import Generations

P03 = Gate(
    id="P0.3",
    name="decode",
    priority="P0",
    claim="What it writes can be heard and seen",
    source="spec/stage4-verification.md P0.3",
    advice=(
        "Wrong token types (codebook mismatch, id in no AUDIO range, id not in IMAGE range, empty output): serve with "
        "constrained decoding, which makes decode success go to about 100 %.",
        "Length mismatch, or cut off: take the expected length of each example from its golden meta (n_frames * "
        "n_codebooks, or n_tokens), generate slightly more, slice exactly the expected count, and record the end tags "
        "apart. Where max_new_tokens of generation_config.json cuts it off, raise it or remove it.",
        "One long chunk: keep codec_meta (nb_frames, frame_len, last_frame_pad_length) of each golden sound, and "
        "decode chunk by chunk with overlap-add.",
        "Golden meta: write n_frames, n_codebooks, n_samples and codec_meta of each golden sound, and n_tokens of each "
        "picture, as the codec gave them.",
        "The codec raised, not finite, or wrong form: use the codec that made the shards, and declare its "
        "weights_sha256 in the token space.",
    ),
)


@gate(P03)
def test_everything_written_decodes(checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds) -> None:
    gallery: list[dict[str, Any]] = []
    for task in WRITE_TASKS:
        written = as_served(checkpoint, task, thresholds)
        decoded = checkpoint.decoded(written, f"media/{task}")
        successes = sum(sample.ok for sample in decoded)
        rate = statistics.proportion(f"{task}.decode_success_rate", successes, len(decoded), unit="%", scale=100)
        accept(rate, at_least=thresholds.min_decode_success_pct)
        gallery += samples(checkpoint, written, decoded)
    failed = [sample for sample in gallery if not sample["ok"]]
    accept.details["gallery"] = gallery
    accept.details["worst"] = [{"id": s["id"], "prompt": s["prompt"], "note": s["reason"]} for s in failed]
    if failed:
        accept.table("What did not decode", ["fault", *WRITE_TASKS], count_faults(failed))


def as_served(checkpoint: Checkpoint, task: Task, thresholds: Stage4Thresholds) -> Generations:
    """What it writes, cut off where its own generation_config.json would cut it."""
    written = checkpoint.generations(task, thresholds.generation_examples, checkpoint.bundle.decoding)
    modality = written.examples[0].modality
    return written.cut(limits_of(checkpoint.bundle, {modality: None})[modality].max_new)


def count_faults(failed: list[dict[str, Any]]) -> list[list[str | float | None]]:
    """How often each fault was met in each task, in the order in which to mend them."""
    counts = Counter((faults.fault_of(sample["reason"]), sample["task"]) for sample in failed)
    met = [fault for fault in faults.FAULTS if any((fault, task) in counts for task in WRITE_TASKS)]
    return [[fault, *(counts[fault, task] for task in WRITE_TASKS)] for fault in met]


def samples(checkpoint: Checkpoint, written: Generations, decoded: list[Any]) -> list[dict[str, Any]]:
    """What the report's gallery shows: prompt, what was written, and the golden media through the same codec."""
    references = checkpoint.references(written.examples, f"media/reference/{written.task}")
    out = checkpoint.settings.out
    return [
        {
            "id": example.id,
            "task": written.task,
            "prompt": example.text or "",
            "file": str(sample.file.relative_to(out)) if sample.file else None,
            "reference": str(golden.file.relative_to(out)) if golden.file else None,
            "ok": sample.ok,
            "reason": sample.reason,
        }
        for example, sample, golden in zip(written.examples, decoded, references, strict=True)
    ]
