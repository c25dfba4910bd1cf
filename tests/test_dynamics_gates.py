"""S3.6 and P1.5 as gates: they hold the log against the checkpoint, show what they find, and pass nothing they lack."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gates.gate import Accept
from gates.stage3 import test_s36_dynamics as s36
from gates.stage3.thresholds import Stage3Thresholds
from gates.stage4 import test_p15_dynamics as p15
from gates.stage4.thresholds import Stage4Thresholds
from harness.dynamics_losses import MeasuredLoss
from harness.errors import MissingInputError
from harness.token_space import parse_token_space
from tests.accepting import accepting, notes
from tests.curves import curve, log_of
from tests.log_rules import FALLING, GROWING
from tests.tiny import token_space_object

BESIDE = {"emb_norm_mean": curve(GROWING), "lr": curve(np.linspace(1, 0.1, 40))}
GATE_LOG = {
    "a2t_avg": curve(FALLING), "t2a_avg": curve(FALLING), **BESIDE,
    "delta_shuffle_a2t": curve([0.1, 0.4], first=20, stride=20),
}  # fmt: skip


def run_gate_on(test: Any, thresholds: Any, tmp_path: Path, **series: Any) -> Accept:
    """The gate on a checkpoint whose dev losses are far from the logged ones, or as series say."""
    log = log_of({key: each for key, each in (GATE_LOG | series).items() if each is not None})
    space = parse_token_space(token_space_object())
    checkpoint: Any = SimpleNamespace(
        bundle=SimpleNamespace(path=tmp_path, step=40, space=space), settings=SimpleNamespace(max_examples=None),
        train_log=lambda: log, held_out_loss=lambda task, n: MeasuredLoss(task, 300.0, 64, "dev"),
    )  # fmt: skip
    accept = accepting()
    test(checkpoint, accept, thresholds)
    return accept


GATES = [
    pytest.param(s36.test_the_loss_moves_and_the_gap_grows, Stage3Thresholds(), {"delta_shuffle_a2t": None}, id="S3.6"),
    pytest.param(p15.test_the_log_tells_a_healthy_run, Stage4Thresholds(), {"t2a_avg": None}, id="P1.5"),
]


@pytest.mark.parametrize(("test", "thresholds", "lacking"), GATES)
def test_a_gate_holds_the_log_against_the_checkpoint_and_shows_what_it_found(
    test: Any, thresholds: Any, lacking: dict[str, Any], tmp_path: Path
) -> None:
    dev = {"dev_loss_a2t": curve([3.0], first=40)}
    accept = run_gate_on(test, thresholds, tmp_path, **dev)

    assert "a2t.logged_loss_off" in [failure.split(" ")[0] for failure in accept.failures]
    assert any(
        row[0] == "logged loss is not the loss now" for table in accept.details["tables"] for row in table["rows"]
    )
    assert {"a2t_avg_first", "a2t_avg_last"} <= {m.name for m in accept.measurements}
    # What is lacking is told, and hidden by nothing that failed.
    told_of = run_gate_on(test, thresholds, tmp_path, **dev, **lacking)
    assert "Not judged: " in notes(told_of)


@pytest.mark.parametrize(("test", "thresholds", "lacking"), GATES)
def test_a_gate_that_lacks_something_has_not_run(
    test: Any, thresholds: Any, lacking: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = s36 if test is s36.test_the_loss_moves_and_the_gap_grows else p15
    monkeypatch.setattr(module, "judge_agreement", lambda *_: None)

    with pytest.raises(MissingInputError):
        run_gate_on(test, thresholds, tmp_path, **lacking)
