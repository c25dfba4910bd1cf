"""Dependencies go one way, torch stays out of judging and rendering, and the README's tree is the tree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gates", "harness", "training", "reports")
# package -> packages of ours that it may import. The composition root may import them all.
ALLOWED = {"gates": {"gates", "harness"}, "reports": {"reports", "harness"}, "training": {"training", "harness"},
           "harness": {"harness"}}  # fmt: skip
COMPOSITION_ROOT = {"gates/plugin.py", "gates/cli.py", "gates/session.py"}
# `gates sample` is a command of training's; no gate imports it.
COMMANDS_OF_TRAINING = {"gates/commands/sample.py"}
# Commands that write pages over several verdicts; no gate imports them.
COMMANDS_THAT_RENDER = {
    "gates/commands/history.py",
    "gates/commands/compare.py",
    "gates/commands/comparing.py",
    "gates/commands/pairing.py",
}


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def _files() -> list[str]:
    return [str(f.relative_to(ROOT)) for package in PACKAGES for f in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("name", _files())
def test_imports_go_one_way(name: str) -> None:
    package = name.split("/")[0]
    ours = {module.split(".")[0] for module in _imports(ROOT / name)} & set(PACKAGES)

    allowed = set(PACKAGES) - {"training"} if name in COMPOSITION_ROOT else ALLOWED[package]
    if name in COMMANDS_OF_TRAINING:
        allowed = allowed | {"training"}
    if name in COMMANDS_THAT_RENDER:
        allowed = allowed | {"reports"}
    assert ours <= allowed, f"{name} imports {sorted(ours - allowed)}"


@pytest.mark.parametrize("name", [n for n in _files() if n.startswith(("gates/", "reports/"))])
def test_no_torch_in_gates_or_reports(name: str) -> None:
    assert not {module for module in _imports(ROOT / name) if module.split(".")[0] in ("torch", "transformers", "peft")}


def test_reports_know_only_results_of_the_harness() -> None:
    allowed = {"harness.results", "harness.files", "harness.errors"}
    for file in (ROOT / "reports").rglob("*.py"):
        assert {m for m in _imports(file) if m.startswith("harness")} <= allowed, file


def test_a_report_is_rendered_without_torch() -> None:
    code = "import sys, gates.cli, reports.render; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_readme_names_every_file() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in _files():
        if not name.endswith("__init__.py"):
            assert re.search(rf"\b{re.escape(Path(name).name)}\b", readme), f"{name} is missing from the README's tree"
