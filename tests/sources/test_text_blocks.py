"""CSV and JSON Lines in blocks: the same keys, values, types and messages as a reader that looks at every line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from label_guard.audit.runner import audit_dataset
from label_guard.check.columns import UntypedIntegers
from label_guard.check.guard import Guard
from label_guard.errors import SourceError
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources import csv, json_lines_pattern, jsonl, line_blocks
from label_guard.sources.base import Format, Piece
from label_guard.sources.csv import CsvFormat, csv_format
from label_guard.sources.jsonl import JsonLinesFormat
from label_guard.sources.open import open_source
from label_guard.sources.pieces import labels_of, records_piece

Found = tuple[list[tuple[int, str]], list[tuple[int, str]], str]


def flat(pieces: Iterator[Piece]) -> Found:
    """Every value with its type and position, every unreadable record with its reason, and the error."""
    values: list[tuple[int, str]] = []
    unreadable: list[tuple[int, str]] = []
    try:
        for piece in pieces:
            columns = zip(*piece.columns.values(), strict=True)
            values += [(row, repr(record)) for row, record in zip(piece.rows, columns, strict=True)]
            unreadable += piece.unreadable
    except SourceError as error:
        return values, unreadable, str(error)
    return values, unreadable, ""


def in_blocks(form: Format, path: Path, wanted: list[str], size: int) -> Found:
    """What the format reads, in blocks of about ``size`` bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_blocks, "_BLOCK", size)
        patch.setattr(json_lines_pattern, "_MAX_FAILURES", 1000)
        return flat(form.read(str(path), dict.fromkeys(wanted)))


def csv_by_rows(form: CsvFormat, path: Path, wanted: list[str]) -> Found:
    """The reader of rows over the whole file."""

    def pieces() -> Iterator[Piece]:
        with form._rows(str(path)) as (header, rows, _):
            yield from csv._pieces(rows, 0, len(header), {label: header.index(label) for label in wanted}, ())

    return flat(pieces())


HOSTILE_CELLS = [b"9" * 19, b"9" * 30, b"", b" ", b" 4", b"caf\xc3\xa9", b"\xff", b"\xef\xbb\xbf1", b"\0", b"\r"]
QUOTED_CELLS = [b'"3"', b'"a,b"', b'"a""b"', b'"x\ny"', b'"x\r\ny"', b'"', b'a"b', b'"a"b', b'""']
CELLS = st.sampled_from([*b"0 3 12 007 -1 +1 1_0 1e3 2.0 nan cat".split(), *HOSTILE_CELLS, *QUOTED_CELLS])
PLAIN = st.sampled_from([b"0", b"3", b"12", b"cat", b'"7"', b'"a,b"', b'"a""b"', b"-1", b"2.5"])
ENDS = st.sampled_from([b"\n"] * 6 + [b"\r\n"] * 3 + [b"\n\n", b"\r\n\r\n", b"\r", b",\n", b""])
ROWS = st.lists(
    st.tuples(st.lists(PLAIN | CELLS, min_size=2, max_size=2) | st.lists(CELLS, max_size=3), ENDS), max_size=14
)
PLAIN_ROWS = st.lists(
    st.tuples(st.lists(PLAIN, min_size=2, max_size=2), st.sampled_from([b"\n", b"\r\n"])), max_size=14
)


@settings(max_examples=300)
@given(
    rows=ROWS | PLAIN_ROWS,
    head=st.sampled_from([b"label,x\n", b"label,x\r\n", b'"label","x"\n', b"\n\nlabel,x\n", b"\xef\xbb\xbflabel,x\n",
                          b'"x\n","label"\n', b"label\n", b"x,label,y\n"]),
    size=st.integers(1, 90),
    encoding=st.sampled_from(["utf-8", "utf-8", "latin-1", "cp1252"]),
    header=st.sampled_from(["first", "none"]),
)  # fmt: skip
@example(rows=[([b"3", b"4"], b"\n")] * 9, head=b"label,x\n", size=20, encoding="utf-8", header="first")
@example(rows=[([b'"3"', b"4"], b"\r\n")] * 9, head=b"label,x\n", size=20, encoding="utf-8", header="none")
def test_csv_in_blocks_is_csv_by_rows(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[list[bytes], bytes]],
    head: bytes,
    size: int,
    encoding: str,
    header: str,
) -> None:
    """Quotes, blank lines, NUL, carriage returns, other widths and encodings, wherever blocks are cut."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(head + b"".join(b",".join(cells) + end for cells, end in rows))
    assume(header == "none" or encoding == "utf-8" or not head.startswith(b"\xef"))
    form = csv_format({"header": header, "encoding": encoding})
    wanted = ["label"] if header == "first" else ["0"]
    assert in_blocks(form, path, wanted, size) == csv_by_rows(form, path, wanted)


def jsonl_by_lines(path: Path, wanted: list[str]) -> Found:
    """The reader of lines over the whole file."""
    lines = jsonl._lines(io.BytesIO(path.read_bytes()))
    return flat(iter([records_piece(0, lines, lambda line: labels_of(jsonl.parse_object(line), wanted), wanted)]))


BARE = "0 3 -0 -1 1.5 1e3 1E+2 2. 01 +1 1_0 .5 - null true False NaN Infinity [] [1,2] [[1]] [1,] {}"
TEXTS = ['"cat"', '"a\\"b"', '"\\u00e9"', '"\\ud800"', '"\\x"', '"\u00e9"', '"a\tb"', '"', "[1, 2]", ""]
SCALARS = st.sampled_from([*BARE.split(" "), *TEXTS, "9" * 19, "9" * 30, '{"y": 1}', '{"y": 1, "y": 2}'])
GOOD = st.sampled_from(["0", "3", "-1", "1.5", "1e3", "null", "true", '"cat"', '"a\\"b"', "[1, 2]", '{"y": 1}'])
LAYOUTS = st.sampled_from(
    [
        *('{"label": %s, "x": %s}', '{"x":%s,"label":%s}', '{"label": %s,"x": %s}', ' {"label": %s, "x": %s} '),
        *('{"label": %s, "label": %s}', '{"label/y": %s, "x": %s}', '{"label": {"y": %s, "x": %s}}'),
        *('{"label": {"y": %s}, "label": {"y": %s}}', "[%s, %s]", "\ufeff%s%s", "%s%s", "{%s: %s}"),
        '{"l\\u0061bel": %s, "x": %s}',
    ]
)
LINE_ENDS = st.sampled_from(["\n"] * 6 + ["\r\n", "\n\n", "\r", " \n", ""])
LINES = st.lists(st.tuples(LAYOUTS, SCALARS | GOOD, SCALARS | GOOD, LINE_ENDS), max_size=10)


def steady(layout: str) -> st.SearchStrategy[list[tuple[str, str, str, str]]]:
    """Lines of one layout, as programs write them, with good values most of the time."""
    return st.lists(st.tuples(st.just(layout), GOOD | SCALARS, GOOD, st.sampled_from(["\n", "\r\n"])), max_size=14)


@settings(max_examples=400)
@given(
    lines=LINES | LAYOUTS.flatmap(steady),
    size=st.integers(1, 120),
    wanted=st.sampled_from([["label"], ["label/y"], ["label", "x"], ["x/y", "label"], ["label/1"], ["gone"]]),
    extra=st.sampled_from([b"", b"\xff", b"\0", b'{"label": 1', b"\n"]),
)
@example(lines=[('{"label": %s, "x": %s}', "3", '"a"', "\n")] * 9, size=40, wanted=["label"], extra=b"")
@example(lines=[('{"label": %s, "x": %s}', "3", "[1, 2]", "\n")] * 9, size=40, wanted=["x", "label"], extra=b"")
def test_jsonl_in_blocks_is_jsonl_by_lines(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[str, str, str, str]],
    size: int,
    wanted: list[str],
    extra: bytes,
) -> None:
    """Doubled keys, other layouts, escapes, and what is not JSON or not text, wherever blocks are cut."""
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    text = "".join(layout % (first, second) + end for layout, first, second, end in lines)
    path.write_bytes(text.encode() + extra)
    assert in_blocks(JsonLinesFormat(), path, wanted, size) == jsonl_by_lines(path, wanted)


@settings(max_examples=400)
@given(
    text=st.text("0123456789-+.eE", max_size=9)
    | st.text('"\\u0d8/bnxé\t\r\n', max_size=9).map('"{}"'.format)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(["null", "true", "nul", "[]", "[1]", "[1, 2.5]", '["a", "b"]', "[1,]", "[1 2]"]),
    first=st.sampled_from([1, 1.5, "a", None, True, [1], [0.5], ["a"], []]),
    end=st.sampled_from(["\n", "\r\n", ""]),
)
def test_the_grammar_of_a_value_is_that_of_json(text: str, first: Any, end: str) -> None:
    """What the pattern matches, json reads, and to the same value, whatever the first line held."""
    line = f'{{"label": {text}}}{end}'.encode()
    head = json.dumps({"label": first}).encode() + b"\n"
    found = json_lines_pattern.LinePatterns({"label": None}).read(head + line)
    if found is not None:
        assert repr(list(found[1]["label"])) == repr([first, json.loads(line)["label"]])
    elif text.isascii() and not isinstance(first, list):
        try:
            read = jsonl.parse_object(line)
        except ValueError:
            return
        assert not isinstance(read["label"], str | int | float)


def test_plain_files_are_read_in_blocks(tmp_path: Path) -> None:
    """What programs write takes the fast way: integers come as one array, of Python ints as before."""
    rows = [{"id": k, "text": f"a \\ {k}, é", "label": k % 7, "tags": [1, 2], "o": {"y": k % 3}} for k in range(500)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.jsonl").write_text(
        "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows)
    )
    (tmp_path / "a.csv").write_text(
        '"id","text","label"\n' + "".join(f'{k},"a, ""b""\nc",{k % 7}\n' for k in range(500))
    )
    wanted = {"label": (), "o/y": ()}
    files: list[tuple[Format, str, dict[str, tuple[()]]]] = [
        (JsonLinesFormat(), "a.jsonl", wanted),
        (JsonLinesFormat(), "b.jsonl", wanted),
        (csv_format({}), "a.csv", {"label": ()}),
    ]
    for form, name, labels in files:
        (piece,) = form.read(str(tmp_path / name), labels)
        for label in labels:
            column = piece.columns[label]
            assert isinstance(column, UntypedIntegers), name
            assert list(column) == [k % (7 if label == "label" else 3) for k in range(500)]
            assert type(column[0]) is int


LABELS: dict[str, dict[str, object]] = {
    "ids": {"kind": "class_label", "num_classes": 10, "dtype": "uint8"},
    "names": {"kind": "class_label", "num_classes": 2, "class_names": ["3", "4"], "dtype": "string"},
    "where": {"kind": "class_label", "num_classes": 10, "where": "x"},
    "columns": {"kind": "multi_label", "num_classes": 2, "columns": ["x", "y"], "dtype": ["int8"]},
    "bool": {"kind": "class_label", "num_classes": 2, "dtype": "bool"},
    "real": {"kind": "real_label", "dtype": "float32", "minimum": 0, "maximum": 9, "ignore": [None, -999]},
    "separator": {"kind": "multi_label", "num_classes": 10, "encoding": "ids", "separator": " "},
    "class_ids": {"kind": "class_label", "num_classes": 3, "class_ids": [0, 3, 4], "ignore": [7]},
}


@pytest.mark.parametrize("name", LABELS)
def test_an_audit_of_blocks_is_that_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Reports are the same for every convention: numbers of a text have no width, whichever way they were read."""
    (tmp_path / "a.csv").write_text("label,x,y\n" + "".join(f"{k % 12},{k % 2},{k % 3 // 2}\n" for k in range(400)))
    schema = {"format": 1, "name": "x", "version": "1.0.0", "labels": {"label": LABELS[name]}}
    model, uri, cache = DatasetSchema.model_validate(schema), f"{tmp_path}/a.csv", str(tmp_path / "cache")
    fast, again = (audit_dataset(model, source=uri, label_cache=cache) for _ in range(2))
    (chunk,) = open_source(uri, labels=["label", "x", "y"]).read(open_source(uri, labels=["label"]).shards()[0])
    # What an audit reads as text, the source alone reads as numbers: it knows no schema.
    columns = {path: list(map(str, found)) if name == "names" else found for path, found in chunk.columns.items()}
    whole = Guard(model).check_batch(columns)
    monkeypatch.setattr(csv.CsvBlocks, "read", lambda self, block: None)
    slow = audit_dataset(model, source=uri)
    assert fast.to_json() == slow.to_json() == again.to_json()
    assert whole.num_invalid == slow.splits[0].invalid
