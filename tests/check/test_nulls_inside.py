"""A null inside a label is missing; the numbers next to it keep their stored dtype."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.check.guard import Guard
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.open import open_source


def schema(**label: Any) -> DatasetSchema:
    """A schema of one label."""
    return DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": {"label": label}})


REAL = schema(kind="real_label", dtype="float32", shape=[None], minimum=-1, maximum=1)
IDS = schema(kind="class_label", num_classes=4, dtype="int16", shape=[None])
LISTS = [pa.list_, pa.large_list]


@given(rows=st.lists(st.lists(st.none() | st.floats(-2, 2, width=32), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_null_in_a_list_is_missing_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float | None]]
) -> None:
    """LG104 for the null; sound floats next to it do not violate the dtype, in every kind of list."""
    path = tmp_path_factory.mktemp("nulls") / "a.parquet"
    for kind in LISTS:
        pq.write_table(pa.table({"label": pa.array(rows, kind(pa.float32()))}), path)
        source = open_source(f"parquet:{path}", labels=["label"])
        values = [value for chunk in source.read(source.shards()[0]) for value in chunk.columns["label"]]
        result = Guard(REAL).check({"label": values}, batched=True)
        found = {(violation.row, violation.rule) for violation in result.violations}
        nulls = {(k, "LG104") for k, row in enumerate(rows) if None in row}
        limits = {k for k, row in enumerate(rows) if None not in row and any(abs(v or 0) > 1 for v in row)}
        assert {hit for hit in found if hit[1] == "LG104"} == nulls
        assert {row for row, rule in found if rule != "LG104"} == limits


def test_class_ids_beside_a_null_are_checked() -> None:
    """An illegal id next to a null is reported too; another dtype is a violation of its own."""
    rows = [[np.int16(3), None], [np.int16(4), None], [np.int64(3), None], [np.int16(-1), None]]
    result = Guard(IDS).check({"label": rows}, batched=True)
    found = {(violation.row, violation.rule) for violation in result.violations}
    assert found == {*((k, "LG104") for k in range(4)), (1, "LG101"), (2, "LG103"), (3, "LG102")}


UNMEASURED = {
    "real_label": {"kind": "real_label"},
    "multi_label": {"kind": "multi_label", "num_classes": 2},
    "columns": {"kind": "multi_label", "num_classes": 2, "columns": ["a", "b"]},
}


@pytest.mark.parametrize("kind", UNMEASURED)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "integer", ["int8", "int64"]])
@pytest.mark.parametrize("unmeasured", [None, float("nan")])
def test_what_was_not_measured_needs_a_floating_dtype(kind: str, dtype: Any, unmeasured: float | None) -> None:
    """It is read as NaN, which no integer holds: the schema is refused, and says what to declare."""
    with pytest.raises(ValueError, match=r"LG203.*cannot hold ignore value (null|\.nan).*NaN"):
        schema(**UNMEASURED[kind], dtype=dtype, ignore=[unmeasured])
    names = [dtype] if isinstance(dtype, str) else dtype
    schema(**UNMEASURED[kind], dtype=[*names, "floating"], ignore=[unmeasured])


@pytest.mark.parametrize("unmeasured", [None, float("nan")])
@pytest.mark.parametrize("number", [int, np.int8, np.float32])
def test_numbers_beside_what_was_not_measured(number: Callable[[int], Any], unmeasured: float | None) -> None:
    """Integers of Parquet, of Python and floats are legal next to it, in one list and in columns; 7 is not."""
    for fields in (UNMEASURED["multi_label"], UNMEASURED["columns"]):
        guard = Guard(schema(**fields, dtype=["integer", "floating"], ignore=[unmeasured]))
        for other, rules in ((1, {}), (7, {"LG108": 1})):
            record = {"label": [number(other), unmeasured], "a": number(other), "b": unmeasured}
            assert guard.check(record, batched=False).counts == rules


def test_a_null_that_is_not_declared_is_what_is_reported() -> None:
    """Not the sound integer next to it."""
    guard = Guard(schema(**UNMEASURED["multi_label"], dtype=["integer", "floating"], ignore=[float("nan")]))
    assert guard.check({"label": [1, None]}, batched=False).counts == {"LG104": 1}


NAMES = schema(kind="multi_label", num_classes=3, class_names=["a", "b", "c"], encoding="ids", dtype="string")
NAME_LISTS: list[Any] = [["a", "b"], ["a", None], ["b", 3], ["c", "x"], [b"c", "a"], [None, None], np.array(["b", "c"])]


@given(rows=st.lists(st.sampled_from(range(len(NAME_LISTS))), min_size=1, max_size=4))
def test_lists_of_names_are_checked_each_by_itself(rows: list[int]) -> None:
    """A list that holds None or a number is bad; lists of names of the same length stay as good as they are alone."""
    labels = [NAME_LISTS[row] for row in rows]
    alone = [Guard(NAMES).check_records([{"label": label}]).ok for label in labels]
    assert Guard(NAMES).check({"label": labels}, batched=True).valid.tolist() == alone


COLUMNS_WITH_NULLS: dict[str, Callable[[list[Any]], Any]] = {
    "Arrow": pa.array,
    "Arrow chunks": lambda items: pa.chunked_array([items[:1], items[1:]]),
    "Arrow dictionary": lambda items: pa.array(items).dictionary_encode(),
    "pandas nullable": lambda items: pd.Series(pd.array(items, "Int64")),
    "pandas Arrow": lambda items: pd.Series(items, dtype=pd.ArrowDtype(pa.int64())),
    "pandas array": lambda items: pd.array(items, "Int64"),
}


@pytest.mark.parametrize("column", COLUMNS_WITH_NULLS)
def test_a_null_of_a_column_is_a_null(column: str) -> None:
    """A column of ids with a null has one record without a label; the ids next to it stay integers."""
    ids = schema(kind="class_label", num_classes=4)
    result = Guard(ids).check({"label": COLUMNS_WITH_NULLS[column]([1, None, 5, 3])}, batched=True)
    assert result.counts == {"LG104": 1, "LG101": 1}
    measured = schema(kind="multi_label", num_classes=2, columns=["a", "b"], dtype=["int64", "floating"], ignore=[None])
    batch = {"a": COLUMNS_WITH_NULLS[column]([1, None, 0, 5]), "b": np.array([0, 1, 1, 0])}
    assert Guard(measured).check(batch, batched=True).valid.tolist() == [True, True, True, False]


ROWS_WITH_NULLS = st.lists(st.none() | st.lists(st.none() | st.integers(-1, 4), max_size=2), min_size=1, max_size=5)
PAIRS_WITH_NULLS = st.lists(st.none() | st.tuples(*[st.none() | st.integers(-1, 4)] * 2).map(list), min_size=1)


@given(rows=ROWS_WITH_NULLS | PAIRS_WITH_NULLS, chunked=st.booleans(), start=st.integers(0, 2))
def test_a_null_in_a_list_of_a_column_costs_its_own_record(rows: list[Any], chunked: bool, start: int) -> None:
    """An Arrow batch of lists, of every list type and sliced, has the verdicts of its records one by one."""
    kinds = [*LISTS, *([lambda item: pa.list_(item, 2)] if all(row is None or len(row) == 2 for row in rows) else [])]
    for kind in kinds:
        batch = pa.array(rows, kind(pa.int16()))[start:]
        whole = pa.chunked_array([batch[:1], batch[1:]]) if chunked else batch
        alone = [Guard(IDS).check_records([{"label": row}]).ok for row in rows[start:]]
        if alone:
            assert Guard(IDS).check({"label": whole}, batched=True).valid.tolist() == alone


@pytest.mark.parametrize("names", [pd.Categorical(["a", None, "d"]), pd.Series(["a", None, "d"], dtype="string")])
def test_a_null_of_a_pandas_column_of_names(names: Any) -> None:
    """The record without a name has no label; another unknown name is one."""
    stored = schema(kind="class_label", num_classes=2, class_names=["a", "b"], dtype="string")
    assert Guard(stored).check({"label": names}, batched=True).counts == {"LG104": 1, "LG113": 1}
