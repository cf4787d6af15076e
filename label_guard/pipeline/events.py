"""What a guard reports to ``on_event=``: plain records for a metrics or alerting system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict

EventKind = Literal["first_invalid", "stopped", "ended"]


class GuardEvent(TypedDict):
    """Something that happened to a guard, as plain data.

    Keys:
        event: ``first_invalid`` (the first bad record of a run), ``stopped`` (an error ends the run) or ``ended`` (the
            stream came to its end).
        dataset: name of the schema.
        split: of the schema.
        message: what a log would say. With ``QuarantineOptions(payload="none")`` it holds no value of a record.
        metrics: ``Summary.as_metrics(prefix="")`` at that moment, of this process and worker; the records of the batch
            at hand are ``pending``.
    """

    event: EventKind
    dataset: str
    split: str
    message: str
    metrics: dict[str, float]


OnEvent = Callable[[GuardEvent], object]


def call_on_event(on_event: OnEvent, event: GuardEvent) -> None:
    """Calls ``on_event`` with ``event``.

    Raises:
        RuntimeError: it raised StopIteration, which within ``next`` would end the stream as if all records were read.
    """
    try:
        on_event(event)
    except StopIteration as error:
        raise RuntimeError(f"on_event raised StopIteration at the event {event['event']!r}") from error
