"""transformers' Trainer over the plan of a run: its loop, processes, resume and trackers, with our loss and data.

What is overridden here, and why:
  get_train_dataloader     the plan's forwards, dealt out to the processes
  _get_num_items_in_batch  a step is normalised by the weights of its sequences, over all forwards and processes
  compute_loss             so that 4 x accumulation, or 2 processes, give the gradient of one large batch
  create_optimizer         a rate for rows, another for the adapter
  create_scheduler         the rate's course as training/schedule.py has it
  log                      losses by task and norms beside what the Trainer logs; train_log.jsonl
  evaluate                 the gates' own measurements on the dev slice
  _save, _load_from_checkpoint  the trained tensors alone, and a checkpoint bundle
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from training.batches import Collator
from training.config import OptimConfig
from training.log import TrainLog, check_finite, norms
from training.mix import ForwardSampler, Plan
from training.rows import tables_of
from training.schedule import share_of_peak
from training.trainee import Trainee

TRAINED = "trained.safetensors"  # in the Trainer's own checkpoints, from which a run resumes


@dataclass(frozen=True)
class Hooks:
    """What a run does at the Trainer's stations.

    Attributes:
        evaluate: measures the model at a step; returns keys of the log.
        save: writes the checkpoint of a step, from the trained tensors by name; called in the main process.
    """

    evaluate: Callable[[int], dict[str, float]]
    save: Callable[[int, dict[str, Tensor]], None]


class StageTrainer(Trainer):
    """Trains a Trainee on a plan.

    Args:
        trainee: the module to train.
        args: the Trainer's own arguments.
        plan: which sequences every step holds.
        collator: makes tensors of them.
        optim: rates and their course.
        train_log: where the log goes.
        hooks: evaluation and saving.
    """

    optimizer: Any
    lr_scheduler: Any
    control: Any

    def __init__(
        self, trainee: Trainee, args: TrainingArguments, *, plan: Plan, collator: Collator, optim: OptimConfig,
        train_log: TrainLog, hooks: Hooks, **more: Any,
    ) -> None:  # fmt: skip
        self.plan, self.optim, self.train_log, self.hooks = plan, optim, train_log, hooks
        self._sums = torch.zeros(2, len(collator.tasks), dtype=torch.float64)  # losses, and how many, by task
        # An evaluation set is asked for by the Trainer, and not used: `evaluate` measures the dev slice.
        super().__init__(
            model=trainee, args=args, data_collator=collator, train_dataset=plan.sequences, eval_dataset=plan.sequences,
            **more,
        )  # fmt: skip
        self.collator = collator
        # compute_loss divides by the whole step's weights itself.
        self.loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The plan's forwards; accelerate gives each process every n-th of them."""
        sequences: Any = self.plan.sequences  # a mapping of draws to sequences, which is all that a loader asks for
        loader: DataLoader[Any] = DataLoader(
            sequences, batch_sampler=ForwardSampler(self.plan), collate_fn=self.collator,
            num_workers=self.args.dataloader_num_workers, pin_memory=self.args.dataloader_pin_memory,
        )  # fmt: skip
        return self.accelerator.prepare(loader)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor | None:
        """The weights of all sequences of the step, of all processes."""
        if not batch_samples:
            return None
        total = torch.stack([batch["weights"].sum() for batch in batch_samples]).sum().to(device)
        return self.accelerator.gather(total).sum() if self.args.world_size > 1 else total

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:  # fmt: skip
        """This forward's part of the step's loss: sum of weight x mean nll, over the weights of the whole step."""
        tasks = inputs["tasks"]
        outputs = model(**{name: inputs[name] for name in ("input_ids", "labels", "weights")})
        self._note(tasks, outputs["nll"])
        if num_items_in_batch is None:
            num_items_in_batch = inputs["weights"].sum()
        # DDP, FSDP and ZeRO average gradients over the processes; the step's weights are those of all of them.
        loss = outputs["loss"] / num_items_in_batch * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Rows and adapter as groups of their own; nothing else is given to the optimiser."""
        if self.optimizer is None:
            kind, settings = Trainer.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups: dict[str, list[Tensor]] = {"lora": [], "rows": []}
            for name, parameter in (model or self.model).named_parameters():
                if parameter.requires_grad:
                    groups["lora" if ".lora_" in name else "rows"].append(parameter)
            rates = {"lora": self.optim.lr_lora, "rows": self.optim.lr_rows}
            self.optimizer = kind(
                [
                    {"params": members, "lr": rates[name], "weight_decay": self.args.weight_decay, "name": name}
                    for name, members in groups.items()
                    if members
                ],
                **settings,
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002 - as the plan's
        """The rate's course."""
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self._share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_learning_rate(self) -> float:
        """The rate of the rows, which are the last group."""
        return float(self.optimizer.param_groups[-1]["lr"])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's figures, with those of the tasks and tables where a step is logged; also to train_log.jsonl."""
        if "loss" in logs:
            logs |= self._window() | norms(*tables_of(self.accelerator.unwrap_model(self.model).model))
            line = {"loss_mean": logs["loss"], **{key: logs[key] for key in logs if key not in ("loss", "epoch")}}
            line["lr"] = line.pop("learning_rate")
            if len(self.optimizer.param_groups) > 1:
                line["lr_lora"] = self.optim.lr_lora * self._share(self.state.global_step - 1)
            self._append(line)
        super().log(logs, start_time)

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Measure the dev slice; the figures go to train_log.jsonl and, as eval_*, to the trackers."""
        measured = self.hooks.evaluate(self.state.global_step)
        self._append(measured)
        metrics = {f"eval_{name}": value for name, value in measured.items()}
        super().log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """The trained tensors, to resume from, and the bundle."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = self.accelerator.unwrap_model(self.model).trained_state(state_dict)
        save_file(trained, folder / TRAINED)
        self.hooks.save(self.state.global_step, trained)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trained = load_file(Path(resume_from_checkpoint) / TRAINED)
        if self.is_fsdp_enabled:
            from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

            whole = StateDictOptions(full_state_dict=True, strict=False)
            set_model_state_dict(model or self.model, trained, options=whole)
        else:
            self.accelerator.unwrap_model(model or self.model).load_trained_state(trained)

    def _share(self, step: int) -> float:
        """Share of the peak rates at a step counted from 0."""
        optim = self.optim
        return share_of_peak(
            optim.schedule, step, max_steps=self.plan.n_steps, warmup_steps=optim.warmup_steps, floor=optim.floor
        )

    def _note(self, tasks: Tensor, nll: Tensor) -> None:
        """Add to the window's sums, on the device: reading a number back would wait for the device."""
        self._sums = self._sums.to(nll.device)
        self._sums[0].index_add_(0, tasks, nll.double())
        self._sums[1].index_add_(0, tasks, torch.ones_like(nll, dtype=torch.float64))

    def _window(self) -> dict[str, float]:
        """The mean loss of each task since the line before, over all processes; starts the next window."""
        sums = self.accelerator.reduce(self._sums, reduction="sum").cpu()
        self._sums = torch.zeros_like(self._sums)
        means = {}
        for task, total, n in zip(self.collator.tasks, *sums.tolist(), strict=True):
            if n:
                means[f"{task}_avg"] = total / n
        return means

    def _append(self, line: dict[str, float]) -> None:
        check_finite(self.state.global_step, line, "training")  # in every process, so that none waits for the others
        if self.is_world_process_zero():
            self.train_log.append(self.state.global_step, line)
