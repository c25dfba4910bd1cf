"""Nothing in a verdict is executed, fetched, hidden or read from elsewhere: hostile text is text."""

import re
from pathlib import Path
from typing import Any

import lxml.html
import pytest

from harness.files import write_text
from harness.results import CheckpointId, InputId, RunInfo, ThresholdsUsed, Verdict, read_verdict, write_verdict
from reports.media import MISSING, UNREADABLE, load_medium
from reports.render import MAX_PAGE_BYTES, render
from tests.hostile import HOSTILE as EVIL
from tests.report_world import (
    HOSTILE,
    Elements,
    fingerprints,
    gallery,
    gate,
    measurement,
    moved_rows,
    training_log,
    verdict,
    write_picture,
)

# Everything that the templates write; what a verdict brings along is text and never an element.
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section", "article", "div",
    "h1", "h2", "h3", "h4", "p", "br", "wbr", "b", "strong", "span", "bdi", "code", "pre", "time", "a", "ul", "ol",
    "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure",
    "figcaption", "img", "audio", "svg", "line", "rect", "path", "circle", "text",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "title", "aria-hidden", "aria-label",
    "aria-labelledby", "datetime", "role", "scope", "data-label", "dir", "src", "alt", "controls", "preload", "value",
    "viewbox", "width", "height", "preserveaspectratio", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r",
    "text-anchor", "transform",
}  # fmt: skip


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


def assert_harmless(page: str) -> None:
    """By two parsers: Python's, which is strict about nothing, and libxml2's, which mends as a browser does."""
    seen = [(tag, attributes.items()) for tag, attributes in Elements(page).found]
    mended = lxml.html.document_fromstring(page.encode())
    seen += [(str(each.tag), each.attrib.items()) for each in mended.iter() if isinstance(each.tag, str)]
    for tag, attributes in seen:
        assert tag in ELEMENTS, tag
        for name, value in attributes:
            assert name.lower() in ATTRIBUTES, (tag, name)
            if name in ("src", "href"):
                assert str(value).startswith(("data:image/png;", "data:audio/wav;", "#")), (tag, name, value)
    assert len(mended.xpath("//style")) == 1
    assert not mended.xpath("//comment()")
    assert re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]", page) is None


def test_no_element_and_no_attribute_comes_from_the_verdict(page: str) -> None:
    assert_harmless(page)


def everywhere(text: str, out: Path) -> Verdict:
    """A verdict that has `text` in every place that takes any."""
    figure = measurement(text, 0.4, unit=text, low=0.3, high=0.5, threshold=0.7, op=">=", source=text)
    samples = [each | {"id": text, "task": text, "prompt": text, "reason": text} for each in gallery(out, 1)]
    wild = {
        "gallery": samples,
        "worst": [{"id": text, "prompt": text, "note": text}],
        "notes": [text],
        "reason": text,
        "rerun": text,
        "losses": {text: {text: 1.0}},
        "pairs": {text: {"correct": [1.0, 2.0], "ablated": [2.0, 1.0]}},
        "tables": [{"title": text, "note": text, "columns": [text], "rows": [[text]]}],
        "rows": [each | {"name": text, "bins": text} for each in moved_rows()],
        **fingerprints(),
        **training_log(),
        text: text,
    }
    log = training_log()
    wild["curves"] = {text: log["curves"]["t2a_avg"], f"{text}_avg": log["curves"]["t2a_avg"]}
    wild["findings"] = [dict.fromkeys(("what", "key", "step", "value", "expected"), text)]
    gates = tuple(
        gate(text, outcome, priority="P0", name=text, claim=text, advice=(text,), measurements=(figure,), details=wild)
        for outcome in ("fail", "error", "not_run", "pass")
    )
    return verdict(
        *gates,
        checkpoint=CheckpointId(path=text, step=1, sha256=text),
        inputs={text: InputId(path=text, sha256=text)},
        token_space_sha256=text,
        next_step=text,
        thresholds=ThresholdsUsed(path=text, changed={text: {"spec": text, "used": text}}),
        run=RunInfo(command=text, seed=0, device=text, dtype=text, versions={text: text}, started=text, duration_s=1.0),
    )


@pytest.mark.parametrize(
    "text",
    [HOSTILE, EVIL, "\u202e" * 50 + "x", '"><svg onload=alert(1)>', "{{ 7 * 7 }}{% raw %}", "\ud800\udfff", "]]>-->"],
    ids=["everything", "for every format", "right to left", "attribute", "template", "surrogates", "comments"],
)
def test_hostile_text_in_every_place_is_text(tmp_path: Path, text: str) -> None:
    page = render(tmp_path, everywhere(text, tmp_path)).html.read_text("utf-8")

    assert_harmless(page)
    assert "49" not in re.findall(r"<h3>(.*?)</h3>", page)


def test_a_million_characters_in_every_place_still_make_a_page(tmp_path: Path) -> None:
    """The verdict itself is 40 MB then; the page shows the beginning of each text."""
    path = render(tmp_path, everywhere("<b>" + "x" * 1_000_000, tmp_path)).html

    assert path.stat().st_size < MAX_PAGE_BYTES
    assert_harmless(path.read_text("utf-8"))


def test_bytes_that_are_no_utf8_in_a_verdict_are_an_error_that_names_it(tmp_path: Path) -> None:
    from harness.errors import HarnessError

    write_verdict(tmp_path / "verdict.json", verdict())
    content = (tmp_path / "verdict.json").read_bytes().replace(b"gates", b"gat\xff\xfe", 1)
    (tmp_path / "verdict.json").write_bytes(content)

    with pytest.raises(HarnessError, match=r"verdict\.json"):
        read_verdict(tmp_path / "verdict.json")


def test_escaped_surrogates_in_a_verdict_are_shown_as_what_they_are(tmp_path: Path) -> None:
    write_verdict(tmp_path / "verdict.json", verdict(next_step="HERE"))
    raw = (tmp_path / "verdict.json").read_text("utf-8").replace("HERE", "half \\ud800 done")
    write_text(tmp_path / "verdict.json", raw)

    page = render(tmp_path, read_verdict(tmp_path / "verdict.json")).html.read_text("utf-8")

    assert "half \ufffd done" in page


@pytest.mark.parametrize("key", ["rows", "fingerprints", "curves", "findings", "uniform", "tables", "pairs"])
@pytest.mark.parametrize(
    "value",
    [
        "text", 3, [1, "x"], {"a": 1}, None, [[]], {"a": {"b": [1]}}, [{"bins": 10**400}],
        {"a": {"steps": [10**400], "values": [1e308]}},
        {"a": {"steps": [1e308, -1e308], "values": [1e308, -1e308]}},
        {"a": {"x": {"written": [-1e308, 1e308], "real": [10**400]}}},
        {"a: b": {"correct": [-1e308, 1.0], "ablated": [1e308, 1.0]}},
        {"a: b": {"correct": [5e-324, 0.0], "ablated": [0.0, 5e-324]}},
    ],
    ids=range(13),
)  # fmt: skip
def test_details_of_another_form_never_stop_the_report(tmp_path: Path, key: str, value: Any) -> None:
    details = training_log() | {key: value}

    assert_harmless(render(tmp_path, verdict(gate("P1.5", details=details))).html.read_text("utf-8"))
