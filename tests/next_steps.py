"""Gate results in the form that the real gates leave them, and situations with what the next step says of them."""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gates as gates_package
from gates.gate import Gate, confidence_of
from gates.next_step import Trained, next_step
from harness.results import GateResult, Measurement, Op, Outcome, Stage, decide
from harness.tiers import TIER_ROWS
from harness.training_record import Stopped, TrainingRecord

CHANGE = "prompting, masking, copy mix, clip policy; not the dataset size"
Interval = tuple[float, float, float]  # value, low, high
STRONG: dict[str, Interval] = {"delta": (0.54, 0.49, 0.60), "win": (0.96, 0.93, 0.98)}
WEAK: dict[str, Interval] = {"delta": (0.06, 0.04, 0.08), "win": (0.70, 0.64, 0.75)}
NONE: dict[str, Interval] = {"delta": (0.003, -0.01, 0.02), "win": (0.51, 0.45, 0.57)}
NOISY: dict[str, Interval] = {"delta": (0.08, -0.20, 0.36), "win": (0.66, 0.40, 0.86)}


def _criteria() -> dict[str, Gate]:
    """Every real gate by its id, read from the gate files."""
    found: dict[str, Gate] = {}
    for file in sorted(Path(gates_package.__file__).parent.glob("stage*/test_*.py")):
        module = importlib.import_module(f"gates.{file.parent.name}.{file.stem}")
        found |= {value.id: value for value in vars(module).values() if isinstance(value, Gate)}
    return found


CRITERIA = _criteria()


def figure(
    name: str, value: float | None, low: float | None = None, high: float | None = None, *,
    op: Op | None = None, threshold: float | None = None, unit: str = "", n: int = 288,
) -> Measurement:  # fmt: skip
    """A measurement as `accept` leaves it."""
    m = Measurement(name=name, value=value, low=low, high=high, unit=unit, n=n, op=op, threshold=threshold)
    known = op is not None and threshold is not None
    return m.model_copy(update={"confidence": confidence_of(m, op, threshold)}) if known else m  # type: ignore[arg-type]


def result(gate_id: str, outcome: Outcome = "pass", *figures: Measurement, **details: Any) -> GateResult:
    """The result of a real gate."""
    criterion = CRITERIA.get(gate_id) or Gate(gate_id, "dynamics", "P1", "a claim", "a source")
    return GateResult(
        id=gate_id, name=criterion.name, priority=criterion.priority, outcome=outcome, claim=criterion.claim,
        measurements=figures, advice=() if outcome == "pass" else criterion.advice, details=details,
    )  # fmt: skip


def read_figures(**gaps: dict[str, Interval]) -> list[Measurement]:
    """S3.4's figures of one task after the other; `a2t=STRONG`, and by condition `a2t_shuffled=NONE`."""
    found = []
    for task in ("a2t", "i2t"):
        found.append(figure(f"{task}.null_gap", 0.0, op="==", threshold=0, unit="nats/token"))
        for name in ("shuffled", "swapped", "noise"):
            gap = gaps.get(f"{task}_{name}") or gaps[task]
            nats, share = (0.15, 0.85) if name == "noise" else (0.10, 0.80)
            wins = figure(f"{task}.win_rate_{name}", *gap["win"], op=">=", threshold=share, unit="share")
            delta = figure(f"{task}.delta_{name}", *gap["delta"], op=">=", threshold=nats, unit="nats/token")
            found += [wins, delta]
    return found


def stage3(*changed: GateResult, **gaps: dict[str, Interval]) -> tuple[GateResult, ...]:
    """All gates of stage 3; green, but for the gaps given and the gates put in another's place."""
    figures = read_figures(**({"a2t": STRONG, "i2t": STRONG} | gaps))
    passes = all(m.confidence in (None, "proven") for m in figures)
    found = {id_: result(id_) for id_ in ("S3.0", "S3.1")}
    found["S3.2"] = result("S3.2", "pass", figure("embed_seen_rows_unmoved", 0.08, op="<=", threshold=1.0, unit="%"))
    found["S3.3"] = result("S3.3", "pass", figure("modality_rows_moved", 1296, op=">", threshold=0, unit="rows"))
    found["S3.4"] = result("S3.4", "pass" if passes else "fail", *figures)
    logits = figure("text_logit_gap", 0.0, op="<=", threshold=1e-6, unit="logits")
    perplexity = figure("text_perplexity_change", 0.0, 0.0, 0.0, op="<=", threshold=1.0, unit="%")
    found["S3.5"] = result("S3.5", "pass", logits, perplexity)
    found["S3.6"] = result("S3.6")
    found["S3.7"] = result("S3.7")
    return tuple((found | {gate.id: gate for gate in changed}).values())


def write_figures(**changed: Interval) -> list[Measurement]:
    """P0.4's figures; `t2a_win_rate_shuffled=(0.55, 0.49, 0.61)` changes one."""
    found = []
    for task in ("t2a", "t2i"):
        usual: dict[str, tuple[Interval, Op | None, float | None, str]] = {
            "delta_shuffled": ((1.7, 1.6, 1.8), ">", 0.0, "nats/token"),
            "win_rate_shuffled": ((1.0, 0.99, 1.0), ">=", 0.70, "share"),
            "delta_empty": ((0.6, 0.5, 0.7), ">", 0.0, "nats/token"),
            "win_rate_empty": ((1.0, 0.99, 1.0), ">=", 0.80, "share"),
            "null_gap": ((0.0, 0.0, 0.0), "==", 0.0, "nats/token"),
            "win_rate_reordered": ((0.98, 0.96, 0.99), None, None, "share"),
            "win_rate_nearest": ((1.0, 0.99, 1.0), None, None, "share"),
        }
        for name, (interval, op, threshold, unit) in usual.items():
            value = changed.get(f"{task}_{name}", interval)
            found.append(figure(f"{task}.{name}", *value, op=op, threshold=threshold, unit=unit))
    return found


def range_figures(free: float = 0.0, constrained: float = 0.0, served: str = "constrained") -> list[Measurement]:
    """P0.2's figures, in percent."""
    found = []
    for task in ("t2a", "t2i"):
        for how, value in (("free", free), ("constrained", constrained)):
            rule: dict[str, Any] = {"op": "<=", "threshold": 0.0} if how == served else {}
            found.append(figure(f"{task}.out_of_range_pct ({how})", value, unit="%", n=64, **rule))
        found.append(figure(f"{task}.mass_outside", 0.002, unit="probability"))
    return found


def decode_figures(t2a: float = 100.0) -> list[Measurement]:
    """P0.3's figures."""
    rates = {"t2a": t2a, "t2i": 100.0}
    return [figure(f"{task}.decode_success_rate", rate, rate - 6, rate, op=">=", threshold=100, unit="%", n=64)
            for task, rate in rates.items()]  # fmt: skip


def stage4(*changed: GateResult) -> tuple[GateResult, ...]:
    """All gates of stage 4, green but for those put in another's place."""
    found = {id_: result(id_) for id_ in CRITERIA if id_.startswith("P")}
    found["P0.2"] = result("P0.2", "pass", *range_figures())
    found["P0.3"] = result("P0.3", "pass", *decode_figures())
    found["P0.4"] = result("P0.4", "pass", *write_figures())
    return tuple((found | {gate.id: gate for gate in changed}).values())


def record(rows: int, stopped: Stopped = "steps", step: int = 2000, **config: Any) -> Trained:
    """A run of 16 sequences a step."""
    return Trained(
        TrainingRecord(
            stage=3, step=step, train_rows=rows, effective_batch=16, max_steps=2000, stopped=stopped, config=config
        )
    )


TIER = {tier: record(rows) for tier, rows in TIER_ROWS.items()} | {"full": record(256_408)}
UNKNOWN = Trained()


def say(stage: Stage, results: tuple[GateResult, ...], trained: Trained = UNKNOWN) -> str:
    """The next step of a whole run."""
    return next_step(stage, decide(results, smoke=False), results, smoke=False, trained=trained)


@dataclass(frozen=True)
class Case:
    """A situation, and what the next step says and does not say."""

    name: str
    gates: tuple[GateResult, ...]
    says: tuple[str, ...]
    never: tuple[str, ...] = ()
    trained: Trained = field(default_factory=Trained)

    @property
    def stage(self) -> Stage:
        """Whose gates these are."""
        return "stage3" if self.gates[0].id.startswith("S") else "stage4"


def check(case: Case) -> None:
    """The next step says what it has to, in plain sentences."""
    said = say(case.stage, case.gates, case.trained)

    for words in case.says:
        assert words in said, f"{words!r} is not in {said!r}"
    for words in case.never:
        assert words not in said, f"{words!r} is in {said!r}"
    assert said.startswith("Do not promote") == (decide(case.gates, smoke=False) == "REJECT")
    assert said.endswith((".", "?"))
    assert not any(unreadable in said for unreadable in ("None", "nan", "..", "  ", "-0.00", "_pct", " .", ": :"))
    assert len(said) < 1100
