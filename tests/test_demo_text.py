"""The demo's text: prose, more than can be learnt by heart, and none of it both replayed and judged."""

import json
from pathlib import Path

from training.recipe import SMALL
from training.text import description_lines, text_corpus, train_tokenizer, write_text_eval


def test_the_prose_is_plenty_and_hardly_any_of_it_code() -> None:
    lines = description_lines()

    assert len(lines) > 3000
    assert len(set(lines)) == len(lines)
    assert sum(">>>" in line for line in lines) < 0.002 * len(lines)


def test_no_text_is_both_learnt_and_judged(tmp_path: Path) -> None:
    corpus = text_corpus(SMALL)
    learnt = {line.text for lines in corpus.values() for line in lines}
    file = tmp_path / "text_eval.jsonl"

    write_text_eval(file, train_tokenizer(corpus["docs"], 300), SMALL)

    judged = [json.loads(line) for line in file.read_text().splitlines()]
    assert {each["source"] for each in judged} == {"docs", "captions"}
    assert learnt & {each["text"] for each in judged} == set()
    n_docs = sum(each["source"] == "docs" for each in judged)
    assert n_docs > 200
    assert n_docs + len(corpus["docs"]) == len(description_lines())
