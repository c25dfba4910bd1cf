"""Faults of the token space's identity: who declares another one (P0.1, S3.1)."""

import copy as copies
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Fault
from harness.faults.lines import edit_example, edit_examples
from harness.faults.shards import edit_row, manifest_file, redeclare, shard_files, shard_with, sign
from harness.files import read_json, write_json, write_text
from harness.token_space import FILE_NAME, SIDECAR_NAME, TokenSpace, parse_token_space, read_token_space

GATES = ("S3.1", "P0.1")
RESTORE = "restore the original file"
AGAIN = "tokenise the shards and the golden set again"
NOBODYS = "0" * 64


def other_space(space: TokenSpace, edit: Callable[[dict[str, Any]], object]) -> TokenSpace:
    """A token space that differs; `edit` changes its object in place."""
    raw = copies.deepcopy(space.raw)
    edit(raw)
    return parse_token_space(raw)


def write_space(folder: Path, space: TokenSpace) -> None:
    """token_space.json and its sidecar."""
    write_json(folder / FILE_NAME, space.raw)
    write_text(folder / SIDECAR_NAME, space.sha256 + "\n")


def _of_shards(copy: Copy) -> Path:
    folder = copy.input("shards")
    if not ((folder / FILE_NAME).is_file() and (folder / SIDECAR_NAME).is_file()):
        raise NotApplicableError("no token_space.json with its hash lies beside the shards")
    return folder


def _edit_one_byte(folder: Path) -> None:
    text = (folder / FILE_NAME).read_text()
    created = json.loads(text)["created_utc"]
    if text.count(created) != 1 or not created[-2:-1].isdigit():
        raise NotApplicableError("created_utc is no time stamp")
    other = created[:-2] + str((int(created[-2]) + 1) % 10) + created[-1]
    write_text(folder / FILE_NAME, text.replace(created, other))


def _made_again(raw: dict[str, Any]) -> None:
    raw["created_utc"] = "2001-01-01T00:00:00Z"


def _moved_on(raw: dict[str, Any]) -> None:
    """One more special row: every range behind it starts one later."""
    behind = raw["ranges"]["SPECIAL"]["end"]
    for each in raw["ranges"].values():
        if each["start"] > behind:
            each["start"] += 1
            each["end"] += 1
    raw["ranges"]["SPECIAL"]["end"] += 1
    raw["ranges"]["SPECIAL"]["size"] += 1
    raw["vocab_size_total"] += 1


def _swap_two_specials(raw: dict[str, Any]) -> None:
    names = list(raw["special_tokens"])
    first, last = raw["special_tokens"][names[0]], raw["special_tokens"][names[-1]]
    raw["special_tokens"] |= {names[0]: last, names[-1]: first}


def _declare_everywhere_else(copy: Copy, edit: Callable[[dict[str, Any]], object]) -> None:
    """Shards and golden set say another token space, the checkpoint and its parent their own."""
    space = other_space(copy.bundle.space, edit)
    write_space(copy.input("shards"), space)
    for file in shard_files(copy):
        redeclare(copy, file, space.sha256)
    if (manifest := manifest_file(copy, required=False)) is not None:
        copy.edit_json(manifest, token_space_sha256=space.sha256)
    edit_examples(copy, "golden", lambda line: line | {"token_space_sha256": space.sha256})


def _declare_everywhere(copy: Copy) -> None:
    """Restore the checkpoint's own token space beside the shards and in everything that is declared."""
    _declare_everywhere_else(copy, lambda _: None)


def _shift_last_shard(copy: Copy) -> None:
    """One shard of all is from another token space: its ids, and what its footer says."""
    space = other_space(copy.bundle.space, _moved_on)
    redeclare(copy, shard_files(copy)[-1], space.sha256)


def _unsign_last_shard(copy: Copy) -> None:
    redeclare(copy, shard_files(copy)[-1], None)


def _restore_last_shard(copy: Copy) -> None:
    redeclare(copy, shard_files(copy)[-1], copy.bundle.space.sha256)


def _codec_of_another_training(copy: Copy) -> None:
    if not copy.bundle.space.audio_codec.get("weights_sha256"):
        raise NotApplicableError("the token space declares no hash of the audio codec")
    space = other_space(copy.bundle.space, lambda raw: raw["audio_codec"].update(weights_sha256=NOBODYS))
    write_space(copy.input("shards"), space)
    redeclare(copy, shard_with(copy, "audio"), space.sha256)


def _other_parent(copy: Copy) -> None:
    parent = copy.input("parent")
    write_space(parent, other_space(read_token_space(parent), _swap_two_specials))


def _edit_parent(copy: Copy) -> None:
    if not (copy.input("parent") / SIDECAR_NAME).is_file():
        raise NotApplicableError("the parent's token space has no sidecar")
    _edit_one_byte(copy.input("parent"))


def _other_manifest(copy: Copy) -> None:
    manifest = manifest_file(copy)
    assert manifest is not None
    copy.edit_json(manifest, token_space_sha256=NOBODYS)


def _declare_one(sha256: str | None) -> Callable[[Copy], None]:
    def edit(copy: Copy) -> None:
        edit_example(copy, "golden", lambda line: line.update(token_space_sha256=sha256))

    return edit


def _declare_one_again(copy: Copy) -> None:
    edit_examples(copy, "golden", lambda line: line | {"token_space_sha256": copy.bundle.space.sha256})


def _other_dev(copy: Copy) -> None:
    edit_examples(copy, "dev", lambda line: line | {"token_space_sha256": NOBODYS})


def _unlist(copy: Copy) -> None:
    """The shards were made again, and the manifest is that of the run before."""
    manifest = manifest_file(copy)
    assert manifest is not None
    stale = read_json(manifest)
    edit_row(copy, "image", lambda row: row.ids.reverse())
    write_json(manifest, stale)


FAULTS = (
    Fault("token-space-made-again",
          "token_space.json was generated anew before tokenising: another created_utc, the same layout.",
          GATES, "that one differs only in created_utc: every id means the same", RESTORE,
          lambda copy: _declare_everywhere_else(copy, _made_again),
          artifact="token space", source="domain.md row 4", fix=_declare_everywhere),
    Fault("token-space-edited-after-hashing",
          "An editor saved the parent's token_space.json with one digit of its time stamp changed.",
          GATES, "as its own token_space.sha256 says", RESTORE,
          _edit_parent,
          artifact="parent", subtle=True, source="domain.md row 4",
          fix=lambda copy: write_space(copy.input("parent"), copy.bundle.space)),
    Fault("shards-token-space-edited-after-hashing",
          "The same beside the shards.",
          GATES, "as its own token_space.sha256 says", RESTORE,
          lambda copy: _edit_one_byte(_of_shards(copy)), artifact="token space", subtle=True, source="domain.md row 4"),
    Fault("token-space-with-another-offset",
          "Stage 2 counted one spare special more than the checkpoint: every media id means the code before.",
          GATES, "that one differs in meaning: ranges.", AGAIN,
          lambda copy: _declare_everywhere_else(copy, _moved_on), artifact="token space", source="domain.md row 2"),
    Fault("token-space-with-specials-swapped",
          "The specials were listed in another order when the layout was rebuilt.",
          GATES, "that one differs in meaning: special_tokens.", AGAIN,
          lambda copy: _declare_everywhere_else(copy, _swap_two_specials), artifact="token space"),
    Fault("parent-of-another-token-space",
          "Training went on from the checkpoint of another experiment.",
          GATES, "that one differs in meaning: special_tokens.",
          "Find which of the listed files was made with another token_space.json",
          _other_parent, artifact="parent"),
    Fault("one-shard-of-another-token-space",
          "One shard of all was left over in the cache from an earlier tokenisation.",
          GATES, "so that it cannot be told what differs", AGAIN,
          _shift_last_shard, artifact="shards", subtle=True, source="domain.md row 29"),
    Fault("one-shard-that-declares-nothing",
          "One shard of all was written by an older script, which declared no token space.",
          GATES, "has no token_space_sha256", AGAIN,
          _unsign_last_shard, artifact="shards", subtle=True, fix=_restore_last_shard),
    Fault("manifest-of-another-token-space",
          "The manifest was copied from another run's shards.",
          GATES, "manifest.json  declares 000", AGAIN,
          _other_manifest, artifact="shards"),
    Fault("manifest-of-the-run-before",
          "Shards were made again, and the manifest of the run before was put back.",
          GATES, "broken_shard_files is 1 files",
          "A shard whose bytes are not the manifest's was written or copied badly",
          _unlist, artifact="shards", source="domain.md row 29", fix=sign),
    Fault("shards-of-another-codecs-weights",
          "Sounds were tokenised with the codec of another training, whose hash their token space declares.",
          GATES, "that one differs in meaning: audio_codec.weights_sha256", AGAIN,
          _codec_of_another_training, artifact="codec"),
    Fault("one-golden-example-of-another-token-space",
          "One golden example was taken over from the golden set of an earlier layout.",
          GATES, "declares 000", AGAIN,
          _declare_one(NOBODYS), artifact="golden", subtle=True, fix=_declare_one_again),
    Fault("one-golden-example-that-declares-nothing",
          "One golden example was written by hand.",
          GATES, "declares no token_space_sha256", AGAIN,
          _declare_one(None), artifact="golden", subtle=True),
    Fault("dev-set-of-another-token-space",
          "The dev set was not tokenised again after the layout had changed.",
          GATES, "declares 000", "Find which of the listed files was made with another token_space.json",
          _other_dev, artifact="dev"),
)  # fmt: skip
