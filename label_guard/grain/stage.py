# pyright: basic
"""``guard_labels``: the guard as an IterDataset with a state that resumes."""

from __future__ import annotations

from typing import Any

import grain
import numpy as np
from absl import flags as absl_flags
from typing_extensions import Unpack

from label_guard.core import tree
from label_guard.core.documented_options import shows_options
from label_guard.core.html_table import html_table
from label_guard.errors import UsageError
from label_guard.grain import _private, upstream
from label_guard.grain.specs import output_spec
from label_guard.grain.stateless import guard_map
from label_guard.pipeline.checker import warn_about_policy
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.options import GuardOptions, SchemaLike, resolve_options, shown_type
from label_guard.pipeline.stream import GuardStream

_UNPARSED = (
    "Grain reads an absl flag when it starts a worker, and no flags were parsed: run the script through "
    "absl.app.run(main); or in a notebook, or with a command line of your own, call absl.flags.FLAGS.mark_as_parsed() "
    "first"
)


@shows_options(GuardOptions)
def guard_labels(ds: Any, schema: SchemaLike, **options: Unpack[GuardOptions]) -> Any:
    """Guards the labels of ``ds``; call it through ``ds.pipe(guard_labels, schema, ...)``.

    On an IterDataset of unbatched records it takes the place of ``.batch(batch_size)`` and holds every promise:
    records are checked as they are stored, before stacking can cast them. After ``.batch(N)`` it checks what stacking
    left. On a MapDataset ``mask``, ``raise`` and ``report`` keep random access; ``drop`` becomes a filter on records.

    Args:
        ds: ``grain.IterDataset`` or ``grain.MapDataset``.
        schema: the path of a schema file, a ``DatasetSchema``, or a mapping from label paths to label models:
            ``{"label": ClassLabel(num_classes=10)}``.
        **options: see ``label_guard.GuardOptions``.

    Returns:
        A dataset of guarded batches (or records, on a MapDataset of records).

    Raises:
        UsageError: a choice that cannot work, found before the first element is read.
        SchemaError: the schema file is invalid.
    """
    if not isinstance(ds, grain.MapDataset | grain.IterDataset):
        raise UsageError(f"guard_labels takes a grain MapDataset or IterDataset, not {shown_type(ds)}; {_remedy(ds)}")
    builds_batches = isinstance(ds, grain.IterDataset) and (
        options.get("batched") is not False or "batch_size" in options
    )
    if builds_batches and "remainder" not in options and upstream.drops_remainder(ds):
        options["remainder"] = "drop"  # a Batch upstream promised full batches
    config = resolve_options(schema, **options)
    batched = upstream.is_batched(ds, config)
    config = upstream.with_names(ds, config.replace(lists_are_columns=_private.stacks_leaves(ds)), batched)
    upstream.refuse_second_remap(ds, config)
    warn_about_policy(config, endless=any(map(_private.repeats_forever, _private.nodes_before(ds))))
    if isinstance(ds, grain.MapDataset):
        return guard_map(ds, config, options, batched)
    return GuardIterDataset(ds, config, batched)


def _remedy(ds: Any) -> str:
    if isinstance(ds, grain.DataLoader):
        return "give the DataLoader operations=[..., *data_loader_operations(schema, ...), grain.transforms.Batch(N)]"
    if isinstance(ds, dict | tuple | np.ndarray | bytes):
        return "it guards a whole dataset, not one element: call ds.pipe(guard_labels, schema, ...), not ds.map(...)"
    return "for any other loader use label_guard.guard_batches(loader, schema, ...)"


class GuardIterDataset(grain.IterDataset):
    """Guarded batches of an IterDataset. Made by ``guard_labels``.

    Attributes:
        config: what the guard does.
    """

    def __init__(self, parent: Any, config: GuardConfig, batched: bool | None) -> None:
        super().__init__(parent)
        self.config = config
        self._batched = batched

    def __iter__(self) -> Any:
        return _GuardDatasetIterator(self._parent, self.config, self._batched)

    def __str__(self) -> str:
        return f"GuardIterDataset({self.config})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for notebooks: what the guard does."""
        return html_table("Guarded dataset", self.config.described())

    @property
    def _element_spec(self) -> Any:
        spec = grain.experimental.get_element_spec(self._parent)
        if not self._batched and self.config.batch_size is not None:
            size = None if self.config.remainder == "short" else self.config.batch_size
            stacked = grain.experimental.ShapeDtypeStruct
            spec = tree.map_leaves(lambda leaf: stacked((size, *leaf.shape), np.dtype(leaf.dtype)), spec)
        return output_spec(self.config, spec)


class _GuardDatasetIterator(grain.DatasetIterator):
    """Iterator of ``GuardIterDataset``; opens no file before the first bad record."""

    def __init__(self, parent: Any, config: GuardConfig, batched: bool | None) -> None:
        iterator = parent.__iter__()
        super().__init__(iterator)
        workers = _private.num_workers(parent)
        self._is_marked = False
        self.stream = GuardStream(
            config,
            iterator,
            batched=batched,
            owned=_private.makes_new_arrays(parent),
            full=bool(batched) and upstream.drops_remainder(parent),
            processes=lambda: _private.processes(self, workers),  # Grain sets them after the iterator is made
            start=lambda: parent.__iter__().get_state(),  # asking the running one first would delay Grain's workers
        )

    def __next__(self) -> Any:
        if not self._is_marked:
            _private.mark_as_output(self)
            self._is_marked = True
        try:
            return next(self.stream)
        except absl_flags.UnparsedFlagAccessError as error:
            raise UsageError(_UNPARSED) from error

    def get_state(self) -> dict[str, Any]:
        return self.stream.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        self.stream.set_state(state)

    def close(self) -> None:
        self.stream.close()
        super().close()

    def __str__(self) -> str:
        return f"GuardDatasetIterator({self.stream.config})"

    def __repr__(self) -> str:
        return f"{self}: {self.stream.summary()}"

    def _repr_html_(self) -> str:
        """A table for notebooks: what the guard does, and the counts so far."""
        return html_table("Guarded batches", [*self.stream.config.described(), *self.stream.summary().rows()])
