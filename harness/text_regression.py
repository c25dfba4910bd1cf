"""Text-only regression: what became of the base's loss on plain text. Nothing here judges."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness import statistics
from harness.bundle import Bundle
from harness.results import Measurement
from harness.scorer import Scorer
from harness.text_eval import TextEval, TextExample
from harness.text_losses import TextLosses
from harness.text_reference import recorded_losses

LABEL = "text only"


@dataclass(frozen=True)
class TextRegression:
    """The same texts under the checkpoint and under its base.

    Attributes:
        examples: (N,) the texts.
        unscored: ids of those that are too short to have a loss.
        losses: the checkpoint's.
        base_nll: (N,) the base's negative log-likelihood over text logits, summed over tokens, nats; None where only
            their mean is on record.
        base_mean: the base's, nats per token over all texts.
        against: what the checkpoint was held against, in words.
        base_measured: whether the base itself was run, and not looked up.
    """

    examples: tuple[TextExample, ...]
    unscored: tuple[str, ...]
    losses: TextLosses
    base_nll: np.ndarray | None
    base_mean: float
    against: str
    base_measured: bool

    @property
    def deltas(self) -> np.ndarray | None:
        """(N,) rise of the loss of each text, nats per token; None where the base's are not known apart."""
        if self.base_nll is None:
            return None
        rise: np.ndarray = (self.losses.nll - self.base_nll) / self.losses.n_tokens
        return rise

    def most_risen(self, n: int) -> list[tuple[TextExample, float]]:
        """Up to n texts whose loss rose or is no number, with the rise in nats per token, the worst first."""
        if self.deltas is None:
            return []
        rises = np.where(np.isnan(self.deltas), np.inf, self.deltas)
        return [(self.examples[i], float(self.deltas[i])) for i in (-rises).argsort(kind="stable")[:n] if rises[i] > 0]

    def loss_gap(self, name: str) -> Measurement:
        """The largest change of a text's loss in either direction; of the mean of all where only that is known."""
        changes = self.losses.mean - self.base_mean if self.deltas is None else self.deltas
        largest = float(np.abs(changes).max())
        return Measurement(name=name, value=largest, unit="nats/token", n=len(self.examples))

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the examples' sources, sorted."""
        return tuple(sorted({example.source for example in self.examples}))

    def perplexity_change(self, name: str, rng: np.random.Generator, source: str | None = None) -> Measurement:
        """100 (exp(mean rise of the loss) - 1) in %: how much higher the perplexity is than the base's.

        The mean is over tokens; the interval is a paired bootstrap over distinct texts, since the tokens of one text
        are no independent items. It has none where the base's losses are not known text by text.

        Args:
            name: name of the measurement.
            rng: draws the resamples.
            source: of which texts; None for all.

        Raises:
            ValueError: one source is asked for, and the base's losses are not known text by text.
        """
        chosen = np.array([source in (None, example.source) for example in self.examples])
        n, tokens = int(chosen.sum()), self.losses.n_tokens[chosen]
        if self.base_nll is None:
            if source is not None:
                raise ValueError(f"the base's loss on {source!r} alone is not known")
            return Measurement(name=name, value=in_pct(self.losses.mean - self.base_mean), unit="%", n=n)
        rises = (self.losses.nll - self.base_nll)[chosen]
        value = in_pct(rises.sum() / tokens.sum())
        if not np.isfinite(rises).all():
            return Measurement(name=name, value=float("nan"), unit="%", n=n)
        texts = np.array([example.ids_sha256 for example in self.examples])[chosen]
        bounds = statistics.bootstrap_ratio(rises, tokens, texts, rng, statistics.CONFIDENCE_LEVEL)
        low, high = map(in_pct, bounds)
        return Measurement(name=name, value=value, unit="%", n=n, low=low, high=high)

    def whole_softmax_change(self, name: str) -> Measurement:
        """The same with the checkpoint's probabilities taken over its whole vocabulary, the base's over text.

        It rises with every row that is added, whatever became of the text.
        """
        whole = float(self.losses.nll_whole.sum() / self.losses.n_tokens.sum())
        return Measurement(name=name, value=in_pct(whole - self.base_mean), unit="%", n=len(self.examples))


@dataclass(frozen=True)
class TextLogitGap:
    """The largest difference of a text logit, for each of K texts.

    Attributes:
        examples: the texts.
        largest: (K,) float64, over the positions that predict a token of the text and over all text rows.
        rows: (K,) int64, the text row that differs most.
    """

    examples: tuple[TextExample, ...]
    largest: np.ndarray
    rows: np.ndarray

    @property
    def worst(self) -> tuple[TextExample, int]:
        """The text and the row with the largest difference."""
        worst = int(self.largest.argmax())
        return self.examples[worst], int(self.rows[worst])

    def measurement(self, name: str) -> Measurement:
        """The largest of all; NaN where one is NaN."""
        return Measurement(name=name, value=float(self.largest.max()), unit="logits", n=len(self.examples))


def in_pct(rise: float) -> float:
    """The change of a perplexity, %, that a rise of the loss makes, nats per token."""
    with np.errstate(over="ignore"):
        return float(100 * np.expm1(rise))


def measure_text(bundle: Bundle, text_eval: TextEval, ours: Scorer, base: Callable[[], Scorer]) -> TextRegression:
    """Score the texts with the checkpoint, and with its base where that is at hand; else look the base's losses up.

    Args:
        bundle: says where the base or its fingerprint is.
        text_eval: the texts.
        ours: scores with the checkpoint.
        base: gives the scorer of the base; not called where the base is not at hand.

    Raises:
        MissingInputError: neither the base nor a record of its losses on these texts is there.
        EvidenceError: a canary disagrees, or memory does not hold one text.
    """
    at_hand = base_is_at_hand(bundle)
    base_nll: np.ndarray | None
    if at_hand:
        # The base first: it leaves the memory before the checkpoint is loaded.
        theirs = TextLosses.of(base()(text_eval.items, label=f"{LABEL}: base"))
        base_nll, base_mean, against = theirs.nll, theirs.mean, "the base"
    else:
        path = bundle.input("base_fingerprint")
        base_nll, base_mean = recorded_losses(path, text_eval, ours.dtype)
        against = f"what {path.name} says of the base"
    losses = TextLosses.of(ours(text_eval.items, label=LABEL))
    return TextRegression(text_eval.examples, text_eval.unscored, losses, base_nll, base_mean, against, at_hand)


def base_is_at_hand(bundle: Bundle) -> bool:
    """Whether to run the base itself.

    Raises:
        MissingInputError: neither the base nor its fingerprint is there.
    """
    base = bundle.inputs.get("base")
    if base is None or not base.exists():
        if "base_fingerprint" not in bundle.inputs:
            bundle.input("base")
        return False
    return True
