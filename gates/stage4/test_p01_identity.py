"""P0.1 identity: one token space from shards to checkpoint.

Claim    Shards, stage 3 parent, golden and dev examples and this checkpoint speak of the same ids.
Measure  The share of declarations (manifest, every Parquet footer, parent, every example) whose SHA-256 is the
         checkpoint's own, in percent.
Accept   100 %: one id that means something else makes every other figure meaningless.
Source   spec/stage4-verification.md, P0.1.
"""

from gates.gate import Accept, Gate, gate
from harness.checkpoint import Checkpoint
from harness.results import Measurement

P01 = Gate(
    id="P0.1",
    name="identity",
    priority="P0",
    claim="One token space from shards to checkpoint",
    source="spec/stage4-verification.md P0.1",
    advice=(
        "Stop: do not train on. Find which of the listed files was made with another token_space.json.",
        "If only created_utc differs, the layout was rebuilt, not changed: restore the original file everywhere.",
        "Otherwise tokenise the shards and the golden set again with the checkpoint's token space.",
    ),
)


@gate(P01)
def test_one_token_space_from_shards_to_checkpoint(checkpoint: Checkpoint, accept: Accept) -> None:
    declarations = checkpoint.declarations()
    own = checkpoint.bundle.space.sha256
    strangers = [declared for declared in declarations if declared.sha256 != own]

    equal_pct = 100 * (1 - len(strangers) / len(declarations))
    accept(Measurement(name="equal_declarations", value=equal_pct, unit="%", n=len(declarations)), exactly=100)
    accept.details["worst"] = [
        {"id": s.where, "prompt": "", "note": s.problem or f"declares {s.sha256}, not {own}"} for s in strangers[:20]
    ]
