"""Charts of numbers: nothing that was counted is lost on the way to a drawing."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.diagnosis.distribution import Histogram
from label_guard.report.charts import HEIGHT, WIDTH
from label_guard.report.number_charts import HistogramView, histogram_view, pair_grid, rank_chart

NUMBERS = st.lists(st.floats(-1e12, 1e12) | st.integers(-9, 9).map(float), min_size=1, max_size=80)
LIMITS = st.none() | st.floats(-1e6, 1e6)


def view_of(values: list[float], low: float | None = None, high: float | None = None) -> HistogramView:
    """The drawing of ``values``."""
    histogram = Histogram()
    histogram.add(np.array(values))
    view = histogram_view("Values", histogram, low, high)
    assert view is not None
    return view


@given(NUMBERS, LIMITS, LIMITS)
def test_every_number_is_drawn_or_named_as_outside(values: list[float], low: float | None, high: float | None) -> None:
    """Bars lie in the frame, and bars and the numbers next to them are as many as there were."""
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    view = view_of(values, low, high)
    bars = [int(bar.text.rpartition(": ")[2].replace(",", "")) for bar in view.chart.bars]
    beyond = [int(text.split()[0].replace(",", "")) for text in view.outside]
    assert sum(bars) + sum(beyond) == len(values)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH + 0.1 and bar.height <= HEIGHT for bar in view.chart.bars)
    assert all(0 <= left <= 100 for left, _ in view.chart.ticks)


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: not 0 < abs(value) < 1e-300)
        | st.integers(0, 50).map(lambda tenths: tenths / 10),
        min_size=1,
        max_size=60,
    ),
    LIMITS,
    LIMITS,
)
def test_each_bar_has_the_count_of_its_numbers(values: list[float], low: float | None, high: float | None) -> None:
    """A bar shows how many numbers lie in it: tenths, one number many times, the greatest doubles."""
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    view = view_of(values, low, high)
    rest = sorted(values)
    ends = [text.split() for text in view.outside]
    for count, side, _ in ends:
        rest = rest[int(count) :] if side == "below" else rest[: -int(count)]
    for bar in view.chart.bars:
        span, _, count = bar.text.rpartition(": ")
        first, last = (float(edge) for edge in span.split(" to "))
        held, rest = rest[: int(count)], rest[int(count) :]
        slack = 1e-5 * max(abs(first), abs(last))  # edges have six digits
        assert first - slack <= held[0] <= held[-1] <= last + slack
    assert not rest


def test_one_number_has_one_bar() -> None:
    """A hundred times 0.3 is one bar of a hundred."""
    assert [bar.text.rpartition(": ")[2] for bar in view_of([0.3] * 100).chart.bars] == ["100"]


def test_whole_numbers_have_a_bar_each() -> None:
    """Ages in years: bars of one year, not a comb; those outside the limits are named."""
    view = view_of([*range(20, 50), 20, -999, 300], 0, 60)
    drawn = {re.sub(" to .*", "", bar.text): bar.text.rpartition(": ")[2] for bar in view.chart.bars}
    assert drawn == {str(age): "2" if age == 20 else "1" for age in range(20, 50)}
    assert list(view.outside) == ["1 below 0", "1 above 60"]


def test_few_far_numbers_do_not_flatten_the_rest() -> None:
    """Without limits, one number in ten thousand is left out of the drawing and named."""
    view = view_of([float(k % 100) for k in range(10_000)] + [1e9])
    assert len(view.chart.bars) == 50
    assert [text.partition(" ")[0] for text in view.outside] == ["1"]


def test_no_number_gives_no_drawing() -> None:
    """NaN alone is not drawn."""
    histogram = Histogram()
    histogram.add(np.array([np.nan]))
    assert histogram_view("Values", histogram) is None


@given(st.dictionaries(st.integers(0, 10**6), st.integers(1, 10**6), min_size=1, max_size=3000))
def test_ranks_cover_every_id(counts: dict[int, int]) -> None:
    """The bars go from the most frequent id to the rarest, without a gap."""
    bars = rank_chart(counts).bars
    assert bars[0].x == 0
    assert bars[-1].x + bars[-1].width == pytest.approx(WIDTH, abs=0.1)
    assert max(bar.height for bar in bars) <= HEIGHT + 0.1


def test_the_grid_has_shares_of_the_row() -> None:
    """Of 4 rows with class 0, 1 has class 2 as well: a quarter; of 2 rows with class 2, a half."""
    grid = pair_grid([0, 2], {0: 4, 2: 2}, {2: 1}, 3)
    assert grid == [[(4, 1.0), (1, 0.25)], [(1, 0.5), (2, 1.0)]]
