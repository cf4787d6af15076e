# pyright: basic
"""The audit on Spark: partitions that fold their shards, and a tree of merges; the same report as the local run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from label_guard.audit.outputs import refuse_own_disk
from label_guard.audit.plan import AuditPlan, Folds, fold_items, merge_folds, plan_audit
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import AuditOptions, prepare_audit
from label_guard.audit.shard import ShardAuditor
from label_guard.core.documented_options import shows_options
from label_guard.engines.options import read_options
from label_guard.errors import LabelGuardError, SourceError, UsageError
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.base import framework

__all__ = ["audit_on_spark"]

_PARTITIONS = 4096  # at most; the scheduler handles a few thousand tasks well
_DEFAULTS = {
    "spark.app.name": "label-guard audit", "spark.master": "local[*]", "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}  # fmt: skip
_NO_JAVA = "Spark needs Java 17 or later: install it, or set JAVA_HOME to it"


@shows_options(AuditOptions)
def audit_on_spark(
    schema: DatasetSchema | str | Path, options: Sequence[str] = (), **reading: Unpack[AuditOptions]
) -> AuditReport:
    """Audits a dataset on Spark and waits for the report.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file.
        options: Spark properties as ``--name=value``, such as ``["--spark.master=local[2]"]``. In a Spark application
            that runs already they are of no effect where Spark fixes a property when it starts.
        **reading: see ``label_guard.audit.runner.AuditOptions``.

    Returns:
        The report, the same as that of a local run.

    Raises:
        MissingDependencyError: PySpark is not installed.
        UsageError: as ``label_guard.audit.audit_dataset``; or Java is missing.
        SourceError: a source cannot be opened, or Spark gave the run up.
        SchemaError: the schema file is invalid.
    """
    framework("pyspark", "spark")
    return run_plan(plan_audit(*prepare_audit(schema, reading, "audit_on_spark")), options)


def run_plan(plan: AuditPlan, options: Sequence[str] = ()) -> AuditReport:
    """Returns the report of a planned audit; arguments and errors are those of ``audit_on_spark``."""
    context, started = _context(framework("pyspark", "spark"), read_options(options, "Spark"))
    try:
        if not context.master.startswith("local"):
            refuse_own_disk(plan.jobs, f"Spark at {context.master}")
        return plan.report(_folds(context, plan))
    finally:
        if started:
            context.stop()


def _context(pyspark: Any, settings: dict[str, str]) -> tuple[Any, bool]:
    """The running context, or a new one, and whether it is new."""
    running = pyspark.SparkContext._active_spark_context
    if running is not None:
        return running, False
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise UsageError(_NO_JAVA)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = pyspark.SparkConf()  # with what spark-submit was given
    for name, value in _DEFAULTS.items():
        conf.setIfMissing(name, value)
    conf.setAll(list(settings.items()))
    try:
        return pyspark.SparkContext(conf=conf), True
    except Exception as error:  # Py4J raises errors of many kinds
        raise UsageError(f"Spark does not start: {_reason(error)}; {_NO_JAVA}") from None


def _folds(context: Any, plan: AuditPlan) -> Folds:
    if not plan.items:
        return {}
    auditor = context.broadcast(ShardAuditor(plan.jobs))  # once for each machine

    shards = context.parallelize(plan.items, min(len(plan.items), _PARTITIONS))
    try:
        error, folds = shards.mapPartitions(lambda part: [fold_items(auditor.value, part)]).treeReduce(_merge)
    except Exception as lost:  # Py4J raises errors of many kinds
        raise SourceError(f"Spark ended the run before the report was made: {_reason(lost)}") from None
    if error is not None:
        raise error
    return folds


def _merge(
    first: tuple[LabelGuardError | None, Folds], second: tuple[LabelGuardError | None, Folds]
) -> tuple[LabelGuardError | None, Folds]:
    return first[0] or second[0], merge_folds(first[1], second[1])


def _reason(error: Exception) -> str:
    lines = [line.strip(" :") for line in str(error).splitlines() if line.strip(" :")]
    lines = [line for line in lines if not line.startswith("An error occurred while calling")]  # Py4J, of every error
    named = [line for line in lines if "exception" in line.lower() or "error" in line.lower()]
    return f"{type(error).__name__}: {(named or lines or [''])[0][:500]}"
