"""What is refused before an engine is started, and what a pipeline holds; the engines run in ``make test-engines``."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from label_guard import (
    LabelGuardError,
    MissingDependencyError,
    QuarantineOptions,
    UsageError,
    audit_dataset,
)
from label_guard.audit.plan import Folds, fold_items, merge_folds, plan_audit
from label_guard.audit.runner import open_splits, prepare_audit
from label_guard.audit.shard import ReadOptions, ShardAuditor
from label_guard.cli.app import main
from label_guard.engines import beam, ray, spark
from label_guard.engines.options import read_options
from tests.schemas import one_label

SCHEMA = one_label("label", 10)
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
    assert f"{option[0]} cannot be combined with --runner {runner}: " in err
    assert reason in err


def test_a_quarantine_on_the_disk_of_each_worker_is_refused(tmp_path: Path) -> None:
    """A runner on other machines takes a URL; a path there would be lost with the machines."""
    options = ["--runner=DataflowRunner", "--temp_location=gs://bucket/tmp"]
    with pytest.raises(UsageError, match=r"name a URL that all of them reach.* or file:///q"):
        beam.audit_on_beam(SCHEMA, options, source=tables(tmp_path, 1), quarantine=QuarantineOptions("/q"))


@pytest.mark.parametrize(
    ("output", "options", "reason"),
    [
        (None, ["--runner=FlinkRunner"], "workers of FlinkRunner may not have the disk of this machine: pass output="),
        ("a.json", ["--runner=FlinkRunner"], "this machine, and a.json is a path: pass output="),
        (None, ["--runner=DataflowRunner", "--temp_location=/tmp"], "label-guard-audit-.* is a path: pass output="),
        ("ssh://host/a.json", ["--runner=FlinkRunner"], "cannot write the report to ssh://host/a.json: protocol 'ssh'"),
        ("s.csv/a.json", [], "cannot write to s.csv/a.json: .*name another place with --output"),
        (None, ["--temp_location=s.csv"], "cannot write to s.csv/label-guard-audit-.*name another place with --output"),
        (None, ["--direct_num_workers=x"], "Beam does not take .*: argument --direct_num_workers: invalid int value"),
        (None, ["--runner=NoRunner", "--temp_location=memory://x"], "the run on NoRunner failed .*: ValueError: Unexp"),
        ("s.csv", [], "s.csv would overwrite s.csv, which this command reads"),
        ("file:s.yaml/a.json", [], "cannot write to file:s.yaml/a.json: .*name another place with --output"),
        ("none/a.json", [], "cannot write to none/a.json: FileNotFoundError: .*name another place with --output"),
    ],
)
def test_a_report_that_nobody_would_read_is_refused_before_the_run(
    output: str | None, options: list[str], reason: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit 2 and one line that says what to pass; a service that cannot be reached is named."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(YAML)
    Path("s.csv").write_text("label\n1\n")
    command = ["audit", "s.yaml", "--source", "csv:s.csv", "--runner", "beam"]
    command += ["--output", output] if output else []
    with pytest.raises(SystemExit) as ended:
        main([*command, "--", *options])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert re.search(f"^label-guard: error: .*{reason}", err, re.MULTILINE), err


@pytest.mark.parametrize("read", ["s.yaml", "data/s.csv"])
@pytest.mark.parametrize("source", ["csv:data/s.csv", "csv:file://{}/data/s.csv"])
@pytest.mark.parametrize("name", ["{}", "file://{}", "local://{}", "file:///{}", "link"])
def test_no_name_of_an_input_is_emptied_for_the_report(
    name: str,
    source: str,
    read: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A path, a URL of this machine, a link: of the schema and of a source, which may be a URL itself."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("s.yaml").write_text(YAML)
    Path("data/s.csv").write_text("label\n1\n")
    Path("link").symlink_to(read)
    before = Path(read).read_text()
    output = name.format(tmp_path / read)
    command = ["audit", "s.yaml", "--source", source.format(tmp_path), "--runner", "beam", "--output", output]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert (ended.value.code, Path(read).read_text()) == (2, before)
    assert f"{output} would overwrite " in capsys.readouterr().err


def test_no_input_is_emptied_from_python_and_in_a_store(tmp_path: Path) -> None:
    """The same for a program, and for objects."""
    source = "memory://own-input/s.csv"
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/own-input/s.csv", b"label\n1\n")
    with pytest.raises(UsageError, match=r"would overwrite memory://own-input/s\.csv, which this command reads"):
        beam.audit_on_beam(SCHEMA, source=f"csv:{source}", output="memory:///own-input/s.csv")
    assert filesystem.cat_file("/own-input/s.csv") == b"label\n1\n"


@pytest.mark.parametrize("name", ["{}", "file://{}", "local://{}"])
def test_two_outputs_never_go_to_one_place(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However the place is written."""
    (tmp_path / "s.yaml").write_text(YAML)
    output = tmp_path / "a.json"
    command = ["audit", str(tmp_path / "s.yaml"), "--runner", "beam", "--report", f"json={output}"]
    with pytest.raises(SystemExit):
        main([*command, "--output", name.format(output)])
    assert "--report would be written to the same place" in capsys.readouterr().err


def test_the_report_of_an_earlier_run_is_never_read(tmp_path: Path) -> None:
    """A run that fails leaves an empty file where an earlier one wrote its report."""
    labels = tmp_path / "labels.csv"
    labels.write_text("label\n1\n")
    output = tmp_path / "audit.json"
    report = beam.audit_on_beam(SCHEMA, source=f"csv:{labels}", output=str(output))
    assert json.loads(output.read_text()) == report.to_json()
    with pytest.raises(LabelGuardError, match="features that are not labels"):
        beam.audit_on_beam(SCHEMA, source=f"csv:{labels}", output=str(output), duplicates=True)
    assert output.read_text() == ""


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
    folds: list[Folds] = [fold_items(ShardAuditor(plan.jobs), [item])[1] for item in plan.items]
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
    report = pickle.loads(pickle.dumps(plan.without_items())).report(fold_items(ShardAuditor(plan.jobs), plan.items)[1])
    assert report.to_json() == audit_dataset(tmp_path / "s.yaml", source=uri).to_json()
    assert report.schema_place.lines == {"label": 5}
    assert audit_dataset(SCHEMA, source=uri).schema_place is None


@pytest.mark.long
def test_the_slurm_commands_of_the_docs_give_the_report_of_a_local_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the array, run once for each task by a shell, and the merge: the same JSON, and the same code."""
    docs = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()
    block = docs.partition("## Slurm")[2].partition("```console\n")[2].partition("```")[0]
    task, merge = re.fullmatch(r"\$ sbatch --array=0-63 --wrap '(.*)'\n\$ (.*)\n", block, re.DOTALL).groups()  # type: ignore[union-attr]
    monkeypatch.chdir(tmp_path)
    uri = tables(tmp_path / "data", 13)
    (tmp_path / "s.yaml").write_text(f"{YAML}splits:\n  train: {{source: '{uri}'}}\n")
    script = f"""
label-guard() {{ {sys.executable} -m label_guard "$@"; }}
SLURM_CPUS_PER_TASK=1
for SLURM_ARRAY_TASK_ID in 0 1; do {task.replace("/64", "/2")} || exit 3; done
{merge}
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1, done.stderr
    report = audit_dataset("s.yaml")
    assert report.splits[0].invalid == 3
    assert json.loads((tmp_path / "audit.json").read_text()) == report.to_json()
