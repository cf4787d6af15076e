"""The guard around any loader: ``tfds.as_numpy(...)``, PyTorch loaders, generators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from typing_extensions import Unpack

from label_guard.errors import UsageError
from label_guard.pipeline.checker import warn_about_policy
from label_guard.pipeline.counts import Summary
from label_guard.pipeline.options import GuardOptions, SchemaLike, resolve_options, shows_options
from label_guard.pipeline.state import STATE_KEY
from label_guard.pipeline.stream import GuardStream


class _Counted:
    """An iterable as upstream: its state is how many elements were read, restored by reading them again."""

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._iterable = iterable
        self._iterator: Iterator[Any] | None = None
        self._read = 0

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        element = next(self._iterator)
        self._read += 1
        return element

    def get_state(self) -> dict[str, int]:
        return {"read": self._read}

    def set_state(self, state: dict[str, int]) -> None:
        if state["read"] < self._read or self._iterator is None:
            if self._iterator is not None and iter(self._iterable) is self._iterator:
                raise UsageError(
                    f"cannot go back to element {state['read']} of a generator at {self._read}; "
                    "restore into a new guard over a fresh iterable"
                )
            self._iterator, self._read = iter(self._iterable), 0
        while self._read < state["read"]:
            try:
                next(self)
            except StopIteration:
                raise UsageError(f"the iterable ends at {self._read}, before element {state['read']}") from None


class GuardedBatches:
    """Guarded batches of an iterable. Made by ``guard_batches``."""

    def __init__(self, stream: GuardStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._stream)

    @property
    def summary(self) -> Summary:
        """What became of every record so far."""
        return self._stream.summary()

    def state(self) -> dict[str, Any]:
        """A JSON-able state of constant shape."""
        return self._stream.get_state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on after the last batch delivered before ``state`` was taken.

        An iterable with ``get_state`` and ``set_state`` (Grain's) is set; any other is read up to that place.

        Raises:
            SchemaChangedError: the state was made under other label rules.
            UsageError: the state is not one of ``guard_batches``, or the iterable cannot get there.
        """
        if STATE_KEY not in state:
            raise UsageError("this is no state of guard_batches")
        self._stream.set_state(state)

    def close(self) -> None:
        """Close the quarantine's part file."""
        self._stream.close()


@shows_options
def guard_batches(iterable: Iterable[Any], schema: SchemaLike, **options: Unpack[GuardOptions]) -> GuardedBatches:
    """Guard the batches of any loader, or stack its records into guarded batches of ``batch_size``.

    Args:
        iterable: batches (or records, with ``batch_size=``) as trees of arrays.
        schema: the path of a schema file, a ``DatasetSchema``, or a mapping from label paths to label models.
        **options: see ``label_guard.GuardOptions``.

    Raises:
        UsageError: a choice that cannot work.
        SchemaError: the schema file is unsound.

    >>> import numpy as np
    >>>     >>> schema = DatasetSchema(format=1, name="digits", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 10}})
    >>> batches = [{"label": np.array([1, 10])}, {"label": np.array([2, 3])}]
    >>> guarded = guard_batches(batches, schema, on_invalid="mask", stop_above=None)
    >>> [(batch["label"].tolist(), batch["label_valid"].tolist()) for batch in guarded]
    [([1, 0], [True, False]), ([2, 3], [True, True])]
    """
    upstream: Any = iterable
    if not (hasattr(iterable, "get_state") and hasattr(iterable, "set_state") and hasattr(iterable, "__next__")):
        upstream = _Counted(iterable)
    plan = resolve_options(schema, "guard_batches", **options)
    warn_about_policy(plan)
    return GuardedBatches(GuardStream(plan, upstream))
