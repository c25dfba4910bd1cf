"""What the pages of histories and comparisons share: care for what they write over."""

from pathlib import Path

from harness.errors import HarnessError

_MARK_WITHIN = 2_000  # bytes


def refuse_foreign(page: Path, mark: str, command: str) -> None:
    """Let nothing be written over that the command did not write.

    Raises:
        HarnessError: there is such a thing.
    """
    if not page.exists() and not page.is_symlink():
        return
    try:
        with page.open("rb") as file:
            ours = mark.encode() in file.read(_MARK_WITHIN)
    except OSError:
        ours = False  # a folder, a dead link, or what may not be read
    if not ours:
        found, expected = f"something that `{command}` did not write", "no file, or an earlier page of its own"
        raise HarnessError(page, found, expected, "Name another with --out.")
