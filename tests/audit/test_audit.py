"""The audit of real files in every format: planted faults at known keys, any cut, damage, exit codes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from label_guard import DatasetSchema, QuarantineOptions, UsageError, check_labels, read_quarantine
from label_guard.audit.conclude import merge_reports, parse_report
from label_guard.audit.runner import audit_dataset
from label_guard.cli import app as cli
from label_guard.core.plural import agreed, counted
from label_guard.report.audit_text import render_audit
from tests.schemas import PLANTED

SHARDS, PER_SHARD = 4, 60
FAULTS = {5: 10, 17: -1, 40: 2**32 + 1}
SCHEMA = f"{PLANTED}splits:\n  train: {{num_examples: 240}}\n"


def labels_of(shard: int) -> list[int]:
    """Labels of one file: every class, and a fault at each known row."""
    return [FAULTS.get(row, (row + shard) % 10) for row in range(PER_SHARD)]


def example(label: int) -> bytes:
    """A tf.Example with a payload and a label."""
    message = tf_example_pb2.Example()
    message.features.feature["image"].bytes_list.value.append(b"x" * 300)
    message.features.feature["label"].int64_list.value.append(label)
    return message.SerializeToString()


def masked_crc(data: bytes) -> bytes:
    """TFRecord's checksum."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write(folder: Path, scheme: str) -> str:
    """A dataset of four files in one format; its URI."""
    for shard in range(SHARDS):
        path, labels = folder / f"train-{shard}.{scheme}", labels_of(shard)
        if scheme == "parquet":
            pq.write_table(pa.table({"label": labels}), path)
        elif scheme == "csv":
            path.write_text("id,label\n" + "".join(f"r{i},{value}\n" for i, value in enumerate(labels)))
        elif scheme == "jsonl":
            path.write_text("".join(json.dumps({"label": value}) + "\n" for value in labels))
        elif scheme == "array_record":
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for value in labels:
                writer.write(example(value))
            writer.close()
        else:
            frames = [(struct.pack("<Q", len(e)), e) for e in map(example, labels)]
            path.write_bytes(b"".join(head + masked_crc(head) + data + masked_crc(data) for head, data in frames))
    return f"{scheme}:{folder}/train-*.{scheme}"


@pytest.fixture
def schema() -> DatasetSchema:
    """The promise the files break."""
    label = {"kind": "class_label", "num_classes": 10}
    fields = {"format": 1, "name": "planted", "version": "1.0.0", "labels": {"label": label}}
    return DatasetSchema.model_validate({**fields, "splits": {"train": {"num_examples": SHARDS * PER_SHARD}}})


FORMATS = ["parquet", "csv", "jsonl", "array_record", "tfrecord"]


@pytest.mark.parametrize("scheme", FORMATS)
def test_the_audit_names_exactly_the_planted_faults(tmp_path: Path, schema: DatasetSchema, scheme: str) -> None:
    """In every format the bad keys are the planted ones, the counts are exact, and so is the quarantine."""
    uri = write(tmp_path, scheme)
    report = audit_dataset(schema, source=uri, keep_bad=True, quarantine=QuarantineOptions(str(tmp_path / "q")))
    planted = {f"train-{shard}.{scheme}__{row}" for shard in range(SHARDS) for row in FAULTS}
    assert {place.record for place in report.splits[0].bad} == planted
    assert report.splits[0].labels["label"].violations == {"LG101": [8, 8], "LG102": [4, 4]}
    assert {entry.record for entry in read_quarantine(str(tmp_path / "q")).entries} == planted
    assert (report.complete, report.exit_code) == (True, 1)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_quarantine_may_be_its_folder_alone(
    tmp_path: Path, schema: DatasetSchema, kind: Callable[[Path], Any]
) -> None:
    """As in a pipeline: a text or a path."""
    report = audit_dataset(schema, source=write(tmp_path, "csv"), quarantine=kind(tmp_path / "q"))
    assert (report.complete, report.exit_code) == (True, 1)
    assert len(read_quarantine(str(tmp_path / "q")).entries) == SHARDS * len(FAULTS)


@pytest.mark.parametrize(
    "options",
    [
        {"shards": (2, 2)}, {"shards": (-1, 2)}, {"shards": (0, 0)}, {"shards": "0/2"}, {"shards": 1},
        {"limit": -1}, {"limit": 0}, {"limit": "3"}, {"workers": -1}, {"workers": "2"}, {"splits": "train"},
        {"source": 7}, {"source": Path("a.csv")}, {"quarantine": 7},
    ],
)  # fmt: skip
def test_an_option_out_of_its_range_is_named(tmp_path: Path, schema: DatasetSchema, options: dict[str, Any]) -> None:
    """None of them is taken for something else: part 2 of 2, counted from 1, was part 0, and -1 left records out."""
    (name,) = options
    with pytest.raises(UsageError, match=rf"^{name} (url )?is "):
        audit_dataset(schema, **{"source": write(tmp_path, "csv"), **options})


def test_any_cut_gives_the_same_report_byte_for_byte(tmp_path: Path, schema: DatasetSchema) -> None:
    """One process, three, and four merged parts through their JSON: the same bytes."""
    uri = write(tmp_path, "parquet")
    alone = json.dumps(audit_dataset(schema, source=uri).to_json())
    assert json.dumps(audit_dataset(schema, source=uri, workers=3).to_json()) == alone
    parts = [json.loads(json.dumps(audit_dataset(schema, source=uri, shards=(i, 4)).to_json())) for i in range(4)]
    assert json.dumps(merge_reports([parse_report(json.dumps(part)) for part in reversed(parts)]).to_json()) == alone


def test_a_damaged_shard_leaves_the_rest_audited_and_says_so(tmp_path: Path, schema: DatasetSchema) -> None:
    """What precedes the fault and all other files are counted; the audit is incomplete and exits 2."""
    uri = write(tmp_path, "tfrecord")
    damaged = tmp_path / "train-1.tfrecord"
    damaged.write_bytes(damaged.read_bytes()[:-700])
    report = audit_dataset(schema, source=uri)
    assert (report.complete, report.exit_code) == (False, 2)
    assert report.splits[0].records == SHARDS * PER_SHARD - 2
    assert {finding.rule for finding in report.findings} >= {"LG101", "LG402", "LG401"}


def test_a_promise_of_more_records_is_a_finding(tmp_path: Path, schema: DatasetSchema) -> None:
    """A lost file shows in the count, though every record that is there is read."""
    uri = write(tmp_path, "csv")
    (tmp_path / "train-3.csv").unlink()
    reported = [finding.message for finding in audit_dataset(schema, source=uri).findings if finding.rule == "LG401"]
    assert reported == ["180 records are there but the schema's num_examples promises 240"]


def test_limited_or_damaged_parts_never_merge_to_a_complete_audit(
    tmp_path: Path, schema: DatasetSchema, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit and an unreadable file survive the merge; the part that met the file exits 2 itself."""
    uri = write(tmp_path, "tfrecord")
    limited = [audit_dataset(schema, source=uri, shards=(i, 2), limit=3) for i in range(2)]
    merged = merge_reports([parse_report(json.dumps(part.to_json())) for part in limited])
    assert (merged.complete, merged.exit_code) == (False, 2)
    damaged = tmp_path / "train-1.tfrecord"
    damaged.write_bytes(damaged.read_bytes()[:-700])
    (tmp_path / "planted.yaml").write_text(SCHEMA)
    codes = [
        run(capsys, "audit", str(tmp_path / "planted.yaml"), "--source", uri, "--shards", f"{i}/2")[0] for i in (0, 1)
    ]
    assert codes == [0, 2]


def test_one_dataset_that_cannot_be_opened_does_not_hide_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two schemas the sound one is audited and reported; the worst code wins."""
    write(tmp_path, "csv")
    good = SCHEMA.replace("num_examples: 240", "source: 'csv:train-*.csv'")
    (tmp_path / "a.yaml").write_text(good.replace("train-*", "none-*"))
    (tmp_path / "b.yaml").write_text(good)
    code, text, message = run(capsys, "audit", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"))
    assert (code, "240 records in 4 files" in text, "none-*" in message) == (2, True, True)


def test_within_its_limit_a_dataset_passes_with_warnings(tmp_path: Path, schema: DatasetSchema) -> None:
    """max_invalid_ratio turns violations at or below it into warnings and exit 0."""
    uri = write(tmp_path, "parquet")
    lenient = DatasetSchema.model_validate(
        {**schema.model_dump(exclude_unset=True), "limits": {"max_invalid_ratio": 0.05}}
    )
    report = audit_dataset(lenient, source=uri)
    assert {finding.severity for finding in report.findings} == {"warning"}
    assert report.exit_code == 0


def test_the_limits_of_a_split_replace_the_global_ones(tmp_path: Path) -> None:
    """A split with limits of its own is held to them, field by field; the others to the global ones."""
    pq.write_table(pa.table({"label": [0] * 50 + [1] * 3 + [7]}), tmp_path / "a.parquet")
    source = f"parquet:{tmp_path}/a.parquet"
    schema = DatasetSchema.model_validate(
        {
            "format": 1, "name": "t", "version": "1.0.0",
            "labels": {"label": {"kind": "class_label", "num_classes": 2}},
            "limits": {"max_invalid_ratio": 0.1, "min_class_count": 5},
            "splits": {
                "train": {"source": source},
                "dirty": {"source": source, "limits": {"max_invalid_ratio": 0.0}},
                "rare": {"source": source, "limits": {"min_class_count": 3}},
            },
        }
    )  # fmt: skip
    found = {(f.split, f.rule): f.severity for f in audit_dataset(schema).findings if f.rule != "LG407"}
    assert found == {
        ("train", "LG101"): "warning", ("train", "LG404"): "error",
        ("dirty", "LG101"): "error", ("dirty", "LG404"): "error",
        ("rare", "LG101"): "warning",
    }  # fmt: skip


def test_records_with_nothing_to_learn_are_findings(tmp_path: Path) -> None:
    """A warning with their number; an error where a whole split holds none; nothing where the schema declares it."""
    for name, rows in {"some": [[0, -100], [-100, -100]], "all": [[-100, -100]] * 3}.items():
        pq.write_table(pa.table({"label": rows}), tmp_path / f"{name}.parquet")
    label = {"kind": "class_label", "num_classes": 2, "shape": [2], "ignore": [-100]}
    splits = {name: {"source": f"parquet:{tmp_path}/{name}.parquet"} for name in ("some", "all")}
    fields = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": label}, "splits": splits}
    found = {f.split: f for f in audit_dataset(DatasetSchema.model_validate(fields)).findings if f.rule == "LG408"}
    assert {split: f.severity for split, f in found.items()} == {"some": "warning", "all": "error"}
    assert "1 of 2 records holds nothing to learn" in found["some"].message


@pytest.mark.parametrize(("split", "values", "found"), [
    ("train", [-1] * 9, True), ("train", [-1] * 8 + [0], False), ("test", [-1] * 9, False), (None, [-1] * 9, True),
    ("all", [-1] * 9, True),
])  # fmt: skip
def test_a_training_split_without_a_label_is_an_error(
    tmp_path: Path, split: str | None, values: list[int], found: bool
) -> None:
    """``unlabeled`` says that some records, or a test split, have no label; nothing can be trained on -1 alone."""
    pq.write_table(pa.table({"label": values}), tmp_path / "a.parquet")
    label = {"kind": "class_label", "num_classes": 2, "unlabeled": -1, "on_unlabeled": "skip"}
    fields: dict[str, Any] = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": label}}
    fields |= {"splits": {split: {}}} if split else {}
    report = audit_dataset(DatasetSchema.model_validate(fields), source=f"parquet:{tmp_path}/a.parquet")
    assert [(one.rule, one.severity) for one in report.findings if one.rule == "LG408"] == [("LG408", "error")] * found
    assert bool(report.exit_code) == found


UNLEARNED: dict[str, tuple[dict[str, Any], list[Any], list[Any], int]] = {
    "NaN": ({"kind": "real_label", "ignore": [float("nan")]}, [1.5, float("nan"), 2.5], [1, 1, 1], 1),
    "null": ({"kind": "real_label", "ignore": [None]}, [1.5, None, None], [1, 1, 1], 2),
    "rows": (
        {"kind": "multi_label", "num_classes": 2, "dtype": "floating", "ignore": [-1, float("nan")]},
        [[float("nan"), -1.0], [float("nan"), 1.0], [0.0, 1.0]], [1, 1, 1], 1,
    ),
    "records that do not count": ({"kind": "class_label", "num_classes": 2}, [0, 1, 7], [0, 1, 0], 2),
    "positions that do not count": (
        {"kind": "class_label", "num_classes": 2, "shape": [2]}, [[0, 1], [9, 1], [9, 9]], [[1, 1], [0, 1], [0, 0]], 1
    ),
    "padding next to ignored positions": (
        {"kind": "class_label", "num_classes": 2, "shape": [2], "ignore": [-100]},
        [[0, -100], [9, -100], [9, 1]], [[1, 1], [0, 1], [0, 1]], 1,
    ),
    "a missing label is not one of them": (
        {"kind": "class_label", "num_classes": 2}, [0, None, None], [1, 1, 0], 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLEARNED)
def test_what_is_not_measured_or_does_not_count_is_nothing_to_learn(tmp_path: Path, name: str) -> None:
    """Positions of NaN, null, an ignore value or ``where`` 0, alone or mixed, leave a record with nothing."""
    label, values, where, expected = UNLEARNED[name]
    pq.write_table(pa.table({"label": values, "w": where}), tmp_path / "a.parquet")
    splits = {"train": {"source": f"parquet:{tmp_path}/a.parquet"}}
    labels = {"label": {**label, "where": "w"}}
    fields = {"format": 1, "name": "t", "version": "1.0.0", "labels": labels, "splits": splits}
    report = audit_dataset(DatasetSchema.model_validate(fields))
    assert report.splits[0].labels["label"].nothing_left == expected
    padding = sum(not np.any(row) for row in where)
    messages = [finding.message for finding in report.findings if finding.rule == "LG408"]
    empty, others = expected - padding, 3 - padding
    shown = f"{empty} of {counted(others, 'record')} {agreed(empty, 'holds', 'hold')} nothing to learn"
    assert [shown in message for message in messages] == [True] * (expected > padding)
    assert report.splits[0].padding == padding
    assert (
        f"  {counted(padding, 'more record is', 'more records are')} padding" in render_audit(report, "text")
    ) == bool(padding)


def test_padding_is_in_no_share(tmp_path: Path) -> None:
    """Records of padding are counted apart: shares, limits and messages are those of the other records."""
    values, where = [0, 1, 7, 7, *[9] * 96], [1, 1, 1, 0, *[0] * 96]
    pq.write_table(pa.table({"label": values, "w": where}), tmp_path / "a.parquet")
    label = {"kind": "class_label", "num_classes": 2, "where": "w"}
    fields: dict[str, Any] = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": label}}
    pq.write_table(pa.table({"label": values, "w": [0] * 100}), tmp_path / "none.parquet")
    schema = DatasetSchema.model_validate(fields)
    nothing = audit_dataset(schema, source=f"parquet:{tmp_path}/none.parquet")
    assert [(finding.rule, finding.severity) for finding in nothing.findings] == [("LG408", "error")]
    promised = DatasetSchema.model_validate({**fields, "splits": {"train": {"num_examples": 3}}})
    report = audit_dataset(promised, splits=["train"], source=f"parquet:{tmp_path}/a.parquet")
    message = "100 records are there, 97 of them padding, but the schema's num_examples promises 3"
    assert message in [finding.message for finding in report.findings]
    for limit, severity in ((0.1, "error"), (0.5, "warning")):  # one of three is invalid, not one of a hundred
        schema = DatasetSchema.model_validate({**fields, "limits": {"max_invalid_ratio": limit}})
        report = audit_dataset(schema, source=f"parquet:{tmp_path}/a.parquet")
        assert (report.splits[0].padding, report.splits[0].unpadded) == (97, 3)
        (found,) = (finding for finding in report.findings if finding.rule != "LG403")
        assert (found.severity, found.message.startswith("label: 1 of 3 records;")) == (severity, True)
        assert "3 records in 1 file, 1 bad (33.33%)" in render_audit(report, "text")
        assert "padding, not checked" in render_audit(report, "html")


def test_an_empty_class_and_a_rare_one_are_findings(tmp_path: Path) -> None:
    """A class never used is a warning, one below min_class_count an error."""
    pq.write_table(pa.table({"label": [0] * 50 + [1] * 3}), tmp_path / "a.parquet")
    label = {"kind": "class_label", "num_classes": 3, "class_names": ["cat", "dog", "emu"]}
    fields = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": label}}
    rare = DatasetSchema.model_validate({**fields, "limits": {"min_class_count": 5}})
    found = {f.rule: f.message for f in audit_dataset(rare, source=f"parquet:{tmp_path}/a.parquet").findings}
    assert found["LG403"] == "label: 1 of 3 classes is never used: 2 (emu)"
    assert found["LG404"].endswith("records: 1 (dog), 2 (emu)")


@pytest.mark.parametrize("start", [0, 5])
def test_a_number_of_classes_costs_nothing(tmp_path: Path, start: int) -> None:
    """A schema of two thousand million classes is audited, compared and drawn in time that grows with those in use."""
    np.savez(tmp_path / "a.npz", label=np.array([7, 6, 6, -1] * 50))
    most = 2**31 - 1
    label: dict[str, Any] = {"kind": "class_label", "num_classes": most, "class_ids": {"start": start}}
    splits = {name: {"source": f"npz:{tmp_path}/a.npz"} for name in ("train", "test")}
    fields = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": label}, "splits": splits}
    schema = DatasetSchema.model_validate({**fields, "limits": {"min_class_count": 60}})
    report = audit_dataset(schema)
    messages = [finding.message for finding in report.findings if finding.rule == "LG404"]
    first = ", ".join(str(i) for i in range(start, start + 11) if i != 6)
    wanted = ", ".join(first.split(", ")[:8])
    assert messages[0] == (
        f"label: {most - 1:,} classes have fewer than min_class_count 60 records: {wanted} and {most - 9:,} more"
    )
    page = render_audit(report, "html")
    gap = "0..5, 8..2147483646" if not start else "5, 8..2147483651"
    assert f"{most - 2:,} never used" in page
    assert gap in page


def test_a_split_that_departs_from_train_is_a_finding(tmp_path: Path) -> None:
    """The total variation distance of the class counts, reported with its value."""
    for name, labels in (("train", [0, 1] * 100), ("test", [0] * 190 + [1] * 10)):
        np.savez(tmp_path / f"{name}.npz", label=np.array(labels))
    fields: dict[str, Any] = {"format": 1, "name": "t", "version": "1.0.0"}
    fields["labels"] = {"label": {"kind": "class_label", "num_classes": 2}}
    fields["splits"] = {name: {"source": f"npz:{tmp_path}/{name}.npz"} for name in ("train", "test")}
    reported = [f.message for f in audit_dataset(DatasetSchema.model_validate(fields)).findings if f.rule == "LG405"]
    assert reported == ["label: the classes are distributed differently from train: total variation 0.45"]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, output and messages of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(args))
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return int(str(stopped.value.code)), output.out, output.err


def test_the_commands_work_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Audit writes parts, merge puts them together, report renders them again, with the same exit code."""
    uri, file = write(tmp_path, "csv"), tmp_path / "planted.yaml"
    file.write_text(SCHEMA)
    for part in range(2):
        target = tmp_path / f"part{part}.json"
        code, *_ = run(
            capsys, "audit", str(file), "--source", uri, "--shards", f"{part}/2", "--report", f"json={target}"
        )
        assert code == 0
    merged = tmp_path / "all.json"
    code, text, _ = run(capsys, "merge", *(str(tmp_path / f"part{i}.json") for i in (1, 0)), "--output", str(merged))
    assert code == 1
    assert "train: 240 records in 4 files, 12 bad (5.00%)" in text
    code, again, _ = run(capsys, "report", str(merged))
    assert (code, again) == (1, text)
    for part in range(2):
        assert run(capsys, "report", str(tmp_path / f"part{part}.json"))[0] == 0
    code, direct, _ = run(capsys, "audit", str(file), "--source", uri)
    assert (code, direct) == (1, text)


@pytest.mark.parametrize(
    ("args", "reported"),
    [
        (["--source", "csv:none-*.csv"], "none-*.csv"),
        (["--source", "cvs:train-0.csv"], "did you mean 'csv'"),
        (["--split", "test"], "no split 'test'"),
        (["--shards", "4/4"], "expected I/N"),
        (["--report", "pdf=x"], "expected FORMAT=FILE"),
        (["--report", "json=/nowhere/x.json"], "/nowhere"),
        (["--direct_num_workers=2"], "No such option"),
        ([], "no source"),
    ],
)
def test_mistakes_are_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, args: list[str], reported: str
) -> None:
    """A wrong option or source ends with one message and exit 2, and no file is left behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted.yaml").write_text(SCHEMA)
    (tmp_path / "train-0.csv").write_text("label\n1\n")
    code, _, message = run(capsys, "audit", "planted.yaml", *args)
    assert code == 2
    assert reported in message
    assert {path.name for path in tmp_path.iterdir()} == {"planted.yaml", "train-0.csv"}


def test_a_wrong_label_path_suggests_the_near_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A label that no record has is named with the one that is there."""
    (tmp_path / "a.yaml").write_text(SCHEMA.replace("label: {", "lable: {"))
    code, _, message = run(capsys, "audit", str(tmp_path / "a.yaml"), "--source", write(tmp_path, "parquet"))
    assert code == 2
    assert "did you mean 'label'" in message


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 29, 30, 31])
def test_a_limit_counts_records_that_cannot_be_decoded(tmp_path: Path, limit: int) -> None:
    """At most so many records of a file are read, sound or not, in their order; check and infer take the same ones."""
    lines = [f'{{"label": {k % 3}}}' if k % 3 == 0 else "{" for k in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    fields = {"format": 1, "name": "x", "version": "1.0.0", "splits": {"train": {}}}
    schema = DatasetSchema.model_validate({**fields, "labels": {"label": {"kind": "class_label", "num_classes": 3}}})
    (split,) = audit_dataset(schema, source=f"jsonl:{tmp_path}/a.jsonl", limit=limit).splits
    unreadable = sum(line == "{" for line in lines[:limit])
    assert (split.records, split.unreadable) == (min(30, limit), unreadable)
    assert split.labels["label"].records == min(30, limit) - unreadable
    (label,) = check_labels(f"jsonl:{tmp_path}/a.jsonl", label="label", limit=limit).labels
    assert sum(label.profile.counts.values()) == min(30, limit) - unreadable
