"""The token space: which ids are text, specials, image codes and audio codes, and how its identity is computed.

The format is the field's `uti_v1` object (`token_space.json`), its identity the SHA-256 of
`json.dumps(obj, sort_keys=True)`, kept in `token_space.sha256` beside it. Ranges are inclusive at both ends.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from harness.errors import TokenSpaceError
from harness.files import read_json

Modality = Literal["image", "audio"]

FILE_NAME = "token_space.json"
SIDECAR_NAME = "token_space.sha256"
# The roles that sequences are built from. The field spells them `<|aud_end|>` and, elsewhere, `<aud_end>`.
ROLES = (
    "text_start", "text_end", "img_start", "img_end", "aud_start", "aud_end",
    "gen_text", "gen_img", "gen_aud", "pad_mm",
)  # fmt: skip


class Range(BaseModel):
    """An inclusive range of ids."""

    model_config = ConfigDict(frozen=True, strict=True)

    start: int
    end: int
    size: int

    @model_validator(mode="after")
    def _ends_agree(self) -> "Range":
        if self.start < 0 or self.size < 1 or self.end != self.start + self.size - 1:
            raise ValueError(f"start {self.start}, end {self.end}, size {self.size}: end must be start + size - 1")
        return self

    def __contains__(self, token_id: int) -> bool:
        return self.start <= token_id <= self.end


class _Layout(BaseModel):
    """token_space.json at the border: the keys that are relied on, every other key kept by the raw object."""

    model_config = ConfigDict(strict=True, extra="allow")

    version: str
    text_vocab_size: int
    special_tokens: dict[str, int]
    ranges: dict[str, Range]
    image_tokenizer: dict[str, Any] = {}
    audio_codec: dict[str, Any] = {}
    vocab_size_total: int


def token_space_sha256(obj: object) -> str:
    """SHA-256 hex of `json.dumps(obj, sort_keys=True)` with Python's defaults, as the field computes it."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TokenSpace:
    """A validated token space.

    Attributes:
        raw: the parsed JSON object, unknown keys included, since the hash covers them.
        where: the file that it came from, for messages.
        text_vocab_size: V_text; rows `[0, V_text)` are the backbone's own.
        vocab_size_total: one past the last legal id.
        special_ids: role (`aud_end`) to id.
        special_tokens: token text (`<|aud_end|>`) to id.
        image: the IMAGE range, or None.
        audio: the AUDIO_CB0 … AUDIO_CB<K-1> ranges in codebook order; empty without audio.
    """

    raw: dict[str, Any]
    where: str
    text_vocab_size: int
    vocab_size_total: int
    special_ids: dict[str, int]
    special_tokens: dict[str, int]
    image: Range | None
    audio: tuple[Range, ...]

    @cached_property
    def sha256(self) -> str:
        """The identity of this token space."""
        return token_space_sha256(self.raw)

    @property
    def n_codebooks(self) -> int:
        """K, the number of audio codebooks."""
        return len(self.audio)

    @property
    def image_tokenizer(self) -> dict[str, Any]:
        """The image tokenizer's declaration, as it stands in the file."""
        return dict(self.raw.get("image_tokenizer") or {})

    @property
    def audio_codec(self) -> dict[str, Any]:
        """The audio codec's declaration, as it stands in the file."""
        return dict(self.raw.get("audio_codec") or {})

    def special(self, role: str) -> int:
        """The id of the special token with this role.

        Raises:
            TokenSpaceError: the token space has no special of that role.
        """
        if role not in self.special_ids:
            raise TokenSpaceError(
                self.where,
                f"no special token for the role {role!r} among {sorted(self.special_tokens)}",
                f"a token spelled <|{role}|> or <{role}>",
                "Add it to special_tokens and rebuild shards and checkpoint with it.",
            )
        return self.special_ids[role]

    def ranges_of(self, modality: Modality) -> tuple[Range, ...]:
        """The ranges of a modality in the order of their turns (frame-major: codebook 0 … K-1, then again)."""
        return self.audio if modality == "audio" else (() if self.image is None else (self.image,))

    def range_at(self, modality: Modality, position: int) -> Range:
        """The range whose turn it is at a position of a media span."""
        ranges = self.ranges_of(modality)
        return ranges[position % len(ranges)]

    def end_id(self, modality: Modality) -> int:
        """The id that closes a block of this modality."""
        return self.special("aud_end" if modality == "audio" else "img_end")

    def in_range(self, modality: Modality, ids: np.ndarray) -> np.ndarray:
        """Which ids are codes of the modality, whatever the turn. ids: any shape -> bool of that shape."""
        ids = np.asarray(ids, dtype=np.int64)
        inside = np.zeros(ids.shape, dtype=bool)
        for r in self.ranges_of(modality):
            inside |= (ids >= r.start) & (ids <= r.end)
        return inside

    def in_turn(self, modality: Modality, ids: np.ndarray) -> np.ndarray:
        """Which ids of one span, shape (S,), lie in the range whose turn it is at their position."""
        ids = np.asarray(ids, dtype=np.int64)
        starts, ends = self._turns(modality, len(ids))
        return (ids >= starts) & (ids <= ends)

    def to_ids(self, modality: Modality, codes: np.ndarray) -> np.ndarray:
        """Codes to global ids: image (S,) -> (S,); audio (K, T) -> (T*K,), frame-major. uint32.

        Raises:
            ValueError: a code is outside its codebook, or there are not K codebooks.
        """
        codes = np.asarray(codes, dtype=np.int64)
        flat = self._flat(modality, codes)
        starts, ends = self._turns(modality, len(flat))
        bad = np.flatnonzero((flat < 0) | (flat > ends - starts))
        if len(bad):
            p = int(bad[0])
            raise ValueError(f"code {flat[p]} at position {p}: expected 0 to {ends[p] - starts[p]}")
        return (flat + starts).astype(np.uint32)

    def to_codes(self, modality: Modality, ids: np.ndarray) -> np.ndarray:
        """Global ids of one span to codes: image (S,) -> (S,); audio (T*K,) -> (K, T). int64.

        Raises:
            ValueError: an id is not in the range whose turn it is, or a frame is not whole. Never a modulo.
        """
        ids = np.asarray(ids, dtype=np.int64)
        bad = np.flatnonzero(~self.in_turn(modality, ids))
        if len(bad):
            p = int(bad[0])
            raise ValueError(f"id {ids[p]} at position {p}: {self._describe(modality, int(ids[p]), p)}")
        starts, _ = self._turns(modality, len(ids))
        codes = ids - starts
        if modality == "image":
            return codes
        if len(codes) % self.n_codebooks:
            raise ValueError(f"{len(codes)} audio ids are no whole number of frames of {self.n_codebooks} codebooks")
        return codes.reshape(-1, self.n_codebooks).T

    def name_of(self, token_id: int) -> str:
        """The range or special that an id belongs to, for messages: `AUDIO_CB1`, `<|img_end|>`, `TEXT`."""
        for name, special_id in self.special_tokens.items():
            if token_id == special_id:
                return name
        for name, r in self.raw["ranges"].items():
            if r["start"] <= token_id <= r["end"]:
                return str(name)
        return "no range"

    def _describe(self, modality: Modality, token_id: int, position: int) -> str:
        wanted = self.range_at(modality, position)
        ranges = self.ranges_of(modality)
        where = self.name_of(token_id)
        if where.startswith("AUDIO_CB") and modality == "audio":
            return f"codebook mismatch, found {where}, expected AUDIO_CB{position % len(ranges)}"
        return f"found {where}, not in {modality.upper()} range {wanted.start} to {wanted.end}"

    def _flat(self, modality: Modality, codes: np.ndarray) -> np.ndarray:
        if modality == "image":
            return codes.reshape(-1)
        if codes.ndim != 2 or codes.shape[0] != self.n_codebooks:
            raise ValueError(f"audio codes of shape {codes.shape}: expected ({self.n_codebooks}, frames)")
        return codes.T.reshape(-1)

    def _turns(self, modality: Modality, length: int) -> tuple[np.ndarray, np.ndarray]:
        ranges = self.ranges_of(modality)
        if not ranges:
            raise ValueError(f"{self.where} has no {modality} range")
        turn = np.arange(length) % len(ranges)
        return np.array([r.start for r in ranges])[turn], np.array([r.end for r in ranges])[turn]


def parse_token_space(obj: dict[str, Any], where: Path | str = "token space") -> TokenSpace:
    """Validate a parsed token_space.json.

    Raises:
        TokenSpaceError: a key is missing or of the wrong type, ranges overlap or leave the vocabulary, a special is
            outside SPECIAL, or audio codebooks are not numbered from 0 without a gap.
    """
    try:
        layout = _Layout.model_validate(obj)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the object"
        raise TokenSpaceError(
            where,
            f"{key}: {first['msg']}",
            "a uti_v1 token space",
            "Correct that key and rebuild what was made with it.",
        ) from None
    _check_ranges(layout, where)
    _check_specials(layout, where)
    return TokenSpace(
        raw=obj,
        where=str(where),
        text_vocab_size=layout.text_vocab_size,
        vocab_size_total=layout.vocab_size_total,
        special_ids={name.strip("<|>"): token_id for name, token_id in layout.special_tokens.items()},
        special_tokens=dict(layout.special_tokens),
        image=layout.ranges.get("IMAGE"),
        audio=_audio_ranges(layout, where),
    )


def read_token_space(path: Path) -> TokenSpace:
    """Read `token_space.json` (or the folder that holds it) and hold it against its sidecar.

    Raises:
        TokenSpaceError: the file is missing, malformed, or its hash is not the one in its own sidecar.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise TokenSpaceError(
            file, "no such file", "the token space's JSON", "Copy it from the shards to the checkpoint."
        )
    obj = read_json(file)
    if not isinstance(obj, dict):
        raise TokenSpaceError(file, f"a JSON {type(obj).__name__}", "an object", "Restore the file from the shards.")
    space = parse_token_space(obj, file)
    sidecar = file.with_name(SIDECAR_NAME)
    if sidecar.is_file() and (declared := sidecar.read_text(encoding="utf-8").strip()) != space.sha256:
        raise TokenSpaceError(
            file,
            f"content with sha256 {space.sha256}",
            f"{declared}, as its own {SIDECAR_NAME} says",
            "One of the two was edited after the other was written: restore both from the shards.",
        )
    return space


def _check_ranges(layout: _Layout, where: Path | str) -> None:
    text = layout.ranges.get("TEXT")
    if text is None or text.start != 0 or text.size != layout.text_vocab_size:
        raise TokenSpaceError(
            where,
            f"TEXT {text}",
            f"TEXT from 0 with {layout.text_vocab_size} ids",
            "Make ranges and text_vocab_size agree.",
        )
    ordered = sorted(layout.ranges.items(), key=lambda item: item[1].start)
    for (name_a, a), (name_b, b) in itertools.pairwise(ordered):
        if b.start <= a.end:
            raise TokenSpaceError(
                where, f"{name_b} starts at {b.start}", f"after {name_a} ends at {a.end}", "Ranges must be disjoint."
            )
    last_name, last = ordered[-1]
    if last.end >= layout.vocab_size_total:
        raise TokenSpaceError(
            where,
            f"{last_name} ends at {last.end}",
            f"an id below vocab_size_total {layout.vocab_size_total}",
            "Correct the range or the total.",
        )


def _check_specials(layout: _Layout, where: Path | str) -> None:
    special = layout.ranges.get("SPECIAL")
    by_id: dict[int, str] = {}
    for name, token_id in layout.special_tokens.items():
        if special is None or token_id not in special:
            raise TokenSpaceError(
                where, f"{name} = {token_id}", f"an id inside SPECIAL {special}", "Correct the id or the SPECIAL range."
            )
        if token_id in by_id:
            raise TokenSpaceError(
                where,
                f"{name} and {by_id[token_id]} both {token_id}",
                "one id for each special",
                "Give each its own id.",
            )
        by_id[token_id] = name


def _audio_ranges(layout: _Layout, where: Path | str) -> tuple[Range, ...]:
    names = [name for name in layout.ranges if name.startswith("AUDIO_CB")]
    wanted = [f"AUDIO_CB{k}" for k in range(len(names))]
    if sorted(names) != sorted(wanted):
        raise TokenSpaceError(
            where, f"audio ranges {sorted(names)}", f"{wanted}", "Number the codebooks from 0 without a gap."
        )
    return tuple(layout.ranges[name] for name in wanted)
