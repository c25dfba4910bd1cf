"""P1.3 fingerprints: outputs have not collapsed.

Claim    What the checkpoint writes is neither silent, noise, clipped, blank, one code or a loop, nor one for all.
Measure  Over what it writes for the golden prompts, decoded as it will be served: the share of outputs whose figure
         lies beyond real media by a stated part of the way to that collapse; the share of pairs of near duplicates
         among different prompts; the entropy of the codes of each codebook. Real media are the golden media of the same
         prompts, decoded from their own ids by the same codec; they must differ from each other.
Accept   Each kind: at most 10 % of the outputs. Near duplicates: real media's share and a tenth of the remaining pairs.
         Codes: at least half of real media's entropy in every codebook.
Source   spec/stage4-verification.md, P1.3, which names the kinds and gives no numbers; the numbers are ours.
"""

from gates.collapse import Kind, judge_codebooks, judge_duplicates, judge_kinds, judge_reference, show_figures
from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from harness.checkpoint import Checkpoint
from harness.examples import WRITE_TASKS, Task

P13 = Gate(
    id="P1.3",
    name="fingerprints",
    priority="P1",
    claim="Outputs have not collapsed",
    source="spec/stage4-verification.md P1.3; numbers are ours",
    advice=(
        "Listen to and look at the worst examples beside their golden media. If those sound or look wrong as well, "
        "the codec, or the order of its codebooks, is at fault and not the checkpoint.",
        "One output for all, few codes: see P0.4. If it is weak, the prompt is not used: increase the proportion of "
        "T2A/T2I in the mix, and use stronger prompt text.",
        "One code everywhere, loop, silence: usual of greedy decoding after too few steps. Put the sampling that the "
        "checkpoint will be served with into generation_config.json; if that does not mend it, train longer.",
        "Disorder, noise, clipping: the codes are near to random. Train longer, and compare P0.2's free figure.",
    ),
)


@gate(P13)
def test_outputs_have_not_collapsed(checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds) -> None:
    tail = thresholds.real_media_tail
    for task in WRITE_TASKS:
        generated = checkpoint.generations(task, thresholds.generation_examples, checkpoint.bundle.decoding)
        written, real = checkpoint.outputs(generated)
        kinds = kinds_of(task, thresholds)
        judge_kinds(accept, task, written, real, kinds, tail=tail, max_share=thresholds.max_collapsed_share)
        tolerance = thresholds.max_hash_distance_bits if task == "t2i" else thresholds.max_spectral_distance_db
        way = thresholds.collapse_way_duplicates
        judge_reference(accept, task, real, tolerance=tolerance, max_alike=thresholds.max_golden_media_alike)
        judge_duplicates(accept, task, written, real, tolerance=tolerance, way=way)
        judge_codebooks(accept, task, written, real, min_entropy_pct=thresholds.min_codebook_entropy_pct)
        show_figures(accept, task, written, real, tail)


def kinds_of(task: Task, thresholds: Stage4Thresholds) -> tuple[Kind, ...]:
    """The ways in which one output of a task can collapse. Each is held against real media, never against a number."""
    way = thresholds.collapse_way
    codes = (
        Kind("one_code_everywhere", "dominant_code_share", "high", 1.0, way),
        Kind("loop", "loop_share", "high", 1.0, way, unless="one_code_everywhere"),
    )
    if task == "t2i":
        return (
            *codes,
            Kind("blank", "pixel_std", "low", 0.0, thresholds.collapse_way_contrast),
            Kind("noise", "roughness", "high", 1.0, way),
        )
    return (
        *codes,
        Kind("disorder", "loop_share", "low", 0.0, way),
        Kind("silence", "rms", "low", 0.0, thresholds.collapse_way_rms),
        Kind("silence", "silent_share", "high", 1.0, way),
        Kind("noise", "flatness_db", "high", 0.0, way),
        Kind("clipping", "clipped_share", "high", 1.0, thresholds.collapse_way_clipping),
    )
