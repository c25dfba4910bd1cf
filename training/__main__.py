"""Train the demo: python -m training STEP… [--runs runs/demo] [--recipe demo|small]

    python -m training demo      everything, what can run beside each other on two cores beside each other
    python -m training codecs    pictures, notes, and the two codecs trained on them
    python -m training base      text corpus, tokenizer, and the text backbone
    python -m training shards    Stage 2: token space, Parquet shards, train, eval, dev and golden examples
    python -m training surgery   new rows for the token space: the untrained checkpoint
    python -m training stage3    rows only, reading:        stage3/checkpoint_<step>
    python -m training stage4    LoRA and rows, writing:    stage4/checkpoint_<step>
    python -m training judge     how often the last checkpoint writes what it was asked for, by judges of the real data

A step first runs what it needs, and does nothing where its stamp shows that nothing has changed.
"""

import argparse
import os
import sys
from pathlib import Path

# Before transformers is imported: training must not depend on what a hub serves today, and its bars for loading a
# model of one megabyte hide the progress that matters.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    from harness.errors import HarnessError
    from training.pipeline import COMMANDS, JUDGE, NEEDS, run_commands
    from training.recipe import RECIPES

    parser = argparse.ArgumentParser(
        "python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "steps",
        nargs="+",
        metavar="STEP",
        choices=[*COMMANDS, *NEEDS, JUDGE],
        help=f"one of {', '.join([*COMMANDS, *NEEDS, JUDGE])}",
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/demo"), metavar="DIR", help="the run's folder (default: %(default)s)"
    )
    parser.add_argument(
        "--recipe",
        choices=sorted(RECIPES),
        default="demo",
        help="demo: passes the gates; small: a smaller one, for tests (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of torch, instead of each step's own 1 or 2; other threads, other rounding",
    )
    options = parser.parse_args(arguments)
    try:
        run_commands(options.runs, RECIPES[options.recipe], options.steps, options.threads)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the step that was under way", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
