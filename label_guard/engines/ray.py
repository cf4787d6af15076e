# pyright: basic
"""The audit on Ray: tasks that fold some shards each, and a tree of merges; the same report as the local run."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from label_guard.audit.fold import SplitFold
from label_guard.audit.outputs import refuse_own_disk
from label_guard.audit.plan import AuditPlan, Folds, Item, fold_items, merge_folds, plan_audit
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import AuditOptions, prepare_audit
from label_guard.audit.shard import ShardAuditor
from label_guard.core.documented_options import shows_options
from label_guard.engines.options import read_options
from label_guard.errors import SourceError, UsageError
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.base import framework

__all__ = ["audit_on_ray"]

_TASKS = 4096  # about so many; a task costs the scheduler a millisecond
_IN_FLIGHT = 1024  # tasks submitted at a time
_MERGED = 16  # folds merged by one task
_RETRIES = 3  # of a task whose worker died, by Ray itself


@shows_options(AuditOptions)
def audit_on_ray(
    schema: DatasetSchema | str | Path, options: Sequence[str] = (), **reading: Unpack[AuditOptions]
) -> AuditReport:
    """Audits a dataset on Ray and waits for the report.

    A task whose worker died is run again; a shard that kills each worker is named as not read.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        options: arguments of ``ray.init`` as ``--name=value``, such as ``["--address=auto"]``; values are read as JSON
            where they are JSON. Without them: a running Ray of this process, the cluster of ``RAY_ADDRESS``, or one
            that is started on this machine.
        **reading: see ``label_guard.audit.runner.AuditOptions``.

    Returns:
        The report, the same as that of a local run.

    Raises:
        MissingDependencyError: Ray is not installed.
        UsageError: as ``label_guard.audit.audit_dataset``; or an option is wrong.
        SourceError: a source cannot be opened, or no cluster is reached.
        SchemaError: the schema file is invalid.
    """
    framework("ray", "ray")
    return run_plan(plan_audit(*prepare_audit(schema, reading, "audit_on_ray")), options)


def run_plan(plan: AuditPlan, options: Sequence[str] = ()) -> AuditReport:
    """Returns the report of a planned audit; arguments and errors are those of ``audit_on_ray``."""
    ray = framework("ray", "ray")
    settings = {name: _value(text) for name, text in read_options(options, "ray.init").items()}
    started = not ray.is_initialized()
    if started:
        _start(ray, settings)
    try:
        if len(ray.nodes()) > 1:
            refuse_own_disk(plan.jobs, "Ray")
        return plan.report(_Run(ray, plan).folds())
    finally:
        if started:
            ray.shutdown()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _start(ray: Any, settings: dict[str, Any]) -> None:
    try:
        ray.init(**{"log_to_driver": False, "include_dashboard": False, **settings})
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"ray.init does not take {settings}: {error}") from None
    except OSError as error:
        raise SourceError(f"cannot reach the Ray cluster {settings.get('address', '')}: {error}") from None
    except Exception as error:  # of no class of its own: a part of Ray did not start in time
        raise SourceError(f"Ray does not start: {error}") from None


def _merge(*parts: Folds) -> Folds:
    return reduce(merge_folds, parts, {})


class _Run:
    """One audit: what is to be read, what is being read, and what waits to be merged."""

    def __init__(self, ray: Any, plan: AuditPlan) -> None:
        self._ray = ray
        self._plan = plan
        self._auditor = ray.put(ShardAuditor(plan.jobs))  # once for each machine
        self._fold = ray.remote(num_returns=2, max_retries=_RETRIES)(fold_items)
        self._merge = ray.remote(max_retries=_RETRIES)(_merge)
        size = max(1, -(-len(plan.items) // _TASKS))
        starts = range(0, len(plan.items), size)
        self._waiting = deque(plan.items[start : start + size] for start in starts)
        self._running: dict[Any, tuple[Any, Sequence[Item]]] = {}
        self._found: list[Any] = []

    def folds(self) -> Folds:
        """Reads all items; statistics are merged on the workers, and only the last merge comes to this process."""
        while self._waiting or self._running:
            while self._waiting and len(self._running) < _IN_FLIGHT:
                items = self._waiting.popleft()
                outcome, folds = self._fold.remote(self._auditor, items)
                self._running[outcome] = (folds, items)
            done, _ = self._ray.wait(list(self._running))
            for outcome in done:
                self._found.extend(self._take(outcome, *self._running.pop(outcome)))
                if len(self._found) >= _MERGED:
                    self._found = [self._merge.remote(*self._found)]
        return self._ray.get(self._merge.remote(*self._found))

    def _take(self, outcome: Any, folds: Any, items: Sequence[Item]) -> Iterator[Any]:
        """The folds of a task that has ended. The items of one that failed are read one by one."""
        try:
            error = self._ray.get(outcome)
        except self._ray.exceptions.RayError as lost:
            if len(items) > 1:
                self._waiting.extend((item,) for item in items)
                return
            job, shard = items[0]
            reason = str(lost).strip().splitlines()[0]
            text = f"{shard.name}: Ray could not run it: {type(lost).__name__}: {reason}"
            yield self._ray.put({self._plan.jobs[job].split: SplitFold.unread(shard, text)})
            return
        if error is not None:
            raise error
        yield folds
