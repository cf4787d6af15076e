"""Parquet files as sources: column pruning, nesting, nulls, footers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.errors import SourceError
from label_guard.sources import arrow_columns, parquet
from label_guard.sources.open import list_fields, open_source
from label_guard.sources.parquet import GroupStatistics, column_statistics


def values(path: Path, label: str) -> list[Any]:
    """One label of all records."""
    source = open_source(f"parquet:{path}", labels=[label])
    return [value for shard in source.shards() for chunk in source.read(shard) for value in chunk.columns[label]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
                                   "float32", "float64", "bool"])  # fmt: skip
def test_stored_dtype_is_kept_with_and_without_nulls(tmp_path: Path, dtype: str) -> None:
    """A value has the width it is stored in, next to a null too."""
    array = np.array([0, 1, 1], dtype)
    pq.write_table(
        pa.table({"a": array, "b": pa.array([array[0], None, array[2]], pa.array(array).type)}), tmp_path / "a"
    )
    whole = values(tmp_path / "a", "a")
    assert [v.dtype for v in whole] == [np.dtype(dtype)] * 3
    holed = values(tmp_path / "a", "b")
    assert holed[1] is None
    assert (holed[0], holed[2], holed[0].dtype) == (array[0], array[2], np.dtype(dtype))


@pytest.mark.parametrize("names", [["dog", "cat"], None, "dog", 3])
def test_class_names_in_the_metadata_reach_the_source(tmp_path: Path, names: Any) -> None:
    """What Hugging Face datasets keeps of a ClassLabel reaches the source; anything of another form is passed over."""
    features = {"label": {"names": names, "_type": "ClassLabel"}, "id": {"dtype": "int64", "_type": "Value"}}
    table = pa.table({"label": [0, 1], "id": [5, 6]})
    kept = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(kept), tmp_path / "a")
    source = open_source(f"parquet:{tmp_path}/a", labels=["label", "id"])
    assert source.describe().get("class_names") == ({"label": names} if isinstance(names, list) else None)
    assert source.features["id"].class_names is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"info": 3}', '{"info": {"features": {"label": 3}}}', "\u00e4"])
def test_metadata_of_another_form_name_no_classes(tmp_path: Path, text: str) -> None:
    """Damaged or foreign metadata never keep a file from being read."""
    pq.write_table(pa.table({"label": [0]}).replace_schema_metadata({"huggingface": text}), tmp_path / "a")
    assert open_source(f"parquet:{tmp_path}/a", labels=["label"]).features["label"].class_names is None


def test_nested_labels_are_found_by_path(tmp_path: Path) -> None:
    """Structs, lists of structs, fixed lists, dictionaries and maps are reached by ``/`` paths."""
    table = pa.table(
        {
            "image/class": [1, 2, 3],
            "o": [{"label": 7, "x": 1}, None, {"label": None, "x": 2}],
            "objects": [[{"label": 1}, {"label": 2}], [], None],
            "fixed": pa.array([[1, 0], [0, 1], [1, 1]], pa.list_(pa.int8(), 2)),
            "deep": [[[1, 2], [3, 4]]] * 3,
            "word": pa.array(["a", "b", "a"]).dictionary_encode(),
            "counts": pa.array([[("x", 1)], [], [("y", 2), ("z", 3)]], pa.map_(pa.string(), pa.int32())),
            "holes": [[1, None], [3], [4]],
            "ragged": [[[1], [2, 3]], [], [[None, 4]]],
        }
    )
    pq.write_table(table, tmp_path / "a")
    fields = "image/class o/label o/x objects/label fixed deep word counts/key counts/value holes ragged"
    assert list_fields(f"parquet:{tmp_path}/a") == fields.split()
    assert values(tmp_path / "a", "image/class") == [1, 2, 3]
    assert values(tmp_path / "a", "o/label") == [7, None, None]
    objects = values(tmp_path / "a", "objects/label")
    assert [None if v is None else v.tolist() for v in objects] == [[1, 2], [], None]
    assert objects[0].dtype == np.int64
    source = open_source(f"parquet:{tmp_path}/a", labels=["fixed", "deep"], record_key="image/class")
    (chunk,) = source.read(source.shards()[0])
    assert (chunk.columns["fixed"].dtype, chunk.columns["fixed"].shape) == (np.int8, (3, 2))
    assert chunk.columns["deep"].shape == (3, 2, 2)
    assert list(chunk.keys) == ["1", "2", "3"]
    assert values(tmp_path / "a", "word") == ["a", "b", "a"]
    assert [v.tolist() for v in values(tmp_path / "a", "counts/value")] == [[1], [], [2, 3]]
    assert [list(v) for v in values(tmp_path / "a", "counts/key")] == [["x"], [], ["y", "z"]]
    holes = values(tmp_path / "a", "holes")
    assert holes[0] == [1, None]
    assert holes[1].dtype == np.int64
    ragged = values(tmp_path / "a", "ragged")
    assert [[list(ids) for ids in record] for record in ragged] == [[[1], [2, 3]], [], [[None, 4]]]


@pytest.mark.parametrize(
    ("kind", "path", "dtype", "shape"),
    [
        (pa.map_(pa.string(), pa.int64()), "a/value", "int64", (None,)),
        (pa.map_(pa.string(), pa.int64()), "a/key", "string", (None,)),
        (pa.list_(pa.map_(pa.string(), pa.list_(pa.int8(), 2))), "a/value", "int8", (None, None, 2)),
        (pa.struct([("b", pa.map_(pa.string(), pa.float32()))]), "a/b/value", "float32", (None,)),
        (pa.run_end_encoded(pa.int32(), pa.int16()), "a", "int16", ()),
        (pa.list_(pa.dictionary(pa.int8(), pa.large_string())), "a", "string", (None,)),
        (pa.binary(4), "a", "string", ()),
        (pa.decimal128(5, 2), "a", None, ()),
        (pa.timestamp("us"), "a", None, ()),
        (pa.null(), "a", None, ()),
    ],
)
def test_what_a_column_declares(kind: Any, path: str, dtype: str | None, shape: tuple[int | None, ...]) -> None:
    """The values of a map are lists of their own type; neither a number nor a text is called a text."""
    feature = arrow_columns.features(pa.schema([("a", kind)]))[path]
    assert (feature.dtype, feature.shape) == (dtype, shape)


@given(
    rows=st.lists(st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=3), max_size=12),
    group=st.integers(1, 4),
    chunk=st.integers(1, 64),
)
@settings(deadline=None, max_examples=60)
def test_lists_are_read_as_pyarrow_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], group: int, chunk: int
) -> None:
    """Any lists with nulls, in any row groups and chunk sizes, equal ``to_pylist``."""
    path = tmp_path_factory.mktemp("lists") / "a"
    pq.write_table(pa.table({"label": pa.array(rows, pa.list_(pa.int32()))}), path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "CHUNK_BYTES", chunk)
        found = values(path, "label")
    assert [v.tolist() if isinstance(v, np.ndarray) else v for v in found] == rows


def test_rows_run_on_over_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are positions in the file, whatever the row groups."""
    monkeypatch.setattr(parquet, "CHUNK_BYTES", 800)
    pq.write_table(
        pa.table({"label": np.arange(1000), "image": ["x" * 100] * 1000}), tmp_path / "a.parquet", row_group_size=130
    )
    source = open_source(f"parquet:{tmp_path}/*.parquet", labels=["label"])
    chunks = list(source.read(source.shards()[0]))
    assert len(chunks) >= 10
    assert np.concatenate([c.columns["label"] for c in chunks]).tolist() == list(range(1000))
    assert [key for c in chunks for key in c.keys] == [f"a.parquet__{k}" for k in range(1000)]


def test_damage_costs_the_rest_of_its_row_group(tmp_path: Path) -> None:
    """The sound row groups are yielded, then one error; a cut file is refused when opened."""
    path = tmp_path / "a.parquet"
    rng = np.random.default_rng(0).integers(0, 2**40, 40_000)
    pq.write_table(pa.table({"label": rng}), path, row_group_size=10_000, use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    path.write_bytes(bytes(data[:at]) + b"\xff" * 64 + bytes(data[at + 64 :]))
    source = open_source(f"parquet:{path}", labels=["label"])
    found = []
    with pytest.raises(SourceError, match="cannot read"):
        found.extend(source.read(source.shards()[0]))
    assert [row for chunk in found for row in chunk.rows] == [*range(20_000), *range(30_000, 40_000)]
    path.write_bytes(data[:-100])
    with pytest.raises(SourceError, match="as Parquet"):
        open_source(f"parquet:{path}", labels=["label"])


def test_a_wrong_column_names_the_near_one(tmp_path: Path) -> None:
    """A label path that is not a leaf column is refused."""
    pq.write_table(pa.table({"label": [1], "o": [{"x": 1}]}), tmp_path / "a")
    with pytest.raises(SourceError, match="has no field 'labels'; did you mean 'label'"):
        values(tmp_path / "a", "labels")
    with pytest.raises(SourceError, match="has no field 'o'"):
        values(tmp_path / "a", "o")


def test_statistics_of_footers(tmp_path: Path) -> None:
    """Integer columns are proved legal by row group; floats, lists and columns without statistics are not."""
    table = pa.table({"label": [1, 2, -7, None, None, None], "score": [1.0] * 6, "ids": [[1]] * 6})
    pq.write_table(table, tmp_path / "a", row_group_size=2)
    assert column_statistics(str(tmp_path / "a"), "label") == [
        GroupStatistics(1, 2, 0, 2, "int64"),
        GroupStatistics(-7, -7, 1, 2, "int64"),
        None,
    ]
    assert column_statistics(str(tmp_path / "a"), "score") == [None] * 3
    assert column_statistics(str(tmp_path / "a"), "ids") == [None] * 3
    pq.write_table(table, tmp_path / "b", write_statistics=False)
    assert column_statistics(str(tmp_path / "b"), "label") == [None]
    unsigned = pa.table({"label": np.array([5, 2**64 - 1], np.uint64)})
    pq.write_table(unsigned, tmp_path / "c")
    assert column_statistics(str(tmp_path / "c"), "label") == [GroupStatistics(5, 2**64 - 1, 0, 2, "uint64")]


def test_remote_parquet(tmp_path: Path) -> None:
    """A URL is read through fsspec."""
    import fsspec

    pq.write_table(pa.table({"label": [4, 5]}), tmp_path / "a")
    fsspec.filesystem("memory").pipe("/pq/a.parquet", (tmp_path / "a").read_bytes())
    source = open_source("parquet:memory://pq/*.parquet", labels=["label"])
    assert [c.columns["label"].tolist() for s in source.shards() for c in source.read(s)] == [[4, 5]]
