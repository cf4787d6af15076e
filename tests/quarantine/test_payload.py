"""What is written of a record is read back with its exact type; foreign payloads cost nothing."""

import base64
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from label_guard.core import tree
from label_guard.core.strict_json import to_json
from label_guard.quarantine import payload
from tests.elements import Example, Pair

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.byte_string_dtypes(endianness="?", max_len=4),
    hnp.unicode_string_dtypes(endianness="?", max_len=4),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.timedelta64_dtypes(endianness="?"),
    hnp.array_dtypes(max_size=3),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**52),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(codec=None, exclude_categories=())),
    st.binary(),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(-(2**59), 2**59)), inner, max_size=3),
    ),
    max_leaves=8,
)


def strict(text: str) -> Any:
    """Parse as a reader that refuses NaN and infinity and keeps numbers as doubles would."""

    def number(digits: str) -> int:
        assert abs(int(digits)) <= 2**53
        return int(digits)

    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in strict JSON"), parse_int=number)


def round_trip(value: Any) -> Any:
    """Write and read ``value`` by way of JSON text."""
    return payload.decode(strict(json.dumps(payload.encode(value), allow_nan=False)))


def same(left: Any, right: Any) -> bool:
    """Equal in type and value all the way down, NaN and -0.0 included."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    return repr(left) == repr(right)


@given(ARRAYS)
@settings(max_examples=300, deadline=None)
def test_arrays_come_back_with_dtype_byte_order_shape_and_bytes(array: np.ndarray) -> None:
    """Every dtype and shape, zero-size, 0-d, big-endian and structured included, is read back bit for bit."""
    back = round_trip(array)
    assert type(back) is np.ndarray
    assert (back.dtype, back.dtype.str, back.shape) == (array.dtype, array.dtype.str, array.shape)
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


@given(hnp.arrays(DTYPES, ()).map(lambda array: array[()]))
@settings(max_examples=200, deadline=None)
def test_numpy_scalars_come_back_as_scalars(scalar: np.generic) -> None:
    """A NumPy scalar, such as a row of a batch of labels, stays a scalar of its type."""
    back = round_trip(scalar)
    assert type(back) is type(scalar)
    assert back.dtype == scalar.dtype
    assert back.tobytes() == scalar.tobytes()


@pytest.mark.parametrize("scalar", [np.str_("a\0"), np.bytes_(b"a\0"), np.str_(""), np.float64("nan"), np.bool_(True)])
def test_scalars_that_numpy_itself_would_trim_come_back_whole(scalar: np.generic) -> None:
    """Text scalars keep trailing NULs, which indexing an array would drop."""
    back = round_trip(scalar)
    assert type(back) is type(scalar)
    assert str(back) == str(scalar)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_python_values_come_back_exactly(value: Any) -> None:
    """None, bool, int of any size, float, complex, any text, bytes and nestings of them keep type and value."""
    assert same(round_trip(value), value)


def test_numbers_at_the_edges_come_back_exactly() -> None:
    """Numbers beyond a double's integers, and beyond Python's own limit of decimal digits, keep type and value."""
    for value in (2**53, 2**53 + 1, -(2**64), 10**5000, -(10**5000), 1e300, -0.0, 3.0):
        back = round_trip(value)
        assert type(back) is type(value)
        assert back == value


def test_object_arrays_keep_their_items() -> None:
    """An object array, such as ragged lists, comes back with the same items and no pickle."""
    array = np.empty((2, 1), object)
    array[0, 0], array[1, 0] = [1, 2], np.arange(3, dtype=">i2")
    back = round_trip(array)
    assert (back.dtype, back.shape, back[0, 0]) == (np.dtype(object), (2, 1), [1, 2])
    assert back[1, 0].dtype == np.dtype(">i2")


def test_numpy_text_of_free_length_comes_back() -> None:
    """Arrays of NumPy 2's StringDType, whose buffer holds pointers, are kept by value."""
    string = getattr(np.dtypes, "StringDType", None)
    if string is None:
        return
    back = round_trip(np.array(["a", "a longer text than fits inline"], string()))
    assert back.dtype == string()
    assert back.tolist() == ["a", "a longer text than fits inline"]


def test_bfloat16_comes_back_and_is_raw_bytes_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dtype that only ml_dtypes knows is named; a machine without that package still reads its bytes."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(3).astype(ml_dtypes.bfloat16)
    assert round_trip(array).dtype == array.dtype
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    assert round_trip(array).dtype == np.dtype("V2")
    assert round_trip(array).tobytes() == array.tobytes()


class Mute:
    """An object without a text."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Refusing:
    """An array of another library that does not convert, as JAX's PRNG keys or a deleted array."""

    shape = ()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("no NumPy form")


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def itself() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


OVERLAPPING = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [0, 2]})
NO_FORM = {
    "an object": object(),
    "a range": range(3),
    "an object without a text": Mute(),
    "an array that refuses": Refusing(),
    "deep lists": nested(100),
    "a list that holds itself": itself(),
    "a masked array": np.ma.masked_array([1, 2], [True, False]),
    "overlapping fields": np.zeros(2, OVERLAPPING),
    "a dict with colliding keys": [{k * (2**61 - 1): 0 for k in range(1, 9)}],
    "a dict with many keys": [dict.fromkeys(range(5000))],
    "an object array of objects": np.array([object()], object),
}


@pytest.mark.parametrize("name", NO_FORM)
def test_what_has_no_exact_form_is_refused(name: str) -> None:
    """What would not come back as it was is never written."""
    with pytest.raises(payload.NotEncodableError):
        payload.encode(NO_FORM[name])


def extension_dtypes() -> list[np.dtype[Any]]:
    """Every dtype that ml_dtypes adds."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kinds = [getattr(ml_dtypes, name) for name in dir(ml_dtypes)]
    return [np.dtype(kind) for kind in kinds if isinstance(kind, type) and issubclass(kind, np.generic)]


def numpy_dtypes() -> list[np.dtype[Any]]:
    """Every dtype that NumPy names, with units and lengths."""
    named = [np.dtype(code) for code in np.typecodes["All"] if code not in "OT"]
    more = ["<U3", "|S4", "|V5", "<M8[25s]", "<m8[ns]", "<M8[us]", "<M8[D]"]
    big = [dtype.newbyteorder(">") for dtype in map(np.dtype, ["i2", "u8", "f4", "c16", "M8[s]", "U2"])]
    return named + [np.dtype(text) for text in more] + big


def test_every_dtype_comes_back_or_is_refused() -> None:
    """All dtypes of NumPy and ml_dtypes, alone, as scalars, and inside structured dtypes and subarrays."""
    extensions = extension_dtypes()
    assert len(extensions) >= 10
    kept = 0
    for dtype in numpy_dtypes() + extensions:
        for kind in (dtype, np.dtype([("a", dtype), ("b", "<i2", (2,))]), np.dtype([("in", [("x", dtype)])])):
            array = np.zeros((2, 3), kind)
            for value in (array, array[0, 0], array[:0]):
                try:
                    back = round_trip(value)
                except payload.NotEncodableError:
                    assert kind.names, f"{kind} alone must have a form"
                    continue
                kept += 1
                assert isinstance(back, np.ndarray) == isinstance(value, np.ndarray)
                assert (back.dtype, str(back.dtype)) == (value.dtype, str(value.dtype))
                # NumPy fills the padding of a longdouble scalar with anything.
                assert dtype.char in "gG" or back.tobytes() == value.tobytes()
    assert kept > 300


def noisy(kind: np.dtype[Any]) -> np.ndarray:
    """Six small numbers of ``kind`` or of each of its fields; all other bytes are 0xA5."""
    if kind.names is None:
        array = np.arange(6).astype(kind.newbyteorder("="))
        if kind.char in "gG" and np.finfo("g").nmant == 63:
            array.view(np.uint8).reshape(-1, np.dtype("g").itemsize)[:, 10:] = 0xA5
        return array if kind.isnative else array.byteswap().view(kind)
    array = np.frombuffer(bytearray(b"\xa5" * (kind.itemsize * 6)), kind)
    for name in kind.names:
        array[name] = noisy(kind[name].base)[: array[name].shape[-1]] if kind[name].shape else noisy(kind[name])
    return array


@pytest.mark.parametrize("dtype", ["g", "G", ">g", ">G", "gaps", "nested"])
def test_bytes_that_no_value_uses_are_written_as_zeros(dtype: str) -> None:
    """They hold what was in memory before, such as parts of other records: values are kept, and nothing else."""
    gaps = np.dtype({"names": ["a", "b", "c"], "formats": ["u1", ">i4", "<i2"], "offsets": [0, 4, 12], "itemsize": 16})
    formats = ["u1", gaps, (gaps, (2,)), np.dtype("g").newbyteorder(), "G"]
    nested = np.dtype({"names": list("abcde"), "formats": formats, "offsets": [0, 4, 32, 64, 80], "itemsize": 128})
    kind = {"gaps": gaps, "nested": nested}.get(dtype) or np.dtype(dtype)
    array = noisy(kind)
    assert b"\xa5" in array.tobytes() or kind.itemsize == 8  # a machine whose long doubles have 64 bits
    for value in (array, array[::2], array[1:2].reshape(()), array.reshape(2, 3).T, array[:0], array[2]):
        assert b"\xa5" not in base64.b64decode(payload.encode(value)["data"])
        assert repr(round_trip(value)) == repr(value)


def test_flatten_names_leaves_as_labels_are_named() -> None:
    """Dicts, tuples, named tuples and dataclasses give paths; lists below the top and empty containers stay values."""
    element = {"a/b": 1, "objects": {"label": [1, [2]]}, "pair": Pair(3, 4), "one": Example(5, 6), "none": {}}
    assert payload.flatten(element) == {
        "a/b": 1,
        "objects/label": [1, [2]],
        "pair/x": 3,
        "pair/y": 4,
        "one/x": 5,
        "one/y": 6,
        "none": {},
    }
    assert payload.flatten((1, [2])) == {"0": 1, "1": [2]}
    assert payload.flatten([1, {"label": 2}]) == {"0": 1, "1/label": 2}
    assert payload.flatten(7) == {"": 7}
    assert payload.flatten({"a/b": 1, "a": {"b": 2}}) == {"a/b": 1, "a/b#2": 2}
    arrays = payload.flatten({"a/b": np.zeros(1), "a": {"b": np.ones(2)}})
    assert {path: value.tolist() for path, value in arrays.items()} == {"a/b": [0], "a/b#2": [1, 1]}


def test_labels_are_found_in_a_flattened_record() -> None:
    """A label path of the record finds the same value in its payload, below a list too."""
    element = {"objects": [{"label": 1}, {"label": 2}], "x": {"y": np.int64(3)}}
    flat = payload.flatten(element)
    for path in ("objects/1/label", "x/y"):
        assert tree.get(flat, path) == tree.get(element, path)


@given(VALUES | ARRAYS)
@settings(max_examples=200, deadline=None)
def test_weight_is_a_lower_bound_of_the_encoded_size(value: Any) -> None:
    """The cheap estimate never calls a payload too large that is not."""
    assert payload.weight(value) <= len(json.dumps(payload.encode(value)))


@given(st.dictionaries(st.text(max_size=3), VALUES | ARRAYS | ARRAYS.map(lambda array: np.zeros(1, array.dtype)[0])))
@settings(max_examples=200, deadline=None)
def test_leaves_are_written_as_encode_describes_them(leaves: dict[str, Any]) -> None:
    """The short way for numbers writes the same bytes as JSON does of the encoded leaf."""
    encoded = {path: payload.encode(value) for path, value in leaves.items()}
    assert payload.encode_leaves(leaves) == to_json(encoded)


TAGS = st.sampled_from(["dtype", "shape", "data", "items", "scalar", "itemsize", "int", "tuple", "dict"])
DTYPE_TEXTS = st.sampled_from(["<i8", "|O", "O", "<U3", "<f4", "object", "bfloat16", "load", "AAAA", "<M8[ns]"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TAGS, inner | DTYPE_TEXTS, max_size=4),
    max_leaves=8,
)


@given(JSON)
@settings(max_examples=500, deadline=None)
def test_decoding_anything_gives_a_value_or_value_error(foreign: Any) -> None:
    """Foreign JSON is decoded to values that can be written and read again, or refused; nothing else is raised."""
    try:
        value = payload.decode(foreign)
    except ValueError:
        return
    assert repr(payload.decode(payload.encode(value))) == repr(value)


@pytest.mark.parametrize(
    "foreign",
    [
        {"dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="},
        {"dtype": [["a", "|O"]], "shape": [1], "data": "AAAAAAAAAAA="},
        {"dtype": "<i8", "shape": [-1], "data": "AAAAAAAAAAA="},
        {"dtype": "<i8", "shape": [2**62], "data": ""},
        {"dtype": "<i8", "shape": [True], "data": "AAAAAAAAAAA="},
        {"dtype": "iinfo", "shape": [1], "data": "AAAAAAAAAAA=", "itemsize": 8},
        {"int": "0x" + "z"},
        {"int": "1" * 5000},
        {"bytes": "not base64!"},
        {"dict": [[[1], 2]]},
        {"dict": [[{"int": str(2**61)}, 2]]},
        {"dict": [[k, 0] for k in range(1001)]},
        {"dtype": "|V0", "shape": [10**15], "data": ""},
        {"dtype": "<U0", "shape": [10**15], "data": ""},
        {"dtype": "|u1", "shape": [0, 2**62, 2**62], "data": ""},
        {"dtype": "|u1", "shape": [2**4000] * 3, "data": ""},
        {"dtype": "|u1", "shape": [1] * 100_000, "data": "AA=="},
        {"dtype": "object", "shape": [10**15], "items": []},
        {"dtype": "str", "shape": [3], "items": ["a"]},
        {"dtype": [["a", "<i4", [10**9]]], "shape": [1], "data": "AAAA"},
        {"dtype": [[f"f{k}", "|u1"] for k in range(1001)], "shape": [0], "data": ""},
        {"dtype": "finfo", "shape": [1], "data": "AAAAAAAAAAA=", "itemsize": 8},
        {"dtype": "bfloat16", "shape": [1], "data": "AAAA", "itemsize": 3},
        {"bytes": "QUJ"},
        {"tuple": 3},
        {"unknown": "x"},
        {},
    ],
)
def test_hostile_values_are_refused(foreign: Any) -> None:
    """Object buffers, false shapes, huge texts and unknown forms end in a ValueError, never in code or memory."""
    with pytest.raises(ValueError, match="not a payload value"):
        payload.decode(foreign)


@pytest.mark.parametrize("first", range(2))
def test_what_is_written_of_a_dtype_does_not_depend_on_what_was_seen_before(first: int) -> None:
    """Dtypes that NumPy calls equal are read back as they were, or are not encoded."""
    packed = np.dtype([("of_a_record", "<i4")])
    values = [np.zeros(1, packed), np.zeros(1, np.dtype(packed.descr, align=True)), np.zeros(1, (np.record, packed))]
    with contextlib.suppress(payload.NotEncodableError):
        payload.encode(values[first])
    for value in values:
        with contextlib.suppress(payload.NotEncodableError):
            assert str(round_trip(value).dtype) == str(value.dtype)
