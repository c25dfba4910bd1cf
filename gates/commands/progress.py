"""A progress bar for commands, which listens as the harness's listeners do."""

from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, TaskID

SILENT_S = 2.0  # what takes less needs no progress


class Bar(AbstractContextManager["Bar"]):
    """A progress bar on the standard error once something takes its time; nothing where that is no terminal."""

    def __init__(self, after_s: float = SILENT_S) -> None:
        self._after_s = after_s
        console = Console(stderr=True)
        self._progress = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def __call__(self, label: str, done: int, total: int, elapsed_s: float) -> None:
        """Show how far it is."""
        if done == 0:
            self._task = None
        if self._task is None and elapsed_s >= self._after_s:
            self._progress.start()
            self._task = self._progress.add_task(label, total=total)
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
