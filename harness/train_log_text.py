"""Text logs: lines such as `[train] step=50 loss_mean=9.6916 …` among warnings and progress bars.

`key=value`, `key: value` and printed dicts (`{'loss': 1.2, 'learning_rate': 5e-05}`) are taken apart by one expression;
nothing is evaluated. A printed dict of Hugging Face's Trainer names no step.
"""

import re
from collections.abc import Iterable, Iterator

from harness.train_log_keys import is_step, kind_of, plain_key
from harness.train_log_merge import Merger

_ANSI = re.compile(r"\x1b\[[0-9;?]{0,32}[ -/]{0,4}[@-~]")
# A bar and the numbers behind it: 20%|██   | 1/5 [00:20<01:20, 20.03s/it, loss=2.1]
_BAR = re.compile(r"\d{1,3}%\|[^|]{0,400}\|[^\[\r\n]{0,80}(?:\[[^\]]{0,400}\])?")
_EVALUATION = re.compile(r"\[\s*(?:eval|val|valid|validation|dev|test)\s*\]", re.IGNORECASE)
# Possessive throughout: a hostile line costs one pass.
_PAIR = re.compile(
    r"""(?<![\w./-])['"]?([A-Za-z_][\w./-]{0,63}+)['"]?[ \t]{0,4}+[=:][ \t]{0,4}+['"]?+
    (?:tensor\()?+
    ([+-]?+(?:(?:\d{1,400}+(?:\.\d{0,400}+)?+|\.\d{1,400}+)(?:e[+-]?+\d{1,9}+)?+
      |nan(?:\((?:ind|snan)\))?+|1\.\#(?:qnan|snan|ind|inf)|infinity|inf))
    (?=$|[\s,;|)}\[\]'"/]|:(?:\s|$)|\.(?:\s|$))""",
    re.VERBOSE | re.IGNORECASE,
)
_INFINITE = re.compile(r"inf", re.IGNORECASE)


def from_text(lines: Iterable[bytes], merger: Merger) -> None:
    """Hand the records of a text log on."""
    for line in lines:
        text = _BAR.sub(" ", _ANSI.sub("", line.decode("utf-8", errors="replace")))
        for record in _records(text):
            merger.add(record)


def _records(text: str) -> Iterator[dict[str, float]]:
    """The records of a line: a new one begins where the step is named again."""
    prefix = "eval_" if _EVALUATION.search(text) else ""
    record: dict[str, float] = {}
    for match in _PAIR.finditer(text):
        key = plain_key(match[1])
        if is_step(key) and any(is_step(each) for each in record):
            yield from _told(record)
            record = {}
        name = prefix + key if prefix and kind_of(key) == "loss" else key
        record.setdefault(name, _number(match[2]))
    yield from _told(record)


def _told(record: dict[str, float]) -> Iterator[dict[str, float]]:
    """A record without what stands for nothing; none where it tells nothing of training.

    Without a step, a rate alone is a setting that was printed, and no line of a log.
    """
    known = {key for key in record if kind_of(key) is not None}
    stepped = any(is_step(key) for key in record)
    if known if stepped else any(kind_of(key) != "rate" for key in known):
        yield {key: value for key, value in record.items() if key in known or is_step(key) or key == "epoch"}


def _number(text: str) -> float:
    """A number of the expression above; Microsoft's spellings of NaN and infinity among them."""
    try:
        return float(text)
    except ValueError:
        sign = -1.0 if text.startswith("-") else 1.0
        return sign * float("inf") if _INFINITE.search(text) else float("nan")
