"""A violation says where in the label the first offending value is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from label_guard import ClassLabel, Guard, audit_dataset
from label_guard.schema.dataset import DatasetSchema


def schema(shape: list[int | None]) -> DatasetSchema:
    """Five classes of this shape."""
    label = ClassLabel(num_classes=5, shape=tuple(shape))
    return DatasetSchema(format=1, name="x", version="1.0.0", labels={"mask": label})


@given(bad=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=9))
def test_the_place_is_that_of_the_first_offending_position(bad: set[tuple[int, int, int]]) -> None:
    """Of every record the first position in row-major order, as a slow search finds it."""
    masks = np.zeros((3, 4, 5), np.uint8)
    for place in bad:
        masks[place] = 9
    result = Guard(schema([4, 5])).check_batch({"mask": masks})
    found = {violation.row: violation.place for violation in result.violations}
    assert found == {row: min(place[1:] for place in bad if place[0] == row) for row in {place[0] for place in bad}}


def test_messages_show_the_place(tmp_path: Path) -> None:
    """The guard's message and the audit's finding name it; a label of one value has none."""
    masks = np.zeros((2, 4, 5), np.uint8)
    masks[1, 2, 3] = 7
    (violation,) = Guard(schema([4, 5])).check_batch({"mask": masks}).violations
    assert str(violation) == "LG101 mask: row 1: 7 at [2, 3], expected [0, 5)"
    np.save(tmp_path / "a.npy", masks)
    (finding,) = [f for f in audit_dataset(schema([4, 5]), source=f"{tmp_path}/a.npy").findings if f.rule == "LG101"]
    assert "first 1: 7 at [2, 3], expected [0, 5)" in finding.message
    (violation,) = Guard(schema([])).check_batch({"mask": np.array([1, 9])}).violations
    assert violation.place == ()


@given(
    sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=6),
    bad=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), max_size=9),
)
def test_the_place_is_known_in_records_of_any_size(
    sizes: list[tuple[int, int]], bad: set[tuple[int, int, int]]
) -> None:
    """Masks of several sizes in one batch: the place in each is the one that it has alone."""
    masks = [np.zeros(size, np.int64) for size in sizes]
    expected: dict[int, tuple[int, ...]] = {}
    for row, y, x in sorted(bad):
        if row < len(sizes) and y < sizes[row][0] and x < sizes[row][1]:
            masks[row][y, x] = 9
            expected.setdefault(row, (y, x))
    result = Guard(schema([None, None])).check_batch({"mask": masks})
    assert {row: found.place for row in range(len(masks)) for found in result.of_row(row)} == expected
