"""Values far from the ids, such as 99 for "not known", are not drafted as classes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from label_guard.infer.classes import draft_classes
from label_guard.schema.labels import ClassLabel

CODES = [99, 999, 9999, 65535, -999, -(2**31), -(2**63)]


def ids_of(fields: dict[str, object]) -> set[int]:
    """What a draft accepts."""
    label = ClassLabel.model_validate({name: value for name, value in fields.items() if name != "kind"})
    return {*label.raw_ids, *label.ignore}


@given(
    start=st.integers(0, 1),
    classes=st.lists(st.integers(100, 300), min_size=2, max_size=30),
    codes=st.dictionaries(st.sampled_from(CODES), st.integers(6, 300), min_size=1, max_size=2),
)
def test_a_code_far_from_the_ids_is_left_illegal_and_marked(
    start: int, classes: list[int], codes: dict[int, int]
) -> None:
    """Whatever its share, one or two codes next to ids in a row are not classes, and their line says so."""
    counts = dict(enumerate(classes, start)) | codes
    drafted = draft_classes(counts, scalar=True, only_label=True)
    if drafted.fields:  # else the data are refused, as where ids from 1 leave 0 in doubt
        assert not set(codes) & ids_of(drafted.fields)
        assert set(range(start, start + len(classes))) <= ids_of(drafted.fields)
        assert all(any(str(code) in mark for mark in drafted.marks["num_classes"]) for code in codes)


def test_ids_with_gaps_are_classes() -> None:
    """Gaps that are shorter, and several values beyond one, remain ids with gaps."""
    for ids in ([0, 1, 3], [0, 2, 4], [0, 1, 2, 5], [0, 1, 2, 20, 30, 40]):
        assert ids_of(draft_classes(dict.fromkeys(ids, 500), scalar=True, only_label=True).fields) == set(ids)
