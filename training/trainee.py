"""What transformers' Trainer trains: a causal LM whose forward is the loss of each sequence.

The loss lives inside the forward, so that whatever wraps the module (DDP, FSDP, DeepSpeed) sees all of it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from training.batches import sequence_nll


class Trainee(nn.Module):
    """A causal LM with split tables, adapted or not.

    Attributes:
        model: the language model; a PeftModel in stage 4.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    def language_model(self) -> Any:
        """The Hugging Face causal LM, without PEFT's wrapping."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    def forward(self, input_ids: Tensor, labels: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """The weighted sum of the sequences' losses, and each of them.

        Args:
            input_ids: (B, L) int64.
            labels: (B, L) int64, -100 where there is no loss.
            weights: (B,) of each sequence.

        Returns:
            `loss`, a scalar: the sum of weight x mean nll over the sequence's labels; `nll` (B,), without gradient.
        """
        inner = self.language_model
        nll = sequence_nll(inner.base_model, inner.get_output_embeddings(), input_ids, labels)
        return {"loss": (weights * nll).sum(), "nll": nll.detach()}

    def trained_state(self, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The tensors that train, by name, on the CPU; from a gathered state dict where a sharded run hands one in."""
        trained = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        source = trained if state is None else {name: state[name] for name in trained}
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in source.items()}

    @torch.no_grad()
    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `trained_state` gave.

        Raises:
            KeyError: the names differ.
        """
        trained = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        if trained.keys() != state.keys():
            raise KeyError(f"trained tensors {sorted(trained.keys() ^ state.keys())} on one side only")
        for name, parameter in trained.items():
            parameter.copy_(state[name])
