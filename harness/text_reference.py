"""The base's text-only losses as base_fingerprint.json keeps them, so that text can be judged without the base."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from harness.errors import BundleError, MissingInputError
from harness.files import read_json
from harness.text_eval import TextEval
from harness.text_losses import TextLosses

_Count = Annotated[int, Field(gt=0)]


class _Example(BaseModel):
    """One text: which ids it holds, and its loss."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    ids_sha256: str
    n_tokens: _Count
    nll: FiniteFloat


class TextOnly(BaseModel):
    """`text_only` of base_fingerprint.json; other keys are dropped.

    Attributes:
        loss: mean over all tokens but each text's first, nats per token, over the text logits.
        n_tokens: how many those are.
        text_eval_sha256: of the file.
        dtype: what the base was run in; files that do not say were written in float32.
        examples: the loss of every text, summed; empty in older files, which hold the mean alone.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    loss: FiniteFloat
    n_tokens: _Count
    text_eval_sha256: str
    dtype: str = "float32"
    examples: list[_Example] = []


def text_only_record(text_eval: TextEval, losses: TextLosses, dtype: str) -> dict[str, Any]:
    """What base_fingerprint.json keeps under `text_only`; losses are the base's."""
    rows = zip(text_eval.examples, losses.n_tokens, losses.nll, strict=True)
    examples = [
        _Example(id=each.id, ids_sha256=each.ids_sha256, n_tokens=int(n), nll=float(nll)) for each, n, nll in rows
    ]
    return TextOnly(
        loss=losses.mean,
        n_tokens=int(losses.n_tokens.sum()),
        text_eval_sha256=text_eval.sha256,
        dtype=dtype,
        examples=examples,
    ).model_dump()


def read_text_only(path: Path) -> TextOnly:
    """Read `text_only` of base_fingerprint.json.

    Raises:
        BundleError: it is malformed.
        MissingInputError: the file has none.
    """
    obj: Any = read_json(path)
    found = obj.get("text_only") if isinstance(obj, dict) else None
    if found is None:
        raise MissingInputError(path, "no text_only", "the base's text-only losses", "Pass --base.")
    try:
        return TextOnly.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("text_only", *first["loc"])))
        fix = "Write it again with the vocabulary surgery, or pass --base."
        raise BundleError(path, f"{key}: {first['msg']}", "loss, n_tokens and text_eval_sha256", fix) from None


def recorded_losses(path: Path, text_eval: TextEval, dtype: str) -> tuple[np.ndarray | None, float]:
    """The base's loss of every text (N,), nats summed over its tokens, and their mean per token.

    Of an older file, which holds the mean alone, the first is None.

    Raises:
        BundleError: the file is malformed.
        MissingInputError: it holds nothing that these texts in this precision can be held against.
    """
    reference = read_text_only(path)
    if reference.dtype != dtype:
        raise _no_reference(path, f"text-only losses in {reference.dtype}", dtype, f"--dtype {reference.dtype}")
    n_tokens = sum(example.n_tokens for example in text_eval.examples)
    if not reference.examples:
        if (reference.text_eval_sha256, reference.n_tokens) != (text_eval.sha256, n_tokens):
            found = f"the mean loss of {reference.n_tokens} tokens of text_eval {reference.text_eval_sha256[:12]}"
            expected = f"that of the {n_tokens} tokens of {text_eval.sha256[:12]}"
            raise _no_reference(path, found, expected, "the text_eval that it was written with")
        return None, reference.loss
    known = {each.ids_sha256: each.nll for each in reference.examples}
    new = [example.id for example in text_eval.examples if example.ids_sha256 not in known]
    if new:
        found = f"no loss of {len(new)} of {len(text_eval.examples)} texts (first: {new[0]!r})"
        raise _no_reference(path, found, "the base's loss of every text", "the text_eval that it was written with")
    nll = np.array([known[example.ids_sha256] for example in text_eval.examples])
    return nll, float(nll.sum() / n_tokens)


def _no_reference(path: Path, found: str, expected: str, instead: str) -> MissingInputError:
    return MissingInputError(path, found, expected, f"Pass --base, or {instead}.")
