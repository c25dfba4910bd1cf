"""A run's config: which file wins, what is refused and in which words, and the field's own numbers."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from training.config import RunConfig
from training.config_files import BACKBONES, CONFIGS, as_values, check_config, read_config

READY = sorted(file.stem for file in CONFIGS.glob("*.toml"))
READY_BACKBONES = sorted(file.stem for file in BACKBONES.glob("*.toml"))


def _write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("backbone", READY_BACKBONES)
def test_every_ready_file_reads_with_every_backbone(name: str, backbone: str) -> None:
    config = read_config(name, backbone)

    assert config.backbone == backbone
    assert config.stage == (4 if "stage4" in name else 3)
    assert check_config(as_values(config), name) == config


def test_a_ready_file_names_its_own_backbone() -> None:
    assert read_config("tier-b") == read_config("tier-b", "qwen3-8b")


def test_the_eight_billion_backbone_has_the_fields_settings() -> None:
    third, fourth = read_config("full", "qwen3-8b"), read_config("stage4-trial", "qwen3-8b")

    for config in (third, fourth):
        assert config.precision.base == "bfloat16"
        assert (config.batch.per_device, config.batch.accumulation) == (1, 16)
        assert (config.optim.clip, config.optim.weight_decay) == (1.0, 0.0)
        assert config.data.max_tokens == 2048
        assert (config.steps.log_every, config.steps.save_every) == (50, 500)
    assert (third.optim.lr_rows, third.train_head) == (1e-3, True)
    assert (fourth.optim.lr_rows, fourth.optim.lr_lora) == (5e-4, 5e-5)
    assert (fourth.lora.rank, fourth.lora.alpha, fourth.lora.dropout) == (8, 16, 0.05)
    attention, mlp = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
    assert set(fourth.lora.targets) == attention | mlp


def test_the_small_backbone_has_the_effective_batch_of_the_large_one() -> None:
    small, large = (read_config("tier-b", name).batch for name in ("qwen3-0.6b", "qwen3-8b"))

    assert small.per_device * small.accumulation == large.per_device * large.accumulation


def test_later_layers_win(tmp_path: Path) -> None:
    """Each key is set by one layer more than the key before it."""
    run = _write(tmp_path, "run.toml", "stage = 4\n[optim]\nlr_rows = 2.0\nlr_lora = 2.0\nbeta1 = 0.2\nbeta2 = 0.2\n")
    backbone = _write(
        tmp_path, "mine.toml",
        "[common]\noptim = { lr_lora = 3.0, beta1 = 0.3, beta2 = 0.3 }\n"
        "[stage3]\noptim = { lr_rows = 9.0 }\n[stage4]\noptim = { beta1 = 0.4, beta2 = 0.4 }\n",
    )  # fmt: skip
    optim = read_config(run, str(backbone), ["optim.beta2=0.5"]).optim

    assert (optim.clip, optim.lr_rows, optim.lr_lora, optim.beta1, optim.beta2) == (1.0, 2.0, 3.0, 0.4, 0.5)


def test_shares_are_replaced_whole_and_other_tables_added_to() -> None:
    config = read_config("tier-b", overrides=["mix.shares={ t2a = 1 }", "optim.beta1=0.5"])

    assert config.mix.shares == {"t2a": 1.0}
    assert (config.optim.beta1, config.optim.lr_rows) == (0.5, 1e-3)


def test_an_override_of_the_backbone_brings_its_settings() -> None:
    assert read_config("tier-b", overrides=["backbone=demo"]) == read_config("tier-b", "demo")


@pytest.mark.parametrize(
    ("override", "expected"),
    [("out=runs/x y", "runs/x y"), ('out="1"', "1"), ("out=", ""), ("data.train=a=b.jsonl", "a=b.jsonl")],
)
def test_an_override_that_is_no_toml_is_text(override: str, expected: str) -> None:
    config = read_config("tier-b", overrides=[override])

    assert expected in (config.out, config.data.train)


REFUSED = {
    "optim.lr_row=1.0": "optim.lr_row: Unexpected keyword argument",
    "optim.lr_rows='much'": "optim.lr_rows: Input should be a valid number",
    "optim.lr_rows=nan": "optim.lr_rows: Input should be a finite number",
    "optim.lr_rows=inf": "optim.lr_rows: Input should be a finite number",
    "optim.lr_rows=true": "optim.lr_rows: Input should be a valid number",
    "steps.max_steps=1.5": "steps.max_steps: Input should be a valid integer",
    "optim=3": "optim: Input should be an object",
    "backbone=3": "backbone: Input should be a valid string",
    "stage=5": "stage: Input should be 3 or 4",
    "optim.schedule=square": "optim.schedule: Input should be 'constant', 'cosine' or 'linear'",
    "mix.shares={ a2x = 1 }": "mix: the task 'a2x'; expected one of a2t, i2t, t2a, t2i, text, copy_audio",
    "mix.shares={ a2t = -1 }": "mix: a share or weight below 0; expected 0 or more",
    "mix.weights={ text = 0 }": "mix.weights: a weight of 0; expected a weight above 0, or no share for the task",
    "mix.shares={}": "mix.shares: no task; expected at least one with a share above 0",
    "mix.shares={ a2t = 0 }": "mix.shares: no task",
    "mix.ramp_steps=10": "mix: one of start and ramp_steps; expected both, or neither",
    "mix.start={ a2t = 1 }": "mix: one of start and ramp_steps",
    "mix.prompt_dropout=1.5": "mix.prompt_dropout or mix.noise beyond 0 to 1; expected a probability",
    "batch.accumulation=0": "batch.per_device, batch.accumulation, steps.log_every or steps.save_every below 1",
    "steps.eval_every=70": "steps.eval_every 70; expected a multiple of steps.log_every 50",
    "steps.save_every=70": "steps.save_every 70; expected a multiple of steps.log_every 50",
    "steps.eval_every=0": "stop.on_plateau without evaluations; expected steps.eval_every above 0",
    "stop.window=1": "stop.on_plateau without evaluations",
    "steps.max_steps=-1": "steps.max_steps -1 and steps.epochs 1.0; expected one of them above 0",
    "optim.floor=2": "optim.floor 2; expected from 0 to 1",
    "optim.warmup_steps=-1": "optim.warmup_steps -1; expected 0 or more",
    "steps.eval_every=-50": "steps.eval_every -50; expected 0 or more",
    "seed=-1": "seed -1; expected 0 or more",
    "measure.examples=1": "measure.examples 1; expected 2 or more",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_no_run_has_is_refused_by_its_key(override: str) -> None:
    with pytest.raises(HarnessError) as refused:
        read_config("tier-b", overrides=[override])

    assert f"found {REFUSED[override]}" in str(refused.value)
    assert str(refused.value).endswith("Correct the file or the override.")


def test_overrides_that_are_none_are_refused() -> None:
    with pytest.raises(HarnessError, match=r"--set fast: found no key=value; expected e\.g\. steps\.max_steps=500\."):
        read_config("tier-b", overrides=["fast"])
    with pytest.raises(HarnessError, match="found steps set to 3 before it; expected one of the two"):
        read_config("tier-b", overrides=["steps=3", "steps.max_steps=5"])


@pytest.mark.parametrize("name", ["../x", "", "tier-b.toml", "backbones/demo", "../configs/tier-b", "/tier-b"])
def test_a_name_that_is_no_ready_file_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(HarnessError, match=r"found no file; expected a TOML file, or one of demo-stage3, .*tier-c\."):
        read_config(name)
    with pytest.raises(HarnessError, match=r"found no file; .* or one of demo, qwen3-0\.6b, qwen3-8b"):
        read_config("tier-b", name or "nobody")


BROKEN = {
    "no TOML": ("stage = = 3", r"found text that is not TOML \(.*line 1"),
    "no stage": ("seed = 1", "stage: Field required"),
    "a number for a table": ("stage = 3\nbackbone = 'demo'\noptim = 3", "optim: Input should be an object"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_run_file_is_refused(case: str, tmp_path: Path) -> None:
    text, said = BROKEN[case]
    with pytest.raises(HarnessError, match=f"run.toml: .*{said}"):
        read_config(_write(tmp_path, "run.toml", text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(HarnessError, match=r"run\.toml: found text that is not TOML"):
        read_config(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [("[stage5]\nx = 1", r"found 'stage5'; expected \[common\], \[stage3\], \[stage4\]"),
     ("common = 3", r"found common = 3; expected a table \[common\]")],
)  # fmt: skip
def test_a_backbone_file_has_no_other_tables(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=rf"b\.toml: {said}"):
        read_config("tier-b", str(_write(tmp_path, "b.toml", text)))


def _numbers(config: type) -> Any:
    """Keys of a part and its numbers, by type."""
    kinds = {int: st.integers(1, 10_000), float: st.floats(0, 1)}
    return {each.name: kinds[each.type] for each in dataclasses.fields(config) if each.type in kinds}


@given(
    optim=st.fixed_dictionaries(_numbers(type(RunConfig(stage=3).optim))),
    lora=st.fixed_dictionaries(_numbers(type(RunConfig(stage=3).lora))),
    shares=st.dictionaries(st.sampled_from(["a2t", "t2i", "text", "copy_audio"]), st.floats(0.01, 1e6), min_size=1),
    trackers=st.lists(st.text(max_size=5), max_size=3),
)
def test_a_config_survives_its_plain_values(
    optim: dict[str, float], lora: dict[str, float], shares: dict[str, float], trackers: list[str]
) -> None:
    values = {"stage": 4, "optim": optim, "lora": lora, "mix": {"shares": shares}, "trackers": trackers}
    config = check_config(values, "here")

    assert config.optim == dataclasses.replace(RunConfig(stage=4).optim, **optim)
    assert check_config(as_values(config), "here") == config
