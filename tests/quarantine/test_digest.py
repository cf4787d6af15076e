"""Two records are one only where they are the same in everything that a line says of them."""

from __future__ import annotations

import enum
import itertools
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from label_guard.quarantine import BadRecord, Origin, QuarantineOptions, QuarantineWriter, payload, read_quarantine
from label_guard.quarantine.digest import digest
from tests.elements import Example, Pair

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3) | st.integers(min_value=2**52),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec=None, exclude_categories=()), max_size=3),
    st.binary(max_size=3),
    hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2)),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3) | st.integers(-9, 9) | st.binary(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


class Color(enum.IntEnum):
    """An integer with a name."""

    RED = 1


NANS = (0x7FF8 << 48, 0xFFF8 << 48, (0x7FF8 << 48) + 1)


def plain_values() -> list[Any]:
    """Values of other kinds, dtypes, shapes or nesting that look alike."""
    nans = [
        struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8 << 48, 0xFFF8 << 48, (0x7FF8 << 48) + 1)
    ]
    return [
        *({key: 1} for key in (1, "1", b"1", True, None, 1.0, (1,))),
        1, True, 1.0, 1 + 0j, "1", b"1", bytearray(b"1"), None, "None", 0, False, "", b"", [], (), {}, [[]], [()], [{}],
        0.0, -0.0, complex(0, -0.0), 0j, *nans, 2**60, str(2**60), float(2**60), 10**5000, -(10**5000),
        [1], (1,), [[1]], [1, 1], [True], ["1"], [b"1"], [1, [2]], [[1], 2], [[1, 2]], [1, 2], (1, 2), ["1", "2"],
        {"a": {"b": 1}}, {"a/b": 1}, {"a": [{"b": 1}]}, {"a": 1, "b": 1}, {"a": [1, 2]}, {"a": [1], "b": 2}, "a", "a\0",
        "\ud800", "\\ud800", {"dtype": "<i8"}, [["a", 1]], {"list": 1}, {"tuple": [1]}, {"0": 1}, {0: 1},
    ]  # fmt: skip


def arrays() -> list[Any]:
    """As ``plain_values``, of NumPy."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    numbers = [np.dtype(text).type(1) for text in ("i1", "i2", "i4", "i8", "u1", "u8", "f2", "f4", "f8", "c8", "?")]
    fields = [[("a", "<i4"), ("b", "<i4")], [("b", "<i4"), ("a", "<i4")], [("a", "<i8")]]
    nans = [np.array(bits, np.uint64).view(np.float64) for bits in NANS]
    extensions = [getattr(ml_dtypes, name) for name in dir(ml_dtypes)]
    extensions = [kind for kind in extensions if isinstance(kind, type) and issubclass(kind, np.generic)]
    return [
        *(make(kind) for kind in extensions for make in (lambda kind: kind(1), lambda kind: np.ones((1, 3), kind))),
        *numbers, *map(np.array, numbers), *(np.array([number]) for number in numbers), *nans, np.array([[1]]),
        np.array(1, ">i8"), np.array(1).view(">i8"), np.array(0.0), np.array(-0.0), np.float64(-0.0), np.float64(0.0),
        np.array(1, ml_dtypes.bfloat16), np.array(1, ml_dtypes.bfloat16).view("u2"), np.array(0x3F80, "u2").view("f2"),
        *(np.array(item) for item in ("a", "b", b"a", "ab")), np.str_("a"), np.bytes_(b"a"), np.str_("a\0"),
        np.bytes_(b"a\0"),
        np.array(["a"], getattr(np.dtypes, "StringDType", lambda: "U9")()), np.array(["a"], object),
        np.array([b"a"], object),
        *(np.array([item], object) for item in (1, True, 1.0, None, "1", 1 + 0j)), np.array([[1]], object), np.zeros(0),
        np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(0, "u1"), np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(6),
        *(np.zeros((), kind) for kind in fields), np.zeros((), [("a", "<i4", (2,))]), np.zeros((), "V8"),
        *(np.zeros((), [("a", kind)]) for kind in extensions), np.zeros((), ("<i8", [("a", "<i4"), ("b", "<i4")])),
        *(np.array(0, f"<M8[{unit}]") for unit in ("s", "ms", "25s", "D")), np.array(0, "<m8[s]"), np.longdouble(1),
    ]  # fmt: skip


def everything() -> list[Any]:
    """All values, those with classes of this file included."""
    return [*plain_values(), *arrays(), Pair(1, 2), Example(1, 2), {"x": 1, "y": 2}, Color.RED]


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"x": x}, lambda x: [x], lambda x: {"y": {"x": (x, 0)}}])
def test_no_two_values_that_look_alike_share_a_digest(wrap: Any) -> None:
    """Every pair of a long list differs, alone and at any depth, and each value has one digest."""
    digests = [digest(wrap(value), exact=True) for value in everything()]
    same = [(a, b) for a, b in itertools.combinations(range(len(digests)), 2) if digests[a] == digests[b]]
    assert [(everything()[a], everything()[b]) for a, b in same] == []
    assert digests == [digest(wrap(value), exact=True) for value in everything()]


def test_each_of_them_is_an_entry_of_its_own_and_stays_it(tmp_path: Path) -> None:
    """Records without a position, all under one label: none hides another, and a restarted run adds none."""
    records = [BadRecord(None, {"x": value, "label": 9}, {"label": 9}, ()) for value in everything()]
    options, origin = QuarantineOptions(str(tmp_path)), Origin("d", "1.0.0", "d1", None, None, "s")
    assert QuarantineWriter(options, origin).append(records) == len(records)
    assert QuarantineWriter(options, origin).append(records) == 0
    contents = read_quarantine(tmp_path)
    assert (len(contents.entries), contents.num_problems) == (len(records), 0)


@pytest.mark.parametrize("seed", ["0", "1"])
def test_another_process_finds_the_same_digests(tmp_path: Path, seed: str) -> None:
    """Neither the hash seed nor the order of a dict belongs to a record."""
    values = [*plain_values(), *arrays(), {"a": 1, "b": 2}, {1: 0, "1": 0, b"1": {"y": 0, "x": 1}}]
    (tmp_path / "values").write_bytes(pickle.dumps(values))
    program = (
        "import pickle, sys; from label_guard.quarantine.digest import digest\n"
        "turn = lambda v: {k: turn(v[k]) for k in reversed(v)} if isinstance(v, dict) else v\n"
        "print(*(digest(turn(v), exact=True) for v in pickle.load(open(sys.argv[1], 'rb'))))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "values")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
    )
    values = pickle.loads((tmp_path / "values").read_bytes())  # a pickle does not keep every byte order
    assert done.stdout.split() == [digest(value, exact=True) for value in values]


@given(VALUES, VALUES)
@settings(max_examples=300, deadline=None)
@example(0, {})
@example([1], (1,))
def test_records_that_are_written_differently_have_different_digests(left: Any, right: Any) -> None:
    """Whatever a line distinguishes, the digest of the content does; the order of keys does not count."""
    if written(left) == written(right):
        return
    for wrapped in (lambda x, y: (x, y), lambda x, y: ({"a": x}, {"a": y}), lambda x, y: ([x, y], [y, x])):
        one, other = wrapped(left, right)
        assert digest(one, exact=True) != digest(other, exact=True)


def written(value: Any) -> str:
    """What a line holds of ``value``, dicts by their keys."""
    return json.dumps(_sorted(payload.encode(value)))


def _sorted(node: Any) -> Any:
    if isinstance(node, dict) and "dict" in node:
        return {"dict": sorted(([key, _sorted(item)] for key, item in node["dict"]), key=json.dumps)}
    if isinstance(node, dict):
        return {key: _sorted(item) for key, item in node.items()}
    return [_sorted(item) for item in node] if isinstance(node, list) else node


@pytest.mark.parametrize("first", range(3))
def test_a_digest_does_not_depend_on_what_was_seen_before(first: int) -> None:
    """Dtypes that NumPy calls equal and writes differently keep digests of their own; one without a hash has one."""
    packed = np.dtype([("a", "<i4")])
    dtypes = [packed, np.dtype([("a", "<i4")], align=True), np.dtype((np.record, packed))]
    digest(np.zeros(1, dtypes[first]))
    assert len({digest(np.zeros(1, dtype)) for dtype in dtypes}) == len(dtypes)
    if hasattr(np.dtypes, "StringDType"):  # since NumPy 2
        digest(np.array(["a"], np.dtypes.StringDType(na_object=[])))


def test_digests_stay_what_they_are_in_quarantines_on_disk() -> None:
    """A digest is stored: another value for the same record would keep it twice after an upgrade."""
    record = {
        "image": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
        "label": np.int32(7),
        "boxes": np.zeros((0, 4), ">f4"),
        "id": b"img_7",
        "tags": ["a", None],
    }
    assert digest(record, exact=True) == "6c3f6bb6aca8827f85e88ae1d20a52ca"
    color = np.dtype(("<u4", [("r", "u1"), ("g", "u1"), ("b", "<u2")]))  # an integer with fields
    assert digest({"c": np.arange(3, dtype=color)}, exact=True) == "3b7ed6ad01313269109260773d481e7b"
    assert digest({"label": np.int32(7)}) == "b6db1d475fa96e9ac38fe9af5fa59be7"
    assert digest({"label": np.array([True, False])}) == "e7de5422db4131f16754fe42ea5eaf96"


def test_padding_is_not_part_of_a_value() -> None:
    """Bytes between the fields of a structure, and those of an 80-bit number that it does not use, say nothing."""
    kind = np.dtype([("a", "u1"), ("b", "<i4")], align=True)
    noise = [np.frombuffer(b"\1" + bytes([fill]) * 3 + b"\2\0\0\0", kind) for fill in (0, 255)]
    assert noise[0].tobytes() != noise[1].tobytes()
    assert digest(noise[0]) == digest(noise[1])
    long = [np.frombuffer(bytes([fill]) * 64, np.longdouble).copy() for fill in (0, 255)]
    for array in long:
        array[:] = np.longdouble(1) / 3
    assert digest(long[0]) == digest(long[1])
    assert digest(long[0]) != digest(long[0] * 3)


def test_labels_are_the_same_from_a_batch_and_alone() -> None:
    """The digest of labels takes a row of a batch and an array of no axes for one; that of content does not."""
    assert digest({"label": np.arange(3)[1]}) == digest({"label": np.array(1)})
    assert digest(np.int64(1), exact=True) != digest(np.array(1), exact=True)


class Refusing:
    """An object that nothing can be asked of."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("deleted")

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def itself() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value", [object(), range(3), Refusing(), itself(), np.ma.masked_array([1], [True]), np.array([object()], object)]
)
def test_what_has_no_exact_form_is_never_taken_for_another_record(value: Any) -> None:
    """As content it has a digest of its own each time; as a label it has one, whatever can be asked of it."""
    record = {"x": value, "y": 1}
    assert digest(record, exact=True) != digest(record, exact=True)
    assert len(digest(record)) == 32
