"""S3.1 identity: one token space from shards to checkpoint.

Claim    Shards, the checkpoint that training began from, golden and dev examples, tokenizer and this checkpoint speak
         of the same ids.
Measure  As P0.1: the share of declarations whose SHA-256 is the checkpoint's own; broken shard files; illegal rows and
         examples; mistaken specials.
Accept   100 %, and none.
Source   design.md section 4, S3.1; spec/stage4-verification.md, P0.1, whose rule it is.
"""

from gates.gate import Accept, Gate, gate
from gates.identity import ADVICE, judge_identity
from harness.checkpoint import Checkpoint

S31 = Gate(
    id="S3.1",
    name="identity",
    priority="P0",
    claim="One token space from shards to checkpoint",
    source="design.md section 4, S3.1",
    advice=ADVICE,
)


@gate(S31)
def test_one_token_space_from_shards_to_checkpoint(checkpoint: Checkpoint, accept: Accept) -> None:
    judge_identity(checkpoint.identity(), accept)
