"""The whole way: the small recipe is trained once, kept in a cache folder and gated; broken copies are rejected."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from gates.options import CACHE_VARIABLE
from tests.gating import outcomes, run_gates
from tests.small_run import last_checkpoint, train_small


@pytest.fixture(scope="module", autouse=True)
def shared_evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is asked of the same checkpoint here again and again is measured once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("evidence")))
        yield


def test_a_second_run_of_the_training_does_nothing(small_run: Path) -> None:
    lines = [line for line in train_small().splitlines() if line]

    assert lines
    assert all("nothing to do" in line for line in lines), lines


def test_a_trained_stage_3_checkpoint_is_promoted(pytester: pytest.Pytester, small_run: Path) -> None:
    code, verdict = run_gates(pytester, "stage3", last_checkpoint(small_run, "stage3"))

    assert (code, verdict["verdict"]) == (0, "PROMOTE"), verdict["gates"]
    assert set(outcomes(verdict).values()) == {"pass"}


def test_a_trained_stage_4_checkpoint_is_promoted(pytester: pytest.Pytester, small_run: Path) -> None:
    code, verdict = run_gates(pytester, "stage4", last_checkpoint(small_run, "stage4"))

    assert (code, verdict["verdict"]) == (0, "PROMOTE"), verdict["gates"]
    # A warning, which does not block: a model as small as this one writes sounds of few codes.
    assert {id_: outcome for id_, outcome in outcomes(verdict).items() if outcome != "pass"} == {"P1.3": "fail"}


def test_a_red_p1_gate_warns_and_does_not_block(pytester: pytest.Pytester, small_run: Path, tmp_path: Path) -> None:
    unreachable = tmp_path / "thresholds.toml"
    unreachable.write_text("min_win_rate_noise_media = 1.1")

    code, verdict = run_gates(pytester, "stage4", last_checkpoint(small_run, "stage4"), f"--thresholds={unreachable}")

    assert outcomes(verdict)["P1.2"] == "fail"
    assert (code, verdict["verdict"]) == (0, "PROMOTE")


def test_without_a_p1_gate_the_run_is_not_whole(pytester: pytest.Pytester, small_run: Path) -> None:
    code, verdict = run_gates(pytester, "stage4", last_checkpoint(small_run, "stage4"), "-k", "not text")

    assert {outcome for id_, outcome in outcomes(verdict).items() if id_.startswith("P0")} == {"pass"}
    assert (code, verdict["verdict"]) == (10, "INCOMPLETE")


def test_a_p1_gate_without_its_input_warns_and_does_not_block(
    pytester: pytest.Pytester, small_run: Path, tmp_path: Path
) -> None:
    """A checkpoint of another trainer, of whose log nothing is left."""
    code, verdict = run_gates(
        pytester, "stage4", last_checkpoint(small_run, "stage4"), f"--train-log={tmp_path / 'lost.jsonl'}"
    )

    assert outcomes(verdict)["P1.5"] == "not_run"
    assert (code, verdict["verdict"]) == (0, "PROMOTE")
    assert "P1.5" in verdict["next_step"]


def test_a_skipped_p1_gate_is_no_warning(pytester: pytest.Pytester, small_run: Path) -> None:
    pytester.makepyfile(
        skipper="""
        import pytest

        def pytest_runtest_setup(item):
            if "test_p15" in str(item.path):
                pytest.skip("not today")
        """
    )
    pytester.syspathinsert()

    code, verdict = run_gates(pytester, "stage4", last_checkpoint(small_run, "stage4"), "-p", "skipper")

    assert outcomes(verdict)["P1.5"] == "not_run"
    assert (code, verdict["verdict"]) == (10, "INCOMPLETE")


def test_a_smoke_run_of_a_good_checkpoint_is_incomplete(pytester: pytest.Pytester, small_run: Path) -> None:
    code, verdict = run_gates(pytester, "stage4", last_checkpoint(small_run, "stage4"), "--max-examples=64")

    assert (code, verdict["verdict"]) == (10, "INCOMPLETE")


def test_an_untrained_checkpoint_is_rejected(pytester: pytest.Pytester, small_run: Path) -> None:
    code, verdict = run_gates(pytester, "stage4", small_run / "surgery" / "checkpoint_0")

    assert code == 1
    assert [id_ for id_, outcome in outcomes(verdict).items() if outcome != "pass"] == [
        "P0.4",
        "P0.5",
        "P1.1",
        "P1.2",
        "P1.3",
        "P1.5",  # nothing was trained, and nothing logged
    ]


def test_a_checkpoint_that_only_reads_is_not_promoted_to_write(pytester: pytest.Pytester, small_run: Path) -> None:
    code, verdict = run_gates(pytester, "stage4", last_checkpoint(small_run, "stage3"))

    assert code == 1
    assert outcomes(verdict)["P0.4"] == "fail"


def test_a_checkpoint_that_ignores_its_media_is_rejected(pytester: pytest.Pytester, small_run: Path) -> None:
    code, verdict = run_gates(pytester, "stage3", small_run / "surgery" / "checkpoint_0")

    assert code == 1
    assert outcomes(verdict)["S3.4"] == "fail"


def test_a_base_with_one_other_text_row_is_rejected(pytester: pytest.Pytester, small_run: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(small_run / "base", base)
    tensors = load_file(base / "model.safetensors")
    tensors["lm_head.weight"][17, 3] += 1e-6
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})

    code, verdict = run_gates(pytester, "stage3", last_checkpoint(small_run, "stage3"), f"--base={base}")

    assert code == 1
    (s33,) = [gate for gate in verdict["gates"] if gate["id"] == "S3.3"]
    assert s33["outcome"] == "fail"
    assert [row["id"] for row in s33["details"]["worst"]] == ["lm_head row 17"]


def test_a_free_checkpoint_that_leaks_text_fails_compliance(
    pytester: pytest.Pytester, small_run: Path, tmp_path: Path
) -> None:
    """The untrained checkpoint, served free, writes text into its sounds and pictures."""
    ckpt = small_run / "surgery" / "checkpoint_0"
    copy = small_run / "surgery" / f"copy_{tmp_path.name}"
    shutil.copytree(ckpt, copy)
    try:
        bundle = json.loads((copy / "bundle.json").read_text())
        (copy / "bundle.json").write_text(json.dumps(bundle | {"decoding": "free"}))

        code, verdict = run_gates(pytester, "stage4", copy)
    finally:
        shutil.rmtree(copy)

    assert code == 1
    found = {gate["id"]: gate for gate in verdict["gates"]}
    assert (found["P0.2"]["outcome"], found["P0.3"]["outcome"]) == ("fail", "fail")
    assert found["P0.2"]["details"]["worst"][0]["note"]
    assert "constrained decoding" in found["P0.2"]["advice"][0]
    reasons = {sample["reason"] for sample in found["P0.3"]["details"]["gallery"] if not sample["ok"]}
    assert reasons
    assert None not in reasons
