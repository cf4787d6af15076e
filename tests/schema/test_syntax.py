"""YAML and JSON text to values that know their place."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.schema import syntax as nodes
from label_guard.schema.syntax import UnreadableError, parse, read_text, resolve, to_plain

_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp")), max_size=8)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES, st.sampled_from([None, 2, "\t"]))
def test_json_reads_as_the_standard_library_reads_it(value, indent):
    """Any JSON text gives the values that json.loads gives."""
    text = json.dumps(value, indent=indent)
    assert to_plain(parse(text, is_json=True)) == json.loads(text)


@given(st.text(max_size=40) | st.text('{}[]":,0123.eE+-truefalsn \n\\u', max_size=40))
def test_json_refuses_what_the_standard_library_refuses(text):
    """What json.loads refuses is refused with a place, never with another error."""
    try:
        expected = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    except (ValueError, pytest.fail.Exception):
        with pytest.raises(UnreadableError):
            parse(text, is_json=True)
    else:
        if "ud8" not in ascii(expected):  # half a surrogate pair is not text
            assert to_plain(parse(text, is_json=True)) == expected


@given(st.text(max_size=60) | st.text("{}[]:-,#&*!|>'\"%@`? \n\tab01.~", max_size=60))
def test_yaml_never_raises_anything_else(text):
    """Whatever the text, YAML gives nodes or an UnreadableError."""
    with contextlib.suppress(UnreadableError):
        to_plain(parse(text))


@given(_VALUES, st.sampled_from([None, 2]))
def test_yaml_reads_json_as_json(value, indent):
    """JSON text is YAML text of the same values."""
    assert to_plain(parse(json.dumps(value, indent=indent, ensure_ascii=False))) == value


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("", None), ("~", None), ("null", None), ("NULL", None), ("true", True), ("False", False), ("no", "no"),
        ("1", 1), ("-1", -1), ("+7", 7), ("010", 10), ("0o17", 15), ("0x1F", 31), ("1_000", "1_000"), ("0b1", "0b1"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("1e", "1e"), (".inf", math.inf), ("-.INF", -math.inf),
        ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("1.0.0", "1.0.0"), ("inf", "inf"), ("nan", "nan"),
    ],
)  # fmt: skip
def test_unquoted_scalars_follow_the_core_schema_of_yaml_1_2(plain, value):
    """A plain scalar is what YAML 1.2 says, and nothing that only YAML 1.1 knows."""
    assert repr(resolve(plain)) == repr(value)


def test_not_a_number_is_read():
    """.nan is a float, so that a field with limits can refuse it."""
    assert math.isnan(resolve(".NaN"))


def test_every_node_knows_its_place_and_its_text():
    """Line, column and span of scalars and keys point at the very characters."""
    text = "a: [no, 'x y']\nb:\n  \"c\": 010 # ten\n"
    root = parse(text)
    b = root.child("b")
    c = b.child("c")
    assert (c.line, c.column, text[c.start : c.end], c.plain, c.value) == (3, 8, "010", "010", 10)
    assert (b.keys["c"].line, b.keys["c"].column, text[b.keys["c"].start : b.keys["c"].end]) == (3, 3, '"c"')
    quoted = root.child("a").child(1)
    assert (quoted.line, quoted.column, text[quoted.start : quoted.end], quoted.plain) == (1, 9, "'x y'", None)


def test_json_nodes_know_their_place():
    """Line and column of JSON values count tabs as one character."""
    node = parse('{\n\t"a": [1, {"b": "x"}]}', is_json=True).child("a").child(1)
    assert (node.line, node.column, node.child("b").line, node.child("b").column) == (2, 11, 2, 17)


@pytest.mark.parametrize("is_json", [False, True])
def test_a_key_that_stands_twice_is_kept_as_repeated(is_json):
    """Duplicate keys are neither lost nor fatal: the node remembers the later ones."""
    root = parse('{"a": 1, "b": 2, "a": 3}', is_json=is_json)
    assert [(key.value, key.column) for key in root.repeated] == [("a", 18)]
    assert root.keys["a"].column == 2


def test_aliases_share_a_node():
    """An alias has the value of its anchor."""
    assert to_plain(parse("a: &x [1, 2]\nb: *x")) == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("\ta: 1", "tab", (1, 1)),
        ("a: 1\n\tb: 2", "tab", (2, 1)),
        ("a: {b: [}", "not YAML", (1, 9)),
        ("a: 'x", "not YAML", (1, 6)),
        ("a: 1\n---\nb: 1", "second document", (2, 1)),
        ("a: *b", "no anchor", (1, 4)),
        ("a: &a [*a]", "no anchor", (1, 8)),
        ("a: !!binary x", "tag", (1, 4)),
        ("a: !mine x", "tag", (1, 4)),
        ("? {a: 1}\n: 2", "a key must be a name", (1, 3)),
        ("a: " + "[" * 200, "nested more than 50 deep", (1, 54)),
        ("a: " + "9" * 5000, "too long", (1, 4)),
    ],
)
def test_broken_yaml_is_explained(text, words, place):
    """Each kind of broken YAML is named in people's words, with its place."""
    with pytest.raises(UnreadableError, match=words) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == place


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("", "not JSON: Expecting value", (1, 1)),
        ('{"a" 1}', "Expecting ':'", (1, 6)),
        ("[1 2]", "Expecting ','", (1, 4)),
        ("{a: 1}", "double quotes", (1, 2)),
        ("[1]\n]", "Extra data", (2, 1)),
        ('"\n"', "not JSON", (1, 2)),
        ('"\\ud800"', "surrogate", (1, 1)),
        ("[" * 200 + "]" * 200, "nested more than 50 deep", (1, 52)),
        ("9" * 5000, "too long", (1, 1)),
        ("NaN", "NaN is not a JSON number", (0, 0)),
        ("[" * 100_000 + "]" * 100_000, "nested more than 50 deep", (0, 0)),
    ],
)
def test_broken_json_is_explained(text, words, place):
    """Each kind of broken JSON is named in people's words, with its place."""
    with pytest.raises(UnreadableError, match=words) as caught:
        parse(text, is_json=True)
    assert (caught.value.line, caught.value.column) == place


def test_aliases_that_multiply_are_stopped():
    """Nested aliases that would expand to billions of values end in an error, quickly."""
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    with pytest.raises(UnreadableError, match="aliases expand"):
        to_plain(parse("\n".join(lines)))


@pytest.mark.parametrize("is_json", [True, False])
def test_a_file_of_too_many_values_is_stopped_where_they_are_too_many(is_json, monkeypatch):
    """Values written out are counted as they are read, and the message does not speak of aliases."""
    monkeypatch.setattr(nodes, "MAX_VALUES", 100)
    assert to_plain(parse(f"[{'1,' * 98}1]", is_json=is_json)) == [1] * 99
    with pytest.raises(UnreadableError, match="more than 100 values; split the schema") as caught:
        parse(f"[{'1,' * 99}1]", is_json=is_json)
    assert (caught.value.line, caught.value.column) == (1, 200)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfea\x00", "UTF-16"),
        (b"a: \xe9\n", "byte 0xe9 is not UTF-8"),
        (b"a: \x00", r"U\+0000"),
        (b"a: \x1b[31m", r"U\+001B"),
        ("a: \x85".encode(), None),
        (b"x" * (nodes.MAX_BYTES + 1), "a schema file may have"),
    ],
)
def test_what_is_no_text_is_explained(data, words):
    """Binary, wrongly encoded and huge content is refused before any parser sees it."""
    if words is None:
        assert read_text(data)
        return
    with pytest.raises(UnreadableError, match=words):
        read_text(data)


def test_a_byte_order_mark_is_no_part_of_the_text():
    """UTF-8 with a byte order mark, as some editors write it, is read."""
    assert to_plain(parse(read_text(b"\xef\xbb\xbfa: 1"))) == {"a": 1}
