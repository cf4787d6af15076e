"""What the counts of single splits say that those of all together do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from label_guard.core.plural import times
from label_guard.infer.classes import VOIDS, Drafted
from label_guard.schema.split_spec import is_training

_RARE = 20  # occurrences in one split below which a value is not taken for "no label" because it fills another
_EXPECTED = 20.0  # occurrences in the training split, by its share in the others, whose absence chance does not explain
_MAX_SHOWN = 3

Counts = Mapping[int | str, int]


def without_unlabeled_splits(counts: Counter[int], by_split: Mapping[str, Counts]) -> Counter[int]:
    """Returns ``counts`` without values for "no label" that only some splits hold often.

    A split of nothing but -1 says nothing of a -1 in another split, and one in which -1 is rare does not take it for
    "no label": what stays is too rare to become legal for all.

    Args:
        counts: occurrences by value in all splits.
        by_split: the same by split.
    """
    left = Counter(counts)
    for value in VOIDS:
        held = {name: found[value] for name, found in by_split.items() if found.get(value)}
        whole = {name for name, count in held.items() if count == sum(by_split[name].values())}
        rare = any(count < min(_RARE, 0.02 * sum(by_split[name].values())) for name, count in held.items())
        for name, count in held.items():
            if name in whole or (rare and count >= _RARE):
                left[value] -= count
    left = +left
    return left if any(value not in VOIDS for value in left) else counts


def mark_other_classes(drafted: Drafted, by_split: Mapping[str, Counts]) -> None:
    """Marks classes that other splits hold and the training split never does, though chance would show them there."""
    name = next(filter(is_training, by_split), None)
    if name is None:
        return
    train, absent = by_split[name], dict[int | str, str]()
    size = sum(train.values())
    for other, found in by_split.items():
        whole = sum(found.values())
        for value, count in found.items():
            if value not in train and value not in VOIDS and count * size >= _EXPECTED * whole:
                absent.setdefault(value, f"{value!r} occurs {times(count)} in {other} and never in {name}")
    more = f"more that {name} never holds"
    drafted.mark_first(list(absent.values()), _MAX_SHOWN, more, more)
