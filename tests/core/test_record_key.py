"""Record keys sort as people count."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from label_guard.core.record_key import natural_order

KEYS = st.text(alphabet="ab_-/0129 ", max_size=12)


def slow(key: str) -> list[tuple[int, int, str]]:
    """The same order, part by part: a number sorts before any other text, and numbers by value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"[0-9]+|[^0-9]", key)]


def test_numbers_in_keys_sort_by_value() -> None:
    """``file__9`` comes before ``file__10``, in the file's name too; endless digits are allowed."""
    keys = ["f-10__1", "f-2__10", "f-2__9", "10", "9", "id", "x__" + "9" * 5000]
    assert sorted(keys, key=natural_order) == ["9", "10", "f-2__9", "f-2__10", "f-10__1", "id", keys[-1]]


@given(st.lists(KEYS, max_size=12))
def test_the_order_is_that_of_a_slow_one(keys: list[str]) -> None:
    """Against an order that compares part by part."""
    assert [slow(key) for key in sorted(keys, key=natural_order)] == sorted(map(slow, keys))
