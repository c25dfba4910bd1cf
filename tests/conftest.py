"""Fixtures shared by the project's own tests."""

import gc
import os
import shutil
from pathlib import Path

# Before anything imports transformers or tokenizers.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The inner runs of tests must not write into the page of the CI that runs them.
os.environ.pop("GITHUB_ACTIONS", None)
os.environ.pop("GITHUB_STEP_SUMMARY", None)

# An inner run of pytest forgets what it was the first to import. Hypothesis's plugin imports this at the end of every
# run, and its asserts would be rewritten each time: a second a run.
import hypothesis.internal.observability  # noqa: F401
import pytest

from gates import options, session
from harness.token_space import TokenSpace, parse_token_space
from reports.render import RenderedReport, render
from tests.gate_runs import P0, P1
from tests.made_up_gates import Stage
from tests.report_world import rich_verdict, write_picture
from tests.small_run import CACHE, train_small
from tests.tiny import Tiny, token_space_object, write_tiny

# Here, and not in pyproject.toml: a gate run must not stop at a warning of somebody's library, our own tests must stop
# at every warning but these, which we cannot mend.
WARNINGS = (
    "error",
    "ignore::FutureWarning:transformers",
    "ignore::FutureWarning:torch.nn.utils.weight_norm",
    "ignore::DeprecationWarning:encodec",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Turn warnings into errors in the project's own tests."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for spec in reversed(WARNINGS):
                item.add_marker(pytest.mark.filterwarnings(spec), append=False)


def pytest_collection_finish() -> None:
    """Leave what is loaded by now to no garbage collection: pytest does several at the end of every inner run."""
    gc.freeze()


@pytest.fixture
def space() -> TokenSpace:
    """48 text ids, 16 special rows, 24 image codes, two audio codebooks of 16."""
    return parse_token_space(token_space_object())


@pytest.fixture(scope="session")
def shared_tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny bundle that no test may change."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(shared_tiny: Tiny, tmp_path: Path) -> Tiny:
    """A tiny bundle of the test's own, to break."""
    root = tmp_path / "tiny"
    shutil.copytree(shared_tiny.root, root)
    ckpt = root / shared_tiny.ckpt.relative_to(shared_tiny.root)
    return Tiny(root, shared_tiny.space, ckpt, root / "base", root / "golden", root / "shards")


@pytest.fixture(scope="session")
def small_run() -> Path:
    """The small demo run, which no test may change."""
    train_small()
    return CACHE


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> RenderedReport:
    """A report with something in every section, and hostile text wherever text can stand; no test may change it."""
    out = tmp_path_factory.mktemp("report") / "out"
    write_picture(out.parent / "secret.png", 7)
    return render(out, rich_verdict(out))


@pytest.fixture(scope="session")
def page(rendered: RenderedReport) -> str:
    """Its page."""
    return rendered.html.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def summary(rendered: RenderedReport) -> str:
    """Its summary."""
    return rendered.summary.read_text(encoding="utf-8")


@pytest.fixture
def stage(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage 4 of two made-up gates."""
    monkeypatch.setattr(options, "GATES_ROOT", pytester.path / "gates")
    monkeypatch.setattr(session, "criteria_of", lambda stage: {"P0.9": P0, "P1.9": P1})
    return Stage(pytester)
