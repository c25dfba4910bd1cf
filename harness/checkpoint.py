"""A checkpoint under measurement: every figure that gates ask for, measured when first asked and kept as evidence."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from harness import decoding
from harness.ablation import Ablation, ablate
from harness.adapter_effect import adapter_effect
from harness.bundle import Bundle, Decoding, joint_sha256
from harness.codecs.registry import load_audio_codec, load_image_codec
from harness.compliance import Compliance, count_compliance
from harness.conditions import media_conditions, prompt_conditions
from harness.errors import EvidenceError, ExampleError
from harness.evidence import Arrays, EvidenceStore
from harness.examples import TASKS, Example, Task, read_examples, regions
from harness.files import read_json, tree_sha256
from harness.generation import Prompt, Sampling, expected_length, generate
from harness.held_out import HeldOutAudit, audit_held_out
from harness.identity import IdentityAudit, audit_identity
from harness.model import load_model, resolve_device
from harness.parameters import ParameterAudit, audit_parameters
from harness.progress import Listener, silent
from harness.rows import RowsAudit, audit_rows
from harness.scorer import Scorer
from harness.settings import Settings

# Part of every evidence key: a change of what is measured, or how, makes old evidence unusable.
MEASUREMENT_VERSION = 2


@dataclass(frozen=True)
class Generations:
    """What the checkpoint wrote for the golden prompts of one task."""

    task: Task
    decoding: Decoding
    examples: tuple[Example, ...]
    sequences: tuple[np.ndarray, ...]
    expected: tuple[int, ...]
    compliance: Compliance


class Checkpoint:
    """The measuring side of a gate run. Nothing here judges."""

    def __init__(self, bundle: Bundle, settings: Settings, listener: Listener = silent) -> None:
        self.bundle, self.settings, self.listener = bundle, settings, listener
        self.evidence = EvidenceStore(settings.out / "evidence", reuse=settings.reuse_evidence)
        self._read: dict[str, list[Example]] = {}  # golden, dev: parsed once, asked for by every gate and task

    # ------------------------------------------------------------------ what is judged

    @cached_property
    def device(self) -> str:
        """The torch device in use."""
        return resolve_device(self.settings.device)

    @cached_property
    def sha256(self) -> str:
        """Identity of the checkpoint."""
        return self.bundle.sha256()

    @cached_property
    def weights_sha256(self) -> str:
        """Digest of everything that the model's numbers depend on: the checkpoint and its base."""
        parts = {"checkpoint": self.sha256}
        # A whole model stands alone, unless an adapter lies beside it: whether that is merged, the base tells.
        if self.bundle.form != "whole" or {"lora", "base"} <= self.bundle.inputs.keys():
            parts["base"] = tree_sha256(self.bundle.input("base"), (".safetensors", ".json"))
        return joint_sha256(parts)

    @cached_property
    def model(self) -> Any:
        """The model, loaded when first needed."""
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self.listener("loading the model", 0, 1, 0.0)
        model = load_model(self.bundle, device=self.device, dtype=self.settings.dtype)
        self.listener("loading the model", 1, 1, 0.0)
        return model

    @cached_property
    def scorer(self) -> Scorer:
        """Scores sequences with the model, or finds that they were scored before."""
        return Scorer(
            model=lambda: self.model,
            provenance=self._measured_on(),
            evidence=self.evidence,
            space=self.bundle.space,
            dtype=self.settings.dtype,
            batch_tokens=self.settings.batch_tokens,
            listener=self.listener,
        )

    # ------------------------------------------------------------------ examples

    def golden(self, task: Task, limit: int | None = None) -> list[Example]:
        """The first golden examples of a task, all of them without a limit.

        Raises:
            ExampleError: there are none.
        """
        return self._capped(self._examples("golden", task), limit)

    def golden_and_dev(self, task: Task, at_least: int) -> tuple[list[Example], int]:
        """All golden examples of a task, topped up from dev to `at_least`; and how many came from dev."""
        golden = self._examples("golden", task)
        dev: list[Example] = []
        if len(golden) < at_least and "dev" in self.bundle.inputs:
            known = {example.id for example in golden}
            dev = [e for e in self._examples("dev", task, required=False) if e.id not in known]
        examples = self._capped([*golden, *dev[: at_least - len(golden)]], None)
        return examples, max(0, len(examples) - len(golden))

    # ------------------------------------------------------------------ measurements

    def identity(self) -> IdentityAudit:
        """The token spaces that shards, parent and examples declare, and what shards and tokenizer make of this one."""
        return audit_identity(self.bundle)

    def parameters(self) -> ParameterAudit:
        """What differs from the base."""
        return audit_parameters(self.bundle)

    def new_rows(self) -> RowsAudit:
        """What became of the new rows."""
        return audit_rows(self.bundle)

    def adapter_effect(self, n_examples: int) -> np.ndarray:
        """The largest change of a logit by the adapter, over the first golden examples of every task, (N,)."""
        examples = [e for task in TASKS for e in self._examples("golden", task, required=False)[:n_examples]]
        provenance = self._provenance("adapter-effect", examples)
        options = {"device": self.device, "dtype": self.settings.dtype}
        return self.evidence.get(
            provenance,
            lambda: {"changes": adapter_effect(self.bundle, self.model, examples, **options)},
        )["changes"]

    def held_out(self) -> HeldOutAudit:
        """What golden and dev examples share with what was trained on."""
        return audit_held_out(self.bundle, self.listener)

    def prompt_ablation(self, task: Task, at_least: int) -> Ablation:
        """A write task's losses under its own, another's and no prompt."""
        return self._ablation(task, at_least, prompt_conditions)

    def media_ablation(self, task: Task, at_least: int) -> Ablation:
        """A read task's losses under its own, shuffled, swapped, noise and constant media."""
        return self._ablation(task, at_least, media_conditions)

    def generations(self, task: Task, n_examples: int, how: Decoding) -> Generations:
        """What the checkpoint writes for the first golden prompts of a task."""
        examples = self.golden(task, n_examples)
        expected = [self._expected(example) for example in examples]
        sampling = self._sampling()
        provenance = self._provenance(
            f"generate-{task}-{how}", examples, decoding=how, sampling=vars(sampling), expected=expected
        )
        arrays = self.evidence.get(provenance, lambda: self._generate(task, examples, expected, how, sampling))
        sequences = tuple(np.split(arrays["ids"], arrays["ends"][:-1])) if len(examples) else ()
        compliance = count_compliance(sequences, expected, examples[0].modality, self.bundle.space)
        return Generations(task, how, tuple(examples), sequences, tuple(expected), compliance)

    def decoded(self, generations: Generations, folder: str) -> list[decoding.Decoded]:
        """Decode what was generated, into files below the output folder."""
        return self._decode(generations.examples, generations.sequences, folder)

    def references(self, examples: Sequence[Example], folder: str) -> list[decoding.Decoded]:
        """Decode the golden media themselves, to be looked at beside what was generated."""
        spans = [example.input_ids[regions(example, self.bundle.space).media] for example in examples]
        return self._decode(examples, spans, folder)

    def rng(self, *purpose: str) -> np.random.Generator:
        """A generator for one purpose, the same in every run with this seed."""
        digest = hashlib.sha256("/".join(purpose).encode()).digest()
        return np.random.default_rng([self.settings.seed, *np.frombuffer(digest[:16], dtype=np.uint32)])

    # ------------------------------------------------------------------ steps

    def _examples(self, name: str, task: Task, *, required: bool = True) -> list[Example]:
        path = self.bundle.input(name)
        if name not in self._read:
            self._read[name] = read_examples(path, self.bundle.space)
        examples = [example for example in self._read[name] if example.task == task]
        if required and not examples:
            raise ExampleError(path, f"no {task} example", "at least one", f"Add {task} examples to the {name} set.")
        return examples

    def _capped(self, examples: list[Example], limit: int | None) -> list[Example]:
        caps = [cap for cap in (limit, self.settings.max_examples) if cap is not None]
        return examples[: min(caps)] if caps else examples

    def _ablation(self, task: Task, at_least: int, make: Any) -> Ablation:
        examples, from_dev = self.golden_and_dev(task, at_least)
        conditions = make(examples, self.bundle.space, self.rng("ablation", task))
        return ablate(task, examples, from_dev, conditions, self.scorer, self.bundle.space)

    def _generate(
        self, task: Task, examples: list[Example], expected: list[int], how: Decoding, sampling: Sampling
    ) -> Arrays:
        prompts = []
        for number, (example, length) in enumerate(zip(examples, expected, strict=True)):
            start = regions(example, self.bundle.space).content.start
            seed = int(self.rng("generate", task, str(number)).integers(2**31))
            prompts.append(Prompt(example.input_ids[:start], length, seed))
        sequences = generate(
            self.model,
            prompts,
            examples[0].modality,
            self.bundle.space,
            decoding=how,
            sampling=sampling,
            batch_tokens=self.settings.batch_tokens,
            listener=self.listener,
            label=f"{task}: writing, {how}",
        )
        return {"ids": np.concatenate(sequences), "ends": np.cumsum([len(ids) for ids in sequences])}

    def _decode(
        self, examples: Sequence[Example], sequences: Sequence[np.ndarray], folder: str
    ) -> list[decoding.Decoded]:
        space, codecs = self.bundle.space, self.bundle.input("codecs")
        target = self.settings.out / folder
        if examples[0].modality == "image":
            return decoding.decode_images(examples, sequences, load_image_codec(space, codecs), space, target)
        return decoding.decode_sounds(examples, sequences, load_audio_codec(space, codecs), space, target)

    def _expected(self, example: Example) -> int:
        length = expected_length(example.meta, example.modality)
        if length is None:
            raise EvidenceError(
                f"golden example {example.id}",
                f"a meta without the length of its media ({sorted(example.meta)})",
                "n_tokens, or n_frames and n_codebooks",
                "Add image_meta or audio_meta to the golden set: lengths must come from each example, not one maximum.",
            )
        return length

    def _sampling(self) -> Sampling:
        file = self.bundle.path / "generation_config.json"
        config = read_json(file) if file.is_file() else {}
        if not config.get("do_sample"):
            return Sampling()
        return Sampling(
            do_sample=True,
            temperature=float(config.get("temperature") or 1.0),
            top_k=int(config.get("top_k") or 0),
            top_p=float(config.get("top_p") or 1.0),
        )

    def _measured_on(self) -> dict[str, Any]:
        """What every figure depends on beside its own inputs."""
        return {
            "version": MEASUREMENT_VERSION,
            "weights_sha256": self.weights_sha256,
            "token_space_sha256": self.bundle.space.sha256,
            "device": self.device,
            "dtype": self.settings.dtype,
        }

    def _provenance(self, measurement: str, examples: Sequence[Example], **parameters: Any) -> dict[str, Any]:
        content = hashlib.sha256()
        for example in examples:
            content.update(len(example.input_ids).to_bytes(8, "little") + example.input_ids.tobytes())
        return self._measured_on() | {
            "measurement": measurement,
            "data_sha256": content.hexdigest(),
            "n": len(examples),
            "seed": self.settings.seed,
            "parameters": parameters,
        }
