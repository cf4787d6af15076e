"""The label traps of TFDS's own catalogue: small data of the same label layout, audited, diagnosed, fixed."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from label_guard import DatasetSchema
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.audit.suggest import apply_patch, suggest
from label_guard.cli import app as cli
from label_guard.lint.linter import lint_file
from label_guard.schema.syntax import parse, to_plain
from label_guard.schema.writer import dump_schema

Fields = dict[str, Any]
Data = Mapping[str, Mapping[str, Sequence[Any]]]
RNG = np.random.default_rng(0)
COCO_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_IDS = [i for i in range(1, 91) if i not in COCO_GAPS]


@dataclass(frozen=True)
class Trap:
    """One dataset of the catalogue.

    Attributes:
        labels: labels as a careful reader of the catalogue would declare them.
        data: values by split and label.
        rules: codes found by split; splits left out are clean.
        causes: (split, label, cause) that the diagnosis names.
        patched: codes that remain, by split, once the suggested patch is applied; None: there is nothing to apply.
        scheme: format of the files.
    """

    labels: Mapping[str, Fields]
    data: Data
    rules: Mapping[str, set[str]] = field(default_factory=dict[str, set[str]])
    causes: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    patched: Mapping[str, set[str]] | None = None
    scheme: str = "parquet"


def ids(num_classes: int, start: int = 0, times: int = 1) -> list[int]:
    """Every class ``times`` times, counted from ``start``."""
    return list(range(start, start + num_classes)) * times


def classes(num_classes: int, **fields: Any) -> Fields:
    """A class label."""
    return {"kind": "class_label", "num_classes": num_classes, **fields}


def without_labels(num_classes: int, split: str, *, label: str = "label", scheme: str = "parquet") -> Trap:
    """A split whose every label is -1, next to a sound train."""
    data = {"train": {label: ids(num_classes)}, split: {label: [-1] * 30}}
    cause = {(split, label, "unlabeled-split")}
    return Trap({label: classes(num_classes)}, data, {split: {"LG102"}}, cause, {}, scheme)


def forgotten_minus_one(num_classes: int) -> Trap:
    """A pipeline made by hand that stores ids counted from 1."""
    data = {"train": {"label": ids(num_classes, 1, times=6)}}
    rules = {"train": {"LG101", "LG403"}}
    return Trap({"label": classes(num_classes)}, data, rules, {("train", "label", "one-based")}, {}, "array_record")


def masks(low: int, high: int) -> list[Any]:
    """Masks of 16 x 16 that use every value of ``low..high``."""
    return list(np.resize(np.arange(low, high + 1), (4, 16, 16)).astype(np.uint8))


def lists(values: Sequence[int]) -> list[list[int]]:
    """Ragged lists of 0 to 6 ids that use every value."""
    cuts = [k * (k + 1) // 2 % 7 for k in range(len(values))]
    stops = np.cumsum(cuts)
    pieces = [list(values[stop - n : stop]) for stop, n in zip(stops, cuts, strict=True) if stop - n < len(values)]
    return [*pieces, list(values[: len(values) % 5])]


HUMAN = ["worse_label", "aggre_label", "random_label1", "random_label2", "random_label3"]
MASK = {"shape": [16, 16], "dtype": "uint8", "emit": "int32"}
RAGGED = {"shape": [None]}
SOFT = RNG.dirichlet(np.ones(10), 60).astype(np.float32)
SNLI = {"train": {"label": [*ids(3, times=20), *[-1] * 12]}, "test": {"label": [*ids(3, times=9), *[-1] * 9]}}
TRAPS: dict[str, Trap] = {
    "1 imagenet2012 test": without_labels(1000, "test", scheme="tfrecord"),
    "2 glue/mrpc test": without_labels(2, "test"),
    "2 glue/stsb test": Trap(
        {"label": {"kind": "real_label", "minimum": 0, "maximum": 5}},
        {"train": {"label": np.linspace(0, 5, 40, dtype=np.float32)}, "test": {"label": np.full(30, -1, np.float32)}},
        {"test": {"LG112"}}, {("test", "label", "unlabeled-split")},
    ),
    "3 super_glue/boolq test": without_labels(2, "test", scheme="array_record"),
    "4 snli, -1 in all splits": Trap(
        {"label": classes(3)}, SNLI, {"train": {"LG102"}, "test": {"LG102"}},
        {("train", "label", "unlabeled-records"), ("test", "label", "unlabeled-records")}, {}, "tfrecord",
    ),
    "5 stl10 unlabelled": without_labels(10, "unlabelled"),
    "5 stl10, raw 0 less one in uint8": Trap(
        {"label": classes(10)}, {"train": {"label": (np.tile(np.arange(11), 8) - 1).astype(np.uint8)}},
        {"train": {"LG101"}}, {("train", "label", "undeclared-ignore")}, {"train": {"LG408"}}, "npz",
    ),
    "6 imdb_reviews unsupervised": without_labels(2, "unsupervised"),
    "7 diabetic_retinopathy_detection test": without_labels(5, "test"),
    "8 i_naturalist2017 test": without_labels(5089, "test"),
    "9 cifar10_n test, 5 fields of 6": Trap(
        {path: classes(10) for path in ["label", *HUMAN]},
        {"train": {path: ids(10) for path in ["label", *HUMAN]},
         "test": {"label": ids(10, times=3), **{path: [-1] * 30 for path in HUMAN}}},
        {"test": {"LG102"}}, {("test", path, "unlabeled-split") for path in HUMAN}, {},
    ),
    "10 emnist/letters": Trap(
        {"label": classes(37)}, {"train": {"label": ids(26, 1, times=20)}}, {"train": {"LG403"}},
        {("train", "label", "unused-ids")},
    ),
    "11 oxford_iiit_pet": Trap(
        {"label": classes(37), "species": classes(2), "segmentation_mask": classes(3, **MASK)},
        {"train": {"label": np.resize(range(37), 74), "species": np.resize(range(2), 74),
                   "segmentation_mask": np.resize(masks(1, 3), (74, 16, 16))}},
        {"train": {"LG101", "LG403"}}, {("train", "segmentation_mask", "one-based")}, {}, "npz",
    ),
    "12 svhn_cropped by hand": forgotten_minus_one(10),
    "12 svhn_cropped by hand, named": Trap(
        {"label": classes(10, class_names=list("0123456789"))}, {"train": {"label": ids(10, 1, times=5)}},
        {"train": {"LG101", "LG403"}}, {("train", "label", "last-for-zero")},
    ),
    "13 scene_parse150": Trap(
        {"annotation": classes(150, **MASK)}, {"train": {"annotation": masks(0, 150)}},
        {"train": {"LG101"}}, {("train", "annotation", "one-based")}, None, "npz",
    ),
    "14 cityscapes, ids for trainIds": Trap(
        {"segmentation_label": classes(19, ignore=[255], **MASK)},
        {"train": {"segmentation_label": masks(0, 33)}},
        {"train": {"LG101"}}, {("train", "segmentation_label", "other-classes")}, None, "npz",
    ),
    "15 coco, raw category_id": Trap(
        {"objects/label": classes(80, **RAGGED)}, {"train": {"objects/label": lists(COCO_IDS * 8)}},
        {"train": {"LG101", "LG403"}}, {("train", "objects/label", "ids-with-gaps")}, {}, "tfrecord",
    ),
    "16 lvis, one list less than the other": Trap(
        {"objects/label": classes(1203, **RAGGED), "neg_category_ids": classes(1203, **RAGGED)},
        {"train": {"objects/label": lists(ids(1203, times=6)), "neg_category_ids": lists(ids(1203, 1, times=6))}},
        {"train": {"LG101"}}, {("train", "neg_category_ids", "one-based")}, {},
    ),
    "17 kitti, 3 = unknown is in range": Trap(
        {"objects/occluded": classes(4, **RAGGED), "objects/type": classes(8, **RAGGED)},
        {"train": {"objects/occluded": lists(ids(4, times=20)), "objects/type": lists(ids(8, times=10))}},
    ),
    "18 imagenet2012_real": Trap(
        {"real_label": classes(50, min_length=1, **RAGGED)}, {"validation": {"real_label": lists(ids(50, times=2))}},
        {"validation": {"LG111"}}, {("validation", "real_label", "empty-lists")}, None, "array_record",
    ),
    "19 hellaswag test": without_labels(4, "test"),
    "19 story_cloze": Trap(
        {"label": classes(2)}, {"train": {"label": np.array([1, 2, 2, 1] * 9, np.int32)}},
        {"train": {"LG101", "LG403"}}, {("train", "label", "one-based")}, {},
    ),
    "20 cosmos_qa test": without_labels(4, "test"),
    "22 open_images_v4": Trap(
        {"objects/label": classes(19_995, **RAGGED), "objects_trainable/label": classes(7186, **RAGGED),
         "bobjects/label": classes(601, **RAGGED), "bobjects/is_occluded": classes(2, dtype="int8", **RAGGED)},
        {"train": {"objects/label": lists(ids(19_995)),
                   "objects_trainable/label": lists(np.resize(range(7186), 19_995)),
                   "bobjects/label": lists(np.resize(range(601), 19_995)),
                   "bobjects/is_occluded": [np.array(row, np.int8) for row in lists(np.resize([0, 1, -1], 19_995))]}},
        {"train": {"LG102"}}, {("train", "bobjects/is_occluded", "undeclared-ignore")}, {"train": {"LG408"}},
    ),
    "23 imagenet_resized by hand": forgotten_minus_one(1000),
    "23 oxford_flowers102 by hand": forgotten_minus_one(102),
    "23 ag_news_subset by hand": forgotten_minus_one(4),
    "23 caltech_birds2011 by hand": forgotten_minus_one(200),
    "23 omniglot by hand": forgotten_minus_one(1623),
    "24 tedlium, gender": Trap(
        {"gender": classes(3)}, {"train": {"gender": [0, 1, 2, -1, 2, 1] * 8}, "test": {"gender": ids(3, times=9)}},
        {"train": {"LG102"}}, {("train", "gender", "unlabeled-records")}, {},
    ),
    "25 visual_domain_decathlon test": without_labels(47, "test"),
    "26 cifar10_h": Trap(
        {"label": classes(10), "human_labels": classes(10, **RAGGED),
         "soft_label": {"kind": "soft_label", "num_classes": 10}},
        {"test": {"label": ids(10, times=6), "human_labels": [ids(10)[: k % 9] for k in range(59)] + [ids(10)],
                  "soft_label": list(SOFT)}},
    ),
}  # fmt: skip


def example(record: Mapping[str, Any]) -> bytes:
    """A tf.Example of integers."""
    message = tf_example_pb2.Example()
    for path, value in record.items():
        message.features.feature[path].int64_list.value.extend(np.ravel(value).tolist())
    return message.SerializeToString()


def frame(data: bytes) -> bytes:
    """A record of a TFRecord file."""

    def crc(part: bytes) -> bytes:
        value = google_crc32c.value(part)
        return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    head = struct.pack("<Q", len(data))
    return head + crc(head) + data + crc(data)


def write(path: Path, scheme: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """One split as one file."""
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if scheme == "parquet":
        pq.write_table(pa.table({path: pa.array(list(values)) for path, values in columns.items()}), path)
    elif scheme == "npz":
        np.savez(path, **{name: np.asarray(values) for name, values in columns.items()})
    elif scheme == "tfrecord":
        path.write_bytes(b"".join(frame(example(record)) for record in records))
    else:
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for record in records:
            writer.write(example(record))
        writer.close()


def prepared(folder: Path, trap: Trap) -> DatasetSchema:
    """The schema of a trap, its splits written next to each other."""
    splits: dict[str, Fields] = {}
    for split, columns in trap.data.items():
        file = folder / f"{split}.{trap.scheme}"
        write(file, trap.scheme, columns)
        size = len(next(iter(columns.values())))
        splits[split] = {"num_examples": size, "source": f"{trap.scheme}:{file}"}
    fields = {"format": 1, "name": "trap", "version": "1.0.0", "labels": dict(trap.labels), "splits": splits}
    return DatasetSchema.model_validate(fields)


def rules_of(report: AuditReport) -> dict[str, set[str]]:
    """Codes found, by split."""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.split or "", set()).add(finding.rule)
    return found


def causes_of(report: AuditReport) -> set[tuple[str | None, str, str]]:
    """Split, label and cause of every diagnosis."""
    return {(cause.split, cause.label, cause.cause) for cause in report.diagnoses}


def lint_errors(folder: Path, schema: DatasetSchema) -> list[str]:
    """What the lint of a schema file refuses."""
    file = folder / "patched.yaml"
    file.write_text(dump_schema(schema))
    return [found.message for found in lint_file(file) if found.severity == "error"]


@pytest.mark.parametrize("name", TRAPS)
def test_each_trap_is_found_and_its_cause_named(tmp_path: Path, name: str) -> None:
    """Exactly the expected rules in each split, and exactly the expected causes."""
    trap = TRAPS[name]
    report = audit_dataset(prepared(tmp_path, trap))
    assert rules_of(report) == trap.rules
    assert causes_of(report) == trap.causes
    assert report.exit_code == int(any(codes - {"LG403"} for codes in trap.rules.values()))


@pytest.mark.parametrize("name", [name for name in TRAPS if TRAPS[name].patched is not None])
def test_the_suggested_patch_makes_the_audit_pass(tmp_path: Path, name: str) -> None:
    """The patched schema is sound, and the same data audited with it leaves what the trap says, and no cause."""
    trap = TRAPS[name]
    schema = prepared(tmp_path, trap)
    suggestion = suggest(audit_dataset(schema))
    assert suggestion.left_out == []
    patched = apply_patch(schema, suggestion.patch)
    assert lint_errors(tmp_path, patched) == []
    report = audit_dataset(patched)
    assert rules_of(report) == trap.patched
    assert causes_of(report) == set()
    assert report.exit_code == 0


@pytest.mark.parametrize("name", [name for name in TRAPS if TRAPS[name].patched is None])
def test_where_no_change_of_the_schema_helps_none_is_suggested(tmp_path: Path, name: str) -> None:
    """Data that are legal, or wrong whatever the schema says, lead to no patch."""
    assert suggest(audit_dataset(prepared(tmp_path, TRAPS[name]))).patch == {}


# What only the metadata of a prepared folder say -------------------------------------------------------------------

BUILDER = """
import sys
import tensorflow_datasets as tfds

NAMES = {"winogrande": ["1", "2"], "caltech101": ["accordion", "airplanes", "anchor", "ant", "background_google"]}

class Build(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    name = sys.argv[2]

    def _info(self):
        label = tfds.features.ClassLabel(names=NAMES[self.name])
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"label": label}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(False), "test": self._generate_examples(self.name == "winogrande")}

    def _generate_examples(self, hidden):
        for i in range(40):
            yield i, {"label": -1 if hidden else i % len(NAMES[self.name])}

config = tfds.download.DownloadConfig(try_download_gcs=False, compute_stats=tfds.download.ComputeStatsMode.SKIP)
Build(data_dir=sys.argv[1], file_format="array_record").download_and_prepare(download_config=config)
"""


def tfds_schema(folder: Path, name: str, names: list[str]) -> DatasetSchema:
    """A folder that TFDS prepares, and a schema with these class names."""
    done = subprocess.run([sys.executable, "-c", BUILDER, str(folder), name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    source = f"tfds:{folder / name / '1.0.0'}"
    labels = {"label": classes(len(names), class_names=names)}
    splits = {split: {"num_examples": 40, "source": source} for split in ("train", "test")}
    return DatasetSchema.model_validate(
        {"format": 1, "name": name, "version": "1.0.0", "labels": labels, "splits": splits}
    )


def test_20_winogrande_has_no_answers_in_test(tmp_path: Path) -> None:
    """Names "1" and "2" stand for ids 0 and 1, which is sound; test is -1 throughout."""
    schema = tfds_schema(tmp_path, "winogrande", ["1", "2"])
    report = audit_dataset(schema)
    assert (rules_of(report), causes_of(report)) == ({"test": {"LG102"}}, {("test", "label", "unlabeled-split")})
    assert audit_dataset(apply_patch(schema, suggest(report).patch)).findings == []


def test_21_caltech101_has_its_background_at_4(tmp_path: Path) -> None:
    """A schema that puts the background first has the names of the folder in another order: reported, and fixed."""
    names = ["background_google", "accordion", "airplanes", "anchor", "ant"]
    schema = tfds_schema(tmp_path, "caltech101", names)
    report = audit_dataset(schema)
    assert rules_of(report) == {"train": {"LG232"}, "test": {"LG232"}}
    assert causes_of(report) == {(split, "label", "shuffled-names") for split in ("train", "test")}
    assert "0 is 'accordion' there" in report.diagnoses[0].text
    patched = apply_patch(schema, suggest(report).patch)
    assert patched.labels["label"].class_names == (*names[1:], names[0])
    assert (audit_dataset(patched).findings, audit_dataset(patched).diagnoses) == ([], [])


def test_names_in_a_parquet_file_stand_in_another_order(tmp_path: Path) -> None:
    """The names that a Hugging Face copy of cifar10 keeps next to its ids are compared with those of the schema."""
    names = ["airplane", "automobile", "bird", "cat"]
    kept = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}})}
    pq.write_table(pa.table({"label": ids(4)}).replace_schema_metadata(kept), tmp_path / "a.parquet")
    fields = {
        "format": 1,
        "name": "t",
        "version": "1.0.0",
        "labels": {"label": classes(4, class_names=sorted(names)[::-1])},
    }
    schema = DatasetSchema.model_validate(fields)
    report = audit_dataset(schema, source=f"parquet:{tmp_path}/a.parquet")
    assert (rules_of(report), causes_of(report)) == ({"": {"LG232"}}, {(None, "label", "shuffled-names")})
    assert (
        audit_dataset(apply_patch(schema, suggest(report).patch), source=f"parquet:{tmp_path}/a.parquet").findings == []
    )


# From the command line ----------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(args))
    return int(str(stopped.value.code)), capsys.readouterr().out


@pytest.mark.parametrize("name", ["1 imagenet2012 test", "11 oxford_iiit_pet"])
def test_the_command_names_the_cause_and_prints_the_patch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Audit --suggest ends with YAML that, merged into the file, makes the same command pass."""
    file, schema = tmp_path / "trap.yaml", prepared(tmp_path, TRAPS[name])
    file.write_text(dump_schema(schema))
    code, text = run(capsys, "audit", str(file), "--suggest")
    assert code == 1
    assert "likely cause: " in text
    _, _, patch = text.rpartition("\n\n")
    values = to_plain(parse(patch, is_json=False))
    file.write_text(dump_schema(apply_patch(schema, values)))
    code, text = run(capsys, "audit", str(file), "--suggest")
    assert code == 0
    assert text.endswith("# no change of the schema is suggested\n")
