"""What is in a checkpoint: the guard's own part of an iterator's state, written, read back and taken out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from label_guard.core.plural import counted
from label_guard.core.types import Rows
from label_guard.errors import SchemaChangedError, UsageError
from label_guard.pipeline.batching import BatchRows
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.counts import Counts, Summary, summary_of

STATE_KEY = "label_guard"
_NO_SPARE = -1


class Form(Enum):
    """What upstream yields: not known yet, single records, or batches. The values are those of a state."""

    UNKNOWN = 0
    RECORDS = 1
    BATCHES = 2

    @classmethod
    def of(cls, batched: bool | None) -> Form:
        """The form that ``batched=`` means."""
        return cls.UNKNOWN if batched is None else cls.BATCHES if batched else cls.RECORDS


class Upstream(Protocol):
    """What a stream pulls from: an iterator with a state that can be read and restored."""

    def __next__(self) -> Any: ...
    def get_state(self) -> Any: ...
    def set_state(self, state: Any) -> None: ...


class Processes(NamedTuple):
    """The place of this process among Grain's workers.

    Attributes:
        worker: index of this worker, 0 in the main process.
        workers: number of workers before or around the guard, 0 where there are none.
        in_worker: whether this process is one of them.
    """

    worker: int = 0
    workers: int = 0
    in_worker: bool = False


@dataclass(frozen=True, slots=True)
class Spare:
    """A batch whose valid rows fill the holes of the batches before it.

    Attributes:
        batch: the batch.
        state: upstream's state before it, from which it can be read again.
        rows: the valid rows that are left.
        size: its number of records.
    """

    batch: Any = None
    state: Any = None
    rows: Rows = field(default_factory=lambda: np.empty(0, np.intp))
    size: int = 0

    @property
    def pending(self) -> int:
        """Number of records that are left to deliver."""
        return len(self.rows)

    def split(self, most: int) -> tuple[BatchRows, Spare]:
        """Takes rows from the spare, in order.

        Returns:
            The rows, at most ``most``, as part of a batch; and the spare without them.
        """
        left = Spare(self.batch, self.state, self.rows[most:], self.size)
        return (self.batch, self.rows[:most], self.size), left


class Snapshot(NamedTuple):
    """Where a stream was before a batch: everything that its state holds. Taken for each batch, so plain and cheap.

    Attributes:
        parent: upstream's state.
        form: what upstream yields.
        size: records of a full batch, 0 while that is not known.
        spare: what is left to fill holes.
        counts: the counts so far.
    """

    parent: Any
    form: Form
    size: int
    spare: Spare
    counts: Counts

    def to_state(self, made_by: MadeBy, refused: int = 0, stop: int = 0) -> dict[str, Any]:
        """A JSON-able state of constant shape.

        Args:
            made_by: the guard.
            refused: number of records that were read since, by a batch that an error ended.
            stop: why a coordinated guard stopped, a ``StopReason``.
        """
        spare, pending = self.spare, self.spare.pending
        return {
            "parent": self.parent,
            STATE_KEY: {
                "version": 1,
                **made_by._asdict(),
                "form": self.form.value,
                "size": self.size,
                "spare": spare.state if pending else self.parent,
                "spare_from": int(spare.rows[0]) if pending else _NO_SPARE,
                "spare_size": spare.size if pending else 0,
                "pending": pending,
                "refused": refused,
                "stop": stop,
                "counts": self.counts.to_state(),
            },
        }


class MadeBy(NamedTuple):
    """The guard that made a state.

    Attributes:
        digest: of the label rules.
        rules: schema, split and view in words, for messages.
        workers: number of Grain worker processes, 0 where there are none.
        in_worker: 1 where the guard is inside them, 0 where it comes after them.
        coordinated: 1 under ``coordinated=True``, else 0.
        form_given: the ``Form`` that the options or the pipeline gave, 0 where the first element decided it.
    """

    digest: str
    rules: str
    workers: int
    in_worker: int
    coordinated: int
    form_given: int

    def refuse_changed(self, state: Mapping[str, Any], *, allow_schema_change: bool) -> None:
        """Refuses a state that this guard cannot go on from.

        Args:
            state: the guard's own part of the state.
            allow_schema_change: whether label rules may differ.

        Raises:
            SchemaChangedError: the state was made under other label rules.
            UsageError: it was made with another number of worker processes, each of which reads a share of its own.
        """
        if state["digest"] != self.digest and not allow_schema_change:
            raise SchemaChangedError(
                f"the checkpoint was made under the label rules of {state.get('rules', 'another schema')} "
                f"({state['digest']}); this guard checks {self.rules} ({self.digest}), so batches would not go on as "
                "they were. Restore with the old rules, or pass allow_schema_change=True"
            )
        workers = state.get("workers", self.workers)
        if workers != self.workers and state["counts"].get("seen"):
            raise UsageError(
                f"the checkpoint was made with {counted(workers, 'worker process')} and this pipeline has "
                f"{self.workers}; each reads a share of its own, so records would be lost or delivered twice. Restore "
                f"with num_workers={workers}"
            )


def made_by(config: GuardConfig, processes: Processes, form_given: Form) -> MadeBy:
    """The guard of this configuration, as a state names it.

    Args:
        config: the resolved options.
        processes: the worker processes of the pipeline.
        form_given: whether elements are records or batches, as the user gave it.
    """
    guard = config.guard
    view = f", view {guard.view}" if guard.view else ""
    rules = f"{guard.schema.name} {guard.schema.version}, split {guard.split}{view}"
    return MadeBy(
        guard.digest,
        rules,
        processes.workers,
        int(processes.in_worker),
        int(config.coordinated),
        form_given.value,
    )


def summary_of_state(state: Mapping[str, Any]) -> Summary:
    """The summary in the guard's own part of a state."""
    counts = Counts.from_state(state["counts"])
    return summary_of(counts, int(state["pending"]), int(state["refused"]), int(state.get("in_worker", 0)))


def guard_states(state: Any) -> Iterator[Mapping[str, Any]]:
    """The guards' own parts of an iterator's state, the outermost first."""
    if isinstance(state, Mapping):
        values = cast("Mapping[str, Any]", state)
        if isinstance(values.get(STATE_KEY), Mapping):
            yield values[STATE_KEY]
            yield from guard_states(values.get("parent"))
            return
        state = list(values.values())
    if isinstance(state, list | tuple):
        for value in cast("list[Any]", state):
            yield from guard_states(value)


def strip_state(state: Any) -> Any:
    """A state for the same pipeline without the guard (with ``.batch`` where the guard stacked records).

    Records read ahead to fill batches (at most one spare batch) are read again.
    """
    if isinstance(state, Mapping):
        values = cast("Mapping[str, Any]", state)
        if isinstance(values.get(STATE_KEY), Mapping):
            own = values[STATE_KEY]
            return strip_state(own["spare"] if own["pending"] else values["parent"])
        return {key: strip_state(value) for key, value in values.items()}
    if isinstance(state, list | tuple):
        stripped = [strip_state(value) for value in cast("list[Any]", state)]
        return stripped if isinstance(state, list) else tuple(stripped)
    return state
