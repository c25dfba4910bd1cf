"""A run takes its folders and its options: one at a time, refused by name, and INCOMPLETE from the start."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.config.argparsing import Parser
from filelock import FileLock

from gates import session as sessions
from gates.lock import HOLDER, LOCK, OutLock
from gates.options import add_options, older_out, read_options
from gates.session import PAGES, VERDICT_FILE, GateSession, withdraw, withdraw_older
from gates.stage4.thresholds import Stage4Thresholds
from gates.verdict import criteria_of
from harness.results import Decision, read_verdict
from tests.gate_runs import options


def written(session: GateSession) -> Decision:
    return read_verdict(session.options.out / VERDICT_FILE).verdict


# ---------------------------------------------------------------------- folders and lock


def started(folder: Path, **changes: Any) -> GateSession:
    config: Any = SimpleNamespace(invocation_params=SimpleNamespace(args=("gates/stage4", "--ckpt=a b")))
    return GateSession.start(options(folder, **changes), config)


def test_a_run_begins_incomplete_and_says_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    run = started(tmp_path)

    assert written(run) == "INCOMPLETE"
    assert run.command == "pytest gates/stage4 '--ckpt=a b'"
    assert run.options.cache.is_dir()
    assert list(run.criteria) == list(criteria_of("stage4"))
    begun = read_verdict(run.options.out / VERDICT_FILE)
    assert begun.run.duration_s == 0.0
    assert {gate.outcome for gate in begun.gates} == {"not_run"}
    holder = json.loads((run.options.out / HOLDER).read_text())
    assert holder["started"] == run.started
    run.lock.release()
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x -q")
    again = started(tmp_path)
    assert again.command.startswith("PYTEST_ADDOPTS='-x -q' pytest gates/stage4")
    again.lock.release()


@pytest.mark.parametrize(("which", "option"), [("out", "--out="), ("cache", "--cache=")])
def test_a_folder_that_is_a_file_is_refused_by_its_option(tmp_path: Path, which: str, option: str) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(pytest.UsageError, match=option):
        started(tmp_path, **{which: tmp_path / "file"})
    # and lets go of the folder
    assert not (options(tmp_path).out / HOLDER).exists()
    started(tmp_path).lock.release()


def test_what_an_older_run_left_is_gone_before_a_run_begins(tmp_path: Path) -> None:
    out = options(tmp_path).out
    out.mkdir()
    for name in PAGES:
        (out / name).write_text("of an older run")

    run = started(tmp_path, cache=tmp_path / "a" / "folder" / "of evidence")
    run.lock.release()

    assert not any((out / name).exists() for name in PAGES)
    assert run.options.cache.is_dir()


def test_an_older_verdict_that_could_not_be_taken_away_is_named(tmp_path: Path) -> None:
    out = options(tmp_path).out
    (out / LOCK).mkdir(parents=True)  # no file that could be locked
    with pytest.raises(pytest.UsageError, match=r"expected a folder to write to$"):
        started(tmp_path)
    (out / VERDICT_FILE).write_text("{}")
    with pytest.raises(pytest.UsageError, match=r"to write to; the verdict\.json that lies there is of an older run$"):
        started(tmp_path)


def test_a_folder_of_evidence_that_is_none_is_no_older_verdict(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(pytest.UsageError, match=r"expected a folder to write to$"):
        started(tmp_path, cache=tmp_path / "file")
    assert read_verdict(options(tmp_path).out / VERDICT_FILE).verdict == "INCOMPLETE"


def test_gates_that_cannot_be_imported_are_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(stage: str) -> None:
        raise ImportError("no such module")

    monkeypatch.setattr(sessions, "criteria_of", broken)
    with pytest.raises(pytest.UsageError, match=r"gates/stage4: found gates that cannot be imported \(ImportError"):
        started(tmp_path)


def test_a_second_run_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    first, second = OutLock(tmp_path), OutLock(tmp_path)
    first.acquire("2026-01-01")

    with pytest.raises(
        pytest.UsageError, match=rf"found another run writing there \(pid {os.getpid()} on .*, since 2026"
    ):
        second.acquire("2026-01-02")
    second.release()
    assert (tmp_path / HOLDER).exists()
    for said in ("{}", "[]", '{"pid": "x", "host": "h", "started": "s"}', "no json"):
        (tmp_path / HOLDER).write_text(said)
        with pytest.raises(pytest.UsageError, match="it has not said which"):
            second.acquire("2026-01-02")
    first.release()
    assert not (tmp_path / HOLDER).exists()
    second.acquire("2026-01-02")
    assert json.loads((tmp_path / HOLDER).read_text())["started"] == "2026-01-02"
    second.release()


def test_the_folder_is_made_where_it_is_not_there(tmp_path: Path) -> None:
    lock = OutLock(tmp_path / "a" / "b")
    lock.acquire("now")
    lock.release()
    lock.acquire("now")
    (tmp_path / "a" / "b" / HOLDER).unlink()  # whoever tidied up
    lock.release()


def test_withdrawing_takes_verdict_and_pages_and_nothing_else(tmp_path: Path) -> None:
    for name in (VERDICT_FILE, *PAGES, "kept.txt"):
        (tmp_path / name).write_text("x")

    withdraw(tmp_path)
    withdraw(tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["kept.txt"]


def test_an_older_verdict_goes_unless_another_run_holds_the_folder(tmp_path: Path) -> None:
    (tmp_path / VERDICT_FILE).write_text("x")
    other = FileLock(tmp_path / LOCK)
    with other:
        withdraw_older(tmp_path)
        assert (tmp_path / VERDICT_FILE).exists()
    withdraw_older(tmp_path)
    assert not (tmp_path / VERDICT_FILE).exists()
    assert not (tmp_path / HOLDER).exists()
    OutLock(tmp_path).acquire("now")  # it has let go
    withdraw_older(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


# ---------------------------------------------------------------------- options


def config(folder: Path, *args: str, **given: Any) -> Any:
    defaults = {"device": "auto", "dtype": "float32", "seed": 0, "batch_tokens": 8192}
    return SimpleNamespace(
        args=list(args), invocation_params=SimpleNamespace(dir=folder), getoption=(defaults | given).get
    )


GATES = Path(sessions.__file__).parent


def test_without_gates_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert read_options(config(tmp_path, "tests")) is None
    assert read_options(config(tmp_path, "tests", ckpt="x", help=True)) is None
    with pytest.raises(pytest.UsageError, match="judges nothing"):
        read_options(config(tmp_path, "tests", ckpt="x"))


def test_what_a_run_is_asked_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODALITY_GATES_CACHE", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoint_5").mkdir()
    stage4 = str(GATES / "stage4" / "test_p01_identity.py") + "::test_x"
    asked = read_options(config(tmp_path, stage4, ckpt=str(tmp_path / "checkpoint_5"), golden="g", max_examples=1))

    assert asked is not None
    assert (asked.stage, asked.out) == ("stage4", tmp_path / "outputs" / "gates" / "stage4" / "checkpoint_5")
    assert (asked.cache, asked.reuse_evidence, asked.threads) == (asked.out / "evidence", True, None)
    assert asked.overrides == {"golden": Path("g")}
    assert (asked.thresholds, asked.thresholds_path, asked.max_examples) == (Stage4Thresholds(), None, 1)
    assert asked.strict is False
    assert len(asked.run_id) == 32
    monkeypatch.setenv("MODALITY_GATES_CACHE", "kept")
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    other = read_options(config(tmp_path, stage4, ckpt=".", out="o", no_cache=True, strict=True))
    assert other is not None
    assert (other.out, other.cache, other.reuse_evidence) == (tmp_path / "o", tmp_path / "kept", False)
    assert other.threads == 4
    assert other.strict is True
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "9999")
    many = read_options(config(tmp_path, stage4, ckpt=".", evidence_cache="~"))
    assert many is not None
    assert (many.threads, many.cache) == (1, Path.home())
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    unknown = read_options(config(tmp_path, stage4, ckpt="."))
    assert unknown is not None
    assert unknown.threads == 1


@pytest.mark.parametrize(
    ("args", "given", "told"),
    [
        (("stage3", "stage4"), {}, "one stage at a time"),
        (("",), {}, "one stage at a time"),
        (("stage4",), {}, "gates need a checkpoint: pytest gates/stage4"),
        (("stage4",), {"ckpt": "no/such"}, "no such folder"),
        (("stage4",), {"ckpt": ".", "max_examples": 0}, "--max-examples=0: expected at least 1"),
        (("stage4",), {"ckpt": ".", "batch_tokens": 0}, "--batch-tokens=0: expected at least 1"),
        (("stage4",), {"ckpt": ".", "thresholds": "no/such.toml"}, "no/such.toml"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, args: tuple[str, ...], given: dict[str, Any], told: str) -> None:
    with pytest.raises(pytest.UsageError, match=told):
        read_options(config(tmp_path, *(str(GATES / arg) for arg in args), **given))


def test_where_a_run_that_could_not_begin_would_have_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stage3 = str(GATES / "stage3")

    assert older_out(config(tmp_path, stage3, ckpt="a/b")) == tmp_path / "outputs" / "gates" / "stage3" / "b"
    assert older_out(config(tmp_path, stage3, out="o")) == tmp_path / "o"
    assert older_out(config(tmp_path, stage3)) is None
    assert older_out(config(tmp_path, str(GATES), ckpt="a")) is None


def test_the_options_and_their_defaults() -> None:
    parser = Parser(_ispytest=True)
    add_options(parser)

    given = vars(parser.parse([]))
    assert {name: given[name] for name in ("device", "dtype", "seed", "batch_tokens", "no_cache", "max_examples")} == {
        "device": "auto", "dtype": "float32", "seed": 0, "batch_tokens": 8192, "no_cache": False, "max_examples": None,
    }  # fmt: skip
    asked = parser.parse(
        ["--ckpt=c", "--text-eval=t", "--thresholds=f", "--out=o", "--cache=e", "--max-examples=3", "--seed=4"]
    )
    found = [
        getattr(asked, name)
        for name in ("ckpt", "text_eval", "thresholds", "out", "evidence_cache", "max_examples", "seed")
    ]
    assert found == ["c", "t", "f", "o", "e", 3, 4]
    with pytest.raises(pytest.UsageError, match="invalid choice"):
        parser.parse(["--dtype=int8"])
