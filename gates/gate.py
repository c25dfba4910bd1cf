"""What a gate is, and the `accept` object that a gate's test hands its measurements to."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.results import RULES, Confidence, Measurement, Op, Priority

MARKER = "gate"
_JUDGED = ("measurements", "details", "failures", "unclear")  # of Accept: what judging fills


@dataclass(frozen=True)
class Gate:
    """The criterion that a gate file states.

    Attributes:
        id: as in the contract, e.g. `P0.4`.
        name: short name.
        priority: P0 blocks promotion; P1 warns.
        claim: what a checkpoint that passes can be relied on for.
        source: where the thresholds come from.
        advice: what to do about a failure, in the order to try it.
    """

    id: str
    name: str
    priority: Priority
    claim: str
    source: str
    advice: tuple[str, ...] = ()


def gate(criterion: Gate) -> pytest.MarkDecorator:
    """Mark a test function as the one that judges a gate."""
    return pytest.mark.gate(criterion)


def gate_of(item: pytest.Item) -> Gate | None:
    """The gate that a test item judges, if it does."""
    marker = item.get_closest_marker(MARKER)
    return marker.args[0] if marker else None


class GateFailedError(AssertionError):
    """Measured, and not good enough."""


class TooFewExamplesError(Exception):
    """Measured on fewer examples than the spec asks for, and not clear enough to tell."""


def confidence_of(measurement: Measurement, op: Op, threshold: float) -> Confidence | None:
    """On which side of the threshold the whole 95 % interval lies; None for a figure without an interval."""
    if measurement.low is None or measurement.high is None:
        return None
    rule = RULES[op]
    sides = rule(measurement.low, threshold), rule(measurement.high, threshold)
    return "proven" if all(sides) else "borderline" if any(sides) else "refuted"


@dataclass
class Accept:
    """Collects a gate's measurements, holds them against their thresholds, and says what fell short.

    A gate's test calls it once a figure; the plugin calls `close` when the test returns, so that no test can forget to.
    """

    criterion: Gate
    strict: bool = False
    measurements: list[Measurement] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    def __call__(
        self,
        measurement: Measurement,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        above: float | None = None,
        exactly: float | None = None,
        recommended_n: int = 0,
        proven: bool = False,
        source: str | None = None,
    ) -> bool:
        """Judge a measurement by the published rule on its point estimate.

        With fewer examples than `recommended_n`, under `--strict`, or where the rule itself asks for it (`proven`: a
        non-inferiority test is a statement about the interval), only an interval that lies wholly on the passing side
        passes.

        Returns:
            Whether it passed.
        """
        op, threshold = _rule_of(at_least=at_least, at_most=at_most, above=above, exactly=exactly)
        confidence = confidence_of(measurement, op, threshold)
        judged = replace_rule(measurement, op, threshold, source or self.criterion.source, confidence)
        self.measurements.append(judged)
        if measurement.value is None or not math.isfinite(measurement.value):
            self.failures.append(f"{measurement.name} could not be computed from {measurement.n} examples")
            return False
        passed = RULES[op](measurement.value, threshold)
        sentence = f"{measurement.name} is {_figure(measurement)}, asked for {op} {threshold:g}"
        must_be_proven = proven or self.strict or measurement.n < recommended_n
        if must_be_proven and confidence not in (None, "proven"):
            # Enough examples, and the point estimate itself misses: more of them are not what is lacking.
            missed = confidence == "refuted" or (not passed and measurement.n >= recommended_n)
            short = sentence if missed else f"{sentence}; {measurement.n} examples are too few to tell"
            (self.failures if missed else self.unclear).append(short)
            return False
        if not passed:
            self.failures.append(sentence)
        return passed

    def report(self, measurement: Measurement) -> None:
        """Keep a figure that is reported and not judged."""
        self.measurements.append(measurement)

    def any_of(self, measurements: list[Measurement], *, at_least: float, source: str | None = None) -> bool:
        """Judge several measurements of which one has to reach a number; where one does, the others are reported."""
        return self.either([(m, at_least) for m in measurements], source=source)

    def either(
        self, alternatives: list[tuple[Measurement, float]], *, recommended_n: int = 0, source: str | None = None
    ) -> bool:
        """Judge measurements of which one has to reach its number; where one does, the others are only reported.

        Of those that pass, the proven ones are judged, and of those that do not, the ones that still might: what
        another one says changes nothing.
        """
        passing = [(m, at_least) for m, at_least in alternatives if m.value is not None and m.value >= at_least]
        proven = [(m, at_least) for m, at_least in passing if confidence_of(m, ">=", at_least) in (None, "proven")]
        unclear = [(m, at_least) for m, at_least in alternatives if confidence_of(m, ">=", at_least) == "borderline"]
        judged = proven or passing or unclear or alternatives
        results = []
        for m, at_least in alternatives:
            if (m, at_least) in judged:
                results.append(self(m, at_least=at_least, recommended_n=recommended_n, source=source))
            else:
                self.report(m)
        return any(results)

    def note(self, text: str) -> None:
        """Say something in the report beside the figures."""
        self.details.setdefault("notes", []).append(text)

    def table(self, title: str, columns: list[str], rows: list[list[str | float | None]], *, note: str = "") -> None:
        """Show a table in the report. A number that is none (NaN) becomes null, which the report shows as a dash."""
        finite = [
            [None if isinstance(each, float) and not math.isfinite(each) else each for each in row] for row in rows
        ]
        shown = {"title": title, "note": note, "columns": columns, "rows": finite}
        self.details.setdefault("tables", []).append(shown)

    def mark(self) -> dict[str, Any]:
        """What was judged so far, to come back to."""
        return {name: copy.deepcopy(getattr(self, name)) for name in _JUDGED}

    def forget_since(self, mark: dict[str, Any]) -> None:
        """Forget what was judged and said since the mark: it is to be judged again, on more examples."""
        for name in _JUDGED:
            setattr(self, name, copy.deepcopy(mark[name]))

    def close(self) -> None:
        """Raise what was found.

        Raises:
            GateFailedError: a measurement fell short.
            TooFewExamplesError: nothing failed, but something is too unclear to pass.
            RuntimeError: nothing was judged: a gate that measures nothing has not passed.
        """
        if self.failures:
            raise GateFailedError("; ".join(self.failures))
        if self.unclear:
            raise TooFewExamplesError("; ".join(self.unclear))
        if not any(m.op for m in self.measurements):
            raise RuntimeError(f"gate {self.criterion.id} judged nothing: unmeasured is not passed")


def replace_rule(
    measurement: Measurement, op: Op, threshold: float, source: str, confidence: Confidence | None
) -> Measurement:
    """The measurement with the rule that it was held against."""
    return measurement.model_copy(update={"op": op, "threshold": threshold, "source": source, "confidence": confidence})


def _rule_of(**bounds: float | None) -> tuple[Op, float]:
    ops: dict[str, Op] = {"at_least": ">=", "at_most": "<=", "above": ">", "exactly": "=="}
    given = [(ops[name], bound) for name, bound in bounds.items() if bound is not None]
    if len(given) != 1:
        raise TypeError("accept takes exactly one of at_least, at_most, above, exactly")
    return given[0]


def _figure(m: Measurement) -> str:
    interval = "" if m.low is None or m.high is None else f" [{m.low:.4g}, {m.high:.4g}]"
    return f"{m.value:.4g} {m.unit}{interval} (n={m.n})"
