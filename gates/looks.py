"""Looking again: a gate judges the examples of the first look, and more of them only where that left it unclear."""

from collections.abc import Iterator, Mapping

from gates.gate import Accept
from harness.examples import Task
from harness.looks import Looks


def until_clear(accept: Accept, planned: Mapping[Task, Looks]) -> Iterator[dict[Task, Looks]]:
    """The looks that a gate judges one after the other, until no judged figure is borderline or none is left.

    What was judged at a look is forgotten before the next one: the largest sample decides, and the others were no
    independent trials. Only tasks with a borderline figure are looked at again; a figure's task is what stands before
    the dot in its name.

    Args:
        accept: where the loop's body judges.
        planned: the looks of every task, fixed beforehand.
    """
    looks, before = dict(planned), accept.mark()
    while True:
        yield looks
        unclear = {m.name.partition(".")[0] for m in accept.measurements if m.confidence == "borderline"}
        again = [task for task, look in looks.items() if task in unclear and look.more]
        if not again:
            break
        accept.forget_since(before)
        looks = looks | {task: looks[task].next() for task in again}
    for task, look in looks.items():
        accept.note(describe(task, look, clear=task not in unclear))


def describe(task: Task, looks: Looks, *, clear: bool) -> str:
    """Which looks were planned and taken, and what that makes of the intervals."""
    sizes = ", ".join(str(size) for size in looks.sizes)
    if len(looks.sizes) == 1:
        end = "" if clear else "; a figure is borderline, and there are not enough more held-out examples to look again"
        return f"{task}: one look planned, at {sizes} examples{end}"
    why = "no judged figure was borderline" if clear else "a figure is borderline still, and no look is left"
    return (
        f"{task}: {len(looks.sizes)} looks planned, at {sizes} examples; {looks.taken} taken, then {why}. "
        f"Every interval has level {100 * looks.level:.2f} %, so that all looks together hold with 95 %"
    )
