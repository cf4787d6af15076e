"""A report is believed only where its numbers can be those of one audit; parts are merged only where they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_guard import UsageError
from label_guard.audit import audit_dataset
from label_guard.audit.conclude import merge_reports, parse_report
from label_guard.cli import app
from label_guard.schema.dataset import DatasetSchema

Edit = Callable[[dict[str, Any]], Any]


def schema(**changes: Any) -> DatasetSchema:
    """A schema of one split and two labels."""
    labels = {name: {"kind": "class_label", "num_classes": 3} for name in ("a", "b")}
    fields = {"format": 1, "name": "d", "version": "1.0.0", "labels": labels, "splits": {"train": {"num_examples": 12}}}
    return DatasetSchema.model_validate({**fields, **changes})


def write(folder: Path, files: int = 4) -> str:
    """Files of three records; each has one invalid record, and the first a null."""
    for number in range(files):
        values = [[0, 1, 2], [0, 9, None if number == 0 else 2]]
        pq.write_table(pa.table({"a": values[0], "b": pa.array(values[1], pa.int64())}), folder / f"f{number}.parquet")
    return f"parquet:{folder}/*.parquet"


def audited(folder: Path, **options: Any) -> dict[str, Any]:
    """The JSON of an audit."""
    return audit_dataset(options.pop("schema", schema()), source=write(folder), **options).to_json()


def split(report: dict[str, Any]) -> dict[str, Any]:
    """The one split of a report."""
    return report["splits"][0]


def clean(report: dict[str, Any]) -> None:
    """Hides every violation of label b, where an editor would look for it first."""
    found = split(report)["labels"]["b"]
    found.update(violations={}, examples={}, invalid=0)
    split(report)["invalid"] = 0


EDITS: dict[str, Edit] = {
    "no split": lambda r: r.update(splits=[]),
    "a split twice": lambda r: r["splits"].append(split(r)),
    "another version": lambda r: r.update(schema_version="2.0.0"),
    "another dataset": lambda r: r.update(dataset="e"),
    "records": lambda r: split(r).update(records=11),
    "invalid": lambda r: split(r).update(invalid=0),
    "unreadable": lambda r: split(r).update(unreadable=1),
    "the promise of the schema": lambda r: split(r).update(declared=None),
    "the promise of the metadata": lambda r: split(r).update(promised=12),
    "counted": lambda r: split(r).update(counted=False),
    "limited": lambda r: split(r).update(limited=True),
    "a file less": lambda r: split(r)["shards"].pop(),
    "a file twice": lambda r: split(r)["shards"].__setitem__(0, split(r)["shards"][1]),
    "records of a file": lambda r: split(r)["shards"][0].update(records=4),
    "invalid of a file": lambda r: split(r)["shards"][0].update(invalid=0),
    "violations of a file": lambda r: split(r)["shards"][0].update(violations={}),
    "a rule of a file": lambda r: split(r)["shards"][0]["violations"].update({"x LG101": 1}),
    "a certified file": lambda r: split(r)["shards"][0].update(certified=True),
    "files of the source": lambda r: split(r)["source"].update(shards=5),
    "a label less": lambda r: split(r)["labels"].pop("b"),
    "records of a label": lambda r: split(r)["labels"]["a"].update(records=11),
    "invalid of a label": lambda r: split(r)["labels"]["b"].update(invalid=0),
    "violations of a label": lambda r: split(r)["labels"]["b"].update(violations={}, examples={}, invalid=0),
    "violations of all labels": clean,
    "examples": lambda r: split(r)["labels"]["b"].update(examples={}),
    "fewer positions than records": lambda r: split(r)["labels"]["b"]["violations"].update(LG101=[4, 3]),
    "a class count": lambda r: split(r)["labels"]["a"]["class_counts"].update({"0": 5}),
    "records of a class": lambda r: split(r)["labels"]["a"]["class_records"].update({"0": 5}),
    "a class that is not declared": lambda r: split(r)["labels"]["a"].update(
        class_counts={"0": 4, "1": 4, "3": 4}, class_records={"0": 4, "1": 4, "3": 4}
    ),
    "illegal values": lambda r: split(r)["labels"]["b"]["illegal_values"].update(values={}),
    "dtypes": lambda r: split(r)["labels"]["a"].update(dtypes={"int64": 11}),
    "shapes": lambda r: split(r)["labels"]["a"].update(shapes={"[]": 13}),
    "sentinels": lambda r: split(r)["labels"]["a"].update(sentinels={"-1": 1}),
    "nothing left": lambda r: split(r)["labels"]["a"].update(nothing_left=13),
    "bad records": lambda r: split(r)["bad"].pop(),
    "a bad record elsewhere": lambda r: split(r)["bad"][0].__setitem__(1, "other.parquet"),
    "a baseline that knows all": lambda r: split(r).update(baseline={"new": 0, "known": 0, "fixed": 0}),
    "a part": lambda r: r.update(part=[0, 2]),
    "a part of none": lambda r: r.update(part=[0, 0]),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_report_whose_numbers_contradict_each_other_is_refused(tmp_path: Path, name: str) -> None:
    """Each single edit is one error, which names the place; the report itself is read."""
    sound = audited(tmp_path, keep_bad=True)
    parse_report(json.dumps(sound))
    edited = copy.deepcopy(sound)
    EDITS[name](edited)
    with pytest.raises(UsageError, match="contradict each other") as error:
        parse_report(json.dumps(edited))
    assert "\n" not in str(error.value)
    assert " at 0x" not in str(error.value), "an object of the program, in place of a number"


def parts(folder: Path, count: int, **options: Any) -> list[Any]:
    """The parts of an audit, through their JSON."""
    folder.mkdir(exist_ok=True)
    return [parse_report(json.dumps(audited(folder, shards=(i, count), **options))) for i in range(count)]


@pytest.mark.parametrize(
    "number", ["1e41", "1e200", "1.7976931348623157e308", "-1e300", "1e-320", "9", str(2**63 + 1), str(10**400)]
)
@pytest.mark.parametrize("label", [{"num_classes": 2}, {"num_classes": 2, "class_ids": [2**63, 5]}])
def test_a_report_of_any_number_is_read_again(tmp_path: Path, label: dict[str, Any], number: str) -> None:
    """Whatever number a file holds where an id is declared: the audit ends, its report can be read."""
    (tmp_path / "a.jsonl").write_text(f'{{"a": {number}}}\n{{"a": 1}}\n{{"a": 5}}\n{{"a": 7}}\n')
    ids = DatasetSchema(format=1, name="d", version="1.0.0", labels={"a": {"kind": "class_label", **label}})
    report = audit_dataset(ids, source=f"jsonl:{tmp_path}/a.jsonl")
    assert parse_report(json.dumps(report.to_json())).to_json() == report.to_json()
    assert report.exit_code == 1


@pytest.mark.parametrize("count", range(1, 6))
def test_all_parts_are_merged(tmp_path: Path, count: int) -> None:
    """Any number of parts, those without a file included, gives the report of the whole."""
    whole = audited(tmp_path / ".")
    assert merge_reports(parts(tmp_path, count)).to_json() == whole


def test_parts_of_other_data_schemas_or_cuts_are_not_merged(tmp_path: Path) -> None:
    """Another dataset, source, schema or version, another number of parts, a part twice, and one missing."""
    mine = parts(tmp_path / "mine", 2)
    others = {
        "different data": parts(tmp_path / "other", 2),
        "not parts of one audit": parts(tmp_path / "mine", 2, schema=schema(version="1.0.1")),
        "not parts of": parts(tmp_path / "mine", 2, schema=schema(name="e")),
        "not parts": parts(tmp_path / "mine", 3),
    }
    for message, theirs in others.items():
        with pytest.raises(UsageError, match=message):
            merge_reports([mine[0], theirs[1]])
    for given, message in (([mine[0]], "part 1/2 is missing"), ([mine[0], mine[0], mine[1]], "a part occurs twice")):
        with pytest.raises(UsageError, match=message):
            merge_reports(given)


def test_parts_that_were_renumbered_are_not_merged(tmp_path: Path) -> None:
    """A part that takes the number of another one brings files twice, and others are missing."""
    mine = parts(tmp_path, 2)
    twice = parse_report(json.dumps({**mine[0].to_json(), "part": [1, 2]}))
    with pytest.raises(UsageError, match=r"not of one audit: split train: file f0\.parquet occurs twice"):
        merge_reports([mine[0], twice])


def test_no_record_is_not_reported_beside_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A split without records has LG401; with a file that cannot be read, that file is the finding."""
    none = pa.array([], pa.int64())
    pq.write_table(pa.table({"a": none, "b": none}), tmp_path / "f0.parquet")
    for rules in ({"LG401"}, {"LG402"}):
        report = audit_dataset(schema(splits={}), source=f"parquet:{tmp_path}/*.parquet")
        assert {finding.rule for finding in report.findings} == rules
        (tmp_path / "f1.parquet").write_bytes(b"PAR1")


def test_report_exits_as_the_audit_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 clean, 1 findings, 2 incomplete, in every format."""
    uri, lenient = write(tmp_path), schema(limits={"max_invalid_ratio": 1.0})
    reports = [
        audit_dataset(lenient, source=uri),
        audit_dataset(schema(), source=uri),
        audit_dataset(schema(), source=uri, limit=1),
    ]
    for number, report in enumerate(reports):
        file = tmp_path / "audit.json"
        file.write_text(json.dumps(report.to_json()))
        for style in ("text", "json", "sarif"):
            with pytest.raises(SystemExit) as stopped:
                app.main(["report", str(file), "--format", style])
            assert stopped.value.code == number == report.exit_code
    capsys.readouterr()
