"""The CI recipes: valid by their published schemas, and run for real, in shells, against real and stubborn gates."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.results import read_verdict
from tests.small_run import last_checkpoint
from tests.tiny import Tiny

ROOT = Path(__file__).parents[1]
CI = ROOT / "ci"
HOOK, RUN_GATES = CI / "checkpoint-hook.sh", CI / "run-gates.sh"
SCHEMAS = {
    "action.yml": ["--builtin-schema", "vendor.github-actions"],
    "ci/github-workflow.yml": ["--builtin-schema", "vendor.github-workflows"],
    "ci/gitlab-ci.yml": ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}
# Names that a shell would split, expand, execute or take for an option.
ODD_NAMES = ("checkpoint_1 0", "checkpoint_$(touch pwned)", "checkpoint_`x`;*?", 'checkpoint_"\'\\', "checkpoint_\n",
             "checkpoint_-rf", "checkpoint_\x1b[31m")  # fmt: skip


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "schema"), SCHEMAS.items(), ids=SCHEMAS.keys())
def test_recipes_follow_their_published_schemas(file: str, schema: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, ROOT / file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_schema_can_fail(tmp_path: Path) -> None:
    (tmp_path / "action.yml").write_text((ROOT / "action.yml").read_text().replace("using: composite", "using: magic"))
    command = [sys.executable, "-m", "check_jsonschema", *SCHEMAS["action.yml"], tmp_path / "action.yml"]

    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    scripts = sorted(CI.glob("*.sh"))

    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert len(scripts) == 3
    assert all(script.stat().st_mode & stat.S_IXUSR for script in scripts)


def test_no_input_becomes_the_text_of_a_script_and_no_secret_is_used() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    workflow = yaml.safe_load((CI / "github-workflow.yml").read_text())
    steps = [*action["runs"]["steps"], *(step for job in workflow["jobs"].values() for step in job["steps"])]

    assert not [step["run"] for step in steps if "${{" in step.get("run", "")]
    assert workflow["permissions"] == {"contents": "read"}
    for file in SCHEMAS:
        assert "secrets." not in (ROOT / file).read_text()


def test_the_actions_last_word_is_the_exit_code() -> None:
    last = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][-1]

    assert last["if"] == "always()"
    for code, expected in (("0", 0), ("1", 1), ("10", 10), ("", 3), (None, 3)):
        env = {} if code is None else {"GATES_EXIT_CODE": code}
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", last["run"]], env=env, check=False)
        assert done.returncode == expected


def test_the_page_about_ci_names_what_there_is() -> None:
    page = (ROOT / "docs/ci.md").read_text()
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]

    for file in ("action.yml", "ci/github-workflow.yml", "ci/gitlab-ci.yml", "ci/checkpoint-hook.sh"):
        assert file in page
        assert (ROOT / file).exists()
    used = yaml.safe_load(page.split("```yaml")[1].split("```")[0])["jobs"]["gates"]["steps"][0]["with"]
    assert used.keys() <= inputs.keys()
    assert all(used.get(name) for name, each in inputs.items() if each.get("required"))


# --- a stand-in for gates --------------------------------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A `gates` that notes its arguments and ends with the code in the checkpoint's file `code`."""
    script = tmp_path / "bin/gates"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        f"log = pathlib.Path({str(tmp_path / 'calls')!r})\n"
        "log.open('a').write(repr(sys.argv[1:]) + '\\n')\n"
        "ckpt = next(a for a in sys.argv if a.startswith('--ckpt='))[7:]\n"
        "code = pathlib.Path(ckpt, 'code')\n"
        "sys.exit(int(code.read_text()) if code.exists() else 0)\n"
    )
    script.chmod(0o755)
    return script


def calls(fake: Path) -> list[list[str]]:
    log = fake.parents[1] / "calls"
    return [eval(line) for line in log.read_text().splitlines()] if log.exists() else []


def checkpoint(folder: Path, name: str, code: int = 0) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    (made / "code").write_text(str(code))
    return made


def hook(fake: Path, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", HOOK, *arguments], env=os.environ | {"GATES": str(fake)}, cwd=cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


# --- the hook --------------------------------------------------------------------------------------------------------


def test_the_newest_checkpoint_of_a_folder_is_gated(tmp_path: Path, fake: Path) -> None:
    run = tmp_path / "run with spaces"
    for name in ("checkpoint_200", "checkpoint_1000", "checkpoint_999", "checkpoint_last", "checkpoint_12x"):
        checkpoint(run, name)
    (run / "checkpoint_5000").write_text("no folder")

    done = hook(fake, "--stage", "stage4", run)

    assert done.returncode == 0
    assert calls(fake) == [["run", "stage4", f"--ckpt={run}/checkpoint_1000"]]
    assert "PROMOTE" in done.stderr


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((0, 0), 0), ((0, 1), 1), ((10, 0), 10), ((10, 1), 1), ((1, 10), 1), ((0, 3), 3), ((10, 4), 4), ((0, 77), 77)],
    ids=str,
)
def test_anything_but_promote_is_refused_with_the_worst_code(
    tmp_path: Path, fake: Path, codes: tuple[int, int], expected: int
) -> None:
    made = [checkpoint(tmp_path, f"checkpoint_{index}", code) for index, code in enumerate(codes)]

    assert hook(fake, "--stage=stage4", *made).returncode == expected
    assert len(calls(fake)) == 2  # all are gated, whatever the first one ended with


def test_changed_files_mean_their_checkpoints_each_once(tmp_path: Path, fake: Path) -> None:
    first, second = checkpoint(tmp_path, "a/checkpoint_1"), checkpoint(tmp_path, "b/checkpoint_2")
    (first / "adapter").mkdir()

    hook(fake, "--stage", "stage3", first / "adapter/x.json", second / "y", first / "z", f"{first}/", first)

    assert [call[2] for call in calls(fake)] == [f"--ckpt={first}", f"--ckpt={second}"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_odd_names_stay_names(tmp_path: Path, fake: Path, name: str) -> None:
    odd = checkpoint(tmp_path, name, code=1)
    (odd / "f").touch()

    done = hook(fake, "--stage", "stage4", "--out", "reports", odd, odd / "f", cwd=tmp_path)

    assert done.returncode == 1
    assert calls(fake) == [["run", "stage4", f"--ckpt={odd}", f"--out=reports/{name}"]]
    assert not list(tmp_path.rglob("pwned"))
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["--stage", "stage4"], ["--stage"], ["--stage", "stage9", "x"], ["x"], ["--stage", "stage4", "nowhere"],
     ["--stage", "stage4", "empty"], ["--stage", "stage4", "--fast", "x"], ["--stage", "stage4", ""],
     ["--stage", "stage4", "checkpoint_7", "empty"], ["--stage", "stage4", "/"]],
    ids=" ".join,
)  # fmt: skip
def test_what_names_no_checkpoint_is_refused(tmp_path: Path, fake: Path, arguments: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    checkpoint(tmp_path, "checkpoint_7")

    done = hook(fake, *arguments, cwd=tmp_path)

    assert done.returncode == 4
    assert done.stderr.startswith("checkpoint-hook: ")
    assert not calls(fake)


def test_a_missing_gates_command_refuses(tmp_path: Path) -> None:
    assert hook(tmp_path / "none", "--stage", "stage4", checkpoint(tmp_path, "checkpoint_1")).returncode == 127


# --- the action's step -----------------------------------------------------------------------------------------------


def step(fake: Path, ckpt: Path, **more: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the action's step as a runner does; what it said, and its outputs."""
    outputs = fake.parents[1] / "outputs"
    outputs.write_text("")
    env = os.environ | {
        "PATH": f"{fake.parent}:{os.environ['PATH']}", "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_OUTPUT": str(outputs),
        "GATES_STAGE": "stage4", "GATES_CKPT": str(ckpt), "GATES_OUT": "gates-out", **more,
    }  # fmt: skip
    script = next(each for each in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"] if "id" in each)
    assert set(script["env"]) <= env.keys() | {"GATES_THRESHOLDS", "GATES_PYTEST_ARGS"}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script["run"]],
        env=env, cwd=fake.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, dict(line.split("=", 1) for line in outputs.read_text().splitlines())


@pytest.mark.parametrize(
    ("code", "verdict", "said"),
    [(0, "PROMOTE", "::notice title=Gates::PROMOTE"), (1, "REJECT", "::error title=Gates::REJECT"),
     (10, "INCOMPLETE", "::error title=Gates::INCOMPLETE"), (4, "NONE", "::error title=Gates::no verdict")],
    ids=str,
)  # fmt: skip
def test_the_step_tells_reject_from_incomplete(tmp_path: Path, fake: Path, code: int, verdict: str, said: str) -> None:
    done, outputs = step(fake, checkpoint(tmp_path, "checkpoint_1", code))

    assert done.returncode == 0  # the report is kept first; the last step fails the job
    assert outputs == {"exit-code": str(code), "verdict": verdict, "report": "gates-out/report.html"}
    assert said in done.stdout


def test_the_step_passes_arguments_one_a_line_and_executes_none(tmp_path: Path, fake: Path) -> None:
    odd = checkpoint(tmp_path, 'checkpoint_$(touch pwned)"; touch pwned')

    step(fake, odd, GATES_PYTEST_ARGS="-n2\n--device=cpu\r\n-k a b\n\n$(touch pwned)", GATES_THRESHOLDS="my file.toml")

    assert calls(fake) == [
        ["run", "stage4", f"--ckpt={odd}", "--out=gates-out", "--junitxml=gates-out/junit.xml",
         "--thresholds=my file.toml", "-n2", "--device=cpu", "-k a b", "$(touch pwned)"]
    ]  # fmt: skip
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("missing", ["GATES_STAGE", "GATES_CKPT", "GATES_OUT"])
def test_the_step_without_an_input_fails(tmp_path: Path, fake: Path, missing: str) -> None:
    done, outputs = step(fake, checkpoint(tmp_path, "checkpoint_1"), **{missing: ""})

    assert done.returncode != 0
    assert not outputs


def test_an_output_folder_cannot_write_outputs_of_its_own(tmp_path: Path, fake: Path) -> None:
    done, outputs = step(fake, checkpoint(tmp_path, "checkpoint_1", 1), GATES_OUT="x\nverdict=PROMOTE")

    assert done.returncode == 4
    assert not outputs


def test_the_installation_is_the_makefiles(tmp_path: Path) -> None:
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    python.chmod(0o755)

    subprocess.run([CI / "install.sh"], env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True)

    asked = [re.sub(r".*constraints\.txt ", "", line) for line in log.read_text().splitlines()]
    assert asked == ["torch", f"--no-deps -r {ROOT}/requirements-nodeps.txt", str(ROOT)]


# --- real gates ------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """The console script of this environment, as a runner finds it."""
    script = tmp_path / "real/gates"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "from gates.cli import main; main()" "$@"\n'
    )
    script.chmod(0o755)
    return script


def test_the_hook_refuses_a_real_checkpoint_that_is_not_fit(tmp_path: Path, real: Path, tiny: Tiny) -> None:
    done = hook(real, "--stage", "stage4", "--out", tmp_path / "reports", tiny.ckpt)

    verdict = read_verdict(tmp_path / "reports" / tiny.ckpt.name / "verdict.json")
    assert done.returncode == {"REJECT": 1, "INCOMPLETE": 10}[verdict.verdict]
    assert f"refused, {verdict.verdict}: {tiny.ckpt}" in done.stderr


def test_the_action_takes_a_trained_checkpoint_to_its_verdict_and_keeps_junit(
    tmp_path: Path, real: Path, small_run: Path
) -> None:
    ckpt = last_checkpoint(small_run, "stage3")

    done, outputs = step(real, ckpt, GATES_STAGE="stage3")

    out = tmp_path / "gates-out"
    verdict = read_verdict(out / "verdict.json").verdict
    assert outputs["verdict"] == verdict, done.stdout + done.stderr
    assert outputs["exit-code"] == str({"PROMOTE": 0, "REJECT": 1, "INCOMPLETE": 10}[verdict])
    assert (tmp_path / outputs["report"]).exists()
    assert "<testcase" in (out / "junit.xml").read_text()
