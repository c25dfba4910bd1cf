"""Defects of Stage 2 shards, tokenizers and token spaces, written into a tiny bundle's real files."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from harness.files import write_json
from harness.token_space import TokenSpace, parse_token_space
from tests.tiny import Tiny, shard_rows, sign_shards, write_parquet, write_shards, write_space

Row = dict[str, Any]
Members = dict[str, bytes]
PART = "part-0.parquet"


def edit_rows(tiny: Tiny, edit: Callable[[list[Row]], None], **schema: Any) -> None:
    """Change the rows of the one shard; manifest and footer go along, so that nothing else is wrong."""
    rows = pq.read_table(tiny.shards / PART).to_pylist()
    edit(rows)
    write_parquet(tiny.shards / PART, rows, tiny.space.sha256, **schema)
    sign_shards(tiny.shards)


def edit_ids(tiny: Tiny, modality: str, edit: Callable[[list[int]], list[int]]) -> None:
    """Change the ids of the first row of a modality."""

    def of_first(rows: list[Row]) -> None:
        row = next(row for row in rows if row["modality"] == modality)
        row["ids"] = edit(row["ids"])

    edit_rows(tiny, of_first)


def edit_meta(tiny: Tiny, modality: str, meta: str) -> None:
    """Replace the meta of the first row of a modality."""

    def of_first(rows: list[Row]) -> None:
        next(row for row in rows if row["modality"] == modality)["meta"] = meta

    edit_rows(tiny, of_first)


def edit_manifest(tiny: Tiny, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest."""
    manifest = json.loads((tiny.shards / "manifest.json").read_text())
    edit(manifest)
    write_json(tiny.shards / "manifest.json", manifest)


def other_space(tiny: Tiny, **changes: Any) -> TokenSpace:
    """The bundle's token space with other values; a dotted key of one level is written `image_tokenizer__device`."""
    raw = json.loads(json.dumps(tiny.space.raw))
    for key, value in changes.items():
        first, _, second = key.partition("__")
        target = raw[first] if second else raw
        target[second or first] = value
    return parse_token_space(raw)


def redeclare(tiny: Tiny, space: TokenSpace, *, ckpt: bool = False) -> None:
    """Write shards, parent and golden set, and the checkpoint where asked for, with another token space."""
    write_shards(tiny.shards, space)
    folders = [tiny.shards, tiny.root / "stage3" / "checkpoint_10", *([tiny.ckpt] if ckpt else [])]
    for folder in folders:
        write_space(folder, space)
    for file in tiny.golden.glob("*.jsonl"):
        file.write_text(file.read_text().replace(tiny.space.sha256, space.sha256))


def npy(ids: Any, dtype: str = "int32") -> bytes:
    """The bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, np.array(ids, dtype=dtype), allow_pickle=True)
    return stream.getvalue()


def tar_members(space: TokenSpace) -> Members:
    """The tiny shards' rows as a WebDataset: member name to content."""
    members: Members = {}
    for number, row in enumerate(shard_rows(space)):
        key = f"{number:06d}"
        tokens = {"text_in": 0, "text_out": len(row["text_ids"]), "audio": 0, "image": 0}
        said = {"id": row["id"], "task": "a2t", "source": "tiny", "token_space_sha256": space.sha256,
                "tokens": tokens | {row["modality"]: len(row["ids"])}, "meta": json.loads(row["meta"])}  # fmt: skip
        members[f"{key}.json"] = json.dumps(said).encode()
        members[f"{key}.{row['modality']}.npy"] = npy(row["ids"])
        members[f"{key}.text_out.npy"] = npy(row["text_ids"])
    return members


def write_tar(path: Path, members: Members, *, link: str | None = None) -> None:
    """A tar of members in order; `link` names one that becomes a symbolic link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name == link:
                info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/hostname", 0
            tar.addfile(info, io.BytesIO(content))


def with_tars(tiny: Tiny, edit: Callable[[Members], None] = lambda _: None, **options: Any) -> Path:
    """Replace the Parquet shards by one tar, as the field has them: no manifest. Returns the tar."""
    for path in tiny.shards.iterdir():
        path.unlink()
    members = tar_members(tiny.space)
    edit(members)
    write_tar(tiny.shards / "shard-000000.tar", members, **options)
    return tiny.shards / "shard-000000.tar"


def edit_member(name: str, **changes: Any) -> Callable[[Members], None]:
    """An edit of a member's JSON: `None` drops a key."""

    def edit(members: Members) -> None:
        said = json.loads(members[name]) | changes
        members[name] = json.dumps({key: value for key, value in said.items() if value is not None}).encode()

    return edit
