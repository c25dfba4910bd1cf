"""The held-out examples of a bundle: golden ones, topped up from dev, read once and capped in a smoke run."""

from collections.abc import Sequence

from harness.bundle import Bundle
from harness.errors import ExampleError
from harness.examples import Example, Task, read_examples
from harness.looks import Looks, plan


class ExampleSets:
    """Golden and dev examples by task.

    Args:
        bundle: says where they lie.
        max_examples: caps every task's examples in a smoke run; None otherwise.
    """

    def __init__(self, bundle: Bundle, max_examples: int | None) -> None:
        self._bundle, self._max_examples = bundle, max_examples
        self._read: dict[str, list[Example]] = {}  # parsed once, asked for by every gate and task

    def golden(self, task: Task, limit: int | None = None) -> list[Example]:
        """The first golden examples of a task, all of them without a limit.

        Raises:
            ExampleError: there are none.
        """
        return self._capped(self.of("golden", task), limit)

    def golden_and_dev(self, task: Task, at_least: int) -> tuple[list[Example], int]:
        """All golden examples of a task, topped up from dev to `at_least`; and how many came from dev."""
        golden = self.of("golden", task)
        dev = self._dev_beside(golden, task) if len(golden) < at_least else []
        examples = self._capped([*golden, *dev[: max(0, at_least - len(golden))]], None)
        return examples, max(0, len(examples) - len(golden))

    def planned_looks(self, task: Task, at_least: int, further: Sequence[int]) -> Looks:
        """The looks at a task's golden and dev examples: `at_least` of them first, then as many as `further` says."""
        first, _ = self.golden_and_dev(task, at_least)
        golden = self.of("golden", task)
        available = self._capped([*golden, *self._dev_beside(golden, task)], None)
        return plan(len(first), len(available), further)

    def of(self, name: str, task: Task, *, required: bool = True) -> list[Example]:
        """The examples of a task in one of the bundle's inputs, `golden` or `dev`.

        Raises:
            ExampleError: there are none, and some are required.
        """
        path = self._bundle.input(name)
        if name not in self._read:
            self._read[name] = read_examples(path, self._bundle.space)
        examples = [example for example in self._read[name] if example.task == task]
        if required and not examples:
            raise ExampleError(path, f"no {task} example", "at least one", f"Add {task} examples to the {name} set.")
        return examples

    def _capped(self, examples: list[Example], limit: int | None) -> list[Example]:
        caps = [cap for cap in (limit, self._max_examples) if cap is not None]
        return examples[: min(caps)] if caps else examples

    def _dev_beside(self, golden: list[Example], task: Task) -> list[Example]:
        """The dev examples of a task that are not golden ones."""
        if "dev" not in self._bundle.inputs:
            return []
        known = {example.id for example in golden}
        return [e for e in self.of("dev", task, required=False) if e.id not in known]
