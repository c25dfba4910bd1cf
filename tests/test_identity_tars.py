"""P0.1 and S3.1 on WebDataset tars, as the field has them: each defect fails with its reason."""

from collections.abc import Callable

import pytest

from tests.gating import findings, run_gate
from tests.shard_edits import (
    Members,
    edit_member,
    npy,
    with_tars,
)
from tests.tiny import Tiny

OTHER = "0" * 64


def _swap_ids(members: Members) -> None:
    members["000000.audio.npy"] = npy([104, 88, 90, 110, 91, 111, 92, 112])


TARS: dict[str, tuple[Callable[[Members], object], str]] = {
    "another sample": (edit_member("000005.json", token_space_sha256=OTHER), "shard-000000.tar: 000005: declares 0000"),
    "a sample without": (edit_member("000005.json", token_space_sha256=None), "000005: its KEY.json has no token"),
    "a sample without JSON": (lambda m: m.pop("000004.json"), "000004: no KEY.json"),
    "array missing": (lambda m: m.pop("000000.audio.npy"), "000000: 0 ids; its meta says 4 frames x 2 codebooks"),
    "out of turn": (_swap_ids, "000000: id 104 at position 0: codebook mismatch, found AUDIO_CB1"),
    "negative id": (lambda m: m.update({"000001.image.npy": npy([-1] * 6)}), "000001: id -1 at position 0: found no"),
    "16-bit ids": (lambda m: m.update({"000001.image.npy": npy([70] * 6, "int16")}), "found int16 of shape (6,)"),
    "pickled ids": (lambda m: m.update({"000001.image.npy": npy([{}], "object")}), "found object of shape (1,)"),
    "claims more than it holds": (
        lambda m: m.update({"000001.image.npy": npy([70] * 6).replace(b"(6,)", b"(99999999999,)")}), "000001.image.npy",
    ),
    "fewer ids than tokens": (lambda m: m.update({"000001.text_out.npy": npy([1])}), "000001: 1 ids; its meta says 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", TARS)
def test_a_defect_in_a_tar_fails_with_its_reason(pytester: pytest.Pytester, tiny: Tiny, name: str) -> None:
    edit, reason = TARS[name]
    with_tars(tiny, edit)

    gate = run_gate(pytester, "S3.1", tiny.ckpt)

    assert gate["outcome"] == "fail", findings(gate)
    assert reason in findings(gate)


def test_links_and_cuts_in_a_tar_are_named(pytester: pytest.Pytester, tiny: Tiny) -> None:
    with_tars(tiny, link="000003.json")
    assert "000003.json: found a link or a device" in findings(run_gate(pytester, "P0.1", tiny.ckpt))

    tar = with_tars(tiny)
    whole = tar.read_bytes()
    for size in (len(whole.rstrip(b"\0")) // 2, 512 * 20, 700):
        tar.write_bytes(whole[:size])
        gate = run_gate(pytester, "P0.1", tiny.ckpt)
        assert gate["outcome"] == "fail"
        assert "shard-000000.tar: found " in findings(gate)
