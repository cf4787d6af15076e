"""Converts single records and adds their masks, for pipelines whose elements are records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column
from label_guard.check.fill_values import FillValues
from label_guard.check.result import CheckResult, RuleViolations
from label_guard.core import tree
from label_guard.core.types import Array
from label_guard.pipeline import batching
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.convert import LabelConverter
from label_guard.pipeline.emit import as_stored, finalize_batch, violations_of
from label_guard.pipeline.masking import Mask, add_mask, join_columns, uncounted_columns, validity
from label_guard.pipeline.record_keys import KEY
from label_guard.schema.labels import Label


def finalize_plain(config: GuardConfig, record: Any) -> Any:
    """Converts a record whose labels are valid arrays or NumPy scalars, of which everything counts, at the least cost.

    As ``finalize_record`` for a record that passed ``Guard.clean_record``.
    """
    if not config.keep_key:
        record = batching.without_key(record, KEY)
    if config.passes_untouched:
        return record
    for path, converter in config.converters.items():
        array = np.asarray(tree.get(record, path))[None]
        if path in config.masks:
            (valid,) = validity(converter.label, array, 1, None, 0)
            record = add_mask(record, path, config.masks[path], cast(Mask, valid), config.mask)
        if converter.changes:
            record = tree.put(record, path, converter(array)[0])
    return record


def finalize_record(config: GuardConfig, record: Any, result: CheckResult) -> Any:
    """Converts one unbatched record and adds its masks, as a batch of one.

    Args:
        config: the resolved options.
        record: the element.
        result: its check, a batch of one.
    """
    labels: list[Any] = [tree.get(record, path) for path in config.guard.labels]
    stored = all(isinstance(x, np.ndarray | np.generic) and cast(Array, x).dtype.kind in "biuf" for x in labels)
    if config.passes_untouched and stored and (result.ok or config.on_invalid != "mask"):
        return finalize_batch(config, record, 1)
    columns = config.guard.record_columns([record])
    good: dict[str, NDArray[np.bool_]] = {}
    expanded: list[str] = []
    for path, converter in config.converters.items():
        violations = violations_of(result, path)
        array = _batch_of_one(converter, tree.get(record, path), columns[path], violations, config.on_invalid == "mask")
        if array is None:
            made = config.mask.key is not None and tree.get(record, config.mask.path(path)) is tree.MISSING
            expanded += [config.mask.path(path)] if made else []
            continue
        values, valid = array
        record = tree.put(record, path, values)
        good |= {} if valid.all() else {path: valid}
        extra = [config.mask.path(path)] if config.mask.key is not None else []
        extra += [] if converter.label.where is None else [converter.label.where]
        for place in set(extra) - set(expanded):
            feature = tree.get(record, place)
            if feature is not None and feature is not tree.MISSING:
                record = tree.put(record, place, np.asarray(feature)[None])
        expanded += [path, *extra]
    expanded += _places_of_masks(record, config.guard.labels)
    record = finalize_batch(config, record, 1, result=result, good=good)
    for path in dict.fromkeys(expanded):
        value = tree.get(record, path)
        if isinstance(value, np.ndarray) and value.ndim:
            record = tree.put(record, path, value[0])
    return record


def _places_of_masks(record: Any, paths: Iterable[str]) -> Iterator[str]:
    """Paths behind the end of the tuples that hold labels: masks are appended there."""
    heads = Counter(path.rpartition("/")[0] for path in paths if tree.is_sequence(tree.parent(record, path)))
    for head, number in heads.items():
        length = len(tree.get(record, head) if head else record)
        yield from (f"{head}/{k}" if head else str(k) for k in range(length, length + number))


def _batch_of_one(
    converter: LabelConverter, value: Any, columns: list[Column], violations: list[RuleViolations], mask: bool
) -> tuple[Array, NDArray[np.bool_]] | None:
    """The label of one record with a batch axis; None where it is delivered as it is."""
    if violations and mask and None in converter.label.record_shape:
        return _masked_ragged(converter.label, columns, violations)
    if not columns and not violations and None in converter.label.record_shape:
        columns = uncounted_columns(converter, [value])
    if not violations or mask:
        return join_columns(converter, columns, 1, violations)
    if any(found.positions is None for found in violations):
        return None
    array = as_stored(converter, columns, 1) if converter.is_encoded else np.asarray(value)[None]
    return None if array is None else (array, np.ones(array.shape, np.bool_))


def _masked_ragged(
    label: Label, columns: list[Column], violations: list[RuleViolations]
) -> tuple[Array, NDArray[np.bool_]]:
    """The label of one bad record whose shape is free: in its own shape if that can be filled, else the shortest."""
    own = columns[0].array.shape[1:] if columns else ()
    ranks = len(own) == len(label.record_shape)
    if ranks and all(want in (None, have) for want, have in zip(label.record_shape, own, strict=True)):
        fitted = LabelConverter(label.model_copy(update={"shape": own[: len(label.shape)]}))
        if fitted.fill.record(fitted.fill.dtype(columns[0].array.dtype)) is not None:
            return join_columns(fitted, columns, 1, violations)
    least = getattr(label, "min_length", None) or 0
    shape = tuple(least if length is None else length for length in label.shape)
    fill = FillValues(label.model_copy(update={"shape": shape}))
    record = fill.record(fill.dtype())
    filled = np.zeros(shape, fill.dtype()) if record is None else record
    return filled[None], np.zeros((1, *filled.shape), np.bool_)
