"""S3.2 rows: the new rows are numbers, moved in training, are distinct, and of a size with the text rows.

Claim    Every new row of embedding and head is finite; those whose ids were seen in training have moved; no two are
         equal; the norms of those that training touched are of the text rows' order.
Measure  For each table: rows that are not finite; rows equal to another one; rows whose norm lies more than a factor
         beyond the text rows' 5 % or 95 % quantile, among those seen in the shards or moved since the parent (an
         untouched one is as the vocabulary surgery left it); of the rows seen in the shards, the share that is
         bit-equal to the parent's.
Accept   None not finite, none equal, none beyond a factor of 10, at most 1 % of the seen rows unmoved.
Source   spec/stage3-iteration.md, section 6B: modality rows are what trains; the norm's bound is ours.
"""

from collections.abc import Callable

import numpy as np

from gates.gate import Accept, Gate, gate
from gates.stage3.thresholds import Stage3Thresholds
from harness.checkpoint import Checkpoint
from harness.results import Measurement
from harness.rows import RowsAudit, TableRows

S32 = Gate(
    id="S3.2",
    name="rows",
    priority="P1",
    claim="The new rows are finite, moved, distinct and of the text rows' size",
    source="spec/stage3-iteration.md section 6B; the norm's bound is ours",
    advice=(
        "Rows that did not move: check that gradients reach both tables, and that updates are not rounded away (train "
        "the rows in float32, whatever the model's type).",
        "Equal rows get equal gradients and stay equal: draw them anew around the mean text row, with noise.",
        "Norms that blow up: clip gradients, lower the learning rate, add a z-loss; rows near zero were never drawn.",
    ),
)
MAX_NAMED = 5  # of each kind and table


@gate(S32)
def test_new_rows_are_finite_moved_distinct_and_of_text_size(
    checkpoint: Checkpoint, thresholds: Stage3Thresholds, accept: Accept
) -> None:
    audit = checkpoint.new_rows()
    accept.details["worst"] = []
    accept.details["notes"] = [f"Seen in training: {audit.seen_in}."]
    for table in audit.tables:
        _judge_values(checkpoint, audit, table, thresholds.max_norm_factor, accept)
    # Asked for last: without a parent the rest is judged all the same, and the gate then counts as not run.
    if not accept.failures:
        checkpoint.bundle.input("parent")
    for table in audit.tables:
        if table.moved is not None:
            _judge_moved(checkpoint, audit, table, thresholds.max_unmoved_seen_rows_pct, accept)


def _judge_values(
    checkpoint: Checkpoint, audit: RowsAudit, table: TableRows, max_factor: float, accept: Accept
) -> None:
    equal = table.twin >= 0
    touched = np.ones_like(audit.seen) if table.moved is None else audit.seen | table.moved
    outside = table.finite & ~(table.norm_factors <= max_factor)
    far = outside & touched
    counts = {"not_finite": ~table.finite, "equal_to_another": equal, "norm_out_of_range": far}
    for name, rows in counts.items():
        value, n = int(rows.sum()), len(rows)
        accept(Measurement(name=f"{table.table}_rows_{name}", value=value, unit="rows", n=n), exactly=0)
    if n_untouched := int((outside & ~touched).sum()):
        accept.note(f"{table.table}: {n_untouched} rows that training never touched lie outside the text rows' norms.")
    _name(checkpoint, audit, table, ~table.finite, lambda _: "a value is not finite", accept)
    _name(checkpoint, audit, table, equal, lambda row: f"equal to row {audit.first_id + table.twin[row]}", accept)
    _name(checkpoint, audit, table, far, lambda row: _norm(table, row), accept)


def _judge_moved(checkpoint: Checkpoint, audit: RowsAudit, table: TableRows, max_pct: float, accept: Accept) -> None:
    unmoved, n_seen = audit.unmoved(table), int(audit.seen.sum())
    share = 100 * int(unmoved.sum()) / n_seen if n_seen else None
    accept(Measurement(name=f"{table.table}_seen_rows_unmoved", value=share, unit="%", n=n_seen), at_most=max_pct)
    _name(checkpoint, audit, table, unmoved, lambda _: "seen in training, and bit-equal to the parent's", accept)


def _name(
    checkpoint: Checkpoint,
    audit: RowsAudit,
    table: TableRows,
    rows: np.ndarray,
    note: Callable[[int], str],
    accept: Accept,
) -> None:
    """Name the first of some rows, by id and range."""
    for row in map(int, np.flatnonzero(rows)[:MAX_NAMED]):
        token_id = audit.first_id + row
        what = checkpoint.bundle.space.name_of(token_id)
        accept.details["worst"].append({"id": f"{table.table} row {token_id}", "prompt": what, "note": note(row)})


def _norm(table: TableRows, row: int) -> str:
    low, high = table.text_norms
    return f"norm {table.norms[row]:.3g}; the text rows' are {low:.3g} to {high:.3g} (5 % to 95 %)"
