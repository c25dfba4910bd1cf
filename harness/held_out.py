"""What held-out examples share with what a checkpoint was trained on: content, not names.

Two media are equal when their ids are; task, caption and name play no part. The same caption with other media is a near
duplicate. Held-out content is kept in memory and training rows are streamed past it, so that memory does not grow with
their number. Training examples are looked for in a `train.jsonl` beside the golden or dev set; no bundle names one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.bundle import Bundle
from harness.contents import ContentIndex, distinct
from harness.errors import ExampleError, MissingInputError
from harness.examples import Example, read_examples, regions
from harness.progress import Listener, track
from harness.token_space import TokenSpace
from harness.training_rows import TrainingRows, read_rows, shard_files


@dataclass(frozen=True)
class Match:
    """A held-out example and what equals it.

    Attributes:
        example: its id.
        prompt: its caption, where the file carries it.
        place: the first row or example that equals it: file, row number from 1, id.
        rows: how many rows do.
    """

    example: str
    prompt: str
    place: str
    rows: int


@dataclass(frozen=True)
class HeldOutAudit:
    """What was found.

    Attributes:
        n_golden, n_dev: examples.
        files: training files compared, shards first.
        training_rows: rows in them; `with_media` of these hold media.
        shared: examples whose media equal a training row's.
        near: examples whose caption equals a training row's with other media.
        in_eval: examples whose media equal those of an example in eval.jsonl, which nobody trains on.
        duplicate_golden: golden examples whose media equal an earlier golden example's of the same task.
        golden_in_dev: golden examples whose media equal a dev example's.
    """

    n_golden: int
    n_dev: int
    files: tuple[Path, ...]
    training_rows: int
    with_media: int
    shared: tuple[Match, ...]
    near: tuple[Match, ...]
    in_eval: tuple[Match, ...]
    duplicate_golden: tuple[Match, ...]
    golden_in_dev: tuple[Match, ...]


def audit_held_out(bundle: Bundle, listener: Listener) -> HeldOutAudit:
    """Compare every golden and dev example with every row of the shards, and of a `train.jsonl` beside the examples.

    Raises:
        MissingInputError: no golden set, no shards, or shards without a row.
        ExampleError: the golden set holds no example, or one of the examples is malformed.
        HarnessError: a training file cannot be read.
    """
    golden_path, shards = bundle.input("golden"), bundle.input("shards")
    paths = [golden_path, *([bundle.input("dev")] if "dev" in bundle.inputs else [])]
    golden, *others = (read_examples(path, bundle.space) for path in paths)
    if not golden:
        raise ExampleError(golden_path, "no example", "at least one golden example", "Write the golden set first.")
    dev = [example for examples in others for example in examples]
    held_out = _HeldOut([*golden, *dev], bundle.space)
    files = [*shard_files(shards), *_beside(paths, "train.jsonl")]
    trained = held_out.compare(files, bundle.space, listener)
    if not trained.with_media:
        raise MissingInputError(
            shards, f"{trained.rows} rows, none with media", "training rows to compare with", "Write the shards again."
        )
    evaluated = held_out.compare([f for f in _beside(paths, "eval.jsonl") if f not in paths], bundle.space, listener)
    return HeldOutAudit(
        n_golden=len(golden),
        n_dev=len(dev),
        files=tuple(files),
        training_rows=trained.rows,
        with_media=trained.with_media,
        shared=held_out.shared(trained),
        near=held_out.near(trained),
        in_eval=held_out.shared(evaluated),
        duplicate_golden=held_out.repeated(len(golden), golden_path),
        golden_in_dev=held_out.golden_in_dev(len(golden), paths[-1]),
    )


def _beside(paths: Sequence[Path], name: str) -> list[Path]:
    """The files of that name that lie beside the golden set or the dev set."""
    candidates = dict.fromkeys(path.parent / name for path in paths)
    return [path for path in candidates if path.is_file()]


class _Seen:
    """What was met in training files. Every count is of rows; every place is the first."""

    def __init__(self) -> None:
        self.rows = self.with_media = 0
        self.media: dict[int, tuple[str, int]] = {}  # media content -> place, rows
        # (text content, media content or -1) -> place, rows
        self.pairs: dict[tuple[int, int], tuple[str, int]] = {}

    def add(self, rows: TrainingRows, media: ContentIndex, text: ContentIndex) -> None:
        """Take in a batch."""
        self.rows += len(rows.names)
        self.with_media += len(np.unique(rows.media.rows[rows.media.lengths > 0]))
        found = media.find(rows.media)
        hits = np.flatnonzero(found >= 0)
        for content, row, n in _groups(found[hits], rows.media.rows[hits]):
            self.media[content] = _counted(self.media.get(content), rows, row, n)
        medium = np.full(len(rows.names), -1, dtype=np.int64)
        medium[rows.media.rows[hits]] = found[hits]
        found = text.find(rows.text)
        hits = np.flatnonzero(found >= 0)
        row_of = rows.text.rows[hits]
        # A pair as one number, so that equal pairs are found without a loop over rows.
        paired = found[hits] * (len(media) + 1) + medium[row_of] + 1
        for number, row, n in _groups(paired, row_of):
            pair = number // (len(media) + 1), number % (len(media) + 1) - 1
            self.pairs[pair] = _counted(self.pairs.get(pair), rows, row, n)


def _groups(numbers: np.ndarray, rows: np.ndarray) -> Iterable[tuple[int, int, int]]:
    """Each distinct number with the first of its rows and how many it has."""
    values, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    return zip(values.tolist(), rows[first].tolist(), counts.tolist(), strict=True)


def _counted(known: tuple[str, int] | None, rows: TrainingRows, row: int, n: int) -> tuple[str, int]:
    if known is not None:
        return known[0], known[1] + n
    return f"{rows.file} row {rows.first + row} ({rows.names[row]})", n


class _HeldOut:
    """The held-out examples by content."""

    def __init__(self, examples: Sequence[Example], space: TokenSpace) -> None:
        self.examples = examples
        where = [regions(example, space) for example in examples]
        media, self.media = distinct([e.input_ids[r.media] for e, r in zip(examples, where, strict=True)])
        text, self.text = distinct([e.input_ids[r.text] for e, r in zip(examples, where, strict=True)])
        self.media_index, self.text_index = ContentIndex(media), ContentIndex(text)

    def compare(self, files: Sequence[Path], space: TokenSpace, listener: Listener) -> _Seen:
        """Stream files past the examples."""
        seen = _Seen()
        for file in track(files, len(files), "comparing with what was trained on", listener):
            for rows in read_rows(file, space):
                seen.add(rows, self.media_index, self.text_index)
        return seen

    def shared(self, seen: _Seen) -> tuple[Match, ...]:
        """Examples whose media were seen."""
        return tuple(
            self._match(i, *seen.media[int(content)])
            for i, content in enumerate(self.media)
            if int(content) in seen.media
        )

    def near(self, seen: _Seen) -> tuple[Match, ...]:
        """Examples whose caption was seen with other media."""
        others: dict[int, list[tuple[int, str, int]]] = {}
        for (text, medium), (place, rows) in seen.pairs.items():
            others.setdefault(text, []).append((medium, place, rows))
        found = []
        for i, (text, own) in enumerate(zip(self.text.tolist(), self.media.tolist(), strict=True)):
            places = [(place, rows) for medium, place, rows in others.get(text, []) if medium != own]
            if places:
                found.append(self._match(i, places[0][0], sum(rows for _, rows in places)))
        return tuple(found)

    def repeated(self, n_golden: int, path: Path) -> tuple[Match, ...]:
        """Golden examples with the media of an earlier one of the same task."""
        first: dict[tuple[str, int], str] = {}
        found = []
        for i, example in enumerate(self.examples[:n_golden]):
            earlier = first.setdefault((example.task, int(self.media[i])), example.id)
            if earlier != example.id:
                found.append(self._match(i, f"{path} ({earlier})", 1))
        return tuple(found)

    def golden_in_dev(self, n_golden: int, path: Path) -> tuple[Match, ...]:
        """Golden examples with the media of a dev example."""
        dev = {int(self.media[i]): self.examples[i].id for i in range(len(self.examples) - 1, n_golden - 1, -1)}
        contents = enumerate(self.media[:n_golden].tolist())
        return tuple(self._match(i, f"{path} ({dev[content]})", 1) for i, content in contents if content in dev)

    def _match(self, i: int, place: str, rows: int) -> Match:
        return Match(self.examples[i].id, self.examples[i].text or "", place, rows)
