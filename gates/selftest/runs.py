"""Runs of gates on copies of a checkpoint, each in a process of its own.

The processes are forked from one that has imported everything and computed nothing, so that a run starts at once and
no run can see what another one did.
"""

import gc
import multiprocessing
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from gates.options import GATES_ROOT
from gates.session import VERDICT_FILE
from harness.errors import HarnessError
from harness.faults.copies import Copy
from harness.faults.fault import stage_of
from harness.results import Verdict, read_verdict

# What a run of gates imports. The measuring side imports torch, which takes longer than most of the runs.
PRELOADED = [
    "gates.plugin", "harness.checkpoint", "harness.bundle_audit", "harness.model", "harness.pickles",
    "harness.generation", "harness.scoring", "harness.breakdown", "harness.lengths", "harness.leaks",
    "harness.end_tags", "harness.adapter_effect", "harness.text_logits", "harness.dynamics_rates",
    "harness.codecs.encodec_networks",
    "harness.codecs.vq", "harness.outputs.alike", "harness.outputs.pictures", "harness.outputs.sounds",
    "imagehash", "reports.render", "reports.compiled", "peft", "pandas",
    "transformers.models.qwen3.modeling_qwen3",
]  # fmt: skip
# Gates that look at files and not at examples one by one. Where one of them has to find a fault, the others are run on
# few examples: only whether they end as they should is asked of them.
NOT_BY_EXAMPLE = frozenset({"S3.0", "S3.1", "S3.2", "S3.3", "S3.6", "S3.7", "P0.0", "P0.1", "P0.5", "P0.6", "P1.5"})


@dataclass(frozen=True)
class Settings:
    """How copies are judged.

    Attributes:
        cache: folder of evidence that all runs share: what leaves the weights alone costs no forward pass.
        max_examples: examples a task; None for all of them.
        few_examples: examples a task for the gates that only have to end as they should.
        gates: ids of the gates to run; all of the stage's without any.
        options: further options of the gates, as on the command line (--thresholds, --device, --strict, …).
        threads: of torch in a run; None leaves torch's own choice.
    """

    cache: Path
    max_examples: int | None = None
    few_examples: int = 8
    gates: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    threads: int | None = None

    def with_few(self) -> "Settings":
        """The same on few examples."""
        return replace(self, max_examples=min(self.few_examples, self.max_examples or self.few_examples))


@dataclass(frozen=True)
class Run:
    """How a run of gates ended.

    Attributes:
        verdict: what it left; None where it left none, or none that can be read.
        exit_code: of its process; negative for a signal.
        log: what it printed.
    """

    verdict: Verdict | None
    exit_code: int
    log: Path


def judge(copy: Copy, settings: Settings) -> Run:
    """Run a stage's gates on a copy."""
    out = copy.earlier / copy.ckpt.name
    what = [file_of(gate) for gate in settings.gates] or [GATES_ROOT / copy.stage]
    arguments = ["-c", str(GATES_ROOT / "run.ini"), "-p", "gates.plugin", "-q", "--color=no",
                 "-W", "ignore::pytest.PytestAssertRewriteWarning", *map(str, what),
                 f"--ckpt={copy.ckpt}", f"--out={out}", f"--cache={settings.cache}", *settings.options]  # fmt: skip
    if settings.max_examples is not None:
        arguments.append(f"--max-examples={settings.max_examples}")
    log = copy.root / "log.txt"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(arguments, log, settings.threads))
    process.start()
    process.join()
    try:
        verdict = read_verdict(out / VERDICT_FILE)
    except HarnessError:
        verdict = None
    return Run(verdict, process.exitcode or 0, log)


def file_of(gate: str) -> Path:
    """The file of a gate."""
    (file,) = (GATES_ROOT / stage_of(gate)).glob(f"test_{gate.replace('.', '').lower()}_*.py")
    return file


def _run(arguments: list[str], log: Path, threads: int | None) -> None:
    """What the process does."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.environ.pop("PYTEST_ADDOPTS", None)  # meant for the run that the user started
    # Nothing but the gates' plugin: others cost seconds a run, and have no business in it.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if threads and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    gc.freeze()  # pytest collects garbage twice at its end, 0.4 s each where torch is loaded
    import pytest

    sys.exit(int(pytest.main(arguments)))
