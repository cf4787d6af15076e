"""Batches as trees: stack records, take rows, join rows of several. Only ``fill`` writes its input."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from label_guard.check.columns import as_array, column_items, object_column, spec_text
from label_guard.core import tree
from label_guard.core.plural import counted
from label_guard.core.similar import listed
from label_guard.core.types import Array, Rows
from label_guard.errors import UsageError
from label_guard.pipeline.batch_forms import belongs_to_batch, holds_rows

BatchRows = tuple[Any, Rows, int]  # a batch, rows of it, and its number of records
_FEW = 4  # rows that are copied one by one
ONE_BY_ONE = (
    "; give them one shape in a map before the guard, or leave batch_size= out and pass batched=False: single records "
    "leave the guard, for a map that pads them and a .batch of your own"
)


def row_name(row: int) -> str:
    """What a message calls a record without a key."""
    return f"row {row}"


def stack(
    records: Sequence[Any],
    labels: Mapping[str, Array] | None = None,
    *,
    leave_out: str | None = None,
    name: Callable[[int], str] = row_name,
) -> Any:
    """Records of one structure as a batch: every leaf gets a leading axis of ``len(records)``.

    Args:
        records: at least one.
        labels: features that are already stacked, by path: they are values, whatever the records hold there.
        leave_out: a feature of dict records that need not be stacked.
        name: what a message calls the record of a row.

    Raises:
        UsageError: records differ in structure, or a feature in shape; it names the first record of each.
    """
    try:
        return _stack(list(records), labels or {}, "", leave_out, name)
    except UsageError as error:
        raise UsageError(f"{error}{ONE_BY_ONE}") from error


def _stack(
    nodes: list[Any], labels: Mapping[str, Array], path: str, leave_out: str | None, name_of: Callable[[int], str]
) -> Any:
    first = nodes[0]
    pairs = tree.children(first)
    if pairs is None:
        return _stack_feature(nodes, path, name_of)
    own, inner = _by_child(nodes, labels)
    columns = _columns(nodes)
    names = [name for name, _ in pairs if name not in own and name != leave_out]
    for row, column in enumerate(columns):
        if column.keys() - own.keys() - {leave_out} != set(names):
            features = f"{list(columns[0])} ({name_of(0)}) and {list(column)} ({name_of(row)})"
            raise UsageError(f"{_called(path)} cannot be batched: elements differ in structure: {features}")
    stacked: dict[str, Any] = {}
    for name in names:
        values = [column[name] for column in columns]
        stacked[name] = _stack(values, inner.get(name, {}), f"{path}/{name}" if path else name, None, name_of)
    if isinstance(first, Mapping):
        features = {name: stacked[name] if name in stacked else own[name] for name, _ in pairs if name != leave_out}
        keys = {str(key): key for key in cast("Mapping[Any, Any]", first)}  # keys need not be text
        return tree.mapping_like(first, {keys.get(name, name): value for name, value in (features | own).items()})
    batch = tree.rebuild(first, [stacked[name] if name in stacked else own[name] for name, _ in pairs])
    for name in own.keys() - {name for name, _ in pairs}:
        batch = tree.put(batch, name, own[name])
    return batch


def _columns(nodes: list[Any]) -> list[Mapping[str, Any]]:
    """The children of each node by name."""
    first = nodes[0]
    named = type(first) is dict and all(type(name) is str for name in cast("dict[Any, Any]", first))
    if named and all(type(node) is dict and node.keys() == first.keys() for node in nodes):
        return nodes  # nearly every stream: no pass over the features of each record
    return [dict(tree.children(node) or ()) for node in nodes]


def _by_child(nodes: list[Any], labels: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
    """Labels that are children of the nodes, and those that are inside of a child, by its name."""
    own: dict[str, Array] = {}
    inner: dict[str, dict[str, Array]] = {}
    for path, array in labels.items():
        node = next((node for node in nodes if tree.get(node, path) is not tree.MISSING), None)
        name, rest = (path, None) if node is None else tree.split_path(node, path)
        if rest is None:
            own[name] = array
        else:
            inner.setdefault(name, {})[rest] = array
    return own, inner


def _stack_feature(values: list[Any], path: str, name_of: Callable[[int], str] = row_name) -> Any:
    if all(value is None for value in values):
        return None  # a field that is not set, such as that of a mask to come
    try:
        return _stack_leaves(values)
    except Exception as error:  # a foreign value may raise anything when it is converted
        first: dict[str, int] = {}
        for row, value in enumerate(values):
            first.setdefault(_spec(value), row)
        specs = [f"{spec} ({name_of(row)})" for spec, row in first.items()]
        raise UsageError(f"{_called(path)} cannot be batched: records hold {listed(specs)}") from error


def _called(path: str) -> str:
    return f"feature {path!r}" if path else "records"


def _spec(value: Any) -> str:
    """Dtype and shape of a value in words; None as it is."""
    array, _ = as_array(value)
    if value is None or (array.dtype == object and not array.ndim):
        return str(None if value is None else array.item())
    return spec_text(array.dtype, array.shape)


def _stack_leaves(values: Sequence[Any]) -> Any:
    if any(value is None or value is tree.MISSING for value in values):
        raise ValueError("a record holds None")
    stacked = np.stack(values) if isinstance(values[0], np.ndarray) else np.array(values)
    if stacked.dtype.kind != "f":
        return stacked
    arrays = [np.asarray(value) for value in values]
    dtype = _common(arrays)
    return stacked if dtype.kind == "f" else np.stack([array.astype(dtype) for array in arrays])


def stack_lists(batch: Any, leave_out: Iterable[str], path: str = "") -> Any:
    """``batch`` with an array in place of each list of values, but for the features to ``leave_out``.

    Args:
        batch: the element.
        leave_out: paths of features that stay lists.
        path: where ``batch`` is in the element; ``""`` for the whole.
    """
    if isinstance(batch, dict):
        features = cast("dict[str, Any]", batch)
        paths = {name: f"{path}/{name}" if path else name for name in features}
        return {
            name: value if paths[name] in leave_out else stack_lists(value, leave_out, paths[name])
            for name, value in features.items()
        }
    return _stack_feature(cast("list[Any]", batch), path) if isinstance(batch, list) else batch


def same_features(batches: Sequence[Any]) -> bool:
    """Whether batches of records have the same features, each of one type (a list or an array) in all of them."""
    return all(len({*map(type, values)}) == 1 and type(values[0]) is not dict for values in _by_feature(batches))


def row(batch: Any, position: int, size: int, labels: Collection[str] = (), path: str = "") -> Any:
    """Record ``position`` of a batch of ``size``; a leaf without that leading axis is None in it.

    A list that may hold rows or features (``holds_rows``) is None too: half of it would be another record's.

    Args:
        batch: the element.
        position: from 0, below size.
        size: number of records in the batch.
        labels: paths of labels, whose lists are values rather than structure.
        path: where ``batch`` is in the element; ``""`` for the whole.
    """
    if type(batch) is np.ndarray:  # nearly every feature
        return batch[position] if batch.shape[:1] == (size,) else None
    if type(batch) is dict:
        features = cast("dict[Any, Any]", batch)
        return {k: row(child, position, size, labels, _inside(path, str(k))) for k, child in features.items()}
    rows = False if _contains_label(path, labels) else holds_rows(batch, size)
    if rows is not False:
        return batch[position] if rows or size == 1 else None
    pairs = tree.children(batch)
    if pairs is not None:
        return tree.rebuild(batch, [row(child, position, size, labels, _inside(path, name)) for name, child in pairs])
    try:
        array: Any = _as_feature(batch)
    except Exception:  # arrays of other libraries may refuse (JAX's PRNG keys); they have rows all the same
        array = batch
    try:
        return array[position] if array.shape[:1] == (size,) else None
    except Exception:  # or have no shape, or do not give one (a nested tensor)
        return None


def _as_feature(leaf: Any) -> Array:
    """A feature as an array; a ragged tensor as one of arrays."""
    if hasattr(leaf, "nested_row_splits"):
        return object_column(column_items(leaf) or [])
    return np.asanyarray(leaf)


def _contains_label(path: str, labels: Iterable[str]) -> bool:
    """Whether a label is inside of the node at ``path``, which is then a container of features."""
    return any(label.startswith(f"{path}/") if path else label != "" for label in labels)


def _inside(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def join(parts: Sequence[BatchRows], labels: Iterable[str] = (), *, stacked: bool = False) -> Any:
    """A new batch of the given rows of each part, in order; every leaf is copied once.

    Args:
        parts: batches of one structure, and rows of them.
        labels: paths of labels: a list that contains one is a container of features.
        stacked: whether ``stack`` made the batches, in which every list is a container.

    Raises:
        UsageError: the parts differ in structure, or in the shape of a feature; or a list may hold rows or features.
    """
    try:
        return _join([batch for batch, _, _ in parts], parts, "", None if stacked else tuple(labels))
    except (ValueError, TypeError) as error:
        raise UsageError(f"batches cannot be joined: {error}") from error


def _join(nodes: list[Any], parts: Sequence[BatchRows], path: str, labels: tuple[str, ...] | None) -> Any:
    if type(nodes[0]) is np.ndarray:  # nearly every feature
        return _join_leaves(nodes, parts, path)
    if _are_dicts_alike(nodes):
        return {key: _join([n[key] for n in nodes], parts, _inside(path, str(key)), labels) for key in nodes[0]}
    if labels is not None and not _contains_label(path, labels) and _all_rows(nodes, parts, path):
        taken = [node[position] for node, (_, rows, _) in zip(nodes, parts, strict=True) for position in rows.tolist()]
        return tuple(taken) if isinstance(nodes[0], tuple) else taken
    first, *others = [tree.children(node) for node in nodes]
    if first is None:
        return _join_leaves(nodes, parts, path)
    names = [name for name, _ in first]
    columns = [dict(pairs or ()) for pairs in others]
    if any(set(column) != set(names) for column in columns):
        raise ValueError(f"their features differ: {names} against {[list(column) for column in columns]}")
    joined = [_join([v, *(c[name] for c in columns)], parts, _inside(path, name), labels) for name, v in first]
    return tree.rebuild(nodes[0], joined)


def _all_rows(nodes: list[Any], parts: Sequence[BatchRows], path: str) -> bool:
    """Whether a feature is a list of rows in every part; one part where it is clear decides for all."""
    found = [holds_rows(node, size) for node, (_, _, size) in zip(nodes, parts, strict=True)]
    clear = set(found) - {None}
    if None not in found:
        return all(found)
    if len(clear) == 1:
        return clear == {True}
    doubtful: Any = next(node for node, rows in zip(nodes, found, strict=True) if rows is None)
    if len(doubtful) == 1 and sum(len(rows) for _, rows, _ in parts) <= 1:
        return True
    kind, item = type(doubtful).__name__, type(doubtful[0]).__name__
    item = "array" if tree.children(doubtful[0]) is None else item
    remedy = "a dict of features" if "tuple" in (kind, item) else "a tuple or a dict of features"
    size = len(doubtful)
    raise UsageError(
        f"feature {path!r} is a {kind} of {counted(size, item)} of length {size} in a batch of as many records: it may "
        f"hold one {item} for each record, or one for each of several features, so records cannot be taken out of it "
        f"or added. Make it {remedy}, or an array with a leading axis of records"
    )


def _join_leaves(leaves: list[Any], parts: Sequence[BatchRows], path: str) -> Any:
    try:
        arrays = [np.asarray(_as_feature(leaf)) for leaf in leaves]
    except Exception as error:  # a foreign array may raise anything, such as a tensor that needs a gradient
        raise ValueError(f"feature {path!r} cannot be read as an array: {error}") from error
    whole = [belongs_to_batch(array, path, size) for array, (_, _, size) in zip(arrays, parts, strict=True)]
    if all(whole):
        return leaves[0]
    if any(whole):
        raise ValueError(f"feature {path!r} is {listed({_spec(leaf): None for leaf in leaves})}")
    _require_rows(arrays, parts, path)
    joined = _take_rows(arrays, parts)
    if any(isinstance(leaf, np.ma.MaskedArray) for leaf in leaves):
        hidden = _join_leaves([np.ma.getmaskarray(leaf) for leaf in leaves], parts, path)
        return np.ma.array(joined, mask=hidden, fill_value=getattr(leaves[0], "fill_value", None))
    return joined


def _require_rows(arrays: Sequence[Array], parts: Sequence[BatchRows], path: str) -> None:
    """Checks that every array has a row for each record of its batch, of one shape and one kind."""
    for array, (_, _, size) in zip(arrays, parts, strict=True):
        if len(array) != size:
            raise ValueError(
                f"feature {path!r} is {spec_text(array.dtype, array.shape)} in a batch of {counted(size, 'record')}, "
                "so records cannot be taken out of it or added. Give it a leading axis of records, or add it after "
                "the guard"
            )
    if len({array.shape[1:] for array in arrays}) > 1:
        raise ValueError(f"a feature has shapes {', '.join(str(list(array.shape[1:])) for array in arrays)}")
    if len({array.dtype.kind in "SUT" for array in arrays if array.dtype.kind != "O"}) > 1:  # NumPy would write text
        raise ValueError(f"feature {path!r} has the dtypes {listed(str(array.dtype) for array in arrays)}")


def _take_rows(arrays: Sequence[Array], parts: Sequence[BatchRows]) -> Array:
    joined = np.empty((sum(len(rows) for _, rows, _ in parts), *arrays[0].shape[1:]), _common(arrays))
    at = 0
    for array, (_, rows, _) in zip(arrays, parts, strict=True):
        # Any mode but "raise" writes into ``out`` without a buffer of its size; the rows are known to be inside.
        if array.dtype == joined.dtype:
            array.take(rows, 0, joined[at : at + len(rows)], "clip")
        else:
            joined[at : at + len(rows)] = array[rows]
        at += len(rows)
    return joined


def fill(batch: Any, holes: Rows, size: int, others: Sequence[BatchRows]) -> bool:
    """Writes rows of other batches into ``batch``.

    Args:
        batch: a batch of ``size`` records.
        holes: int[k], ascending: the rows to write to.
        size: its number of records.
        others: batches and rows of them.

    Returns:
        False, with nothing written, where there are fewer rows than holes, or the batches are not dicts of arrays that
        are alike.
    """
    if sum(len(rows) for _, rows, _ in others) != len(holes):
        return False
    sizes = [size, *(length for _, _, length in others)]
    features: list[Sequence[Array]] = list(_by_feature([batch, *(other for other, _, _ in others)]))
    if not all(_can_fill(arrays, sizes) for arrays in features):
        return False
    at = 0
    for number, (_, rows, _) in enumerate(others, 1):
        places = holes[at : at + len(rows)]
        for arrays in features:
            _write_rows(arrays[0], places, arrays[number], rows)
        at += len(rows)
    return True


def _write_rows(array: Array, places: Rows, other: Array, rows: Rows) -> None:
    if len(rows) > _FEW:
        array[places] = other[rows]
        return
    for place, row in zip(places.tolist(), rows.tolist(), strict=True):
        array[place] = other[row]  # a row by its number takes a quarter of the time of one by an array of numbers


def rows_without(left: Rows, size: int) -> Rows:
    """int[k]: the rows of a batch of ``size`` that are not among ``left``."""
    stays = np.ones(size, np.bool_)
    stays[left] = False
    return stays.nonzero()[0]


def _can_fill(arrays: Sequence[Any], sizes: Sequence[int]) -> bool:
    """Whether rows of the other arrays can be written into the first: arrays of one dtype and shape of a record."""
    first = arrays[0]
    if type(first) is not np.ndarray or first.dtype.hasobject or not (first.flags.writeable and first.dtype.isnative):
        return False
    for array, size in zip(arrays, sizes, strict=True):
        if type(array) is not np.ndarray or array.dtype != first.dtype or array.shape != (size, *first.shape[1:]):
            return False
    return True


def _by_feature(nodes: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """For each feature, what it is in each node. Nodes that are not all dicts with the same keys are one feature."""
    if not _are_dicts_alike(nodes):
        yield nodes
        return
    for name in nodes[0]:
        yield from _by_feature([node[name] for node in nodes])


def _are_dicts_alike(nodes: Sequence[Any]) -> bool:
    first = nodes[0]
    return type(first) is dict and all(type(node) is dict and node.keys() == first.keys() for node in nodes[1:])


def _common(arrays: Sequence[Array]) -> np.dtype[Any]:
    """The dtype of a feature that is joined: NumPy's, but integers stay integers where one dtype holds them all."""
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1:
        return arrays[0].dtype  # NumPy would give the byte order of this machine
    common = np.result_type(*dtypes)
    if common.kind != "f" or not all(array.dtype.kind in "iu" for array in arrays):
        return common
    filled = [array for array in arrays if array.size]
    greatest, least = (max((int(a.max()) for a in filled), default=0), min((int(a.min()) for a in filled), default=0))
    if greatest < 2**63:
        return np.dtype(np.int64)
    return np.dtype(np.uint64) if least >= 0 else common


def larger_batch(before: int, now: int) -> UsageError:
    """The error where batches are to have one size, and a larger one comes."""
    return UsageError(
        f"a batch of {counted(now, 'record')} came after batches of {before}; all but the last must have one size: "
        "pass batch_size="
    )


def smaller_batches(before: int, now: int) -> UsageError:
    """The error where the batches after a restore are smaller, so that all of them would be left out as a remainder."""
    return UsageError(
        f'the checkpoint was made with batches of {counted(before, "record")}, and remainder="drop" leaves out '
        f"the batches of {now} that come now: pass batch_size="
    )


def with_label_columns(batch: Any, path: str, size: int) -> Any:
    """``batch`` with its label at ``path``, if a list of ``size`` values, as an object array: a value, not structure.

    So is a column with nulls or of lists, of Arrow or pandas, and a ragged tensor.

    Args:
        batch: the element.
        path: path of the label.
        size: number of records in ``batch``.
    """
    value = tree.get(batch, path)
    if not isinstance(value, list | tuple | np.ndarray):
        value = column_items(value)
    if not isinstance(value, list | tuple) or len(cast("list[Any]", value)) != size:
        return batch
    return tree.put(batch, path, object_column(cast("list[Any]", value)))


def without_key(element: Any, key: str) -> Any:
    """``element`` without the top-level feature ``key``."""
    features: Any = element
    if (type(element) is dict or isinstance(element, Mapping)) and key in features:
        return tree.mapping_like(features, {name: value for name, value in features.items() if name != key})
    return features
