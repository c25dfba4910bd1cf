"""P0.2 and P0.3 judge what was written: ids out of range as it is served, and everything else told beside it."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gates.gate import Accept
from gates.stage4 import test_p02_compliance as p02
from gates.stage4 import test_p03_decode as p03
from gates.stage4.thresholds import Stage4Thresholds
from harness.compliance import Compliance, Leak
from tests.accepting import accepting, fell_short, figures, notes, rules, worst

LIMITS = Stage4Thresholds()


def counts(
    out: int = 0, turn: int = 0, n_ids: int = 200, n: int = 10, kinds: dict[str, int] | None = None
) -> Compliance:
    """So many ids out of range, and out of turn, each in a sequence of its own."""
    leaks = [Leak(i, 20, ((0, 1),), ()) for i in range(out)] + [Leak(i, 20, (), ((0, 1),)) for i in range(turn)]
    return Compliance(n_ids, out, turn, n, {}, tuple(leaks), kinds or {})


def written(
    task: str = "t2a",
    how: str = "free",
    compliance: Compliance | None = None,
    expected: Any = (4, 6),
    ignored: Any = (),
) -> Any:
    modality = "audio" if task == "t2a" else "image"
    return SimpleNamespace(
        task=task, decoding=how, compliance=compliance or counts(), expected=expected,
        examples=(SimpleNamespace(modality=modality, id=f"{task}-0"),), sampling=SimpleNamespace(ignored=ignored),
    )  # fmt: skip


def checkpoint(decoding: str = "free", config: str | None = None, folder: Path | None = None, **found: Any) -> Any:
    if config is not None and folder is not None:
        (folder / "generation_config.json").write_text(config)
    asked: list[tuple[str, int, str]] = []

    def generations(task: str, n: int, how: str) -> Any:
        asked.append((task, n, how))
        return found.get(f"{task}_{how}") or written(task, how)

    bundle = SimpleNamespace(decoding=decoding, path=folder or Path("nowhere"), inputs={}, space=None)
    ablation = SimpleNamespace(mass_outside=np.array([0.1, 0.3]))
    return SimpleNamespace(
        bundle=bundle, generations=generations, asked=asked, prompt_ablation=lambda task, n: ablation
    )


def compliance(one: Any, monkeypatch: pytest.MonkeyPatch) -> Accept:
    def described(counted: Any, examples: Any, space: Any, folders: Any, how: str) -> list[dict[str, str]]:
        return [{"id": examples[0].id, "prompt": "", "note": how}]

    monkeypatch.setattr(p02, "describe_leaks", described)
    accept = accepting()
    p02.test_generation_stays_in_range(one, accept, LIMITS)
    return accept


# ---------------------------------------------------------------------- P0.2


@pytest.mark.parametrize(("how", "other"), [("free", "constrained"), ("constrained", "free")])
@pytest.mark.parametrize("task", ["t2a", "t2i"])
def test_what_is_judged_is_what_is_served(task: str, how: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leaky = written(task, how, counts(out=1))
    served = compliance(checkpoint(how, **{f"{task}_{how}": leaky}), monkeypatch)
    not_served = compliance(checkpoint(other, **{f"{task}_{how}": leaky}), monkeypatch)

    assert fell_short(served) == [f"{task}.out_of_range_pct"]
    assert not_served.failures == []
    assert rules(served) == {f"{each}.out_of_range_pct ({how})": "<= 0" for each in ("t2a", "t2i")}
    for accept in (served, not_served):
        assert figures(accept)[f"{task}.out_of_range_pct ({how})"] == (0.5, 10)


def test_the_rest_is_reported_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one = checkpoint("free", t2a_free=written("t2a", "free", counts(turn=3, kinds={"codebook mismatch": 3})))
    accept = compliance(one, monkeypatch)

    assert accept.failures == []
    found = figures(accept)
    assert found["t2a.out_of_turn_pct (free)"] == (1.5, 10)
    assert found["t2a.sequences_out_of_range (free)"] == (0, 10)
    assert found["t2a.mass_outside"] == (pytest.approx(0.2), 2)
    names = [m.name for m in accept.measurements]
    assert names.count("t2a.mass_outside") == 1
    # Beside the constrained figures, which it explains.
    assert names[names.index("t2a.mass_outside") - 1] == "t2a.sequences_out_of_range (constrained)"
    assert [table["title"] for table in accept.details["tables"]] == [
        "Wrong ids, and below what their rate lies", "What went wrong, by name",
    ]  # fmt: skip
    assert one.asked == [(task, 64, how) for task in ("t2a", "t2i") for how in ("free", "constrained")]
    assert worst(accept) == [
        ("t2a-0", "", "free"), ("t2a-0", "", "constrained"), ("t2i-0", "", "free"), ("t2i-0", "", "constrained"),
    ]  # fmt: skip


def test_limits_are_told_of_what_was_written_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constrained = written("t2a", "constrained", expected=(1, 1))
    one = checkpoint(config='{"max_new_tokens": 5}', folder=tmp_path, t2a_constrained=constrained)
    accept = compliance(one, monkeypatch)

    assert [note.partition(":")[0] for note in accept.details["notes"]] == ["t2a", "t2i"]


def test_nothing_written_is_nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = compliance(checkpoint("free", t2a_free=written("t2a", "free", counts(n_ids=0))), monkeypatch)

    assert fell_short(accept) == ["t2a.out_of_range_pct"]
    assert math.isnan(figures(accept)["t2a.out_of_range_pct (free)"][0] or 0)


def test_bounds_are_told_for_ids_and_for_sequences() -> None:
    half = p02.sequences_out_of_range(written(compliance=counts(out=5)))
    assert (half.value, half.unit, half.n) == (50, "%", 10)
    accept = accepting()
    p02.tell_bounds(accept, [written(compliance=counts(out=0, turn=2, n_ids=64, n=640))])

    (table,) = accept.details["tables"]
    assert table["rows"] == [
        ["t2a, free", "out of range", "0 of 64", "4.6 %", "0 of 640", "0.47 %"],
        ["t2a, free", "out of turn", "2 of 64", "9.5 %", "2 of 640", "0.98 %"],
    ]


def test_kinds_are_told_by_name_where_there_are_any() -> None:
    accept, clean = accepting(), accepting()
    p02.tell_kinds(clean, [written()])
    p02.tell_kinds(
        accept,
        [written(compliance=counts(kinds={"text leak": 2})), written("t2i", compliance=counts(kinds={"cut": 1}))],
    )

    assert clean.details == {}
    (table,) = accept.details["tables"]
    assert table["columns"] == ["sequences", "t2a, free (of 10)", "t2i, free (of 10)"]
    assert table["rows"] == [["text leak", 2, None], ["cut", None, 1]]


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (7, ""),
        (6, "cuts off 0 of 2 and leaves 1 without room for the end tag; at least 7"),
        (5, "cuts off 1 of 2 and leaves 1"),
    ],
)
def test_a_limit_of_its_own_that_is_too_small_is_told(tmp_path: Path, limit: int, told: str) -> None:
    one = checkpoint(config=f'{{"max_new_tokens": {limit}}}', folder=tmp_path)
    accept = accepting()
    p02.tell_limits(accept, one, [written()])

    assert told in notes(accept)
    assert bool(notes(accept)) is bool(told)


def test_settings_that_are_not_applied_are_told() -> None:
    accept = accepting()
    p02.tell_limits(accept, checkpoint(), [written(ignored=("num_beams", "top_h"))])

    assert notes(accept).startswith("generation_config.json asks for num_beams, top_h: not applied here")


def test_the_bases_tokenizer_is_looked_at_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(p02, "describe_leaks", lambda *args: asked.append(args[3]))
    one = checkpoint()
    p02.worst(one, written())
    one.bundle.inputs = {"base": Path("base")}
    p02.worst(one, written())

    assert asked == [[Path("nowhere")], [Path("nowhere"), Path("base")]]


# ---------------------------------------------------------------------- P0.3


def decoding(monkeypatch: pytest.MonkeyPatch, **reasons: list[str | None]) -> Accept:
    """The gate where these samples did not decode, for these reasons."""

    def samples(_: Any, generated: Any, decoded: Any) -> list[dict[str, Any]]:
        said = reasons[generated]
        return [{"id": f"{generated}-{i}", "prompt": "p", "task": generated, "ok": r is None, "reason": r}
                for i, r in enumerate(said)]  # fmt: skip

    monkeypatch.setattr(p03, "as_served", lambda checkpoint, task, thresholds: task)
    monkeypatch.setattr(p03, "samples", samples)
    one: Any = SimpleNamespace(decoded=lambda task, folder: [SimpleNamespace(ok=r is None) for r in reasons[task]])
    accept = accepting()
    p03.test_everything_written_decodes(one, accept, LIMITS)
    return accept


def test_everything_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = decoding(monkeypatch, t2a=[None] * 3, t2i=[None] * 2)

    assert accept.failures == []
    assert rules(accept) == {"t2a.decode_success_rate": ">= 100", "t2i.decode_success_rate": ">= 100"}
    assert figures(accept) == {"t2a.decode_success_rate": (100, 3), "t2i.decode_success_rate": (100, 2)}
    assert len(accept.details["gallery"]) == 5
    assert (worst(accept), "tables" in accept.details) == ([], False)


def test_one_that_does_not_decode_fails_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = decoding(
        monkeypatch, t2a=[None, "empty output: nothing", None, "cut off: at 3"], t2i=[None, "cut off: at 9"]
    )

    assert fell_short(accept) == ["t2a.decode_success_rate", "t2i.decode_success_rate"]
    assert figures(accept)["t2a.decode_success_rate"] == (50, 4)
    assert worst(accept) == [
        ("t2a-1", "p", "empty output: nothing"), ("t2a-3", "p", "cut off: at 3"), ("t2i-1", "p", "cut off: at 9"),
    ]  # fmt: skip
    (table,) = accept.details["tables"]
    assert table["columns"] == ["fault", "t2a", "t2i"]
    assert table["rows"] == [["empty output", 1, 0], ["cut off", 1, 1]]


def test_what_is_served_is_cut_by_the_checkpoints_own_limit(tmp_path: Path) -> None:
    cuts: list[int | None] = []
    generated = written("t2i", "constrained")
    generated.cut = cuts.append
    one = checkpoint("constrained", config='{"max_new_tokens": 9}', folder=tmp_path, t2i_constrained=generated)

    p03.as_served(one, "t2i", LIMITS)
    assert cuts == [9]
    assert one.asked == [("t2i", 64, "constrained")]


def test_the_gallery_shows_what_was_written_beside_its_reference(tmp_path: Path) -> None:
    def sample(name: str | None, reason: str | None = None) -> Any:
        return SimpleNamespace(file=tmp_path / name if name else None, ok=reason is None, reason=reason)

    generated = SimpleNamespace(
        task="t2a", examples=(SimpleNamespace(id="a", text="a bell"), SimpleNamespace(id="b", text=None))
    )
    asked: list[str] = []

    def references(examples: Any, folder: str) -> list[Any]:
        asked.append(folder)
        return [sample("golden.wav"), sample(None)]

    one: Any = SimpleNamespace(references=references, settings=SimpleNamespace(out=tmp_path))
    decoded = [sample("media/t2a/a.wav"), sample(None, "cut off: at 3")]

    assert p03.samples(one, generated, decoded) == [  # type: ignore[arg-type]
        {"id": "a", "task": "t2a", "prompt": "a bell", "file": "media/t2a/a.wav", "reference": "golden.wav", "ok": True,
         "reason": None},
        {"id": "b", "task": "t2a", "prompt": "", "file": None, "reference": None, "ok": False,
         "reason": "cut off: at 3"},
    ]  # fmt: skip
    assert asked == ["media/reference/t2a"]
