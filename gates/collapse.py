"""How P1.3 judges: in which ways an output can collapse, and what tells each of them from real media."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gates.gate import Accept
from harness import statistics
from harness.outputs.alike import different_prompts, equal_codes, near_media, pair_share
from harness.outputs.codes import codebook_entropies, codes_in_use, position_entropies
from harness.outputs.figures import Outputs
from harness.outputs.limits import Side, beyond, entropy_share, limit, spread
from harness.results import Measurement

N_WORST = 5  # examples shown of each kind
MAX_SHOWN = 256  # values of a figure that the report draws


@dataclass(frozen=True)
class Kind:
    """A way in which one output can collapse.

    Attributes:
        name: what the result calls it.
        figure: what it shows in.
        side: at which end of that figure it lies.
        extreme: what the figure is in total collapse.
        way: how far from real media's edge to the extreme an output may lie.
        unless: a kind judged before that says it already; an output of that kind is not of this one.
    """

    name: str
    figure: str
    side: Side
    extreme: float
    way: float
    unless: str | None = None


def judge_kinds(
    accept: Accept,
    task: str,
    written: Outputs,
    real: Outputs,
    kinds: tuple[Kind, ...],
    *,
    tail: float,
    max_share: float,
) -> None:
    """Hold the share of outputs that collapsed in each way against its bound, and show the worst of each."""
    named: dict[str, np.ndarray] = {}
    for kind in kinds:
        bound = limit(figure(real, kind.figure), kind.side, kind.extreme, kind.way, tail)
        hits = beyond(figure(written, kind.figure), kind.side, bound)
        if kind.unless:
            hits &= ~named[kind.unless]
        # Silence shows in two figures: either will do.
        named[kind.name] = named.get(kind.name, False) | hits
        show_worst(accept, written, real, kind, hits, bound, tail)
        _figure_shown(accept, task, kind.figure)["limits"].append(
            {"kind": kind.name, "side": kind.side, "at": _short(bound)}
        )
    for name, hits in named.items():
        judge_share(accept, task, name, hits, max_share=max_share)


def judge_share(accept: Accept, task: str, name: str, hits: np.ndarray, *, max_share: float) -> None:
    """Hold the share of outputs that collapsed in one way against its bound; hits: (N,) bool."""
    accept(statistics.proportion(f"{task}.{name}", int(hits.sum()), len(hits)), at_most=max_share)


def judge_duplicates(
    accept: Accept, task: str, written: Outputs, real: Outputs, *, tolerance: float, way: float
) -> None:
    """Hold the share of duplicates among different prompts against that of real media at the same prompts.

    Codes and media apart: a codec may make much the same of different codes, of real media's as well.
    """
    found = {
        "equal codes": (equal_codes(written), equal_codes(real)),
        "alike": (near_media(written, tolerance), near_media(real, tolerance)),
    }
    compared, compared_real = different_prompts(written), different_prompts(real)
    for how, (same, same_real) in found.items():
        of_real = pair_share(same_real, compared_real)
        measured = Measurement(
            name=f"{task}.one_output_for_all ({how})",
            value=pair_share(same, compared),
            unit="share of pairs",
            n=len(written.examples),
        )
        # Real media of one prompt have no pair: what was written is then allowed no more for their sake.
        allowed = way if np.isnan(of_real) else of_real + way * (1 - of_real)
        if not accept(measured, at_most=allowed):
            show_twins(accept, written, same & compared, how)


def judge_reference(accept: Accept, task: str, real: Outputs, *, tolerance: float, max_alike: float) -> None:
    """Real media must differ themselves: beside a codec that makes the same of all codes, nothing looks collapsed."""
    compared = different_prompts(real) & ~equal_codes(real)
    if not compared.any():
        return  # of one medium there is nothing to compare
    alike = pair_share(near_media(real, tolerance), compared)
    name, n = f"{task}.golden_media_alike", len(real.examples)
    accept(Measurement(name=name, value=alike, unit="share of pairs", n=n), at_most=max_alike)


def judge_codebooks(accept: Accept, task: str, written: Outputs, real: Outputs, *, min_entropy_pct: float) -> None:
    """Hold the entropy of all codes against real media's, codebook by codebook, and show how they are used."""
    name, n = f"{task}.few_codes", len(written.examples)
    if not n:
        accept(Measurement(name=name, value=float("nan"), unit="% of real", n=n), at_least=min_entropy_pct)
        return
    own, of_real = codebook_entropies(written.codes), codebook_entropies(real.codes)
    value = 100 * entropy_share(own, of_real)
    accept(Measurement(name=name, value=value, unit="% of real", n=n), at_least=min_entropy_pct)
    columns = [("codes in use", codes_in_use), ("perplexity", lambda codes: 2 ** codebook_entropies(codes)),
               ("entropy at one position, bits", lambda codes: position_entropies(codes).mean(axis=1))]  # fmt: skip
    shown = [(measure(written.codes), measure(real.codes)) for _, measure in columns]
    titles = [f"{title}{of}" for title, _ in columns for of in ("", ": real")]
    rows: list[list[str | float | None]] = [
        [str(k), *(float(each[k]) for pair in shown for each in pair)] for k in range(len(own))
    ]
    accept.table(f"{task}: codebooks", ["codebook", *titles], rows)


def show_figures(accept: Accept, task: str, written: Outputs, real: Outputs, tail: float) -> None:
    """The spread of every figure of what was written beside real media's, and which medians no real output reaches."""
    if written.failed:
        accept.note(
            f"{task}: {len(written.failed)} outputs did not decode and have no figures: {_first(written.failed)}"
        )
    if real.failed:
        accept.note(f"{task}: {len(real.failed)} golden media did not decode: {_first(real.failed)}")
    rows: list[list[str | float | None]] = []
    outside = []
    for name in written.figures:
        own, of_real = spread(figure(written, name), tail), figure(real, name)
        _figure_shown(accept, task, name).update(written=_values(written, name), real=_values(real, name))
        rows.append([name.replace("_", " "), *own, *spread(of_real, tail)])
        lowest, _, highest = spread(of_real, 0.0)
        if own[1] < lowest or own[1] > highest:
            outside.append(f"{name.replace('_', ' ')} {own[1]:.3g} (real {lowest:.3g} to {highest:.3g})")
    ends = [f"{100 * share:g} %" for share in (tail, 0.5, 1 - tail)]
    columns = ["figure", *ends, *(f"real: {end}" for end in ends)]
    accept.table(f"{task}: figures of {len(written.examples)} outputs and of real media", columns, rows)
    if outside:
        accept.note(f"{task}: medians that no real output reaches, not judged: {'; '.join(outside)}")


def show_twins(accept: Accept, written: Outputs, twins: np.ndarray, how: str) -> None:
    """The outputs with most duplicates among those for other prompts; twins: (N, N) bool."""
    counts = twins.sum(axis=1)
    for i in [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]][:N_WORST]:
        other = written.examples[int(np.flatnonzero(twins[i])[0])].id
        note = f"one output for all ({how}): the same as {counts[i]} of {len(counts) - 1} others, such as {other}"
        add_worst(accept, written, i, note)


def show_worst(
    accept: Accept, written: Outputs, real: Outputs, kind: Kind, hits: np.ndarray, bound: float, tail: float
) -> None:
    """The collapsed outputs that lie furthest from real media."""
    values = figure(written, kind.figure)
    low, _, high = spread(figure(real, kind.figure), tail)
    order = np.argsort(-values if kind.side == "high" else values, kind="stable")
    for i in [int(i) for i in order if hits[i]][:N_WORST]:
        of_real = f"real media {low:.3g} to {high:.3g}, limit {bound:.3g}"
        note = f"{kind.name.replace('_', ' ')}: {kind.figure.replace('_', ' ')} {values[i]:.3g} ({of_real})"
        add_worst(accept, written, i, note)


def add_worst(accept: Accept, written: Outputs, i: int, note: str) -> None:
    """One of the worst examples, with its prompt."""
    example = written.examples[i]
    row = {"id": example.id, "prompt": example.text or "", "note": note}
    accept.details.setdefault("worst", []).append(row)


def _figure_shown(accept: Accept, task: str, name: str) -> dict[str, Any]:
    """Where the report finds a figure's values and the limits that they are held against."""
    figures = accept.details.setdefault("fingerprints", {}).setdefault(task, {})
    shown: dict[str, Any] = figures.setdefault(name, {"limits": []})
    return shown


def _values(outputs: Outputs, name: str) -> list[float | None]:
    return [_short(value) for value in figure(outputs, name)[:MAX_SHOWN]]


def _short(value: float) -> float | None:
    """Four digits, which is more than a drawing shows; null for what is no number."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def figure(outputs: Outputs, name: str) -> np.ndarray:
    """(N,), none where nothing was decoded."""
    return outputs.figures.get(name, np.empty(0))


def _first(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
