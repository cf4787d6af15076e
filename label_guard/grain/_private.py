# pyright: basic
"""Everything of Grain that is private and used here: the one file to look at when Grain changes.

Tested with Grain 0.2.18 (``TESTED_VERSIONS``). Where an attribute is missing, each function says so by its default, and
the guard knows less of the pipeline: no record is lost by it.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grain

from label_guard.pipeline.state import Processes

TESTED_VERSIONS = ("0.2.18",)
_ONE_TO_MANY = ("FlatMapMapDataset", "FlatMapIterDataset")
_PACKING = ("BestFitPackIterDataset", "ConcatThenSplitIterDataset", "FirstFitPackIterDataset")
_BATCHING = ("BatchMapDataset", "BatchIterDataset", "RebatchIterDataset")


def nodes_before(ds: Any, ends_at: Callable[[Any], bool] = lambda _: False) -> Iterator[Any]:
    """``ds`` and all datasets upstream, each once, nearest first; not beyond nodes for which ``ends_at`` is true."""
    waiting, met = [ds], set[int]()
    while waiting:
        node = waiting.pop(0)
        if id(node) in met:
            continue
        met.add(id(node))
        yield node
        if ends_at(node):
            continue
        waiting.extend(parents(node))
        interleaved = getattr(node, "_datasets", ())  # mp_prefetch and interleave keep theirs out of the parents
        waiting.extend(interleaved if isinstance(interleaved, list | tuple) else [interleaved])
        if isinstance(source(node), grain.MapDataset):  # what slicing leaves of a source
            waiting.append(source(node))


def parents(node: Any) -> list[Any]:
    """The datasets that ``node`` reads."""
    return list(getattr(node, "_parents", ()))


def source(node: Any) -> Any:
    """The source that a node wraps, or None."""
    return getattr(node, "_source", None)


def transform_of(node: Any) -> Any:
    """The transform of a map or filter node, or None."""
    return getattr(node, "_transform", None) or getattr(getattr(node, "_filter_fn", None), "__self__", None)


def is_batch(node: Any) -> bool:
    """Whether a node makes batches."""
    return type(node).__name__ in _BATCHING


def stacks_leaves(node: Any) -> bool:
    """Whether a node batches as Grain does: one new array for each leaf of a record, so for each place of a list."""
    stack = getattr(node, "_batch_fn", None)
    return getattr(stack, "__name__", "") == "make_batch" and getattr(stack, "__module__", "").startswith("grain.")


def makes_new_arrays(node: Any) -> bool:
    """Whether nothing writes the arrays of a batch again, once a node has yielded it."""
    return type(node).__name__ == "BatchIterDataset" and stacks_leaves(node)


def drops_remainder(node: Any) -> bool:
    """Whether a batch node leaves out an incomplete last batch."""
    return bool(getattr(node, "_drop_remainder", False))


def repeats_forever(node: Any) -> bool:
    """Whether a node repeats without end."""
    if isinstance(node, grain.MapDataset):
        return len(node) >= sys.maxsize
    return isinstance(node, grain.experimental.RepeatIterDataset) and getattr(node, "_num_epochs", 1) is None


def repeats_keys(node: Any) -> bool:
    """Whether two elements may have one key: a flat map copies it, and datasets made in a map hide their sources."""
    made_in_a_map = isinstance(getattr(node, "_datasets", None), grain.MapDataset)
    return made_in_a_map or type(node).__name__ in _ONE_TO_MANY


def packs(node: Any) -> bool:
    """Whether a node packs several records into one, which leaves their keys out."""
    return type(node).__name__ in _PACKING


def num_workers(ds: Any) -> int:
    """Number of worker processes that ``ds`` reads through, 0 without ``mp_prefetch``."""
    return sum(type(node).__name__ == "ProcessPrefetchIterDataset" for node in nodes_before(ds))


def processes(iterator: Any, workers_before: int) -> Processes:
    """The place of this process among Grain's workers, for an iterator that reads through ``workers_before``."""
    context = iterator._ctx.mp_context
    in_worker = context.process_count > 1 or multiprocessing.current_process().daemon
    return Processes(context.process_index, context.process_count if in_worker else workers_before, in_worker)


def mark_as_output(iterator: Any) -> None:
    """Asks for the stats of ``iterator``, which makes it the output of the pipeline.

    Until then Grain takes the node before it for the output and times each of its records: a tenth of the cost of a
    small one.
    """
    _ = iterator._stats
