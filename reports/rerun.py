"""The command that runs one gate again: the run's own, with the gate's file in the place of the stage's folder."""

import re
import shlex

# Options that choose tests, or ask for workers: with one gate they are in the way.
_DROPPED_WITH_VALUE = {
    "-k", "-m", "-n", "--deselect", "--maxfail", "--numprocesses", "--dist", "--junitxml", "--junit-xml",
}  # fmt: skip
_DROPPED = re.compile(r"-x|--exitfirst|--lf|--last-failed|--ff|--failed-first|--sw|--stepwise|-n(\d+|auto|logical)")
# Options whose value is a path, which may look like the gates' own folder.
_WITH_PATH = {
    "--ckpt", "--base", "--lora", "--shards", "--golden", "--dev", "--text-eval", "--train-log", "--codecs",
    "--thresholds", "--out", "--cache",
}  # fmt: skip


def command_of_gate(command: str, stage: str, gate_id: str, gate_name: str) -> str:
    """The run's command narrowed to one gate; as it was where the stage's folder is not in it.

    A gate's file is named after its id and name: P0.4 prompt_ablation is in test_p04_prompt_ablation.py.
    """
    try:
        words = _without_choices(shlex.split(command))
    except ValueError:  # an open quote: nobody's shell has run this
        return command
    gates = re.compile(rf"((?:.*/)?gates/{stage}|{stage})(?:/test_[^/]*\.py(?:::.*)?|/)?", re.DOTALL)
    file = f"test_{re.sub('[^a-z0-9]', '', gate_id.lower())}_{gate_name}.py"
    kept, found = [], False
    for before, word in zip(["", *words], words, strict=False):
        match = None if before in _WITH_PATH else gates.fullmatch(word)
        if match is None:
            kept.append(word)
        elif not found:
            kept.append(f"{match[1]}/{file}")
        found = found or match is not None
    return shlex.join(kept) if found else command


def _without_choices(words: list[str]) -> list[str]:
    kept: list[str] = []
    value = False
    for word in words:
        dropped = value or word.split("=")[0] in _DROPPED_WITH_VALUE or _DROPPED.fullmatch(word) is not None
        value = not value and word in _DROPPED_WITH_VALUE
        if not dropped:
            kept.append(word)
    return kept
