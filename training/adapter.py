"""Stage 4's LoRA adapter."""

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from harness.bundle import ADAPTER_CONFIG
from harness.errors import HarnessError
from harness.files import read_json
from training.config import LoraConfig, PrecisionConfig


def adapt(model: nn.Module, config: LoraConfig, precision: PrecisionConfig, start: Path | None = None) -> Any:
    """The model with a LoRA adapter: a fresh one, which changes nothing yet, or the one that a checkpoint has.

    Args:
        model: a frozen causal LM with split tables.
        config: the adapter's shape.
        precision: of the adapter's weights.
        start: the folder of an adapter to go on with, of the same shape.

    Raises:
        HarnessError: `targets` names no layer of the model, or the adapter to go on with has another shape.
    """
    from peft import LoraConfig as PeftConfig
    from peft import PeftModel, get_peft_model

    wide = precision.trained == "float32"  # PEFT keeps a bfloat16 base's adapter in float32, or does not
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 by the old name whether activations are checkpointed.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        if start is not None:
            _check_shape(start, config)
            return PeftModel.from_pretrained(model, str(start), is_trainable=True, autocast_adapter_dtype=wide)
        shape = PeftConfig(
            task_type="CAUSAL_LM", r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
            target_modules=list(config.targets),
        )  # fmt: skip
        try:
            return get_peft_model(model, shape, autocast_adapter_dtype=wide)
        except ValueError as error:
            first_line = str(error).strip().splitlines()[0]
            raise HarnessError(
                "lora.targets", first_line, "names of the model's linear layers", "Correct it."
            ) from None


def _check_shape(adapter: Path, config: LoraConfig) -> None:
    declared = read_json(adapter / ADAPTER_CONFIG)
    found = declared.get("r"), declared.get("lora_alpha")
    if found != (config.rank, config.alpha):
        raise HarnessError(
            adapter / ADAPTER_CONFIG,
            f"rank {found[0]}, alpha {found[1]}",
            f"rank {config.rank}, alpha {config.alpha}, as the run's config says",
            f"Go on with --set lora.rank={found[0]} --set lora.alpha={found[1]}.",
        )
