"""Stage 4's LoRA adapter."""

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from training.config import LoraConfig, PrecisionConfig


def adapt(model: nn.Module, config: LoraConfig, precision: PrecisionConfig, start: Path | None = None) -> Any:
    """The model with a LoRA adapter: a fresh one, which changes nothing yet, or the one that a checkpoint has.

    Args:
        model: a frozen causal LM with split tables.
        config: the adapter's shape.
        precision: of the adapter's weights.
        start: the folder of an adapter to go on with; its own shape is kept.
    """
    from peft import LoraConfig as PeftConfig
    from peft import PeftModel, get_peft_model

    wide = precision.trained == "float32"  # PEFT keeps a bfloat16 base's adapter in float32, or does not
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 by the old name whether activations are checkpointed.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        if start is not None:
            return PeftModel.from_pretrained(model, str(start), is_trainable=True, autocast_adapter_dtype=wide)
        return get_peft_model(model, PeftConfig(
            task_type="CAUSAL_LM", r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
            target_modules=list(config.targets),
        ), autocast_adapter_dtype=wide)  # fmt: skip
