"""Whether an adapter changes what the model computes: logits with it and without it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.bundle import Bundle
from harness.examples import Example
from harness.model import load_model


@torch.inference_mode()
def adapter_effect(bundle: Bundle, adapted: Any, examples: Sequence[Example], *, device: str, dtype: str) -> np.ndarray:
    """The largest change of a logit in each example, (N,) float32; NaN where a logit is not finite.

    `adapted` is the bundle's model; the plain one is loaded for the while of this call.
    """
    plain = load_model(bundle, device=device, dtype=dtype, low_rank=False)
    changes = []
    for example in examples:
        ids = torch.from_numpy(example.input_ids)[None].to(device)
        with_it, without = (model(input_ids=ids, use_cache=False).logits.float() for model in (adapted, plain))
        changes.append(float((with_it - without).abs().amax()))
    return np.array(changes, dtype=np.float32)
