"""Rules of datasets, LG4xx: what only an audit of all records shows."""

from __future__ import annotations

from label_guard.rules.rule import DatasetExample, Rule


def _schema(train: str, more: str = "") -> str:
    return (
        "labels:\n  label: {kind: class_label, num_classes: 2}\n"
        f"splits:\n  train: {{{train}source: 'csv:train.csv'}}\n{more}"
    )


_IGNORED = _schema("").replace("num_classes: 2", "num_classes: 2, ignore: [255]")
_BOTH = _schema("", "  test: {source: 'csv:test.csv'}\n")

RULES = (
    Rule(
        "LG401",
        "record-count-mismatch",
        "There are more or fewer records than the metadata promise.",
        why="Records are lost, or the metadata are stale, and neither shows in training: a reader that trusts a count "
        "of 400 for a shard of 500 never reads the last 100. A shard that was not copied makes an epoch shorter.",
        breaks=DatasetExample(_schema("num_examples: 3, "), r'"label\n0\n1\n"'),
        holds=DatasetExample(_schema("num_examples: 3, "), r'"label\n0\n1\n0\n"'),
        fix="Count the records where the dataset comes from. Copy the file again, or correct num_examples.",
    ),
    Rule(
        "LG402",
        "unreadable-shard",
        "A file of the dataset cannot be read to its end.",
        why="What comes after the fault was not audited, and a pipeline loses it or stops in the middle of an epoch.",
        breaks=DatasetExample(_schema(""), r'"label,label\n0,1\n1,0\n"'),
        holds=DatasetExample(_schema(""), r'"label,other\n0,1\n1,0\n"'),
        fix="Compare the file's checksum with its origin, copy it again, and audit again.",
    ),
    Rule(
        "LG403",
        "class-never-used",
        "A declared class has no record.",
        why="A class without a record is an output that learns only to be small. It may also be the sign of an "
        "off-by-one: EMNIST letters, declared as 37 classes, use 1 to 26.",
        breaks=DatasetExample(_schema(""), r'"label\n1\n1\n"'),
        holds=DatasetExample(_schema(""), r'"label\n0\n1\n"'),
        fix="Compare the classes that are used with the names. If the ids start at 1, declare class_ids: {start: 1}.",
        severity="warning",
    ),
    Rule(
        "LG404",
        "class-below-minimum",
        "A class has fewer records than min_class_count.",
        why="A class with a handful of records is learned by heart or not at all, and its accuracy is chance.",
        breaks=DatasetExample(_schema("") + "limits: {min_class_count: 2}\n", r'"label\n0\n0\n1\n"'),
        holds=DatasetExample(_schema("") + "limits: {min_class_count: 2}\n", r'"label\n0\n0\n1\n1\n"'),
        fix="Add records, merge classes, or lower min_class_count.",
    ),
    Rule(
        "LG405",
        "class-distribution-shift",
        "The class distribution of a split differs from train's.",
        why="A model is evaluated on classes in other shares than it was trained on. Where the split is meant to be a "
        "random one, it was not: sorted files, or a split by source.",
        breaks=DatasetExample(_BOTH, r'"label\n" + "0\n1\n" * 500', r'"label\n" + "0\n" * 900 + "1\n" * 100'),
        holds=DatasetExample(_BOTH, r'"label\n" + "0\n1\n" * 500', r'"label\n" + "0\n1\n" * 500'),
        fix="Shuffle before splitting. Where the shares are meant to differ, leave the rule out of the report.",
        severity="warning",
    ),
    Rule(
        "LG406",
        "conflicting-duplicates",
        "Records of the same content have different labels.",
        why="A model cannot learn both labels of one picture: whichever it says, one of the losses stays. In a test "
        "split it bounds the accuracy.",
        breaks=DatasetExample(_schema(""), r'"text,label\ngood,0\nbad,1\ngood,1\n"'),
        holds=DatasetExample(_schema(""), r'"text,label\ngood,0\nbad,1\ngood,0\n"'),
        fix="Look at the records that are named and keep the one that is right. Reported only with --duplicates.",
    ),
    Rule(
        "LG407",
        "shared-duplicates",
        "Records of the same content are in several splits.",
        why="A record that is in train and in test as well is learned by heart and then asked for: the accuracy is too "
        "good. CIFAR-100 has such pairs for a tenth of its test split (Barz and Denzler, arXiv:1902.00423).",
        breaks=DatasetExample(_BOTH, r'"text,label\ngood,0\nbad,1\n"', r'"text,label\nbad,1\nfine,0\n"'),
        holds=DatasetExample(_BOTH, r'"text,label\ngood,0\nbad,1\n"', r'"text,label\nworse,1\nfine,0\n"'),
        fix="Take the records out of train. Reported only with --duplicates.",
        severity="warning",
    ),
    Rule(
        "LG408",
        "nothing-to-learn",
        "Every position of a record is ignored, unlabeled or not measured.",
        why="A record whose every position is ignored, unlabeled or not measured adds nothing to the loss. Many of "
        "them mean that the labels were cut off or lost: truncation of long prompts leaves only -100.",
        breaks=DatasetExample(_IGNORED, r'"label\n0\n1\n255\n"'),
        holds=DatasetExample(_IGNORED, r'"label\n0\n1\n0\n"'),
        fix="Look at what the named records should hold. Leave them out with select_records where they are meant to be "
        "empty.",
        severity="warning",
    ),
)
