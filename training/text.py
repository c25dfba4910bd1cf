"""The text that the backbone learns from, and its byte-level BPE tokenizer.

Three kinds of lines, each a group of the pretraining mix:
  captions  the training captions: "a red seven on a blue background"
  notes     the words of a caption, repeated at random, then the caption: "notes: red blue seven two seven -> a red …".
            Learning to read them lets new rows merely imitate words in stage 3. The notes themselves are random and
            teach nothing, so that only the caption carries the loss.
  docs      lines of prose that scikit-learn ships: its data-set descriptions and what its modules say of themselves.
            As many as this, since a few hundred would be learnt by heart where stage 4 replays them.
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from harness.files import write_jsonl
from harness.token_space import TokenSpace
from training.batches import labels_of_sequence, text_sequence
from training.demo.data import MediaItem, caption_items
from training.recipe import NotedSpan, Recipe, TextRecipe
from training.sequences import TrainSequence

DOCUMENTS = ("iris", "digits", "wine", "breast_cancer", "diabetes", "linnerud")
DOCUMENTED = ("cluster", "decomposition", "ensemble", "linear_model", "preprocessing")
_SHORTEST_LINE = 20  # characters; shorter ones are rules and headings
_LEAST_PROSE = 0.95  # share of letters, spaces and , . '; signatures, formulas and nearly all code have less


@dataclass(frozen=True)
class Line:
    """One line of text, and what stands before it without carrying a loss."""

    text: str
    before: str = ""


def text_corpus(recipe: Recipe) -> dict[str, list[Line]]:
    """Group to lines; nothing in it comes from a held-out combination or a held-out description line."""
    train = [item for item in caption_items(recipe.media) if item.split == "train"]
    lines = description_lines()
    return {
        "captions": [Line(caption) for caption in sorted({item.caption for item in train})],
        "notes": notes_lines(train, recipe.text, np.random.default_rng([recipe.seed, 1])),
        "docs": [Line(line) for i, line in enumerate(lines) if i % recipe.text.eval_every],
    }


def description_lines() -> list[str]:
    """The distinct lines of scikit-learn's data-set descriptions, and of prose in its docstrings, in order."""
    from sklearn import datasets

    described = [getattr(datasets, f"load_{name}")().DESCR for name in DOCUMENTS]
    documented = [line for name in DOCUMENTED for line in _lines_of(_docstrings(f"sklearn.{name}")) if _is_prose(line)]
    return list(dict.fromkeys([*_lines_of(described), *documented]))


def _docstrings(module: str) -> list[str]:
    public = import_module(module)
    return [inspect.getdoc(getattr(public, name)) or "" for name in sorted(public.__all__)]


def _lines_of(texts: Iterable[str]) -> list[str]:
    lines = [" ".join(line.split()) for text in texts for line in text.splitlines()]
    return [line for line in lines if len(line) > _SHORTEST_LINE]


def _is_prose(line: str) -> bool:
    return sum(each.isalpha() or each in " ,.'" for each in line) >= _LEAST_PROSE * len(line)


def notes_lines(items: Sequence[MediaItem], recipe: TextRecipe, rng: np.random.Generator) -> list[Line]:
    """As many lines of each modality, over its distinct captions in turn."""
    words = _words(items)
    lines = []
    for modality in sorted({item.modality for item in items}):
        distinct = list({item.caption: item for item in items if item.modality == modality}.values())
        lines += [_notes_line(distinct[i % len(distinct)], words, recipe, rng) for i in range(recipe.notes_lines)]
    return lines


def _notes_line(item: MediaItem, words: dict[str, list[str]], recipe: TextRecipe, rng: np.random.Generator) -> Line:
    written = []
    for span in recipe.noted:
        if set(span.attributes) <= set(item.attributes):
            length = int(rng.integers(span.least, span.most + 1))
            written += [_noted_word(span, item, words, rng) for _ in range(length)]
    return Line(item.caption, before=f"notes: {' '.join(written)} ->")


def _noted_word(span: NotedSpan, item: MediaItem, words: dict[str, list[str]], rng: np.random.Generator) -> str:
    if rng.random() < span.noise:
        return str(rng.choice(words[str(rng.choice(span.wrong_from))]))
    return item.attributes[str(rng.choice(span.attributes))]


def _words(items: Sequence[MediaItem]) -> dict[str, list[str]]:
    """Every word of each attribute, sorted: sets have no order to be seeded."""
    words: dict[str, set[str]] = {}
    for item in items:
        for attribute, word in item.attributes.items():
            words.setdefault(attribute, set()).add(word)
    return {attribute: sorted(found) for attribute, found in words.items()}


def train_tokenizer(lines: Iterable[Line], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer; it has no special tokens, and can write any text."""
    tokenizer = Tokenizer(models.BPE())
    # Cut at spaces alone, so that a word as frequent as C#4 becomes one token, and not three.
    words = pre_tokenizers.Split(Regex(r" ?[^ ]+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((f"{line.before} {line.text}".strip() for line in lines), trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, pad_token: str | None = None) -> None:
    """Write a Hugging Face tokenizer folder."""
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad_token).save_pretrained(folder)


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face folder."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def with_specials(tokenizer: Tokenizer, space: TokenSpace) -> Tokenizer:
    """A copy of a base tokenizer that also knows the token space's specials, at exactly the token space's ids.

    Raises:
        ValueError: the base tokenizer already holds ids at or beyond the first special.
    """
    extended = Tokenizer.from_str(tokenizer.to_str())
    next_id = extended.get_vocab_size()
    for name, token_id in sorted(space.special_tokens.items(), key=lambda item: item[1]):
        # A tokenizer numbers what is added one after the other, so that gaps must be filled.
        extended.add_special_tokens([f"<|unused_{gap}|>" for gap in range(next_id, token_id)])
        extended.add_special_tokens([name])
        if extended.token_to_id(name) != token_id:
            raise ValueError(f"{name} became id {extended.token_to_id(name)}; the token space says {token_id}")
        next_id = token_id + 1
    return extended


def write_text_eval(path: Path, tokenizer: Tokenizer, recipe: Recipe) -> None:
    """Write text_eval.jsonl: the held-out description lines and captions of held-out combinations, text and ids."""
    lines = [line for i, line in enumerate(description_lines()) if i % recipe.text.eval_every == 0]
    held_out = sorted({item.caption for item in caption_items(recipe.media) if item.split == "golden"})
    step = max(1, len(held_out) // recipe.text.eval_captions)
    named = [
        *(("docs", f"docs-{i:04d}", line) for i, line in enumerate(lines)),
        *(
            ("captions", f"captions-{i:04d}", line)
            for i, line in enumerate(held_out[::step][: recipe.text.eval_captions])
        ),
    ]
    rows = (
        {"id": name, "source": source, "text": text, "input_ids": tokenizer.encode(text).ids}
        for source, name, text in named
    )
    write_jsonl(path, rows)


def write_text_replay(path: Path, tokenizer: Tokenizer, recipe: Recipe) -> None:
    """Write the text that stages 3 and 4 replay: lines of all groups, in the proportions of `replay_mix`."""
    corpus, rng = text_corpus(recipe), np.random.default_rng([recipe.seed, 3])
    largest = max(len(lines) for lines in corpus.values())
    rows = []
    for group, share in recipe.text.replay_mix.items():
        lines = line_sequences(tokenizer, corpus[group], recipe.text)
        for i in rng.integers(len(lines), size=round(share * largest)):
            rows.append({"input_ids": lines[i].ids.tolist(), "labels": labels_of_sequence(lines[i]).tolist()})
    write_jsonl(path, rows)


def line_sequences(tokenizer: Tokenizer, lines: Sequence[Line], recipe: TextRecipe) -> list[TrainSequence]:
    """Each training line as a sequence with its labels on `text`, which is cut to `max_tokens`."""
    # Apart, so that a caption is the same ids after notes, after a medium, and on its own.
    before = tokenizer.encode_batch([line.before for line in lines])
    texts = tokenizer.encode_batch([line.text for line in lines])
    return [
        text_sequence(np.array(text.ids[: recipe.max_tokens]), np.array(head.ids, dtype=np.int64))
        for head, text in zip(before, texts, strict=True)
    ]
