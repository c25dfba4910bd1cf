"""What the golden set expects of a task: how many ids a medium has, of which kinds, and what a limit would cut off."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.bundle import Bundle
from harness.errors import HarnessError, MissingInputError
from harness.examples import TASKS, Example, Task, expected_length, read_examples, regions
from harness.files import read_json
from harness.token_space import Modality, TokenSpace


@dataclass(frozen=True)
class Limit:
    """How many new ids generation may write.

    Attributes:
        max_new: the limit; None where there is none.
        source: who says so, for the reader.
    """

    max_new: int | None
    source: str


def limits_of(bundle: Bundle, given: dict[Modality, int | None]) -> dict[Modality, Limit]:
    """The limit in force for each modality: the option's, or the checkpoint's own max_new_tokens."""
    file = bundle.path / "generation_config.json"
    config = read_json(file) if file.is_file() else {}
    configured = config.get("max_new_tokens") if isinstance(config, dict) else None
    own = Limit(None, "none is configured: generation follows each example's own length")
    if isinstance(configured, int) and configured > 0:
        own = Limit(configured, "max_new_tokens of generation_config.json")
    return {
        modality: Limit(option, f"--max-new-{modality}") if option is not None else own
        for modality, option in given.items()
    }


def summarise_tasks(bundle: Bundle, limits: dict[Modality, Limit]) -> dict[str, Any]:
    """Per task what the golden set holds; a `problem` in place of figures where it cannot be read."""
    try:
        examples = read_examples(bundle.input("golden"), bundle.space)
    except MissingInputError as error:
        return {task: {"n_golden": 0, "problem": f"not given: {error.fix}"} for task in TASKS}
    except HarnessError as error:
        return {task: {"n_golden": None, "problem": str(error)} for task in TASKS}
    by_task = {task: [example for example in examples if example.task == task] for task in TASKS}
    return {task: _summary(task, found, bundle.space, limits) for task, found in by_task.items()}


def _summary(task: Task, examples: list[Example], space: TokenSpace, limits: dict[Modality, Limit]) -> dict[str, Any]:
    if not examples:
        return {"n_golden": 0, "problem": f"no {task} example in the golden set"}
    expected = [expected_length(example.meta, example.modality) for example in examples]
    lengths = np.array([length for length in expected if length is not None], dtype=np.int64)
    summary: dict[str, Any] = {
        "n_golden": len(examples),
        "expected_media_ids": _spread(lengths),
        "without_length_in_meta": len(examples) - len(lengths),
        "token_types": _token_types(examples, space),
        **_media_against_meta(examples, expected, space),
    }
    if examples[0].writes and len(lengths):
        summary["max_new"] = cut_off(lengths, limits[examples[0].modality])
    return summary


def _spread(lengths: np.ndarray) -> dict[str, float | int] | None:
    if not len(lengths):
        return None
    return {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())}


def cut_off(lengths: np.ndarray, limit: Limit) -> dict[str, Any]:
    """How many media a limit would cut, and how many it would leave without room for their end tag."""
    truncated = int((lengths > limit.max_new).sum()) if limit.max_new is not None else 0
    without_end = int((lengths + 1 > limit.max_new).sum()) if limit.max_new is not None else 0
    return {
        "limit": limit.max_new,
        "source": limit.source,
        "suffices": truncated == 0,
        "truncated": truncated,
        "no_room_for_end_tag": without_end,
        "needed": int(lengths.max()) + 1,
    }


def _token_types(examples: list[Example], space: TokenSpace) -> dict[str, int]:
    """How many ids of each range the examples' sequences hold; ids of no range under `no range`."""
    ids = np.concatenate([example.input_ids for example in examples])
    ranges = space.raw["ranges"]
    counts = {name: int(((ids >= r["start"]) & (ids <= r["end"])).sum()) for name, r in ranges.items()}
    outside = len(ids) - sum(counts.values())
    return {name: n for name, n in counts.items() if n} | ({"no range": outside} if outside else {})


def _media_against_meta(examples: list[Example], expected: list[int | None], space: TokenSpace) -> dict[str, Any]:
    """Golden media that are not what their own meta says, or hold ids out of turn; malformed sequences apart."""
    other_length, out_of_turn, malformed = 0, 0, []
    for example, length in zip(examples, expected, strict=True):
        try:
            media = example.input_ids[regions(example, space).media]
        except HarnessError as error:
            malformed.append(str(error))
            continue
        other_length += length is not None and len(media) != length
        out_of_turn += not bool(space.in_turn(example.modality, media).all())
    return {"length_differs_from_meta": other_length, "ids_out_of_turn": out_of_turn, "malformed": malformed[:5]}
