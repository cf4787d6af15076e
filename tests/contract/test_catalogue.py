"""The label traps of TFDS's own catalogue: small data with the same label layout, and what an audit says of each."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.proto import tf_example_pb2

from label_guard import DatasetSchema
from label_guard.audit import audit
from label_guard.audit_report import AuditReport
from label_guard.diagnose import Diagnosis
from label_guard.suggest import apply_patch, suggest

Data = Mapping[str, Any]  # by label: one value a record, ragged ones as lists


@dataclass(frozen=True)
class Trap:
    """A dataset of the catalogue.

    Attributes:
        name: of the dataset, with its place in the list of traps.
        labels: as a user would declare them at first.
        data: by split and label.
        errors: the rules that each split breaks.
        causes: by split and label, the likely cause that is named first.
        healed: whether the suggested change makes the audit pass.
        style: how it is stored: ``tfrecord`` as TFDS does, ``npz`` where the stored dtype is the trap.
        splits: what the schema declares of a split.
    """

    name: str
    labels: dict[str, dict[str, Any]]
    data: dict[str, Data]
    errors: dict[str, set[str]] = field(default_factory=dict)
    causes: dict[tuple[str, str], str] = field(default_factory=dict)
    healed: bool = False
    style: str = "tfrecord"
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)


def ids(num_classes: int, first: int = 0, times: int = 2) -> list[int]:
    """Every id from ``first`` on, as often."""
    return [first + k % num_classes for k in range(num_classes * times)]


def classes(num_classes: int, **fields: Any) -> dict[str, Any]:
    """A class_label."""
    return {"kind": "class_label", "num_classes": num_classes, **fields}


def unlabeled_test(name: str, num_classes: int, label: str = "label", split: str = "test", **fields: Any) -> Trap:
    """A dataset whose labels of one split are all -1."""
    return Trap(
        name,
        {label: classes(num_classes, **fields)},
        {"train": {label: ids(num_classes)}, split: {label: [-1] * 40}},
        {split: {"LG102"}},
        {(split, label): "unlabeled-split"},
        healed=True,
    )


def some(values: list[int], every: int, value: int) -> list[int]:
    """``values`` with another one in regular places."""
    return [value if k % every == 3 else v for k, v in enumerate(values)]


COCO = [k for k in range(1, 91) if k not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
GAPS = [[raw, COCO[(k + 7) % 80]] for k, raw in enumerate(COCO)] * 2
RNG = np.random.default_rng(0)
ADE = RNG.integers(0, 151, (30, 8, 8)).astype(np.uint8)
TRIMAPS = RNG.integers(1, 4, (30, 4, 4)).astype(np.uint8)
CITY = RNG.integers(0, 34, (30, 8, 8)).astype(np.uint8)
SOFT = (np.eye(10, dtype=np.float32)[np.arange(60) % 10] * 0.5 + 0.05).tolist()
VOTES = [[k % 10] * (k % 3 + 1) for k in range(60)]
TRAPS = [
    unlabeled_test("1 imagenet2012", 1000),
    unlabeled_test("2a glue/sst2", 2),
    Trap(
        "2b glue/stsb: a float label with -1.0",
        {"label": {"kind": "real_label", "minimum": 0, "maximum": 5, "dtype": "float32"}},
        {"train": {"label": [k / 9 for k in range(45)]}, "test": {"label": [-1.0] * 9}},
        {"test": {"LG112"}},
    ),
    unlabeled_test("3 super_glue/boolq", 2),
    Trap(
        "4 snli: -1 in every split",
        {"label": classes(3)},
        {split: {"label": some(ids(3, times=30), 10, -1)} for split in ("train", "validation", "test")},
        {split: {"LG102"} for split in ("train", "validation", "test")},
        {(split, "label"): "unlabeled-records" for split in ("train", "validation", "test")},
        healed=True,
    ),
    unlabeled_test("5a stl10", 10, split="unlabelled"),
    Trap(
        "5b stl10: a raw 0 less one in uint8",
        {"label": classes(10)},
        {"train": {"label": np.array(some(ids(10, times=9), 9, 255), np.uint8)}},
        {"train": {"LG101"}},
        {("train", "label"): "uint8-wrap"},
        healed=True,
        style="npz",
    ),
    unlabeled_test("6 imdb_reviews", 2, split="unsupervised"),
    Trap(
        "7 diabetic_retinopathy_detection: -1 is no label",
        {"label": classes(5)},
        {"train": {"label": ids(5)}, "test": {"label": some(ids(5, times=9), 5, -1)}},
        {"test": {"LG102"}},
        {("test", "label"): "unlabeled-records"},
        healed=True,
    ),
    unlabeled_test("8 i_naturalist2018", 8142 // 9),
    Trap(
        "9 cifar10_n: the label is there, the labels by people are not",
        {"label": classes(10), "aggre_label": classes(10), "worse_label": classes(10)},
        {
            "train": dict.fromkeys(("label", "aggre_label", "worse_label"), ids(10)),
            "test": {"label": ids(10), "aggre_label": [-1] * 20, "worse_label": [-1] * 20},
        },
        {"test": {"LG102"}},
        {("test", "aggre_label"): "unlabeled-split", ("test", "worse_label"): "unlabeled-split"},
        healed=True,
    ),
    Trap(
        "10 emnist/letters: 37 declared, 1..26 used",
        {"label": classes(37)},
        {"train": {"label": ids(26, first=1, times=30)}},
        causes={("train", "label"): "unused-ids"},
    ),
    Trap(
        "11 oxford_iiit_pet: trimaps of 1..3",
        {"segmentation_mask": classes(3, shape=[4, 4])},
        {"train": {"segmentation_mask": TRIMAPS}},
        {"train": {"LG101"}},
        {("train", "segmentation_mask"): "one-based"},
        healed=True,
        style="npz",
    ),
    Trap(
        "12 svhn: the raw 10 stands for 0",
        {"label": classes(10)},
        {"train": {"label": ids(10, first=1)}},
        {"train": {"LG101"}},
        {("train", "label"): "one-based"},
        healed=True,
    ),
    Trap(
        "13 scene_parse150: 0 is everything else",
        {"annotation": classes(150, shape=[8, 8])},
        {"train": {"annotation": ADE}},
        {"train": {"LG101"}},
        {("train", "annotation"): "one-based"},
        healed=True,
        style="npz",
    ),
    Trap(
        "14 cityscapes: 34 raw ids where 19 train ids are declared",
        {"segmentation_label": classes(19, shape=[8, 8], ignore=[255])},
        {"train": {"segmentation_label": CITY}},
        {"train": {"LG101"}},
        style="npz",
    ),
    Trap(
        "15 coco: category_id 1..90 with gaps",
        {"objects/label": classes(80, shape=[None])},
        {"train": {"objects/label": GAPS}},
        {"train": {"LG101"}},
        {("train", "objects/label"): "ids-with-gaps"},
        healed=True,
    ),
    Trap(
        "16 lvis: neg_category_ids count from 1",
        {"neg_category_ids": classes(1203, shape=[None])},
        {"train": {"neg_category_ids": [[k, k % 1203 + 1] for k in range(1, 1204)]}},
        {"train": {"LG101"}},
        {("train", "neg_category_ids"): "one-based"},
        healed=True,
    ),
    Trap(
        "17 kitti: occluded 3 means unknown and lies in the range, which no range check can see",
        {"objects/occluded": classes(4, shape=[None])},
        {"train": {"objects/occluded": [[0, 1, 2, 3]] * 9}},
    ),
    Trap(
        "18 imagenet2012_real: records without any label",
        {"real_label": classes(10, shape=[None], unique=True, min_length=1)},
        {"validation": {"real_label": [[k % 10] if k % 9 else [] for k in range(90)]}},
        {"validation": {"LG111"}},
    ),
    unlabeled_test("19a hellaswag", 4),
    Trap(
        "19b story_cloze: the right ending is 1 or 2",
        {"label": classes(2)},
        {"validation": {"label": ids(2, first=1, times=20)}},
        {"validation": {"LG101"}},
        {("validation", "label"): "one-based"},
        healed=True,
    ),
    unlabeled_test("20 winogrande", 2, class_names=["1", "2"]),
    Trap(
        "21 caltech101: the background is a class as well",
        {"label": classes(101, class_names=[f"class {k}" for k in range(101)])},
        {"train": {"label": ids(102)}},
        {"train": {"LG101"}},
        {("train", "label"): "one-class-too-few"},
        healed=True,
    ),
    Trap(
        "22a open_images_v4: -1 is unknown in int8",
        {"is_occluded": classes(2, dtype="int8")},
        {"train": {"is_occluded": np.array(some(ids(2, times=30), 5, -1), np.int8)}},
        {"train": {"LG102"}},
        {("train", "is_occluded"): "unlabeled-records"},
        healed=True,
        style="npz",
    ),
    Trap(
        "22b open_images_v4: one label space for another",
        {"label": classes(601)},
        {"train": {"label": ids(7186, times=1)}},
        {"train": {"LG101"}},
    ),
    *(
        Trap(
            f"23 {name}: label - 1 forgotten",
            {"label": classes(count)},
            {"train": {"label": ids(count, first=1)}},
            {"train": {"LG101"}},
            {("train", "label"): "one-based"},
            healed=True,
        )
        for name, count in (("oxford_flowers102", 102), ("ag_news", 4), ("caltech_birds2011", 200))
    ),
    Trap(
        "24 tedlium: gender -1 inside train",
        {"gender": classes(2)},
        {"train": {"gender": some(ids(2, times=50), 25, -1)}},
        {"train": {"LG102"}},
        {("train", "gender"): "unlabeled-records"},
        healed=True,
    ),
    unlabeled_test("25 visual_domain_decathlon", 100),
    Trap(
        "26a cifar10_h: soft, ragged and hard labels side by side",
        {
            "soft_label": {"kind": "soft_label", "num_classes": 10, "dtype": "float32"},
            "human_labels": classes(10, shape=[None], min_length=1),
            "label": classes(10),
        },
        {"test": {"soft_label": SOFT, "human_labels": VOTES, "label": ids(10, times=6)}},
    ),
    Trap(
        "26b cifar10_h: votes where shares are declared",
        {"soft_label": {"kind": "soft_label", "num_classes": 10, "dtype": "float32"}},
        {"test": {"soft_label": [[50.0, 1.0] + [0.0] * 8] * 30}},
        {"test": {"LG109"}},
    ),
    Trap(
        "two features of one record swapped",
        {"coarse_label": classes(20), "label": classes(100)},
        {"train": {"coarse_label": ids(100), "label": ids(20, times=10)}},
        {"train": {"LG101"}},
        {("train", "coarse_label"): "swapped-features"},
    ),
]  # fmt: skip


def framed(data: bytes) -> bytes:
    """One record of a TFRecord file."""
    head = struct.pack("<Q", len(data))
    crcs = [google_crc32c.value(part) for part in (head, data)]
    masked = [struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF) for crc in crcs]
    return head + masked[0] + data + masked[1]


def example(record: Mapping[str, Any]) -> bytes:
    """A record as TFDS writes it: ints as int64, floats as float32, all flat."""
    message = tf_example_pb2.Example()
    for name, value in record.items():
        values = value if isinstance(value, list) else [value]
        feature = message.features.feature[name]
        if values and isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return message.SerializeToString()


def write(folder: Path, trap: Trap) -> DatasetSchema:
    """The dataset, and the schema as first declared."""
    for split, data in trap.data.items():
        if trap.style == "npz":
            np.savez(folder / f"{split}.npz", **data)
            continue
        count = len(next(iter(data.values())))
        records = [{name: values[k] for name, values in data.items()} for k in range(count)]
        (folder / f"{split}.tfrecord").write_bytes(b"".join(framed(example(record)) for record in records))
    splits = {s: {"source": f"{trap.style}:{folder}/{s}.{trap.style}", **trap.splits.get(s, {})} for s in trap.data}
    fields = {"format": 1, "name": "trap", "version": "1.0.0", "labels": trap.labels, "splits": splits}
    return DatasetSchema.model_validate(fields)


def errors_of(report: AuditReport) -> dict[str, set[str]]:
    """The rules each split breaks, warnings left out."""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        if finding.severity == "error":
            found.setdefault(str(finding.path[0]), set()).add(finding.rule)
    return found


def named(traps: list[Trap]) -> Any:
    """A parametrized test of all traps, known by their names."""
    return pytest.mark.parametrize("trap", traps, ids=lambda trap: trap.name.partition(":")[0].replace(" ", "-"))


@named(TRAPS)
def test_a_trap_of_the_catalogue_is_told_and_explained(tmp_path: Path, trap: Trap) -> None:
    """Each split breaks exactly the rules of its trap, and the cause is named where there is evidence for one."""
    report = audit(write(tmp_path, trap))
    assert report.complete
    assert errors_of(report) == trap.errors
    first: dict[tuple[str, str], str] = {}
    for split, cause in report.diagnoses:
        first.setdefault((str(split), cause.label), cause.cause)
    assert first == trap.causes
    assert report.exit_code == (1 if trap.errors else 0)


@named([trap for trap in TRAPS if trap.healed])
def test_the_suggested_change_heals_the_trap(tmp_path: Path, trap: Trap) -> None:
    """With the suggested patch applied the schema is sound and the audit of the same data passes."""
    schema = write(tmp_path, trap)
    suggestion = suggest(schema, audit(schema).diagnoses)
    assert not suggestion.left_out
    healed = apply_patch(schema, suggestion.patch)
    report = audit(healed)
    assert errors_of(report) == {}
    assert report.exit_code == 0


@named([trap for trap in TRAPS if trap.causes and not trap.healed])
def test_where_no_change_of_the_schema_would_help_none_is_suggested(tmp_path: Path, trap: Trap) -> None:
    """A cause in the data, or in the pipeline, is told in words alone."""
    schema = write(tmp_path, trap)
    assert suggest(schema, audit(schema).diagnoses).to_yaml() == "# no change of the schema is suggested"


def test_emnist_letters_shows_in_its_unused_classes(tmp_path: Path) -> None:
    """Ids that are legal but off by one break no rule of records: the classes never used are the only sign."""
    trap = next(trap for trap in TRAPS if trap.name.startswith("10 "))
    report = audit(write(tmp_path, trap))
    assert [finding.rule for finding in report.findings] == ["LG403"]
    assert "11 of 37 classes are never used: 0, 27, 28" in report.findings[0].message
    assert "26 classes counted from 1, 37 declared" in report.diagnoses[0][1].text


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=12),
    others=st.lists(st.integers(1, 60), min_size=2, max_size=12),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_nothing_is_said_of_sound_datasets(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], others: list[int], seed: int
) -> None:
    """Skewed, small and unequal datasets without a fault have no cause to name, several labels together neither."""
    size = max(sum(counts), sum(others))
    rng = np.random.default_rng(seed)
    columns = {
        name: rng.permutation(np.resize(np.repeat(np.arange(len(found)), found), size))
        for name, found in (("a", counts), ("b", others))
    }
    folder = tmp_path_factory.mktemp("sound")
    trap = Trap("sound", {"a": classes(len(counts)), "b": classes(len(others))}, {"train": columns}, style="npz")
    report = audit(write(folder, trap))
    assert report.diagnoses == []
    assert errors_of(report) == {}


def test_a_change_that_contradicts_another_is_left_out_and_told() -> None:
    """Two splits that call for different changes of one field get the first; the second is told."""
    fields = {"format": 1, "name": "n", "version": "1.0.0", "labels": {"y": classes(10)}}
    schema = DatasetSchema.model_validate(fields)
    causes = [
        ("train", Diagnosis("y", "one-class-too-few", "ids run 0..10", {"num_classes": 11})),
        ("test", Diagnosis("y", "one-class-too-few", "ids run 0..11", {"num_classes": 12})),
        ("test", Diagnosis("y", "undeclared-ignore", "3 places hold 5", {"ignore": [5]})),
    ]
    text = suggest(schema, causes).to_yaml()
    assert text.splitlines() == [
        "# train: y: ids run 0..10",
        "# left out: test: y: ids run 0..11 (it contradicts the change above)",
        text.splitlines()[2],
        "labels:",
        '  "y": {num_classes: 11}',
    ]
    assert text.splitlines()[2].startswith("# left out: test: y: 3 places hold 5 (the schema would be unsound: ")


def test_a_change_of_kind_takes_away_what_the_new_kind_does_not_have(tmp_path: Path) -> None:
    """One-hot rows where ids are declared: the patch removes the fields of ids, and the audit passes."""
    rows = np.eye(4, dtype=np.float32)[np.arange(40) % 4]
    label = classes(4, ignore=[255], on_ignore="replace", class_names=["a", "b", "c", "d"])
    trap = Trap("one-hot", {"label": label}, {"train": {"label": rows}}, style="npz")
    schema = write(tmp_path, trap)
    suggestion = suggest(schema, audit(schema).diagnoses)
    assert suggestion.patch["labels"]["label"] == {
        "kind": "soft_label", "one_hot": True, "dtype": ["float32"], "ignore": None, "on_ignore": None,
    }  # fmt: skip
    assert audit(apply_patch(schema, suggestion.patch)).exit_code == 0


def test_class_names_in_another_order_are_told(tmp_path: Path) -> None:
    """A schema with the names of the dataset in another order calls classes by wrong names: LG232, and healed."""
    (tmp_path / "dataset_info.json").write_text(
        json.dumps({
            "name": "toy", "version": "1.0.0", "fileFormat": "tfrecord",
            "splits": [{"name": "train", "shardLengths": ["6"]}],
        })
    )  # fmt: skip
    (tmp_path / "features.json").write_text(
        json.dumps({
            "type": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "featuresDict": {"features": {"label": {
                "type": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
                "classLabel": {"numClasses": "3"},
            }}},
        })
    )  # fmt: skip
    (tmp_path / "label.labels.txt").write_text("cat\nfrog\ndog\n")
    data = b"".join(framed(example({"label": k % 3})) for k in range(6))
    (tmp_path / "toy-train.tfrecord-00000-of-00001").write_bytes(data)
    label = classes(3, class_names=["cat", "dog", "frog"])
    fields = {"format": 1, "name": "toy", "version": "1.0.0", "labels": {"label": label}}
    schema = DatasetSchema.model_validate({**fields, "splits": {"train": {"source": f"tfds:{tmp_path}"}}})
    report = audit(schema)
    assert errors_of(report) == {"train": {"LG232"}}
    assert [cause.cause for _, cause in report.diagnoses] == ["shuffled-class-names"]
    healed = apply_patch(schema, suggest(schema, report.diagnoses).patch)
    assert audit(healed).exit_code == 0
    other = apply_patch(schema, {"labels": {"label": {"class_names": ["cat", "dog", "hare"]}}})
    assert audit(other).exit_code == 0, "names of another language or spelling are lint's business"
