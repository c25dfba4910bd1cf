"""Which inputs the gates of a stage need, why, and which option supplies each."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """One input.

    Attributes:
        name: as in bundle.json.
        metavar: of its option.
        what: what it is.
        required: for which stages a P0 gate cannot run without it.
        gates: stage to the gates that use it.
    """

    name: str
    metavar: str
    what: str
    required: tuple[int, ...]
    gates: dict[int, str]

    @property
    def option(self) -> str:
        """The option that supplies it: `--text-eval FILE`."""
        return f"--{self.name.replace('_', '-')} {self.metavar}"


NEEDS = (
    Need("base", "DIR", "the model as it was before training, as safetensors", (3, 4), {
        3: "S3.0, S3.3 and every gate that runs the model", 4: "P0.0, P0.5 and every gate that runs the model"}),
    Need("lora", "DIR", "the PEFT adapter", (4,), {4: "P0.0, P0.5 and every gate that runs the model"}),
    Need("shards", "DIR", "the Stage 2 shards", (3, 4), {3: "S3.1, S3.7", 4: "P0.1, P0.6"}),
    Need("golden", "FILE|DIR", "the golden examples", (3, 4), {3: "S3.1, S3.4, S3.7", 4: "P0.1 to P0.4, P0.6"}),
    Need("codecs", "DIR", "the codecs' weights, in image/ and audio/", (4,), {4: "P0.3, P1.3"}),
    Need("text_eval", "FILE", "text-only examples", (3,), {3: "S3.5", 4: "P1.4"}),
    Need("parent", "DIR", "the checkpoint that training began from", (), {
        3: "S3.2 (the untrained one)", 4: "P0.1, what moved since"}),
    Need("dev", "FILE", "further held-out examples", (), {
        3: "S3.4, where golden has too few", 4: "P0.4, where golden has too few"}),
    Need("train_log", "FILE", "the training log", (), {3: "S3.6", 4: "P1.5"}),
)  # fmt: skip


def missing(stage: int, form: str, present: Collection[str]) -> list[Need]:
    """The needs of a stage that nothing supplies, the required ones first.

    Args:
        stage: 3 or 4.
        form: of the checkpoint: `rows`, `whole` or `adapter`.
        present: names of the inputs that are there.
    """
    absent = [need for need in NEEDS if stage in need.gates and need.name not in present]
    # Only rows are kept apart from their adapter. A whole model carries its base; a fingerprint proves what moved.
    if form != "rows":
        absent = [need for need in absent if need.name != "lora"]
    if form == "whole" and "base_fingerprint" in present:
        absent = [need for need in absent if need.name != "base"]
    return sorted(absent, key=lambda need: stage not in need.required)
