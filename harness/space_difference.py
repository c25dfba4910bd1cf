"""What two token spaces differ in: in what an id means, or only in when and where the file was written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.token_space import TokenSpace

# Keys, at any depth, that say when, where or on what a file was made, and never what an id means.
_CIRCUMSTANCES = ("created_utc", "created_by", "device", "host", "hostname")
_PATH_ENDINGS = ("_path", "_dir", "_file")
# A name or a local path: the same folder under another parent is the same codec; another name is another codec.
_NAMES = ("name_or_path", "base_text_model")
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """The dotted keys in which two token spaces differ.

    Attributes:
        meaning: keys that may change what an id means, e.g. `ranges.IMAGE.start`.
        circumstances: keys that cannot: `created_utc`, local paths, devices.
    """

    meaning: tuple[str, ...]
    circumstances: tuple[str, ...]

    def __str__(self) -> str:
        if self.meaning:
            return f"differs in meaning: {_listed(self.meaning)}"
        if self.circumstances:
            return f"differs only in {_listed(self.circumstances)}: every id means the same, the file was rebuilt"
        return "does not differ"


def difference(a: TokenSpace, b: TokenSpace) -> Difference:
    """The keys in which two token spaces differ."""
    found = list(_differing(a.raw, b.raw, ""))
    return Difference(
        meaning=tuple(key for key, left, right in found if not _is_circumstance(key, left, right)),
        circumstances=tuple(key for key, left, right in found if _is_circumstance(key, left, right)),
    )


def _differing(a: Any, b: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted(a.keys() | b.keys()):
            yield from _differing(a.get(name, _ABSENT), b.get(name, _ABSENT), f"{key}.{name}" if key else name)
    elif type(a) is not type(b) or a != b:
        yield key, a, b


def _is_circumstance(key: str, a: Any, b: Any) -> bool:
    name = key.rpartition(".")[2]
    if name in _NAMES:
        return isinstance(a, str) and isinstance(b, str) and _last_part(a) == _last_part(b)
    # A special may be spelled like anything: only outside of what maps names to ids does a name excuse a difference.
    return not key.startswith(("special_tokens", "ranges")) and (
        name in _CIRCUMSTANCES or name.endswith(_PATH_ENDINGS) or name == "path"
    )


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _listed(keys: tuple[str, ...], most: int = 8) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
