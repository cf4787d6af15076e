"""Guard.check compared with NumPy's floor and the validators a user would pick instead."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from bench.measure import Row, measure, row

from label_guard import DatasetSchema, Guard
from label_guard.check.class_label import ClassLabelCheck
from label_guard.schema.labels import ClassLabel

CLASSES = 10


def schema(**label: Any) -> DatasetSchema:
    """A schema of one class label."""
    fields = {"kind": "class_label", "num_classes": CLASSES, **label}
    return DatasetSchema.model_validate({"format": 1, "name": "bench", "version": "1.0.0", "labels": {"label": fields}})


def clean_batch(quick: bool) -> list[Row]:
    """A clean int32 batch of 1,024."""
    labels = np.random.default_rng(0).integers(0, CLASSES, 1024, dtype=np.int32)
    guard = Guard(schema(dtype="int32"))
    batch = {"label": labels}
    functions: dict[str, Callable[[], Any]] = {
        "NumPy unsigned max": lambda: labels.view(np.uint32).max() < CLASSES,
        "label_guard": lambda: guard.check_batch(batch),
        "NumPy two-sided": lambda: bool(((labels < 0) | (labels >= CLASSES)).any()),
        **_peers(labels, quick),
    }
    timings = measure(functions, rounds=5 if quick else 15)
    group, floor = "check 1,024 int32, clean", "NumPy unsigned max"
    rows = [row(group, floor, timings, against=floor)]
    rows.append(row(group, "label_guard", timings, against=floor, limit=1.8, cpu=False))
    others = [name for name in functions if name not in (floor, "label_guard")]
    rows += [row(group, name, timings, against="label_guard", cpu=False) for name in others]
    if "pandera" in functions:
        rows.append(row(group, "label_guard", timings, against="pandera", at_least=100, cpu=False))
    return rows


def _peers(labels: Any, quick: bool) -> dict[str, Callable[[], Any]]:
    """The validators that are installed; ``pip install`` of the bench group brings them all."""
    found: dict[str, Callable[[], Any]] = {}
    if quick:
        return found
    if _has("pandera") and _has("pandas"):
        pa, pd = importlib.import_module("pandera.pandas"), importlib.import_module("pandas")
        column = pa.DataFrameSchema({"label": pa.Column("int32", pa.Check.in_range(0, CLASSES - 1))})
        found["pandera"] = lambda: column.validate(pd.DataFrame({"label": labels}))
    if _has("polars"):
        pl = importlib.import_module("polars")
        found["polars"] = lambda: pl.Series(labels).is_between(0, CLASSES - 1).all()
    if _has("duckdb"):
        connection = importlib.import_module("duckdb").connect()
        if _has("pandas"):
            pd = importlib.import_module("pandas")

            def query() -> Any:
                frame = pd.DataFrame({"label": labels})
                connection.register("frame", frame)
                return connection.execute("select count(*) from frame where label < 0 or label >= 10").fetchall()

            found["duckdb"] = query
    found["pydantic"] = _pydantic(labels)
    if _has("great_expectations") and _has("pandas"):
        found["great_expectations"] = _great_expectations(labels)
    return found


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _pydantic(labels: Any) -> Callable[[], Any]:
    from typing import Annotated

    from pydantic import Field, TypeAdapter

    adapter = TypeAdapter(list[Annotated[int, Field(ge=0, lt=CLASSES)]])
    return lambda: adapter.validate_python(labels.tolist())


def _great_expectations(labels: Any) -> Callable[[], Any]:
    gx, pd = importlib.import_module("great_expectations"), importlib.import_module("pandas")
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("bench").add_dataframe_asset("labels")
    definition = asset.add_batch_definition_whole_dataframe("whole")
    expectation = gx.expectations.ExpectColumnValuesToBeBetween(column="label", min_value=0, max_value=CLASSES - 1)

    def validate() -> Any:
        batch = definition.get_batch({"dataframe": pd.DataFrame({"label": labels})})
        return batch.validate(expectation)

    return validate


def masks(quick: bool) -> list[Row]:
    """Clean uint8 masks 16x512x512 with ignore 255, compared with the best chunked NumPy expression."""
    classes = 19
    array = np.random.default_rng(0).integers(0, classes, (16, 512, 512), dtype=np.uint8)
    array[:, :8] = 255
    guard = Guard(schema(num_classes=classes, dtype="uint8", ignore=[255], shape=[512, 512]))
    batch = {"label": array}
    flat, step = array.reshape(-1), 256 * 1024
    buffer = np.empty(step, np.uint8)

    def best() -> bool:
        for start in range(0, flat.size, step):
            np.add(flat[start : start + step], 1, out=buffer)
            if buffer.max() > classes:
                return False
        return True

    timings = measure(
        {"NumPy chunked add + max": best, "label_guard": lambda: guard.check_batch(batch)}, rounds=5 if quick else 15
    )
    group = "check masks 16x512x512 uint8, ignore 255"
    return [
        row(group, "NumPy chunked add + max", timings, against="NumPy chunked add + max"),
        row(group, "label_guard", timings, against="NumPy chunked add + max", limit=1.5),
    ]


def validity(quick: bool) -> list[Row]:
    """The validity leaf of the same masks, in a row of its own: it is data, not a check."""
    from label_guard.pipeline.emit import finalize_batch
    from label_guard.pipeline.options import resolve_options

    label = ClassLabel(kind="class_label", num_classes=19, dtype=("uint8",), ignore=(255,), shape=(512, 512))
    array = np.random.default_rng(0).integers(0, 19, (16, 512, 512), dtype=np.uint8)
    config = resolve_options({"y": label}, on_invalid="raise")
    timings = measure(
        {"NumPy !=": lambda: array != 255, "label_guard": lambda: finalize_batch(config, {"y": array}, len(array))},
        rounds=5 if quick else 15,
    )
    group = "validity leaf, masks 16x512x512 uint8"
    return [row(group, "NumPy !=", timings, against="NumPy !="), row(group, "label_guard", timings, against="NumPy !=")]


def locate(quick: bool) -> list[Row]:
    """100 bad of 10 million int64."""
    labels = np.random.default_rng(0).integers(0, CLASSES, 10_000_000)
    labels[:: len(labels) // 100] = CLASSES
    check = ClassLabelCheck(ClassLabel(kind="class_label", num_classes=CLASSES, dtype=("int64",)))
    timings = measure(
        {
            "NumPy flatnonzero": lambda: np.flatnonzero(labels.view(np.uint64) >= CLASSES),
            "label_guard": lambda: list(check.find(labels)),
        },
        rounds=5 if quick else 11,
    )
    group = "locate 100 bad of 10M int64"
    return [
        row(group, "NumPy flatnonzero", timings, against="NumPy flatnonzero"),
        row(group, "label_guard", timings, against="NumPy flatnonzero", limit=1.2),
    ]
