"""S3.7 held out: what is judged was not trained on.

Claim    No golden or dev example shares its content with a training shard or a training example.
Measure  Golden and dev examples whose media ids equal, id by id, those of any row of any shard, or of a train.jsonl
         that lies beside the golden or dev set; whatever their ids, tasks and captions. Every row is compared.
         Reported beside it: the same caption with other media, and examples that repeat one another.
Accept   None.
Source   design.md section 4, S3.7.
"""

from gates.gate import Accept, Gate, gate
from gates.held_out import ADVICE, judge
from harness.checkpoint import Checkpoint

S37 = Gate(
    id="S3.7",
    name="held_out",
    priority="P0",
    claim="What is judged was not trained on",
    source="design.md section 4, S3.7",
    advice=ADVICE,
)


@gate(S37)
def test_what_is_judged_was_not_trained_on(checkpoint: Checkpoint, accept: Accept) -> None:
    judge(checkpoint, accept)
