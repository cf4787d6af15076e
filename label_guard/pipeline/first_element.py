"""Checks the first elements against the schema: a wrong name is an error at once, in every placement.

Otherwise a slip in a label's path would send a whole dataset to the quarantine, record by record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from label_guard.check.columns import as_array, spec_text
from label_guard.check.counted_positions import where_array
from label_guard.core import tree
from label_guard.core.log import logger
from label_guard.core.similar import closest, listed, near_name
from label_guard.errors import UsageError
from label_guard.pipeline.batching import join
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.copies import copied
from label_guard.pipeline.record_keys import KEY, UNREADABLE, key_in, reason_in
from label_guard.pipeline.state import Form, Upstream
from label_guard.schema.fields import fits_shape


def check_first_elements(config: GuardConfig, elements: Sequence[Any], batched: bool | None = None) -> bool:
    """Checks that the labels of the schema are features of ``elements``.

    Args:
        config: what the guard does.
        elements: the first elements that were read: one batch, or some records.
        batched: whether they are batches; None where that is not known yet.

    Returns:
        Whether there was an element to check: records that could not be read have no features.

    Raises:
        UsageError: a label is in none of the elements, a map upstream lost the record key, ``where`` or ``batched=``
            is wrong, or a label is a list of columns.
    """
    readable = [element for element in elements if reason_in(element) is None]
    if not readable:
        return False
    require_key(config, readable[0])
    for path in config.guard.features:
        if all(tree.get(element, path) is tree.MISSING for element in readable):
            raise UsageError(f"{config.caller}: {_no_label(config, path, readable[0])}")
    _check_record_key(config, readable[0])
    _check_where(config, readable)
    _check_form(config, readable)
    if batched:
        _check_lists(config, readable[0])
        if config.refills:
            _warn_of_whole_features(config, readable[0])
    return True


def _warn_of_whole_features(config: GuardConfig, batch: Any) -> None:
    """Warns of features out of which no record can be taken, before the first bad record, which may come after days."""
    try:
        size = len(tree.get(batch, next(iter(config.guard.features))))
    except TypeError:  # a label without a length, which the check reports
        return
    try:
        join([(batch, np.empty(0, np.intp), size)], config.guard.labels)
    except Exception as error:  # a foreign feature may raise anything
        logger.warning(
            '%s: on_invalid="%s" takes bad records out of their batches, and out of these it cannot: the first bad '
            "record will end the run. %s",
            config.guard.schema.name, config.on_invalid, error,
        )  # fmt: skip


def require_key(config: GuardConfig, element: Any) -> None:
    """Checks that ``element`` holds the record key that was added upstream.

    Raises:
        UsageError: a map lost it.
    """
    if element is None:
        raise UsageError(
            f"{config.caller}: an element is None: a map on an IterDataset delivers the None that it returns; leave "
            "elements out with .filter(...) instead"
        )
    if config.names.sources and key_in(element) is None:
        raise UsageError(
            f"{config.caller}: the elements have no feature {KEY!r}, which keyed() or with_record_keys added upstream; "
            f"a map lost the feature. Return it from the map: {{..., {KEY!r}: record[{KEY!r}]}}; if an earlier guard "
            "took it, pass keep_key=True there; or leave keyed() out, and bad records are known by their content only"
        )
    _check_key(config, key_in(element))


def _check_key(config: GuardConfig, key: Any) -> None:
    """Refuses keys that a map cast: as floats, those of two records are equal, and one of them would be lost."""
    if key is None:
        return
    dtype = as_array(key)[0].dtype
    named = any(config.names.sources)  # the tag of a name lies above the 32nd bit
    if dtype.kind not in "iu" or (named and dtype.itemsize < np.dtype(np.int64).itemsize):
        raise UsageError(
            f"{config.caller}: the record key, the feature {KEY!r}, is {spec_text(dtype, ())} where keyed() and "
            "with_record_keys add int64: a map changed it. Leave this feature as it is in the map; as floats, the "
            "keys of several records become equal"
        )


def _check_record_key(config: GuardConfig, element: Any) -> None:
    """Refuses a slip in ``record_key``. A pipeline may leave the feature out: an audit of the same schema needs it."""
    path = config.guard.schema.record_key
    if path is None or tree.get(element, path) is not tree.MISSING:
        return
    near = near_name(path, list(_features(element)))
    if near is not None and near not in config.guard.labels:
        raise UsageError(
            f"{config.caller}: no feature {path!r}, the record_key of schema {config.guard.schema.name}, in the "
            f"elements; did you mean {near!r}?"
        )


def _check_where(config: GuardConfig, elements: Sequence[Any]) -> None:
    """Refuses a ``where`` that names a feature without numbers; in a later record that is a violation."""
    for path, label in config.guard.labels.items():
        values = [] if label.where is None else [tree.get(element, label.where) for element in elements]
        values = [value for value in values if value is not None and value is not tree.MISSING]
        if values and not any(map(_holds_numbers, values)):
            stored = where_array(values[0])
            is_masked = isinstance(values[0], np.ma.MaskedArray)
            held = "a masked array" if is_masked else spec_text(stored.dtype, stored.shape)
            raise UsageError(
                f"{config.caller}: where of label {path!r} is the feature {label.where!r}, which holds {held}; it must "
                "hold bool or numbers: 0 does not count"
            )


def _holds_numbers(where: Any) -> bool:
    """Whether a feature holds numbers, in a batch of records of several lengths in one record at least."""
    array = where_array(where)
    if array.dtype.kind in "biuf":
        return True
    if isinstance(where, list | tuple):
        return any(where_array(row).dtype.kind in "biuf" for row in cast("Sequence[Any]", where))
    return array.dtype == object and array.ndim > 0 and any(where_array(row).dtype.kind in "biuf" for row in array)


def _check_form(config: GuardConfig, elements: Sequence[Any]) -> None:
    """Refuses a ``batched=`` that all first elements contradict, in every label; a bad label alone does not."""
    if config.batched is None:
        return
    if config.batched:
        wrong = all(_is_record(config, element) for element in elements)
        found, remedy = "single records", "leave batched= out, and pass batch_size=N to deliver batches"
    else:
        wrong = all(is_surely_batch(config, element) for element in elements)
        found = "batches"
        remedy = "leave batched= out. If they are records, correct the shape of the label in the schema"
    if wrong:
        path = next(iter(config.guard.labels))
        array, _ = as_array(tree.get(elements[0], path))
        shape = list(config.guard.read_labels[path].record_shape)
        raise UsageError(
            f"{config.caller}: batched={config.batched} was given, but the elements are {found}: label {path!r} of the "
            f"first is {spec_text(array.dtype, array.shape)}, and that of one record has the shape {shape}; {remedy}"
        )


def _check_lists(config: GuardConfig, batch: Any) -> None:
    """Refuses a label, or what counts in it, that is or may be a list of columns: as rows it would mix the records."""
    for check in config.guard.checks:
        _check_list(config, batch, check.path, check.checked.record_shape, f"label {check.path!r}")
        if check.where is not None:
            name = f"the feature {check.where!r}, which says what counts in label {check.path!r},"
            shape = _shape_of_all(tree.get(batch, check.where)) or ()
            _check_list(config, batch, check.where, check.checked.record_shape[: len(shape)], name)


def _check_list(config: GuardConfig, batch: Any, path: str, record: tuple[int | None, ...], name: str) -> None:
    value = tree.get(batch, path)
    shape = _shape_of_all(value)
    if shape is None or len(shape) != len(record):
        return
    own, length = len(cast("Sequence[Any]", value)), shape[0]
    sizes = {size for other in _features(batch) if other != path for size in _sizes(tree.get(batch, other))}
    both = own == length and None not in record  # rows of any length are rarely a square
    columns = config.lists_are_columns or both or (length in sizes and own not in sizes)
    if columns and fits_shape(record, (own, *shape[1:])):
        raise UsageError(
            f"{config.caller}: {name} is a list of {own} arrays of length {length}. Grain's batch and PyTorch's "
            "collate make one array for each place in a feature that is a Python list, not one for each record. Make "
            "it an array before it is batched, with np.asarray(...) in a map before .batch or in the dataset; or guard "
            "the records, with batched=False and batch_size=N in place of .batch(N)"
        )


def _shape_of_all(values: Any) -> tuple[int, ...] | None:
    """The shape of each array or tensor in a list or tuple; None where it is something else, or they differ."""
    if not isinstance(values, list | tuple):
        return None
    shapes = {tuple(getattr(value, "shape", ())) for value in cast("Sequence[Any]", values)}
    return next(iter(shapes)) or None if len(shapes) == 1 else None


def _sizes(feature: Any) -> set[int]:
    """Numbers of records that a feature of a batch may hold: its length, of a list of arrays that of each array."""
    if not isinstance(feature, list):
        return set(np.shape(feature)[:1])
    items = cast("list[Any]", feature)
    return {(_shape_of_all(items) or (len(items),))[0]}


def _is_record(config: GuardConfig, element: Any, axes: int = 0) -> bool:
    """Whether every label holds numbers in the shape of that of one record, behind ``axes`` more."""
    for path, label in config.guard.read_labels.items():
        array, _ = as_array(tree.get(element, path))
        if array.dtype.kind not in "biuf" or not array.size:  # an empty list says nothing of its form
            return False
        if not fits_shape(label.record_shape, array.shape[axes:]):
            return False
    return True


def is_surely_batch(config: GuardConfig, element: Any) -> bool:
    """Whether ``element`` can be nothing but a batch, by its record keys or by all of its labels and features.

    Each label is one of a record with an axis in front, and all features, two of them at least, share its length.
    """
    if getattr(key_in(element), "ndim", 0) > 0:  # keys have no axis in a single record
        return True
    try:
        if not config.guard.is_batched(element) or not _is_record(config, element, axes=1):
            return False
    except UsageError:  # its labels do not show it
        return False
    shapes = [as_array(value)[0].shape for path, value in tree.leaves(element) if path != KEY]
    return len(shapes) > 1 and len({shape[:1] for shape in shapes}) == 1 and shapes[0][:1] > (0,)


def _no_label(config: GuardConfig, path: str, element: Any) -> str:
    name = f"{config.guard.features[path]} of schema {config.guard.schema.name}"
    pairs = tree.children(element)
    dtype: Any = getattr(element, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "O" and element.size:
        kind = type(element.flat[0]).__name__
        return (
            f"no feature for {name}: the elements are arrays of {kind} objects, which is what a batch makes of a class "
            "that JAX does not know. Register it with jax.tree_util.register_dataclass, make it a dict before it is "
            "batched, or guard the records with batch_size=N in place of .batch(N)"
        )
    if pairs is None or tree.is_bare(element):
        return f"no feature for {name}: {_bare(element)}"
    features = list(_features(element))
    near = closest(path, features) or closest(path.rpartition("/")[2], features)
    return (
        f"no feature {path!r} in the elements ({name}){f'; did you mean {near!r}?' if near else '.'} They have: "
        f"{listed(features) or 'no features'}. Correct the path in the schema, or the map before the guard; a record "
        "without a label must hold None there"
    )


def _bare(element: Any) -> str:
    """What an element without names of features is, and what to do."""
    kind = type(element).__name__
    if isinstance(element, list) and element and tree.children(cast("list[Any]", element)[0]) is not None:
        inner = type(cast("list[Any]", element)[0]).__name__
        return (
            f"the elements are lists of {inner} records. Stack each list to a batch before the guard, or yield the "
            "records one by one and pass batch_size=N"
        )
    has_columns = hasattr(cast("object", element), "columns") or as_array(element)[0].dtype.names is not None
    if isinstance(element, str | bytes) or has_columns or as_array(element)[0].dtype == object:
        return (
            f"the elements are {kind} objects, which have no features. Make each one a dict in a map before the guard, "
            'such as {"label": label}'
        )
    return f"the elements are bare arrays ({kind}), whose label has path ''"


def _features(node: Any, prefix: str = "") -> Iterator[str]:
    """Paths of the features of an element; a list is one feature."""
    pairs = None if isinstance(node, list) else tree.children(node)
    if pairs is None:
        yield prefix
        return
    for name, value in pairs:
        if name not in (KEY, UNREADABLE):
            yield from _features(value, f"{prefix}/{name}" if prefix else name)


def read_form(config: GuardConfig, upstream: Upstream, most: int) -> tuple[Form, list[Any]]:
    """Reads elements until one shows whether they are records or batches; one bad label must not decide it.

    Args:
        config: what the guard does.
        upstream: where elements come from.
        most: how many elements may be read.

    Returns:
        The form, unknown for an empty stream; and the elements that were read, all but the last copied.

    Raises:
        UsageError: none of them shows it.
    """
    read: list[Any] = []
    doubt: UsageError | None = None
    while len(read) < most:
        read = list(map(copied, read))
        try:
            read.append(next(upstream))
        except StopIteration:
            break
        try:  # what could not be read is a record
            batched = reason_in(read[-1]) is None and config.guard.is_batched(read[-1])
            return Form.of(batched), read
        except UsageError as error:
            doubt = error
    if doubt is not None:
        check_first_elements(config, read)
        raise doubt
    return Form.UNKNOWN, read
