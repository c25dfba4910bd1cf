"""The sizes of stage 3's runs: which tier so many training rows make.

Source: spec/stage3-iteration.md, section 3. A run between two sizes is no more than it has rows for: one of 5,000 rows
is tier B, though a small one.
"""

from typing import Literal

Tier = Literal["A", "B", "C", "full"]
# The most rows of each tier. Whatever has more is the full run (256,408 rows in the spec).
TIER_ROWS: dict[Tier, int] = {"A": 2_048, "B": 8_192, "C": 51_200}


def tier_of(rows: int) -> Tier:
    """The tier of a run by its training rows."""
    return next((tier for tier, most in TIER_ROWS.items() if rows <= most), "full")


def describe_tier(rows: int) -> str:
    """`tier B (8,192 rows)`, `the full run (256,408 rows)`."""
    tier = tier_of(rows)
    return f"{'the full run' if tier == 'full' else f'tier {tier}'} ({rows:,} rows)"
