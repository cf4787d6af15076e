"""Counts travel in states of constant shape; summaries add up and say the conservation line."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from label_guard.pipeline.counts import RULE_CODES, Counts, Summary, summary_of

NAMES = list(Counts().to_state())
NUMBERS = st.lists(st.integers(0, 10**12), min_size=len(NAMES), max_size=len(NAMES))


def _counts(numbers: list[int]) -> Counts:
    return Counts.from_state(dict(zip(NAMES, numbers, strict=True)))


@given(NUMBERS)
def test_the_round_trip(numbers: list[int]) -> None:
    """Counts come back from JSON as they were, under the same names whatever they hold."""
    counts = _counts(numbers)
    state = json.loads(json.dumps(counts.to_state()))
    assert Counts.from_state(state) == counts
    assert list(state) == NAMES


def test_states_of_other_releases() -> None:
    """A state that knew fewer rules, or more, still loads."""
    state = Counts(seen=5).to_state()
    del state[RULE_CODES[0]]
    assert Counts.from_state({**state, "LG199": 3}).seen == 5


@given(NUMBERS, NUMBERS)
def test_summaries_add_up(first: list[int], second: list[int]) -> None:
    """The sum of two workers' summaries is that of their counts."""
    total = summary_of(_counts(first), 3, 1) + summary_of(_counts(second), 4)
    joint = {
        name: a + b
        for (name, a), b in zip(_counts(first).to_state().items(), _counts(second).to_state().values(), strict=True)
    }
    assert total == summary_of(Counts.from_state(joint), 7, 1)


def test_the_conservation_line() -> None:
    """The line has every part, and what was refused or delivered bad only where there is any."""
    summary = Summary(seen=10, delivered=6, quarantined=2, skipped=1, remainder=1, by_rule={"LG101": 2})
    assert summary.is_conserved
    assert str(summary) == (
        "seen 10 = delivered 6 + quarantined 2 + skipped 1 + remainder 1 + pending 0; LG101 label-out-of-range 2"
    )
    refused = Summary(seen=4, delivered=3, refused=1, masked=2, written=3, padding=5)
    assert str(refused) == (
        "seen 4 = delivered 3 + quarantined 0 + skipped 0 + remainder 0 + pending 0 + refused 1; "
        "2 delivered records are bad; 3 written to the quarantine; and 5 rows of padding"
    )
    assert not Summary(seen=1).is_conserved
