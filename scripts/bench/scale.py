"""``python -m bench.scale``: how each cost grows with the work, as the slope of log cost over log size.

Exits 1 where a slope, or a cost at the greatest size, is not within its law.
"""

from __future__ import annotations

import argparse
import gc
import json
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from label_guard import DatasetSchema, Guard, QuarantineOptions, audit_dataset
from label_guard.audit.conclude import merge_reports
from label_guard.audit.fold import ShardCounts, SplitFold
from label_guard.audit.plan import plan_audit
from label_guard.audit.runner import open_splits
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.engines import beam
from label_guard.report.audit_text import render_audit
from label_guard.sources.base import Shard


@dataclass(frozen=True, slots=True)
class Law:
    """How a cost may grow.

    Attributes:
        name: what is measured, over what.
        sizes: over three decades or more.
        cost: the cost at one size; a time is the CPU time of one call.
        exponent: the greatest slope of log cost over log size.
        unit: of the cost.
        most: the greatest cost at the greatest size, or None.
    """

    name: str
    sizes: Sequence[int]
    cost: Callable[[int], float]
    exponent: float
    unit: str
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A law as it was measured."""

    name: str
    sizes: list[int]
    costs: list[float]
    unit: str
    slope: float
    exponent: float
    most: float | None

    @property
    def holds(self) -> bool:
        """Whether the slope and the greatest cost are within the law."""
        return self.slope <= self.exponent and (self.most is None or self.costs[-1] <= self.most)


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The slope of log cost over log size: least squares over the upper three decades.

    >>> round(slope([1, 10, 100, 1000], [3.0, 30.0, 300.0, 3000.0]), 6)
    1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0])


def measured(law: Law) -> Found:
    """Measures a law."""
    costs = [float(law.cost(size)) for size in law.sizes]
    return Found(law.name, list(law.sizes), costs, law.unit, slope(law.sizes, costs), law.exponent, law.most)


def cpu(function: Callable[[], Any], rounds: int = 5) -> float:
    """The median CPU seconds of a call, after one that is not counted."""
    function()
    times: list[float] = []
    for _ in range(rounds):
        gc.collect()
        gc.disable()  # it visits all objects that are there, which are not the cost of the call
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
        gc.enable()
    return statistics.median(times)


# What is measured -----------------------------------------------------------------------------------------------------


def schema(classes: int = 10, **label: Any) -> DatasetSchema:
    """A schema of one class_label."""
    fields = {"kind": "class_label", "num_classes": classes, **label}
    fields = fields if "class_ids" not in fields else {**fields, "num_classes": len(fields["class_ids"])}
    return DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": fields}})


def planned(shards: int) -> Any:
    """The plan of an audit of files of which nothing but the listing is known."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.csv").write_text("label\n1\n")
        ((split, source),) = open_splits(schema(), f"csv:{folder}/a.csv")
    files = tuple(Shard(f"s3://b/d/train-{k:08}.csv", f"train-{k:08}.csv", k, size=1000) for k in range(shards))
    source = replace(source, files=files)
    return lambda: plan_audit(schema(), [(split, source)])


def item_bytes(shards: int) -> float:
    """What travels for one shard, with what all have in common."""
    plan = planned(shards)()
    return len(pickle.dumps((plan.jobs, plan.items[0])))


def pipeline_bytes(shards: int) -> float:
    """What a Beam pipeline holds."""
    plan = planned(shards)()
    packed = list(beam._packed(plan.items))  # pyright: ignore[reportPrivateUsage]
    return len(pickle.dumps((packed, plan.jobs, plan.without_items())))


def gapped(classes: int) -> float:
    """Check and statistics of 4,096 records of 100 classes, where ids have gaps."""
    ids = list(range(0, 3 * classes, 3))
    promised = schema(class_ids=ids)
    guard = Guard(promised)
    label = promised.labels["label"]
    values = np.random.default_rng(0).choice(np.array(ids)[:: max(1, classes // 100)], 4096)
    counts = LabelStatistics()

    def batch() -> None:
        columns = guard.gathered({"label": values}, len(values))
        result = guard.check_columns(columns, len(values))
        counts.add(label, columns["label"][0], result.faults, len(values), [""] * len(values))

    return cpu(lambda: [batch() for _ in range(20)]) / 20


def folded(shards: int, classes: int) -> Callable[[], None]:
    """The fold of shards that hold all classes."""
    one = LabelStatistics(records=classes)
    one.class_counts.add(np.arange(classes), np.ones(classes, np.int64))
    one.class_records.add(np.arange(classes), np.ones(classes, np.int64))

    def fold() -> None:
        found = SplitFold()
        for number in range(shards):
            found.merge(SplitFold({"label": one}, [ShardCounts(f"s-{number}", records=classes)]))
        found.labels["label"].class_counts.arrays()

    return fold


def dirty_fold(shards: int) -> float:
    """The fold of shards with an illegal value each."""
    found: list[SplitFold] = []
    for number in range(shards):
        statistics_of = LabelStatistics(records=10)
        statistics_of.illegal_values.add(np.array([11]), np.array([0]), lambda row, n=number: (f"s-{n}", row, "k"))
        statistics_of.end_of_file(f"s-{number}")
        found.append(SplitFold({"label": statistics_of}, [ShardCounts(f"s-{number}", records=10, invalid=1)]))

    def fold() -> None:
        whole = SplitFold()
        for one in found:
            whole.merge(one)

    return cpu(fold, 3)


def tables(folder: str, shards: int) -> str:
    """CSV files with one bad record each."""
    for number in range(shards):
        (Path(folder) / f"s-{number:05}.csv").write_text("label,x\n1,a\n11,b\n")
    return f"csv:{folder}/s-*.csv"


def quarantined(shards: int) -> float:
    """An audit of dirty shards with a quarantine."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as bad:
        uri = tables(folder, shards)
        start = time.process_time()
        audit_dataset(schema(), source=uri, quarantine=QuarantineOptions(bad))
        return time.process_time() - start


def merged(parts: int) -> float:
    """The merge of the reports of parts."""
    with tempfile.TemporaryDirectory() as folder:
        uri = tables(folder, parts)
        reports = [audit_dataset(schema(), source=uri, shards=(k, parts)) for k in range(parts)]
    return cpu(lambda: merge_reports(reports), 3)


def html_bytes(classes: int) -> float:
    """The HTML report of a split in which all classes occur."""
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"label": np.arange(classes)}), f"{folder}/a.parquet")
        report = audit_dataset(schema(classes), source=f"parquet:{folder}/a.parquet")
    return len(render_audit(report, "html"))


# A process of its own: what a command's memory is compared with begins at that of the process that started it.
_PEAK = """
import json, os, subprocess, sys
peak = 0
for command in json.loads(sys.argv[1]):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1), command
    peak = max(peak, usage.ru_maxrss / 1024)
print(peak)
"""


def command_peak(rows: np.ndarray, *options: str) -> float:
    """The greatest resident memory of an audit of ``rows``, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"label": rows}), f"{folder}/a.parquet", row_group_size=100_000)
        (Path(folder) / "s.yaml").write_text(json.dumps(schema().model_dump(mode="json", exclude_unset=True)))
        base = [sys.executable, "-m", "label_guard", "audit", f"{folder}/s.yaml"]
        base += ["--source", f"parquet:{folder}/a.parquet"]
        commands = [[*base, *extra.replace("FOLDER", folder).split()] for extra in options or ("",)]
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, json.dumps(commands)], capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def clean_peak(records: int) -> float:
    """Of clean records."""
    return command_peak(np.arange(records) % 10)


def bad_peak(records: int) -> float:
    """With a baseline written and compared."""
    return command_peak(np.full(records, 11), "--write-baseline FOLDER/b", "--baseline FOLDER/b")


def duplicate_files(shards: int) -> float:
    """The descriptors that ``--duplicates`` needs: audits under the limit of 64, or fails."""
    with tempfile.TemporaryDirectory() as folder:
        uri = tables(folder, shards)
        (Path(folder) / "s.yaml").write_text(json.dumps(schema().model_dump(mode="json", exclude_unset=True)))
        command = [sys.executable, "-m", "label_guard", "audit", f"{folder}/s.yaml", "--source", uri, "--duplicates"]
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
        if done.returncode != 1:
            raise RuntimeError(f"{shards} shards under 64 descriptors: {done.stderr[-300:]}")
    return 64


_CLASSES = (100, 1000, 10_000, 100_000)
LAWS = (
    Law("bytes of one item, over shards", (10, 100, 1000, 10_000, 100_000), item_bytes, 0.01, "B", 5_000),
    Law("bytes of a Beam pipeline, over shards", (1000, 10_000, 100_000, 1_000_000), pipeline_bytes, 1.05, "B", 20e6),
    Law("plan, over shards", (1000, 10_000, 100_000, 1_000_000), lambda n: cpu(planned(n), 3), 1.2, "s", 10),
    Law("check and statistics of a batch, over classes with gaps", _CLASSES, gapped, 0.2, "s"),
    Law(
        "merge of 300 shards, over classes", (100, 1000, 10_000, 100_000), lambda n: cpu(folded(300, n)), 1.1, "s", 0.5
    ),
    Law("merge of shards of 100 classes", (10, 100, 1000, 10_000), lambda n: cpu(folded(n, 100), 3), 1.15, "s"),
    Law("merge of dirty shards", (10, 100, 1000, 10_000), dirty_fold, 1.15, "s"),
    Law("audit with a quarantine, over dirty shards", (3, 30, 300, 3000), quarantined, 1.15, "s"),
    Law("merge of parts", (1, 10, 100, 1000), merged, 1.15, "s"),
    Law("HTML report, over classes", (1000, 10_000, 100_000, 1_000_000), html_bytes, 0.1, "B", 1e6),
    Law(
        "memory, over records",
        (10_000, 100_000, 1_000_000, 10_000_000),
        lambda n: command_peak(np.arange(n) % 10),
        0.05,
        "MB",
    ),
    Law("memory with a baseline, over bad records", (1000, 10_000, 100_000, 1_000_000), bad_peak, 0.15, "MB", 300),
    Law("descriptors of --duplicates, over shards", (2, 20, 200, 2000), duplicate_files, 0.01, ""),
)


def line(found: Found) -> str:
    """A row of the table."""
    costs = ", ".join(f"{cost:.3g}" for cost in found.costs)
    sizes = ", ".join(f"{size:,}" for size in found.sizes)
    most = "" if found.most is None else f", <= {found.most:g} {found.unit}"
    holds = "yes" if found.holds else "**no**"
    return (
        f"| {found.name} | {sizes} | {costs} {found.unit} | {found.slope:.2f} | <= {found.exponent:g}{most} | {holds} |"
    )


def main() -> int:
    """Measures every law, prints a table, writes JSON; 1 where a law does not hold."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--only", default="", help="laws whose name holds this text")
    parser.add_argument("--json", type=Path, default=Path("runs/bench-scale.json"), help="where the figures go")
    options = parser.parse_args()
    print("| what | sizes | costs | slope | law | holds |\n|---|---|---|---|---|---|")
    found: list[Found] = []
    start = time.perf_counter()
    for law in (law for law in LAWS if options.only in law.name):
        found.append(measured(law))
        print(line(found[-1]), flush=True)
    print(f"\n{sum(one.holds for one in found)} of {len(found)} laws hold; {time.perf_counter() - start:.0f} s")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([{**asdict(one), "holds": one.holds} for one in found], indent=1))
    return int(not all(one.holds for one in found))


if __name__ == "__main__":
    sys.exit(main())
