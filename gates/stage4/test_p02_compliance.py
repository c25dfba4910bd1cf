"""P0.2 compliance: generation stays in the modality's own ranges.

Claim    Every id that the checkpoint writes into a sound or a picture is one of that modality's codes.
Measure  out_of_range_pct: ids that are neither such a code nor the end tag, in percent of those written for the golden
         prompts, decoded as the bundle says that it will be served. Apart from it out_of_turn_pct: codes of the right
         modality in another codebook's place, which is what makes P0.3 fail.
Accept   0 % out of range. Codes out of turn, the other way of decoding, every kind of failure by its name, the rates'
         exact upper bounds and the probability outside the ranges are reported beside it.
Source   spec/stage4-verification.md, P0.2.
"""

import numpy as np

from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from harness import statistics
from harness.bundle import Decoding
from harness.checkpoint import Checkpoint
from harness.compliance import upper_bound
from harness.examples import WRITE_TASKS, Task
from harness.leaks import describe_leaks
from harness.lengths import cut_off, limits_of
from harness.results import Measurement
from harness.written import Generations

P02 = Gate(
    id="P0.2",
    name="compliance",
    priority="P0",
    claim="Generation stays in the modality's own ranges",
    source="spec/stage4-verification.md P0.2",
    advice=(
        "Serve with constrained decoding (a LogitsProcessor, or masked logits before sampling): for T2A allow only "
        'the AUDIO_CB ranges and <aud_end>, for T2I only IMAGE and <img_end>; then set "decoding": "constrained" '
        "in bundle.json. docs/generation.md has the LogitsProcessor.",
        "Take the expected length of each example from its golden meta, not one fixed max_new; generate slightly "
        "longer, slice exactly the expected count for decoding, and record the end tags apart.",
        "If the free figure is far from 0 as well, train longer or raise the T2A/T2I share: the constraint would only "
        "hide that the model does not know its codes.",
    ),
)
WAYS: tuple[Decoding, ...] = ("free", "constrained")


@gate(P02)
def test_generation_stays_in_range(checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds) -> None:
    written = {(t, how): checkpoint.generations(t, thresholds.generation_examples, how)
               for t in WRITE_TASKS for how in WAYS}  # fmt: skip
    for (task, how), each in written.items():
        if how == checkpoint.bundle.decoding:
            accept(out_of_range_pct(each), at_most=thresholds.max_out_of_range_pct)
        else:
            accept.report(out_of_range_pct(each))
        accept.report(out_of_turn_pct(each))
        accept.report(sequences_out_of_range(each))
        if how == WAYS[-1]:
            accept.report(mass_outside(checkpoint, task, thresholds))
    tell_bounds(accept, list(written.values()))
    tell_kinds(accept, list(written.values()))
    tell_limits(accept, checkpoint, [each for (_, how), each in written.items() if how == WAYS[0]])
    accept.details["worst"] = [row for each in written.values() for row in worst(checkpoint, each)]


def out_of_range_pct(written: Generations) -> Measurement:
    """Ids out of range, in percent of the ids written."""
    return _share_of_ids("out_of_range_pct", written.compliance.out_of_range, written)


def out_of_turn_pct(written: Generations) -> Measurement:
    """Codes in another codebook's place, in percent of the ids written."""
    return _share_of_ids("out_of_turn_pct", written.compliance.out_of_turn, written)


def sequences_out_of_range(written: Generations) -> Measurement:
    """Sequences with an id out of range: the independent items, so the interval is theirs."""
    counts = written.compliance
    name = f"{written.task}.sequences_out_of_range ({written.decoding})"
    return statistics.proportion(name, counts.sequences_out_of_range, counts.n_sequences, unit="%", scale=100)


def mass_outside(checkpoint: Checkpoint, task: Task, thresholds: Stage4Thresholds) -> Measurement:
    """The probability that the model gives to ids outside the ranges where the golden media stand."""
    outside = checkpoint.prompt_ablation(task, thresholds.recommended_ablation_examples).mass_outside
    return Measurement(name=f"{task}.mass_outside", value=float(outside.mean()), unit="probability", n=len(outside))


def tell_bounds(accept: Accept, written: list[Generations]) -> None:
    """Per id and per sequence: how many, and below what the rate lies."""
    rows: list[list[str | float | None]] = []
    for each in written:
        counts = each.compliance
        for kind, ids, sequences in (
            ("out of range", counts.out_of_range, counts.sequences_out_of_range),
            ("out of turn", counts.out_of_turn, counts.sequences_out_of_turn),
        ):
            bounds = [f"{100 * upper_bound(*pair):.2g} %"
                      for pair in ((ids, counts.n_ids), (sequences, counts.n_sequences))]  # fmt: skip
            rows.append([f"{each.task}, {each.decoding}", kind, f"{ids} of {counts.n_ids}", bounds[0],
                         f"{sequences} of {counts.n_sequences}", bounds[1]])  # fmt: skip
    accept.table(
        "Wrong ids, and below what their rate lies",
        ["written", "ids", "ids wrong", "rate below", "sequences with one", "rate below"],
        rows,
        note="Exact one-sided 95 % bounds (Clopper-Pearson). Ids of one sequence are not independent: the bound of the "
        "sequences is the one to rely on.",
    )


def tell_kinds(accept: Accept, written: list[Generations]) -> None:
    """In how many sequences every kind of failure was seen."""
    seen = list(dict.fromkeys(kind for each in written for kind in each.compliance.kinds))
    if seen:
        rows: list[list[str | float | None]] = [
            [kind, *(each.compliance.kinds.get(kind) for each in written)] for kind in seen
        ]
        columns = [
            "sequences",
            *(f"{each.task}, {each.decoding} (of {each.compliance.n_sequences})" for each in written),
        ]
        accept.table("What went wrong, by name", columns, rows, note="A sequence may show several kinds.")


def tell_limits(accept: Accept, checkpoint: Checkpoint, written: list[Generations]) -> None:
    """What the checkpoint's own generation_config.json would do to what it writes when it is served."""
    limits = limits_of(checkpoint.bundle, {"audio": None, "image": None})
    for each in written:
        found = cut_off(np.array(each.expected), limits[each.examples[0].modality])
        if found["no_room_for_end_tag"]:
            accept.note(
                f"{each.task}: max_new too small: {found['source']} is {found['limit']}, which cuts off "
                f"{found['truncated']} of {len(each.expected)} and leaves {found['no_room_for_end_tag']} without room "
                f"for the end tag; at least {found['needed']} are needed."
            )
    if written[0].sampling.ignored:
        names = ", ".join(written[0].sampling.ignored)
        accept.note(f"generation_config.json asks for {names}: not applied here, so that served ids will differ.")


def worst(checkpoint: Checkpoint, written: Generations) -> list[dict[str, str]]:
    """The sequences with most wrong ids, with the text that leaked."""
    bundle = checkpoint.bundle
    folders = [bundle.path, *([bundle.inputs["base"]] if "base" in bundle.inputs else [])]
    return describe_leaks(written.compliance, written.examples, bundle.space, folders, written.decoding)


def _share_of_ids(name: str, count: int, written: Generations) -> Measurement:
    counts = written.compliance
    value = 100 * count / counts.n_ids if counts.n_ids else float("nan")
    return Measurement(name=f"{written.task}.{name} ({written.decoding})", value=value, unit="%", n=counts.n_sequences)
