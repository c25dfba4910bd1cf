"""What a run says of its effective batch, and of what a larger one would save."""

from training.config import BatchConfig
from training.effective_batch import describe


def test_the_fields_run_at_sixteen_a_step() -> None:
    lines = describe(BatchConfig(per_device=1, accumulation=16), 1, 256_408, 16_026)

    assert lines == [
        "effective batch: 1 a device x 16 accumulated x 1 process = 16 sequences a step",
        "256,408 training examples: 16,026 steps a pass; 16,026 steps planned, 1.00 passes",
        "with an effective batch of 1 a pass would be 256,408 steps, 16.0 times as many",
        "from 16 to 64 (more a device where memory allows, else more accumulation) a pass would be 4,007 steps: 75% "
        "fewer optimiser steps",
    ]


def test_processes_multiply_the_batch() -> None:
    lines = describe(BatchConfig(per_device=2, accumulation=3), 4, 2_400, 50)

    assert lines[0] == "effective batch: 2 a device x 3 accumulated x 4 processes = 24 sequences a step"
    assert lines[1] == "2,400 training examples: 100 steps a pass; 50 steps planned, 0.50 passes"


def test_an_effective_batch_of_one_is_told_what_four_would_save() -> None:
    """The spec's own case: step = sample."""
    lines = describe(BatchConfig(per_device=1, accumulation=1), 1, 256_408, 256_408)

    assert len(lines) == 3
    assert "from 1 to 4 " in lines[-1]
    assert lines[-1].endswith("a pass would be 64,102 steps: 75% fewer optimiser steps")


def test_fewer_examples_than_a_step_holds_are_one_step() -> None:
    lines = describe(BatchConfig(per_device=4, accumulation=4), 1, 5, 3)

    assert lines[1] == "5 training examples: 1 steps a pass; 3 steps planned, 9.60 passes"
    assert lines[-1].endswith("a pass would be 1 steps: 0% fewer optimiser steps")
