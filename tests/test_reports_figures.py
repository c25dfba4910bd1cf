"""Figures have the digits that matter, and their drawings say in words what they draw."""

import re

import pytest

from reports import draw
from reports import format as written
from reports.details import Pairs
from tests.report_world import measurement


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
