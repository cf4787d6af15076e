# pyright: basic
"""The audit as a PTransform on Apache Beam, for a dataset that no machine holds; the same report as the local run."""

from __future__ import annotations

import io
import json
import posixpath
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from label_guard.audit.conclude import parse_report, with_duplicates
from label_guard.audit.content import refuse_incomparable
from label_guard.audit.duplicates import Duplicates
from label_guard.audit.outputs import refuse_inputs, refuse_own_disk
from label_guard.audit.plan import AuditPlan, Folds, Item, NumberedItem, audit_item, merge_folds, plan_audit
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import AuditOptions, prepare_audit
from label_guard.audit.shard import ShardAuditor
from label_guard.core.documented_options import shows_options
from label_guard.core.files import filesystem_of, is_url, require_protocol
from label_guard.errors import LabelGuardError, MissingDependencyError, SourceError, UsageError
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.base import FilePart, Shard

try:
    import apache_beam as beam
    from apache_beam.metrics.metric import Metrics
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.pvalue import AsSingleton

    from label_guard.engines.beam_duplicates import FindDuplicates, Merging
except ImportError as error:
    raise MissingDependencyError.for_extra("apache_beam", "beam") from error

__all__ = ["AuditLabels", "audit_on_beam"]

# Runners whose workers have the disk of this machine.
_LOCAL_RUNNERS = ("DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner", "FnApiRunner", "PrismRunner")
# Items are packed together in so many blocks at most: names of files are alike, and a pipeline has at most 10 to 20 MB.
# Not in fewer: a runner that does not spread elements again (Dask) keeps the items of a block on one worker.
_BLOCKS = 512
_FANOUT = 16  # statistics merged by one worker before the last one has them


@shows_options(AuditOptions)
class AuditLabels(beam.PTransform):
    """Audits every shard of a dataset; yields the report as one JSON text.

    The unit of work is a file or a part of a large one. An element is the number of its split and the shard; what
    shards have in common is in the pipeline once. Statistics are mergeable, so bundles, retries and order do not show.
    Counts records, invalid and unreadable ones, files and those with a fault as Beam metrics of the namespace
    ``label_guard``.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        duplicates: look for records of the same content as well, which reads whole records and groups their digests.
        **reading: see ``label_guard.audit.runner.AuditOptions``.

    Raises:
        UsageError: as ``label_guard.audit.audit_dataset``.
    """

    def __init__(
        self, schema: DatasetSchema | str | Path, *, duplicates: bool = False, **reading: Unpack[AuditOptions]
    ) -> None:
        super().__init__()
        self._plan = plan_audit(*prepare_audit(schema, reading, "AuditLabels"))
        self._duplicates = duplicates

    def expand(self, input_or_inputs: Any) -> Any:
        """Shards to one report."""
        return _audited(input_or_inputs, self._plan, duplicates=self._duplicates)


def _audited(start: Any, plan: AuditPlan, *, duplicates: bool) -> Any:
    if duplicates:
        refuse_incomparable(plan)
    items = (
        start
        | "Shards" >> beam.Create(list(_packed(plan.items)))
        | "Unpack" >> beam.FlatMapTuple(_unpacked)
        | "Spread" >> beam.Reshuffle()  # without it one worker would fuse and read them all
    )
    folds = (
        items
        | "Audit" >> beam.Map(partial(_audit, ShardAuditor(plan.jobs)))
        # In place: the cost is that of the classes, not of the shards times the classes.
        | "Fold" >> beam.CombineGlobally(Merging(dict, merge_folds)).with_fanout(_FANOUT)
    )
    plan = plan.without_items()
    found = {"duplicates": AsSingleton(items | FindDuplicates(plan.jobs))} if duplicates else {}
    return folds | "Report" >> beam.Map(_report, plan, **found)


def _packed(items: Sequence[Item]) -> Iterator[tuple[int, bytes]]:
    """Blocks of items, each with the number of its first one."""
    size = max(1, -(-len(items) // _BLOCKS))
    for start in range(0, len(items), size):
        block = [
            (job, shard.path, shard.name, shard.index, shard.expected_records, shard.size, shard.part)
            for job, shard in items[start : start + size]
        ]
        yield start, zlib.compress(json.dumps(block).encode())


def _unpacked(start: int, data: bytes) -> Iterator[NumberedItem]:
    for number, (job, path, name, index, expected, size, part) in enumerate(json.loads(zlib.decompress(data)), start):
        yield number, (job, Shard(path, name, index, expected, size, FilePart(*part) if part else None))


def _audit(auditor: ShardAuditor, numbered: NumberedItem) -> Folds:
    folds = audit_item(auditor, numbered[1])
    (found,) = folds.values()
    (shard,) = found.shards
    counts = {
        "records": shard.records, "invalid": shard.invalid, "unreadable": shard.unreadable, "shards": 1,
        "shards_with_faults": int(bool(shard.error)),
    }  # fmt: skip
    for name, count in counts.items():
        Metrics.counter("label_guard", name).inc(count)
    return folds


def _report(folds: Folds, plan: AuditPlan, duplicates: Duplicates | None = None) -> str:
    report = plan.report(folds)
    return json.dumps((report if duplicates is None else with_duplicates(report, duplicates)).to_json())


@shows_options(AuditOptions)
def audit_on_beam(
    schema: DatasetSchema | str | Path,
    options: Sequence[str] = (),
    *,
    output: str | None = None,
    duplicates: bool = False,
    **reading: Unpack[AuditOptions],
) -> AuditReport:
    """Audits a dataset on Beam and waits for the report.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        options: pipeline options, such as ``["--runner=DirectRunner", "--direct_num_workers=2"]``.
        output: fsspec URL of a file for the report, which workers write and this process reads. Default: a file in the
            pipeline's ``--temp_location``; with a local runner a temporary file.
        duplicates: look for records of the same content as well, which reads whole records and groups their digests.
        **reading: see ``label_guard.audit.runner.AuditOptions``.

    Returns:
        The report, the same as that of a local run.

    Raises:
        UsageError: as ``label_guard.audit.audit_dataset``; or workers and this process have no place in common,
            or ``output`` is a file that is read.
        SourceError: a source cannot be opened, the run failed, or it left no report.
        SchemaError: the schema file is invalid.
    """
    prepared = prepare_audit(schema, reading, "audit_on_beam")
    if output is not None:
        inputs = [] if isinstance(schema, DatasetSchema) else [str(schema)]
        refuse_inputs([output], inputs, prepared[1])
    return run_plan(plan_audit(*prepared), options, output=output, duplicates=duplicates)


def run_plan(
    plan: AuditPlan, options: Sequence[str] = (), *, output: str | None = None, duplicates: bool = False
) -> AuditReport:
    """Runs a planned audit on Beam; errors are those of ``audit_on_beam``.

    Args:
        plan: from ``plan_audit``.
        options: pipeline options, as on a command line.
        output: file or URL that all workers can write; None takes the runner's ``temp_location``.
        duplicates: whether to look for records of the same content.
    """
    known = _parsed(options)
    runner = str(known.get("runner") or "DirectRunner").rpartition(".")[2]
    local = runner in _LOCAL_RUNNERS
    if not local:
        refuse_own_disk(plan.jobs, runner)
    with ExitStack() as stack:
        target, folder = output, known.get("temp_location")
        if target is None and folder:
            target = posixpath.join(folder, f"label-guard-audit-{uuid.uuid4().hex}.json")
        if target is None and local:
            target = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "audit.json")
        target = _require_common(target, runner, local=local)
        _empty(target)
        try:
            with beam.Pipeline(argv=list(options)) as pipeline:
                _ = _audited(pipeline, plan, duplicates=duplicates) | beam.Map(_write, target)
        except LabelGuardError:
            raise
        except Exception as error:  # a runner raises what it likes for a worker that it lost
            reason = _last_line(error)
            if local and "[while running " not in reason:  # Beam's mark of what was raised in a worker
                reason += "; a worker may have died, and this runner does not run its work again"
            raise SourceError(f"the run on {runner} failed before the report was made: {reason}") from error
        return parse_report(_read(target))


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason was given; a service may not have answered in time"]
    return f"{type(error).__name__}: {lines[-1][:500]}"


def _parsed(options: Sequence[str]) -> dict[str, Any]:
    """The pipeline options by name.

    Raises:
        UsageError: a value is of the wrong kind, for which Beam's parser ends the process.
    """
    shown = io.StringIO()
    try:
        with redirect_stderr(shown):
            return PipelineOptions(list(options)).get_all_options()
    except SystemExit:
        reason = shown.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(f"Beam does not take the options {' '.join(options)}: {reason}") from None


def _require_common(target: str | None, runner: str, *, local: bool) -> str:
    """The file that workers write and this process reads.

    Raises:
        UsageError: workers have other disks, and ``target`` is not a URL; or a URL that is not allowed.
    """
    if target is None or not (local or is_url(target)):
        path = f", and {target} is a path" if target else ""
        raise UsageError(
            f"workers of {runner} may not have the disk of this machine{path}: pass output= (--output), a URL that "
            "they and this process reach, or the pipeline option --temp_location"
        )
    try:
        if is_url(target):
            require_protocol(target)
    except ValueError as error:
        raise UsageError(f"cannot write the report to {target}: {error}") from None
    return target


def _empty(target: str) -> None:
    """Makes ``target`` an empty file: a report of an earlier run is never read, and a wrong place is found before.

    Raises:
        SourceError: it cannot be written.
    """
    try:
        _write("", target)
    except Exception as error:  # an fsspec backend may raise anything
        raise SourceError(f"cannot write to {target}: {_last_line(error)}; name another place with --output") from None


def _write(text: str, target: str) -> None:
    with _opened(target, "w") as file:
        file.write(text)


def _opened(target: str, mode: str) -> Any:
    """Opens the file of the report as it was named; neither a folder nor a bucket of a misspelt name is made."""
    if not is_url(target):
        return Path(target).open(mode, encoding="utf-8")
    filesystem, name = filesystem_of(target)
    return filesystem.open(name, mode, encoding="utf-8")


def _read(target: str) -> str:
    why = ""
    try:
        with _opened(target, "r") as file:
            text = file.read()
    except OSError as error:
        text, why = "", f" ({error})"
    if not text:
        raise SourceError(
            f"the run ended, but its report is not at {target}{why}; pass output= (--output), a URL that workers and "
            "this process reach"
        )
    return text
