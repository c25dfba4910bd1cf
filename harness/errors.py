"""The errors that the harness raises: each names the place, what was found, what was expected, and the fix."""

from pathlib import Path


class HarnessError(Exception):
    """Something given to the harness cannot be used as it is.

    Args:
        where: file, folder, or example that is at fault.
        found: what is there.
        expected: what should be there.
        fix: what the reader can do about it.
    """

    def __init__(self, where: Path | str, found: str, expected: str, fix: str) -> None:
        self.where, self.found, self.expected, self.fix = str(where), found, expected, fix
        super().__init__(f"{where}: found {found}; expected {expected}. {fix}")


class BundleError(HarnessError):
    """A checkpoint bundle, or something that its bundle.json points to, is missing or malformed."""


class MissingInputError(BundleError):
    """An input that a measurement needs was not given: the gate is not run, which is not a pass."""


class TokenSpaceError(HarnessError):
    """A token_space.json contradicts itself, its sidecar, or another token space."""


class ExampleError(HarnessError):
    """A training, evaluation or golden example cannot be measured as it stands."""


class CodecError(HarnessError):
    """A codec folder cannot be opened, or its weights are not the declared ones."""


class EvidenceError(HarnessError):
    """What was measured contradicts itself, so that no judgement may rest on it."""
