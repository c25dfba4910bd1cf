"""Progress of long measurements, handed to whoever owns the terminal."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# label, items done, items in all, seconds since the start
Listener = Callable[[str, int, int, float], None]


def silent(label: str, done: int, total: int, elapsed_s: float) -> None:
    """The listener of those who show nothing."""


def only_forward(listener: Listener) -> Listener:
    """The listener, told only where more is done than it was told before: work that is tried again goes back."""
    told = -1

    def tell(label: str, done: int, total: int, elapsed_s: float) -> None:
        nonlocal told
        if done > told:
            told = done
            listener(label, done, total, elapsed_s)

    return tell


def track(items: Iterable[T], total: int, label: str, listener: Listener) -> Iterator[T]:
    """Yield the items, telling the listener before the first and after each."""
    start = time.monotonic()
    listener(label, 0, total, 0.0)
    for done, item in enumerate(items, start=1):
        yield item
        listener(label, done, total, time.monotonic() - start)
