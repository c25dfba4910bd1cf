"""How figures and foreign text are written: sensible digits, shares as %, nothing invisible, nothing live."""

import math
import re
from datetime import datetime

from markupsafe import Markup, escape

from harness.results import Measurement, Op

NOT_MEASURED = "not measured"
MAX_SHOWN = 4000  # characters of any one text: a page of a million is read by nobody
MAX_MEASURE = 160  # characters of a measure's name
NARROW_SPACE = "\u202f"  # keeps a number and its sign on one line
SIGNS: dict[Op, str] = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "==": "="}

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Characters that reorder text, or hide in it: a prompt that holds one must not change how its neighbours read.
_REORDERING = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f"
_INVISIBLE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff{_REORDERING}]")
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")


def clean(text: str) -> str:
    """The text with every control character, reordering mark and lone surrogate made visible; tab and newline stay."""
    return _INVISIBLE.sub(lambda match: _picture(match.group()), text.replace("\r\n", "\n"))


def _picture(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the block of control pictures, ␀ to ␟
    if code == 0x7F:
        return "␡"
    if 0x80 <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF):
        return "\ufffd"
    return f"⟨U+{code:04X}⟩"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; a cut shows as an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def breakable(name: str) -> Markup:
    """A dotted name that a narrow table may break after its dots and underscores, instead of anywhere."""
    return Markup(re.sub(r"([._])(?=\w)", r"\1<wbr>", str(escape(clean(shorten(name, MAX_MEASURE))))))


def command_words(command: str) -> Markup:
    """A command that a narrow page breaks between its words, and not at the hyphens of an option."""
    words = clean(shorten(command, MAX_SHOWN)).split(" ")
    return Markup(" ").join(Markup('<span class="word">{}</span>').format(each) for each in words)


def for_html(value: object) -> object:
    """What a template writes into HTML: strings made visible; autoescape does the rest."""
    # Markup comes from a macro, whose parts went through here, or from reports.draw, which cleans what it writes.
    return clean(shorten(value, MAX_SHOWN)) if isinstance(value, str) and not isinstance(value, Markup) else value


def for_markdown(value: object) -> object:
    """What a template writes into Markdown: one line in which no character has a meaning to Markdown or HTML."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    line = " ".join(clean(shorten(value, MAX_SHOWN)).split())
    line = re.sub("[&<>]", lambda match: str(escape(match.group())), line)
    line = _MARKDOWN.sub(r"\\\g<0>", line)
    # A zero-width space keeps a prompt that says "@someone" from notifying that person in a pull request.
    return Markup(line.replace("@", "@\u200b"))


def measured(value: float | None) -> bool:
    """Whether there is a figure at all: null, NaN and infinities are none."""
    return value is not None and math.isfinite(value)


def as_number(value: object) -> float | None:
    """A number of JSON as a float; None for anything else, for NaN, and for what is beyond any float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON has integers beyond any float
        return None


def number(value: float | None, unit: str = "", *, apart_from: float | None = None) -> str:
    """A measured figure with as many digits as tell it from 0, from 100 % and from the threshold.

    A win rate of 0.6996 against 0.70 is written 69.96 %, not 70.0 %: rounding must not hide a failure.
    """
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    percent = unit in ("share", "%")
    scaled = _scaled(value, unit)
    landmarks = [0.0, *([100.0] if percent else []), *([_scaled(apart_from, unit)] if apart_from is not None else [])]
    text = _digits(scaled, percent, 0)
    for extra in range(1, 10):
        if all(_side(float(text), mark) == _side(scaled, mark) for mark in landmarks):
            break
        text = _digits(scaled, percent, extra)
    return _decorated(text, percent)


def exact(value: float | None, unit: str = "") -> str:
    """A threshold, as somebody wrote it: 0.7 as a share is 70 %."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    text = f"{_scaled(value, unit):.12g}"
    if len(text.lstrip("-0.").replace(".", "")) > 8:  # nobody wrote this: it was computed
        text = f"{_scaled(value, unit):.6g}"
    return _decorated(text, unit in ("share", "%"))


def with_unit(figure: str, unit: str) -> str:
    """The figure and its unit; a percentage carries it already."""
    return figure if unit in ("", "share", "%") or figure == NOT_MEASURED else f"{figure}\u00a0{unit}"


def value_of(measurement: Measurement) -> str:
    """The point estimate, without its unit."""
    return number(measurement.value, measurement.unit, apart_from=measurement.threshold)


def interval_of(measurement: Measurement) -> str:
    """The 95 % interval, or a dash where there is none."""
    if not (measured(measurement.low) and measured(measurement.high)):
        return "–"
    low = number(measurement.low, measurement.unit, apart_from=measurement.threshold)
    high = number(measurement.high, measurement.unit, apart_from=measurement.threshold)
    return f"{low} to {high}"


def rule_of(measurement: Measurement) -> str:
    """What was asked, e.g. `≥ 70 %`; empty for a figure that is only reported."""
    if measurement.op is None or measurement.threshold is None:
        return ""
    return f"{SIGNS[measurement.op]}\u00a0{exact(measurement.threshold, measurement.unit)}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if not math.isfinite(seconds) or seconds < 0:
        return NOT_MEASURED
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def date(iso: str) -> str:
    """An ISO 8601 moment, e.g. `2 November 2026, 20:41 UTC`; anything else as it is."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment:%Z}".strip()


def _scaled(value: float, unit: str) -> float:
    # Twelve digits: 0.57 * 100 is 56.99999999999999 in binary, which nobody measured.
    return float(f"{value * (100 if unit == 'share' else 1):.12g}")


def _side(value: float, mark: float) -> int:
    return (value > mark) - (value < mark)


def _digits(value: float, percent: bool, extra: int) -> str:
    """Decimal text that float() reads back; `extra` asks for more digits than usual."""
    if value == 0 or (value.is_integer() and (not percent or value == 100) and abs(value) < 1e15):
        return f"{value:.0f}"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4 or magnitude >= 9:
        return f"{value:.{2 + extra}e}"
    if percent:
        return f"{value:.{1 + extra}f}"
    decimals = 2 - magnitude if magnitude < -1 else 3 if magnitude < 3 else 1
    return f"{value:.{decimals + extra}f}"


def _decorated(text: str, percent: bool) -> str:
    mantissa, _, exponent = text.partition("e")
    whole, dot, fraction = mantissa.partition(".")
    if len(whole.lstrip("-")) > 4:
        whole = f"{int(whole):,}".replace(",", NARROW_SPACE)
    text = f"{whole}{dot}{fraction}".replace("-", "−")
    if exponent:
        text += f" × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return f"{text}{NARROW_SPACE}%" if percent else text
