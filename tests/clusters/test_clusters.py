"""Local clusters of Ray, Dask, Spark and Beam, in an environment of their own: ``make test-engines``."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import deaths
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_guard import DatasetSchema, QuarantineOptions, audit_dataset, read_quarantine
from label_guard.audit.report import AuditReport
from label_guard.errors import SourceError, UsageError

SHARDS = 12
SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "n",
        "version": "1.0.0",
        "labels": {"label": {"kind": "class_label", "num_classes": 10}},
        "splits": {"train": {"num_examples": 100 * SHARDS}},
    }
)
Run = Callable[..., AuditReport]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shards of 100 records, two of them invalid; one of the files is damaged."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(SHARDS):
        labels = rng.integers(0, 10, 100)
        labels[[3, 50]] = [10 + number, -1]
        pq.write_table(pa.table({"label": labels}), folder / f"train-{number:02}.parquet")
    (folder / "train-07.parquet").write_bytes(b"PAR1 damaged PAR1")
    return f"parquet:{folder}/train-*.parquet"


@contextmanager
def on_ray() -> Iterator[Run]:
    """Two processes of a Ray on this machine."""
    import ray as framework

    from label_guard.engines import ray

    # Its sockets are in that folder, and the name of a socket has 107 characters at most.
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "ShardAuditor", deaths.MortalAuditor)
        for left in (2, 1, 0):  # on a machine with other load a part of it may not start within its own 30 s
            try:
                framework.init(
                    num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False,
                    _temp_dir=folder,
                )  # fmt: skip
                break
            except Exception:
                framework.shutdown()
                if not left:
                    raise
        try:
            yield partial(ray.audit_on_ray, SCHEMA)
        finally:
            framework.shutdown()


@contextmanager
def on_spark() -> Iterator[Run]:
    """Two processes of a Spark on this machine, which tries a task four times."""
    from label_guard.engines import spark

    assert shutil.which("java"), "Spark needs Java 17 or later, which is not on this machine: install it"
    settings = ["--spark.master=local[2,4]", "--spark.driver.host=127.0.0.1", "--spark.driver.memory=512m"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark, "ShardAuditor", deaths.MortalAuditor)
        yield partial(spark.audit_on_spark, SCHEMA, settings)


@contextmanager
def on_dask() -> Iterator[Run]:
    """Two processes of Dask on this machine."""
    from dask.distributed import Client, LocalCluster

    from label_guard.audit import runner

    with (
        pytest.MonkeyPatch.context() as patch,
        TemporaryDirectory(prefix="dask-") as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0, local_directory=folder
        ) as cluster,
        Client(cluster) as client,
    ):
        patch.setattr(runner, "ShardAuditor", deaths.MortalAuditor)
        yield lambda **options: audit_dataset(SCHEMA, executor=client.get_executor(), **options)


ENGINES = {"ray": on_ray, "spark": on_spark, "dask": on_dask}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, lives: Path) -> Iterator[tuple[str, Run]]:
    """The name of an engine, and an audit on it."""
    with ENGINES[request.param]() as run:
        yield request.param, run


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that says which shards kill their worker."""
    folder = tmp_path_factory.mktemp("lives")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(deaths.LIVES, str(folder))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("RAY_gcs_server_port_wait_time_s", "120")
        yield folder


def entries(folder: Path) -> Counter[str | None]:
    """How often a reader sees each record of a quarantine."""
    return Counter(entry.record for entry in read_quarantine(str(folder)).entries)


def test_the_report_is_that_of_a_local_run_though_workers_die(
    engine: tuple[str, Run], data: str, lives: Path, tmp_path: Path
) -> None:
    """Two workers die after they wrote invalid records: the same bytes, and each record once in the quarantine."""
    quarantine = tmp_path / "quarantine"
    for number in (2, 9):
        (lives / f"train-{number:02}.parquet").touch()
    found = engine[1](source=data, quarantine=QuarantineOptions(str(quarantine)), keep_bad=True)
    assert not list(lives.iterdir())
    here = audit_dataset(SCHEMA, source=data, quarantine=QuarantineOptions(str(tmp_path / "here")), keep_bad=True)
    assert json.dumps(found.to_json()) == json.dumps(here.to_json())
    assert (found.splits[0].invalid, found.exit_code) == (2 * (SHARDS - 1), 2)
    assert entries(quarantine) == entries(tmp_path / "here")
    assert set(entries(quarantine).values()) == {1}


def test_a_shard_that_kills_each_worker_is_never_passed_over(engine: tuple[str, Run], data: str, lives: Path) -> None:
    """It is named as not read. Spark gives the whole run up, and the error says why."""
    name, run = engine
    life = lives / "always-train-04.parquet"
    life.touch()
    try:
        if name == "spark":
            with pytest.raises(SourceError, match=r"ended the run before .*: .*Python worker exited unexpectedly"):
                run(source=data)
            return
        report = run(source=data)
    finally:
        life.unlink()
    faults = {shard.name: shard.error for shard in report.splits[0].shards if shard.error}
    assert set(faults) == {"train-04.parquet", "train-07.parquet"}
    assert (report.exit_code, report.complete) == (2, False)
    assert report.splits[0].records == 100 * (SHARDS - 2)


def test_spark_without_java_says_so(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    from pyspark import SparkContext

    from label_guard.engines import spark

    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UsageError, match="Spark needs Java 17 or later"):
        spark.audit_on_spark(SCHEMA, source=data)
