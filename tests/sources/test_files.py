"""CSV, JSON Lines, NumPy files and Python functions as sources, and URIs."""

import contextlib
import gzip
import io
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.errors import SourceError
from label_guard.sources import base, jsonl, line_blocks, numpy_files
from label_guard.sources import csv as csv_source
from label_guard.sources.base import Chunk
from label_guard.sources.open import list_fields, open_source


def chunks_of(uri: str, labels: object = ("label",), **options: object) -> list[Chunk]:
    """All chunks of a source, read through a pickled copy of it."""
    source = pickle.loads(pickle.dumps(open_source(uri, labels=labels, **options)))
    return [chunk for shard in source.shards() for chunk in source.read(shard)]


def values(chunks: list[Chunk], label: str = "label") -> list[object]:
    """One label of all records."""
    return [value for chunk in chunks for value in chunk.columns[label]]


def keys(chunks: list[Chunk]) -> list[str]:
    """All keys."""
    return [key for chunk in chunks for key in chunk.keys]


def test_csv_values_are_what_is_written(tmp_path: Path) -> None:
    """Whole numbers are ints of any size, others floats; nothing is taken for a number that is none."""
    fields = ["3", "-1", " 7", "1_0", "٣", "", "2.7", "nan", "1e3", "cat", str(2**70), "True"]
    (tmp_path / "a.csv").write_text("\ufeffid,label\n" + "".join(f"r{k},{v}\n" for k, v in enumerate(fields)), "utf-8")
    found = values(chunks_of(f"csv:{tmp_path}/a.csv"))
    assert found[:7] == [3, -1, 7, "1_0", "٣", None, 2.7]
    assert found[7] != found[7]
    assert found[8:] == [1000.0, "cat", 2**70, "True"]
    assert [type(v) for v in found[:3]] == [int] * 3
    assert keys(chunks_of(f"csv:{tmp_path}/a.csv", record_key="id"))[:2] == ["r0", "r1"]


@given(rows=st.lists(st.tuples(st.text(max_size=8), st.integers()), max_size=20), block=st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_csv_with_quotes_and_line_breaks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], block: int
) -> None:
    """Rows are records, not lines, whatever is in their text."""
    import csv

    path = tmp_path_factory.mktemp("csv") / "a.csv"
    rows = [(name.encode("utf-8", "ignore").decode().replace("\0", ""), label) for name, label in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("name", "label"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_source, "_ROWS", block)
        chunks = chunks_of(f"csv:{path}")
    assert values(chunks) == [label for _, label in rows]
    assert keys(chunks) == [f"a.csv__{k}" for k in range(len(rows))]


def test_csv_row_of_another_width_is_unreadable(tmp_path: Path) -> None:
    """A row with too few or too many fields is reported, not shifted."""
    (tmp_path / "a.csv").write_text("id,label\na,1\nb\n\nc,2,3\nd,4\n")
    (chunk,) = chunks_of(f"csv:{tmp_path}/a.csv")
    assert chunk.columns["label"] == [1, 4]
    assert list(chunk.keys) == ["a.csv__0", "a.csv__3"]
    assert [(u.row, u.reason) for u in chunk.unreadable] == [
        (1, "the row has 1 field, the header 2"),
        (2, "the row has 3 fields, the header 2"),
    ]


@pytest.mark.parametrize(
    ("scheme", "data", "reported"),
    [
        ("csv", b"", "is empty"),
        ("csv", b"\x93NUMPY\xff\xfe\x00", "cannot read .* as CSV"),
        ("csv", b'id,"label\na,1\nb,2\n', "line 1: a quote is opened and never closed"),
        ("csv", b"id,lable\na,1\n", "has no field 'label'; did you mean 'lable'"),
        ("jsonl", b"\x93NUMPY", "is not a JSON Lines file"),
        ("jsonl", b"[1]\n", "is not a JSON Lines file: not a JSON object"),
        ("jsonl", b'{"objects": {"label": 1}}\n', "did you mean 'objects/label'"),
        ("npy", b"no array", "cannot read .* as .npy"),
        ("npy", b"", "cannot read .* as .npy"),
        ("npz", b"no archive", "cannot read .* as .npz"),
        ("parquet", b"no parquet", "cannot read .* as Parquet"),
        ("parquet", b"", "cannot read .* as Parquet"),
    ],
)
def test_what_is_not_that_format_is_one_clear_error(tmp_path: Path, scheme: str, data: bytes, reported: str) -> None:
    """Each fault of a whole file is one SourceError that names it."""
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(SourceError, match=reported):
        chunks_of(f"{scheme}:{tmp_path}/file")


def test_jsonl_lines_that_are_no_records(tmp_path: Path) -> None:
    """A line that is not an object is unreadable, blank lines are none, nested paths and nulls are found."""
    lines = [
        '{"o": {"label": 3}}',
        "",
        "{oops",
        "[]",
        '{"o": {"label": null}}',
        '{"o": {}}',
        '{"o": {"label": [1, 2]}}',
    ]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (chunk,) = chunks_of(f"jsonl:{tmp_path}/a.jsonl.gz", ["o/label"])
    assert chunk.columns["o/label"] == [3, None, None, [1, 2]]
    assert list(chunk.rows) == [0, 3, 4, 5]
    assert [u.row for u in chunk.unreadable] == [1, 2]
    deep = b"[" * 100_000 + b"\n"
    (tmp_path / "b.jsonl").write_bytes(b'{"label": 1}\n' + deep + b'{"label": ' + b"9" * 5000 + b"}\n")
    (chunk,) = chunks_of(f"jsonl:{tmp_path}/b.jsonl")
    assert (chunk.columns["label"], len(chunk.unreadable)) == ([1], 2)


def test_jsonl_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are cut by bytes and positions run on."""
    monkeypatch.setattr(line_blocks, "_BLOCK", 64)
    (tmp_path / "a.jsonl").write_text("".join(f'{{"label": {k}}}\n' for k in range(50)))
    chunks = chunks_of(f"jsonl:{tmp_path}/a.jsonl")
    assert len(chunks) > 5
    assert values(chunks) == list(range(50))
    assert [row for chunk in chunks for row in chunk.rows] == list(range(50))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_truncated_gzip_yields_what_came_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """What was unzipped before the fault is yielded, then one error."""
    monkeypatch.setattr(csv_source, "_ROWS", 100)
    monkeypatch.setattr(jsonl, "CHUNK_BYTES", 1000)
    rng = np.random.default_rng(0).integers(0, 10**9, 20_000)
    lines = [f'{{"label": {v}}}' if suffix == "jsonl" else str(v) for v in rng]
    data = gzip.compress("\n".join(["label", *lines] if suffix == "csv" else lines).encode())
    (tmp_path / f"a.{suffix}.gz").write_bytes(data[: len(data) // 2])
    source = open_source(f"{suffix}:{tmp_path}/a.{suffix}.gz", labels=["label"])
    found = []
    with pytest.raises(SourceError, match="truncated"):
        found.extend(source.read(source.shards()[0]))
    assert len(values(found)) > 5000
    assert values(found) == rng[: len(values(found))].tolist()


def test_npy_is_handed_on_as_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come in pieces of the stored dtype and byte order, keyed by row number."""
    monkeypatch.setattr(numpy_files, "CHUNK_BYTES", 100)
    array = np.arange(60, dtype=">i4").reshape(20, 3)
    np.save(tmp_path / "a.npy", array)
    chunks = chunks_of(f"npy:{tmp_path}/a.npy")
    assert len(chunks) == 3
    np.testing.assert_array_equal(np.concatenate([c.columns["label"] for c in chunks]), array)
    assert chunks[0].columns["label"].dtype == np.dtype(">i4")
    assert keys(chunks) == [str(k) for k in range(20)]


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
@pytest.mark.parametrize("names", [("label", "b"), ("größe", "b"), ("ラベル", "b")])  # of versions 1, 1 and 3
def test_npy_field_names_in_any_script(tmp_path: Path, names: tuple[str, str]) -> None:
    """The names of fields are those that NumPy wrote, whatever the version of the header."""
    rows = np.array([(1, 2.0), (3, 4.0)], list(zip(names, ("<i4", "<f8"), strict=True)))
    np.save(tmp_path / "a.npy", rows)
    assert list_fields(f"npy:{tmp_path}/a.npy") == list(names)
    (chunk,) = chunks_of(f"npy:{tmp_path}/a.npy", [names[0]])
    assert chunk.columns[names[0]].tolist() == [1, 3]


@pytest.mark.parametrize("array", [np.empty((0, 3), "i4"), np.asfortranarray(np.arange(6).reshape(2, 3)), np.eye(3)])
def test_npy_of_any_order_and_length(tmp_path: Path, array: np.ndarray) -> None:
    """An array without rows, and one in Fortran order, are read as NumPy reads them."""
    np.save(tmp_path / "a.npy", array)
    found = [chunk.columns["label"] for chunk in chunks_of(f"npy:{tmp_path}/a.npy")]
    np.testing.assert_array_equal(np.concatenate([*found, array[:0]]), array)


def test_npy_version_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A header of a version that NumPy does not write is an error, not read as another version."""
    np.save(tmp_path / "a.npy", np.arange(3))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[:6] + b"\x04" + data[7:])
    with pytest.raises(SourceError, match=r"as \.npy: it is of version \(4, 0\)"):
        chunks_of(f"npy:{tmp_path}/a.npy")


def test_npy_structured_and_npz_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A structured array has a field a label, an archive a member a label; pieces stay side by side."""
    monkeypatch.setattr(numpy_files, "CHUNK_BYTES", 64)
    rows = np.zeros(30, [("label", "u1"), ("score", "f4")])
    rows["label"], rows["score"] = np.arange(30), np.linspace(0, 1, 30)
    np.save(tmp_path / "a.npy", rows)
    np.savez_compressed(tmp_path / "a.npz", label=rows["label"], score=rows["score"], **{"o/label": np.eye(30)})
    for uri in (f"npy:{tmp_path}/a.npy", f"npz:{tmp_path}/a.npz"):
        chunks = chunks_of(uri, ["label", "score"])
        for name in ("label", "score"):
            found = np.concatenate([chunk.columns[name] for chunk in chunks])
            assert found.dtype == rows.dtype[name]
            np.testing.assert_array_equal(found, rows[name])
    assert list_fields(f"npz:{tmp_path}/a.npz") == ["label", "score", "o/label"]
    assert chunks_of(f"npz:{tmp_path}/a.npz", ["o/label"])[0].columns["o/label"].shape == (1, 30)


@pytest.mark.parametrize(
    ("scheme", "make", "reported"),
    [
        ("npy", lambda f: np.save(f, np.array([1, None], object)), "pickled Python objects"),
        ("npz", lambda f: np.savez(f, label=np.array([1, None], object)), "pickled Python objects"),
        ("npy", lambda f: np.save(f, np.int64(3)), "single value"),
        ("npz", lambda f: np.savez(f, label=np.int64(3)), "single value"),
        ("npy", lambda f: np.savez(f, label=np.arange(3)), "use npz:"),
        ("npz", lambda f: np.savez(f, label=np.asfortranarray(np.eye(3))), "Fortran"),
        ("npz", lambda f: np.savez(f, lable=np.arange(3)), "did you mean 'lable'"),
        ("npz", lambda f: np.savez(f, label=np.arange(3), other=np.arange(4)), ""),
    ],
)
def test_numpy_files_that_cannot_be_labels(tmp_path: Path, scheme: str, make: object, reported: str) -> None:
    """Pickles, single values and members in the wrong form are refused; unwanted members do not matter."""
    with (tmp_path / "file").open("wb") as file:
        make(file)
    if not reported:
        assert values(chunks_of(f"{scheme}:{tmp_path}/file")) == [0, 1, 2]
        with pytest.raises(SourceError, match="differ in length"):
            chunks_of(f"{scheme}:{tmp_path}/file", ["label", "other"])
        return
    with pytest.raises(SourceError, match=reported):
        chunks_of(f"{scheme}:{tmp_path}/file")


@pytest.mark.parametrize("names", [("label", "label.npy"), ("label.npy", "label"), ("label.npy", "label.npy")])
def test_two_arrays_of_one_name_are_an_error(tmp_path: Path, names: tuple[str, str]) -> None:
    """NumPy gives the member ``label`` where ``label.npy`` is there too, which would be read here."""
    with zipfile.ZipFile(tmp_path / "file", "w") as archive, warnings.catch_warnings(action="ignore"):
        for name in names:
            with archive.open(name, "w") as member:
                np.save(member, np.arange(3))
    with pytest.raises(SourceError, match="two arrays named 'label'"):
        chunks_of(f"npz:{tmp_path}/file")


def test_damaged_npz_member(tmp_path: Path) -> None:
    """A member whose bytes were changed fails its checksum as one error."""
    buffer = io.BytesIO()
    np.savez(buffer, label=np.arange(1000))
    data = bytearray(buffer.getvalue())
    data[5000] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(SourceError, match=r"as \.npz"):
        chunks_of(f"npz:{tmp_path}/a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        whole = io.BytesIO()
        np.save(whole, np.arange(1000))
        archive.writestr("label.npy", whole.getvalue()[:4000])
        archive.writestr("less.npy", whole.getvalue().replace(b"(1000,)", b"(-100,)"))
        archive.writestr("vast.npy", whole.getvalue().replace(b"(1000,), }", b"(9**9,1,)}"))
        archive.writestr("huge.npy", whole.getvalue().replace(b"(1000,), }      ", b"(1,987654321987)}"[:16]))
    for label, reported in (
        ("label", "truncated"),
        ("less", "its shape is"),
        ("vast", "as .npy"),
        ("huge", ".npy|truncated"),
    ):
        with pytest.raises(SourceError, match=reported):
            chunks_of(f"npz:{tmp_path}/b.npz", [label])


@given(place=st.integers(0, 127), byte=st.integers(0, 255))
@settings(deadline=None, max_examples=200)
def test_damaged_npy_header(tmp_path_factory: pytest.TempPathFactory, place: int, byte: int) -> None:
    """Any byte of a header set to any value is an error or an array, never another kind of exception."""
    buffer = io.BytesIO()
    np.save(buffer, np.arange(10))
    data = bytearray(buffer.getvalue())
    data[place] = byte
    path = tmp_path_factory.mktemp("npy") / "a"
    path.write_bytes(data)
    with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
        archive.writestr("label.npy", bytes(data))
    for uri in (f"npy:{path}", f"npz:{path}.npz"):
        with contextlib.suppress(SourceError):
            assert len(values(chunks_of(uri))) <= 80


def test_an_array_that_python_2_wrote_is_read_without_a_warning(tmp_path: Path) -> None:
    """Its header has long integers: ``(3L,)``."""
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    (tmp_path / "a.npy").write_bytes(buffer.getvalue().replace(b"(3,), ", b"(3L,),"))
    assert values(chunks_of(f"npy:{tmp_path}/a.npy")) == [0, 1, 2]


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_an_array_that_is_cut_anywhere_is_an_error(tmp_path: Path, rows: int, version: tuple[int, int]) -> None:
    """Also within the spaces at the end of its header, where what precedes the cut can be read: of no rows, too."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.arange(rows), version=version)
    data = buffer.getvalue()
    for cut in range(len(data)):
        (tmp_path / "a").write_bytes(data[:cut])
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("label.npy", data[:cut])
        for uri in (f"npy:{tmp_path}/a", f"npz:{tmp_path}/a.npz"):
            with pytest.raises(SourceError):
                chunks_of(uri)


USER_CODE = """
import numpy as np
def records(split):
    for k in range(2500):
        yield {"label": np.int64(k % 10), "image": np.zeros(3), "id": f"{split}{k}", "boxes": [1] * (k % 3)}
_buffer = np.zeros((4,), np.int32)
def batches():
    for k in range(3):
        _buffer[:] = k
        yield {"label": _buffer, "id": [f"b{k}{j}" for j in range(4)]}
def reused():
    one = np.zeros((2,), np.int32)
    for k in range(3):
        one[:] = k
        yield {"label": one}
def fails():
    yield {"label": 1}
    raise RuntimeError("disk on fire")
def single():
    yield {"label": np.zeros(1, np.int32)}
def uneven():
    yield {"label": np.zeros(3, np.int32), "id": ["a"]}
uneven.batched = True
def tuples():
    yield (np.zeros((2, 2)), np.array([3, 4]))
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Folder with the user's module."""
    (tmp_path / "my_pipeline.py").write_text(USER_CODE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_pipeline", raising=False)
    return str(tmp_path)


def test_function_of_records(user_module: str) -> None:
    """Records are gathered in order with row numbers or the record key; the split is handed over."""
    options = {"labels": {"label": ()}, "split": "dev", "base_dir": user_module}
    chunks = chunks_of("python:my_pipeline:records", **options)
    assert values(chunks) == [k % 10 for k in range(2500)]
    assert len(chunks) == 3
    assert keys(chunks)[-1] == "2499"
    assert keys(chunks_of("python:my_pipeline:records", record_key="id", **options))[:2] == ["dev0", "dev1"]


def test_function_of_batches(user_module: str) -> None:
    """Batches are recognised by the rank of their labels and handed on as they are, tuples included."""
    source = open_source("python:my_pipeline:batches", labels={"label": ()}, record_key="id", base_dir=user_module)
    found = [(list(c.keys), c.columns["label"].tolist()) for c in source.read(source.shards()[0])]
    assert found == [([f"b{k}{j}" for j in range(4)], [k] * 4) for k in range(3)]
    (chunk,) = chunks_of("python:my_pipeline:tuples", {"1": ()}, base_dir=user_module)
    assert chunk.columns["1"].tolist() == [3, 4]


def test_function_that_reuses_its_buffer(user_module: str) -> None:
    """Records are kept as they were when they were yielded."""
    (chunk,) = chunks_of("python:my_pipeline:reused", {"label": (2,)}, base_dir=user_module)
    assert chunk.columns["label"].tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("where", "labels", "reported"),
    [
        ("my_pipeline:recods", {"label": ()}, "no function 'recods'; did you mean 'records'"),
        ("my_pipelin:records", {"label": ()}, "cannot import 'my_pipelin'"),
        ("my_pipeline", {"label": ()}, "expected python:module:function"),
        ("my_pipeline:single", {"label": ()}, "records or batches"),
        ("my_pipeline:records", {"label": None}, "records or batches"),
        ("my_pipeline:records", {"lable": ()}, "did you mean 'label'"),
        ("my_pipeline:uneven", {"label": (), "id": ()}, "have lengths"),
        ("my_pipeline:fails", {"label": ()}, "raised RuntimeError at element 1: disk on fire"),
    ],
)
def test_functions_that_cannot_be_read(user_module: str, where: str, labels: dict[str, object], reported: str) -> None:
    """Each fault of the user's function is one SourceError that names it."""
    with pytest.raises(SourceError, match=reported):
        chunks_of(f"python:{where}", labels, base_dir=user_module)


@pytest.mark.parametrize(
    ("uri", "reported"),
    [
        ("parqet:a.parquet", "did you mean 'parquet:parqet:a.parquet'|did you mean 'parquet'"),
        ("data/train-00000.parquet", "no file matches data/train-00000.parquet"),
        ("ftp://bucket/a.csv.gz", "protocol 'ftp' is not allowed"),
        ("", "does not show its format"),
        ("a.unknown", "does not exist"),
        ("hdf5:a.h5", "unknown source scheme 'hdf5'"),
        ("csv:", "names no file"),
        ("csv:a.csv?delimitr=;", "unknown option 'delimitr'; did you mean 'delimiter'"),
        ("jsonl:a.jsonl?header=none", "jsonl: has no options"),
        ("csv:a.csv?encoding=utf8", "did you mean 'utf-8'"),
        ("raw:a.bin?dtype=uint16&dtype=uint32", "an option is given twice"),
        ("csv:a.csv?delimiter=ab", "expected one character"),
        ("csv:a.csv?header=no", "expected first or none"),
        ("raw:a.bin?dtype=int12", "expected one of"),
        ("raw:a.bin?dtype=int16&shape=0", "whole numbers"),
        ("csv:/no/such/file.csv", "no file matches /no/such/file.csv"),
        ("csv:/", "is a folder, expected a file or a glob such as"),
        ("csv:nosuchscheme://x/y.csv", "protocol 'nosuchscheme' is not allowed"),
    ],
)
def test_uris_that_name_nothing(uri: str, reported: str) -> None:
    """A wrong URI is reported with what to write instead."""
    with pytest.raises(SourceError, match=reported):
        open_source(uri, labels=["label"])


def test_a_file_name_with_wildcard_signs(tmp_path: Path) -> None:
    """A file that is there by that very name is taken before a glob is."""
    (tmp_path / "a[1].csv").write_text("label\n1\n")
    assert keys(chunks_of("csv:a[1].csv", base_dir=str(tmp_path))) == ["a[1].csv__0"]


def test_remote_text_and_archives(tmp_path: Path) -> None:
    """CSV, JSON Lines and npz are read through fsspec; npy says that it is not."""
    import fsspec

    files = fsspec.filesystem("memory")
    buffer = io.BytesIO()
    np.savez(buffer, label=np.arange(3))
    files.pipe("/far/a.csv", b"label\n0\n1\n2\n")
    files.pipe("/far/a.jsonl.gz", gzip.compress(b'{"label":0}\n{"label":1}\n{"label":2}'))
    files.pipe("/far/a.npz", buffer.getvalue())
    for uri in ("csv:memory://far/a.csv", "jsonl:memory://far/*.jsonl.gz", "npz:memory://far/a.npz"):
        assert values(chunks_of(uri)) == [0, 1, 2]
    with pytest.raises(SourceError, match=r"use npz:memory://far/a.npz"):
        chunks_of("npy:memory://far/a.npz")
    with pytest.raises(SourceError, match="is a folder"):
        chunks_of("csv:memory://far")


def test_describe_is_plain(tmp_path: Path) -> None:
    """The description holds JSON values only."""
    (tmp_path / "a.csv").write_text("label\n1\n")
    found = open_source("csv:a.csv", labels=["label"], split="train", base_dir=str(tmp_path)).describe()
    assert found == {
        "uri": "csv:a.csv", "format": "csv", "split": "train", "shards": 1, "bytes": 8, "expected_records": None,
    }  # fmt: skip


def test_keys_are_made_lazily() -> None:
    """Keys of a huge range cost nothing until one is asked for."""
    many = base.Keys("f__", range(10**12))
    assert (len(many), many[-1], list(many[3:5])) == (10**12, "f__999999999999", ["f__3", "f__4"])
