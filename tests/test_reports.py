"""The report: everything in a verdict is shown, nothing in it is executed, fetched, hidden or read from elsewhere."""

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from harness.results import (
    CheckpointId,
    Decision,
    GateResult,
    InputId,
    Measurement,
    Outcome,
    RunInfo,
    ThresholdsUsed,
    Verdict,
    write_verdict,
)
from reports import draw, findings
from reports import format as written
from reports.details import MAX_JSON_BYTES, Pairs, read_details
from reports.media import MISSING, NO_BUDGET, UNREADABLE, Budget, build_galleries, load_medium
from reports.render import MAX_PAGE_BYTES, RenderedReport, render

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    f"{SCRIPT} | `code` \u202eevil\u2066 \x1b[31m \x00 \"quoted\" 'single' [link](https://evil.example) \ud800 @someone"
)
RATE = 24_000
SOUND_S = 0.64


# --- a verdict that holds everything at once -------------------------------------------------------------------------


def measurement(name: str, value: float | None, **more: Any) -> Measurement:
    return Measurement(**{"name": name, "value": value, "unit": "share", "n": 256, **more})


def gate(id: str = "P0.4", outcome: Outcome = "pass", **more: Any) -> GateResult:
    return GateResult(
        **{"id": id, "name": "prompt ablation", "priority": id[:2], "outcome": outcome, "claim": "It listens.", **more}
    )


def verdict(*gates: GateResult, decision: Decision = "REJECT", **more: Any) -> Verdict:
    return Verdict(
        **{
            "stage": "stage4",
            "verdict": decision,
            "checkpoint": CheckpointId(path="runs/stage4/checkpoint_2000", step=2000, sha256="ab12" * 16),
            "inputs": {"golden": InputId(path="data/golden", sha256="cd34" * 16)},
            "token_space_sha256": "ef56" * 16,
            "gates": gates,
            "next_step": "Increase the share of T2A and T2I in the mixture.",
            "thresholds": ThresholdsUsed(),
            "run": RunInfo(
                command="pytest gates/stage4 --ckpt=runs/stage4/checkpoint_2000",
                seed=0,
                device="cpu",
                dtype="float32",
                versions={"python": "3.11.2", "torch": "2.13.0"},
                started="2026-11-02T20:41:00+00:00",
                duration_s=412.3,
            ),
            **more,
        }
    )


def write_picture(path: Path, seed: int, size: int = 32) -> None:
    """A few soft shapes on a ground, as a small model might draw them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    pixels = np.ones((size, size, 3)) * rng.uniform(0.1, 0.9, 3)
    for _ in range(3):
        centre, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.3)
        inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
        pixels = np.where(inside, rng.uniform(0, 1, 3), pixels)
    pixels = pixels + rng.normal(0, 0.02, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(path)


def write_sound(path: Path, seed: int, seconds: float = SOUND_S) -> None:
    """Three plucked notes and a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(RATE * seconds)) / RATE
    wave = rng.normal(0, 0.003, len(t))
    for onset in (0.0, 0.2, 0.4):
        after = np.maximum(t - onset, 0)
        pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
        chord = sum(np.sin(2 * np.pi * pitch * k * after) / k**2 for k in (1, 2, 3, 4))
        wave += 0.25 * chord * np.exp(-8 * after) * (t >= onset)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.astype(np.float32), RATE, subtype="PCM_16")


def gallery(out: Path, n: int = 64) -> list[dict[str, Any]]:
    """`n` samples a task with real files, the fifth of each task not ok."""
    rows = []
    for task, suffix, write in (("t2i", "png", write_picture), ("t2a", "wav", write_sound)):
        for index in range(n):
            file, reference = f"generated/{task}_{index}.{suffix}", f"reference/{task}_{index}.{suffix}"
            write(out / file, index)
            write(out / reference, index + 10_000)
            ok = index != 4
            reason = None if ok else "decoded to 640 samples, 15 360 asked"
            prompt = f"a small round shape, number {index}" if task == "t2i" else f"three plucked notes, number {index}"
            rows.append({"id": f"{task}-{index:03d}", "task": task, "prompt": prompt, "file": file,
                         "reference": reference, "ok": ok, "reason": reason})  # fmt: skip
    return rows


def rich_verdict(out: Path, n_samples: int = 5) -> Verdict:
    """Every section of the report has something to show, and every foreign string is hostile somewhere."""
    rng = np.random.default_rng(1)
    correct = rng.normal(4.4, 0.5, 256)
    ablated = correct + rng.normal(0.06, 0.12, 256)
    win = {"threshold": 0.70, "op": ">=", "source": "spec stage 4, P0.4"}
    samples = gallery(out, n_samples)
    samples.append({"id": HOSTILE, "task": "t2i", "prompt": HOSTILE, "file": "../secret.png",
                    "reference": "/etc/passwd", "ok": False, "reason": HOSTILE})  # fmt: skip
    gates = (
        gate("P0.0", name="bundle", claim="The checkpoint is whole, safe to open and finite.", measurements=(
            measurement("tensors.not_finite", 0, unit="tensors", n=212, threshold=0, op="=="),)),
        gate("P0.2", "pass", name="compliance", claim="Generation stays in the modality's own ranges.", measurements=(
            measurement("t2a.out_of_range_pct", 0.0, unit="%", n=64, low=0.0, high=5.6, threshold=0, op="=="),
            measurement("t2a.free_running_pct", 3.4, unit="%", n=64, low=2.1, high=5.0),)),
        gate("P0.3", "fail", name="decode", claim="What it writes can be heard and seen.", measurements=(
            measurement("t2i.decode_success_rate", 63 / 64, n=64, low=0.917, high=0.997, threshold=1.0, op="==",
                        confidence="refuted", source="spec stage 4, P0.3"),),
            advice=("Use constrained decoding.", "Use per-sample dynamic length."),
            details={"gallery": samples, "notes": [HOSTILE, "Length margin 8 tokens."]}),
        gate("P0.4", "fail", name="prompt ablation", claim="It listens to the prompt.", measurements=(
            measurement("t2a.win_rate_shuffled", 0.6996, low=0.64, high=0.753, confidence="borderline", **win),
            measurement("t2a.win_rate_empty", 0.91, low=0.87, high=0.94, threshold=0.8, op=">=", confidence="proven"),
            measurement("t2i.win_rate_shuffled", 0.742, low=0.685, high=0.792, confidence="borderline", **win),
            measurement("t2a.delta_empty", 0.031, unit="nats/token", low=-0.012, high=0.074, threshold=0.1, op=">=",
                        confidence="refuted"),
            measurement("t2i.delta_empty", math.nan, unit="nats/token", threshold=0.1, op=">="),),
            advice=("Ensure the ablation really tests prompt influence: caching, format.",
                    "Increase the proportion of T2A and T2I in the mix.", "Use stronger prompt text."),
            details={
                "losses": {"t2a": {"correct": 5.581, "shuffled": 5.602, "empty": 5.612},
                           "t2i": {"correct": 4.417, "shuffled": 4.9, "empty": None}},
                "pairs": {"t2a shuffled": {"correct": correct.tolist(), "ablated": ablated.tolist()},
                          HOSTILE: {"correct": [1.0, 2.0, None], "ablated": [2.0, 1.5, 3.0]}},
                "worst": [{"id": "t2a-17", "prompt": HOSTILE, "note": "ablated is better by 0.4"},
                          {"id": "t2a-3", "prompt": "a slow low melody of four notes", "note": "equal"}],
                "rank_of_prompt": {"text": HOSTILE, "figures": list(range(2000))},
                "curves": {"hidden": [1]},
            }, duration_s=71.2),
        gate("P0.5", "error", name="parameters", claim="Only what stage 4 may train has moved.",
             details={"reason": "base_fingerprint.json: found no file; expected one. Run `gates init`."}),
        gate("P1.4", "not_run", name="text", claim="Text ability is intact.", advice=("Give --text-eval FILE.",)),
    )  # fmt: skip
    return verdict(*gates, thresholds=ThresholdsUsed(
        path="mine.toml", changed={"MIN_WIN_RATE_EMPTY": {"spec": 0.8, "used": 0.75}, f"X{SCRIPT}": {"spec": HOSTILE}}
    ))  # fmt: skip


class Elements(HTMLParser):
    """Every tag with its attributes, and the text outside <style>."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> RenderedReport:
    out = tmp_path_factory.mktemp("report") / "out"
    write_picture(out.parent / "secret.png", 7)
    return render(out, rich_verdict(out))


@pytest.fixture(scope="module")
def page(rendered: RenderedReport) -> str:
    return rendered.html.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def summary(rendered: RenderedReport) -> str:
    return rendered.summary.read_text(encoding="utf-8")


# --- safety ----------------------------------------------------------------------------------------------------------


def test_no_script_gets_into_the_page(page: str) -> None:
    assert "<script" not in page.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    handlers = [name for _, attributes in Elements(page).found for name in attributes if name.startswith("on")]
    assert handlers == []


def test_the_page_forbids_everything_but_its_own_styles_and_data(page: str) -> None:
    [policy] = [each["content"] for each in Elements(page).of("meta") if each.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'")


def test_no_attribute_asks_for_anything_outside_the_page(page: str) -> None:
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "poster", "data", "action", "xlink:href", "background"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;", "data:audio/wav;", "#")), (tag, name, value)
    assert "url(" not in page
    assert "@import" not in page


def test_every_link_in_the_page_has_its_target(page: str) -> None:
    elements = Elements(page)
    assert {str(each["href"])[1:] for each in elements.of("a")} <= set(elements.ids)
    assert len(elements.ids) == len(set(elements.ids))


@pytest.mark.parametrize("hidden", ["\x00", "\x1b", "\u202e", "\u2066", "\ud800"])
def test_characters_that_hide_or_reorder_are_shown_instead(page: str, summary: str, hidden: str) -> None:
    assert hidden not in page
    assert hidden not in summary
    assert "⟨U+202E⟩evil" in page
    assert "␛[31m" in page


def test_a_path_outside_the_folder_is_never_read(page: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_picture(tmp_path / "secret.png", 1)
    write_picture(out / "inside.png", 2)
    (out / "link.png").symlink_to(tmp_path / "secret.png")
    for path in (
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "a/../../secret.png",
        "nul\0.png",
        "x" * 5000,
    ):
        assert load_medium(out, path).note == MISSING, path
        assert load_medium(out, path).picture is None
    assert load_medium(out, "inside.png").picture is not None
    assert MISSING in page


@pytest.mark.parametrize("name", ["lie.png", "lie.wav"])
@pytest.mark.parametrize("content", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n\0\0", b"RIFF\0\0\0\0WAVEfmt "])
def test_a_damaged_file_is_named_and_not_embedded(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    medium = load_medium(tmp_path, name)
    assert (medium.picture, medium.sound, medium.note) == (None, None, UNREADABLE)


def test_a_folder_or_text_file_is_no_medium(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("private")
    assert load_medium(tmp_path, "folder.png").note == MISSING
    assert load_medium(tmp_path, "notes.txt").note == MISSING


def test_the_summary_cannot_break_its_table_or_its_pull_request(tmp_path: Path) -> None:
    named = gate("P0.4", "fail", name=f"{HOSTILE}\n| x | y |", advice=(HOSTILE,))
    text = render(tmp_path, verdict(named, next_step=HOSTILE)).summary.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert len(re.findall(r"(?<!\\)\|", rows[2])) == 6
    assert "<script" not in text
    assert re.search(r"(?<!\\)`", text) is None
    assert re.search(r"(?<!\\)\[", text) is None
    assert "@someone" not in text


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_the_verdict_its_reason_and_the_next_step_come_first(page: str) -> None:
    assert page.index("REJECT") < page.index("P0.3 decode failed") < page.index("Increase the share of T2A")
    assert page.index("Increase the share") < page.index('id="findings"') < page.index('id="gates"')
    assert f'<code title="{"ab12" * 16}">ab12ab12ab12</code>' in page
    assert "2 November 2026, 20:41 UTC" in page


def test_what_did_not_pass_is_ordered_blocking_first_failed_first(tmp_path: Path) -> None:
    gates = [gate("P1.1", "fail"), gate("P0.1", "not_run"), gate("P0.2", "error"), gate("P0.3", "fail"), gate("P0.4")]
    assert [each.id for each in findings.not_passed(verdict(*gates))] == ["P0.3", "P0.2", "P0.1", "P1.1"]


def test_a_gate_that_did_not_pass_has_its_advice_and_the_command(page: str) -> None:
    assert page.index("Use constrained decoding.") < page.index("Use per-sample dynamic length.")
    assert "pytest gates/stage4 --ckpt=runs/stage4/checkpoint_2000" in page
    assert "base_fingerprint.json: found no file" in page


def test_nan_and_null_are_not_measured(tmp_path: Path) -> None:
    for value in (math.nan, math.inf, None):
        figure = measurement("x", value, threshold=0.1, op=">=")
        assert findings.standing(figure) == "not_measured"
        assert written.value_of(figure) == "not measured"
        text = render(tmp_path, verdict(gate("P0.4", "error", measurements=(figure,)))).html.read_text("utf-8")
        assert "not measured" in text
        assert re.search(r"\b(nan|None|inf)\b", re.sub(r"<style>.*?</style>", "", text, flags=re.S)) is None


def test_changed_thresholds_are_announced_beside_the_verdict_with_the_specs_number(page: str, summary: str) -> None:
    assert page.index("Judged under changed thresholds: 2 differ") < page.index('id="findings"')
    assert re.search(r"MIN_WIN_RATE_EMPTY</th>.*?0\.8</td>.*?<strong>0\.75</strong>", page, re.S)
    assert "Not the spec's thresholds:" in summary


def test_unknown_details_are_collapsed_and_short(page: str) -> None:
    text = read_details({"rank": list(range(5000)), "curves": [1]}).other
    assert text.startswith('{\n  "rank"')
    assert len(text.encode()) < MAX_JSON_BYTES + 100
    assert "curves" not in text
    assert '<details class="raw"><summary>Further details' in page


@pytest.mark.parametrize("key", ["gallery", "losses", "pairs", "worst", "notes"])
@pytest.mark.parametrize("value", ["text", 3, [1, "x"], {"a": 1}, None, [[]], {"a": {"b": [1]}}, [{"id": 10**400}]])
def test_details_of_another_form_never_stop_the_report(tmp_path: Path, key: str, value: object) -> None:
    text = render(tmp_path, verdict(gate(details={key: value}))).html.read_text("utf-8")
    assert "P0.4" in text


def test_details_nested_without_end_never_stop_the_report() -> None:
    nested: dict[str, Any] = {}
    nested["deep"] = nested
    assert "too deeply" in read_details(nested).other


def test_the_gallery_shows_the_failed_sample_first_with_its_reference(page: str) -> None:
    elements = Elements(page)
    assert len(elements.of("audio")) == 10
    assert all(each.get("aria-label") for each in elements.of("audio"))
    assert len(elements.of("img")) == 20  # 5 pictures and 5 sounds, and their references
    assert all(each.get("alt") for each in elements.of("img"))
    sounds = page[page.index("Text to sound") :]
    assert sounds.index("t2a-004") < sounds.index("decoded to 640 samples") < sounds.index("t2a-000")


def test_a_gate_id_cannot_break_the_page(tmp_path: Path) -> None:
    text = render(tmp_path, verdict(gate('P0"><b>'))).html.read_text("utf-8")
    assert "<b>" not in text


def test_a_summary_names_verdict_gates_and_worst_findings(summary: str) -> None:
    assert summary.startswith("## ✕ REJECT: checkpoint_2000 (stage4)")
    assert "| P0.4 | prompt ablation | P0 | ✕ failed |" in summary
    worst = [line for line in summary.splitlines() if line.startswith("- **")]
    assert [re.findall(r"P\d\.\d", line)[0] for line in worst] == ["P0.3", "P0.4", "P0.5"]
    assert "**Next step:** Increase the share" in summary
    assert summary.rstrip().endswith("report.html")


@pytest.mark.parametrize(
    ("decision", "gates", "said"),
    [
        ("PROMOTE", [gate("P0.1"), gate("P1.1")], "Every P0 gate passed (1 of 1), and no P1 gate warns."),
        ("PROMOTE", [gate("P0.1"), gate("P1.1", "fail")], "1 P1 gate did not, and is a warning"),
        ("INCOMPLETE", [gate("P0.1")], "not a whole one"),
        ("INCOMPLETE", [gate("P1.1")], "No P0 gate was run"),
        ("INCOMPLETE", [gate("P0.1", "error")], "P0.1 prompt ablation could not be measured."),
        ("REJECT", [gate("P0.1", "fail"), gate("P0.2", "fail")], "1 other P0 gate did not pass either"),
    ],
)
def test_one_sentence_says_why(decision: Decision, gates: list[GateResult], said: str) -> None:
    assert said in findings.why(verdict(*gates, decision=decision))


def test_a_verdict_without_gates_still_has_a_report(tmp_path: Path) -> None:
    empty = verdict(decision="INCOMPLETE", checkpoint=CheckpointId(path="x", step=None, sha256=None))
    assert "No P0 gate was run" in render(tmp_path, empty).html.read_text("utf-8")


# --- figures and drawings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "threshold", "expected"),
    [
        (0.7, "share", 0.7, "70.0 %"),
        (0.6996, "share", 0.7, "69.96 %"),  # rounding must not hide a failure
        (0.9999, "share", None, "99.99 %"),
        (1.0, "share", 1.0, "100 %"),
        (0.0, "%", 0.0, "0 %"),
        (0.00004, "%", 0.0, "4.00 × 10⁻⁵ %"),
        (0.57, "share", 0.57, "57.0 %"),
        (5.581, "nats/token", None, "5.581"),
        (-0.0123, "nats/token", None, "−0.0123"),
        (0, "tensors", 0, "0"),
        (1234567, "tokens", None, "1 234 567"),
        (3.2e-7, "nats/token", 0.0, "3.20 × 10⁻⁷"),
    ],
)
def test_figures_have_the_digits_that_matter(value: float, unit: str, threshold: float | None, expected: str) -> None:
    assert written.number(value, unit, apart_from=threshold).replace(written.NARROW_SPACE, " ") == expected


def test_an_interval_bar_says_in_words_what_it_draws() -> None:
    bar = str(draw.interval_bar(measurement("win", 0.61, low=0.55, high=0.67, threshold=0.7, op=">=")))
    label = re.search(r'aria-label="([^"]*)"', bar)
    assert label is not None
    assert re.sub(r"\s", " ", label[1]) == ("win 61.0 % (asked ≥ 70 %; 95 % interval 55.0 % to 67.0 %): not met")
    assert 'class="threshold"' in bar
    assert "<path" in bar  # a cross, not a disc: the state is not told by colour alone


@pytest.mark.parametrize("value", [0.0, 1.0, 1e300, -1e300, 1e-300, 5e8])
@pytest.mark.parametrize("threshold", [0.0, 0.7, -1e300])
def test_a_bar_stays_within_its_frame(value: float, threshold: float) -> None:
    figure = measurement("x", value, unit="nats", low=value - 1, high=value + 1, threshold=threshold, op="<")
    for bar, width in ((draw.interval_bar(figure), draw.BAR_WIDTH), (draw.mini_bar(figure), draw.MINI_WIDTH)):
        places = [float(each) for each in re.findall(r'\b(?:x|x1|x2|cx)="([^"]*)"', str(bar))]
        assert all(0 <= place <= width for place in places)


def test_a_scatter_counts_the_examples_above_the_diagonal() -> None:
    pairs = Pairs("t2a", ((1.0, 2.0), (1.0, 0.5), (1.0, 1.0)), 4, 3, 1)
    assert draw.scatter_text(pairs).startswith("1 of 3 examples (33.3")
    assert "1 without both losses are left out" in draw.scatter_text(pairs)
    assert str(draw.scatter(pairs)).count("h0") == 1


# --- size, speed, independence ---------------------------------------------------------------------------------------


def test_64_samples_a_task_fit_and_what_does_not_is_said(tmp_path: Path) -> None:
    figures = gate("P0.3", "fail", details={"gallery": gallery(tmp_path, 64)})
    report = render(tmp_path, verdict(figures))
    text = report.html.read_text("utf-8")
    assert report.html.stat().st_size <= MAX_PAGE_BYTES
    assert text.count('aria-label="generated sound') == 64
    assert "media budget of 4.4" in text
    assert NO_BUDGET in text


def test_a_spent_budget_leaves_samples_without_media_the_failed_one_last(tmp_path: Path) -> None:
    samples = read_sorted(tmp_path)
    size = len(load_medium(tmp_path, "generated/t2i_4.png").picture or "")
    budget = Budget(size)
    [pictures] = build_galleries(tmp_path, {"0": samples}, budget)
    assert [bool(each.generated.picture) for each in pictures.shown] == [True, False, False, False, False, False]
    assert pictures.shown[1].generated.note == NO_BUDGET
    assert budget.used <= budget.limit
    assert budget.refused == 11


def read_sorted(out: Path) -> Any:
    from reports.details import read_gallery

    return read_gallery({"gallery": [row for row in gallery(out, 6) if row["task"] == "t2i"]})


def test_text_takes_the_place_of_media_where_both_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.render.MAX_PAGE_BYTES", 150_000)
    report = render(tmp_path, verdict(gate("P0.3", claim="c" * 50_000, details={"gallery": gallery(tmp_path, 6)})))
    assert report.html.stat().st_size <= 150_000
    assert NO_BUDGET in report.html.read_text("utf-8")


def test_a_long_sound_is_cut_and_said(tmp_path: Path) -> None:
    write_sound(tmp_path / "long.wav", 0, seconds=10)
    medium = load_medium(tmp_path, "long.wav")
    assert medium.sound is not None
    assert len(medium.sound) < 540_000
    assert medium.note == "10.00 s, 24 kHz, the first 8.3 s embedded"


def test_rendering_needs_no_heavy_library(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    figures = (measurement("x", 0.6, low=0.5, high=0.7, threshold=0.7, op=">="),) * 20
    write_verdict(path, verdict(*(gate(f"P0.{index}", "fail", measurements=figures) for index in range(12))))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from reports.render import render\n"
        "from harness.results import read_verdict\n"
        "render(Path(sys.argv[1]).parent, read_verdict(Path(sys.argv[1])))\n"
        "heavy = [name for name in ('torch', 'transformers', 'matplotlib', 'scipy') if name in sys.modules]\n"
        "import json; print(json.dumps(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_same_verdict_gives_the_same_report(tmp_path: Path) -> None:
    first = render(tmp_path, rich_verdict(tmp_path)).html.read_bytes()
    assert render(tmp_path, rich_verdict(tmp_path)).html.read_bytes() == first
