"""The plugin's options, and what a run was asked to do."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4.thresholds import Stage4Thresholds
from gates.thresholds import StageThresholds, read_thresholds
from harness.errors import HarnessError
from harness.results import Stage

THRESHOLDS: dict[Stage, type[StageThresholds]] = {"stage3": Stage3Thresholds, "stage4": Stage4Thresholds}
# option -> input of the bundle that it overrides
OVERRIDES = {
    "base": ("DIR", "the frozen base model"),
    "lora": ("DIR", "the PEFT adapter"),
    "shards": ("DIR", "the Stage 2 shards"),
    "golden": ("FILE|DIR", "the golden examples"),
    "dev": ("FILE", "the dev examples"),
    "text_eval": ("FILE", "the text-only examples"),
    "train_log": ("FILE", "the training log"),
    "codecs": ("DIR", "the folder that holds the codecs, image/ and audio/"),
}
GATES_ROOT = Path(__file__).parent
CACHE_VARIABLE = "MODALITY_GATES_CACHE"


@dataclass(frozen=True)
class RunOptions:
    """What a gate run was asked to do.

    Attributes:
        cache: the folder of evidence.
        reuse_evidence: whether what earlier runs left there is used.
        run_id: the same in every worker of a run, and in no other run.
        threads: torch's threads in this process; None leaves torch's own choice.
    """

    stage: Stage
    ckpt: Path
    out: Path
    overrides: dict[str, Path]
    thresholds: StageThresholds
    thresholds_path: Path | None
    device: str
    dtype: str
    seed: int
    batch_tokens: int
    max_examples: int | None
    cache: Path
    reuse_evidence: bool
    run_id: str
    strict: bool
    threads: int | None

    def settings(self) -> Any:
        """The harness's settings for this run."""
        from harness.settings import Settings

        return Settings(
            device=self.device,
            dtype=self.dtype,
            seed=self.seed,
            batch_tokens=self.batch_tokens,
            max_examples=self.max_examples,
            out=self.out,
            reuse_evidence=self.reuse_evidence,
            threads=self.threads,
            evidence=self.cache,
        )


def add_options(parser: pytest.Parser) -> None:
    """Declare the options under a heading of their own."""
    group = parser.getgroup("modality-gates", "acceptance gates for a checkpoint")
    group.addoption("--ckpt", metavar="DIR", help="checkpoint bundle to judge, e.g. runs/demo/stage4/checkpoint_2000")
    for name, (metavar, what) in OVERRIDES.items():
        option = f"--{name.replace('_', '-')}"
        group.addoption(option, metavar=metavar, help=f"{what} (default: as bundle.json says)")
    group.addoption(
        "--thresholds", metavar="FILE.toml", help="other thresholds than the spec's; the verdict lists them"
    )
    group.addoption("--out", metavar="DIR", help="default: outputs/gates/<stage>/<checkpoint name>")
    group.addoption("--device", default="auto", help="torch device; auto takes cuda where there is one (default: auto)")
    group.addoption(
        "--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="precision of the measurement"
    )
    group.addoption("--seed", type=int, default=0, help="seed of every shuffle, sample and bootstrap (default: 0)")
    group.addoption("--batch-tokens", type=int, default=8192, metavar="N", help="padded tokens a batch (default: 8192)")
    group.addoption("--max-examples", type=int, metavar="N", help="smoke run on N examples a task: never PROMOTE")
    group.addoption(
        "--cache",
        metavar="DIR",
        dest="evidence_cache",
        help=f"where evidence is kept, for all checkpoints and outputs (default: ${CACHE_VARIABLE}, else OUT/evidence)",
    )
    group.addoption("--no-cache", action="store_true", help="measure everything again; what is measured is still kept")
    # --strict is pytest's own option; here it also asks for proven figures: the whole 95 % interval must pass.


def read_options(config: pytest.Config) -> RunOptions | None:
    """The options of a gate run; None when no gate was asked for.

    Raises:
        pytest.UsageError: --ckpt is missing or no folder, two stages were asked for at once, or an option is unusable.
    """
    stages = _stages_asked_for(config)
    if not stages:
        if config.getoption("ckpt") and not config.getoption("help"):
            raise pytest.UsageError(
                "--ckpt judges nothing without gates: name their folder, pytest gates/stage4 --ckpt=DIR"
            )
        return None
    if len(stages) > 1:
        raise pytest.UsageError(
            "one stage at a time: pytest gates/stage3 --ckpt=DIR, then pytest gates/stage4 --ckpt=DIR"
        )
    stage = stages.pop()
    ckpt = _checkpoint_folder(config, stage)
    for name in ("batch_tokens", "max_examples"):
        value = config.getoption(name)
        if value is not None and value < 1:
            raise pytest.UsageError(f"--{name.replace('_', '-')}={value}: expected at least 1")
    path = config.getoption("thresholds")
    try:
        thresholds = read_thresholds(THRESHOLDS[stage], Path(path) if path else None)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    out = _out_folder(config, stage, ckpt)
    return RunOptions(
        stage=stage,
        ckpt=ckpt,
        out=out,
        overrides={name: Path(value) for name in OVERRIDES if (value := config.getoption(name))},
        thresholds=thresholds,
        thresholds_path=Path(path) if path else None,
        device=config.getoption("device"),
        dtype=config.getoption("dtype"),
        seed=config.getoption("seed"),
        batch_tokens=config.getoption("batch_tokens"),
        max_examples=config.getoption("max_examples"),
        cache=_cache_folder(config, out),
        reuse_evidence=not config.getoption("no_cache"),
        run_id=getattr(config, "workerinput", {}).get("testrunuid") or uuid.uuid4().hex,
        strict=bool(config.getoption("strict")),
        threads=_threads_of_a_worker(),
    )


def older_out(config: pytest.Config) -> Path | None:
    """Where a run that could not begin would have written to; None where that cannot be told."""
    stages, ckpt = _stages_asked_for(config), config.getoption("ckpt")
    if len(stages) != 1 or not (ckpt or config.getoption("out")):
        return None
    return _out_folder(config, stages.pop(), Path(ckpt or ""))


def _out_folder(config: pytest.Config, stage: Stage, ckpt: Path) -> Path:
    given = config.getoption("out")
    return Path(given).resolve() if given else Path("outputs/gates").resolve() / stage / ckpt.resolve().name


def _stages_asked_for(config: pytest.Config) -> set[Stage]:
    """The stages whose gates the command line names. Gates that are collected in passing are refused later."""
    asked: set[Stage] = set()
    for arg in config.args:
        path = Path(config.invocation_params.dir, str(arg).split("::")[0]).resolve()
        for stage in THRESHOLDS:
            if path == GATES_ROOT or path.is_relative_to(GATES_ROOT / stage):
                asked.add(stage)
    return asked


def _checkpoint_folder(config: pytest.Config, stage: Stage) -> Path:
    given = config.getoption("ckpt")
    if not given:
        raise pytest.UsageError(f"gates need a checkpoint: pytest gates/{stage} --ckpt=DIR")
    ckpt = Path(given)
    if not ckpt.is_dir():
        raise pytest.UsageError(f"--ckpt={given}: no such folder; expected a checkpoint bundle")
    return ckpt


def _cache_folder(config: pytest.Config, out: Path) -> Path:
    given = config.getoption("evidence_cache") or os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser().resolve() if given else out / "evidence"


def _threads_of_a_worker() -> int | None:
    """Under -n, workers share the cores instead of each taking all of them."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    return max(1, (os.cpu_count() or workers) // workers) if workers else None
