"""The parameter audit: which stored values differ from the base's, tensor by tensor and row by row.

Compared are stored bits, never values after a cast: a round trip through a narrower type is a change. A checkpoint is
held against the base where that is at hand, else against the base's fingerprint.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from harness.bundle import Bundle
from harness.compare import Difference, Pair, compare
from harness.fingerprint import Reference, fingerprint_of, read_fingerprint
from harness.lora import Adapter, read_adapter
from harness.merge import Merge, check_merge
from harness.moved import Moved, moved_digests, moved_tables, moved_tensor
from harness.moved_rows import Stretch, stretches
from harness.new_rows import stray_row_tensors
from harness.rows import moved_new_rows
from harness.settings_changed import SettingsChanged, compare_settings
from harness.stored_model import TABLES, StoredModel, read_stored_model, table_of


@dataclass(frozen=True)
class ParameterAudit:
    """What moved.

    Attributes:
        against: what the checkpoint was held against, in words.
        text_rows_compared, tensors_compared: text rows of the embedding and the head; all other tensors.
        moved: the tables and tensors that differ, tables first.
        unexpected: tensors that the checkpoint has and may not have.
        missing: tensors that the base has and the checkpoint has not.
        modality_rows: how many new rows there are.
        modality_rows_moved: those that differ from the parent's; None without a parent.
        zero_modules, adapter_modules: adapted modules whose A or B is all zeros; all adapted modules.
        merges: the weights of a whole model into which the adapter was merged.
        of_base: whether what was compared is the base itself, which is served as it is, with its fingerprint.
        settings: what of config.json is not the base's; None where the base's own is used.
        stretches: which rows of the tables moved, range by range.
    """

    against: str
    text_rows_compared: int
    tensors_compared: int
    moved: tuple[Moved, ...]
    unexpected: tuple[str, ...]
    missing: tuple[str, ...]
    modality_rows: int
    modality_rows_moved: int | None
    zero_modules: tuple[str, ...] = ()
    adapter_modules: int = 0
    merges: tuple[Merge, ...] = ()
    of_base: bool = False
    settings: SettingsChanged | None = None
    stretches: tuple[Stretch, ...] = ()

    @property
    def text_rows_changed(self) -> int:
        """Text rows that differ, of both tables."""
        return sum(each.n_changed for each in self.moved if each.is_table)

    @property
    def tensors_changed(self) -> int:
        """Frozen tensors that differ."""
        return sum(not each.is_table for each in self.moved)


@dataclass(frozen=True)
class _Comparison:
    """What one of the two ways of comparing found."""

    text_rows_compared: int
    tensors_compared: int
    moved: list[Moved]
    unexpected: set[str]
    missing: set[str]
    merges: list[Merge]


def audit_parameters(bundle: Bundle) -> ParameterAudit:
    """Hold a checkpoint against its base.

    Raises:
        BundleError: a file is malformed.
        MissingInputError: there is nothing to hold it against, or the adapter was merged and the base is not there.
    """
    space = bundle.space
    adapter = read_adapter(bundle.input("lora")) if "lora" in bundle.inputs else Adapter()
    against, found = _compare_bundle(bundle, adapter)
    new_rows = moved_new_rows(bundle) if "parent" in bundle.inputs else None
    return ParameterAudit(
        against=against,
        text_rows_compared=found.text_rows_compared,
        tensors_compared=found.tensors_compared,
        moved=tuple(found.moved),
        unexpected=(*sorted(found.unexpected), *_stray_in_adapter(adapter, bundle), *stray_row_tensors(bundle)),
        missing=tuple(sorted(found.missing)),
        modality_rows=space.vocab_size_total - space.text_vocab_size,
        modality_rows_moved=None if new_rows is None else int(np.any([*new_rows.values()], axis=0).sum()),
        zero_modules=tuple(pair.module for pair in adapter.pairs if pair.is_zero()),
        adapter_modules=len(adapter.pairs),
        merges=tuple(found.merges),
        settings=_settings(bundle),
        of_base=bundle.form != "whole" and "base_fingerprint" in bundle.inputs,
        stretches=tuple(stretches(space, found.moved, new_rows)),
    )


def _settings(bundle: Bundle) -> SettingsChanged | None:
    """What a whole model's config changes; the other forms use the base's."""
    if bundle.form != "whole" or "base" not in bundle.inputs:
        return None
    return compare_settings(bundle.path, bundle.input("base"))


def _compare_bundle(bundle: Bundle, adapter: Adapter) -> tuple[str, _Comparison]:
    n_text = bundle.space.text_vocab_size
    declared = "base_fingerprint" in bundle.inputs
    reference = read_fingerprint(bundle.input("base_fingerprint"), n_text) if declared else None
    if bundle.form != "whole":
        # The base is served as it is: what can have moved is the base itself, since the fingerprint was taken.
        base = read_stored_model(bundle.input("base"))
        if reference is None:
            against, found = "nothing: the base is served as it is, and has no fingerprint", _untouched(base, n_text)
        else:
            against, found = "the base's fingerprint", _compare_digests(base, reference, bundle)
        # An adapter that holds a whole table holds its text rows too.
        pairs = [Pair(t, own, was, n_text) for t, own in adapter.tables.items() if (was := base.served_table(t))]
        moved = moved_tables(_changed(compare(pairs)), bundle)
        return against, dataclasses.replace(found, moved=[*moved, *found.moved])
    served = read_stored_model(bundle.path)
    if reference is not None and "base" not in bundle.inputs:
        found = _compare_digests(served, reference, bundle)
        adapted = {pair.weight for pair in adapter.pairs}
        if found.moved and {each.name for each in found.moved} <= adapted:
            bundle.input("base")  # whether the adapter was merged rightly cannot be told without it
        return "the base's fingerprint", found
    base = read_stored_model(bundle.input("base"))
    found = _compare_bits(served, base, bundle, adapter)
    return "the base", found


def _untouched(base: StoredModel, n_text: int) -> _Comparison:
    """A base that the checkpoint stands on and does not hold: nothing of it can differ from itself."""
    n_tables = sum(base.stored_table(table) is not None for table in TABLES)
    return _Comparison(n_text * n_tables, len(base.others), [], set(), set(), [])


def _compare_bits(now: StoredModel, base: StoredModel, bundle: Bundle, adapter: Adapter | None = None) -> _Comparison:
    n_text = bundle.space.text_vocab_size
    shared = sorted(now.others.keys() & base.others.keys())
    tables = _table_pairs(now, base, n_text)
    found = compare([*tables, *(Pair(name, now.others[name], base.others[name]) for name in shared)])
    of_tables, of_tensors = found[: len(tables)], found[len(tables) :]
    adapted = {pair.weight: pair for pair in (adapter.pairs if adapter else ())}
    changed = [d.pair for d in _changed(of_tensors) if d.pair.name in adapted]
    merges: list[Merge] = []
    # Where one of the adapted weights was merged, the others should have been. Where none of them holds anything of the
    # adapter, one that differs from the base's has moved like any frozen weight.
    if any(check_merge(pair.now, pair.base, adapted[pair.name]).holds_adapter for pair in changed):
        pairs = [d.pair for d in of_tensors if d.pair.name in adapted]
        merges = [check_merge(pair.now, pair.base, adapted[pair.name]) for pair in pairs]
    names = {merge.name for merge in merges}
    frozen = [d for d in _changed(of_tensors) if d.pair.name not in names]
    return _Comparison(
        text_rows_compared=sum(pair.n_rows for pair in tables),
        tensors_compared=len(shared) - len(merges),
        moved=[*moved_tables(_changed(of_tables), bundle), *map(moved_tensor, frozen)],
        unexpected=now.others.keys() - base.others.keys(),
        missing=(base.others.keys() - now.others.keys()) | _missing_tables(now, base),
        merges=merges,
    )


def _compare_digests(now: StoredModel, reference: Reference, bundle: Bundle) -> _Comparison:
    actual = fingerprint_of(now, bundle.space.text_vocab_size)
    rows = dict(actual.text_rows)
    # A table that only one of the two stores is the other's embedding, where head and embedding are tied.
    before = dict(reference.text_rows)
    if "lm_head" in before and "lm_head" not in rows and now.tied and "embed" in rows:
        rows["lm_head"] = rows["embed"]
    if "lm_head" in rows and "lm_head" not in before and "embed" in before:
        before["lm_head"] = before["embed"]
    missing: set[str] = {f"{table} (a vocabulary table)" for table in before.keys() - rows.keys()}
    return _Comparison(
        text_rows_compared=sum(len(hashes) for hashes in before.values()),
        tensors_compared=len(reference.tensors),
        moved=moved_digests(actual, reference, rows, before, bundle),
        unexpected=actual.tensors.keys() - reference.tensors.keys(),
        missing=(reference.tensors.keys() - actual.tensors.keys()) | missing,
        merges=[],
    )


def _table_pairs(now: StoredModel, base: StoredModel, n_text: int) -> list[Pair]:
    """The tables that have bytes of their own in one of the two; a tied head is the embedding."""
    pairs = []
    for table in TABLES:
        ours, theirs = now.served_table(table), base.served_table(table)
        if table == "lm_head" and now.head is None and base.head is None:
            continue
        if table == "lm_head" and theirs is None:
            theirs = base.embed
        if ours is not None and theirs is not None:
            pairs.append(Pair(table, ours, theirs, n_text))
    return pairs


def _missing_tables(now: StoredModel, base: StoredModel) -> set[str]:
    stored = ((now.served_table(table), base.stored_table(table)) for table in TABLES)
    return {theirs.name for ours, theirs in stored if ours is None and theirs is not None}


def _changed(differences: list[Difference]) -> list[Difference]:
    return [difference for difference in differences if difference.n_changed]


def _stray_in_adapter(adapter: Adapter, bundle: Bundle) -> list[str]:
    """What of an adapter moves more than modality rows and, by low-rank pairs, the backbone."""
    stray = [*adapter.others, *(pair.weight for pair in adapter.pairs if table_of(pair.weight))]
    if bundle.form != "adapter":
        stray += [tensor.name for tensor in (*adapter.tables.values(), *adapter.rows.values())]
    elif adapter.rows:
        n_text = bundle.space.text_vocab_size
        stray += [f"the row of text token {token_id}" for token_id in adapter.row_ids if token_id < n_text]
    return [f"adapter: {name}" for name in stray]
