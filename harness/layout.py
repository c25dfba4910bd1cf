"""token_space.json at the border: what is relied on is validated, what is unknown is kept and can be listed."""

import itertools
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from harness.errors import TokenSpaceError

# The roles that sequences are built from. The field spells them `<|aud_end|>` and, elsewhere, `<aud_end>`.
ROLES = (
    "text_start", "text_end", "img_start", "img_end", "aud_start", "aud_end",
    "gen_text", "gen_img", "gen_aud", "pad_mm",
)  # fmt: skip
# Ids are unsigned and 32 bits wide in every file.
MAX_VOCABULARY = 2**32
# Frame-major: codebook 0 … K-1 of the first frame, then of the next. Every count of turns rests on it.
SERIALIZATION = "flatten_by_time_interleaved_codebooks"
AUDIO_PREFIX = "AUDIO_CB"


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


class Layout(BaseModel):
    """The keys that are relied on; every other key is kept by the raw object."""

    model_config = ConfigDict(strict=True, extra="allow")

    version: str
    created_utc: Any = None
    base_text_model: Any = None
    text_vocab_size: int
    special_tokens: dict[str, int]
    ranges: dict[str, Range]
    image_tokenizer: dict[str, Any] | None = None
    audio_codec: dict[str, Any] | None = None
    vocab_size_total: int

    @property
    def audio_names(self) -> list[str]:
        """AUDIO_CB0 … AUDIO_CB<K-1>, in that order once the layout is checked."""
        return [f"{AUDIO_PREFIX}{k}" for k in range(sum(name.startswith(AUDIO_PREFIX) for name in self.ranges))]

    @property
    def unknown_keys(self) -> tuple[str, ...]:
        """What the contract does not name: keys of the object, ranges, and specials without a role."""
        known = {"TEXT", "SPECIAL", "IMAGE", *self.audio_names}
        return (
            *sorted(self.model_extra or {}),
            *sorted(f"ranges.{name}" for name in self.ranges if name not in known),
            *sorted(f"special_tokens.{name}" for name in self.special_tokens if role_of(name) not in ROLES),
        )


def role_of(name: str) -> str:
    """The role of a special token: `aud_end` of `<|aud_end|>` and of `<aud_end>`."""
    return name.strip("<|>")


def parse_layout(obj: dict[str, Any], where: Path | str) -> Layout:
    """Validate a parsed token_space.json.

    Raises:
        TokenSpaceError: a key is missing or of the wrong type, ranges overlap or leave the vocabulary, a special is
            outside SPECIAL, audio codebooks are not numbered from 0 without a gap, or a codec says another size.
    """
    try:
        layout = Layout.model_validate(obj)
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
    _check_codecs(layout, where)
    return layout


def _check_ranges(layout: Layout, where: Path | str) -> None:
    text = layout.ranges.get("TEXT")
    if text is None or text.start != 0 or text.size != layout.text_vocab_size:
        raise TokenSpaceError(
            where,
            f"TEXT {text}",
            f"TEXT from 0 with {layout.text_vocab_size} ids",
            "Make ranges and text_vocab_size agree.",
        )
    if layout.vocab_size_total > MAX_VOCABULARY:
        raise TokenSpaceError(
            where,
            f"vocab_size_total {layout.vocab_size_total}",
            f"at most {MAX_VOCABULARY}: ids are uint32",
            "Correct the total.",
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
    found = sorted(name for name in layout.ranges if name.startswith(AUDIO_PREFIX))
    if found != sorted(layout.audio_names):
        raise TokenSpaceError(
            where, f"audio ranges {found}", f"{layout.audio_names}", "Number the codebooks from 0 without a gap."
        )


def _check_specials(layout: Layout, where: Path | str) -> None:
    special = layout.ranges.get("SPECIAL")
    by_id: dict[int, str] = {}
    by_role: dict[str, str] = {}
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
        if role_of(name) in by_role:
            raise TokenSpaceError(
                where, f"{by_role[role_of(name)]} and {name}", "one spelling of each special", "Keep the trained one."
            )
        by_id[token_id], by_role[role_of(name)] = name, name


def _check_codecs(layout: Layout, where: Path | str) -> None:
    """What the two declarations say of sizes and order must be what the ranges say."""
    ranges, audio, image = layout.ranges, layout.audio_codec or {}, layout.image_tokenizer or {}
    sizes = {ranges[name].size for name in layout.audio_names}
    wanted: list[tuple[str, object, object]] = []
    if sizes:
        wanted += [
            ("audio_codec.n_codebooks", audio.get("n_codebooks"), len(layout.audio_names)),
            ("audio_codec.codebook_size", audio.get("codebook_size"), max(sizes)),
            ("audio_codec.serialization", audio.get("serialization"), SERIALIZATION),
        ]
    if "IMAGE" in ranges:
        wanted.append(("image_tokenizer.codebook_size", image.get("codebook_size"), ranges["IMAGE"].size))
    for key, found, expected in wanted:
        if found is not None and found != expected:
            raise TokenSpaceError(
                where, f"{key} {found}", f"{expected}, as its ranges say", "Correct whichever of the two is wrong."
            )
