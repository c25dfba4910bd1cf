"""The numbers by which a training log is judged in both stages. All are ours: the spec reads its log in words.

In brackets the nearest that healthy logs come: the field's stage 4 log (40 lines, smoothed), its stage 3 log (164
lines, single examples), the demo's (12 lines of stage 4, 4 and 16 of stage 3).
"""

from gates.thresholds import StageThresholds


class LogThresholds(StageThresholds):
    """Of P1.5 and S3.6."""

    # "Without spikes": how far a line may stand out, robust z-score. Of 10,000 lines of normal noise one in 300 logs
    # has such a line (losses: 2.4 in the field's, 2.1 in the demo's; norms: 1.2 and 2.0).
    max_line_score: float = 5.0
    # Noise that is taken for granted, in natural logarithms. A smoothed log has hardly any of its own (the field's:
    # 0.003), and is not to be called sick for 3 %: with these, a line of 40 stands out at 13 %, a norm at 6 %. A norm
    # that is logged in bfloat16 goes by steps of up to 0.008.
    loss_noise_floor: float = 0.02
    norm_noise_floor: float = 0.01
    # Distance between lines, in usual ones: one line missing makes it 2 (every healthy log: 1).
    max_step_distance: float = 1.5
    # Share of the log in which a key may be missing while others are logged (every healthy log: 0).
    max_silent_share: float = 0.10
    # A loss at the end against its best level before: per cent and nats/token, and robust z-score; all three must be
    # exceeded (the field's: 4 %; the demo's text: 13 %, which are 0.06 nats and stand out by 2.3).
    max_loss_rise_pct: float = 10.0
    max_loss_rise_nats: float = 0.05
    max_loss_rise_score: float = 4.0
    # A fall must be larger than noise makes: standard errors (the field's stage 3 log: 5.6; the demo's: 4.4).
    min_loss_fall_score: float = 3.0
    # Below this a loss that was logged often enough is flat; between the two, or of fewer lines, it is too noisy to
    # tell.
    max_flat_loss_score: float = 1.0
    min_lines_of_a_trend: int = 30
    # Share of a loss's lines that may be one value in a row (healthy logs: 0.03); five lines at least.
    max_equal_share: float = 0.5
    # A norm's end over what it was after a tenth of the log, or the inverse; as for rows in S3.2 (field 1.8, demo 2.4).
    max_norm_growth: float = 10.0
    # Learning rates. Without a record of the schedule: times the neighbours', or all before. With it: per cent of the
    # peak (the demo: 0.0001 %); one step's difference in how steps are counted is less than that after warm-up.
    max_rate_factor: float = 3.0
    max_rate_off_pct: float = 1.0
    # Stretch of lines at which the rate may be 0, in per cent of the lines, three lines at least (a schedule that ends
    # at 0 has one).
    max_zero_rate_pct: float = 10.0
    # The loss that was logged against the one measured now. `dev_loss_<task>` is of the same examples and weights: the
    # larger of nats/token and per cent of it; other kernels or bfloat16 leave some thousandths.
    dev_loss_examples: int = 128
    max_dev_loss_off_nats: float = 0.01
    max_dev_loss_off_pct: float = 1.0
    # An average of training is of other examples and of some hundred steps: it finds only what is a multiple, as a loss
    # that is not divided by its accumulation steps is (domain.md, row 37): a factor, and nats/token below which small
    # losses may differ.
    max_training_loss_factor: float = 2.0
    max_training_loss_off_nats: float = 0.10
