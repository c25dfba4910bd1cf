"""What is imported is declared: a package that happens to lie about on one machine is missing on the next."""

import ast
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT_DEPENDENCIES = [
    line for line in (ROOT / "requirements-nodeps.txt").read_text().splitlines() if line and not line.startswith("#")
]
SHIPPED = ("gates", "harness", "reports", "training")
OURS = {*SHIPPED, "bench", "conftest", "tests"}
# Imported only where a user's own training run has put them.
GUESTS = {"deepspeed"}


def _with_what_they_ask_for(lines: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = [(Requirement(line), "") for line in lines]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name in found and not requirement.extras:
            continue
        found.add(name)
        try:
            of_it = requires(name) or []
        except PackageNotFoundError:  # asked for by an extra that is not installed here
            continue
        waiting += [(Requirement(line), asked) for line in of_it for asked in ("", *requirement.extras)]
    return found


def _installed_with(*extras: str) -> set[str]:
    asked = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    alone = {canonicalize_name(Requirement(line).name) for line in WITHOUT_DEPENDENCIES}
    return _with_what_they_ask_for(asked) | alone


def _foreign_imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names - OURS - GUESTS - set(sys.stdlib_module_names)


def _files(*folders: str) -> list[str]:
    return [str(file.relative_to(ROOT)) for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


def _undeclared(files: Iterable[str], installed: set[str]) -> set[tuple[str, str]]:
    providers = packages_distributions()
    return {
        (file, module)
        for file in files
        for module in _foreign_imports(ROOT / file)
        if not installed & {canonicalize_name(found) for found in providers.get(module, [])}
    }


def test_what_is_shipped_imports_what_a_user_has_installed() -> None:
    assert not _undeclared(_files(*SHIPPED), _installed_with("seed"))


def test_what_is_tested_imports_what_make_installs() -> None:
    assert not _undeclared(["conftest.py", *_files("tests", "bench")], _installed_with("dev"))


def test_a_package_that_nothing_asks_for_is_noticed() -> None:
    installed = _with_what_they_ask_for(["jinja2>=3.1"])

    assert "markupsafe" in installed
    assert _undeclared(["tests/test_mutants.py"], installed) >= {("tests/test_mutants.py", "parso")}
