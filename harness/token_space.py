"""The token space: which ids are text, specials, image codes and audio codes, and how its identity is computed.

The format is the field's `uti_v1` object (`token_space.json`), its identity the SHA-256 of
`json.dumps(obj, sort_keys=True)`, kept in `token_space.sha256` beside it. Ranges are inclusive at both ends.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.errors import TokenSpaceError
from harness.files import read_json
from harness.layout import AUDIO_PREFIX, Layout, Range, parse_layout, role_of
from harness.layout import ROLES as ROLES

Modality = Literal["image", "audio"]
Mode = Literal["text", "image", "audio"]

FILE_NAME = "token_space.json"
SIDECAR_NAME = "token_space.sha256"
MAX_FILE_BYTES = 4 * 2**20  # the field's own is 2 KB


def token_space_sha256(obj: object) -> str:
    """SHA-256 hex of `json.dumps(obj, sort_keys=True)` with Python's defaults, as the field computes it."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Place:
    """Where an id lies.

    Attributes:
        range: the range's name: `TEXT`, `SPECIAL`, `IMAGE`, `AUDIO_CB1`.
        codebook: the audio codebook, from 0; None outside audio.
        code: the id's offset from the range's first id.
    """

    range: str
    codebook: int | None
    code: int


@dataclass(frozen=True)
class TokenSpace:
    """A validated token space.

    Attributes:
        raw: the parsed JSON object, unknown keys included, since the hash covers them.
        where: the file that it came from, for messages.
        layout: the keys that are relied on, validated.
    """

    raw: dict[str, Any]
    where: str
    layout: Layout

    @cached_property
    def sha256(self) -> str:
        """The identity of this token space."""
        return token_space_sha256(self.raw)

    @property
    def text_vocab_size(self) -> int:
        """V_text; rows `[0, V_text)` are the backbone's own."""
        return self.layout.text_vocab_size

    @property
    def vocab_size_total(self) -> int:
        """One past the last legal id."""
        return self.layout.vocab_size_total

    @property
    def special_tokens(self) -> dict[str, int]:
        """Token text (`<|aud_end|>`) to id."""
        return self.layout.special_tokens

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Role (`aud_end`) to id."""
        return {role_of(name): token_id for name, token_id in self.special_tokens.items()}

    @property
    def image(self) -> Range | None:
        """The IMAGE range, or None."""
        return self.layout.ranges.get("IMAGE")

    @cached_property
    def audio(self) -> tuple[Range, ...]:
        """The AUDIO_CB0 … AUDIO_CB<K-1> ranges in codebook order; empty without audio."""
        return tuple(self.layout.ranges[name] for name in self.layout.audio_names)

    @property
    def n_codebooks(self) -> int:
        """K, the number of audio codebooks."""
        return len(self.audio)

    @property
    def image_tokenizer(self) -> dict[str, Any]:
        """The image tokenizer's declaration, as it stands in the file."""
        return dict(self.layout.image_tokenizer or {})

    @property
    def audio_codec(self) -> dict[str, Any]:
        """The audio codec's declaration, as it stands in the file."""
        return dict(self.layout.audio_codec or {})

    @property
    def unknown_keys(self) -> tuple[str, ...]:
        """What the file says beyond the contract; kept, since the hash covers it."""
        return self.layout.unknown_keys

    # ------------------------------------------------------------------ specials and ranges

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

    def end_id(self, modality: Modality) -> int:
        """The id that closes a block of this modality."""
        return self.special("aud_end" if modality == "audio" else "img_end")

    def ranges_of(self, modality: Modality) -> tuple[Range, ...]:
        """The ranges of a modality in the order of their turns (frame-major: codebook 0 … K-1, then again)."""
        return self.audio if modality == "audio" else (() if self.image is None else (self.image,))

    def range_at(self, modality: Modality, position: int) -> Range:
        """The range whose turn it is at a position of a media span."""
        ranges = self.ranges_of(modality)
        return ranges[position % len(ranges)]

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

    def legal_ids(self, mode: Mode) -> np.ndarray:
        """The ids that may be written in a mode, ascending, (N,) uint32.

        text: text ids and specials, `pad_mm` not among them; image and audio: the modality's codes and its end tag.
        No mode has media ids of another, spare special rows, or ids that belong to no range.
        """
        if mode == "text":
            pad = self.special_ids.get("pad_mm")
            named = [token_id for token_id in self.special_tokens.values() if token_id != pad]
            spans = [np.arange(self.text_vocab_size)]
        else:
            named = [self.end_id(mode)]
            spans = [np.arange(r.start, r.end + 1) for r in self.ranges_of(mode)]
        return np.unique(np.concatenate([*spans, named])).astype(np.uint32)

    # ------------------------------------------------------------------ ids and codes

    def place(self, token_id: int) -> Place:
        """The range, codebook and code of an id; the inverse of `id_at`.

        Raises:
            ValueError: the id belongs to no range.
        """
        for name, r in self.layout.ranges.items():
            if token_id in r:
                codebook = int(name.removeprefix(AUDIO_PREFIX)) if name.startswith(AUDIO_PREFIX) else None
                return Place(name, codebook, token_id - r.start)
        raise ValueError(f"id {token_id} belongs to no range of {self.where}")

    def id_at(self, range_name: str, code: int) -> int:
        """The id of a code in a range.

        Raises:
            ValueError: there is no such range, or it has no such code.
        """
        r = self.layout.ranges.get(range_name)
        if r is None:
            raise ValueError(f"no range {range_name} in {self.where}: expected one of {sorted(self.layout.ranges)}")
        if not 0 <= code < r.size:
            raise ValueError(f"code {code} of {range_name}: expected 0 to {r.size - 1}")
        return r.start + code

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
            raise ValueError(f"id {ids[p]} at position {p}: {self.misplaced(modality, int(ids[p]), p)}")
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
        return next((name for name, r in self.layout.ranges.items() if token_id in r), "no range")

    def misplaced(self, modality: Modality, token_id: int, position: int) -> str:
        """What is wrong with an id at a position of a media span, in words."""
        wanted = self.range_at(modality, position)
        ranges = self.ranges_of(modality)
        where = self.name_of(token_id)
        if where.startswith(AUDIO_PREFIX) and modality == "audio":
            return f"codebook mismatch, found {where}, expected {AUDIO_PREFIX}{position % len(ranges)}"
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
        TokenSpaceError: it contradicts itself; see `parse_layout`.
    """
    return TokenSpace(raw=obj, where=str(where), layout=parse_layout(obj, where))


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
    obj = read_json(file, MAX_FILE_BYTES)
    if not isinstance(obj, dict):
        raise TokenSpaceError(file, f"a JSON {type(obj).__name__}", "an object", "Restore the file from the shards.")
    space = parse_token_space(obj, file)
    sidecar = file.with_name(SIDECAR_NAME)
    if sidecar.is_file() and (declared := _first_line(sidecar)) != space.sha256:
        raise TokenSpaceError(
            file,
            f"content with sha256 {space.sha256}",
            f"{declared}, as its own {SIDECAR_NAME} says",
            "One of the two was edited after the other was written: restore both from the shards.",
        )
    return space


def _first_line(sidecar: Path) -> str:
    """The sidecar's hash, however long or garbled the file is."""
    with sidecar.open("rb") as file:
        return file.read(200).decode("utf-8", errors="replace").strip()
