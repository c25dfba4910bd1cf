"""The numbers of stage 3. Every one has its source; a change here is a line in CHANGELOG.md."""

from gates.thresholds import StageThresholds


class Stage3Thresholds(StageThresholds):
    """Defaults: spec/stage3-iteration.md; where it gives no number, those of the system that it was written for."""

    # Section 1: "128 examples" of audio, "128 examples" of image.
    recommended_ablation_examples: int = 128
    # The field, modality ablation: shuffled media, mean gap >= 0.10 nats/token or >= 5 %, win rate >= 0.80.
    min_gap_shuffled_media_nats: float = 0.10
    min_gap_shuffled_media_pct: float = 5.0
    min_win_rate_shuffled_media: float = 0.80
    # The field: noise, gap >= 0.15 nats/token or >= 8 %, win rate >= 0.85.
    min_gap_noise_media_nats: float = 0.15
    min_gap_noise_media_pct: float = 8.0
    min_win_rate_noise_media: float = 0.85
