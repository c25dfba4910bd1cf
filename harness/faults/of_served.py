"""Faults of how a checkpoint is served, and of what earlier checkpoints did (P0.2, P0.3, P1.1, P1.3)."""

import datetime
from typing import Any

from harness.examples import WRITE_TASKS, Task
from harness.faults.copies import Copy, NotApplicableError
from harness.faults.fault import Edit, Fault
from harness.faults.lines import examples_of
from harness.files import path_sha256, read_json, write_json
from harness.results import CheckpointId, GateResult, InputId, Measurement, RunInfo, ThresholdsUsed, Verdict
from harness.results import write_verdict as write
from harness.sampling import FILE_NAME
from harness.written import expected_ids

N = 64  # golden prompts that are written for
RAISE = "raise it or remove it"


def _generation(copy: Copy, **changes: Any) -> None:
    file = copy.ckpt / FILE_NAME
    said = read_json(file) if file.is_file() else {}
    write_json(file, said | changes)


def _lengths(copy: Copy, tasks: tuple[Task, ...] = WRITE_TASKS) -> list[int]:
    return [expected_ids(example) for task in tasks for example in examples_of(copy, "golden", (task,))[:N]]


def _limit(share: float) -> Edit:
    """A limit of new ids that is a share of the shortest medium."""

    def inject(copy: Copy) -> None:
        _generation(copy, max_new_tokens=max(1, int(share * min(_lengths(copy)))))

    return inject


def _no_room_for_the_longest_end(copy: Copy) -> None:
    _generation(copy, max_new_tokens=max(_lengths(copy)))


def _one_id_short(copy: Copy) -> None:
    _generation(copy, max_new_tokens=max(_lengths(copy)) - 1)


def _drop_limit(copy: Copy) -> None:
    file = copy.ckpt / FILE_NAME
    write_json(file, {key: value for key, value in read_json(file).items() if key != "max_new_tokens"})


def _sample(copy: Copy, **changes: Any) -> None:
    _generation(copy, do_sample=True, **({"top_k": 0, "top_p": 1.0} | changes))


def _free_and(temperature: float) -> Edit:
    """Served free over the whole vocabulary, at a temperature."""

    def inject(copy: Copy) -> None:
        _sample(copy, temperature=temperature)
        copy.point(decoding="free")

    return inject


def _constrained_and(temperature: float) -> Edit:
    def inject(copy: Copy) -> None:
        _sample(copy, temperature=temperature)
        copy.point(decoding="constrained")

    return inject


def _constrain(copy: Copy) -> None:
    copy.point(decoding="constrained")


def _spelt(copy: Copy) -> None:
    _sample(copy, temperature="hot")


def _negative(copy: Copy) -> None:
    _sample(copy, temperature=1.0, top_p=-0.9)


def _ended_always(copy: Copy) -> None:
    """The verdict of a checkpoint before this one, with which every sequence ended in time."""
    bundle = copy.bundle
    if bundle.step is None or bundle.step < 1:
        raise NotApplicableError("the checkpoint's step is unknown")
    figures = tuple(
        Measurement(name=f"{task}.end_tag_pct", value=100.0, unit="%", n=N, low=94.4, high=100.0)
        for task in WRITE_TASKS
    )
    golden = bundle.input("golden")
    result = GateResult(id="P1.1", name="end_tokens", priority="P1", outcome="pass", claim="", measurements=figures)
    started = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat()
    run = RunInfo(command="", seed=0, device="cpu", dtype="float32", versions={}, started=started, duration_s=1.0)
    verdict = Verdict(
        stage="stage4",
        verdict="INCOMPLETE",
        checkpoint=CheckpointId(path="earlier", step=bundle.step - 1, sha256=None),
        inputs={"golden": InputId(path=str(golden), sha256=path_sha256(golden))},
        token_space_sha256=bundle.space.sha256,
        gates=(result,),
        next_step="",
        thresholds=ThresholdsUsed(),
        run=run,
    )
    write(copy.earlier / "earlier" / "verdict.json", verdict)


def _before(then: Edit) -> Edit:
    """An earlier checkpoint always ended; this one has a fault."""

    def inject(copy: Copy) -> None:
        _ended_always(copy)
        then(copy)

    return inject


def _hot_end(copy: Copy) -> None:
    _sample(copy, temperature=2.0)


FAULTS = (
    Fault("served-too-short-to-hear", "max_new_tokens of a chat model cuts every sound and every picture in half.",
          ("P0.3",), "max_new is too small", RAISE, _limit(0.5), artifact="generation_config", fix=_drop_limit),
    Fault("served-one-id-too-short", "max_new_tokens was counted without the last code of the longest medium.",
          ("P0.3",), "max_new is too small", RAISE, _one_id_short, artifact="generation_config", subtle=True,
          whole_run=True, fix=_drop_limit),
    Fault("served-free-and-hot", "Served without constraint, with the sampling of a demonstration.",
          ("P0.3",), "decode_success_rate is", "serve with constrained decoding", _free_and(3.0),
          artifact="generation_config", fix=_constrain),
    Fault("out-of-range-when-sampled", "Served without constraint at a temperature that was never tried.",
          ("P0.2",), "out_of_range_pct (free) is", "Serve with constrained decoding", _free_and(3.0),
          artifact="generation_config", fix=_constrain),
    Fault("out-of-range-now-and-then", "Served without constraint, sampled from the whole vocabulary at temperature 1.",
          ("P0.2",), "out_of_range_pct (free) is", "Serve with constrained decoding", _free_and(1.0),
          artifact="generation_config", subtle=True, whole_run=True, fix=_constrain),
    Fault("temperature-no-number", "The generation config was written by hand.",
          ("P0.2",), "generation_config.json: found temperature of 'hot'", "Correct the generation config", _spelt,
          artifact="generation_config", unmeasured=True),
    Fault("top-p-below-nothing", "top_p lost its meaning in a sweep.",
          ("P0.3",), "generation_config.json: found top_p of -0.9", "Correct the generation config", _negative,
          artifact="generation_config", unmeasured=True),
    Fault("never-room-for-an-end-tag", "max_new_tokens ends before any medium does.",
          ("P1.1",), "end_tag_pct is 0 %", "Where max_new_tokens of generation_config.json is too small", _limit(1.0),
          artifact="generation_config", fix=_drop_limit),
    Fault("no-room-for-the-longest-end-tag", "max_new_tokens is the length of the longest medium, its end tag left "
          "out.",
          ("P1.1",), "end_tag", "Where max_new_tokens of generation_config.json is too small",
          _before(_no_room_for_the_longest_end), artifact="generation_config", subtle=True, whole_run=True,
          fix=_drop_limit),
    Fault("ends-less-often-than-before", "The checkpoint before always ended; sampled hot, this one forgets to.",
          ("P1.1",), "end_tag_change_upper is", "Train longer", _before(_hot_end), artifact="verdicts", subtle=True,
          whole_run=True),
    Fault("served-as-noise", "Sampled so hot that codes are drawn at random; the constraint hides it from P0.2.",
          ("P1.3",), "disorder", "the codes are near to random", _constrained_and(20.0),
          artifact="generation_config", source="domain.md row 44"),
)  # fmt: skip
