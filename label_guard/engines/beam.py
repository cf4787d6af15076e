# pyright: basic
"""The audit as a PTransform on Apache Beam, for a dataset that no machine holds; the same report as the local run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fsspec

from label_guard.audit.report import AuditReport, conclude, from_json
from label_guard.audit.runner import ReadOptions, ShardAudit, Task, audit_shard, base_of, fold_split, plan_tasks
from label_guard.errors import MissingDependencyError
from label_guard.quarantine.options import QuarantineOptions
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.reader import load_schema
from label_guard.sources.open import Source

try:
    import apache_beam as beam
except ImportError as error:
    raise MissingDependencyError.for_extra("apache_beam", "beam") from error


class AuditLabels(beam.PTransform):
    """Audits every shard of a dataset; yields the report as one JSON text.

    The unit of work is a shard. Its statistics are mergeable, so bundles, retries and order do not show.

    Args:
        tasks: the shards, from ``label_guard.audit.runner.plan_tasks``.
        plans: the opened source of each split, from the same.
        schema: the promise.
    """

    def __init__(
        self, schema: DatasetSchema, tasks: Sequence[Task], plans: Sequence[tuple[str | None, Source]]
    ) -> None:
        super().__init__()
        self._schema = schema
        self._tasks = list(tasks)
        self._plans = list(plans)

    def expand(self, input_or_inputs: Any) -> Any:
        """Shards to one report."""
        return (
            input_or_inputs
            | "Shards" >> beam.Create(self._tasks)
            | "Spread" >> beam.Reshuffle()  # without it one worker would fuse and read them all
            | "Audit" >> beam.Map(_audit_task)
            | "Fold" >> beam.CombineGlobally(_Fold(self._schema, self._plans))
        )


def _audit_task(task: Task) -> tuple[str, ShardAudit]:
    return task.split or "", audit_shard(task)


class _Fold(beam.CombineFn):
    """Folds shards into a report: commutative, so any grouping gives the same bytes."""

    def __init__(self, schema: DatasetSchema, plans: Sequence[tuple[str | None, Source]]) -> None:
        super().__init__()
        self._schema = schema
        self._plans = list(plans)

    def create_accumulator(self) -> dict[str, list[ShardAudit]]:
        return {}

    def add_input(self, mutable_accumulator: dict[str, list[ShardAudit]], element: tuple[str, ShardAudit]) -> Any:
        mutable_accumulator.setdefault(element[0], []).append(element[1])
        return mutable_accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[str, list[ShardAudit]]]) -> dict[str, list[ShardAudit]]:
        merged: dict[str, list[ShardAudit]] = {}
        for accumulator in accumulators:
            for split, shards in accumulator.items():
                merged.setdefault(split, []).extend(shards)
        return merged

    def extract_output(self, accumulator: dict[str, list[ShardAudit]]) -> str:
        splits = [
            fold_split(self._schema, split, source, accumulator.get(split or "", []), partial=False, limited=False)
            for split, source in self._plans
        ]
        return json.dumps(conclude(self._schema, splits, shards=None).to_json())


def audit_on_beam(
    schema: DatasetSchema | str | Path,
    options: Sequence[str] = (),
    *,
    source: str | None = None,
    splits: Sequence[str] = (),
    quarantine: QuarantineOptions | None = None,
    keep_bad: bool = False,
    output: str | None = None,
) -> AuditReport:
    """Audit a dataset on Beam and wait for the report.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        options: pipeline options, such as ``["--runner=DirectRunner", "--direct_num_workers=2"]``.
        source: URI in place of the schema's own sources; workers must reach it under the same path.
        splits: splits to audit; all that the schema declares, where empty.
        quarantine: where workers write bad records, each into part files of its own.
        keep_bad: keep which records are bad, for a baseline or an index of good ones.
        output: fsspec URL for the report, which workers and this process reach; a temporary local file for the
            DirectRunner, where None.

    Raises:
        UsageError, SourceError, SchemaError: as ``label_guard.audit.runner.audit``.
    """
    loaded = load_schema(schema)
    options_of = ReadOptions(quarantine=quarantine, keep_bad=keep_bad)
    tasks, plans = plan_tasks(loaded, source, splits, base_of(schema), None, options_of)
    with tempfile.TemporaryDirectory() as folder:
        target = output or str(Path(folder) / "audit.json")
        with beam.Pipeline(argv=list(options)) as pipeline:
            report = pipeline | AuditLabels(loaded, tasks, plans)
            _ = report | beam.Map(_write, target)
        opened: Any = fsspec.open(target, "r", encoding="utf-8")
        with opened as file:
            return from_json(json.load(file))


def _write(text: str, target: str) -> None:
    opened: Any = fsspec.open(target, "w", encoding="utf-8")
    with opened as file:
        file.write(text)
