"""What a run does on its way: audits, evaluations, the plateau rule, progress."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from tqdm import tqdm
from transformers import TrainerCallback

from harness.errors import HarnessError
from harness.training_record import Stopped
from training.audits import ParameterWatch
from training.config import RunConfig
from training.measure import DevSlice, evaluate, read_evaluations, write_evaluation
from training.plateau import Reading, read
from training.sharded import whole
from training.steps import progress


class Stations(TrainerCallback):
    """The callback of a run.

    Args:
        config: the run's.
        dev: what is measured; None for nothing.
        watch: what may move.
        evals: the folder of evaluations.
        near_zero_after: the step from which a gap near zero ends the run; -1 for never.
        base_text: the base's own losses of the plain texts; None where they are not on record.
        say: is told what a person wants to know.

    Attributes:
        stopped: why the run ended; `running` until then.
        sentence: the figures that led to it.
        trainer: set by whoever makes it.
    """

    trainer: Any

    def __init__(
        self, config: RunConfig, dev: DevSlice | None, watch: ParameterWatch, evals: Path, *, near_zero_after: int,
        base_text: np.ndarray | None, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.config, self.dev, self.watch, self.evals, self.say = config, dev, watch, evals, say
        self.near_zero_after, self.base_text = near_zero_after, base_text
        self.stopped: Stopped = "running"
        self.sentence = ""
        self._first_step = True
        self._bar: tqdm[Any] | None = None

    def evaluate(self, step: int) -> dict[str, float]:
        """Measure the model now, and keep what was found."""
        if self.dev is None:
            raise HarnessError("steps.eval_every", "0", "above 0 to evaluate", "Set it.")
        model = self.trainer.accelerator.unwrap_model(self.trainer.model).model
        with whole(self.trainer.model_wrapped):
            found = evaluate(model, self.dev, step, self.config.measure.batch_tokens)
        if self.trainer.is_world_process_zero():
            write_evaluation(self.evals, found)
        logged = found.logged()
        self.say(f"step {step}: {found.summary()}")
        return logged

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_more: Any) -> None:
        """Evaluations beyond the step that the run resumes at were of a run that came to no checkpoint."""
        if self.trainer.is_world_process_zero():
            for file in self.evals.glob("*.npz"):
                if int(file.stem) > state.global_step or state.global_step == 0:
                    file.unlink()
            self._bar = progress(state.max_steps, f"stage {self.config.stage}")
            self._bar.update(state.global_step)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_more: Any) -> None:
        """After the first step, and after the last: what moved, and what did not."""
        if self._bar is not None:
            self._bar.update()
        if self._first_step:
            self._first_step = False
            with whole(self.trainer.model_wrapped):
                self.watch.check("after its first step")
                moved = self.watch.check_moved()
            rows = ", ".join(f"{n:,} rows of {group}" for group, n in moved.items())
            self.say(f"audit: after the first step {rows} have moved, and nothing else")
        if state.global_step >= state.max_steps:
            control.should_log = True
            self._end("steps", f"all {state.max_steps} steps are done")

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: Any = None, **_more: Any) -> None:
        """Losses beside the bar."""
        if self._bar is not None and logs and "loss" in logs:
            losses = {key: value for key, value in logs.items() if key.endswith("_avg")}
            self._bar.set_postfix_str(" ".join(f"{key[:-4]} {value:.2f}" for key, value in losses.items()))

    def on_evaluate(self, _args: Any, state: Any, control: Any, **_more: Any) -> None:
        """Apply the stopping rule; the main process decides for all."""
        if state.global_step == 0:
            return
        reading: list[Any] = [None]
        if self.trainer.is_world_process_zero():
            found = read(
                read_evaluations(self.evals), self.config.stop, near_zero_after=self.near_zero_after,
                seed=self.config.seed, base_text=self.base_text,
            )  # fmt: skip
            reading = [found]
        decided: Reading = broadcast_object_list(reading)[0]
        self.say(f"step {state.global_step}: {decided.sentence}")
        if decided.reason is not None:
            self._end(decided.reason, decided.sentence)
            control.should_training_stop = control.should_save = True

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_more: Any) -> None:
        """Say how it ended."""
        if self._bar is not None:
            self._bar.close()
        self.say(f"stage {self.config.stage}: stopped at step {state.global_step} ({self.stopped}): {self.sentence}")

    def _end(self, stopped: Stopped, sentence: str) -> None:
        with whole(self.trainer.model_wrapped):
            self.watch.check("at the end")
        self.stopped, self.sentence = stopped, sentence
