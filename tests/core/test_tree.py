"""tree: paths and leaves of users' elements; inputs never change."""

from __future__ import annotations

import copy
from dataclasses import InitVar, dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.core import tree
from tests.elements import Example, Pair

KEYS = st.sampled_from(["a", "b", "label", "a/b"])
TREES = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3) | st.tuples(inner, inner)
)


@pytest.mark.parametrize(
    ("node", "path", "value"),
    [
        ({"image/class/label": 1}, "image/class/label", 1),
        ({"image": {"class": {"label": 2}}}, "image/class/label", 2),
        ({"image/class": {"label": 3}}, "image/class/label", 3),
        ({"a": {"b": 4}, "a/b": 5}, "a/b", 5),
        ((6, 7), "1", 7),
        (({"y": 8},), "0/y", 8),
        (Pair(0, 9), "y", 9),
        (Example(0, {"z": 10}), "y/z", 10),
        ({"a": 1}, "b", tree.MISSING),
        ({"a": 1}, "a/b", tree.MISSING),
        (3, "a", tree.MISSING),
    ],
)
def test_a_path_is_a_flat_key_first_and_nested_keys_else(node: Any, path: str, value: Any) -> None:
    """Flat keys as they are, keys joined by slashes, tuple indices, fields; MISSING where there is none."""
    assert tree.get(node, path) == value


@given(TREES.filter(lambda node: tree.children(node) is not None), st.integers(10, 99))
def test_what_is_put_is_got_and_nothing_else_changes(node: Any, value: int) -> None:
    """Put then get gives the value, the other leaves stay, and the input is not touched."""
    before = copy.deepcopy(node)
    path = next(path for path, _ in tree.leaves(node))
    if tree.get(node, path) is tree.MISSING or tree.children(tree.get(node, path)) is not None:
        return  # "a/b" next to "a": the flat key hides the nested one, by design
    changed = tree.put(node, path, value)
    assert tree.get(changed, path) == value
    assert node == before
    others = [leaf for leaf in tree.leaves(node) if leaf[0] != path]
    assert [leaf for leaf in tree.leaves(changed) if leaf[0] != path] == others


def test_a_new_key_or_a_next_place_can_be_put() -> None:
    """Dicts take new keys at any depth, tuples one more place; fixed structures take none."""
    assert tree.put({"a": {"b": 1}}, "a/c", 2) == {"a": {"b": 1, "c": 2}}
    assert tree.put((1, 2), "valid", 3) == (1, 2, 3)
    assert tree.put(Pair(1, 2), "y", 3) == Pair(1, 3)
    assert tree.put(Example(1, 2), "x", 0) == Example(0, 2)
    for fixed in (Pair(1, 2), Example(1, 2), 5):
        with pytest.raises(TypeError):
            tree.put(fixed, "z", 3)


def test_without_takes_a_key_away() -> None:
    """A key or a place is left out, nested ones too."""
    assert tree.without({"a": {"b": 1, "c": 2}}, "a/b") == {"a": {"c": 2}}
    assert tree.without((1, 2, 3), "2") == (1, 2)


def test_map_leaves_keeps_the_structure() -> None:
    """Every leaf is mapped, in containers of the same types."""
    assert tree.map_leaves(lambda leaf: leaf + 1, {"a": 1, "b": (2, [3])}) == {"a": 2, "b": (3, [4])}


def test_what_has_a_shape_is_a_leaf() -> None:
    """The spec of an array may be a dataclass; it is not a container."""

    @dataclass
    class Spec:
        shape: tuple[int, ...]
        dtype: str

    assert list(tree.leaves({"x": Spec((2,), "int32")})) == [("x", Spec((2,), "int32"))]


@dataclass
class _Counted:
    label: Any
    count: Any = field(init=False)

    def __post_init__(self) -> None:
        self.count = 0
        self.origin = "disk"  # no field


@dataclass(frozen=True, slots=True)
class _Scaled:
    label: Any
    scale: InitVar[int]


@dataclass(frozen=True)
class _Own:
    label: Any

    def __init__(self, image: str) -> None:
        object.__setattr__(self, "label", image)


@pytest.mark.parametrize("node", [_Counted(1), _Scaled(1, 2), _Own("1")])
def test_a_dataclass_that_is_not_made_of_its_fields(node: Any) -> None:
    """A field with ``init=False``, an ``InitVar`` or an own ``__init__``: every field is set to the new value."""
    changed = tree.map_leaves(lambda leaf: [leaf, 7], node)
    assert type(changed) is type(node)
    assert dict(tree.children(changed) or ()) == {name: [value, 7] for name, value in tree.children(node) or ()}
    assert tree.get(tree.put(node, "label", 8), "label") == 8
    assert getattr(changed, "origin", None) == getattr(node, "origin", None)
