"""Blocks: where invalid records are, the same for any cut of a file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from label_guard.audit.blocks import MAX_BLOCKS, Blocks

ROWS = st.sets(st.integers(0, 500) | st.integers(0, 10**9), max_size=40)


@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 40))
def test_any_cut_and_order_gives_the_same_blocks(rows: set[int], random: object, cut: int) -> None:
    """Parts merged are the blocks of the whole, and every record is in the block of its number."""
    ordered = sorted(rows)
    random.shuffle(ordered)  # type: ignore[attr-defined]
    whole = Blocks.of(rows)
    assert Blocks.of(ordered[cut:]).merge(Blocks.of(ordered[:cut])) == whole
    expected = {block: sum(row // whole.size == block for row in rows) for block in {row // whole.size for row in rows}}
    assert whole.counts == expected
    assert all(block < MAX_BLOCKS for block in whole.counts)
    assert whole.size == 1 or max(rows) // (whole.size // 2) >= MAX_BLOCKS
