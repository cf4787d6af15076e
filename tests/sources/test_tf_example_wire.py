"""The wire walk over tf.Example against protobuf, which is the authority."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from label_guard.sources import tf_example as examples
from label_guard.sources import tf_example_wire as wire

KEYS = ("label", "score", "id")
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 300)


def varint(value: int, padding: int = 0) -> bytes:
    """The varint of ``value`` modulo 2**64, made longer than need be by ``padding`` bytes."""
    value %= 1 << 64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    padding = min(padding, 10 - len(out))
    if padding:
        out[-1] |= 128
        out += bytes([128] * (padding - 1)) + b"\0"
    return bytes(out)


def message(number: int, content: bytes, padding: int = 0) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content), padding) + content


@st.composite
def features(draw: st.DrawFn) -> bytes:
    """A Feature in one of the forms a writer may give it."""
    kind = draw(st.sampled_from(["none", "bytes", "floats", "ints", "ints", "ints"]))
    padding = draw(st.sampled_from([0, 0, 0, 1, 3]))
    if kind == "none":
        return draw(st.sampled_from([b"", b"\x20\x07"]))
    if kind == "bytes":
        return message(1, b"".join(message(1, b, padding) for b in draw(st.lists(st.binary(max_size=200), max_size=3))))
    if kind == "floats":
        packed = b"".join(struct.pack("<f", f) for f in draw(st.lists(st.floats(width=32), max_size=4)))
        plain = b"".join(b"\x0d" + packed[k : k + 4] for k in range(0, len(packed), 4))
        return message(2, draw(st.sampled_from([message(1, packed), plain])), padding)
    values = draw(st.lists(INT64, max_size=4))
    packed = message(1, b"".join(varint(v, padding) for v in values), padding)
    loose = b"".join(b"\x08" + varint(v, padding) for v in values)
    halves = message(1, b"".join(map(varint, values[:1]))) + message(1, b"".join(map(varint, values[1:])))
    unknown = packed + b"\x10\x05"
    return message(3, draw(st.sampled_from([packed, packed, loose, halves, unknown, b""])), padding)


@st.composite
def entries(draw: st.DrawFn) -> bytes:
    """An entry of the map, now and then in an unusual form."""
    key = draw(st.sampled_from([*KEYS, "label", "label", "labels", "abel", "image", ""])).encode()
    value = message(2, draw(features()), draw(st.sampled_from([0, 0, 2])))
    name = message(1, key)
    parts = draw(st.sampled_from([[name, value]] * 6 + [[value, name], [name], [value], [name, value, b"\x18\x01"]]))
    return message(1, b"".join(parts), draw(st.sampled_from([0, 0, 1])))


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A serialized Example."""
    body = b"".join(draw(st.lists(entries(), max_size=5)))
    form = draw(st.sampled_from(["plain"] * 6 + ["empty", "unknown", "two"]))
    if form == "empty":
        return b""
    record = message(1, body, draw(st.sampled_from([0, 0, 1])))
    if form == "unknown":
        return record + b"\x12\x01x"
    return record + message(1, b"".join(draw(st.lists(entries(), max_size=2)))) if form == "two" else record


def same(found: object, expected: object) -> bool:
    """Equality by type, dtype, shape and bits."""
    if isinstance(expected, np.ndarray):
        return (
            isinstance(found, np.ndarray | np.generic)
            and found.dtype == expected.dtype
            and found.shape == expected.shape
            and found.tobytes() == expected.tobytes()
        )
    return type(found) is type(expected) and found == expected


def oracle(record: bytes, key: str) -> object:
    """What protobuf reads: None, an array of int64 or float32, or a list of bytes."""
    found = examples.parse(record).features.feature
    if key not in found or found[key].WhichOneof("kind") is None:
        return None
    kind = found[key].WhichOneof("kind")
    values = getattr(found[key], kind).value
    return list(values) if kind == "bytes_list" else np.array(values, "f4" if kind == "float_list" else "i8")


def read(batch: list[bytes], shape: tuple[int | None, ...] | None, walk: str, key: str = "") -> Any:
    """The labels of ``batch``, walked as they lie in an array, or checked by protobuf before."""
    wanted = dict.fromkeys([key] if key else KEYS, shape)
    return examples.read_labels(wire.Slices.of(batch) if walk == "many" else batch, wanted)


def assert_read_as_protobuf(batch: list[bytes], walk: str) -> None:
    """Read ``batch`` and hold each value against protobuf's."""
    columns, unreadable = read(batch, (None,), walk)
    readable = [k for k in range(len(batch)) if k not in unreadable]
    for key in KEYS:
        assert len(columns[key]) == len(readable)
        for place, k in enumerate(readable):
            assert same(columns[key][place], oracle(batch[k], key)), (key, batch[k].hex())
    for k in unreadable:
        with pytest.raises(ValueError, match="corrupt"):
            examples.parse(batch[k])


@pytest.fixture(params=["few", "many"])
def walk(request: pytest.FixtureRequest) -> str:
    """Both ways, whatever the number of records."""
    return request.param


@given(st.lists(records(), min_size=1, max_size=6))
@settings(deadline=None, max_examples=300)
@example([message(1, message(1, message(1, b"label") + message(2, message(3, message(1, b"\xff" * 9 + b"\x7f")))))])
@example([b"", message(1, b"")])
def test_walks_read_what_protobuf_reads(batch: list[bytes]) -> None:
    """Every form of a record gives the values that protobuf gives, bit for bit, in both walks."""
    for walk in ("few", "many"):
        assert_read_as_protobuf(batch, walk)


@given(st.data(), st.lists(records(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_damaged_records_are_refused_or_read_alike(data: st.DataObject, batch: list[bytes]) -> None:
    """Flipped, cut or inserted bytes never crash the walk, and what it then returns is what protobuf reads."""
    damaged = []
    for record in batch:
        place = data.draw(st.integers(0, len(record)))
        junk = data.draw(st.binary(max_size=3))
        skip = data.draw(st.integers(0, 3))
        damaged.append(record[:place] + junk + record[place + skip :])
    for walk in ("few", "many"):
        columns, unreadable = read(damaged, (None,), walk)
        readable = [k for k in range(len(damaged)) if k not in unreadable]
        for place, k in enumerate(readable):
            for key in KEYS:
                try:
                    expected = oracle(damaged[k], key)
                except ValueError:
                    assert walk == "many"
                    continue  # damage in a feature that is not a label: the walk does not look there
                assert same(columns[key][place], expected)


@given(st.lists(records(), min_size=1, max_size=8))
@settings(deadline=None, max_examples=100)
def test_a_record_is_read_alike_whatever_its_neighbours(batch: list[bytes]) -> None:
    """A record's value alone and among others is the same."""
    together, unreadable = read(batch, (), "many", "label")
    readable = [k for k in range(len(batch)) if k not in unreadable]
    for place, k in enumerate(readable):
        alone, _ = read([batch[k]], (), "many", "label")
        left, right = together["label"][place], alone["label"][0]
        assert (
            same(np.asarray(left), np.asarray(right)) if isinstance(right, np.ndarray | np.generic) else left == right
        )


@pytest.mark.parametrize(
    ("shape", "counts", "expected"),
    [
        ((), [1, 1], [(), ()]),
        ((), [1, 2], [(), (2,)]),
        ((None,), [1, 3], [(1,), (3,)]),
        ((2, 3), [6, 6], [(2, 3), (2, 3)]),
        ((2, None), [4, 5], [(2, 2), (5,)]),
        (None, [1, 0], [(), (0,)]),
    ],
)
def test_values_take_the_declared_shape_only_where_they_fit(
    shape: tuple[int | None, ...] | None, counts: list[int], expected: list[tuple[int, ...]], walk: str
) -> None:
    """Values are stored flat: they are given the declared shape, and stay flat, an error, where it does not fit."""
    batch = [
        message(1, message(1, message(1, b"label") + message(2, message(3, message(1, bytes(range(n)))))))
        for n in counts
    ]
    columns, _ = read(batch, shape, walk, "label")
    assert [np.shape(value) for value in columns["label"]] == expected


def test_large_labels_are_read_whole(walk: str) -> None:
    """A mask of many bytes a record is read in the declared shape."""
    rng = np.random.default_rng(0)
    masks = rng.integers(-1, 300, (5, 40, 50))
    batch = [
        message(
            1,
            message(
                1, message(1, b"mask") + message(2, message(3, message(1, b"".join(map(varint, m.ravel().tolist())))))
            ),
        )
        for m in masks
    ]
    columns, unreadable = read(batch, (40, 50), walk, "mask")
    assert not unreadable
    assert same(columns["mask"], masks.astype(np.int64))


def test_nan_keeps_its_bits(walk: str) -> None:
    """Float values come through bit for bit."""
    packed = struct.pack("<3f", math.nan, -0.0, 1e-45)
    batch = [message(1, message(1, message(1, b"score") + message(2, message(2, message(1, packed)))))]
    columns, _ = read(batch, (3,), walk, "score")
    assert columns["score"].tobytes() == packed


def whole_example(label: bytes) -> tuple[bytes, set[int]]:
    """A record of every kind of label, and the places of its key names and their lengths."""
    parts = [
        (b"label", message(3, message(1, label))),
        (b"score", message(2, message(1, struct.pack("<2f", 1.5, -2.0)))),
        (b"id", message(1, message(1, b"x" * 3) + message(1, b""))),
    ]
    record = message(1, b"".join(message(1, message(1, key) + message(2, value)) for key, value in parts))
    places = {record.index(key) - 1 + k for key, _ in parts for k in range(len(key) + 1)}
    return record, places


@pytest.mark.parametrize("label", [b"\x05", varint(-1), varint(300) + varint(7) + varint(2**63), b""])
def test_every_changed_byte_is_refused_or_read_as_protobuf_does(label: bytes, walk: str) -> None:
    """Any byte of a record set to any tag, length or other bits: unreadable just where protobuf refuses."""
    record, names = whole_example(label)
    telling = [*range(48), 127, 128, 129, 254, 255]
    for place in range(len(record)):
        if place not in names:  # under another name a feature is not a label, and its content not looked at
            bits = [record[place] ^ (1 << k) for k in range(8)] + [(record[place] + k) % 256 for k in range(1, 10)]
            assert_read_as_protobuf(
                [record[:place] + bytes([byte]) + record[place + 1 :] for byte in [*telling, *bits]], walk
            )


@pytest.mark.parametrize(
    "label",
    [
        varint(1)[:-1] + b"\x81",  # the last varint does not end
        b"\xff" * 10 + b"\x01",  # eleven bytes
        b"\x80" * 10 + b"\x00",
        b"\xff" * 9 + b"\x01",
        b"\xff" * 9 + b"\x02",  # beyond 64 bits
        b"\x05\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x05",
        b"\x80\x00" * 3,
    ],
)
def test_unusual_varints_beside_sound_neighbours(label: bytes, walk: str) -> None:
    """Varints at the limits of the format are decided by protobuf, and leave the neighbours as they are."""
    sound = [whole_example(varint(k))[0] for k in (1, -2, 300)]
    assert_read_as_protobuf([sound[0], whole_example(label)[0], *sound[1:], whole_example(label)[0]], walk)


@pytest.mark.parametrize("padding", [1, 3, 4, 5, 8])
def test_lengths_longer_than_need_be(padding: int, walk: str) -> None:
    """Padded lengths are read as protobuf reads them, or refused where it refuses."""
    label = message(3, message(1, b"\x05", padding), padding)
    entry = message(1, message(1, b"label", padding) + message(2, label, padding), padding)
    assert_read_as_protobuf([message(1, entry, padding), whole_example(b"\x05")[0], message(1, entry)], walk)


@st.composite
def long_entries(draw: st.DrawFn) -> bytes:
    """An entry of 128 bytes or more: plain, with another kind of value, or with a length or a tag that is not plain."""
    key = draw(st.sampled_from(["image", "label", "id", "", "bildgröße", "k" * 130])).encode()
    if draw(st.integers(0, 9)) == 0:
        key = b"\xff" + key
    content = draw(st.binary(min_size=100, max_size=300))
    item = message(1, content, draw(st.sampled_from([0] * 8 + [1, 3])))
    items = draw(st.sampled_from([item] * 6 + [item + item, b"", item + b"\x10\x05"]))
    kind = draw(st.sampled_from([1] * 6 + [2, 3, 4]))
    value = message(kind, items if kind == 1 else content, draw(st.sampled_from([0] * 8 + [2])))
    parts = [message(1, key), message(2, value, draw(st.sampled_from([0] * 8 + [1])))]
    parts += draw(st.sampled_from([[]] * 6 + [[b"\x18\x01"], [message(2, b"")]]))
    return message(1, b"".join(parts), draw(st.sampled_from([0] * 8 + [1])))


@given(st.data(), st.lists(entries() | long_entries(), max_size=5))
@settings(deadline=None, max_examples=400)
def test_a_record_without_its_pictures_reads_alike(data: st.DataObject, parts: list[bytes]) -> None:
    """Without the bytes that are left out, protobuf reads the same labels, and refuses what it refuses with them."""
    record = message(1, b"".join(parts)) + data.draw(st.sampled_from([b""] * 6 + [b"\x12\x01x", message(1, b"")]))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(record)))
        record = record[:place] + data.draw(st.binary(max_size=3)) + record[place + data.draw(st.integers(0, 3)) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_LARGE", 0)
        short = bytes(wire.without_payloads(record, {key.encode() for key in KEYS}))
    assert len(short) <= len(record)
    for key in KEYS:
        try:
            expected = oracle(record, key)
        except ValueError:
            with pytest.raises(ValueError, match="corrupt"):
                oracle(short, key)
        else:
            assert same(oracle(short, key), expected)


def test_pictures_are_left_out_and_wanted_bytes_are_not() -> None:
    """Of a large record what protobuf is given holds the labels, encoded masks among them, and no other long bytes."""
    features = {b"image": b"i" * 100_000, b"depth": b"d" * 5_000, b"mask": b"m" * 30_000, b"id": b"x"}
    bodies = [message(1, message(1, key) + message(2, message(1, message(1, data)))) for key, data in features.items()]
    short = bytes(wire.without_payloads(message(1, b"".join(bodies)), {b"mask"}))
    assert short == message(1, bodies[2] + bodies[3])
