"""tree: paths and leaves of users' elements; inputs never change."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any, NamedTuple

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


@dataclass
class _Doubled:
    label: Any

    def __post_init__(self) -> None:
        self.label = [self.label, self.label]

    @functools.cached_property
    def first(self) -> Any:
        return self.label[0]


class _NamedPair(NamedTuple):
    label: Any
    other: Any


class _Both(_NamedPair):
    def __new__(cls, both: tuple[Any, Any]) -> _Both:
        return super().__new__(cls, *both)


class _Pair(tuple[Any, ...]):
    def __new__(cls, label: Any, other: Any) -> _Pair:
        return super().__new__(cls, (label, other))


class _List(list[Any]):
    def __init__(self, label: Any, other: Any) -> None:
        super().__init__((label, other))


class _Dict(dict[str, Any]):
    def __init__(self, label: Any) -> None:
        super().__init__(label=[label, label])


@pytest.mark.parametrize("node", [_Doubled(1), _Both((1, 2)), _Pair(1, 2), _List(1, 2), _Dict(1)])
def test_code_of_the_class_does_not_run_again(node: Any) -> None:
    """A ``__post_init__``, ``__init__`` or ``__new__`` that changes or checks features has run when they were made."""
    before = [value for _, value in tree.children(node) or ()]
    changed = tree.rebuild(node, [f"new {value}" for value in before])
    assert type(changed) is type(node)
    assert [value for _, value in tree.children(changed) or ()] == [f"new {value}" for value in before]
    assert [value for _, value in tree.children(node) or ()] == before


def test_what_was_computed_from_former_values_is_forgotten() -> None:
    """A cached property of a new element is computed from the new values."""
    node = _Doubled(1)
    assert node.first == 1
    assert tree.put(node, "label", [5, 6]).first == 5


@dataclass
class _ModelOutput(OrderedDict[str, Any]):  # the form of transformers' ModelOutput
    label: Any
    label_valid: Any = None

    def __post_init__(self) -> None:
        super().__setitem__("label", self.label)

    def update(self, *_args: Any, **_kwargs: Any) -> None:  # type: ignore[override]
        raise TypeError("update")


class _Attributes(dict[str, Any]):
    def __init__(self, **features: Any) -> None:
        super().__init__(**features)
        self.__dict__ = self


@pytest.mark.parametrize("node", [_ModelOutput(99), _Attributes(label=99)])
def test_items_that_are_attributes_too_change_in_both(node: Any) -> None:
    """An invalid label must not stay where ``batch.label`` reads it, nor a mask be absent there."""
    changed = tree.put_beside(tree.put(node, "label", 1), "label", "label_valid", False)
    assert type(changed) is type(node)
    assert changed["label"] == changed.label == 1
    assert changed["label_valid"] is changed.label_valid is False
    assert node["label"] == node.label == 99


@dataclass
class _Mappable(Mapping[str, Any]):  # the form of a chex dataclass
    label: Any

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(["label"])

    def __len__(self) -> int:
        return 1


def test_a_dataclass_that_is_a_mapping_keeps_its_type() -> None:
    """Its fields are its features; one that it lacks cannot be added."""
    assert tree.put(_Mappable(1), "label", 2) == _Mappable(2)
    with pytest.raises(TypeError, match="cannot add"):
        tree.put(_Mappable(1), "other", 2)
