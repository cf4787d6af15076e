"""Rules of schema files, LG2xx."""

from __future__ import annotations

from label_guard.rules.rule import Rule, SchemaExample, SourceExample

_FEATURE = '{"label": {"kind": "ClassLabel", "num_classes": 3, "dtype": "int64"}}'
_NAMED = '{"label": {"kind": "ClassLabel", "num_classes": 2, "class_names": ["cat", "dog"], "dtype": "int64"}}'


def _text(fields: str) -> str:
    return "labels:\n  label: {" + fields + "}\n"


def _label(fields: str) -> SchemaExample:
    return SchemaExample(_text(fields))


_THREE, _TEN = _text("kind: class_label, num_classes: 3"), _text("kind: class_label, num_classes: 10")

RULES = (
    Rule(
        "LG200",
        "unreadable-file",
        "The file cannot be read as YAML or JSON.",
        why="A file that cannot be read says nothing about the labels: the pipeline that names it does not start, and "
        "the gate ends with exit code 2 rather than calling it clean.",
        breaks=SchemaExample("labels:\n  label: {kind: class_label, num_classes: 10\n"),
        holds=SchemaExample(_TEN),
        fix="The place is where the reader gave up; the cause is often a bracket, quote or indent just before it. "
        "Schema files are UTF-8 text, one document, without tabs, tags or aliases that multiply.",
    ),
    Rule(
        "LG201",
        "class-count-mismatch",
        "num_classes disagrees with class_names or class_ids.",
        why="One of the two is wrong, and the guard would go by num_classes: with one too few the last class is "
        "rejected as out of range; with one too many a label that names nothing trains a logit of its own.",
        breaks=_label("kind: class_label, num_classes: 3, class_names: [cat, dog]"),
        holds=_label("kind: class_label, num_classes: 2, class_names: [cat, dog]"),
        fix="Count the classes of the dataset, not of this file, and correct the other.",
    ),
    Rule(
        "LG202",
        "duplicate-class-name",
        "A class name is duplicated.",
        why="Two ids under one name are two classes for the loss and one for whoever reads the confusion matrix. More "
        "often a name was pasted twice and another is missing, and all names after it are off by one.",
        breaks=_label("kind: class_label, num_classes: 3, class_names: [cat, dog, cat]"),
        holds=_label("kind: class_label, num_classes: 3, class_names: [cat, dog, bird]"),
        fix="Compare the list with the dataset's own. Classes that truly share a name get an addition each: crane "
        "(bird) and crane (machine), as ImageNet needs it.",
    ),
    Rule(
        "LG203",
        "dtype-too-narrow",
        "The dtype cannot hold or index the declared classes.",
        why="JAX computes indices in the dtype of the labels. jax.nn.one_hot of uint8 10 with 300 classes is hot at 10 "
        "and at 266: labels that are right go wrong, and the cross-entropy is 32.3 in place of 7.95. For signed "
        "dtypes the number of classes itself must fit, because a gather adds it: int8 with 128 classes raises "
        "OverflowError.",
        breaks=_label("kind: class_label, num_classes: 300, dtype: uint8, emit: uint8"),
        holds=_label("kind: class_label, num_classes: 300, dtype: uint16, emit: int32"),
        fix="Set emit: int32. Where the stored dtype cannot hold the ids, the schema or the writer is wrong.",
    ),
    Rule(
        "LG204",
        "ignore-inside-range",
        "An ignore value is also a legal value.",
        why="A value cannot both name a class and mean 'skip this': every record of that class would be left out of the"
        " loss, and the class never learned.",
        breaks=_label("kind: class_label, num_classes: 20, ignore: [0]"),
        holds=_label("kind: class_label, num_classes: 19, class_ids: {start: 1}, ignore: [0], on_ignore: replace"),
        fix="Where 0 is the background to skip, the classes start at 1: class_ids: {start: 1} with on_ignore: replace. "
        "Otherwise use a value outside the range, such as 255.",
    ),
    Rule(
        "LG205",
        "emit-narrows",
        "The emitted dtype cannot hold every legal value.",
        why="The cast would change labels silently: NumPy and JAX turn 300 into 44 for uint8, and a sentinel "
        "beyond int32 arrives on the device as another number, maybe a class.",
        breaks=_label("kind: class_label, num_classes: 10, ignore: [255], dtype: uint8, emit: int8"),
        holds=_label("kind: class_label, num_classes: 10, ignore: [255], dtype: uint8, emit: int32"),
        fix="Emit a dtype that holds all of them; int32 is right for all but exotic cases.",
    ),
    Rule(
        "LG206",
        "unknown-field",
        "A field or label is not known.",
        why="A field under a wrong name declares nothing. With ignore_index in place of ignore, the 255s of a mask "
        "would be rejected; with unlabelled in place of unlabeled, a test split would.",
        breaks=_label("kind: class_label, num_classes: 19, ignore_index: [255]"),
        holds=_label("kind: class_label, num_classes: 19, ignore: [255]"),
        fix="Write the name that the message suggests; docs/schema.md lists all.",
    ),
    Rule(
        "LG207",
        "invalid-field",
        "A field is missing, or its value has the wrong type or range.",
        why="Values are taken as they are, never converted: the string '10' is not a number of classes, and guessing "
        "is how labels go wrong.",
        breaks=_label('kind: class_label, num_classes: "10"'),
        holds=_label("kind: class_label, num_classes: 10"),
        fix="Write a value of the type and range that the message names.",
    ),
    Rule(
        "LG208",
        "unsupported-format",
        "The file format is not one this release reads.",
        why="A later format may give a field another meaning; reading it by the rules of this one could let labels pass"
        " that it forbids.",
        breaks=SchemaExample("format: 2\nname: example\nversion: 1.0.0\n" + _TEN),
        holds=SchemaExample("format: 1\nname: example\nversion: 1.0.0\n" + _TEN),
        fix="Write format: 1, or install a release of label-guard that reads the newer format.",
    ),
    Rule(
        "LG209",
        "invalid-version",
        "The version is missing or is not a semantic version.",
        why="The version shows whether its labels still mean what they meant: label-guard diff refuses "
        "a breaking change that does not move the first number. YAML also reads 1.10 as the number 1.1.",
        breaks=SchemaExample("format: 1\nname: example\nversion: 1.0\n" + _TEN),
        holds=SchemaExample("format: 1\nname: example\nversion: 1.0.0\n" + _TEN),
        fix="Write three numbers: major, minor and patch.",
    ),
    Rule(
        "LG210",
        "similar-class-names",
        "Two class names look alike.",
        why="'Fire truck' and 'fire truck' are two classes to the loss and one to people: annotators split between them"
        " by chance, and neither is learned well. The same holds for names that differ by white space, by how an accent"
        " is composed, by characters that do not print, or by a Cyrillic letter that looks like a Latin one.",
        breaks=_label("kind: class_label, num_classes: 2, class_names: [Fire truck, fire truck]"),
        holds=_label("kind: class_label, num_classes: 2, class_names: [fire truck, fire engine]"),
        fix="Merge them in the data, or give them names that people can distinguish.",
        severity="warning",
    ),
    Rule(
        "LG211",
        "unlabeled-in-training",
        "A training split declares unlabeled without on_unlabeled.",
        why="Unlabeled records in training always have an effect. Kept: a loss without the mask trains the last class "
        "with them. Replaced: class 0 is written, and the mask is False. Skipped: they cost no step.",
        breaks=SchemaExample(_THREE + "splits:\n  train: {num_examples: 9, labels: {label: {unlabeled: -1}}}\n"),
        holds=SchemaExample(
            _THREE + "splits:\n  train: {num_examples: 9, labels: {label: {unlabeled: -1, on_unlabeled: skip}}}\n"
        ),
        fix="Choose: on_unlabeled: skip for most, replace where every record must be delivered, keep where the loss is "
        "known to honour the value.",
    ),
    Rule(
        "LG212",
        "unquoted-class-name",
        "A class name without quotes is a number, a date, true or null.",
        why="Without quotes 0 is a number and true a truth value. A reader that converts gives '0', one that does not "
        "gives 0, and a lookup by name then fails or, worse, finds position 0. 010 even changes its text.",
        breaks=_label("kind: class_label, num_classes: 2, class_names: [0, 1]"),
        holds=_label('kind: class_label, num_classes: 2, class_names: ["0", "1"]'),
        fix="Put the name in quotes; label-guard lint --fix does.",
    ),
    Rule(
        "LG213",
        "ambiguous-class-name",
        "An unquoted class name is not a string in YAML 1.1.",
        why="This package reads YAML 1.2, where no is a string. PyYAML and other readers of YAML 1.1 take no, yes, on "
        "and off for truth values, 12:30 for 750 and 2020-01-01 for a date, so the same file gives them other "
        "names.",
        breaks=_label("kind: class_label, num_classes: 3, class_names: [no, yes, unsure]"),
        holds=_label('kind: class_label, num_classes: 3, class_names: ["no", "yes", unsure]'),
        fix="Put the name in quotes; label-guard lint --fix does.",
        severity="warning",
    ),
    Rule(
        "LG214",
        "split-without-examples",
        "A split declares no number of examples, or 0.",
        why="The number of records is the only way to see that some are missing: a shard that was not copied, or stale "
        "metadata, reads as a smaller dataset and as nothing else.",
        breaks=SchemaExample(_THREE + "splits:\n  train: {}\n"),
        holds=SchemaExample(_THREE + "splits:\n  train: {num_examples: 60000}\n"),
        fix="Write the number that the dataset's documentation gives.",
        severity="warning",
    ),
    Rule(
        "LG215",
        "negative-sentinel-kept",
        "A negative sentinel stays in what training gets.",
        why="The validity mask is False where the value is, but a loss that ignores the mask trains class "
        "num_classes - 1 with -1, is NaN with -100 and few classes, and has no lower bound with -1 in a sigmoid "
        "loss. loss * mask does not help: NaN times 0 is NaN.",
        breaks=_label("kind: class_label, num_classes: 10, ignore: [-1]"),
        holds=_label("kind: class_label, num_classes: 10, ignore: [-1], on_ignore: replace"),
        fix="Set on_ignore or on_unlabeled to replace: class 0 is written, and the mask is False. Where the loss is "
        "known to honour the value, say so: # noqa: LG215.",
        severity="warning",
    ),
    Rule(
        "LG216",
        "unsatisfiable",
        "Fields that no label can satisfy together, or a limit that checks nothing.",
        why="No label, or no dataset, can satisfy these fields, so every record would be quarantined, or every audit "
        "fail.",
        breaks=_label("kind: real_label, minimum: 5, maximum: 1"),
        holds=_label("kind: real_label, minimum: 1, maximum: 5"),
        fix="Correct the limits; the message names the two that exclude each other.",
    ),
    Rule(
        "LG217",
        "unlabeled-inside-range",
        "The unlabeled value is also a legal or ignore value.",
        why="A record of that class and one without a label could not be distinguished.",
        breaks=_label("kind: class_label, num_classes: 10, unlabeled: 0"),
        holds=_label("kind: class_label, num_classes: 10, unlabeled: -1, on_unlabeled: replace"),
        fix="Use a value outside the classes, such as -1.",
    ),
    Rule(
        "LG218",
        "duplicate-class-id",
        "A raw id is listed twice in class_ids.",
        why="Raw ids are mapped to 0, 1, 2, ... in the order of class_ids; an id that is listed twice has two answers, "
        "and one of the two classes would never occur.",
        breaks=_label("kind: class_label, num_classes: 3, class_ids: [1, 2, 2]"),
        holds=_label("kind: class_label, num_classes: 3, class_ids: [1, 2, 4]"),
        fix="Compare with the dataset's own table; often one id was missed when typing.",
    ),
    Rule(
        "LG219",
        "padded-class-name",
        "A class name begins or ends with white space, or is empty.",
        why="A blank at an end is invisible in a report and different in a lookup by name.",
        breaks=_label('kind: class_label, num_classes: 2, class_names: ["cat ", dog]'),
        holds=_label("kind: class_label, num_classes: 2, class_names: [cat, dog]"),
        fix="Remove the blank; label-guard lint --fix does, but not with dtype: string, where the data hold the name.",
        severity="warning",
    ),
    Rule(
        "LG220",
        "blanket-noqa",
        "A noqa comment names no rule.",
        why="A comment that quiets everything also quiets what nobody has thought of yet.",
        breaks=_label("kind: class_label, num_classes: 10, ignore: [-1]} # noqa\n  other: {kind: real_label"),
        holds=_label("kind: class_label, num_classes: 10, ignore: [-1]} # noqa: LG215\n  other: {kind: real_label"),
        fix="Name the rule: # noqa: LG215. What keeps a file from loading cannot be quieted.",
        severity="warning",
    ),
    Rule(
        "LG221",
        "unused-noqa",
        "A noqa comment suppresses nothing.",
        why="A comment that quiets nothing waits to quiet the next mistake in its line.",
        breaks=_label("kind: class_label, num_classes: 10} # noqa: LG215\n  other: {kind: real_label"),
        holds=_label("kind: class_label, num_classes: 10}\n  other: {kind: real_label"),
        fix="Remove it, or correct its code.",
        severity="warning",
    ),
    Rule(
        "LG222",
        "duplicate-key",
        "A key is repeated in one mapping.",
        why="YAML forbids it, but most readers take the last and say nothing: a file with num_classes: 10 and, further "
        "down, num_classes: 12 is one of 12 classes to them, and of 10 to whoever reads it from the top.",
        breaks=_label("kind: class_label, num_classes: 10, num_classes: 12"),
        holds=_label("kind: class_label, num_classes: 12"),
        fix="Remove one.",
    ),
    Rule(
        "LG223",
        "mask-name-taken",
        "A label has the name of the validity mask of another label.",
        why="Under mask, and wherever a label declares ignore or unlabeled values, the guard adds a validity mask "
        "named {label}_valid. It would replace the label of that name, so the guard refuses to start.",
        breaks=SchemaExample(
            "labels:\n  box: {kind: class_label, num_classes: 3}\n  box_valid: {kind: class_label, num_classes: 2}\n"
        ),
        holds=SchemaExample(
            "labels:\n  box: {kind: class_label, num_classes: 3}\n  box_ok: {kind: class_label, num_classes: 2}\n"
        ),
        fix='Rename the label, or pass another valid_key, such as valid_key="{label}_mask".',
        severity="warning",
    ),
    Rule(
        "LG230",
        "source-label-missing",
        "The dataset has no feature of the label's name.",
        why="The guard would find no label in any record: LG104 for the whole dataset.",
        breaks=SourceExample("labels:\n  labels: {kind: class_label, num_classes: 3}\n", _FEATURE),
        holds=SourceExample(_THREE, _FEATURE),
        fix="Write the path of the feature: objects/label for one inside a sequence.",
    ),
    Rule(
        "LG231",
        "source-class-count",
        "The dataset's metadata declares another number of classes.",
        why="With more classes declared than the data have, logits are trained for nothing; with fewer, records are "
        "rejected. TFDS is not always right: it declares 37 classes for the 26 letters of EMNIST.",
        breaks=SourceExample(_text("kind: class_label, num_classes: 4"), _FEATURE),
        holds=SourceExample(_THREE, _FEATURE),
        fix="Audit the data to see which is right. If it is the schema, quiet the line: # noqa: LG231.",
    ),
    Rule(
        "LG232",
        "source-class-names",
        "The dataset's metadata has other class names or another order.",
        why="Names in another order are the classic silent mistake: every number is right, and every report is wrong.",
        breaks=SourceExample(_text("kind: class_label, num_classes: 2, class_names: [dog, cat]"), _NAMED),
        holds=SourceExample(_text("kind: class_label, num_classes: 2, class_names: [cat, dog]"), _NAMED),
        fix="Take the order of the dataset: the ids in the records follow it.",
    ),
    Rule(
        "LG233",
        "source-dtype",
        "The dataset's metadata declares another dtype or shape.",
        why="TFDS decodes by its metadata: where they declare uint8, a stored -1 is read as 255, and 2**31 + 5 as 5, a "
        "label like any other. A schema that expects int64 would call it a wrong dtype in every record.",
        breaks=SourceExample(_text("kind: class_label, num_classes: 3, dtype: uint8"), _FEATURE),
        holds=SourceExample(_text("kind: class_label, num_classes: 3, dtype: int64"), _FEATURE),
        fix="Declare the dtype and shape that the metadata give, and emit for the dtype that training shall get.",
    ),
    Rule(
        "LG234",
        "source-split",
        "The dataset's metadata has no such split, or another size.",
        why="Either records were added or lost, or the metadata are stale: with 400 in place of 500 for a shard, TFDS "
        "never reads the last 100 records and says nothing.",
        breaks=SourceExample(_THREE + "splits:\n  train: {num_examples: 90}\n", _FEATURE),
        holds=SourceExample(_THREE + "splits:\n  train: {num_examples: 100}\n", _FEATURE),
        fix="Find out which is right, by an audit or from the dataset's documentation.",
    ),
)
