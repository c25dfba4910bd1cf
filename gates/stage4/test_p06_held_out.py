"""P0.6 held out: what is judged was not trained on.

Claim    No golden or dev example shares its content with a training shard or a training example.
Measure  Golden and dev examples whose media ids equal, id by id, those of any row of any shard, or of a train.jsonl
         that lies beside the golden or dev set; whatever their ids, tasks and captions. Every row is compared.
         Reported beside it: the same caption with other media, and examples that repeat one another.
Accept   None.
Source   design.md section 4, P0.6.
"""

from gates.gate import Accept, Gate, gate
from gates.held_out import ADVICE, judge
from harness.checkpoint import Checkpoint

P06 = Gate(
    id="P0.6",
    name="held_out",
    priority="P0",
    claim="What is judged was not trained on",
    source="design.md section 4, P0.6",
    advice=ADVICE,
)


@gate(P06)
def test_what_is_judged_was_not_trained_on(checkpoint: Checkpoint, accept: Accept) -> None:
    judge(checkpoint, accept)
