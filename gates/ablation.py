"""What both ablation gates keep beside their judgements: the paired losses, and the null control."""

from gates.gate import Accept
from harness.ablation import Ablation
from harness.results import Measurement


def judge_null_control(accept: Accept, measured: Ablation) -> None:
    """Ablating nothing must change nothing: the same inputs scored twice give bit-equal losses."""
    accept(Measurement(name=f"{measured.task}.null_gap", value=measured.null_gap, unit="nats/token", n=1), exactly=0)


def keep_losses(accept: Accept, measured: Ablation, what: str) -> None:
    """Hand the report the losses of every condition; `what` was ablated: prompt or media."""
    for name in measured.scores:
        if name != "correct":
            paired = measured.pair(name)
            accept.details.setdefault("pairs", {})[f"{measured.task}: {name} {what}"] = {
                "correct": paired.correct.tolist(),
                "ablated": paired.ablated.tolist(),
            }
    means = {name: float(each.nll.mean()) for name, each in measured.scores.items()}
    accept.details.setdefault("losses", {})[measured.task] = means
    if measured.from_dev:
        note = f"{measured.task}: {measured.from_dev} examples came from the dev set"
        accept.details.setdefault("notes", []).append(note)
