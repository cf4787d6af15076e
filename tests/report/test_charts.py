"""Charts: bounded, and nothing of the counts is lost on the way to a drawing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.audit.blocks import Blocks
from label_guard.report.charts import (
    HEIGHT,
    MAX_BARS,
    MAX_CELLS,
    WIDTH,
    block_strip,
    class_charts,
    comparison,
    ranges,
    strip,
)  # fmt: skip

COUNTS = st.dictionaries(st.integers(0, 700), st.integers(1, 10**9), min_size=1)


@given(counts=COUNTS)
def test_charts_are_bounded_and_inside_their_frame(counts: dict[int, int]) -> None:
    """Any counts give four charts of at most 240 bars, inside the frame, the highest bar as high as the frame."""
    charts = class_charts(range(701), (), counts)
    assert [(chart.order, chart.scale) for chart in charts] == [
        ("id", "linear"), ("id", "log"), ("count", "linear"), ("count", "log")
    ]  # fmt: skip
    for chart in charts:
        assert 0 < len(chart.bars) <= MAX_BARS
        assert max(bar.height for bar in chart.bars) == HEIGHT
        assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH + 0.1 and bar.height >= 1.5 for bar in chart.bars)


def test_each_class_has_a_bar_of_its_own_where_they_fit() -> None:
    """Few classes: one bar each, named, with the exact count; unused classes have none."""
    by_id, _, by_count, _ = class_charts([1, 5, 9], ["cat", "dog", "cow"], {1: 10, 9: 40})
    assert [bar.text for bar in by_id.bars] == ["1 cat: 10", "9 cow: 40"]
    assert [bar.height for bar in by_id.bars] == [HEIGHT / 4, HEIGHT]
    assert [bar.text for bar in by_count.bars] == ["rank 1: 40", "rank 2: 10"]
    assert [text for _, text in by_id.ticks] == ["1", "5", "9"]


def test_nothing_counted_gives_no_chart() -> None:
    """Without a count there is nothing to draw."""
    assert class_charts([0, 1], (), {}) == []


def test_the_distance_of_splits_is_the_total_variation() -> None:
    """0 for the first split, by definition; half of the mass moved is 0.5."""
    lines = comparison([0, 1], [("train", {0: 5, 1: 5}, 10), ("test", {1: 3}, 3)])
    assert [line.distance for line in lines] == [None, 0.5]


@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=2000))
def test_a_strip_keeps_the_worst_file_of_each_cell(shares: list[float]) -> None:
    """A single invalid file among thousands stays visible."""
    cells = strip(shares)
    assert len(cells) <= MAX_CELLS
    assert any(cell.height for cell in cells) == any(shares)


@pytest.mark.parametrize(
    ("ids", "expected"), [([], []), ([4], ["4"]), ([1, 2, 4, 6, 7], ["1..2", "4", "6..7"]), (range(9), ["0..8"])]
)
def test_ids_are_written_as_ranges(ids: list[int], expected: list[str]) -> None:
    """Neighbours are joined."""
    assert ranges(ids, 5) == expected


@given(rows=st.sets(st.integers(0, 9999), min_size=1, max_size=50), more=st.integers(1, 3000))
def test_a_block_strip_lies_in_its_frame(rows: set[int], more: int) -> None:
    """Each block is drawn, however narrow, and says how many records are invalid."""
    blocks = Blocks.of(rows)
    cells = block_strip(blocks, max(rows) + more)
    assert [int(cell.text.split(": ")[1].split()[0]) for cell in cells] == list(blocks.counts.values())
    assert all(cell.x >= 0 and cell.x + cell.width <= WIDTH + 0.1 and 0 < cell.height <= 1 for cell in cells)


@given(counts=st.lists(st.dictionaries(st.integers(0, 300), st.integers(1, 10**6), min_size=1), min_size=2, max_size=4))
@pytest.mark.parametrize("log", [False, True])
def test_lines_of_a_comparison_stay_in_their_frame(log: bool, counts: list[dict[int, int]]) -> None:
    """On either scale each step of a line is between the foot and the top of the drawing, and one reaches the top."""
    lines = comparison(range(301), [(str(at), found, 1) for at, found in enumerate(counts)], log=log)
    heights = [float(step.split()[1].split("h")[0]) for line in lines for step in line.path.split("L")[1:]]
    assert all(-0.1 <= height <= HEIGHT + 0.1 for height in heights)
    assert min(heights) == pytest.approx(0, abs=0.1)
