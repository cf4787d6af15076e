"""infer and check read files that no option describes: they say what they took for what."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.errors import SourceError
from label_guard.quarantine import Origin, QuarantineOptions, QuarantineWriter, compact_quarantine
from label_guard.sources.open import list_fields, open_source
from label_guard.sources.sniff import readable_uri
from label_guard.sources.uris import full_uri
from tests.quarantine_records import bad

TEXTS = {
    "iris.data": (b"5.1,3.5,Iris-setosa\n4.9,3.0,Iris-setosa\n", "?header=none"),
    "val.txt": (b"a 1.JPEG 65\na 2.JPEG 970\n", "?delimiter=space&header=none"),
    "labels.txt": (b"cat\ndog\ncat\n", "?header=none"),
    "pandas.csv": (b",0,1\n0,3,4\n1,3,4\n", "?header=first"),
    "excel.csv": ("L\u00e4nge;label\n5,1;3\n4,2;1\n".encode("latin-1"), "?delimiter=;&encoding=latin-1"),
    "windows.csv": ("\ufefflabel,x\n3,4\n".encode("utf-16"), "?encoding=utf-16"),
    "notepad.txt": ("label\tx\nc\u00e9\t4\nb\t5\n".encode("utf-16"), "?delimiter=tab&encoding=utf-16"),
    "no_mark.csv": ("label,x\n3,4\n".encode("utf-16-le"), "?encoding=utf-16-le"),
    "big.csv": ("\u540d\u524d;label\n\u72ac\u72ac;4,5\n".encode("utf-16-be"), "?delimiter=;&encoding=utf-16-be"),
    "usual.csv": (b"label,x\n3,4\n2,1\n", ""),
    "one.csv": (b"label\n3\n3\n", ""),
    "numbers.csv": (b"3\n2\n", "?header=none"),
    "commas.csv": (b'text,label\n"a; b",3\n"c; d; e",2\n', ""),
    "tabs.tsv": (b"label\tx\n3\t4\n", "?delimiter=tab"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_options_of_text_are_found(tmp_path: Path, name: str) -> None:
    """Delimiter, header and encoding are added to the URI, which then reads the file; each is said."""
    data, options = TEXTS[name]
    (tmp_path / name).write_bytes(data)
    uri, notes = readable_uri(str(tmp_path / name))
    assert uri == f"csv:{tmp_path}/{name}{options}"
    assert len(notes) == options.count("=") - ("tsv" in name)
    assert list_fields(uri)
    assert readable_uri(uri) == (uri, [])


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int32", "int64"]),
    classes=st.sampled_from([4, 10, 90, 250, 1_000, 50_000]),
    seed=st.integers(0, 9),
)
def test_the_width_of_bare_numbers_is_found(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, classes: int, seed: int
) -> None:
    """Whatever the number of classes and the stored width, numbers come back as they were written."""
    path = tmp_path_factory.mktemp("raw") / "a.bin"
    numbers = np.minimum(np.random.default_rng(seed).integers(0, classes, 4_000), np.iinfo(dtype).max).astype(dtype)
    numbers.tofile(path)
    uri, notes = readable_uri(str(path))
    source = open_source(uri, labels=["label"])
    found = np.concatenate([chunk.columns["label"] for chunk in source.read(source.shards()[0])])
    np.testing.assert_array_equal(found, numbers)
    assert len(notes) == 1


@pytest.mark.parametrize("compacted", [False, True])
def test_a_quarantine_folder_is_not_taken_for_json_lines(tmp_path: Path, compacted: bool) -> None:
    """Its lines hold the labels in a payload: as JSON lines they had no field ``label``."""
    place = str(tmp_path / "q")
    for _ in range(2):
        writer = QuarantineWriter(QuarantineOptions(place), Origin("d", "1.0.0", "d1", None, None, "s1"))
        writer.append([bad("a", np.int64(10))])
        writer.append([bad("b", np.int64(11))])
        writer.close()
        writer.append([bad("c", np.int64(12))])
    if compacted:
        compact_quarantine(place)
    assert full_uri(place) == f"quarantine:{place}"
    (tmp_path / "q" / "mine.jsonl").write_text('{"label": 1}\n')
    assert full_uri(place) == f"jsonl:{place}/*.jsonl"  # somebody's own lines: no quarantine


@pytest.mark.parametrize("above", ["", "insects", "a/insects"])
def test_a_folder_of_prepared_datasets_is_not_taken_for_class_folders(tmp_path: Path, above: str) -> None:
    """``data_dir`` of TFDS, or the folder of a dataset in it: the one version is read, several are named."""
    for version in ("1.0.0", "2.0.0"):
        (tmp_path / above / version).mkdir(parents=True)
        (tmp_path / above / version / "dataset_info.json").write_text("{}")
        (tmp_path / "downloads").mkdir(exist_ok=True)
        (tmp_path / "downloads" / "a.INFO").write_text("")
        if version == "1.0.0":
            assert full_uri(str(tmp_path)) == f"tfds:{tmp_path / above / version}"
    with pytest.raises(SourceError) as error:
        full_uri(str(tmp_path))
    places = (f"tfds:{tmp_path / above / version}" for version in ("1.0.0", "2.0.0"))
    assert str(error.value) == f"{tmp_path} holds several datasets; pass one of: {', '.join(places)}"


def test_the_header_of_llm_c_is_stepped_over(tmp_path: Path) -> None:
    """Its tokens start behind 1,024 bytes."""
    head = np.zeros(256, "<i4")
    head[:3] = 20240520, 1, 500
    (tmp_path / "a.bin").write_bytes(head.tobytes() + np.arange(500, dtype="<u2").tobytes())
    assert readable_uri(str(tmp_path / "a.bin"))[0].endswith("?dtype=uint16&offset=1024")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.mat", b"x", "scipy.io.loadmat"),
        ("a.xlsx", b"PK\x03\x04", "save the sheet as CSV"),
        ("a.pkl", b"x", "never loaded"),
        ("a", b"\x80\x81", "does not show its format"),
        ("a.zip", b"PK\x03\x04", "unpack it"),
        ("a.html", b"<html>", "does not show its format"),
        ("a", b"", "does not show its format"),
    ],
)
def test_what_is_not_read_says_what_to_do(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    """A file of another kind is one error with a way out, also where it is missing."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        readable_uri(str(tmp_path / name))
    with pytest.raises(SourceError, match="does not exist"):
        readable_uri(str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("delimiter", "sign"),
    [("semicolon", ";"), ("comma", ","), ("space", " "), ("pipe", "|"), ("tab", "\t"), (":", ":")],
)
def test_a_delimiter_may_be_given_by_its_name(tmp_path: Path, delimiter: str, sign: str) -> None:
    """With the delimiter given, the header is still found; a name that is none is an error."""
    (tmp_path / "a.csv").write_text("".join(f"{k}{sign}cat\n" for k in range(4)))
    uri, _ = readable_uri(f"csv:{tmp_path}/a.csv?delimiter={delimiter}")
    assert uri == f"csv:{tmp_path}/a.csv?delimiter={delimiter}&header=none"
    assert list_fields(uri) == ["0", "1"]
    with pytest.raises(SourceError, match="delimiter is 'dot'; expected one character"):
        readable_uri(f"csv:{tmp_path}/a.csv?delimiter=dot")


@pytest.mark.parametrize("scheme", ["csv", "jsonl", "json"])
def test_packed_files_under_the_name_of_a_text_are_said_to_be_packed(tmp_path: Path, scheme: str) -> None:
    """The bytes of gzip and zip are not taken for rows, nor their delimiter suggested."""
    path = tmp_path / f"labels.{scheme}"
    for content, message in ((gzip.compress(b"label\n1\n"), "packed by gzip"), (b"PK\x03\x04;;", "a zip archive")):
        path.write_bytes(content)
        for source in (str(path), f"{scheme}:{path}"):
            with pytest.raises(SourceError, match=message):
                open_source(readable_uri(source)[0], labels=["label"])


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_note_of_excel_about_the_delimiter_is_refused_as_such(tmp_path: Path, sign: str) -> None:
    """The line before the header is not taken for the names of the columns."""
    path = tmp_path / "labels.csv"
    path.write_text(f"sep={sign}\n" + f"label{sign}id\n" + f"cat{sign}1\ndog{sign}2\n" * 9)
    with pytest.raises(SourceError, match="is a note for Excel; remove it"):
        list_fields(readable_uri(str(path))[0])


@pytest.mark.parametrize("labels", ["labels", "labels/train2017"])
def test_labels_of_yolo_next_to_pictures_need_no_data_yaml(tmp_path: Path, labels: str) -> None:
    """``images`` and ``labels``, as COCO128 has them, are YOLO, with pictures or without; class folders are not."""
    images = tmp_path / labels.replace("labels", "images")
    for folder in (images, tmp_path / labels):
        folder.mkdir(parents=True)
    (tmp_path / labels / "1.txt").write_text("3 0.5 0.5 0.1 0.1\n")
    assert full_uri(str(tmp_path)) == f"yolo:{tmp_path}"
    (images / "1.jpg").write_bytes(b"")
    assert full_uri(str(tmp_path)) == f"yolo:{tmp_path}"
    (tmp_path / labels / "1.txt").rename(tmp_path / labels / "1.jpg")
    assert full_uri(str(tmp_path)) == f"folder:{tmp_path}"
