"""What a rule on a training log has left: figures and findings, for the tests of these rules."""

from typing import Any

import numpy as np

from gates.dynamics import FINDINGS
from gates.dynamics_thresholds import LogThresholds
from gates.gate import Accept
from tests.accepting import figures

LIMITS = LogThresholds()
FALLING = np.linspace(9, 3, 40)
GROWING = 1 + 0.1 * np.log(np.arange(1, 41))


def value(accept: Accept, name: str) -> Any:
    """Value and number of items of a figure."""
    return figures(accept)[name]


def told(accept: Accept) -> list[tuple[str, str, int | None, Any]]:
    """What was found, under which key, at which step, and the value there."""
    return [(f["what"], f["key"], f["step"], f["value"]) for f in accept.details.get(FINDINGS, [])]
