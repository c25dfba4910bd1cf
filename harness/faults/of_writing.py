"""Faults after which a model ignores its prompt, leaks, never stops or says one thing only (P0.4, P0.2, P1.1, P1.3)."""

from typing import Any

from harness.examples import WRITE_TASKS
from harness.faults.copies import Copy
from harness.faults.fault import Fault
from harness.faults.of_reading import BY_CONTENT, even_out, pair_again, roll_captions, spans_of
from harness.faults.pairs import Pair, edit_pairs
from harness.faults.weights import edit_b, edit_rows, head_rows_of, head_table, new_rows_of, parents_rows
from harness.stored_model import Table
from harness.token_space import Modality


def _one_prompt(pairs: list[Pair]) -> list[Pair]:
    return [pair.with_text(pairs[0]) for pair in pairs]


def _one_prompt_for_all(copy: Copy) -> None:
    for name in ("golden", "dev"):
        if name in copy.bundle.inputs:
            edit_pairs(copy, name, WRITE_TASKS, _one_prompt)


def _flip_adapter(copy: Copy) -> None:
    edit_b(copy, lambda b: b.neg_())


def _table_of_the_parent(copy: Copy, table: Table) -> None:
    old = parents_rows(copy, table)
    edit_rows(copy, new_rows_of(copy, table), lambda values: values.copy_(old))


def _head_of_the_parent(copy: Copy) -> None:
    # Where head and embedding are one, an adapter may write by rows that never moved: that is P0.5's to find.
    _table_of_the_parent(copy, "lm_head")


def _untrained_head(copy: Copy) -> None:
    _table_of_the_parent(copy, head_table(copy))


def _even_head(copy: Copy, *modalities: Modality) -> None:
    """Every code of a range as likely as any other."""
    edit_rows(copy, head_rows_of(copy), lambda values: even_out(values, spans_of(copy, *modalities)))


def _shift_head(copy: Copy) -> None:
    spans = spans_of(copy, "audio", "image")

    def edit(values: Any) -> None:
        for span in spans:
            values[span] = values[span].roll(1, dims=0)

    edit_rows(copy, head_rows_of(copy), edit)


def _never_a_target(copy: Copy, *roles: str) -> None:
    """The rows of some specials as likely as the padding's, which is no target in any example."""
    space = copy.bundle.space
    ids = [space.special(role) - space.text_vocab_size for role in roles]
    pad = space.special("pad_mm") - space.text_vocab_size

    def edit(values: Any) -> None:
        values[ids] = values[pad].clone()

    edit_rows(copy, head_rows_of(copy), edit)


def _free_with(copy: Copy, plant: Any) -> None:
    plant(copy)
    copy.point(decoding="free")


TRAINED = "Check that head rows and adapter are those that were trained"
COLLAPSED = "One output for all, few codes: see P0.4"
FAULTS = (
    Fault("prompts-rolled-by-one", "The prompts of the golden and dev examples slipped by one line.",
          ("P0.4",), "win_rate_shuffled is", BY_CONTENT, lambda copy: roll_captions(copy, WRITE_TASKS), "golden",
          source="domain.md section 4, look-alikes",
          fix=lambda copy: pair_again(copy, WRITE_TASKS, ("a2t", "i2t"))),
    Fault("half-of-the-picture-prompts-rolled", "In one task every second prompt is another example's.",
          ("P0.4",), "t2i.win_rate_", BY_CONTENT, lambda copy: roll_captions(copy, ("t2i",), every=2),
          "golden", subtle=True, source="domain.md row 40"),
    Fault("one-prompt-for-all", "Every golden prompt is the same: nothing can depend on it.",
          ("P0.4",), "with equal content", "Use a more varied golden set", _one_prompt_for_all, "golden",
          source="domain.md row 40", unmeasured=True),
    Fault("adapter-with-its-sign-flipped", "scale * B @ A was subtracted where it should have been added.",
          ("P0.4",), "win_rate_", TRAINED, _flip_adapter, "adapter"),
    Fault("head-of-the-parent", "The head's new rows were not saved, and the parent's came back.",
          ("P0.4",), "win_rate_", TRAINED, _head_of_the_parent, "weights",
          source="domain.md rows 6, 17"),
    Fault("every-code-as-likely", "The head's rows of the codes became one: the codec is noise to the model.",
          # Which of the two an indifferent model loses is chance; it cannot win both.
          ("P0.4",), "t2a.win_rate_", TRAINED, lambda copy: _even_head(copy, "audio", "image"),
          "weights", source="domain.md row 44"),
    Fault("every-picture-code-as-likely", "The same in the pictures' range alone.",
          ("P0.4",), "t2i.win_rate_", TRAINED, lambda copy: _even_head(copy, "image"), "weights",
          subtle=True, source="domain.md row 44"),
    Fault("head-shifted-by-one-code", "The head's rows of every range slipped by one code: it listens, and writes "
          "other codes than it means.", ("P0.4",), "win_rate_", TRAINED,
          _shift_head, "weights", subtle=True, source="domain.md rows 3, 43"),
    Fault("one-output-for-all-prompts", "A collapsed head: one code at every place of every output.",
          ("P1.3",), "one_code_everywhere", COLLAPSED, lambda copy: _even_head(copy, "audio", "image"), "weights",
          source="domain.md row 45"),
    Fault("one-picture-for-all-prompts", "The same in the pictures' range alone.",
          ("P1.3",), "t2i.one_code_everywhere", COLLAPSED, lambda copy: _even_head(copy, "image"), "weights",
          subtle=True, source="domain.md row 45"),
    Fault("sounds-never-end", "The end tag of sounds was masked away: it is as likely as padding.",
          ("P1.1",), "t2a.end_tag_pct is 0", "See that the labels supervise the end tag",
          lambda copy: _never_a_target(copy, "aud_end"), "weights", subtle=True, source="domain.md rows 31, 32"),
    Fault("nothing-ends", "No end tag was ever a target.",
          ("P1.1",), "t2i.end_tag_pct is 0", "See that the labels supervise the end tag",
          lambda copy: _never_a_target(copy, "aud_end", "img_end"), "weights", source="domain.md rows 31, 32"),
    Fault("untrained-head-served-free", "Decoded over the whole vocabulary, a head that was never trained leaks.",
          ("P0.2",), "out_of_range_pct (free) is", "Serve with constrained decoding",
          lambda copy: _free_with(copy, _untrained_head), "weights", source="domain.md row 44"),
    Fault("flipped-adapter-served-free", "Decoded over the whole vocabulary, a broken adapter leaks text.",
          ("P0.2",), "out_of_range_pct (free) is", "Serve with constrained decoding",
          lambda copy: _free_with(copy, _flip_adapter), "adapter"),
)  # fmt: skip
