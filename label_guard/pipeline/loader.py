"""The guard around any loader: ``tfds.as_numpy(...)``, PyTorch loaders, generators."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, cast

from typing_extensions import Unpack

from label_guard.core import tree
from label_guard.core.documented_options import shows_options
from label_guard.core.html_table import html_table
from label_guard.errors import UsageError
from label_guard.pipeline import saved_state
from label_guard.pipeline.checker import warn_about_policy
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.counts import Summary
from label_guard.pipeline.options import GuardOptions, SchemaLike, resolve_options, shown_type
from label_guard.pipeline.state import STATE_KEY, Form
from label_guard.pipeline.stream import GuardStream
from label_guard.schema.dataset import DatasetSchema

_ENDED = "ended"


class _Counted:
    """An iterable as upstream: its state is how much of it was read, restored by reading that again.

    Args:
        iterable: yields elements.
        feature: path of a feature of the elements, of which each record of a batch has one.

    Attributes:
        in_batches: whether a state is restored by the number of records, so that a loader of batches of another size
            goes on at the same record.
    """

    def __init__(self, iterable: Iterable[Any], feature: str) -> None:
        self._iterable = iterable
        self._feature = feature
        self._iterator: Iterator[Any] | None = None
        self._read = self._rows = 0
        self.in_batches = False

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        element = next(self._iterator)
        self._read += 1
        self._rows += _length(tree.get(element, self._feature))
        return element

    def get_state(self) -> dict[str, int]:
        """The number of elements read, and how long they were."""
        return {"read": self._read, "rows": self._rows}

    def set_state(self, state: dict[str, int]) -> None:
        """Reads and drops elements up to the place of ``state``.

        Raises:
            UsageError: the iterable cannot be started again, ends before that place, or has none such.
        """
        place = saved_state.number({"read": state["read"]}, "read")  # a KeyError where another pipeline made the state
        rows = saved_state.number(state, "rows", inside="parent/") if self.in_batches and "rows" in state else 0
        if place < self._read or self._iterator is None:
            self.restart(
                f"cannot go back to element {place} of an iterator at {self._read}; restore into a new guard over a "
                "fresh iterable"
            )
        while self._rows < rows if rows else self._read < place:
            try:
                next(self)
            except StopIteration:
                raise UsageError(f"the iterable ends at {self._read}, before element {place}") from None
        if rows and self._rows != rows:
            raise UsageError(
                f"{rows} records were read when the state was made, and now no batch ends there: {self._read} of them "
                f"hold {self._rows}; restore over a loader of the same batch size, data and order"
            )

    def __len__(self) -> int:
        return len(cast("Sized", self._iterable))

    def restart(self, refusal: str) -> None:
        """Goes back to the first element; raises ``refusal`` where the iterable can be iterated only once."""
        iterator = iter(self._iterable)
        if iterator is self._iterator:
            raise UsageError(refusal)
        self._iterator, self._read, self._rows = iterator, 0, 0


def _length(value: Any) -> int:
    """Length of a feature; 0 where it has none."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return cast("tuple[int, ...]", shape)[0]
    return len(cast("list[Any]", value)) if isinstance(value, list) else 0


class GuardedBatches:
    """Guarded batches of an iterable, to be iterated as the iterable itself. Made by ``guard_batches``.

    Each ``iter()`` after the first begins another pass over an iterable that can be iterated again; the counts go on.
    ``len()`` is the number of batches of a pass where the iterable has a length; under ``drop`` it is an upper bound.
    """

    def __init__(self, stream: GuardStream, upstream: Any) -> None:
        self.stream = stream
        self._upstream = upstream
        self._pass: _Pass | None = None
        self._begun = False  # a batch of the pass was asked for, so that iter() begins another
        self._ended = False  # the last pass was iterated to its end

    def __iter__(self) -> Iterator[Any]:
        refusal = (
            "guard_batches was given an iterator, which can be iterated only once; give it the loader itself, or call "
            "guard_batches over a new iterator for each epoch"
        )
        if self._begun:
            if not isinstance(self._upstream, _Counted):
                raise UsageError(refusal)
            self._upstream.restart(refusal)
            self.stream.restart()
            self._begun = self._ended = False
        self._pass = _Pass(self)
        return self._pass

    def __next__(self) -> Any:
        try:
            return next(self.stream)
        except StopIteration:
            self._pass, self._begun, self._ended = None, True, True
            raise

    def __len__(self) -> int:
        return self.stream.num_batches(len(self._upstream))

    def next_of(self, current: _Pass) -> Any:
        """The next batch of a pass.

        Raises:
            UsageError: another pass was begun meanwhile.
        """
        if current is not self._pass:
            raise UsageError("another iter() over these guarded batches was begun; the passes share one loader")
        self._begun = True
        try:
            return next(self.stream)
        except StopIteration:
            self._ended = True
            raise

    def __repr__(self) -> str:
        return f"GuardedBatches({self.stream.config}): {self.summary}"

    def _repr_html_(self) -> str:
        """A table for notebooks: what the guard does, and the counts so far."""
        return html_table("Guarded batches", [*self.stream.config.described(), *self.summary.rows()])

    @property
    def summary(self) -> Summary:
        """The counts of records so far."""
        return self.stream.summary()

    def state(self) -> dict[str, Any]:
        """A JSON-able state of constant shape."""
        return {**self.stream.get_state(), _ENDED: int(self._ended)}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on after the last batch delivered before ``state`` was taken; after a whole pass, with the next one.

        An iterable with ``get_state`` and ``set_state`` (Grain's) is set; any other is read up to that place: that
        record of batches, that element of others.

        Raises:
            SchemaChangedError: the state was made under other label rules.
            UsageError: the state is not one of ``guard_batches``, or the iterable cannot get there, or is another one.
        """
        if not isinstance(cast("object", state), Mapping) or STATE_KEY not in state:
            raise UsageError("not a state of guard_batches: it has no key 'label_guard'")
        ended = bool(saved_state.number(state, _ENDED, greatest=1)) if _ENDED in state else False
        own = saved_state.own_part(state)
        if own is not None and isinstance(self._upstream, _Counted):
            saved = Form(own["form"])
            _refuse_other_form(saved, Form.of(self.stream.config.batched))
            self._upstream.in_batches = saved is Form.BATCHES
        self.stream.set_state(state)
        self._pass, self._begun, self._ended = None, ended and isinstance(self._upstream, _Counted), ended

    def close(self) -> None:
        """Closes the quarantine's part file."""
        self.stream.close()


def _refuse_other_form(saved: Form, given: Form) -> None:
    """Refuses to go on over records after as many batches, or over batches after as many records."""
    if Form.UNKNOWN not in (saved, given) and saved is not given:
        before, now = ("batches", "records") if saved is Form.BATCHES else ("records", "batches")
        raise UsageError(
            f"the state counts the {before} that were read, and now the elements are {now} (batched=); restore over a "
            f"loader of the same {before}"
        )


class _Pass:
    """One pass over guarded batches."""

    def __init__(self, batches: GuardedBatches) -> None:
        self._batches = batches
        self.stream = batches.stream

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._batches.next_of(self)


@shows_options(GuardOptions)
def guard_batches(iterable: Iterable[Any], schema: SchemaLike, **options: Unpack[GuardOptions]) -> GuardedBatches:
    """Guards the batches of any loader, or stacks its records into guarded batches of ``batch_size``.

    Args:
        iterable: batches (or records, with ``batch_size=``) as trees of arrays.
        schema: the path of a schema file, a ``DatasetSchema``, or a mapping from label paths to label models.
        **options: see ``label_guard.GuardOptions``.

    Raises:
        UsageError: a choice that cannot work.
        SchemaError: the schema file is invalid.

    >>> import numpy as np
    >>> from label_guard import DatasetSchema
    >>> schema = DatasetSchema(format=1, name="digits", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 10}})
    >>> batches = [{"label": np.array([1, 10])}, {"label": np.array([2, 3])}]
    >>> guarded = guard_batches(batches, schema, on_invalid="mask", stop_above=None)
    >>> [(batch["label"].tolist(), batch["label_valid"].tolist()) for batch in guarded]
    [([1, 0], [True, False]), ([2, 3], [True, True])]
    """
    _check_iterable(iterable)
    if "remainder" not in options and _drops_remainder(iterable, options):
        options["remainder"] = "drop"  # the loader promises full batches
    config = resolve_options(schema, "guard_batches", **options)
    config.refuse_replay(iterable)
    upstream: Any = iterable
    if not (hasattr(iterable, "get_state") and hasattr(iterable, "set_state") and hasattr(iterable, "__next__")):
        upstream = _Counted(iterable, next(iter(config.guard.features)))
    operations: Any = getattr(iterable, "_operations", None)  # of a DataLoader
    own = cast("Sequence[Any]", operations) if isinstance(operations, list | tuple) else ()
    for stage in (iterable, getattr(iterable, "stream", None), *own):
        before: Any = getattr(stage, "config", None)
        if isinstance(before, GuardConfig):
            config.refuse_second_remap(before)
    warn_about_policy(config)
    return GuardedBatches(GuardStream(config, upstream), upstream)


def _drops_remainder(iterable: Any, options: GuardOptions) -> bool:
    """Whether a loader leaves out an incomplete last batch: PyTorch's says so by ``drop_last``, tf.data's by shapes."""
    if options.get("batched") is False:
        return False
    holders = (iterable, getattr(iterable, "batch_sampler", None))
    if any(getattr(holder, "drop_last", False) is True for holder in holders):
        return True
    if "batch_size" in options or not hasattr(iterable, "element_spec"):
        return False  # with batch_size= the elements may be records, whose features may have equal lengths too
    shapes: list[Any] = [getattr(spec, "shape", None) for _, spec in tree.leaves(iterable.element_spec)]
    sizes = {shape[0] if getattr(shape, "rank", None) else None for shape in shapes}
    return len(sizes) == 1 and sizes != {None}


def _check_iterable(iterable: object) -> None:
    """Refuses what can be iterated but yields neither batches nor records, and arguments in the wrong order.

    Raises:
        UsageError: says what to pass.
    """
    wanted = "pass an iterable of batches or records as the first argument and the schema as the second"
    if isinstance(iterable, Mapping):
        keys = list(cast("Mapping[Any, Any]", iterable))[:4]
        raise UsageError(
            f"guard_batches got {shown_type(cast('Any', iterable))} with the keys {keys}; {wanted}: the loader of one "
            "split, or [batch] for a single batch"
        )
    iterates = isinstance(iterable, Iterable) or hasattr(iterable, "__next__") or hasattr(iterable, "__getitem__")
    if not iterates or isinstance(iterable, str | bytes | os.PathLike | DatasetSchema | type):
        raise UsageError(f"guard_batches got {shown_type(cast('Any', iterable))}; {wanted}")
