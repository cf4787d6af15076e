"""``label-guard check`` and ``check_labels``: an answer for every format from a plain path, and exit codes to rely on.

``UPDATE_GOLDEN=1 pytest tests/cli/test_check.py`` writes the golden files; read them as a newcomer would.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import label_guard
from label_guard import CheckReport, LabelGuardError, SourceError, UsageError, check_labels
from label_guard.cli import app
from label_guard.infer.draft import infer
from label_guard.sources.schemes import NAMES

GOLDEN = Path(__file__).parents[1] / "golden" / "check"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            app.main(["check", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert "unexpected" not in err
        return int(exit_.value.code or 0), out, err

    return call


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.txt")))
def test_every_format_is_answered_from_a_plain_path(
    insects: Path, dataset_files: dict[str, str], run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The output for each dataset is its golden file; nothing was expected, so the exit code is 0."""
    monkeypatch.chdir(insects)
    code, out, err = run(dataset_files[name])
    assert (code, err) == (0, "")
    if "UPDATE_GOLDEN" in os.environ:
        (GOLDEN / f"{name}.txt").write_text(out, encoding="utf-8")
    assert out == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_every_scheme_has_a_dataset(dataset_files: dict[str, str]) -> None:
    """A scheme that comes gets a dataset, and each dataset a golden file."""
    assert set(NAMES) - set(dataset_files) == {"quarantine", "python", "coco_images"}
    assert set(dataset_files) == {path.stem for path in GOLDEN.glob("*.txt")}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["labels.npy", "--num-classes", "5"], 0, "no violation in 120 records"),
        (["labels.npy", "--num-classes", "4"], 1, "LG101 label-out-of-range: label: 1 of 120 records; first 17: 4"),
        (["labels.npy", "--class-names", "names.txt"], 1, "0 bee"),
        (["insects.csv", "--class-names", "names.txt"], 1, "'Beetle ' (did you mean 'beetle'?)"),
        (["insects.csv", "--num-classes", "5"], 0, "no violation"),
        (["insects.jsonl", "--label", "label"], 1, "expected [0, 4)"),
        (["insects.csv", "--label", "length_mm"], 0, "real numbers"),
        (["insects.csv", "--label", "file"], 2, "captions or identifiers"),
        (["insects.csv", "--label", "lenght_mm"], 2, "did you mean 'length_mm'?"),
        (["labels.npy", "--num-classes", "5", "--limit", "9"], 2, "not complete"),
        (["labels.npy", "--limit", "9"], 0, "9 records were read; there are more"),
        (["hf.parquet", "--num-classes", "3"], 1, "expected [0, 3)"),
        (["instances.json", "--num-classes", "4"], 1, "expected class_ids {1, 2, 4, 8}"),
        (["yolo", "--num-classes", "5"], 1, "LG231"),
        (["masks", "--num-classes", "6"], 0, "no violation"),
        (["tfds/insects/1.0.0", "--num-classes", "4", "--split", "test"], 0, "no violation in 20 records"),
        (["tokens.bin", "--num-classes", "1000"], 0, "no violation in 4,000 records"),
        (["labels.npy", "--class-names", "names.txt", "--num-classes", "5"], 2, "but 4 class names are given"),
        (["labels.npy", "--class-names", "blank.txt"], 2, "line 2 is empty"),
        (["labels.npy", "--class-names", "gone.txt"], 2, "cannot read gone.txt"),
        (["cut.npy"], 2, "cut.npy is truncated"),
        (["cut.jsonl.gz", "--num-classes", "9"], 2, "not read to the end"),
        (["broken.jsonl"], 2, "LG120 record-unreadable"),
        (["broken.jsonl", "--num-classes", "4"], 1, "LG120 record-unreadable"),
        (["two.csv", "--num-classes", "4"], 2, "name one with --label"),
        (["ids.csv"], 0, "label-guard check ids.csv --label id"),
        (["."], 2, "holds several datasets; pass one of: array_record:insects.array_record"),
        (["gone.csv"], 2, "no file matches gone.csv"),
        (["empty.csv", "--num-classes", "3"], 2, "no labels: 0 records"),
        (["empty.csv", "--label", "label"], 2, "no labels: 0 records\n  fields: label"),
        (["empty.npy", "--num-classes", "3"], 2, "no labels: 0 records"),
        (["labels.npy", "--num-classes", "2147483647"], 0, "no violation in 120 records"),
        (["labels.npy", "--num-classes", str(10**12)], 2, "less than or equal to 2147483647"),
    ],
)
def test_exit_codes(
    insects: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    """0 clean or nothing expected, 1 violations of what is expected, 2 where not all could be read or checked."""
    monkeypatch.chdir(insects)
    Path("names.txt").write_text("bee\nbeetle\nbutterfly\ndragonfly\n")
    Path("blank.txt").write_text("bee\n\nant\n")
    Path("cut.npy").write_bytes(Path("labels.npy").read_bytes()[:-8])
    Path("cut.jsonl.gz").write_bytes(gzip.compress(Path("insects.jsonl").read_bytes())[:-20])
    Path("broken.jsonl").write_text('{"label": 1}\n{"label": 0}\n{"label"\n' * 9)
    Path("two.csv").write_text("label,class\n" + "1,0\n0,1\n" * 9)
    Path("ids.csv").write_text("id,name\n" + "".join(f"{k},n{k}\n" for k in range(30)))
    Path("empty.csv").write_text("id,label\n")
    np.save("empty.npy", np.zeros(0, np.int64))
    made = ["names.txt", "blank.txt", "cut.npy", "cut.jsonl.gz", "broken.jsonl", "two.csv", "ids.csv"]
    found, out, err = run(*arguments)
    for path in (*made, "empty.csv", "empty.npy"):
        Path(path).unlink()
    assert message in out + err
    assert found == code


@pytest.mark.parametrize("name", ["csv", "npy", "hf_masks", "raw"])
def test_the_commands_that_it_names_run(
    insects: Path, dataset_files: dict[str, str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Each line under ``next:`` is a command that exists and takes these options."""
    import shlex

    monkeypatch.chdir(insects)
    out = run(dataset_files[name])[1]
    Path("NAMES.txt").write_text("bee\nbeetle\nbutterfly\ndragonfly\n")
    for line in out.partition("next:\n")[2].splitlines():
        words = shlex.split(line.replace("classes N", "classes 9"))
        words = [str(tmp_path / word) if word.endswith(".yaml") else word for word in words]
        with pytest.raises(SystemExit) as exit_:
            app.main(words[1:])
        assert exit_.value.code in (0, 1), line
    Path("NAMES.txt").unlink()


@pytest.mark.parametrize("expected", [(), ("--num-classes", "9")])
def test_colours_lead_to_no_command_that_refuses_them(tmp_path: Path, run: Run, expected: tuple[str, ...]) -> None:
    """A mask of colours must be converted first: neither ``infer`` nor a number of classes helps."""
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "mask.png")
    code, out, _ = run(tmp_path / "mask.png", *expected)
    assert code == (1 if expected else 0)
    assert "colours" in out or "3 colour channels" in out
    assert "label-guard infer" not in out
    assert "label-guard check" not in out


NONE_READABLE = {
    "rows.csv": ("label,id\n" + '"1",cat,0\n' * 30, "the row has 3 fields, the header 2"),
    "title.csv": ("# made by hand\n" + "label,id\n" + "1,2\n" * 30, "the row has 2 fields, the header 1"),
    "yolo/a.txt": ("cat 0.5 0.5 0.1 0.1\n", "is not 'class x y width height'"),
    "lines.jsonl": ('{"label": 1}\n' + '{"label": 1\n' * 30, "not JSON"),
}


@pytest.mark.parametrize("name", NONE_READABLE)
def test_why_records_cannot_be_read_is_always_said(tmp_path: Path, run: Run, name: str) -> None:
    """Where hardly a record can be read, and no label is found, the first fault is shown, by ``infer`` as well."""
    content, why = NONE_READABLE[name]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    data = tmp_path / name.partition("/")[0]
    for options in ([], ["--num-classes", "3"], ["--label", "label"]):
        code, out, err = run(data, *options)
        assert code
        assert why in out + err or "has no field 'label'" in err, options
    if name != "lines.jsonl":  # of which one record can be read
        with pytest.raises(UsageError, match=re.escape(why)):
            infer(f"{data}")


def test_an_archive_of_two_splits(tmp_path: Path, run: Run) -> None:
    """Arrays of several lengths, as Keras keeps MNIST, are shown: the first that is called a label, and the others."""
    train, test = np.arange(90) % 3, np.arange(30) % 3
    arrays = {"x_train": np.zeros((90, 2, 2)), "y_train": train, "x_test": np.zeros((30, 2, 2)), "y_test": test}
    np.savez(tmp_path / "mnist.npz", **arrays)
    code, out, _ = run(tmp_path / "mnist.npz")
    assert (code, "y_train: class ids, int64, 3 classes" in out, "y_test   int64, 0 to 2" in out) == (0, True, True)
    assert infer(f"{tmp_path}/mnist.npz").schema["labels"]["y_train"]["num_classes"] == 3
    np.savez(tmp_path / "other.npz", data=np.ones(30), index=np.arange(31))
    code, out, _ = run(tmp_path / "other.npz")
    assert (code, "index  int64, 0 to 30" in out) == (0, True)


EMPTY = {
    **{
        f"zero.{form}": b""
        for form in ("csv", "jsonl", "json", "npy", "npz", "parquet", "tar", "bin", "txt", "tfrecord")
    },
    "head.csv": b"id,label\n",
    "head.tsv": b"\xef\xbb\xbfid\tlabel\r\n",
    "blank.jsonl": b"\n\n",
    "array.json": b"[]",
    "coco.json": b'{"images": [], "annotations": [], "categories": []}',
    "tar.tar": bytes(10240),
}


def test_data_without_a_record_are_said_to_be_empty(tmp_path: Path, run: Run) -> None:
    """No bytes, a header alone, an empty array, table or folder: one plain line, and exit code 2."""
    for name, content in EMPTY.items():
        (tmp_path / name).write_bytes(content)
    pq.write_table(pa.table({"label": pa.array([], pa.int64())}), tmp_path / "table.parquet")
    np.save(tmp_path / "rows.npy", np.zeros((0, 3)))
    np.savez(tmp_path / "arrays.npz", label=np.zeros(0, np.int64))
    (tmp_path / "folder").mkdir()
    for path in sorted(tmp_path.iterdir()):
        for options in ([], ["--num-classes", "3"], ["--label", "label"]):
            code, out, err = run(path, *options)
            empty = "is empty: 0 bytes, no labels" if path.name.startswith("zero.") else "no labels: 0 records"
            assert (code, path.name) == (2, path.name)
            assert "holds nothing" in err if path.is_dir() else empty in out + err, (path.name, options)


def test_other_fields_say_by_how_many_records(tmp_path: Path, run: Run) -> None:
    """They are looked at in the first records alone, which is said where there are more."""
    for count, header in ((1000, "other fields:"), (1001, "other fields (by the first 1,000 records):")):
        rows = "".join(f"p{k},{k % 3}\n" for k in range(count))
        (tmp_path / "a.csv").write_text(f"picture,label\n{rows}")
        assert f"{header}\n  picture  text, 1,000 distinct" in run(tmp_path / "a.csv")[1]


def test_json_holds_what_the_text_shows(insects: Path, run: Run) -> None:
    """A program reads the same findings."""
    code, out, _ = run(insects / "labels.npy", "--num-classes", "4", "--format", "json")
    found = json.loads(out)
    assert (code, found["exit_code"], found["records"], found["complete"]) == (1, 1, 120, True)
    assert [finding["rule"] for finding in found["findings"]] == ["LG101"]
    assert found["labels"]["label"]["declared_as"]["num_classes"] == 4


# From Python ----------------------------------------------------------------------------------------------------------

ARRAYS: dict[str, tuple[object, dict[str, object], int, str]] = {
    "ids": (np.array([0, 1, 2] * 20), {"num_classes": 3}, 0, "no violation"),
    "one too many": (np.array([0, 1, 3] * 20), {"num_classes": 3}, 1, "expected [0, 3)"),
    "a list": ([0, 1, 2, 2**70] * 9, {"num_classes": 3}, 1, "LG101"),
    "lists of lists": ([[0], [1, 2], []] * 9, {"num_classes": 3}, 0, "no violation"),
    "None": ([0, None, 1] * 9, {"num_classes": 2}, 1, "LG104"),
    "names": (np.array(["cat", "dog"] * 9), {"class_names": ["cat", "dog"]}, 0, "no violation"),
    "bytes": (np.array([b"cat", b"dog"] * 9), {"class_names": ["cat", "dog"]}, 0, "no violation"),
    "objects": (np.array(["cat", "dgo"] * 9, object), {"class_names": ["cat", "dog"]}, 1, "'dgo'"),
    "floats": (np.array([0.0, 1.0, 1.5] * 9), {"num_classes": 2}, 1, "LG106"),
    "one-hot": (np.eye(3)[np.arange(30) % 3], {"num_classes": 3}, 0, "one-hot rows"),
    "one-hot of others": (np.eye(3)[np.arange(30) % 3], {"num_classes": 4}, 1, "LG105"),
    "bool": (np.arange(30) % 2 == 0, {"num_classes": 2}, 0, "no violation"),
    "wide": (np.array([2**32 + 1, 1] * 9), {"num_classes": 2}, 1, "4294967297"),
    "columns": ({"label": [0, 1] * 9, "x": [1.5] * 18}, {"num_classes": 2}, 0, "float64, always 1.5"),
    "lists of ids in a text": (np.array(["0 2", "1", "2 1 0"] * 9), {"num_classes": 3}, 0, "lists of class ids"),
    "one list too far": (np.array(["0 2", "1", "3 1 0"] * 9), {"num_classes": 3}, 1, "LG101"),
    "nothing": ([], {}, 2, "no labels: 0 records"),
    "no legal label": (np.array([2**62 + 1]), {"num_classes": 1}, 1, "LG101"),
    "targets": (np.linspace(0, 1, 50), {}, 0, "real numbers"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_checked(name: str) -> None:
    """Arrays, lists and mappings are shown and validated as files are."""
    data, expected, code, message = ARRAYS[name]
    report = check_labels(data, **expected)  # pyright: ignore[reportArgumentType]
    assert message in str(report)
    assert (report.exit_code, report.ok) == (code, code == 0)


@pytest.mark.parametrize("data", [3, None, object(), {"a": [1], "b": [1, 2]}, {}, np.float32(3)])
def test_what_is_neither_a_path_nor_an_array_is_an_error(data: object) -> None:
    """The error names what was passed."""
    with pytest.raises(UsageError, match="expected"):
        check_labels(data)


def test_paths_and_arguments_are_checked(tmp_path: Path) -> None:
    """A Path works as its text does; arguments that contradict each other are errors."""
    np.save(tmp_path / "a.npy", np.array([0, 1] * 9))
    assert str(check_labels(tmp_path / "a.npy")) == str(check_labels(f"{tmp_path}/a.npy"))
    for wrong in ({"num_classes": 0}, {"num_classes": 3, "class_names": ["a"]}):
        with pytest.raises(UsageError):
            check_labels(tmp_path / "a.npy", **wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SourceError):
        check_labels(tmp_path / "gone.npy")


SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
OBJECTS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | st.binary(max_size=2)
VALUES = hnp.arrays(
    st.sampled_from(["u1", "i1", ">i4", "i8", "u8", "f2", "f8", "?", "U3", "S3", "c8", "M8[s]"]), SHAPES
) | hnp.arrays("O", SHAPES, elements=OBJECTS)


@settings(max_examples=60)
@given(values=VALUES, num_classes=st.none() | st.integers(1, 300))
@example(values=np.array([0.0, 1.63e308]), num_classes=None)
@example(values=np.array([-1.7e308, 0.5, 1.7e308]), num_classes=None)
def test_no_array_ends_in_a_fault(values: np.ndarray, num_classes: int | None) -> None:
    """Whatever the dtype and the shape, there is a report or an error in words; legal means legal."""
    try:
        report = check_labels(values, num_classes=num_classes)
    except LabelGuardError:
        return
    assert isinstance(report, CheckReport)
    assert str(report)
    assert json.dumps(report.to_json())
    if num_classes is not None and report.ok and values.dtype.kind in "iu" and report.labels[0].profile.is_scalar:
        assert values.size == 0 or (values.min() >= 0 and values.max() < num_classes)


ENDINGS = "csv tsv jsonl json txt npy npz parquet arrow tar bin tfrecord png idx1 gz"


@settings(max_examples=60)
@given(
    data=st.binary(max_size=80) | st.text("label,\n\t\"'{}[]:;0123 -.naNé\ufeff\0", max_size=80).map(str.encode),
    ending=st.sampled_from(ENDINGS.split(" ")),
    label=st.none() | st.just("label"),
)
def test_no_file_ends_in_a_fault(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str, label: str | None
) -> None:
    """Whatever a file holds and is called, there is a report or an error in words."""
    path = tmp_path_factory.mktemp("check") / f"a.{ending}"
    path.write_bytes(data)
    with contextlib.suppress(LabelGuardError):
        assert str(check_labels(path, label=label))


def test_the_package_exports_it() -> None:
    """It is a public name."""
    assert label_guard.check_labels is check_labels


HOSTILE = [
    "::error::x",
    "##[stop-commands]x",
    "\x1b[31mred",
    "a\n::error::x",
    "a\u202eb",
    "z\u200bw",
    "\x9b31m",
    "it's",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["value", "column", "file"])
def test_names_from_data_are_nothing_but_text(tmp_path: Path, run: Run, place: str, text: str) -> None:
    """No line is a command of a CI runner or holds a control character; a command to copy names the same file."""
    if place == "file" and "::" in text:
        return  # a chained URL is refused
    path = tmp_path / (f"{text}.csv" if place == "file" else "a.csv")
    column, value = (text if place == name else name for name in ("column", "value"))
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", column])
        rows.writerows([[k, value if k % 2 else "b"] for k in range(40)])
    _, out, _ = run(path, "--label", column)
    assert all(line.isprintable() and not line.lstrip().startswith("::") for line in out.splitlines())
    assert "##[" not in out
    commands = out.partition("next:\n")[2].splitlines()
    if not commands:  # no label can be declared of such values
        assert place == "value"
        return
    command = commands[-1]
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    assert {str(path).encode(), column.encode()} <= set(words.split(b"\0"))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are not UTF-8")
def test_a_file_name_that_is_not_utf_8(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown escaped, is a key of the good index in its own bytes, and cannot be drafted: YAML is UTF-8."""
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_text("id,label\n" + "".join(f"{k},{k % 3}\n" for k in range(30)))
    assert "$'" in run(path)[1]
    (tmp_path / "s.yaml").write_text(
        "{format: 1, name: t, version: 1.0.0, splits: {}, labels: {label: {kind: class_label, num_classes: 3}}}"
    )
    good = tmp_path / "good.txt"
    for arguments, code in (
        (["audit", tmp_path / "s.yaml", "--source", f"csv:{path}", "--good-index", good], 0),
        (["infer", f"csv:{path}"], 2),
        (["infer", f"csv:{path}", "--output", tmp_path / "d.yaml"], 2),
    ):
        with pytest.raises(SystemExit) as exit_:
            app.main(list(map(str, arguments)))
        assert int(exit_.value.code or 0) == code
        assert "unexpected" not in capsys.readouterr().err
    assert good.read_bytes().startswith(b"caf\xe9.csv__0\n")
