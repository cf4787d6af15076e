# pyright: basic
"""The audit as a PTransform on Apache Beam, for a dataset that no machine holds; the same report as the local run."""

from __future__ import annotations

import json
import posixpath
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
from typing_extensions import Unpack

from label_guard.audit.conclude import conclude, parse_report
from label_guard.audit.fold import SplitFold
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import AuditOptions, Sources, make_tasks, numbered, prepare_audit
from label_guard.audit.shard import ReadOptions, ShardAuditor, ShardResult
from label_guard.core.documented_options import shows_options
from label_guard.core.files import is_url, require_protocol
from label_guard.errors import LabelGuardError, MissingDependencyError, SourceError, UsageError, unexpected
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.open import Shard

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    raise MissingDependencyError.for_extra("apache_beam", "beam") from error

__all__ = ["AuditLabels", "audit_on_beam"]

# Runners whose workers have the disk of this machine.
_LOCAL_RUNNERS = ("DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner", "FnApiRunner", "PrismRunner")

Folds = dict[str | None, SplitFold]


class AuditLabels(beam.PTransform):
    """Audits every shard of a dataset; yields the report as one JSON text.

    The unit of work is a shard. An element is the number of its split and the shard; what shards have in common is part
    of the pipeline, once. Statistics are mergeable, so bundles, retries and order do not show.

    Args:
        schema: the schema.
        splits: the opened source of each split, from ``label_guard.audit.runner.open_splits``.
        options: how shards are read.
    """

    def __init__(self, schema: DatasetSchema, splits: Sources, options: ReadOptions = ReadOptions()) -> None:
        super().__init__()
        self._schema = schema
        self._splits = list(splits)
        self._options = options

    def expand(self, input_or_inputs: Any) -> Any:
        """Shards to one report."""
        jobs, items = numbered(make_tasks(self._schema, self._splits, self._options))
        folds = (
            input_or_inputs
            | "Shards" >> beam.Create(items)
            | "Spread" >> beam.Reshuffle()  # without it one worker would fuse and read them all
            | "Audit" >> beam.Map(partial(_audit_item, ShardAuditor(jobs)))
            | "Fold" >> beam.CombineGlobally(_Fold())
        )
        return folds | "Report" >> beam.Map(_report, self._schema, self._splits, self._options, len(items))


def _audit_item(auditor: ShardAuditor, item: tuple[int, Shard]) -> tuple[str | None, ShardResult]:
    try:
        found = auditor(item)
    except (UsageError, MissingDependencyError):
        raise
    except LabelGuardError as error:
        found = ShardResult(item[1].name, error=str(error))
    except Exception as error:
        found = ShardResult(item[1].name, error=f"{item[1].name}: {unexpected(error)}")
    return auditor.jobs[item[0]].split, found


class _Fold(beam.CombineFn):
    """Folds shards in place: the cost is that of the classes, not of the shards times the classes."""

    def create_accumulator(self) -> Folds:
        return {}

    def add_input(self, mutable_accumulator: Folds, element: tuple[str | None, ShardResult]) -> Folds:
        mutable_accumulator.setdefault(element[0], SplitFold()).add(element[1])
        return mutable_accumulator

    def merge_accumulators(self, accumulators: Iterable[Folds]) -> Folds:
        merged: Folds = {}
        for accumulator in accumulators:
            for split, fold in accumulator.items():
                merged.setdefault(split, SplitFold()).merge(fold)
        return merged

    def extract_output(self, accumulator: Folds) -> Folds:
        return accumulator


def _report(folds: Folds, schema: DatasetSchema, splits: Sources, options: ReadOptions, shards: int) -> str:
    limited = options.limit is not None or sum(len(fold.shards) for fold in folds.values()) < shards
    reports = [folds.get(split, SplitFold()).report(schema, split, source, limited=limited) for split, source in splits]
    problems = [text for fold in folds.values() for text in fold.problems()]
    return json.dumps(conclude(schema, reports, problems=problems).to_json())


@shows_options(AuditOptions)
def audit_on_beam(
    schema: DatasetSchema | str | Path,
    options: Sequence[str] = (),
    *,
    output: str | None = None,
    **reading: Unpack[AuditOptions],
) -> AuditReport:
    """Audits a dataset on Beam and waits for the report.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        options: pipeline options, such as ``["--runner=DirectRunner", "--direct_num_workers=2"]``.
        output: fsspec URL of a file for the report, which workers write and this process reads. Default: a file in the
            pipeline's ``--temp_location``; with a local runner a temporary file.
        **reading: see ``label_guard.audit.runner.AuditOptions``.

    Returns:
        The report, the same as that of a local run.

    Raises:
        UsageError: as ``label_guard.audit.audit_dataset``; or workers and this process have no place in common.
        SourceError: a source cannot be opened, or the run left no report.
        SchemaError: the schema file is invalid.
    """
    loaded, opened, read_options = prepare_audit(schema, reading, "audit_on_beam")
    with ExitStack() as stack:
        target = output or _common_place(options)
        if target is not None and is_url(target):
            _check_protocol(target)
        if target is None:
            target = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "audit.json")
        with beam.Pipeline(argv=list(options)) as pipeline:
            report = pipeline | AuditLabels(loaded, opened, read_options)
            _ = report | beam.Map(_write, target)
        return parse_report(_read(target))


def _check_protocol(url: str) -> None:
    try:
        require_protocol(url)
    except ValueError as error:
        raise UsageError(f"cannot write the report to {url}: {error}") from None


def _common_place(options: Sequence[str]) -> str | None:
    """A file in the pipeline's temporary location; None for a runner on this machine.

    Raises:
        UsageError: neither.
    """
    known = PipelineOptions(list(options)).get_all_options()
    if known.get("temp_location"):
        return posixpath.join(known["temp_location"], f"label-guard-audit-{uuid.uuid4().hex}.json")
    runner = known.get("runner") or "DirectRunner"
    if runner.rpartition(".")[2] not in _LOCAL_RUNNERS:
        raise UsageError(
            f"workers of {runner} may not have the disk of this machine: pass output= (--output), a URL that they and "
            "this process reach, or the pipeline option --temp_location"
        )
    return None


def _write(text: str, target: str) -> None:
    opened: Any = fsspec.open(target, "w", encoding="utf-8")
    with opened as file:
        file.write(text)


def _read(target: str) -> str:
    try:
        opened: Any = fsspec.open(target, "r", encoding="utf-8")
        with opened as file:
            return file.read()
    except OSError as error:
        raise SourceError(
            f"the run ended, but its report is not at {target} ({error}); pass output= (--output), a URL that workers "
            "and this process reach"
        ) from None
