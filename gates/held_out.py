"""P0.6 and S3.7 ask the same of a checkpoint; here is how both judge it."""

from collections.abc import Sequence

from gates.gate import Accept
from harness.checkpoint import Checkpoint
from harness.held_out import Match
from harness.results import Measurement

ADVICE = (
    "Stop: figures of examples that were trained on say nothing. Drop the listed examples from golden and dev set.",
    "Split by content and not by id: equal media under another name, task or caption are the same example.",
    "Then tokenise the training shards again without the held-out media, and train again from the stage before.",
)
FIRST = 20  # offenders that are named


def judge(checkpoint: Checkpoint, accept: Accept) -> None:
    """Hold the shared content against nothing at all; report what is only near, or repeated among the examples."""
    audit = checkpoint.held_out()
    n = audit.n_golden + audit.n_dev

    accept(Measurement(name="shared_content", value=len(audit.shared), unit="examples", n=n), exactly=0)
    reported = {
        "training_rows": (audit.training_rows, "rows", audit.training_rows),
        "training_rows_with_media": (audit.with_media, "rows", audit.training_rows),
        "near_duplicates": (len(audit.near), "examples", n),
        "duplicate_golden": (len(audit.duplicate_golden), "examples", audit.n_golden),
        "golden_in_dev": (len(audit.golden_in_dev), "examples", audit.n_golden),
        "shared_with_eval": (len(audit.in_eval), "examples", n),
    }
    for name, (value, unit, of) in reported.items():
        accept.report(Measurement(name=name, value=value, unit=unit, n=of))
    accept.details["worst"] = [
        {"id": match.example, "prompt": match.prompt, "note": f"its media are those of {_place(match)}"}
        for match in audit.shared[:FIRST]
    ]
    accept.details["notes"] = [
        f"compared with {audit.training_rows} rows of {len(audit.files)} files, the last {audit.files[-1]}",
        *_lines("has the caption, with other media, of", audit.near),
        *_lines("has the media of an earlier golden example,", audit.duplicate_golden),
        *_lines("has the media of a dev example,", audit.golden_in_dev),
        *_lines("has the media of an example that evaluations during training use,", audit.in_eval),
    ]


def _lines(what: str, matches: Sequence[Match]) -> list[str]:
    return [f"{match.example} {what} {_place(match)}" for match in matches[:5]]


def _place(match: Match) -> str:
    return match.place + (f" and of {match.rows - 1} more" if match.rows > 1 else "")
