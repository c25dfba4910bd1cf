"""What a run prints: on a terminal and in a log, quiet and verbose, and never what a terminal would act on."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from gates import terminal
from gates.shown import encodable, message, one_line, printable
from tests.closed import ROOT, STAGE_4
from tests.gating import SIGNS
from tests.hostile import CONTROL, HOSTILE, LONG, PLUGIN
from tests.tiny import Tiny

COLOUR = re.compile(r"\x1b\[[\d;]*m")
COLUMNS = 60
# Two gates that open nothing but files.
QUICK = ["-k", "p00 or p01"]


@pytest.fixture
def hostile(shared_tiny: Tiny, tmp_path: Path) -> Path:
    """A checkpoint whose name wants to be obeyed."""
    root = tmp_path / "root"
    shutil.copytree(shared_tiny.root, root)
    return (root / shared_tiny.ckpt.relative_to(shared_tiny.root)).rename(root / "stage4" / "ck\x1b[2J\x1b]0;own\x07")


def on_a_terminal(args: list[str], **environment: str) -> str:
    """What a run writes to a terminal of 60 columns."""
    shown, hidden = pty.openpty()
    fcntl.ioctl(hidden, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in SIGNS}
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", *args],
        cwd=ROOT, stdin=hidden, stdout=hidden, stderr=hidden, env=clean | {"TERM": "xterm"} | environment,
    )  # fmt: skip
    os.close(hidden)
    written = b""
    try:
        while chunk := os.read(shown, 65536):
            written += chunk
    except OSError:
        pass  # Linux says so when the last writer is gone
    os.close(shown)
    run.wait()
    return written.decode()


def test_a_terminal_gets_colours_one_live_line_and_nothing_of_the_checkpoints(hostile: Path, tmp_path: Path) -> None:
    written = on_a_terminal([*STAGE_4, f"--ckpt={hostile}", f"--out={tmp_path / 'out'}", *QUICK])

    assert "\x1b[33m\x1b[1mINCOMPLETE" in written or "\x1b[1m\x1b[33mINCOMPLETE" in written
    assert re.search(r"\rlooking at every value: \d+/\d+", written)
    assert "\\x1b[2J\\x1b]0;own\\x07" in written
    plain = COLOUR.sub("", written)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", plain.replace("\x1b]9;4;", "")), ascii(plain)
    assert "\x1b[2J" not in written
    table = plain[plain.index("P0.0  P0") :].splitlines()
    rows = [line for line in table if re.match(r"[PS]\d\.\d  ", line)]
    assert len(rows) == 12
    assert all(len(line) <= COLUMNS for line in rows)


def test_a_terminal_of_ci_gets_plain_text(shared_tiny: Tiny, tmp_path: Path) -> None:
    written = on_a_terminal([*STAGE_4, f"--ckpt={shared_tiny.ckpt}", f"--out={tmp_path / 'out'}", "-k", "p00"], CI="1")

    assert not COLOUR.search(written)
    assert "INCOMPLETE  " in written
    assert "\r\n  looking at every value: 0/" in written


def test_no_color_is_for_colours_alone(shared_tiny: Tiny, tmp_path: Path) -> None:
    out = f"--out={tmp_path / 'out'}"
    written = on_a_terminal([*STAGE_4, f"--ckpt={shared_tiny.ckpt}", out, "-k", "p00"], NO_COLOR="1")

    assert not COLOUR.search(written)
    assert re.search(r"\rlooking at every value", written)


@pytest.fixture
def quick(pytester: pytest.Pytester, hostile: Path, monkeypatch: pytest.MonkeyPatch) -> "Quick":
    for name in SIGNS:
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(hostile=PLUGIN)
    pytester.syspathinsert()
    return Quick(pytester, [*STAGE_4, f"--ckpt={hostile}", f"--out={pytester.path / 'out'}", "-p", "hostile", *QUICK])


class Quick:
    """Runs in this process, whose output is no terminal; one gate fails and one errs, with hostile texts."""

    def __init__(self, pytester: pytest.Pytester, args: list[str]) -> None:
        self.pytester, self.args = pytester, args

    def __call__(self, *more: str) -> str:
        result = self.pytester.runpytest_inprocess(*self.args, *more)
        assert result.ret == 1
        written = result.stdout.str() + result.stderr.str()
        assert not re.search(CONTROL, written)
        return written


def test_a_log_has_no_escape_and_no_carriage_return(quick: Quick) -> None:
    written = quick()

    assert "REJECT  Do not promote" in written
    assert "\n  looking at every value: 0/" in written
    assert re.search(r"^P0\.0  P0  FAIL     bundle ", written, re.MULTILINE)
    assert re.search(r"^P0\.1  P0  ERROR    identity ", written, re.MULTILINE)
    assert "report: out/report.html" in written
    assert "ERROR at call of test_one_token_space" in written
    assert len(written) < 150_000  # two errors of a megabyte each


def test_colours_come_when_they_are_asked_for(quick: Quick) -> None:
    result = quick.pytester.runpytest_inprocess(*quick.args, "--color=yes")

    assert "\x1b[1m\x1b[31mREJECT" in result.stdout.str() or "\x1b[31m\x1b[1mREJECT" in result.stdout.str()
    assert not re.search("[\x00-\x08\x0b-\x1f]", COLOUR.sub("", result.stdout.str()))


def test_quiet_says_what_did_not_pass_and_very_quiet_the_verdict(quick: Quick) -> None:
    quiet, very_quiet = quick("-q"), quick("-qq")

    assert "P0.0  P0  FAIL" in quiet
    assert "REJECT  " in quiet
    assert "evidence:" not in quiet
    assert "P0.0  P0" not in very_quiet
    assert "REJECT  " in very_quiet
    assert "report: " in very_quiet


def test_verbose_says_all_of_it(quick: Quick) -> None:
    written = quick("-v", "-x")

    assert re.search(r"test_p00_bundle.py::\S+ FAILED", written)
    (first, *_), (usual, *_) = (
        [line for line in text.splitlines() if line.startswith("P0.0  P0")] for text in (written, quick())
    )
    assert len(usual) <= 200 < len(written[written.index(first) : written.index("P0.1  P0")])


def test_foreign_text_is_shown_escaped() -> None:
    shown = printable(HOSTILE)

    assert "\\x1b[2J\\x1b]0;owned\\x07 \\x00 \\x08 \\x7f \\x9b31m \\u202egnirts" in shown
    assert "half \\ud800 done" in shown
    assert "\n" in shown
    assert encodable({"a": [HOSTILE]})["a"][0].encode()
    assert one_line(LONG, 10) == "xxxxxxxxx…"
    assert one_line(" a\n\tb\r", 10) == "a b\\r"
    assert message(LONG).endswith("… (980000 more characters: see verdict.json)")


@pytest.mark.parametrize(
    ("done", "elapsed_s", "text"),
    [(0, 0.0, "scores: 0/10"), (5, 20.0, "scores: 5/10, about 20 s left"), (1, 60.0, "scores: 1/10, about 9 min left")],
)
def test_progress_says_how_long_it_will_take(done: int, elapsed_s: float, text: str) -> None:
    assert terminal._progress("scores", done, 10, elapsed_s) == text
