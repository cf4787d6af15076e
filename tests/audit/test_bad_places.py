"""Invalid records in columns: what a plain list of them would give, in little memory."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.audit.bad_places import BadPlace, BadPlaces
from label_guard.audit.baseline import compare
from label_guard.core.record_key import natural_order

KEYS = st.sampled_from(["a", "a__0", "a__7", "a__07", "a__10", "b__3", "", "0", "007", "12", "é", "9" * 25, "x\n1"])
PLACES = st.lists(
    st.builds(BadPlace, KEYS, st.sampled_from("rs"), st.integers(0, 9), st.sampled_from([("u",), ("v",), ("u", "v")])),
    max_size=20,
    unique_by=lambda place: (place.shard, place.row),
)


@given(PLACES, PLACES)
def test_places_are_those_of_a_list(first: list[BadPlace], second: list[BadPlace]) -> None:
    """Added one by one, merged and pickled, they come back as they were, each key as it was."""
    found = BadPlaces(first)
    found.update(BadPlaces(second))
    assert list(pickle.loads(pickle.dumps(found))) == [*first, *second]
    assert [found[place] for place in range(len(found))] == [*first, *second]


@given(PLACES)
def test_the_order_is_that_of_keys_and_places(places: list[BadPlace]) -> None:
    """As people count; records of one key follow each other, and the repeated ones are known."""
    found = BadPlaces(places).in_order()
    assert Counter(found) == Counter(places)
    assert list(BadPlaces(places[::-1]).in_order()) == list(found)
    keys = [key for key, _ in groupby(place.record for place in found)]
    assert len(keys) == len(set(keys))
    named = [place.record for place in found if place.record.startswith(("a__", "b__")) and "07" not in place.record]
    assert named == sorted(named, key=natural_order)
    counts = Counter(place.record for place in places)
    assert set(found.repeated(99)) == {key for key, count in counts.items() if count > 1}


@given(PLACES, PLACES)
@settings(max_examples=60)
def test_known_new_and_fixed_are_those_of_counters(then: list[BadPlace], now: list[BadPlace]) -> None:
    """By key: as many are known as the baseline has, and what it has more is fixed."""
    found = compare(BadPlaces(then), BadPlaces(now).in_order(), whole=True)
    before, today = (Counter(place.record for place in places) for places in (then, now))
    assert found.fixed == (before - today).total()
    assert set(found.fixed_examples) <= set(before - today)
    pairs = [Counter((place.record, place.broken) for place in places) for places in (then, now)]
    assert (today - before).total() <= found.new <= (pairs[1] - pairs[0]).total()
    assert found.new + found.known == len(now)
