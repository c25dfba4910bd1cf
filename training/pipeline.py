"""The demo's steps: what each reads and writes, in which order, and what runs beside what."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.checkpoints import Run
from training.config import RunConfig
from training.demo.data import describe_notes, describe_pictures
from training.recipe import Recipe
from training.steps import Step, claim_run, progress, run_step, why_run

# What a command stands for; the order is the one that they run in.
COMMANDS: dict[str, tuple[str, ...]] = {
    "media": ("media-pictures", "media-notes"),
    "codecs": ("media-pictures", "media-notes", "image-codec", "audio-codec"),
    "demo": ("stage4",),
}
JUDGE = "judge"  # no step: it writes nothing that another step reads, and what it measured is kept as evidence
NEEDS: dict[str, tuple[str, ...]] = {
    "media-pictures": (),
    "media-notes": (),
    "image-codec": ("media-pictures",),
    "audio-codec": ("media-notes",),
    "base": (),
    "shards": ("media-pictures", "media-notes", "image-codec", "audio-codec", "base"),
    "surgery": ("shards",),
    "stage3": ("surgery",),
    "stage4": ("stage3",),
}
# Measured: the audio codec gains little from a second thread, so two processes of one thread each finish sooner.
BRANCHES = (("audio-codec",), ("image-codec", "base"))


def run_commands(root: Path, recipe: Recipe, commands: Iterable[str], threads: int | None = None) -> None:
    """Run commands (keys of COMMANDS, or steps) and what they need, each only where it has something to do.

    Args:
        root: the run's folder.
        threads: of torch, instead of each step's own number; other threads, other rounding.
    """
    claim_run(root)
    steps = make_steps(root, recipe)
    wanted = list(commands)
    if JUDGE in wanted:
        wanted = ["demo", *wanted]  # it judges what the last step wrote
    if "demo" in wanted:
        _run_branches(root, recipe, steps)
    for name in in_order(name for name in wanted if name != JUDGE):
        _set_threads(threads or steps[name].threads)
        run_step(steps[name], _say)
    if JUDGE in wanted:
        _judge(root, recipe)


def in_order(commands: Iterable[str]) -> list[str]:
    """The steps that commands stand for, each after what it needs."""
    ordered: list[str] = []

    def add(name: str) -> None:
        for needed in NEEDS[name]:
            add(needed)
        if name not in ordered:
            ordered.append(name)

    for command in commands:
        for name in COMMANDS.get(command, (command,)):
            add(name)
    return ordered


def make_steps(root: Path, recipe: Recipe) -> dict[str, Step]:
    """Every step of a run by name."""
    media, run = root / "media", Run(root)
    pictures = (media / "pictures.npz", media / "pictures.jsonl")
    notes = (media / "notes.npz", media / "notes.jsonl")
    image, audio = run.codecs / "image", run.codecs / "audio"
    # What the captions, and so text, tokenizer and replay, depend on.
    drawn = {"media": recipe.media, "pictures_sha256": describe_pictures(recipe.media)}
    rendered = {"media": recipe.media, "notes_sha256": describe_notes(recipe.media)}
    captions = {**drawn, **rendered, "text": recipe.text, "seed": recipe.seed}
    steps = (
        _step("media-pictures", drawn, (), pictures,
              media / ".pictures.done.json", lambda: _pictures(media, recipe)),
        _step("media-notes", rendered, (), notes,
              media / ".notes.done.json", lambda: _notes(media, recipe)),
        _step("image-codec", recipe.image_codec, pictures, (image,),
              image / ".done.json", lambda: _image_codec(media, image, recipe)),
        _step("audio-codec", recipe.audio_codec, notes, (audio,),
              audio / ".done.json", lambda: _audio_codec(media, audio, recipe)),
        _step("base", {**captions, "base": recipe.base}, (), (run.base,),
              run.base / ".done.json", lambda: _base(run, recipe)),
        _step("shards", {**captions, "token_space": recipe.token_space}, (*pictures, *notes, image, audio, run.base),
              (run.shards, run.data), run.shards / ".done.json", lambda: _shards(root, recipe), threads=2),
        _step("surgery", {"surgery": recipe.surgery, "seed": recipe.seed}, (run.base, run.shards, run.data),
              (run.untrained,), root / "surgery/.done.json", lambda: _surgery(run, recipe), threads=2),
        _step("stage3", {"stage": recipe.stage3, "seed": recipe.seed}, (run.base, run.data, run.untrained),
              (root / "stage3",), root / "stage3/.done.json",
              lambda: _stage(recipe.stage3, run, root / "stage3", run.untrained, recipe.seed), threads=2),
        _step("stage4", {"stage": recipe.stage4, "seed": recipe.seed}, (run.base, run.data, root / "stage3"),
              (root / "stage4",), root / "stage4/.done.json",
              lambda: _stage(recipe.stage4, run, root / "stage4", root / "stage3", recipe.seed), threads=2),
    )  # fmt: skip
    return {step.name: step for step in steps}


def _step(
    name: str, config: object, inputs: tuple[Path, ...], outputs: tuple[Path, ...], stamp: Path,
    work: Callable[[], None], threads: int = 1,
) -> Step:  # fmt: skip
    return Step(name, config, inputs, outputs, stamp, work, threads)


def _run_branches(root: Path, recipe: Recipe, steps: dict[str, Step]) -> None:
    """Run the branches of the first phase beside each other, each in a process of one thread."""
    due = [branch for branch in BRANCHES if any(_is_due(steps, name) for name in in_order(branch))]
    if len(due) < len(BRANCHES) or (os.cpu_count() or 1) < len(BRANCHES):
        return  # nothing to run beside each other: the steps that are due run one by one
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRAINING_PLAIN_PROGRESS": "1"}
    children = [
        subprocess.Popen(_command(root, recipe, branch), env=environment)  # its own modules, by this interpreter
        for branch in due
    ]
    _wait_for_all(children, due)


def _command(root: Path, recipe: Recipe, names: Sequence[str]) -> list[str]:
    options = ["--runs", str(root), "--recipe", recipe.name, "--threads", "1"]
    return [sys.executable, "-m", "training", "demo", *names, *options]


def _wait_for_all(children: list["subprocess.Popen[bytes]"], branches: Sequence[Sequence[str]]) -> None:
    """Wait for every child; as soon as one fails, end the others and fail too."""
    running = dict(zip(children, branches, strict=True))
    try:
        while running:
            for child, branch in list(running.items()):
                try:
                    code = child.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
                del running[child]
                if code:
                    raise SystemExit(f"{' '.join(branch)}: failed with exit status {code}, see above")
    finally:
        for child in running:
            child.terminate()
            child.wait()


def _is_due(steps: dict[str, Step], name: str) -> bool:
    step = steps[name]
    return any(not path.exists() for path in step.inputs) or why_run(step) is not None


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _say(line: str) -> None:
    print(line, flush=True)


# Each step imports what it needs when it runs: a run that is up to date should not wait for transformers.


def _pictures(media: Path, recipe: Recipe) -> None:
    from training.demo.data import write_pictures

    write_pictures(media, recipe.media)


def _notes(media: Path, recipe: Recipe) -> None:
    from training.demo.data import write_notes

    with progress(1, "render notes", "note") as bar:
        write_notes(media, recipe.media, _ticks(bar))


def _image_codec(media: Path, folder: Path, recipe: Recipe) -> None:
    from training.demo.data import read_split
    from training.image_tokenizer import train_image_vq
    from training.steps import new_folder

    pixels = read_split(media, "image", "train")
    with progress(recipe.image_codec.n_steps, "image codec") as bar:
        codec = train_image_vq(pixels, recipe.image_codec, progress=lambda done: _tick(bar, done.reconstruction_loss))
    with new_folder(folder) as fresh:
        codec.save(fresh)


def _audio_codec(media: Path, folder: Path, recipe: Recipe) -> None:
    from training.audio_codec import train_audio_codec
    from training.demo.data import read_split
    from training.steps import new_folder

    clips = read_split(media, "audio", "train")
    with progress(recipe.audio_codec.n_steps, "audio codec") as bar:
        codec = train_audio_codec(clips, recipe.audio_codec, progress=lambda _done, _all, loss: _tick(bar, loss))
    with new_folder(folder) as fresh:
        codec.save(fresh)


def _base(run: Run, recipe: Recipe) -> None:
    from training.base import run_base

    run_base(run.base, recipe)


def _shards(root: Path, recipe: Recipe) -> None:
    from training.tokenise import write_stage2

    write_stage2(root, recipe, _say)


def _surgery(run: Run, recipe: Recipe) -> None:
    from training.surgery import run_surgery

    run_surgery(run.untrained, run.shards, run.pointers, recipe.surgery)


def _stage(config: RunConfig, run: Run, out: Path, parent: Path, seed: int) -> None:
    """One stage on the run's own data; it goes on where it was interrupted."""
    from training.claim import can_go_on
    from training.run import run_stage
    from training.steps import clear_folder

    data = replace(
        config.data, parent=str(parent), train=str(run.data / "train.jsonl"), text=str(run.data / "text_train.jsonl")
    )
    mine = replace(config, out=str(out), data=data, seed=seed)
    if not can_go_on(mine):
        clear_folder(out)  # an earlier run's checkpoints would pass for this one's
    run_stage(mine, _say)


def _judge(root: Path, recipe: Recipe) -> None:
    from training.demo.evaluate import evaluate, lines

    _say("\n".join(lines(evaluate(root, recipe))))


def _tick(bar: "tqdm[Any]", loss: float) -> None:
    bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
    bar.update()


def _ticks(bar: "tqdm[Any]") -> Callable[[int, int], None]:
    """A listener of (done, in all) for a bar whose total is not known beforehand."""

    def tick(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return tick
