"""An audit compares the schema with what the dataset's own metadata declare, and says what it could not check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_guard import DatasetSchema
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.cli.app import main

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

import make

NAMES = ["entailment", "neutral", "contradiction"]


def audited(folder: Path, values: Any, label: dict[str, Any], *, names: list[str] | None = None) -> AuditReport:
    """The audit of one Parquet file that may name its classes."""
    table = pa.table({"label": values})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, folder / "train.parquet")
    fields = {"kind": "class_label", "num_classes": 3, **label}
    splits = {"train": {"source": f"parquet:{folder}/train.parquet"}}
    schema = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": fields}, "splits": splits}
    return audit_dataset(DatasetSchema.model_validate(schema))


IDS = np.random.default_rng(0).integers(0, 3, 300)
CONTRADICTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "agreement": ({"class_names": NAMES}, set()),
    "no names here": ({}, set()),
    "another order": ({"class_names": NAMES[::-1]}, {"LG232"}),
    "other names": ({"class_names": ["agree", "maybe", "differ"]}, {"LG232"}),
    "another number": ({"num_classes": 4}, {"LG231", "LG403"}),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_the_metadata_of_a_file_are_compared_with_the_schema(tmp_path: Path, name: str) -> None:
    """Class names and their number are errors where they differ from the file's own, and survive the report's JSON."""
    label, rules = CONTRADICTIONS[name]
    report = audited(tmp_path, IDS, label, names=NAMES)
    assert {finding.rule for finding in report.findings} == rules
    assert report.exit_code == int(bool(rules))
    again = AuditReport.model_validate(json.loads(json.dumps(report.to_json())))
    assert again.splits[0].source.contradictions == report.splits[0].source.contradictions


def test_the_rarest_illegal_values_are_named(tmp_path: Path) -> None:
    """One odd 77 shows among many 255s, with the record that holds it."""
    values = np.where(IDS == 2, 255, IDS)
    values[123] = 77
    report = audited(tmp_path, values, {})
    (finding,) = [one for one in report.findings if one.rule == "LG101"]
    assert "rarest: 77 (once, first train.parquet__123)" in finding.message


def test_a_vocabulary_is_not_expected_to_be_used_up(tmp_path: Path) -> None:
    """Unused ids of few values are listed as not checked, and are not a finding."""
    report = audited(tmp_path, IDS, {"num_classes": 5_000})
    assert report.findings == []
    assert any("LG403" in line for line in report.not_checked)


def test_a_class_that_other_splits_use_is_said_to_be_there(tmp_path: Path) -> None:
    """A class missing in one split and used in another is a matter of that split."""
    splits = {}
    for split, values in (("train", IDS), ("test", IDS % 2)):
        pq.write_table(pa.table({"label": values}), tmp_path / f"{split}.parquet")
        splits[split] = {"source": f"parquet:{tmp_path}/{split}.parquet"}
    labels = {"label": {"kind": "class_label", "num_classes": 3}}
    schema = {"format": 1, "name": "t", "version": "1.0.0", "labels": labels, "splits": splits}
    report = audit_dataset(DatasetSchema.model_validate(schema))
    (finding,) = [one for one in report.findings if one.rule == "LG403"]
    assert (finding.split, finding.message.endswith("never used: 2; they are used in train")) == ("test", True)


QUIETED = [
    ("num_classes: 4 # noqa: LG231", "", set[str]()),
    ("num_classes: 4", "", {"LG231"}),
    ("num_classes: 4 # noqa: LG232", "", {"LG231"}),
    ("num_classes: 4 # noqa: LG231, LG232", "    labels:\n      label:\n        num_classes: 5\n", {"LG231"}),
    ("num_classes: 3", "    labels:\n      label:\n        num_classes: 5 # noqa: LG231\n", set[str]()),
]


@pytest.mark.parametrize(("line", "override", "rules"), QUIETED)
def test_a_comment_of_the_schema_file_quiets_a_contradiction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, override: str, rules: set[str]
) -> None:
    """``# noqa`` in the line of the field, or of the split that overrides it, quiets the rule it names."""
    audited(tmp_path, IDS, {}, names=NAMES)  # writes the data
    text = f"format: 1\nname: t\nversion: 1.0.0\nlabels:\n  label:\n    kind: class_label\n    {line}\n"
    text += f'splits:\n  train:\n    source: "parquet:train.parquet"\n{override}'
    (tmp_path / "s.yaml").write_text(text)
    found = audit_dataset(tmp_path / "s.yaml").findings
    assert {finding.rule for finding in found} - {"LG403"} == rules
    with pytest.raises(SystemExit) as exit_:
        main(["audit", str(tmp_path / "s.yaml")])
    assert exit_.value.code == int(bool(rules))
    assert ("LG231" in capsys.readouterr().out) == bool(rules)


INSECTS = {
    "parquet": (lambda path: pq.write_table(make.hf_table(), path), "parquet:{}", "label", {}),
    "arrow": (make.arrow, "arrow:{}", "label", {}),
    "coco": (make.coco, "coco:{}", "category_id", {"class_ids": [1, 2, 4, 8]}),
    "yolo": (make.yolo, "yolo:{}", "label", {"shape": [None]}),
    "folder": (make.folder, "folder:{}/train", "label", {"dtype": "string"}),
}


@pytest.mark.parametrize("source", INSECTS)
def test_the_metadata_of_every_source_are_compared(tmp_path: Path, source: str) -> None:
    """Number, names and order of classes: of Parquet, Arrow, COCO, YOLO and class folders alike."""
    write, uri, path, fields = INSECTS[source]
    write(tmp_path / source)
    names = list(make.CLASSES)

    def rules(**changed: Any) -> set[str]:
        label = {"kind": "class_label", "num_classes": 4, "class_names": names, **fields, **changed}
        splits = {"train": {"source": uri.format(tmp_path / source)}}
        schema = {"format": 1, "name": "t", "version": "1.0.0", "labels": {path: label}, "splits": splits}
        found = audit_dataset(DatasetSchema.model_validate(schema)).findings
        return {finding.rule for finding in found if finding.rule.startswith("LG23")}

    assert rules() == set()
    if source != "folder":  # whose names are the values
        assert rules(class_names=names[::-1]) == {"LG232"}
    five = {"num_classes": 5, "class_names": [*names, "moth"]}
    more = {"class_ids": [1, 2, 4, 8, 9]} if "class_ids" in fields else {}
    assert "LG231" in rules(**five, **more)


def test_what_was_not_checked_is_listed(tmp_path: Path) -> None:
    """Distributions of too few records, and records that a limit left unread, are lines of the report."""
    splits = {}
    for split, size in (("train", 300), ("test", 30)):
        pq.write_table(pa.table({"label": IDS[:size]}), tmp_path / f"{split}.parquet")
        splits[split] = {"source": f"parquet:{tmp_path}/{split}.parquet"}
    labels = {"label": {"kind": "class_label", "num_classes": 3}}
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "t", "version": "1.0.0", "labels": labels, "splits": splits}
    )
    [line] = audit_dataset(schema).not_checked
    assert line.startswith("test: label: whether its classes are distributed as in train (LG405)")
    limited = audit_dataset(schema, limit=20)
    assert any("train: a limit, or a stop, left records unread" in line for line in limited.not_checked)


def test_metadata_that_contradict_themselves_are_reported(tmp_path: Path) -> None:
    """Two categories of one id, or more classes than names: the labels are checked, and the audit says so."""
    images = [{"id": 1}]
    boxes = [{"id": k, "image_id": 1, "category_id": 1 + k % 2} for k in range(9)]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 2, "name": "emu"}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": names}))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n")
    (tmp_path / "data.yaml").write_text("train: images\nnc: 3\nnames: [cat, dog]\n")
    coco = {"category_id": {"kind": "class_label", "num_classes": 2, "class_ids": {"start": 1}}}
    yolo = {"label": {"kind": "class_label", "num_classes": 2, "shape": [None]}}
    for source, labels, text in (
        (f"coco:{tmp_path}/a.json", coco, "same id"),
        (f"yolo:{tmp_path}", yolo, "nc: 3 but 2"),
    ):
        schema = DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": labels})
        report = audit_dataset(schema, source=source)
        assert [one.rule for one in report.findings] == ["LG231"]
        assert text in report.findings[0].message
        assert report.exit_code == 1
        assert report.splits[0].invalid == 0
