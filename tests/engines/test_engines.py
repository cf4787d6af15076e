"""What is refused before an engine is started, and what a pipeline holds; the engines run in ``make test-engines``."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from label_guard import DatasetSchema, MissingDependencyError, QuarantineOptions, UsageError, audit_dataset
from label_guard.audit.plan import Folds, fold_items, merge_folds, plan_audit
from label_guard.audit.runner import open_splits, prepare_audit
from label_guard.audit.shard import ReadOptions, ShardAuditor
from label_guard.cli.app import main
from label_guard.engines import beam, ray, spark
from label_guard.engines.options import read_options

SCHEMA = DatasetSchema.model_validate(
    {"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 10}}}
)
YAML = "format: 1\nname: n\nversion: 1.0.0\nlabels:\n  label: {kind: class_label, num_classes: 10}\n"


def tables(folder: Path, count: int) -> str:
    """CSV files, the URI of all of them."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"part-{number:05}.csv").write_text(f"label\n1\n{number}\n")
    return f"csv:{folder}/part-*.csv"


@pytest.mark.parametrize(
    ("module", "name", "audit"), [("ray", "ray", ray.audit_on_ray), ("pyspark", "spark", spark.audit_on_spark)]
)
def test_a_missing_engine_is_named_with_its_extra(
    module: str,
    name: str,
    audit: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From Python and from the command line, which exits 2."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf'pip install "label-guard\[{name}\]"'):
        audit(SCHEMA, source=tables(tmp_path / "data", 1))  # type: ignore[operator]
    (tmp_path / "s.yaml").write_text(YAML)
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(tmp_path / "s.yaml"), "--source", tables(tmp_path / "data", 1), "--runner", name])
    assert ended.value.code == 2
    assert f'pip install "label-guard[{name}]"' in capsys.readouterr().err


REFUSED = [
    (runner, option, reason)
    for runner in ("beam", "ray", "spark")
    for option, reason in (
        (["--shards", "0/2"], "the engine hands out the files"),
        (["--workers", "2"], "how many workers"),
        (["--label-cache", "c.zip"], "one file, which one machine writes"),
        (["--duplicates"], "pass --runner beam, or --runner local"),
    )
    if (runner, option) != ("beam", ["--duplicates"])
]


@pytest.mark.parametrize(("runner", "option", "reason"), REFUSED)
def test_what_an_engine_cannot_do_is_refused_with_the_reason(
    runner: str, option: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read: the schema's source is not there."""
    (tmp_path / "s.yaml").write_text(YAML)
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(tmp_path / "s.yaml"), "--source", "csv:nowhere.csv", "--runner", runner, *option])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert f"{option[0]}: not with --runner {runner}: " in err
    assert reason in err


def test_a_quarantine_on_the_disk_of_each_worker_is_refused(tmp_path: Path) -> None:
    """A runner on other machines takes a URL; a path there would be lost with the machines."""
    options = ["--runner=DataflowRunner", "--temp_location=gs://bucket/tmp"]
    with pytest.raises(UsageError, match=r"name a URL that all of them reach.* or file:///q"):
        beam.audit_on_beam(SCHEMA, options, source=tables(tmp_path, 1), quarantine=QuarantineOptions("/q"))


def test_options_of_an_engine() -> None:
    """Names and values; anything else is refused with the right form."""
    assert read_options(["--a=1", "--spark.x=a=b"], "Spark") == {"a": "1", "spark.x": "a=b"}
    for wrong in ("--a", "a=1", "--=1"):
        with pytest.raises(UsageError, match="write --name=value"):
            read_options([wrong], "Spark")


def test_a_pipeline_holds_little_of_each_file(tmp_path: Path) -> None:
    """2,000 files make a Beam pipeline below 100 KB, and come back out of it as they were."""
    plan = plan_audit(SCHEMA, open_splits(SCHEMA, tables(tmp_path, 2000)))
    packed = list(beam._packed(plan.items))  # pyright: ignore[reportPrivateUsage]
    assert len(pickle.dumps((packed, plan.jobs, plan.without_items()))) < 100_000
    assert [item for block in packed for item in beam._unpacked(*block)] == list(enumerate(plan.items))  # pyright: ignore[reportPrivateUsage]


def test_any_tree_of_merges_gives_the_report_of_a_local_run(tmp_path: Path) -> None:
    """Folds of one item each, merged pairwise or in a row: one report."""
    uri = tables(tmp_path, 7)
    plan = plan_audit(SCHEMA, open_splits(SCHEMA, uri), ReadOptions(keep_bad=True))
    folds: list[Folds] = [fold_items(ShardAuditor(plan.jobs), [item]) for item in plan.items]
    local = audit_dataset(SCHEMA, source=uri, keep_bad=True).to_json()
    row: Folds = {}
    for fold in pickle.loads(pickle.dumps(folds)):
        merge_folds(row, fold)
    assert plan.report(row).to_json() == local
    while len(folds) > 1:
        folds = [merge_folds(folds[-1], folds[0]), *folds[1:-1]]
    assert plan.report(folds[0]).to_json() == local


def test_a_plan_from_a_schema_file_names_its_place(tmp_path: Path) -> None:
    """Engines that are given a schema file name the same lines of it as a local run; one made in Python has none."""
    uri = tables(tmp_path, 3)
    (tmp_path / "s.yaml").write_text(YAML)
    plan = plan_audit(*prepare_audit(tmp_path / "s.yaml", {"source": uri}, "audit_on_ray"))
    report = pickle.loads(pickle.dumps(plan.without_items())).report(fold_items(ShardAuditor(plan.jobs), plan.items))
    assert report.to_json() == audit_dataset(tmp_path / "s.yaml", source=uri).to_json()
    assert report.schema_place.lines == {"label": 5}
    assert audit_dataset(SCHEMA, source=uri).schema_place is None
