"""Situations of known truth: what is stored, what each value means, and which causes may be named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Array = NDArray[Any]
Rng = np.random.Generator
VOID, CORRUPT, UNKNOWN = -1, -2, -3  # meanings of a value that is not a class index


@dataclass(frozen=True)
class Column:
    """The values of one label in one split.

    Attributes:
        values: ``[records, ...]``, or a list of lists.
        meaning: class index, VOID, CORRUPT or UNKNOWN of each value in order; None where no class ids are stored.
    """

    values: Any
    meaning: Array | None = None

    def flat(self) -> Array:
        """All values in order."""
        if isinstance(self.values, np.ndarray):
            return self.values.reshape(-1)
        return np.concatenate([np.asarray(value).reshape(-1) for value in self.values])


@dataclass(frozen=True)
class Situation:
    """A dataset with its schema and its truth.

    Attributes:
        labels: fields of each label.
        splits: columns by split and label.
        causes: names of causes that are true; empty: nothing is wrong, and nothing may be said.
        silent: whether saying nothing is right too.
        patchable: whether a change of the schema is the right answer.
        drafted: whether data without a schema show the truth, so that a draft can be scored.
        files: number of files of each split; more than one is Parquet.
        form: file format, ``npz`` or ``parquet``.
    """

    labels: Mapping[str, Mapping[str, Any]]
    splits: Mapping[str, Mapping[str, Column]]
    causes: frozenset[str] = frozenset()
    silent: bool = False
    patchable: bool = False
    drafted: bool = True
    files: int = 1
    form: str = "npz"


Make = Callable[[Rng, int], Situation]


@dataclass(frozen=True)
class Kind:
    """A kind of situation: its name, how many variants it has, and what makes one."""

    name: str
    variants: int
    make: Make = field(repr=False)


def label(column: Column, num_classes: int, **fields: Any) -> dict[str, Any]:
    """Fields of a class label with the dtype and shape of ``column``."""
    found: dict[str, Any] = {"kind": "class_label", "num_classes": num_classes}
    if isinstance(column.values, np.ndarray):
        found |= {"dtype": column.values.dtype.name, "shape": list(column.values.shape[1:])}
    else:
        found["shape"] = [None]
    found |= fields
    if found.get("dtype") in ("int8", "uint8", "int16", "uint16"):
        found.setdefault("emit", "int32")
    return found


def one(
    column: Column, num_classes: int, causes: str = "", fields: Mapping[str, Any] | None = None, **more: Any
) -> Situation:
    """A situation of one label in one split."""
    form = more.pop("form", "npz" if isinstance(column.values, np.ndarray) else "parquet")
    labels, splits = {"label": label(column, num_classes, **(fields or {}))}, {"train": {"label": column}}
    return Situation(labels, splits, frozenset(causes.split()), form=form, **more)


def frequencies(rng: Rng, classes: int, how: str) -> Array:
    """Class frequencies: even, within a factor of 4 (mild), by rank (zipf), or by rank in any order (mixed)."""
    ranks = 1 / np.arange(1, classes + 1)
    weights = {
        "even": np.ones(classes), "mild": rng.uniform(1, 4, classes), "zipf": ranks, "mixed": rng.permutation(ranks),
    }[how]  # fmt: skip
    return weights / weights.sum()


def draw(rng: Rng, classes: int, size: int, how: str = "mild", *, all_used: bool = True) -> Array:
    """``size`` class indices; each class occurs where there is room."""
    values = rng.choice(classes, size, p=frequencies(rng, classes, how))
    if all_used and size >= 2 * classes:
        values[rng.choice(size, classes, replace=False)] = np.arange(classes)
    return values.astype(np.int64)


def scalars(values: Any, meaning: Any, dtype: Any = np.int64) -> Column:
    """One value a record."""
    return Column(np.asarray(values).astype(dtype), np.asarray(meaning, np.int64))


def dense(values: Any, meaning: Any, dtype: Any = np.uint8, shape: tuple[int, ...] = (32, 32)) -> Column:
    """Masks or sequences of a fixed shape; what does not fill one is left out."""
    size = int(np.prod(shape))
    number = len(values) // size
    stored = np.asarray(values)[: number * size].astype(dtype).reshape(number, *shape)
    return Column(stored, np.asarray(meaning, np.int64)[: number * size])


def lists(rng: Rng, values: Any, meaning: Any) -> Column:
    """Lists of 1 to 6 values."""
    cuts = np.cumsum(rng.integers(1, 7, len(values)))
    parts = np.split(np.asarray(values, np.int64), cuts[cuts < len(values)])
    return Column([part.tolist() for part in parts], np.asarray(meaning, np.int64))


def spoil(rng: Rng, column: Column, bad: Any, meaning: int = CORRUPT) -> Column:
    """``column`` with the values ``bad`` at distinct random places."""
    assert column.meaning is not None
    places = rng.choice(column.meaning.size, len(bad), replace=False)
    meant, flat = column.meaning.copy(), column.flat().copy()
    meant[places], flat[places] = meaning, np.asarray(bad).astype(flat.dtype)
    if isinstance(column.values, np.ndarray):
        return Column(flat.reshape(column.values.shape), meant)
    parts = np.split(flat, np.cumsum([len(part) for part in column.values])[:-1])
    return Column([part.tolist() for part in parts], meant)


def write(situation: Situation, folder: Path) -> dict[str, Any]:
    """Writes the data; returns the schema."""
    splits: dict[str, Any] = {}
    for split, columns in situation.splits.items():
        if situation.form == "npz":
            np.savez(folder / f"{split}.npz", **{path: column.values for path, column in columns.items()})
            splits[split] = {"source": f"npz:{folder}/{split}.npz"}
            continue
        table = pa.table({path: list(column.values) for path, column in columns.items()})
        size = -(-len(table) // situation.files)
        for number in range(situation.files):
            pq.write_table(table.slice(number * size, size), folder / f"{split}-{number}.parquet")
        splits[split] = {"source": f"parquet:{folder}/{split}-*.parquet"}
    labels = {path: dict(fields) for path, fields in situation.labels.items()}
    return {"format": 1, "name": "situation", "version": "1.0.0", "labels": labels, "splits": splits}
