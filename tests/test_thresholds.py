"""Thresholds: the published numbers are the ones in force, ours change only here and in CHANGELOG.md, files say more.

A number that moves by accident weakens a gate without any other test failing: that is what the two tables are for.
"""

from pathlib import Path
from typing import Any

import pytest

from gates.dynamics_thresholds import LogThresholds
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4.thresholds import Stage4Thresholds
from gates.thresholds import StageThresholds, changed_from_spec, read_thresholds
from harness.errors import HarnessError

# Of spec/stage4-verification.md, section B, and of the system that the spec was written for.
STAGE4_PUBLISHED = {
    "max_out_of_range_pct": 0, "min_decode_success_pct": 100, "min_win_rate_shuffled_prompt": 0.7,
    "min_win_rate_empty_prompt": 0.8, "min_gap_empty_prompt_nats": 0.1, "recommended_ablation_examples": 256,
    "recommended_read_ablation_examples": 128, "min_gap_shuffled_media_nats": 0.1, "min_gap_shuffled_media_pct": 5,
    "min_win_rate_shuffled_media": 0.8, "min_gap_noise_media_nats": 0.15, "min_gap_noise_media_pct": 8,
    "min_win_rate_noise_media": 0.85, "min_gap_constant_media_nats": 0.1, "min_gap_constant_media_pct": 5,
    "generation_examples": 64, "max_text_perplexity_rise_pct": 2,
}  # fmt: skip
# Of spec/stage3-iteration.md, sections 1 and 6, and of the same system.
STAGE3_PUBLISHED = {
    "recommended_ablation_examples": 128, "min_gap_shuffled_media_nats": 0.1, "min_gap_shuffled_media_pct": 5,
    "min_win_rate_shuffled_media": 0.8, "min_gap_noise_media_nats": 0.15, "min_gap_noise_media_pct": 8,
    "min_win_rate_noise_media": 0.85, "max_text_logit_gap": 1e-6, "max_text_perplexity_rise_pct": 1,
    "real_backbone_billions": 8,
}  # fmt: skip
STAGE4_OURS = {
    "further_ablation_examples": (512, 1024), "end_tag_pct_above": 0, "min_end_tag_change_upper_points": 0,
    "max_merge_error_f32_units": 64, "adapter_effect_examples": 2, "real_media_tail": 0.05, "collapse_way": 0.5,
    "collapse_way_rms": 0.9, "collapse_way_contrast": 0.75, "collapse_way_clipping": 0.01, "max_collapsed_share": 0.1,
    "collapse_way_duplicates": 0.1, "max_golden_media_alike": 0.5, "max_hash_distance_bits": 4,
    "max_spectral_distance_db": 1, "min_codebook_entropy_pct": 50, "max_write_loss_of_uniform": 0.9,
    "max_first_write_loss_of_uniform": 1.5, "min_write_loss_fall_pct": 10, "min_read_loss_nats": 0.002,
    "notable_read_loss_nats": 0.02, "max_read_loss_cliff_pct": 50,
}  # fmt: skip
STAGE3_OURS = {
    "further_ablation_examples": (512, 1024), "max_norm_factor": 10, "max_unmoved_seen_rows_pct": 1,
    "text_logit_examples": 16, "max_text_loss_gap_nats": 1e-5, "min_loss_fall_pct": 5, "min_last_gap_nats": 0.02,
    "max_gap_drop_pct": 25, "near_zero_gap_nats": 0.02, "min_gap_growth_pct": 10, "max_gap_spread_pct": 25,
}  # fmt: skip
LOGS_OURS = {
    "max_line_score": 5, "loss_noise_floor": 0.02, "norm_noise_floor": 0.01, "max_step_distance": 1.5,
    "max_silent_share": 0.1, "max_loss_rise_pct": 10, "max_loss_rise_nats": 0.05, "max_loss_rise_score": 4,
    "min_loss_fall_score": 3, "max_flat_loss_score": 1, "min_lines_of_a_trend": 30, "max_equal_share": 0.5,
    "max_norm_growth": 10, "max_rate_factor": 3, "max_rate_off_pct": 1, "max_zero_rate_pct": 10,
    "dev_loss_examples": 128, "max_dev_loss_off_nats": 0.01, "max_dev_loss_off_pct": 1, "max_training_loss_factor": 2,
    "max_training_loss_off_nats": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        pytest.param(Stage4Thresholds, STAGE4_PUBLISHED, id="stage4-published"),
        pytest.param(Stage3Thresholds, STAGE3_PUBLISHED, id="stage3-published"),
        pytest.param(Stage4Thresholds, STAGE4_OURS, id="stage4-ours"),
        pytest.param(Stage3Thresholds, STAGE3_OURS, id="stage3-ours"),
        pytest.param(LogThresholds, LOGS_OURS, id="logs"),
    ],
)
def test_the_numbers_in_force(kind: type[StageThresholds], numbers: dict[str, Any]) -> None:
    in_force = kind().model_dump()

    assert {name: in_force[name] for name in numbers} == numbers


@pytest.mark.parametrize(
    ("kind", "published", "ours"),
    [(Stage3Thresholds, STAGE3_PUBLISHED, STAGE3_OURS), (Stage4Thresholds, STAGE4_PUBLISHED, STAGE4_OURS)],
)
def test_every_number_is_in_a_table(
    kind: type[StageThresholds], published: dict[str, Any], ours: dict[str, Any]
) -> None:
    assert sorted(kind.model_fields) == sorted([*published, *ours, *LOGS_OURS])


def written(folder: Path, text: str) -> Path:
    path = folder / "thresholds.toml"
    path.write_text(text)
    return path


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path, "min_win_rate_shuffled_prompt = 0.6\nfurther_ablation_examples = [512]\n")

    read = read_thresholds(Stage4Thresholds, path)

    assert read == Stage4Thresholds(min_win_rate_shuffled_prompt=0.6, further_ablation_examples=(512,))
    assert changed_from_spec(read) == {
        "min_win_rate_shuffled_prompt": {"spec": 0.7, "used": 0.6},
        "further_ablation_examples": {"spec": (512, 1024), "used": (512,)},
    }


def test_without_a_file_nothing_is_changed() -> None:
    assert read_thresholds(Stage3Thresholds, None) == Stage3Thresholds()
    assert changed_from_spec(Stage3Thresholds()) == {}


def test_a_number_that_is_the_specs_is_no_change(tmp_path: Path) -> None:
    assert changed_from_spec(read_thresholds(Stage4Thresholds, written(tmp_path, "max_out_of_range_pct = 0.0"))) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("min_winrate = 0.5", r"min_winrate: .*; expected one of max_line_score, ", id="misspelt"),
        pytest.param("min_decode_success_pct = nan", "min_decode_success_pct: ", id="nan"),
        pytest.param("min_decode_success_pct = nan\nanything = 1", "min_decode_success_pct: ", id="two-faults"),
        pytest.param("min_decode_success_pct = inf", "min_decode_success_pct: ", id="inf"),
        pytest.param('min_decode_success_pct = "x"', "min_decode_success_pct: ", id="text"),
        pytest.param("min_decode_success_pct =", "text that is not TOML", id="no-toml"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(HarnessError, match=told):
        read_thresholds(Stage4Thresholds, written(tmp_path, text))


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    with pytest.raises(HarnessError, match="No such file"):
        read_thresholds(Stage4Thresholds, path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(HarnessError, match="not TOML"):
        read_thresholds(Stage4Thresholds, path)


def test_thresholds_do_not_change_during_a_run() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Stage4Thresholds().max_out_of_range_pct = 1.0
