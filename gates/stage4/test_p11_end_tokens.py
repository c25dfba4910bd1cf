"""P1.1 end tokens: the checkpoint knows when to stop.

Claim    Left to itself, it ends what it writes by its end tag.
Measure  end_tag_pct: golden prompts whose end tag comes in time (within the expected ids and the margin, or within the
         checkpoint's own max_new_tokens), free over the whole vocabulary, in percent; where it came; and the change
         against the checkpoint before, whose verdict.json lies beside this run's output folder.
Accept   Some sequence ends (above 0 %), and the share has not provably fallen since the checkpoint before: the upper
         end of the 95 % interval of its change is not below 0.
Source   spec/stage4-verification.md, P1.1: "trending upward over time; not necessarily high at 2k steps". It names no
         number; the two rules are ours.
"""

from gates.gate import Accept, Gate, gate
from gates.stage4.thresholds import Stage4Thresholds
from harness import statistics
from harness.checkpoint import Checkpoint
from harness.end_tags import PLACES, Earlier, EndTags, change_of_share, find_earlier, find_end_tags
from harness.examples import WRITE_TASKS, Task
from harness.files import path_sha256
from harness.lengths import limits_of
from harness.results import Measurement
from harness.written import Generations

P11 = Gate(
    id="P1.1",
    name="end_tokens",
    priority="P1",
    claim="It knows when to stop",
    source="spec/stage4-verification.md P1.1; the rules are ours",
    advice=(
        "Decode by fixed lengths meanwhile: slice exactly the count that the meta promises; missing end tags are not "
        "fatal there.",
        "See that the labels supervise the end tag, the last id of the target block, and that no target was cut off.",
        "Where max_new_tokens of generation_config.json is too small for the end tag, raise it or remove it.",
        "Train longer: the end tag is one id among hundreds, and is learned late.",
    ),
)


@gate(P11)
def test_it_ends_what_it_writes(checkpoint: Checkpoint, accept: Accept, thresholds: Stage4Thresholds) -> None:
    written = {task: checkpoint.generations(task, thresholds.generation_examples, "free") for task in WRITE_TASKS}
    found = {task: end_tags(checkpoint, each) for task, each in written.items()}
    shares = {task: end_tag_pct(task, each) for task, each in found.items()}
    earlier = earlier_shares(checkpoint, accept, list(shares.values()))
    for task, share in shares.items():
        before = earlier[share.name]
        judge_end_tags(accept, task, share, before[-1].figure if before else None, thresholds)
        accept.report(
            statistics.proportion(f"{task}.ended_in_place_pct", found[task].in_place, found[task].n, "%", 100)
        )
    tell_places(accept, found)
    tell_trend(accept, checkpoint, shares, earlier)


def judge_end_tags(
    accept: Accept, task: Task, share: Measurement, before: Measurement | None, thresholds: Stage4Thresholds
) -> None:
    """Hold a task's share against the two rules above; the second where the checkpoint before is known."""
    accept(share, above=thresholds.end_tag_pct_above)
    if before is not None:
        change = change_of_share(f"{task}.end_tag_change", share, before)
        accept.report(change)
        accept(upper_end(change), at_least=thresholds.min_end_tag_change_upper_points)


def end_tags(checkpoint: Checkpoint, written: Generations) -> EndTags:
    """Where the end tags came, as far as the checkpoint's own limit lets them."""
    modality = written.examples[0].modality
    limit = limits_of(checkpoint.bundle, {modality: None})[modality].max_new
    return find_end_tags(written.sequences, written.expected, checkpoint.bundle.space.end_id(modality), limit)


def end_tag_pct(task: Task, found: EndTags) -> Measurement:
    """Sequences that ended by themselves, in percent."""
    return statistics.proportion(f"{task}.end_tag_pct", found.in_time, found.n, unit="%", scale=100)


def earlier_shares(checkpoint: Checkpoint, accept: Accept, shares: list[Measurement]) -> dict[str, list[Earlier]]:
    """The same figures of earlier checkpoints on the same golden prompts; says what it could not use."""
    bundle = checkpoint.bundle
    inputs = {"token_space": bundle.space.sha256, "golden": path_sha256(bundle.input("golden"))}
    names = [share.name for share in shares]
    earlier, passed_over = find_earlier(checkpoint.settings.out, "stage4", bundle.step, inputs, names)
    if passed_over:
        accept.note(f"Verdicts beside this one that are not comparable: {'; '.join(passed_over)}.")
    if not any(earlier.values()):
        accept.note(
            "No earlier checkpoint's verdict.json lies beside this run's output folder: there is no trend to judge yet."
        )
    return earlier


def upper_end(change: Measurement) -> Measurement:
    """The upper end of a change's interval, as a figure of its own: it is what is judged."""
    return Measurement(name=f"{change.name}_upper", value=change.high, unit=change.unit, n=change.n)


def tell_places(accept: Accept, found: dict[Task, EndTags]) -> None:
    """Where the end tags came relative to the expected end."""
    counts = {task: each.histogram() for task, each in found.items()}
    accept.table(
        "Where the end tag came",
        ["end tag", *(f"{task} (of {each.n})" for task, each in found.items())],
        [[place, *(counts[task][place] for task in found)] for place in PLACES],
        note="Free over the whole vocabulary; shares are of the expected length, late is within the margin.",
    )


def tell_trend(
    accept: Accept, checkpoint: Checkpoint, shares: dict[Task, Measurement], earlier: dict[str, list[Earlier]]
) -> None:
    """The figure over the checkpoints found, this one last."""
    rows: list[list[str | float | None]] = []
    for task, share in shares.items():
        this = Earlier(checkpoint.bundle.step or 0, str(checkpoint.bundle.path), share)
        for each in [*earlier[share.name], this] if earlier[share.name] else []:
            m = each.figure
            rows.append([task, each.step, m.value, m.low, m.high, m.n, each.checkpoint])
    if rows:
        accept.table(
            "Ended in time, over the checkpoints found",
            ["task", "step", "%", "low", "high", "n", "checkpoint"],
            rows,
            note="From the verdict.json files beside this run's output folder: of this stage, of smaller steps, with "
            "the same token space and golden set. The last of them is what the change is taken against.",
        )
