"""What is mutated, and which tests ought to notice: plan.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLAN = Path(__file__).with_name("plan.toml")
TARGET_PCT = 85.0


@dataclass(frozen=True)
class Judge:
    """A module that judges, or decides what is judged.

    Attributes:
        path: from the root.
        tests: what ought to notice, the likeliest first, and options of pytest; the first failure ends a run.
        wording: names of its functions that only word or draw something.
    """

    path: str
    tests: tuple[str, ...]
    wording: frozenset[str]

    @property
    def files(self) -> list[str]:
        """The files of its tests."""
        return [test for test in self.tests if not test.startswith("-")]

    @property
    def source(self) -> str:
        """Its text."""
        return (ROOT / self.path).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Plan:
    """All of plan.toml.

    Attributes:
        judges: what is mutated.
        left_out: files or folders that are not, and why.
    """

    judges: tuple[Judge, ...]
    left_out: dict[str, str]


def read_plan() -> Plan:
    """The plan.

    Raises:
        ValueError: a file of gates/ is neither mutated nor left out.
    """
    read = tomllib.loads(PLAN.read_text(encoding="utf-8"))
    judges = [
        Judge(path, tuple(map(_argument, group["tests"])), frozenset(group.get("wording", ())))
        for group in read["judges"]
        for path in group["modules"]
    ]
    left_out: dict[str, str] = read["left_out"]
    known = {judge.path for judge in judges}
    files = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "gates").rglob("*.py"))]
    forgotten = [file for file in files if file not in known and not file.startswith(tuple(left_out))]
    if forgotten:
        raise ValueError(f"plan.toml says nothing of {', '.join(forgotten)}")
    return Plan(tuple(judges), left_out)


def _argument(test: str) -> str:
    """A file's name, or an option of pytest as it is."""
    return test if test.startswith("-") else f"tests/{test}.py"
