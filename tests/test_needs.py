"""Which inputs are missing: the required ones first, and none that the checkpoint's form or stage has no use for."""

import pytest

from gates.needs import NEEDS, missing

ALL = {need.name for need in NEEDS}


def names(stage: int, form: str = "rows", *present: str) -> list[str]:
    return [need.name for need in missing(stage, form, present)]


def test_of_everything_nothing_is_missing() -> None:
    assert missing(3, "rows", ALL) == missing(4, "whole", ALL) == []


def test_of_nothing_the_required_come_first() -> None:
    assert names(3) == ["base", "shards", "golden", "text_eval", "parent", "dev", "train_log"]
    assert names(4) == ["base", "lora", "shards", "golden", "codecs", "text_eval", "parent", "dev", "train_log"]


@pytest.mark.parametrize(
    ("stage", "required"),
    [(3, {"base", "shards", "golden", "text_eval"}), (4, {"base", "lora", "shards", "golden", "codecs"})],
)
def test_what_a_p0_gate_cannot_run_without(stage: int, required: set[str]) -> None:
    assert {need.name for need in NEEDS if stage in need.required} == required
    # No gate uses what it does not say: the gates that a stage names are that stage's.
    for need in NEEDS:
        assert set(need.required) <= set(need.gates)
        assert all(("S3." in gates) is (of == 3) or "P0" in gates or "P1" in gates for of, gates in need.gates.items())


def test_only_rows_are_kept_apart_from_their_adapter() -> None:
    assert "lora" in names(4, "rows")
    assert "lora" not in names(4, "whole")
    assert "lora" not in names(4, "adapter")


def test_a_fingerprint_stands_in_for_the_base_of_a_whole_model() -> None:
    assert "base" not in names(4, "whole", "base_fingerprint")
    assert "base" in names(4, "whole")
    assert "base" in names(4, "rows", "base_fingerprint")
    assert "base" in names(4, "adapter", "base_fingerprint")


def test_options_are_spelt_as_on_the_command_line() -> None:
    options = {need.name: need.option for need in NEEDS}

    assert options["text_eval"] == "--text-eval FILE"
    assert options["golden"] == "--golden FILE|DIR"
