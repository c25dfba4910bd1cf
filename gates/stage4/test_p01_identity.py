"""P0.1 identity: one token space from shards to checkpoint.

Claim    Shards, stage 3 parent, golden and dev examples, tokenizer and this checkpoint speak of the same ids.
Measure  The share of declarations (manifest, every Parquet footer or WebDataset sample, parent, every example) whose
         SHA-256 is the checkpoint's own, in percent; shard files that are not what the manifest lists; rows, over all
         shards, and golden and dev examples, with illegal ids, ids out of their codebook's turn, frames cut short, or
         another count than their meta; specials that the checkpoint's tokenizer does not map to their id and back.
Accept   100 %, and none: one id that means something else makes every other figure meaningless.
Source   spec/stage4-verification.md, P0.1.
"""

from gates.gate import Accept, Gate, gate
from gates.identity import ADVICE, judge_identity
from harness.checkpoint import Checkpoint

P01 = Gate(
    id="P0.1",
    name="identity",
    priority="P0",
    claim="One token space from shards to checkpoint",
    source="spec/stage4-verification.md P0.1",
    advice=ADVICE,
)


@gate(P01)
def test_one_token_space_from_shards_to_checkpoint(checkpoint: Checkpoint, accept: Accept) -> None:
    judge_identity(checkpoint.identity(), accept)
