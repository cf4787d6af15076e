"""``python:module:function``: records or batches out of the user's own code, such as a Grain pipeline."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from label_guard.core import tree
from label_guard.errors import SourceError
from label_guard.sources.base import CHUNK_BYTES, LabelShapes, Piece, RawColumn, did_you_mean, require_fields
from label_guard.sources.pieces import values_column

_MAX_RECORDS = 1024
_MAX_SECONDS = 0.5  # a slow pipeline shows progress and can be stopped all the same


@dataclass(frozen=True, slots=True)
class FunctionFormat:
    """A function that returns an iterable of elements: trees of arrays, one a record, or one a batch.

    It may take ``split``. Its attribute ``batched`` (True or False) says whether elements are batches; without it, the
    ranks of the first element's labels do, where these leave no doubt.

    Attributes:
        split: handed to the function where it takes one.
        folder: where modules that are not installed are looked for.
    """

    split: str | None
    folder: str
    name: str = "python"

    def fields(self, path: str) -> Sequence[str]:
        _load(path, self.folder)
        return ()

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        function = _load(path, self.folder)
        batched: bool | None = getattr(function, "batched", None)
        row = 0
        waiting: list[dict[str, Any]] = []
        size, due = 0, time.monotonic() + _MAX_SECONDS
        for element in _elements(function, path, self.split):
            labels = {label: tree.get(element, label) for label in wanted}
            if batched is None:
                batched = _is_batch(labels, wanted, path, element)
            if batched:
                piece = _batch(row, labels, f"{path}, batch at record {row}")
                row += len(piece.rows)
                yield piece
                continue
            waiting.append({label: _own(value) for label, value in labels.items()})
            size += sum(int(getattr(value, "nbytes", 8)) for value in waiting[-1].values())
            if size >= CHUNK_BYTES or len(waiting) == _MAX_RECORDS or time.monotonic() > due:
                yield _records(row, waiting, wanted)
                row, waiting, size = row + len(waiting), [], 0
                due = time.monotonic() + _MAX_SECONDS
        if waiting:
            yield _records(row, waiting, wanted)


def _load(path: str, folder: str) -> Callable[..., Iterable[Any]]:
    module_name, _, name = path.rpartition(":")
    if not module_name or not name.isidentifier():
        raise SourceError(f"python:{path} names no function; expected python:module:function")
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit among them: a module ends neither this process nor its exit code
        raise SourceError(f"cannot import {module_name!r} of python:{path}: {type(error).__name__}: {error}") from None
    function: Any = getattr(module, name, None)
    if not callable(function):
        known = [other for other, value in vars(module).items() if callable(value)]
        raise SourceError(f"module {module_name!r} has no function {name!r}{did_you_mean(name, known)}")
    return cast("Callable[..., Iterable[Any]]", function)


def _elements(function: Callable[..., Iterable[Any]], path: str, split: str | None) -> Iterator[Any]:
    takes_split = "split" in inspect.signature(function).parameters
    count = 0
    elements: Iterator[Any] = iter(())
    while True:
        try:
            if count == 0:
                elements = iter(function(split=split) if takes_split else function())
            element = next(elements)
        except StopIteration:
            return
        except (KeyboardInterrupt, SourceError):
            raise
        except BaseException as error:  # SystemExit among them
            text = f"python:{path} raised {type(error).__name__} at element {count}: {error}"
            raise SourceError(text) from error
        yield element
        count += 1


def _is_batch(labels: dict[str, Any], wanted: LabelShapes, path: str, element: Any) -> bool:
    batched: set[bool] = set()
    for label, value in labels.items():
        shape = wanted[label]
        found: Any = getattr(value, "shape", () if isinstance(value, int | float) else None)
        if shape is None or found is None:
            continue
        extra = len(found) - len(shape)
        if extra == 0 or (extra == 1 and found[0] != 1 and None not in shape):
            batched.add(extra == 1)
    if all(value is tree.MISSING for value in labels.values()):
        require_fields(labels, [name for name, _ in tree.leaves(element)], f"python:{path}, element 0")
    if len(batched) != 1:
        raise SourceError(
            f"python:{path} yields records or batches, which its elements do not show: set the function's attribute "
            "batched to True or False"
        )
    return batched.pop()


def _own(value: Any) -> Any:
    """``value`` as it will still be when a loader has reused its buffers."""
    if value is tree.MISSING:
        return None
    return np.array(cast("Any", value)) if isinstance(value, np.ndarray) else value


def _records(row: int, records: list[dict[str, Any]], wanted: LabelShapes) -> Piece:
    rows = range(row, row + len(records))
    return Piece(rows, {label: values_column([record[label] for record in records]) for label in wanted})


def _batch(row: int, labels: dict[str, Any], where: str) -> Piece:
    columns: dict[str, RawColumn | None] = {label: _batch_column(value, where) for label, value in labels.items()}
    sizes = {len(column) for column in columns.values() if column is not None}
    if len(sizes) != 1:
        raise SourceError(f"{where}: labels {', '.join(map(repr, labels))} have lengths {sorted(sizes)}, expected one")
    size = sizes.pop()
    full: dict[str, RawColumn] = {
        label: [None] * size if column is None else column for label, column in columns.items()
    }
    return Piece(range(row, row + size), full)


def _batch_column(value: Any, where: str) -> RawColumn | None:
    if value is tree.MISSING or value is None:
        return None
    if isinstance(value, list | tuple):
        return list(cast("list[Any]", value))
    array = np.asarray(value)
    if not array.ndim:
        raise SourceError(f"{where}: a label is a single value, expected [batch, ...]")
    return array
