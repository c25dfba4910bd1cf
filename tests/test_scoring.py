"""The scorer against transformers' own loss, and its independence of batches."""

import numpy as np
import pytest
import torch

from harness.bundle import open_bundle
from harness.examples import TASKS, labels_of, read_examples, regions
from harness.model import load_model
from harness.scoring import ScoreItem, score
from harness.vocabulary import Part, parts_of
from tests.tiny import Tiny, write_tiny


@pytest.fixture(scope="module", params=["untied", "tied"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return write_tiny(tmp_path_factory.mktemp("scoring"), tied=request.param == "tied")


def _parts(bundle: Tiny) -> tuple[Part, ...]:
    return parts_of(bundle.space, bundle.space.vocab_size_total)


def test_scores_are_transformers_own_losses(bundle: Tiny) -> None:
    model = load_model(open_bundle(bundle.ckpt), device="cpu", dtype="float32")
    examples = read_examples(bundle.golden, bundle.space, TASKS)
    items = [ScoreItem(e.input_ids, regions(e, bundle.space).target) for e in examples]

    ours = score(model, items, parts=_parts(bundle), batch_tokens=100).nll

    theirs = []
    with torch.inference_mode():
        for example in examples:
            labels = torch.from_numpy(labels_of(example, bundle.space))[None]
            theirs.append(float(model(torch.from_numpy(example.input_ids)[None], labels=labels).loss))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_scores_do_not_depend_on_the_batch(bundle: Tiny) -> None:
    model = load_model(open_bundle(bundle.ckpt), device="cpu", dtype="float32")
    examples = read_examples(bundle.golden, bundle.space, TASKS)
    items = [ScoreItem(e.input_ids, regions(e, bundle.space).target) for e in examples]

    together = score(model, items, parts=_parts(bundle), batch_tokens=10_000).nll
    alone = score(model, items[::-1], parts=_parts(bundle), batch_tokens=1).nll[::-1]

    assert together == pytest.approx(alone, abs=1e-5)


def test_the_mass_outside_is_what_the_softmax_says(bundle: Tiny) -> None:
    model = load_model(open_bundle(bundle.ckpt), device="cpu", dtype="float32")
    (example, *_) = read_examples(bundle.golden, bundle.space, ["t2i"])
    found = regions(example, bundle.space)
    image = bundle.space.image
    assert image is not None
    allowed = np.r_[np.arange(image.start, image.end + 1), bundle.space.end_id("image")]

    parts = parts_of(bundle.space, bundle.space.vocab_size_total, "image")
    measured = score(model, [ScoreItem(example.input_ids, found.target)], parts=parts, batch_tokens=99)

    with torch.inference_mode():
        probabilities = model(torch.from_numpy(example.input_ids)[None]).logits[0].softmax(-1)
    at_codes = probabilities[found.content.start - 1 : found.content.stop - 1]
    assert measured.mass_outside[0] == pytest.approx(float(1 - at_codes[:, allowed].sum(-1).mean()), abs=1e-5)


def test_a_target_at_the_first_position_is_refused(bundle: Tiny) -> None:
    model = load_model(open_bundle(bundle.ckpt), device="cpu", dtype="float32")

    with pytest.raises(ValueError, match="nothing predicts the first token"):
        score(model, [ScoreItem(np.array([1, 2]), slice(0, 2))], parts=_parts(bundle), batch_tokens=9)
