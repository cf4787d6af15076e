"""Records of the same content: under two labels, in two splits, within a split."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from label_guard import DatasetSchema, UsageError
from label_guard.audit import duplicate_search, duplicates
from label_guard.audit.conclude import parse_report, with_duplicates
from label_guard.audit.plan import plan_audit
from label_guard.audit.runner import audit_dataset, open_splits
from label_guard.audit.workers import AuditControl
from label_guard.cli import app as cli
from label_guard.report.audit_text import render_audit

Record = tuple[int, int, int]  # split, content, label
RECORDS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=30)


def schema_of(folder: Path, style: str = "parquet") -> DatasetSchema:
    """A schema of one label and two splits, of which each has the files that begin with its name."""
    label = {"kind": "class_label", "num_classes": 3}
    splits = {name: {"source": f"{style}:{folder}/{name}-*.{style}"} for name in ("train", "test")}
    fields = {"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": label}, "splits": splits}
    return DatasetSchema.model_validate(fields)


def write(folder: Path, records: list[Record], style: str = "parquet") -> dict[str, Record]:
    """Two files a split; the records by the name that the audit has for them."""
    found: dict[str, Record] = {}
    for split, name in enumerate(("train", "test")):
        mine = [record for record in records if record[0] == split]
        for shard in range(2):
            rows = mine[shard::2]
            texts, labels = [f"text {content}" for _, content, _ in rows], [label for *_, label in rows]
            path = folder / f"{name}-{shard}.{style}"
            if style == "parquet":
                columns = {"label": pa.array(labels, pa.int64()), "text": pa.array(texts, pa.string())}
                pq.write_table(pa.table(columns), path)
            else:
                lines = [json.dumps({"text": t, "label": k}) + "\n" for t, k in zip(texts, labels, strict=True)]
                path.write_text("".join(lines))
            found |= {f"{path.name}__{row}": record for row, record in enumerate(rows)}
    return found


def oracle(named: dict[str, Record]) -> dict[str, list[set[str]]]:
    """The groups by what is wrong with them, slow and obvious."""
    groups: dict[int, set[str]] = defaultdict(set)
    for name, (_, content, _) in named.items():
        groups[content].add(name)
    found: dict[str, list[set[str]]] = {"conflicting": [], "shared": [], "repeated": []}
    for names in groups.values():
        conflicting = len({named[name][2] for name in names}) > 1
        shared = len({named[name][0] for name in names}) > 1
        for kind, holds in (("conflicting", conflicting), ("shared", shared)):
            if holds:
                found[kind].append(names)
        if len(names) > 1 and not conflicting and not shared:
            found["repeated"].append(names)
    return found


@given(records=RECORDS, run_rows=st.integers(1, 40))
@settings(max_examples=80)
def test_every_group_is_found_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], run_rows: int
) -> None:
    """Counts and examples are those of a dictionary over all contents, whatever fits into memory at a time."""
    folder = tmp_path_factory.mktemp("duplicates")
    expected = oracle(write(folder, records))
    schema = schema_of(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicate_search, "_RUN_ROWS", run_rows)
        found = duplicate_search.find_duplicates(plan_audit(schema, open_splits(schema)))
    for kind, groups in expected.items():
        reported: duplicates.Groups = getattr(found, kind)
        assert reported.groups == len(groups), kind
        assert reported.records == sum(map(len, groups))
        assert len(reported.examples) == min(len(groups), duplicates.MAX_EXAMPLES)
        for example in reported.examples:
            assert any({member.record for member in example} <= names for names in groups)


@pytest.mark.parametrize(
    ("style", "workers"),
    [("parquet", 0), ("jsonl", 0), ("jsonl", 3), pytest.param("parquet", 3, marks=pytest.mark.long)],
)
def test_planted_duplicates_are_named_alike_by_any_number_of_workers(tmp_path: Path, style: str, workers: int) -> None:
    """The report names the planted records with their labels, byte for byte the same in one process and in four."""
    records = [(0, k, k % 3) for k in range(20)] + [(1, k, k % 3) for k in range(20, 30)]
    records += [(0, 4, 2), (1, 7, 1), (0, 11, 2)]
    named = write(tmp_path, records, style)
    report = audit_dataset(schema_of(tmp_path, style), workers=workers, duplicates=True)
    assert report.duplicates is not None
    conflicting, shared, repeated = (getattr(report.duplicates, n) for n in ("conflicting", "shared", "repeated"))
    assert [(g.groups, g.records) for g in (conflicting, shared, repeated)] == [(1, 2), (1, 2), (1, 2)]
    assert {named[member.record][1] for member in conflicting.examples[0]} == {4}
    assert {member.labels for member in conflicting.examples[0]} == {"label: 1", "label: 2"}
    assert [finding.rule for finding in report.findings if finding.rule in ("LG406", "LG407")] == ["LG406", "LG407"]
    text = render_audit(report, "json")
    assert text == render_audit(audit_dataset(schema_of(tmp_path, style), duplicates=True), "json")
    again = parse_report(text)
    assert render_audit(again, "text") == render_audit(report, "text")
    assert "repeated within a split under one label: 2 records in 1 group" in render_audit(report, "text")


def test_the_order_of_features_does_not_matter(tmp_path: Path) -> None:
    """Content is what a record holds, not how its writer ordered it."""
    for name, lines in (
        ("train", ['{"a": 1, "b": [2], "label": 0}']),
        ("test", ['{"label": 1, "b": [2], "a": 1}', '{"a": 1.0, "b": [2], "label": 0}']),
    ):
        (tmp_path / f"{name}-0.jsonl").write_text("\n".join(lines))
    report = audit_dataset(schema_of(tmp_path, "jsonl"), duplicates=True)
    assert report.duplicates is not None
    assert (report.duplicates.conflicting.groups, report.duplicates.conflicting.records) == (1, 2)


def test_pictures_in_arrays_are_compared(tmp_path: Path) -> None:
    """Of NumPy archives the arrays next to the label are the content, compared by their bytes."""
    images = np.random.default_rng(0).integers(0, 255, (6, 4, 4), dtype=np.uint8)
    images[5] = images[1]
    np.savez(tmp_path / "train-0.npz", image=images, label=np.arange(6) % 3)
    report = audit_dataset(schema_of(tmp_path, "npz"), duplicates=True, splits=["train"])
    assert report.duplicates is not None
    assert {m.record for m in report.duplicates.conflicting.examples[0]} == {"1", "5"}


@pytest.mark.parametrize(
    ("source", "reported"),
    [
        ("csv:{folder}/a.csv", "are not labels"),
        ("python:plain_records:records", "is a function"),
        ("npy:{folder}/a.npy", "are not labels"),
        ("masks:{folder}/masks", "are not labels"),
        ("folder:{folder}/classes", "are not labels"),
    ],
)
def test_what_has_no_content_is_refused(tmp_path: Path, source: str, reported: str) -> None:
    """Labels alone, and functions, cannot be compared; that is said instead of finding nothing."""
    (tmp_path / "a.csv").write_text("label\n1\n")
    (tmp_path / "plain_records.py").write_text("def records(split):\n    yield {'label': 1}\n")
    np.save(tmp_path / "a.npy", np.arange(3))
    for file in ("masks/a.png", "classes/cat/1.jpg"):
        (tmp_path / file).parent.mkdir(parents=True)
        Image.new("L", (2, 2)).save(tmp_path / file)
    schema = schema_of(tmp_path)
    if not source.startswith(("csv", "python")):  # the one label may be called as one likes
        schema = schema.model_copy(update={"labels": {"kind": schema.labels["label"]}})
    uri = source.format(folder=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(UsageError, match=reported):
            audit_dataset(schema, source=uri, splits=["train"], duplicates=True)
    with pytest.raises(UsageError, match="among all records"):
        audit_dataset(schema, source=uri, splits=["train"], duplicates=True, limit=1)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files are gone after a run, and after one on a full disk, whose report names what was not compared."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    write(tmp_path, [(0, k, 0) for k in range(3000)] + [(1, 1, 0)])
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    audit_dataset(schema_of(tmp_path), duplicates=True)
    assert list(scratch.iterdir()) == []
    (tmp_path / "s.yaml").write_text(
        "format: 1\nname: n\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 3}}\n"
    )
    limited = f"""
import resource, sys
from label_guard.cli.app import main
import label_guard.audit.runner, label_guard.audit.duplicate_search, pyarrow.parquet
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
main(["audit", "s.yaml", "--source", "parquet:{tmp_path}/train-*.parquet", "--duplicates"])
"""
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=tmp_path, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "set TMPDIR to a larger disk" in done.stdout
    assert "LG402" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(scratch.iterdir()) == []


def test_the_command_tells_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line a conflict is an error of the first record's split, with exit code 1."""
    write(tmp_path, [(0, 1, 0), (0, 1, 1), (1, 2, 0)])
    (tmp_path / "s.yaml").write_text(
        "format: 1\nname: n\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 3}}\n"
        "splits:\n  train: {source: 'parquet:train-*.parquet'}\n  test: {source: 'parquet:test-*.parquet'}\n"
    )
    with pytest.raises(SystemExit) as exit_:
        cli.main(["audit", str(tmp_path / "s.yaml"), "--duplicates"])
    out = capsys.readouterr().out
    assert exit_.value.code == 1
    assert "LG406 conflicting-duplicates: 2 records in 1 group have the same content under different labels" in out
    assert "train-0.parquet__0 {label: 0}; train: train-1.parquet__0 {label: 1}" in out


def found_in(folder: Path, files: dict[str, str], style: str = "jsonl", **labels: Any) -> Any:
    """The duplicates of text files, and the report."""
    for name, text in files.items():
        (folder / name).write_text(text)
    schema = schema_of(folder, style)
    fields = schema.model_dump(mode="json", exclude_unset=True)
    for key, value in labels.items():
        fields[key] = {**fields.get(key, {}), **value} if isinstance(value, dict) else value
    splits = [split for split in ("train", "test") if list(folder.glob(f"{split}-*"))]
    return audit_dataset(DatasetSchema.model_validate(fields), splits=splits, duplicates=True)


def test_a_damaged_payload_is_never_complete(tmp_path: Path) -> None:
    """Where records cannot be read as wholes the audit of their labels may be sound: it is incomplete all the same."""
    records = [(0, k % 40, k % 2) for k in range(4000)]
    write(tmp_path, records)
    assert audit_dataset(schema_of(tmp_path), duplicates=True, splits=["train"]).complete
    path = tmp_path / "train-0.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert column.path_in_schema == "text"
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 60] = bytes(60)
    path.write_bytes(bytes(data))
    report = audit_dataset(schema_of(tmp_path), duplicates=True, splits=["train"])
    assert report.splits[0].invalid == 0
    assert (report.complete, report.exit_code) == (False, 2)
    assert any(f.rule == "LG402" and "train-0.parquet" in f.message for f in report.findings)
    again = parse_report(render_audit(report, "json"))
    assert (again.complete, again.exit_code) == (False, 2)


def test_stopped_is_never_complete(tmp_path: Path) -> None:
    """Ctrl-C while whole records are compared gives an incomplete report, not one without duplicates."""
    write(tmp_path, [(0, 1, 0), (1, 1, 1)])
    schema = schema_of(tmp_path)
    control = AuditControl(should_stop=lambda: True)
    found = duplicate_search.find_duplicates(plan_audit(schema, open_splits(schema)), control=control)
    assert found.stopped
    report = audit_dataset(schema_of(tmp_path))
    assert report.complete
    assert not with_duplicates(report, found).complete


def test_labels_within_objects_are_no_content(tmp_path: Path) -> None:
    """An object that holds a label is not compared as a whole; what is next to the label in it is."""
    lines = ['{"o": {"label": 0, "w": 1}, "text": "a"}', '{"o": {"label": 1, "w": 1}, "text": "a"}']
    (tmp_path / "train-0.jsonl").write_text("\n".join(lines))
    label = {"kind": "class_label", "num_classes": 3}
    fields = {"format": 1, "name": "n", "version": "1.0.0", "labels": {"o/label": label}}
    report = audit_dataset(
        DatasetSchema.model_validate(fields), source=f"jsonl:{tmp_path}/train-0.jsonl", duplicates=True
    )
    assert report.duplicates is not None
    assert report.duplicates.conflicting.groups == 1


def test_a_feature_that_only_some_files_have_is_compared(tmp_path: Path) -> None:
    """Features are those of all splits and files: records that differ in one of them are not the same."""
    report = found_in(
        tmp_path, {"train-0.jsonl": '{"a": 1, "label": 0}', "test-0.jsonl": '{"a": 1, "b": 2, "label": 1}'}
    )
    assert (report.duplicates.conflicting.groups, report.duplicates.shared.groups) == (0, 0)


def test_the_width_of_a_label_is_no_difference(tmp_path: Path) -> None:
    """The same class stored as int64 and as int32 is one label."""
    for name, dtype in (("train", np.int64), ("test", np.int32)):
        table = {"label": np.array([1], dtype), "text": ["a"]}
        pq.write_table(pa.table(table), tmp_path / f"{name}-0.parquet")
    report = audit_dataset(schema_of(tmp_path), duplicates=True)
    assert report.duplicates is not None
    assert (report.duplicates.conflicting.groups, report.duplicates.shared.groups) == (0, 1)


def test_no_label_is_no_other_label(tmp_path: Path) -> None:
    """A test record that is declared to have no label leaks from train, and contradicts nothing."""
    files = {"train-0.jsonl": '{"a": 1, "label": 0}', "test-0.jsonl": '{"a": 1, "label": -1}'}
    splits = {
        "train": {"source": f"jsonl:{tmp_path}/train-*.jsonl"},
        "test": {"source": f"jsonl:{tmp_path}/test-*.jsonl", "labels": {"label": {"unlabeled": -1}}},
    }
    report = found_in(tmp_path, files, splits=splits)
    assert (report.duplicates.conflicting.groups, report.duplicates.shared.groups) == (0, 1)


def test_records_are_named_by_their_key(tmp_path: Path) -> None:
    """Where the schema says what identifies a record, the report says it too."""
    lines = '{"id": "alpha", "a": 1, "label": 0}\n{"id": "beta", "a": 1, "label": 1}'
    report = found_in(tmp_path, {"train-0.jsonl": lines}, record_key="id")
    assert [member.record for member in report.duplicates.conflicting.examples[0]] == ["alpha", "beta"]


@pytest.mark.parametrize("style", ["jsonl", "csv"])
def test_a_feature_without_a_name_is_no_key(tmp_path: Path, style: str) -> None:
    """The first column of a table that pandas wrote has the name ""; it is content like any other."""
    rows = {"jsonl": '{"": 5, "label": 0}\n{"": 5, "label": 1}\n', "csv": ",label\n5,0\n5,1\n"}[style]
    (tmp_path / f"train-0.{style}").write_text(rows)
    (tmp_path / f"test-0.{style}").write_text(rows.replace("5", "6"))
    found = audit_dataset(schema_of(tmp_path, style), duplicates=True).duplicates
    assert found is not None
    names = sorted(member.record for example in found.conflicting.examples for member in example)
    assert names == [f"{split}-0.{style}__{row}" for split in ("test", "train") for row in (0, 1)]


def test_maps_of_parquet_are_compared(tmp_path: Path) -> None:
    """Keys and values, in rows with several, none and null."""
    kind = pa.map_(pa.string(), pa.int64())
    rows = [[("a", 1), ("b", 2)], [("a", 1), ("b", 2)], [("a", 1), ("b", 3)], [("a", 1), ("c", 2)], [], None]
    for name in ("train-0", "test-0"):
        table = pa.table({"label": [0, 1, 1, 1, 1, 1], "tags": pa.array(rows, kind)})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = audit_dataset(schema_of(tmp_path), duplicates=True).duplicates
    assert found is not None
    assert (found.unread, found.conflicting.groups, found.shared.groups) == ([], 1, 5)


def test_an_example_shows_the_conflict(tmp_path: Path) -> None:
    """However many members share a label, each of the labels is shown."""
    lines = [json.dumps({"a": 1, "label": int(k == 400)}) for k in range(401)]
    report = found_in(tmp_path, {"train-0.jsonl": "\n".join(lines)})
    example = report.duplicates.conflicting.examples[0]
    assert {member.labels for member in example} == {"label: 0", "label: 1"}
    assert report.duplicates.conflicting.records == 401


def test_one_content_that_fills_a_dataset_takes_no_memory() -> None:
    """Of a million blank records a handful of rows is kept, and all are counted."""
    rows = np.zeros(1_000_000, duplicates.ROW)
    rows["count"], rows["row"] = 1, np.arange(len(rows))
    thinned = duplicates.thinned(rows)
    assert len(thinned) == duplicates._KEPT_ROWS
    assert thinned["count"].sum() == len(rows)
    assert thinned["row"].tolist() == list(range(duplicates._KEPT_ROWS))
