"""Faults after which a model no longer reads its media, or cannot be seen to (S3.4, P1.2)."""

from typing import Any

import numpy as np

from harness.examples import READ_TASKS, Task
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Fault
from harness.faults.pairs import Pair, edit_pairs
from harness.faults.weights import edit_rows, new_rows_of
from harness.token_space import Modality

GATES = ("S3.4", "P1.2")


def roll(pairs: list[Pair], every: int = 1) -> list[Pair]:
    """Give every n-th pair the text of the next one that is changed."""
    chosen = [i for i in range(len(pairs)) if i % every == 0]
    texts = [pairs[i] for i in chosen[1:] + chosen[:1]]
    changed = list(pairs)
    for i, giver in zip(chosen, texts, strict=True):
        changed[i] = pairs[i].with_text(giver)
    return changed


def roll_captions(copy: Copy, tasks: tuple[Task, ...], every: int = 1) -> None:
    """Roll the captions of golden and dev examples, task by task, set by set."""
    for name in ("golden", "dev"):
        if name in copy.bundle.inputs:
            edit_pairs(copy, name, tasks, lambda pairs: roll(pairs, every))


def pair_again(copy: Copy, tasks: tuple[Task, ...], others: tuple[Task, ...]) -> None:
    """Pair media and captions by content: the other tasks' examples of the same media say which caption is theirs."""
    right: dict[bytes, Pair] = {}

    def learn(pairs: list[Pair]) -> list[Pair]:
        right.update({pair.media.tobytes(): pair for pair in pairs})
        return pairs

    def mend(pairs: list[Pair]) -> list[Pair]:
        return [pair.with_text(right[key]) if (key := pair.media.tobytes()) in right else pair for pair in pairs]

    for name in ("golden", "dev"):
        if name in copy.bundle.inputs:
            right.clear()
            edit_pairs(copy, name, others, learn)
            edit_pairs(copy, name, tasks, mend)


def _constant_media(pairs: list[Pair]) -> list[Pair]:
    """Every medium the first one of its length."""
    first: dict[int, Pair] = {}
    for pair in pairs:
        first.setdefault(len(pair.media), pair)
    return [pair.with_media(first[len(pair.media)].media) for pair in pairs]


def _reversed_media(pairs: list[Pair]) -> list[Pair]:
    return [pair.with_media(pair.media[::-1]) for pair in pairs]


def spans_of(copy: Copy, *modalities: Modality) -> list[slice]:
    """The new rows of each range of some modalities.

    Raises:
        NotApplicableError: there is none.
    """
    space = copy.bundle.space
    ranges = [each for modality in modalities for each in space.ranges_of(modality)]
    if not ranges:
        raise NotApplicableError(f"the token space has no {' or '.join(modalities)} codes")
    return [slice(r.start - space.text_vocab_size, r.end + 1 - space.text_vocab_size) for r in ranges]


def _all_alike(copy: Copy, *modalities: Modality) -> None:
    edit_rows(copy, new_rows_of(copy, "embed"), lambda values: even_out(values, spans_of(copy, *modalities)))


def even_out(values: Any, spans: list[slice]) -> None:
    """Make the rows of every span its mean row."""
    for span in spans:
        values[span] = values[span].mean(dim=0)


def _scrambled(copy: Copy) -> None:
    spans = spans_of(copy, "audio", "image")

    def edit(values: Any) -> None:
        for span in spans:
            order = np.random.default_rng(0).permutation(span.stop - span.start)
            values[span] = values[span][order].clone()

    edit_rows(copy, new_rows_of(copy, "embed"), edit)


ORDER = "Check that codec, order of the codes and rows belong together"
BY_CONTENT = "Check that captions and media are paired rightly"
FAULTS = (
    Fault("captions-rolled-by-one", "The captions of the golden and dev examples slipped by one line.",
          GATES, "win_rate_swapped is", BY_CONTENT, lambda copy: roll_captions(copy, READ_TASKS), "golden",
          source="domain.md section 4, look-alikes",
          fix=lambda copy: pair_again(copy, READ_TASKS, ("t2a", "t2i"))),
    Fault("captions-of-sounds-rolled-by-one", "The captions of one modality slipped by one line.",
          GATES, "a2t.win_rate_swapped is", BY_CONTENT, lambda copy: roll_captions(copy, ("a2t",)), "golden",
          subtle=True, source="domain.md section 4, look-alikes"),
    Fault("media-that-are-all-one", "A cache keyed by nothing: every golden example has the same sound and picture.",
          GATES, "with equal content", "Use a more varied golden set",
          lambda copy: edit_pairs(copy, "golden", READ_TASKS, _constant_media), "golden",
          source="domain.md row 39", unmeasured=True),
    Fault("codes-all-alike", "The embedding rows of all codes became one: the model hears that there is sound, and no "
          "more.", GATES, "bit-equal", "a wrong mask", lambda copy: _all_alike(copy, "audio", "image"), "weights",
          source="domain.md row 41", unmeasured=True),
    Fault("picture-codes-all-alike", "The embedding rows of the picture's codes alone never trained apart.",
          GATES, "the i2t ablation", "a wrong mask", lambda copy: _all_alike(copy, "image"), "weights", subtle=True,
          source="domain.md row 41", unmeasured=True),
    Fault("rows-of-another-codec", "The rows are those of a codec with other codes, as after the codec was trained "
          "again.", GATES, "win_rate_swapped is", ORDER, _scrambled, "weights"),
    Fault("media-backwards", "Golden media were written back to front.",
          GATES, "win_rate_shuffled is", ORDER,
          lambda copy: edit_pairs(copy, "golden", READ_TASKS, _reversed_media), "golden"),
)  # fmt: skip
