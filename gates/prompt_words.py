"""What P0.4 reports beside its rules: which words it listens to, how far a prompt stands out, which codebook hears it.

None of this is judged: a model can pass the shuffle at 0.997 and still ignore one word of every prompt, which a reader
of the report is to know.
"""

import math
from collections.abc import Mapping
from typing import Literal, get_args

from gates.gate import Accept
from harness import statistics
from harness.ablation import Ablation
from harness.breakdown import by_part, pmi
from harness.checkpoint import Checkpoint
from harness.looks import Looks
from harness.nearest import NearestPrompt, word_groups, word_pairs
from harness.results import Measurement
from harness.retrieval import Retrieval
from harness.statistics import Paired

# In the order of the tables.
Heard = Literal["not measured", "misleads", "makes no difference", "too few to tell", "heard"]
MAX_NAMES = 20  # of words in one note; the table has them all


def report_beside(accept: Accept, checkpoint: Checkpoint, measured: Ablation, look: Looks) -> None:
    """The same words in random order, what the prompt says about the target, and every codebook by itself."""
    task = measured.task
    if "reordered" in measured.scores:
        report_pair(accept, checkpoint, task, "reordered", measured.pair("reordered"), look.level)
    clusters, rng = measured.pair("empty").clusters, checkpoint.rng("bootstrap", task, "pmi")
    accept.report(statistics.mean(f"{task}.pmi", pmi(measured), clusters, "nats/example", rng, look.level))
    parts = by_part(measured)
    ablated = [name for name in measured.scores if name != "correct"]
    accept.table(
        f"{task} by codebook",
        ["range", "labels", "accuracy", "loss", *(f"{name}: Δ" for name in ablated)],
        [
            [part.name, part.labels, part.accuracy, part.nll["correct"], *(part.gaps[name] for name in ablated)]
            for part in parts
        ],
        note="Accuracy: share of the labels that are the most probable id under the own prompt. Loss and Δ in nats per "
        "label. Reported, not judged.",
    )


def report_pair(accept: Accept, checkpoint: Checkpoint, task: str, name: str, paired: Paired, level: float) -> None:
    """Win rate and Δ of a condition that is not judged."""
    accept.report(statistics.win_rate(f"{task}.win_rate_{name}", paired, level))
    accept.report(statistics.mean_gap(f"{task}.delta_{name}", paired, checkpoint.rng("bootstrap", task, name), level))


def report_nearest(accept: Accept, checkpoint: Checkpoint, measured: NearestPrompt, listens_from: float) -> None:
    """The most similar other prompt, and by which of the words that it changes it can be told from the own one.

    Args:
        accept: where it is reported.
        checkpoint: draws the bootstrap.
        measured: the losses.
        listens_from: the win rate that the gate asks of a whole prompt: a word whose interval holds 0.5 and ends below
            it makes no difference; where the interval reaches it, there were too few examples to tell.
    """
    task = measured.task
    report_pair(accept, checkpoint, task, "nearest", measured.paired, statistics.CONFIDENCE_LEVEL)
    found = {"groups of words that take one another's place": word_groups(measured), "words": word_pairs(measured)}
    for what, pairs in found.items():
        rates = {word: statistics.win_rate(word, paired) for word, paired in pairs.items()}
        verdicts = {word: heard(rate, listens_from) for word, rate in rates.items()}
        tabulate_words(accept, f"{task}: {what}", pairs, rates, verdicts)
        name_words(accept, task, what, rates, verdicts, listens_from)


def heard(rate: Measurement, listens_from: float) -> Heard:
    """What the interval of a word's win rate says; a coin's win rate is 0.5."""
    if rate.low is None or rate.high is None:
        return "not measured"
    if rate.low > 0.5:
        return "heard"
    if rate.high < 0.5:
        return "misleads"
    return "makes no difference" if rate.high < listens_from else "too few to tell"


def tabulate_words(
    accept: Accept,
    title: str,
    found: Mapping[str, Paired],
    rates: Mapping[str, Measurement],
    verdicts: Mapping[str, Heard],
) -> None:
    """A row for every word, those that are not heard first."""
    order = get_args(Heard)
    words = sorted(found, key=lambda word: (order.index(verdicts[word]), rates[word].n))
    accept.table(
        title,
        ["word", "n", "win rate", "low", "high", "Δ", "verdict"],
        [
            [word, rate.n, rate.value, rate.low, rate.high, found[word].mean_gap, verdicts[word]]
            for word, rate in ((word, rates[word]) for word in words)
        ],
        note="Own prompt against the most similar other one, by the word that the other one changes: win rate as a "
        "share with its 95 % interval, Δ in nats per token. Each interval stands for itself. A word that suits every "
        "target wins without being listened to; in a group each takes the other's place, so that this cancels out. "
        "Reported, not judged.",
    )  # fmt: skip


def name_words(
    accept: Accept,
    task: str,
    what: str,
    rates: Mapping[str, Measurement],
    verdicts: Mapping[str, Heard],
    listens_from: float,
) -> None:
    """Say for which words a win rate of 0.5, or less, cannot be ruled out."""
    holds = "the interval of the win rate holds 0.5"
    sayings: dict[Heard, str] = {
        "misleads": "mislead (the interval of the win rate ends below 0.5)",
        "makes no difference": f"make no difference ({holds} and ends below {listens_from:g})",
        "too few to tell": f"have too few examples of their own to tell ({holds} and reaches {listens_from:g})",
    }
    if verdicts and set(verdicts.values()) == {"heard"}:
        accept.note(f"{task}: all {len(verdicts)} {what} are heard")
    for verdict, says in sayings.items():
        words = [word for word, found in verdicts.items() if found == verdict]
        if words:
            named = "; ".join(f"“{word}” {rates[word].value:.2f} (n={rates[word].n})" for word in words[:MAX_NAMES])
            more = f"; and {len(words) - MAX_NAMES} more, see the table" if len(words) > MAX_NAMES else ""
            accept.note(f"{task}: {len(words)} of {len(verdicts)} {what} {says}: {named}{more}")


def report_retrieval(accept: Accept, measured: Retrieval) -> None:
    """How often the true prompt comes first among a few, and the rank that it has on average."""
    task, n = measured.task, measured.n
    recall = statistics.proportion(f"{task}.recall_at_1_of_{measured.candidates}", measured.hits, n)
    if not math.isfinite(measured.mean_rank):
        recall = Measurement(name=recall.name, value=float("nan"), unit=recall.unit, n=n)
    accept.report(recall)
    accept.report(Measurement(name=f"{task}.mean_rank", value=measured.mean_rank, unit="rank", n=n))
    accept.note(
        f"{task}: the true prompt was ranked among {measured.candidates} for {n} examples; by chance it comes first in "
        f"{measured.chance:.3g} of them, and has rank {(measured.candidates + 1) / 2:g} on average"
    )
