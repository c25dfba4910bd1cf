"""Gates that judge an audit of files: bundle, identity, held out, rows. Every kind of defect fails, alone as well."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gates.bundle import FIGURES, SHOWN_OF_A_KIND, judge_bundle
from gates.gate import Accept
from gates.held_out import judge as judge_held_out
from gates.identity import MOST_NAMED, ROWS, judge_identity
from gates.stage3 import test_s32_rows as s32
from gates.stage3.thresholds import Stage3Thresholds
from harness.bundle_audit import BundleAudit
from harness.defects import Defect
from harness.errors import MissingInputError
from harness.example_audit import ExampleAudit
from harness.held_out import HeldOutAudit, Match
from harness.rows import RowsAudit, TableRows
from harness.token_space import TokenSpace
from tests.accepting import accepting, fell_short, figures, notes, rules, worst

# ---------------------------------------------------------------------- bundle


def bundle(*kinds: str, n_files: int = 3, n_tensors: int = 40, n_adapter: int = 8) -> Accept:
    defects: Any = tuple(Defect(kind, f"file{i}", "t", "f", "e", "x") for i, kind in enumerate(kinds))  # type: ignore[arg-type]
    accept = accepting()
    judge_bundle(BundleAudit(defects, ("a note",), n_files, n_tensors, n_adapter), accept)
    return accept


def test_a_whole_bundle_is_judged_by_every_kind() -> None:
    accept = bundle()

    assert accept.failures == []
    assert rules(accept) == {name: "== 0" for name, _ in FIGURES.values()}
    found = figures(accept)
    assert found["pickles"] == (0, 3)
    assert found["missing_tensors"] == (0, 40)
    assert found["adapter_keys_without_a_module"] == (0, 8)
    assert notes(accept) == "a note"


@pytest.mark.parametrize("kind", FIGURES)
def test_one_defect_of_a_kind_fails_by_its_name(kind: Any) -> None:
    accept = bundle(kind)

    assert fell_short(accept) == [FIGURES[kind][0]]
    assert worst(accept) == [("file0", kind, "t: found f; expected e. x")]


def test_of_what_was_not_looked_at_only_what_is_wrong_is_said() -> None:
    nothing = bundle(n_files=0, n_tensors=0, n_adapter=0)
    assert figures(nothing) == {"pickles": (0, 0), "malformed_files": (0, 0)}

    broken = bundle("missing", "missing", n_files=0, n_tensors=0, n_adapter=0)
    assert figures(broken)["missing_tensors"] == (2, 2)
    assert "empty_tensors" not in figures(broken)


def test_every_kind_has_room_among_the_worst() -> None:
    accept = bundle(*["missing"] * 20, "pickle")

    assert [prompt for _, prompt, _ in worst(accept)] == ["pickle"] + ["missing"] * SHOWN_OF_A_KIND


# ---------------------------------------------------------------------- held out

NO_MATCHES: dict[str, Any] = dict.fromkeys(("shared", "near", "in_eval", "duplicate_golden", "golden_in_dev"), ())


def held_out(**changes: Any) -> Accept:
    fields: dict[str, Any] = {
        "n_golden": 8,
        "n_dev": 4,
        "files": (Path("a"), Path("b")),
        "training_rows": 90,
        "with_media": 80,
    }
    accept = accepting()
    checkpoint: Any = SimpleNamespace(held_out=lambda: HeldOutAudit(**fields | NO_MATCHES | changes))
    judge_held_out(checkpoint, accept)
    return accept


def match(i: int, rows: int = 1) -> Match:
    return Match(example=f"e{i}", prompt=f"p{i}", place=f"row {i}", rows=rows)


def test_nothing_shared_passes_and_the_rest_is_reported() -> None:
    accept = held_out(near=(match(1),), duplicate_golden=(match(2),), golden_in_dev=(match(3),), in_eval=(match(4),))

    assert accept.failures == []
    assert rules(accept) == {"shared_content": "== 0"}
    assert figures(accept) == {
        "shared_content": (0, 12), "training_rows": (90, 90), "training_rows_with_media": (80, 90),
        "near_duplicates": (1, 12), "duplicate_golden": (1, 8), "golden_in_dev": (1, 8), "shared_with_eval": (1, 12),
    }  # fmt: skip
    told = notes(accept)
    assert "compared with 90 rows of 2 files, the last b" in told
    assert "e1 has the caption, with other media, of row 1" in told
    assert "e2 has the media of an earlier golden example, row 2" in told


def test_one_shared_example_fails_and_is_named_with_its_row() -> None:
    accept = held_out(shared=(match(1), match(2, rows=3), match(3, rows=2)))

    assert fell_short(accept) == ["shared_content"]
    assert worst(accept) == [
        ("e1", "p1", "its media are those of row 1"),
        ("e2", "p2", "its media are those of row 2 and of 2 more"),
        ("e3", "p3", "its media are those of row 3 and of 1 more"),
    ]


def test_the_first_offenders_are_named() -> None:
    accept = held_out(shared=tuple(map(match, range(30))), near=tuple(map(match, range(30))))

    assert len(worst(accept)) == 20
    assert notes(accept).count("has the caption") == 5


# ---------------------------------------------------------------------- identity


def identity(**changes: Any) -> Accept:
    shards = SimpleNamespace(problems=(), files=2, rows=50, ids=900, offending=dict.fromkeys(ROWS, 0))
    tokenizer = SimpleNamespace(wrong=(), problem=None, specials=16, strays=())
    audit = {"declarations": [SimpleNamespace(n=3), SimpleNamespace(n=7)], "strangers": (), "has_tokenizer": True,
             "findings": iter(()), "notes": ("told",), "examples": ExampleAudit(30, 0, ())}  # fmt: skip
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            setattr({"shards": shards, "tokenizer": tokenizer}[part], name, value)
    audit |= {key: value for key, value in changes.items() if "__" not in key}
    accept = accepting()
    judge_identity(SimpleNamespace(shards=shards, **{"tokenizer": tokenizer} | audit), accept)  # type: ignore[arg-type]
    return accept


def test_one_token_space_passes() -> None:
    accept = identity()

    assert accept.failures == []
    assert figures(accept) == {
        "equal_declarations": (100, 10), "broken_shard_files": (0, 2), **dict.fromkeys(ROWS.values(), (0, 50)),
        "shard_ids": (900, 50), "examples_with_wrong_ids": (0, 30), "specials_mistaken": (0, 16),
        "tokens_on_media_ids": (0, 1),
    }  # fmt: skip
    expected = dict.fromkeys(figures(accept), "== 0") | {"equal_declarations": "== 100"}
    expected.pop("shard_ids")
    assert rules(accept) == expected
    assert notes(accept) == "told"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"strangers": (SimpleNamespace(n=1),)}, "equal_declarations"),
        ({"declarations": []}, "equal_declarations"),
        ({"shards__problems": ("p",)}, "broken_shard_files"),
        *(({"shards__offending": dict.fromkeys(ROWS, 0) | {offence: 1}}, name) for offence, name in ROWS.items()),
        ({"examples": ExampleAudit(30, 1, ())}, "examples_with_wrong_ids"),
        ({"tokenizer__wrong": ("<aud_end>",)}, "specials_mistaken"),
        ({"tokenizer__problem": "unreadable"}, "specials_mistaken"),
        ({"tokenizer__strays": ("w",)}, "tokens_on_media_ids"),
    ],
)
def test_each_part_of_the_identity_fails_alone(changes: dict[str, Any], name: str) -> None:
    assert fell_short(identity(**changes)) == [name]


def test_the_share_of_declarations_is_of_all_files_and_rows() -> None:
    assert figures(identity(strangers=(SimpleNamespace(n=2), SimpleNamespace(n=3))))["equal_declarations"] == (50, 10)
    assert figures(identity(declarations=[]))["equal_declarations"] == (None, 0)


def test_shards_without_rows_have_no_legal_ones() -> None:
    assert fell_short(identity(shards__rows=0)) == list(ROWS.values())


def test_the_bases_tokenizer_is_reported_and_none_is_not() -> None:
    of_base = identity(has_tokenizer=False, tokenizer__wrong=("<aud_end>",))
    assert of_base.failures == []
    assert figures(of_base)["specials_mistaken"] == (1, 16)
    assert "tokens_on_media_ids" not in figures(of_base)
    assert "specials_mistaken" not in figures(identity(tokenizer=None))


def test_the_first_findings_are_named() -> None:
    found = worst(identity(findings=iter([(f"f{i}", "n") for i in range(99)])))

    assert len(found) == MOST_NAMED == 40
    assert found[0] == ("f0", "", "n")


# ---------------------------------------------------------------------- rows


def rows_of(**changes: Any) -> TableRows:
    n = 6
    fields: dict[str, Any] = {
        "table": "embed", "finite": np.ones(n, dtype=bool), "twin": np.full(n, -1), "norms": np.ones(n),
        "text_norms": (0.5, 2.0), "moved": np.ones(n, dtype=bool),
    }  # fmt: skip
    return TableRows(**fields | changes)


def s32_of(space: TokenSpace, *tables: TableRows, seen: Any = None, parent: bool = True) -> Accept:
    def given(name: str) -> None:
        if not parent:
            raise MissingInputError(Path(name), "none", "a parent", "give one")

    audit = RowsAudit(48, tables, np.ones(6, dtype=bool) if seen is None else np.array(seen), "the shards")
    checkpoint: Any = SimpleNamespace(new_rows=lambda: audit, bundle=SimpleNamespace(space=space, input=given))
    accept = accepting()
    s32.test_new_rows_are_finite_moved_distinct_and_of_text_size(checkpoint, Stage3Thresholds(), accept)
    return accept


def test_healthy_rows(space: TokenSpace) -> None:
    accept = s32_of(space, rows_of(), rows_of(table="lm_head"))

    assert accept.failures == []
    assert worst(accept) == []
    for table in ("embed", "lm_head"):
        for kind in ("not_finite", "equal_to_another", "norm_out_of_range"):
            assert figures(accept)[f"{table}_rows_{kind}"] == (0, 6)
        assert figures(accept)[f"{table}_seen_rows_unmoved"] == (0, 6)
    assert notes(accept) == "Seen in training: the shards."


def at(*rows: int) -> np.ndarray:
    return np.isin(np.arange(6), rows)


@pytest.mark.parametrize(
    ("changes", "name", "note"),
    [
        ({"finite": ~at(2)}, "embed_rows_not_finite", "a value is not finite"),
        ({"twin": np.where(at(2), 0, -1)}, "embed_rows_equal_to_another", "equal to row 48"),
        ({"norms": np.where(at(2), 21.0, 1.0)}, "embed_rows_norm_out_of_range", "norm 21; the text rows' are 0.5 to 2"),
        ({"norms": np.where(at(2), 0.04, 1.0)}, "embed_rows_norm_out_of_range", "norm 0.04"),
        ({"norms": np.where(at(2), 0.0, 1.0)}, "embed_rows_norm_out_of_range", "norm 0"),
    ],
)
def test_a_row_that_is_not_as_it_should_be(space: TokenSpace, changes: dict[str, Any], name: str, note: str) -> None:
    accept = s32_of(space, rows_of(**changes))

    assert fell_short(accept) == [name]
    ((id_, what, told),) = worst(accept)
    assert (id_, what) == ("embed row 50", space.name_of(50))
    assert told.startswith(note)


def test_norms_at_the_bound_are_within_it(space: TokenSpace) -> None:
    assert s32_of(space, rows_of(norms=np.array([20.0, 0.05, 1, 1, 1, 1]))).failures == []


def test_a_row_that_is_no_number_has_no_norm_to_judge(space: TokenSpace) -> None:
    accept = s32_of(space, rows_of(finite=~at(2), norms=np.where(at(2), np.nan, 1.0)))

    assert fell_short(accept) == ["embed_rows_not_finite"]


def test_a_norm_of_an_untouched_row_is_noted(space: TokenSpace) -> None:
    norms = np.where(at(2, 3), 99.0, 1.0)
    untouched = s32_of(space, rows_of(norms=norms, moved=~at(2, 3)), seen=~at(2, 3))
    assert untouched.failures == []
    assert "embed: 2 rows that training never touched lie outside" in notes(untouched)

    assert fell_short(s32_of(space, rows_of(norms=norms, moved=~at(2, 3)), seen=~at(3))) == [
        "embed_rows_norm_out_of_range", "embed_seen_rows_unmoved",
    ]  # fmt: skip
    assert "never touched" not in notes(s32_of(space, rows_of(norms=norms)))
    assert fell_short(s32_of(space, rows_of(norms=norms, moved=None), seen=~at(2, 3))) == [
        "embed_rows_norm_out_of_range"
    ]


def test_seen_rows_that_did_not_move(space: TokenSpace) -> None:
    accept = s32_of(space, rows_of(moved=~at(1, 4)), seen=~at(4))

    assert fell_short(accept) == ["embed_seen_rows_unmoved"]
    assert figures(accept)["embed_seen_rows_unmoved"] == (20, 5)
    assert worst(accept) == [("embed row 49", space.name_of(49), "seen in training, and bit-equal to the parent's")]


def test_where_no_row_was_seen_nothing_is_known(space: TokenSpace) -> None:
    assert figures(s32_of(space, rows_of(), seen=np.zeros(6, dtype=bool)))["embed_seen_rows_unmoved"] == (None, 0)


def test_without_a_parent_the_rest_is_judged_and_the_gate_has_not_run(space: TokenSpace) -> None:
    with pytest.raises(MissingInputError, match="parent"):
        s32_of(space, rows_of(moved=None), parent=False)
    assert fell_short(s32_of(space, rows_of(moved=None, finite=~at(1)), parent=False)) == ["embed_rows_not_finite"]


def test_the_first_rows_of_a_kind_are_named(space: TokenSpace) -> None:
    assert len(worst(s32_of(space, rows_of(finite=np.zeros(6, dtype=bool))))) == 5
