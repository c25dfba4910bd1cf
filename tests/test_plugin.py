"""The plugin through real inner runs: options, outcomes, verdict, exit codes; nothing but a whole green run exits 0."""

import json
from pathlib import Path
from typing import Any

import pytest

from gates.gate import Accept, Gate, GateFailedError, TooFewExamplesError
from gates.options import GATES_ROOT
from harness.results import Measurement
from tests.tiny import Tiny, edit_json

CRITERION = Gate(id="X", name="x", priority="P0", claim="c", source="s", advice=("do this",))


def _run(pytester: pytest.Pytester, stage: str, *args: str) -> pytest.RunResult:
    ini = str(GATES_ROOT / "run.ini")
    return pytester.runpytest_inprocess("-c", ini, "-p", "gates.plugin", str(GATES_ROOT / stage), *args)


def _verdict(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "verdict.json").read_text())
    return found


def _outcomes(out: Path) -> dict[str, str]:
    return {gate["id"]: gate["outcome"] for gate in _verdict(out)["gates"]}


def _options(tiny: Tiny) -> list[str]:
    return [f"--ckpt={tiny.ckpt}", f"--out={tiny.root / 'out'}"]


# ---------------------------------------------------------------- usage


def test_gates_without_a_checkpoint_are_a_usage_error(pytester: pytest.Pytester) -> None:
    result = _run(pytester, "stage4")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: gates need a checkpoint: pytest gates/stage4 --ckpt=DIR"])


def test_a_missing_checkpoint_folder_is_one_clear_line(pytester: pytest.Pytester) -> None:
    result = _run(pytester, "stage4", "--ckpt=nowhere")

    assert result.ret == 4
    assert [line for line in result.stderr.lines if line] == [
        "ERROR: --ckpt=nowhere: no such folder; expected a checkpoint bundle"
    ]


def test_two_stages_at_once_are_a_usage_error(pytester: pytest.Pytester, shared_tiny: Tiny) -> None:
    result = pytester.runpytest_inprocess(
        "-c", str(GATES_ROOT / "run.ini"), "-p", "gates.plugin", str(GATES_ROOT), f"--ckpt={shared_tiny.ckpt}"
    )

    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: one stage at a time*"])


def test_a_misspelt_threshold_is_a_usage_error(pytester: pytest.Pytester, shared_tiny: Tiny) -> None:
    path = pytester.makefile(".toml", "min_win_rate_shufled_prompt = 0.1")

    result = _run(pytester, "stage4", f"--ckpt={shared_tiny.ckpt}", f"--thresholds={path}")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["*min_win_rate_shufled_prompt: Extra inputs are not permitted*"])


# ---------------------------------------------------------------- verdicts


def test_an_untrained_checkpoint_is_rejected_gate_by_gate(pytester: pytest.Pytester, tiny: Tiny) -> None:
    result = _run(pytester, "stage4", *_options(tiny))

    out = tiny.root / "out"
    assert result.ret == 1
    assert _verdict(out)["verdict"] == "REJECT"
    red = [id_ for id_, outcome in _outcomes(out).items() if outcome != "pass"]
    assert red == ["P0.4", "P1.1", "P1.2", "P1.3", "P1.5"]  # P1.5 is not run: it has no training log
    (p04,) = [gate for gate in _verdict(out)["gates"] if gate["id"] == "P0.4"]
    assert p04["advice"][0].startswith("Ensure that the ablation tests the prompt's influence")
    assert {m["name"] for m in p04["measurements"]} >= {"t2i.win_rate_empty", "t2a.delta_shuffled", "t2a.null_gap"}
    assert (out / "report.html").is_file()
    assert (out / "summary.md").is_file()
    assert len(list((out / "media" / "t2i").glob("*.png"))) == len(list((out / "media" / "t2a").glob("*.wav"))) == 12
    result.stdout.fnmatch_lines(["*REJECT*P0.4 prompt_ablation failed*", "report: *report.html"])


def test_another_run_gives_the_same_gates_and_values(pytester: pytest.Pytester, tiny: Tiny) -> None:
    out = tiny.root / "out"
    gates = []
    for extra in ([], ["--no-cache"], []):
        _run(pytester, "stage4", *_options(tiny), *extra)
        gates.append([gate | {"duration_s": 0} for gate in _verdict(out)["gates"]])

    assert gates[0] == gates[1] == gates[2]


def test_a_run_over_workers_gives_the_same_gates(pytester: pytest.Pytester, tiny: Tiny) -> None:
    _run(pytester, "stage4", *_options(tiny))
    alone = _verdict(tiny.root / "out")["gates"]

    result = pytester.runpytest_subprocess(
        "-c", str(GATES_ROOT / "run.ini"), "-p", "gates.plugin", str(GATES_ROOT / "stage4"), f"--ckpt={tiny.ckpt}",
        f"--out={tiny.root / 'out2'}", "-n", "2",
    )  # fmt: skip

    assert result.ret == 1
    strip = {"duration_s": 0}
    assert [g | strip for g in _verdict(tiny.root / "out2")["gates"]] == [g | strip for g in alone]


def test_a_stranger_among_the_shards_is_named(pytester: pytest.Pytester, tiny: Tiny) -> None:
    from tests.tiny import write_shards

    write_shards(tiny.shards, tiny.space, footer="0" * 64)

    result = _run(pytester, "stage4", *_options(tiny), "-k", "one_token_space")

    assert result.ret == 1
    (p01,) = [g for g in _verdict(tiny.root / "out")["gates"] if g["id"] == "P0.1"]
    assert p01["outcome"] == "fail"
    assert [row["id"] for row in p01["details"]["worst"]] == [str(tiny.shards / "part-0.parquet")]


def test_a_missing_input_is_not_run_and_not_passed(pytester: pytest.Pytester, tiny: Tiny) -> None:
    bundle = json.loads((tiny.ckpt / "bundle.json").read_text())
    del bundle["shards"]
    (tiny.ckpt / "bundle.json").write_text(json.dumps(bundle))

    result = _run(pytester, "stage4", *_options(tiny), "-k", "one_token_space")

    assert result.ret == 10
    assert _outcomes(tiny.root / "out")["P0.1"] == "not_run"
    result.stdout.fnmatch_lines(["*found no 'shards' in bundle.json*Add it there, or pass --shards*"])


def test_a_golden_set_without_an_example_is_an_error(pytester: pytest.Pytester, tiny: Tiny) -> None:
    (tiny.golden / "golden_t2a_12.jsonl").write_text("")

    result = _run(pytester, "stage4", *_options(tiny))

    assert result.ret == 10
    found = _outcomes(tiny.root / "out")
    assert {found[id_] for id_ in ("P0.2", "P0.3", "P0.4")} == {"error"}
    assert "fail" not in [outcome for id_, outcome in found.items() if id_.startswith("P0")]


def test_a_smoke_run_is_never_promoted(pytester: pytest.Pytester, tiny: Tiny) -> None:
    result = _run(pytester, "stage4", *_options(tiny), "--max-examples=2", "-k", "token_space or range or decodes")

    assert result.ret == 10
    assert "--max-examples" in _verdict(tiny.root / "out")["next_step"]


def test_weights_that_are_not_finite_are_not_promoted(pytester: pytest.Pytester, tiny: Tiny) -> None:
    from safetensors.torch import load_file, save_file

    file = tiny.ckpt / "trainable_rows.safetensors"
    rows = load_file(file)
    rows["embeddings"][:] = float("nan")
    save_file(rows, file)

    result = _run(pytester, "stage4", *_options(tiny))

    assert result.ret == 1
    assert _outcomes(tiny.root / "out")["P0.4"] == "fail"


@pytest.mark.parametrize(
    "args",
    [
        ["-k", "one_token_space"],
        ["--deselect", "stage4/test_p04_prompt_ablation.py"],
        ["--collect-only"],
        ["-k", "no_such"],
    ],
    ids=["-k", "--deselect", "--collect-only", "nothing"],
)
def test_a_part_of_the_gates_is_incomplete(pytester: pytest.Pytester, tiny: Tiny, args: list[str]) -> None:
    result = _run(pytester, "stage4", *_options(tiny), *args)

    assert result.ret == 10
    assert _verdict(tiny.root / "out")["verdict"] == "INCOMPLETE"


def test_a_skipped_gate_is_not_run(pytester: pytest.Pytester, tiny: Tiny) -> None:
    pytester.makepyfile(
        skipper="""
        import pytest

        def pytest_runtest_setup(item):
            pytest.skip("not today")
        """
    )
    pytester.syspathinsert()

    result = _run(pytester, "stage4", *_options(tiny), "-p", "skipper")

    assert result.ret == 10
    assert set(_outcomes(tiny.root / "out").values()) == {"not_run"}


def test_an_older_promotion_does_not_survive_the_start_of_a_run(pytester: pytest.Pytester, tiny: Tiny) -> None:
    out = tiny.root / "out"
    _run(pytester, "stage4", *_options(tiny), "-k", "one_token_space")
    edit_json(out / "verdict.json", verdict="PROMOTE")
    pytester.makepyfile(
        killer="""
        import os

        def pytest_runtest_setup(item):
            os._exit(9)
        """
    )
    pytester.syspathinsert()

    result = pytester.runpytest_subprocess(
        "-c",
        str(GATES_ROOT / "run.ini"),
        "-p",
        "gates.plugin",
        "-p",
        "killer",
        str(GATES_ROOT / "stage4"),
        *_options(tiny),
    )

    assert result.ret == 9
    assert _verdict(out)["verdict"] == "INCOMPLETE"


def test_an_output_folder_that_cannot_be_written_is_a_usage_error(pytester: pytest.Pytester, tiny: Tiny) -> None:
    blocked = tiny.root / "a_file"
    blocked.write_text("")

    result = _run(pytester, "stage4", f"--ckpt={tiny.ckpt}", f"--out={blocked}")

    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --out=*expected a folder to write to"])


def test_other_thresholds_are_listed_with_the_specs(pytester: pytest.Pytester, tiny: Tiny) -> None:
    path = pytester.makefile(".toml", "min_win_rate_empty_prompt = 0.5")

    _run(pytester, "stage4", *_options(tiny), f"--thresholds={path}", "-k", "one_token_space")

    changed = _verdict(tiny.root / "out")["thresholds"]["changed"]
    assert changed == {"min_win_rate_empty_prompt": {"spec": 0.8, "used": 0.5}}


# ---------------------------------------------------------------- judging


def _measured(value: float, n: int = 256, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement(name="m", value=value, unit="share", n=n, low=low, high=high)


def test_a_gate_that_judges_nothing_has_not_passed() -> None:
    accept = Accept(CRITERION)
    accept.report(_measured(1.0))

    with pytest.raises(RuntimeError, match="gate X judged nothing"):
        accept.close()


def test_nan_fails_every_rule() -> None:
    for bound in ("at_least", "at_most", "above", "exactly"):
        accept = Accept(CRITERION)
        assert not accept(_measured(float("nan")), **{bound: 0.0})
        with pytest.raises(GateFailedError, match="could not be computed"):
            accept.close()


@pytest.mark.parametrize(
    ("value", "low", "high", "n", "raises"),
    [
        (0.75, 0.69, 0.80, 256, None),
        (0.75, 0.60, 0.85, 64, TooFewExamplesError),
        (0.95, 0.87, 0.99, 64, None),
        (0.50, 0.40, 0.65, 64, GateFailedError),
        (0.69, 0.63, 0.75, 256, GateFailedError),
    ],
    ids=["enough", "too few", "few but proven", "few and refuted", "enough and below"],
)
def test_with_few_examples_only_proven_passes(
    value: float, low: float, high: float, n: int, raises: type[Exception] | None
) -> None:
    accept = Accept(CRITERION)
    accept(_measured(value, n, low, high), at_least=0.70, recommended_n=256)

    if raises is None:
        accept.close()
    else:
        with pytest.raises(raises):
            accept.close()


def test_strict_asks_for_proven() -> None:
    accept = Accept(CRITERION, strict=True)
    accept(_measured(0.75, 256, 0.69, 0.80), at_least=0.70)

    with pytest.raises(TooFewExamplesError):
        accept.close()


def test_one_of_several_is_enough_where_the_spec_says_so() -> None:
    accept = Accept(CRITERION)
    accept.any_of([_measured(0.02), _measured(0.2)], at_least=0.1)
    accept.close()

    accept = Accept(CRITERION)
    accept.any_of([_measured(0.02), _measured(0.05)], at_least=0.1)
    with pytest.raises(GateFailedError):
        accept.close()
