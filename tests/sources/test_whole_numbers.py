"""Numbers of a text have no width: 40 is 40.0 under a label of floats, and nothing else is taken for a number."""

from __future__ import annotations

import csv
import io
import json
import math
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from label_guard import DatasetSchema, Guard, audit_dataset
from label_guard.audit.report import SplitReport
from label_guard.sources import csv as csv_source
from label_guard.sources import jsonl

Write = Callable[[Path, Sequence[Any]], None]


def schema(**label: Any) -> DatasetSchema:
    """A schema of one label."""
    return DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": {"y": label}})


def whole(value: Any) -> Any:
    """``value`` with every whole number as an int."""
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_csv(path: Path, values: Sequence[Any]) -> None:
    """A column with a header."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["y", "x"])
        rows.writerows([repr(value) if isinstance(value, float) else value, "a"] for value in values)


def write_jsonl(path: Path, values: Sequence[Any]) -> None:
    """A line per record."""
    path.write_text("".join(json.dumps({"y": value, "x": "a"}) + "\n" for value in values))


def write_json(path: Path, values: Sequence[Any]) -> None:
    """An array of objects."""
    path.write_text(json.dumps([{"y": value} for value in values]))


def write_columns(path: Path, values: Sequence[Any]) -> None:
    """An object of one array."""
    path.write_text(json.dumps({"y": list(values)}))


def write_coco(path: Path, values: Sequence[Any]) -> None:
    """Annotations, with the label in each."""
    path.write_text(json.dumps({"annotations": [{"image_id": 1, "y": value} for value in values]}))


def write_tar(path: Path, extension: str, texts: Sequence[str]) -> None:
    """A sample of one member for each text."""
    with tarfile.open(path, "w") as archive:
        for number, text in enumerate(texts):
            member = tarfile.TarInfo(f"{number:04}.{extension}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


SCALARS: dict[str, Write] = {
    "csv": write_csv, "jsonl": write_jsonl, "json": write_json, "json of columns": write_columns, "coco": write_coco,
}  # fmt: skip
LISTS = {name: write for name, write in SCALARS.items() if name != "csv"}


def verdict(model: DatasetSchema, scheme: str, path: Path) -> tuple[Any, ...]:
    """What an audit finds: counts by rule, and which records; without how the numbers are written."""
    split: SplitReport = audit_dataset(model, source=f"{scheme.partition(' ')[0]}:{path}", keep_bad=True).splits[0]
    found = split.labels["y"]
    return split.records, split.invalid, found.violations, found.low, found.high, [place.record for place in split.bad]


def assert_one_verdict(folder: Path, model: DatasetSchema, writers: dict[str, Write], values: Sequence[Any]) -> None:
    """Whole numbers as ints and as floats have one verdict, in every format, and in the guard."""
    expected = None
    for name, write in writers.items():
        for number, written in enumerate((values, whole(list(values)))):
            write(folder / f"a{number}", written)
            found = verdict(model, name, folder / f"a{number}")
            expected = expected or found[:3]
            assert found[:3] == expected, (name, written)
    guard = Guard(model)
    for written in (values, whole(list(values))):
        assert guard.check({"y": list(written)}, batched=True).num_invalid == (expected or (0, 0))[1]
        assert sum(not guard.check({"y": one}, batched=False).ok for one in written) == (expected or (0, 0))[1]


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float)
FLOATING = ["floating", "float16", "float32", "float64", ["int64", "float64"]]
LIMITS = st.fixed_dictionaries({}, optional={"minimum": st.just(-3), "maximum": st.sampled_from([4, 2.5])})


@settings(max_examples=30)
@given(values=st.lists(NUMBERS, min_size=1, max_size=9), dtype=st.sampled_from(FLOATING), limits=LIMITS)
@example(values=[1e300, 40.0, 40.5], dtype="floating", limits={})
@example(values=[70000.0, 1.0], dtype="float16", limits={})
@example(values=[2.0**63, -(2.0**63), 2.0**64, 0.5], dtype=["int64", "float64"], limits={})
def test_real_numbers(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], dtype: Any, limits: dict[str, Any]
) -> None:
    """One value a record, of every size, with and without limits."""
    assert_one_verdict(
        tmp_path_factory.mktemp("real"), schema(kind="real_label", dtype=dtype, **limits), SCALARS, values
    )


@settings(max_examples=10)
@given(
    rows=st.lists(st.lists(NUMBERS, min_size=2, max_size=3), min_size=1, max_size=5),
    shape=st.sampled_from([[2], [None]]), dtype=st.sampled_from(FLOATING),
)  # fmt: skip
def test_lists_of_real_numbers(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], shape: list[int | None], dtype: Any
) -> None:
    """Lists of a fixed and of any length, and lists of them."""
    folder = tmp_path_factory.mktemp("lists")
    assert_one_verdict(folder, schema(kind="real_label", dtype=dtype, shape=shape), LISTS, rows)
    assert_one_verdict(
        folder, schema(kind="real_label", dtype=dtype, shape=[None, *shape]), LISTS, [[row, row] for row in rows]
    )


PARTS = st.sampled_from([0.0, 1.0, 0.5, 0.25, 2.0, -1.0])
ROWS_OF = [
    {"kind": "soft_label", "dtype": "float32"},
    {"kind": "soft_label"},
    {"kind": "soft_label", "one_hot": True},
    {"kind": "multi_label", "dtype": "float32"},
    {"kind": "multi_label"},
    {"kind": "multi_label", "ignore": [-1]},
]


@settings(max_examples=20)
@given(rows=st.lists(st.lists(PARTS, min_size=3, max_size=3), min_size=1, max_size=6), label=st.sampled_from(ROWS_OF))
@example(rows=[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], label=ROWS_OF[0])
def test_rows_of_classes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], label: dict[str, Any]
) -> None:
    """Probabilities and k-hot rows: [1, 0, 0] next to [0.5, 0.5, 0]."""
    assert_one_verdict(tmp_path_factory.mktemp("rows"), schema(num_classes=3, **label), LISTS, rows)


ITEMS: list[Any] = [1, 1.0, 2.5, -1, 10**30, 10**400, 2**63, True, None, "1", "x", [], [1], [2.5, 1], math.nan, {}]
LABELS: list[dict[str, Any]] = [
    {"kind": "real_label"},
    {"kind": "real_label", "ignore": [None]},
    {"kind": "real_label", "ignore": [math.nan, -1]},
    {"kind": "real_label", "dtype": "float16", "minimum": 0},
    {"kind": "class_label", "num_classes": 3, "dtype": "floating"},
    {"kind": "class_label", "num_classes": 3},
]


def expected_rule(item: Any, label: dict[str, Any]) -> str | None:
    """The rule that one value breaks, case by case; ids are as before."""
    floats = label["kind"] == "real_label" or label.get("dtype") == "floating"
    ignored = label.get("ignore", [])
    if item is None:
        return None if None in ignored else "LG104"
    if isinstance(item, list):
        return "LG105"
    if isinstance(item, bool) or not isinstance(item, int | float):
        return "LG103"
    if item != item:
        return None if any(one is not None and one != one for one in ignored) else "LG107"
    if label["kind"] == "class_label":
        if isinstance(item, float) and not (floats and item.is_integer()):
            return "LG103" if item.is_integer() else "LG106"
        return None if 0 <= item < 3 else "LG102" if item < 0 else "LG101"
    if item > 1e308:
        return "LG107"
    if item in ignored:
        return None
    most = 65504 if label.get("dtype") == "float16" else 1e308
    return None if label.get("minimum", -most) <= item <= most else "LG112"


@settings(max_examples=60)
@given(items=st.lists(st.sampled_from(ITEMS), min_size=1, max_size=8), label=st.sampled_from(LABELS))
@example(items=[10**400, 1], label=LABELS[4])
def test_what_is_no_number_breaks_what_it_did(items: list[Any], label: dict[str, Any]) -> None:
    """bool, text, null, lists and what no float holds, whatever the records around them are."""
    result = Guard(schema(**label)).check({"y": items}, batched=True)
    found = [next((violation.rule for violation in result.of_row(row)), None) for row in range(len(items))]
    expected = [expected_rule(item, label) for item in items]
    assert found == expected


def test_a_list_with_what_is_no_number(tmp_path: Path) -> None:
    """A bool, a text or a null costs its own record, and is what is shown of it."""
    rows = [[1, 2.5], [True, 2.5], [1, None], [2.5, "1"], [1, 2], [10**400, 0.5], [1, math.nan], [math.nan, 2.5]]
    write_jsonl(tmp_path / "a.jsonl", rows)
    for ignore, rules in (
        ([], {"LG103": [2, 2], "LG104": [1, 1], "LG107": [3, 3]}),
        ([None], {"LG103": [2, 2], "LG107": [3, 3]}),
        ([math.nan], {"LG103": [2, 2], "LG104": [1, 1], "LG107": [1, 1]}),
    ):
        model = schema(kind="real_label", shape=[2], ignore=ignore)
        report = audit_dataset(model, source=f"jsonl:{tmp_path}/a.jsonl")
        assert report.splits[0].labels["y"].violations == rules


@pytest.mark.parametrize("name", SCALARS)
def test_blocks_rows_workers_and_the_cache_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One report, whichever way a text is read: in blocks, by rows, by two workers, and out of the label cache."""
    values: list[Any] = [(k % 9) / 2 if k % 2 else k % 5 for k in range(400)]
    values[17] = "cat"
    for file in ("a", "b"):
        SCALARS[name](tmp_path / file, values)
    uri, model = f"{name.partition(' ')[0]}:{tmp_path}/[ab]", schema(kind="real_label", dtype="float32", maximum=4)
    fast = audit_dataset(model, source=uri, label_cache=str(tmp_path / "cache"))
    assert fast.splits[0].labels["y"].violations.keys() == {"LG103"}
    assert fast.splits[0].labels["y"].dtypes["Python float"] == 798
    cached = audit_dataset(model, source=uri, label_cache=str(tmp_path / "cache"))
    with ThreadPoolExecutor(2) as pool:
        parallel = audit_dataset(model, source=uri, executor=pool)
    monkeypatch.setattr(csv_source.CsvBlocks, "read", lambda self, block: None)
    monkeypatch.setattr(jsonl.LinePatterns, "read", lambda self, block: None)
    slow = audit_dataset(model, source=uri)
    assert fast.to_json() == cached.to_json() == parallel.to_json() == slow.to_json()


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool"])
def test_formats_with_widths_stay_strict(tmp_path: Path, dtype: str) -> None:
    """An integer of Parquet or NumPy under a label of floats is LG103, next to a null and in a list, too."""
    values = np.zeros(3, dtype)
    pq.write_table(pa.table({"y": pa.array(values)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": pa.array([*values, None])}), tmp_path / "b.parquet")
    pq.write_table(
        pa.table({"y": [[0], [0, None], []]}, pa.schema([("y", pa.list_(pa.int16()))])), tmp_path / "c.parquet"
    )
    np.savez(tmp_path / "a.npz", y=values)
    for file, label, wrong in (
        ("a.parquet", {}, 3), ("b.parquet", {"ignore": [None]}, 3), ("a.npz", {}, 3),
        ("c.parquet", {"shape": [None], "ignore": [None]}, 3),
    ):  # fmt: skip
        scheme = file.partition(".")[2]
        found = audit_dataset(schema(kind="real_label", **label), source=f"{scheme}:{tmp_path}/{file}").splits[0]
        assert found.labels["y"].violations["LG103"][0] == wrong, file


def test_members_of_webdataset(tmp_path: Path) -> None:
    """Numbers in JSON, and of texts those that are plainly numbers; what only looks like one stays text."""
    texts = ["40", "40.5\n", " -1.25e-3", "1_0", "1e-05", "4.", "\u0664.5", "v1.5"]
    rows = ["[1, 2.5]", "[1, 2]", "[true, 2.5]"]
    write_tar(tmp_path / "txt.tar", "txt", texts)
    write_tar(tmp_path / "json.tar", "json", [f'{{"y": {row}}}' for row in rows])
    for path, shape, wrong in (("txt", [], 3), ("json/y", [2], 1)):
        labels = {path: {"kind": "real_label", "dtype": "float32", "shape": shape}}
        model = DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": labels})
        found = audit_dataset(model, source=f"webdataset:{tmp_path}/{path.partition('/')[0]}.tar").splits[0]
        assert found.labels[path].violations == {"LG103": [wrong, wrong]}


# Lists of boxes -------------------------------------------------------------------------------------------------------


BOXES: dict[str, Any] = {
    "images": [{"id": number, "file_name": f"{number}.jpg"} for number in (1, 2, 3)],
    "categories": [{"id": 1, "name": "car"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20.5, 30, 40]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"id": 3, "image_id": 3, "category_id": 1, "bbox": [0.5, 0.25, 3.5, 4.5]},
    ],
}


@pytest.mark.parametrize(
    ("source", "shape"), [("coco", [4]), ("coco_images", [None, 4]), ("coco_images", [None, None])]
)
def test_boxes_of_coco(tmp_path: Path, source: str, shape: list[int | None]) -> None:
    """Boxes of whole numbers and fractions are sound, and so is an image without a box; a bad box is found."""
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(BOXES))
    model = DatasetSchema.model_validate({
        "format": 1, "name": "x", "version": "1.0.0",
        "labels": {"bbox": {"kind": "real_label", "minimum": 0, "shape": shape}},
    })  # fmt: skip
    report = audit_dataset(model, source=f"{source}:{path}")
    assert (report.exit_code, report.splits[0].records, report.splits[0].invalid) == (0, 3, 0)
    BOXES["annotations"].append({"id": 4, "image_id": 2, "category_id": 1, "bbox": [1, -2, 3.5, 4]})
    path.write_text(json.dumps(BOXES))
    BOXES["annotations"].pop()
    assert audit_dataset(model, source=f"{source}:{path}").splits[0].labels["bbox"].violations == {"LG112": [1, 1]}


@pytest.mark.parametrize(
    ("label", "sound"),
    [
        ({"kind": "real_label", "shape": [None, 4]}, True),
        ({"kind": "real_label", "shape": [2, 4]}, False),
        ({"kind": "real_label", "shape": [4, None]}, False),
        ({"kind": "real_label", "shape": [4]}, False),
        ({"kind": "soft_label", "num_classes": 3, "shape": [None]}, True),
        ({"kind": "soft_label", "num_classes": 3}, False),
        ({"kind": "class_label", "num_classes": 3, "shape": [None, None]}, True),
        ({"kind": "class_label", "num_classes": 3, "shape": [None]}, True),
    ],
)
def test_an_empty_list(tmp_path: Path, label: dict[str, Any], sound: bool) -> None:
    """It has the declared shape where its length is free, in JSON and Parquet and in the guard."""
    model, rows = schema(**label), [[], []]
    write_jsonl(tmp_path / "a.jsonl", rows)
    kind = pa.list_(pa.list_(pa.float32())) if label["kind"] != "class_label" else pa.list_(pa.list_(pa.int64()))
    pq.write_table(pa.table({"y": rows}, pa.schema([("y", kind)])), tmp_path / "a.parquet")
    wrong = {} if sound else {"LG105": [2, 2]}
    assert audit_dataset(model, source=f"jsonl:{tmp_path}/a.jsonl").splits[0].labels["y"].violations == wrong
    assert Guard(model).check({"y": []}, batched=False).ok == sound
    if Guard(model).labels["y"].rank == 2:
        assert audit_dataset(model, source=f"parquet:{tmp_path}/a.parquet").splits[0].labels["y"].violations == wrong
