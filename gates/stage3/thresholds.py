"""The numbers of stage 3. Every one has its source; a change here is a line in CHANGELOG.md."""

from gates.thresholds import StageThresholds


class Stage3Thresholds(StageThresholds):
    """Defaults: spec/stage3-iteration.md; where it gives no number, those of the system that it was written for."""

    # Section 1: "128 examples" of audio, "128 examples" of image.
    recommended_ablation_examples: int = 128
    # Ours: examples in all at the looks that follow where a figure is borderline.
    further_ablation_examples: tuple[int, ...] = (512, 1024)
    # The field, modality ablation: shuffled media, mean gap >= 0.10 nats/token or >= 5 %, win rate >= 0.80.
    min_gap_shuffled_media_nats: float = 0.10
    min_gap_shuffled_media_pct: float = 5.0
    min_win_rate_shuffled_media: float = 0.80
    # The field: noise, gap >= 0.15 nats/token or >= 8 %, win rate >= 0.85.
    min_gap_noise_media_nats: float = 0.15
    min_gap_noise_media_pct: float = 8.0
    min_win_rate_noise_media: float = 0.85
    # S3.2, times the text rows' 5 % or 95 % norm quantile. Neither spec nor field gives a number. The demo's healthy
    # rows lie within 3.4, the field's head rows grew 2.5-fold; an untrained (zero) or blown-up (x 30) row is far out.
    max_norm_factor: float = 10.0
    # S3.2, rows whose id is in the shards and that did not move, per cent; ours. An id of one clip alone may fall into
    # no batch (the demo: 0.08 % after 200 steps); updates lost to rounding or masking leave most rows unmoved.
    max_unmoved_seen_rows_pct: float = 1.0
    # S3.5, logits. The field: "differ by exactly 0 (< 1e-6)"; the second where kernels are not deterministic.
    max_text_logit_gap: float = 1e-6
    # S3.5, the first texts whose logits are compared; ours. One changed row shows on any text, and every row is looked
    # at on every position.
    text_logit_examples: int = 16
    # S3.5 without the base, nats/token against the recorded losses: another machine sums in another order, as another
    # batching does; the scorer's own tolerance in float32.
    max_text_loss_gap_nats: float = 1e-5
    # S3.5, per cent. The field: text-only perplexity "within 1 %" without LoRA.
    max_text_perplexity_rise_pct: float = 1.0
