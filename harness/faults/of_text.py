"""Faults that cost the base's text: a model that is not loaded as it was trained, a strong adapter (P1.4, S3.5)."""

from typing import Any

from harness.bundle import ADAPTER_CONFIG
from harness.faults.copies import Copy
from harness.faults.fault import Fault
from harness.faults.lines import edit_lines, examples_of
from harness.faults.weights import Tensors, adapter_file, as_whole, edit_tensors, edit_values, frozen_tensor
from harness.files import read_json, write_json


def _other_config(copy: Copy, change: Any) -> None:
    as_whole(copy)
    config = read_json(copy.ckpt / "config.json")
    change(config)
    write_json(copy.ckpt / "config.json", config)


def _config_of_the_base(copy: Copy) -> None:
    """Everything but the vocabulary's size as in the base that bundle.json points to."""
    size = read_json(copy.ckpt / "config.json")["vocab_size"]
    write_json(copy.ckpt / "config.json", read_json(copy.input("base") / "config.json") | {"vocab_size": size})


def _rope(config: dict[str, Any]) -> None:
    # transformers 5 keeps it in rope_parameters, earlier versions in rope_theta.
    holder = config.get("rope_parameters") or config
    holder["rope_theta"] = 100 * float(holder.get("rope_theta", 10_000.0))


def _norm(config: dict[str, Any]) -> None:
    config["rms_norm_eps"] = 100 * float(config.get("rms_norm_eps", 1e-6))


def _activation(config: dict[str, Any]) -> None:
    config["hidden_act"] = "relu"


def _last_norm(copy: Copy) -> None:
    as_whole(copy)
    edit_values(copy, frozen_tensor(copy, "norm"), lambda values: values.mul_(1.5))


def _alpha(copy: Copy, factor: float) -> None:
    config = adapter_file(copy).parent / ADAPTER_CONFIG
    copy.edit_json(config, lora_alpha=factor * read_json(config)["lora_alpha"])


def _noisy(copy: Copy) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)

    def edit(tensors: Tensors) -> None:
        for tensor in tensors.values():
            tensor += (torch.randn(tensor.shape, generator=generator) * tensor.float().std()).to(tensor.dtype)

    edit_tensors(copy, adapter_file(copy), edit)


def _one_text(copy: Copy) -> None:
    edit_lines(copy.input("text_eval"), lambda lines: lines[:1])


def _codes_among_the_texts(copy: Copy) -> None:
    """One example of the text set is a caption with its media."""
    ids = examples_of(copy, "golden")[0].input_ids.tolist()
    edit_lines(copy.input("text_eval"), lambda lines: [*lines, {"id": "one-too-many", "input_ids": ids}])


def _texts_alone(copy: Copy) -> None:
    """Every example that holds more than text left away."""
    edit_lines(copy.input("text_eval"), lambda lines: [line for line in lines if line["id"] != "one-too-many"])


SHORT = "text_perplexity_change is"
CONFIG = "compare config.json (tied head, rope, norms)"
FAULTS = (
    Fault("another-rope", "config.json has another rope base than the model was trained with.",
          ("S3.3", "P0.5"), "config.json rope", CONFIG, lambda copy: _other_config(copy, _rope), "config", subtle=True,
          fix=_config_of_the_base),
    Fault("another-norm-epsilon", "config.json of another version, whose epsilon is a hundred times larger.",
          ("S3.5",), "text_logit_gap is", CONFIG,
          lambda copy: _other_config(copy, _norm), "config", subtle=True, fix=_config_of_the_base),
    Fault("another-activation", "config.json names another activation than the weights were trained with.",
          ("S3.5",), SHORT, CONFIG, lambda copy: _other_config(copy, _activation), "config", whole_run=True,
          fix=_config_of_the_base),
    Fault("a-norm-scaled", "A frozen norm was trained after all.",
          ("S3.5",), "text_logit_gap is", "a frozen tensor that moved shows here", _last_norm, "weights"),
    Fault("one-text-alone", "The text set was cut to its first line: one text is no sample.",
          ("S3.5", "P1.4"), "too few to tell", "give more with --text-eval", _one_text, "text_eval", unmeasured=True,
          whole_run=True),
    Fault("codes-among-the-texts", "One example with media slipped into the text set.",
          ("S3.5", "P1.4"), "expected text ids", "leave specials and media away", _codes_among_the_texts, "text_eval",
          subtle=True, unmeasured=True, whole_run=True, fix=_texts_alone),
    Fault("adapter-four-times-as-strong", "alpha of another run: the adapter works at four times its strength.",
          ("P1.4",), SHORT, "Lower the adapter's learning rate or rank", lambda copy: _alpha(copy, 4.0), "adapter",
          source="domain.md rows 16, 19", whole_run=True),
    Fault("adapter-twice-as-strong", "alpha of another run: the adapter works at twice its strength.",
          ("P1.4",), SHORT, "Lower the adapter's learning rate or rank", lambda copy: _alpha(copy, 2.0), "adapter",
          subtle=True, source="domain.md rows 16, 19", whole_run=True),
    Fault("adapter-of-noise", "A learning rate so high that the adapter is half noise.",
          ("P1.4",), SHORT, "Lower the adapter's learning rate or rank", _noisy, "adapter",
          whole_run=True),
)  # fmt: skip
