"""Digests of folders are those that sha256sum gives, in one order whatever order the cores finish in."""

import hashlib
import subprocess
from pathlib import Path

import numpy as np

from harness.files import file_sha256, tree_sha256
from harness.fingerprint import fingerprint, tensor_digest
from harness.tensors import read_folder
from tests.tiny import TEXT, Tiny


def _write(root: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        file = root / f"folder{i % 3}" / f"part-{i}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.bytes(1 + 100_000 * (i % 5)))
    (root / ".hidden").write_text("left out")


def test_a_folders_digest_is_that_of_sha256sums_lines(tmp_path: Path) -> None:
    _write(tmp_path)
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("part-*"))
    lines = subprocess.run(["sha256sum", *names], cwd=tmp_path, check=True, capture_output=True).stdout

    assert tree_sha256(tmp_path) == hashlib.sha256(lines).hexdigest()


def test_a_digest_is_of_the_stored_bytes_alone(tiny: Tiny) -> None:
    tensor = read_folder(tiny.base)["model.norm.weight"]
    content = tensor.file.read_bytes()

    assert tensor_digest(tensor) == hashlib.sha256(content[tensor.start : tensor.stop]).hexdigest()
    assert file_sha256(tensor.file) == hashlib.sha256(content).hexdigest()


def test_a_fingerprint_hashes_each_text_row_of_each_table(tiny: Tiny) -> None:
    reference, stored = fingerprint(tiny.base, TEXT), read_folder(tiny.base)

    for table, name in (("embed", "model.embed_tokens.weight"), ("lm_head", "lm_head.weight")):
        rows = stored[name].raw()
        expected = tuple(hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in rows[:TEXT])
        assert reference.text_rows[table] == expected  # type: ignore[index]
    assert set(reference.tensors) == set(stored) - {"model.embed_tokens.weight", "lm_head.weight"}
