"""The drawn sections: ablations, curves, rows, fingerprints; the smallest failing example; the command for one gate."""

import importlib
import re
from pathlib import Path

import pytest

import gates
from gates.gate import Gate
from reports.ablations import read_ablations
from reports.curves import Curves, read_curves
from reports.details import MAX_GAPS, read_details
from reports.draw import panel, part_bars, sorted_differences, strip
from reports.prints import read_prints
from reports.render import render
from reports.rerun import command_of_gate
from reports.samples import smallest_failing
from reports.strips import read_stretches
from tests.report_world import fingerprints, gallery, gate, measurement, moved_rows, training_log, verdict

P04 = "test_p04_prompt_ablation.py"
PAIRS = {"t2a: shuffled prompt": {"correct": [1.0, 2.0, 3.0, None], "ablated": [2.0, 1.5, 3.0, 1.0]}}


def test_a_condition_has_its_win_rate_its_gap_and_its_codebooks() -> None:
    table = {"title": "t2a by codebook", "columns": ["range", "labels", "shuffled: Δ"], "rows": [["AUDIO_CB0", 9, 0.5]]}
    figures = (measurement("t2a.win_rate_shuffled", 0.33), measurement("t2a.delta_shuffled", 0.17))
    listens = gate("P0.4", measurements=figures, details={"pairs": PAIRS, "tables": [table]})

    [task] = read_ablations(listens, read_details(listens.details))
    [condition] = task.conditions

    assert (task.title, condition.name) == ("Text to sound", "shuffled prompt")
    assert [each.name for each in condition.figures] == ["t2a.win_rate_shuffled", "t2a.delta_shuffled"]
    assert condition.parts == (("AUDIO_CB0", 0.5),)


def test_sorted_differences_say_how_many_lie_above_zero() -> None:
    [pairs] = read_details({"pairs": PAIRS}).pairs
    drawn = str(sorted_differences(pairs))

    assert pairs.gaps == (-0.5, 0.0, 1.0)
    assert "1 of 3 examples lie above zero, 2 do not" in drawn
    assert drawn.count("lost-area") == drawn.count("won-area") == 1


def test_of_many_examples_the_differences_keep_their_ends() -> None:
    ablated = [float(i * i) for i in range(5000)]
    [pairs] = read_details({"pairs": {"x": {"correct": [0.0] * 5000, "ablated": ablated}}}).pairs

    assert len(pairs.gaps) == MAX_GAPS
    assert (pairs.gaps[0], pairs.gaps[-1]) == (0.0, 4999.0**2)
    assert list(pairs.gaps) == sorted(pairs.gaps)


def test_bars_of_codebooks_reach_from_zero_to_both_sides() -> None:
    drawn = str(part_bars((("AUDIO_CB0", 0.4), ("AUDIO_CB1", -0.4)), -0.4, 0.4, "words"))
    bars = [
        tuple(map(float, each))
        for each in re.findall(r'<rect class="\w+-area" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    ]

    assert bars[1][0] + bars[1][1] == pytest.approx(bars[0][0], abs=0.2)
    assert "−0.400" in drawn


@pytest.fixture
def log() -> Curves:
    judged = (measurement("t2a.loss_of_uniform_range", 0.06, threshold=0.9, op="<="),)
    curves = read_curves(gate("P1.5", "fail", measurements=judged, details=training_log()))
    assert curves is not None
    return curves


def test_curves_of_one_kind_and_task_share_a_panel_with_the_levels_they_are_held_against(log: Curves) -> None:
    groups = {name: [each.title for each in panels] for name, panels in log.groups}
    losses = next(panels for name, panels in log.groups if name == "Losses")[0]

    assert groups["Losses"][0] == "Text to sound"
    assert groups["Win rates"] == ["Text to sound"]
    assert groups["Norms and learning rates"] == ["grad_norm"]
    assert [(each.name, round(each.value, 3)) for each in losses.levels] == [
        ("uniform, vocabulary", 7.632), ("uniform, own range", 5.545), ("asked ≤", 4.99)
    ]  # fmt: skip
    assert [each.name for each in losses.judged] == ["t2a.loss_of_uniform_range"]


def test_findings_are_marked_where_they_are_and_numbered(log: Curves) -> None:
    losses = next(panels for name, panels in log.groups if name == "Losses")[0]
    [mark] = losses.marks
    drawn = str(panel(losses))

    assert (mark.number, mark.step) == (1, 300)
    assert mark.words == "spike: t2a_avg at step 300 is 9.100, expected below 2.4"
    assert '<text class="found-number"' in drawn
    assert [each.number for each in log.marks] == [3]  # of whole lines: it belongs to no key
    assert log.has_findings


def test_a_hole_in_a_log_is_a_hole_in_its_curve(log: Curves) -> None:
    norms = next(panels for name, panels in log.groups if name.startswith("Norms"))[0]
    [curve] = re.findall(r'<path class="curve c0" d="([^"]*)"', str(panel(norms)))

    assert curve.count("M") == 2


def test_a_level_far_above_the_curves_is_said_and_not_drawn() -> None:
    steps = {"steps": [0, 100], "values": [0.12, 0.05]}
    curves = read_curves(gate("P1.5", details={"curves": {"a2t_avg": steps}, "uniform": {"vocabulary": 7.6}}))
    assert curves is not None
    [(_, [losses])] = curves.groups

    assert losses.levels == ()
    assert losses.said == ("uniform, vocabulary 7.600 nats/token",)


def test_rows_that_moved_stand_as_bars_and_a_text_row_among_them_is_wrong() -> None:
    stretches = read_stretches(gate("P0.5", details={"rows": moved_rows()}))
    text, image, unknown = stretches["Embedding"]

    assert (text.wrong, image.wrong) == (True, False)
    assert (text.moved, image.moved) == ("45 of 768 moved", "256 of 256 moved")
    assert unknown.moved.startswith("not known")
    assert str(strip(text)).count("v-22h1v22z") == 2  # of the two bins that moved whole
    assert str(strip(image)).count("z") == 4


def test_outputs_beyond_a_limit_are_counted_and_numbers_that_are_none_left_out() -> None:
    tasks = read_prints(gate("P1.3", details=fingerprints()))
    rms = tasks["t2a"][0]

    assert rms.written == (0.001, 0.08, 0.09)
    assert rms.beyond.startswith("1 of 3 beyond the limit of silence")
    assert rms.medians == "median 0.0800, real media 0.0800"


def test_the_smallest_failing_example_has_the_shortest_prompt() -> None:
    worst = [
        {"id": "b", "prompt": "a long prompt", "note": "n"},
        {"id": "c", "prompt": "short", "note": "first of two"},
        {"id": "d", "prompt": "brief", "note": "n"},
        {"id": "e", "prompt": "", "note": "has none"},
    ]
    failed = gate("P0.4", "fail", details={"worst": worst})
    found = smallest_failing(failed, read_details(failed.details))

    assert found is not None
    assert (found.id, found.note) == ("c", "first of two")
    assert smallest_failing(gate("P0.4", details={"worst": worst}), read_details({})) is None


def test_the_smallest_failing_example_shows_its_medium_and_leads_to_the_gallery(tmp_path: Path) -> None:
    decoded = gate("P0.3", details={"gallery": gallery(tmp_path, 3)})
    worst = [{"id": "t2i-002", "prompt": "x", "note": "its own prompt does not help"}]
    page = render(tmp_path, verdict(decoded, gate("P0.4", "fail", details={"worst": worst}))).html.read_text("utf-8")

    [anchor] = re.findall(r'<a href="#(sample-\d+-\d+)">See it in the gallery', page)
    assert re.search(rf'id="{anchor}">\s*<div class="top"><code>t2i-002</code>', page)
    # Noted by another gate, and so the worst of the gallery, though it decodes.
    assert page.index("t2i-002</code>", page.index('id="gallery"')) < page.index(
        "t2i-000</code>", page.index('id="gallery"')
    )


@pytest.mark.parametrize(
    ("command", "narrowed"),
    [
        ("pytest gates/stage4 --ckpt=c -n 4", f"pytest gates/stage4/{P04} --ckpt=c"),
        ("pytest gates/stage4/test_p01_identity.py::test_x --ckpt c", f"pytest gates/stage4/{P04} --ckpt c"),
        ("pytest -n4 -x -k p04 '/a b/gates/stage4' --ckpt=c", f"pytest '/a b/gates/stage4/{P04}' --ckpt=c"),
        ("pytest --ckpt=runs/stage4/c gates/stage4/", f"pytest --ckpt=runs/stage4/c gates/stage4/{P04}"),
        ("pytest --ckpt runs/stage4/c gates/stage4", f"pytest --ckpt runs/stage4/c gates/stage4/{P04}"),
        ("pytest gates --ckpt='open", "pytest gates --ckpt='open"),
        ("make gates", "make gates"),
    ],
)  # fmt: skip
def test_the_command_of_one_gate_is_the_runs_own_with_the_gates_file(command: str, narrowed: str) -> None:
    assert command_of_gate(command, "stage4", "P0.4", "prompt_ablation") == narrowed


GATE_FILES = sorted(Path(gates.__file__).parent.glob("stage*/test_*.py"))


@pytest.mark.parametrize("file", GATE_FILES, ids=lambda file: file.stem)
def test_every_gate_is_in_the_file_that_its_command_names(file: Path) -> None:
    stage = file.parent.name
    module = importlib.import_module(f"gates.{stage}.{file.stem}")
    [criterion] = [each for each in vars(module).values() if isinstance(each, Gate)]

    command = command_of_gate(f"pytest gates/{stage}", stage, criterion.id, criterion.name)

    assert command == f"pytest gates/{stage}/{file.name}"
