"""What a user asks to see the power of."""

from dataclasses import dataclass

from gates.power.texts import DEMO_SPREAD

WIN_RATES = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90)
EXAMPLES = (64, 256, 512)
CERTAINTIES = (0.80, 0.95, 0.99)


@dataclass(frozen=True)
class Asked:
    """What the tables are of.

    Attributes:
        examples: a task, at a single look.
        certainties: wanted of a right decision.
        win_rates: true ones.
        correlation: of the gaps of an example under two conditions, in the simulation.
        text_spread: standard deviation of the change of a text's loss, nats per token.
    """

    examples: tuple[int, ...] = EXAMPLES
    certainties: tuple[float, ...] = CERTAINTIES
    win_rates: tuple[float, ...] = WIN_RATES
    correlation: float = 0.0
    text_spread: float = DEMO_SPREAD
