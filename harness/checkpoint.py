"""A checkpoint under measurement: every figure that gates ask for, measured when first asked and kept as evidence."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from harness import decoding
from harness.ablation import Ablation, ablate, joined
from harness.bundle import CHECKPOINT_SUFFIXES, Bundle, Decoding, joint_sha256
from harness.compliance import count_compliance
from harness.conditions import media_conditions, prompt_conditions
from harness.decoder import Decoder
from harness.device import resolve_device
from harness.dynamics_losses import MeasuredLoss, measure_loss
from harness.evidence import Arrays, EvidenceStore
from harness.example_sets import ExampleSets
from harness.examples import TASKS, Example, Task, regions
from harness.files import tree_sha256
from harness.held_out import HeldOutAudit, audit_held_out
from harness.identity import IdentityAudit, audit_identity
from harness.looks import Looks
from harness.nearest import NearestPrompt, measure_nearest
from harness.outputs.figures import Outputs, measure_beside_real
from harness.parameters import ParameterAudit, audit_parameters
from harness.progress import Listener, silent
from harness.retrieval import Retrieval, retrieve
from harness.rows import RowsAudit, audit_rows
from harness.sampling import read_sampling
from harness.scorer import Scorer
from harness.settings import Settings
from harness.text_eval import TextEval, TextExample, read_text_eval
from harness.text_regression import TextLogitGap, TextRegression, measure_text
from harness.train_log import TrainLog, read_train_log
from harness.training_record import RECORD_NAME
from harness.words import prompt_words
from harness.written import Generations, expected_ids, write

# Part of every evidence key: a change of what is measured, or how, makes old evidence unusable.
MEASUREMENT_VERSION = 3
# Where things lie, and how training went: what of it matters to a figure is in that figure's own key.
_NO_WEIGHTS = ("bundle.json", RECORD_NAME)


def spread(examples: tuple[TextExample, ...], limit: int | None) -> tuple[TextExample, ...]:
    """Some of the texts, from the first to the last: files are sorted by source, and their beginning is of one."""
    if limit is None or limit >= len(examples):
        return examples
    return tuple(examples[int(i)] for i in np.linspace(0, len(examples) - 1, limit))


class Checkpoint:
    """The measuring side of a gate run. Nothing here judges.

    torch and the model are imported where something is measured: a run that finds all of its evidence needs neither.
    """

    def __init__(
        self, bundle: Bundle, settings: Settings, listener: Listener = silent, evidence: EvidenceStore | None = None
    ) -> None:
        self.bundle, self.settings, self.listener = bundle, settings, listener
        self.evidence = evidence or EvidenceStore(settings.cache, reuse=settings.reuse_evidence)
        self.examples = ExampleSets(bundle, settings.max_examples)
        self._ablated: dict[tuple[str, Task, int, int], Ablation] = {}  # conditions of a block, made once for all gates

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
        """Digest of everything that the model's numbers depend on, and of nothing that says where it lies."""
        parts = {"checkpoint": tree_sha256(self.bundle.path, CHECKPOINT_SUFFIXES, leave_out=_NO_WEIGHTS)}
        # The adapter in use by itself, even where it lies in the checkpoint: of several there, it is the one named.
        if "lora" in self.bundle.inputs:
            parts["lora"] = tree_sha256(self.bundle.input("lora"), CHECKPOINT_SUFFIXES, leave_out=_NO_WEIGHTS)
        # A whole model stands alone, unless an adapter lies beside it: whether that is merged, the base tells.
        if self.bundle.form != "whole" or {"lora", "base"} <= self.bundle.inputs.keys():
            parts["base"] = self.base_sha256
        return joint_sha256(parts)

    @cached_property
    def base_sha256(self) -> str:
        """Digest of the base."""
        return tree_sha256(self.bundle.input("base"), (".safetensors", ".json"))

    @cached_property
    def model(self) -> Any:
        """The model, loaded when first needed."""
        import torch

        from harness.model import load_model

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

    @cached_property
    def base_scorer(self) -> Scorer:
        """Scores with the base alone; what it finds serves every checkpoint over that base."""
        provenance = self._measured_on() | {"weights_sha256": self.base_sha256}
        return replace(self.scorer, model=self._load_base, provenance=provenance)

    # ------------------------------------------------------------------ examples

    @cached_property
    def text_eval(self) -> TextEval:
        """The text-only examples."""
        folders = [self.bundle.path, *([self.bundle.inputs["base"]] if "base" in self.bundle.inputs else [])]
        found = read_text_eval(self.bundle.input("text_eval"), self.bundle.space, folders)
        return replace(found, examples=spread(found.examples, self.settings.max_examples))

    def golden(self, task: Task, limit: int | None = None) -> list[Example]:
        """The first golden examples of a task, all of them without a limit."""
        return self.examples.golden(task, limit)

    def planned_looks(self, task: Task, at_least: int, further: Sequence[int]) -> Looks:
        """The looks at a task's golden and dev examples: `at_least` of them first, then as many as `further` says."""
        return self.examples.planned_looks(task, at_least, further)

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
        examples = [e for task in TASKS for e in self.examples.of("golden", task, required=False)[:n_examples]]
        provenance = self._provenance("adapter-effect", examples)

        def measure() -> Arrays:
            from harness.adapter_effect import adapter_effect

            options = {"device": self.device, "dtype": self.settings.dtype}
            return {"changes": adapter_effect(self.bundle, self.model, examples, **options)}

        return self.evidence.get(provenance, measure)["changes"]

    def held_out(self) -> HeldOutAudit:
        """What golden and dev examples share with what was trained on."""
        return audit_held_out(self.bundle, self.listener)

    def prompt_ablation(self, task: Task, at_least: int, looks: Looks | None = None) -> Ablation:
        """A write task's losses under its own, another's and no prompt.

        Args:
            task: the task.
            at_least: examples of the first look.
            looks: which looks have been taken; only the first where it is not given.
        """
        return self._ablation(task, at_least, looks, prompt_conditions)

    def media_ablation(self, task: Task, at_least: int, looks: Looks | None = None) -> Ablation:
        """A read task's losses under its own, shuffled, swapped, noise and constant media; arguments as above."""
        return self._ablation(task, at_least, looks, media_conditions)

    def text_regression(self) -> TextRegression:
        """The loss of text-only examples, and the base's."""
        return measure_text(self.bundle, self.text_eval, self.scorer, lambda: self.base_scorer)

    def text_logit_gap(self, n_examples: int) -> TextLogitGap:
        """How far the text logits lie from the base's, on the first text-only examples."""
        examples = self.text_eval.examples[:n_examples]
        provenance = self._measured_on() | {
            "measurement": "text-logits",
            "base_sha256": self.base_sha256,
            "ids_sha256": [example.ids_sha256 for example in examples],
        }

        def measure() -> Arrays:
            from harness.text_logits import text_logit_gaps

            sequences = [example.ids for example in examples]
            return text_logit_gaps(self._load_base, lambda: self.model, sequences, self.bundle.space.text_vocab_size)

        arrays = self.evidence.get(provenance, measure, "text logits")
        return TextLogitGap(examples, arrays["largest"], arrays["rows"])

    def train_log(self) -> TrainLog:
        """What was logged in training, up to the checkpoint's step."""
        return read_train_log(self.bundle.input("train_log")).up_to(self.bundle.step)

    def held_out_loss(self, task: Task, n_examples: int) -> MeasuredLoss | None:
        """The loss of a task's first dev examples, of golden ones where dev has none; None where neither has any."""
        for name in ("dev", "golden"):
            path = self.bundle.inputs.get(name)
            examples = self.examples.of(name, task, required=False) if path and path.exists() else []
            if few := examples[: min(n_examples, self.settings.max_examples or n_examples)]:
                return measure_loss(task, few, name, self.scorer, self.bundle.space)
        return None

    def nearest_prompt(self, task: Task, at_least: int) -> NearestPrompt:
        """A write task's losses under its own and the most similar other prompt, over the ablation's first look."""
        examples, _ = self.examples.golden_and_dev(task, at_least)
        folders = [self.bundle.path, *([self.bundle.inputs["base"]] if "base" in self.bundle.inputs else [])]
        words = prompt_words(examples, self.bundle.space, folders)
        return measure_nearest(task, examples, words, self.rng("nearest", task), self.scorer, self.bundle.space)

    def retrieval(self, task: Task, at_least: int) -> Retrieval:
        """How the true prompts of a write task's first examples rank among others of the ablation's first look."""
        examples, _ = self.examples.golden_and_dev(task, at_least)
        return retrieve(task, examples, self.rng("retrieval", task), self.scorer, self.bundle.space)

    def generations(self, task: Task, n_examples: int, how: Decoding) -> Generations:
        """What the checkpoint writes for the first golden prompts of a task."""
        examples = self.golden(task, n_examples)
        expected = [expected_ids(example) for example in examples]
        sampling = read_sampling(self.bundle.path)
        provenance = self._provenance(
            f"generate-{task}-{how}", examples, decoding=how, sampling=vars(sampling), expected=expected
        )

        def measure() -> Arrays:
            seeds = [int(self.rng("generate", task, str(i)).integers(2**31)) for i in range(len(examples))]
            return write(
                self.model,
                examples,
                expected,
                seeds,
                self.bundle.space,
                how=how,
                sampling=sampling,
                batch_tokens=self.settings.batch_tokens,
                listener=self.listener,
            )

        arrays = self.evidence.get(provenance, measure)
        sequences = tuple(np.split(arrays["ids"], arrays["ends"][:-1])) if len(examples) else ()
        compliance = count_compliance(sequences, expected, examples[0].modality, self.bundle.space)
        return Generations(task, how, tuple(examples), sequences, tuple(expected), compliance, sampling)

    def decoded(self, generations: Generations, folder: str) -> list[decoding.Decoded]:
        """Decode what was generated, into files below the output folder."""
        return self._decode(generations.examples, generations.sequences, folder, f"{generations.task}: decoding")

    def references(self, examples: Sequence[Example], folder: str) -> list[decoding.Decoded]:
        """Decode the golden media themselves, to be looked at beside what was generated."""
        spans = [example.input_ids[regions(example, self.bundle.space).media] for example in examples]
        return self._decode(examples, spans, folder, f"{examples[0].task}: decoding golden media", own_scales=True)

    def outputs(self, written: Generations) -> tuple[Outputs, Outputs]:
        """Figures of what was generated, and of the golden media of the same prompts through the same codec."""
        decode = Decoder(self.bundle.space, self.bundle.input("codecs"), self.evidence)
        return measure_beside_real(written.examples, written.sequences, decode)

    def rng(self, *purpose: str) -> np.random.Generator:
        """A generator for one purpose, the same in every run with this seed."""
        digest = hashlib.sha256("/".join(purpose).encode()).digest()
        return np.random.default_rng([self.settings.seed, *np.frombuffer(digest[:16], dtype=np.uint32)])

    # ------------------------------------------------------------------ steps

    def _load_base(self) -> Any:
        """The base, in the place of the checkpoint's model: one is in memory at a time, and is loaded when needed."""
        import torch

        from harness.model import load_base

        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        vars(self).pop("model", None)
        return load_base(self.bundle.input("base"), device=self.device, dtype=self.settings.dtype)

    def _ablation(self, task: Task, at_least: int, looks: Looks | None, make: Any) -> Ablation:
        """Every look adds a block of examples, which is ablated by itself: what was measured of the others stands."""
        first, _ = self.examples.golden_and_dev(task, at_least)
        sizes = looks.so_far if looks else (len(first),)
        examples, from_dev = self.examples.golden_and_dev(task, sizes[-1])
        blocks = []
        for start, stop in itertools.pairwise((0, *sizes)):
            block = make.__name__, task, start, stop
            if block not in self._ablated:
                conditions = make(examples[start:stop], self.bundle.space, self.rng("ablation", task))
                n_dev = max(0, min(stop - start, stop - (len(examples) - from_dev)))
                self._ablated[block] = ablate(
                    task, examples[start:stop], n_dev, conditions, self.scorer, self.bundle.space
                )
            blocks.append(self._ablated[block])
        return joined(blocks)

    def _decode(
        self,
        examples: Sequence[Example],
        sequences: Sequence[np.ndarray],
        folder: str,
        label: str,
        *,
        own_scales: bool = False,
    ) -> list[decoding.Decoded]:
        decode = Decoder(self.bundle.space, self.bundle.input("codecs"), self.evidence)
        samples = decode(examples, sequences, label=label, own_scales=own_scales)
        return decoding.write_media(examples, samples, self.settings.out / folder)

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
