"""All faults, and all harmless changes."""

from harness.faults import (
    harmless,
    harmless_data,
    of_bundle,
    of_codecs,
    of_curves,
    of_held_out,
    of_identity,
    of_logs,
    of_parameters,
    of_reading,
    of_rows,
    of_served,
    of_shards,
    of_text,
    of_tokenizer,
    of_writing,
)
from harness.faults.fault import Fault, Harmless
from harness.results import Stage

FAULTS: tuple[Fault, ...] = (
    *of_bundle.FAULTS, *of_identity.FAULTS, *of_shards.FAULTS, *of_tokenizer.FAULTS, *of_parameters.FAULTS,
    *of_rows.FAULTS, *of_reading.FAULTS, *of_writing.FAULTS, *of_served.FAULTS, *of_codecs.FAULTS,
    *of_held_out.FAULTS, *of_text.FAULTS, *of_logs.FAULTS, *of_curves.FAULTS,
)  # fmt: skip
HARMLESS: tuple[Harmless, ...] = (*harmless.HARMLESS, *harmless_data.HARMLESS)


def faults_of(stage: Stage) -> list[Fault]:
    """The faults that a stage's gates have to find."""
    return [fault for fault in FAULTS if stage in fault.stages]


def harmless_of(stage: Stage) -> list[Harmless]:
    """The changes that a stage's gates must not mind."""
    return [change for change in HARMLESS if stage in change.stages]
