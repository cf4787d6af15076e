"""Restoring a checkpoint under other options: what goes on, and what is refused with what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from label_guard.core.plural import counted
from label_guard.errors import LabelGuardError, UsageError
from label_guard.pipeline.batching import rows_without
from label_guard.pipeline.checker import ElementChecker, leaving
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.copies import copied
from label_guard.pipeline.counts import Counts
from label_guard.pipeline.state import Form, Spare, Upstream


def form(given_form: Form, state: Mapping[str, Any]) -> Form:
    """Returns the form that is given now, else the one in the state: the next element may be invalid and mislead.

    A form that was given before and is not given now (a Batch was removed) is inferred again.
    """
    if given_form is not Form.UNKNOWN:
        return given_form
    given = state.get("form_given", 0)
    return Form.UNKNOWN if given and not state["pending"] else Form(state["form"])


def set_upstream(upstream: Upstream, state: Any) -> None:
    """Sets the pipeline before the guard.

    Raises:
        UsageError: it cannot be set to a state of another pipeline.
    """
    try:
        upstream.set_state(state)
    except LabelGuardError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            "the pipeline before the guard cannot be set to the checkpoint, which was made by another pipeline "
            f"(other stages, or another number of workers): {type(error).__name__}: {error}"
        ) from error


def refuse_pending(state: Mapping[str, Any], saved: Form, config: GuardConfig) -> None:
    """Refuses a state with records that were read ahead, where they could not be delivered.

    Args:
        state: the guard's part of a checkpoint.
        saved: form of the stage that made it.
        config: options of the stage that takes it.

    Raises:
        UsageError: names their number and what to do.
    """
    pending, policy = state["pending"], config.on_invalid
    if pending and saved is Form.RECORDS:
        raise UsageError(
            f"the checkpoint was made by a guard on batches, which holds {counted(pending, 'record')} of a batch that "
            "it read ahead, and this guard is on records; restore with the pipeline as it was, or restore "
            "label_guard.grain.strip_state(state)"
        )
    if pending and config.remainder == "drop" and not (config.refills or config.mask_all):
        raise UsageError(
            f'the checkpoint holds {counted(pending, "record")} that on_invalid="drop" read ahead, which '
            f'on_invalid="{policy}" can deliver only as a short batch; restore with remainder="short" or "pad"'
        )


def counts(state: Mapping[str, Any] | None, config: GuardConfig) -> Counts:
    """The counts of a state, none without one. Under other label rules the limits begin again."""
    if state is None:
        return Counts()
    found = Counts.from_state(state["counts"])
    if state["digest"] != config.guard.digest:
        found.begin_limits()
    return found


def spare(state: Mapping[str, Any], upstream: Upstream, checker: ElementChecker) -> Spare:
    """Reads the spare batch of a state again, uncounted: its bad rows are in the quarantine already.

    Args:
        state: the guard's part of a checkpoint.
        upstream: the iterator, positioned before the spare batch.
        checker: checks it again.

    Raises:
        UsageError: upstream yields another batch there.
    """
    changed = state["digest"] != checker.config.guard.digest  # other records may be valid now
    set_upstream(upstream, state["spare"])
    batch = copied(next(upstream))
    result = checker.check_again(batch, write=changed)
    rows = rows_without(leaving(result, padding=False), result.num_records)
    rows = rows[rows >= state["spare_from"]]
    size = result.num_records
    if size != state.get("spare_size", size) or (len(rows) != state["pending"] and not changed):
        raise UsageError(
            f"the checkpoint holds {counted(state['pending'], 'record')} of a batch of {state.get('spare_size')}, "
            f"and now upstream yields {len(rows)} of a batch of {size} there; restore with the same batch size, data "
            "and order before the guard"
        )
    return Spare(batch, state["spare"], rows, size)
