"""Rules of records, LG1xx."""

from __future__ import annotations

from label_guard.rules.rule import DatasetExample, RecordExample, Rule

_TEN = "labels:\n  label: {kind: class_label, num_classes: 10}\n"
_CSV = _TEN + "splits:\n  train: {source: 'csv:train.csv'}\n"
_REPLACED = "labels:\n  label: {kind: class_label, num_classes: 10, ignore: [-1], on_ignore: replace}\n"
_INT32 = "labels:\n  label: {kind: class_label, num_classes: 10, dtype: int32}\n"
_FLOATS = "labels:\n  label: {kind: class_label, num_classes: 10, dtype: [int64, float32]}\n"
_TAGS = "labels:\n  tags: {kind: multi_label, num_classes: 3}\n"
_SOFT = "labels:\n  label: {kind: soft_label, num_classes: 3, dtype: float32}\n"
_REAL = "labels:\n  score: {kind: real_label, minimum: 0, maximum: 5}\n"
_IDS = "labels:\n  ids: {kind: class_label, num_classes: 1000, shape: [null], unique: true, min_length: 1}\n"
_NAMED = "labels:\n  label: {kind: class_label, num_classes: 2, class_names: [cat, dog], dtype: string}\n"
_SNLI = """\
labels:
  label: {kind: class_label, num_classes: 3}
splits:
  train: {num_examples: 550152}
  test: {num_examples: 10000, labels: {label: {unlabeled: -1, on_unlabeled: replace}}}
"""

RULES = (
    Rule(
        "LG101",
        "label-out-of-range",
        "A class id is >= num_classes, or a raw id is not in class_ids.",
        why="optax.softmax_cross_entropy_with_integer_labels gathers outside the logits: the loss is NaN, but its "
        "gradient is finite. The backward pass drops the index and keeps the softmax, so every logit of the record "
        "is pushed down; the weights are damaged while they stay finite, and optax.apply_if_finite lets the update "
        "pass. jax.nn.one_hot gives a row of zeros instead: loss 0, and the record is silently ignored.",
        breaks=RecordExample(_TEN, '{"label": np.int64(10)}'),
        holds=RecordExample(_TEN, '{"label": np.int64(9)}'),
        fix="Look at which values occur. 1 to num_classes: the ids start at 1, declare class_ids: {start: 1}. One value"
        " far outside, such as 255: a sentinel, declare ignore: [255]. Ids with gaps: declare class_ids. Otherwise "
        "the record is wrong, or num_classes too small.",
    ),
    Rule(
        "LG102",
        "label-negative",
        "A class id is negative and not declared.",
        why="A negative index counts from the end: -1 trains the last class, -2 the one before, down to -num_classes. "
        "Loss and gradient are finite and look right; jax_debug_nans and checkify report nothing. Below "
        "-num_classes the loss is NaN with a finite gradient, as in LG101.",
        breaks=RecordExample(_TEN, '{"label": np.int64(-1)}'),
        holds=RecordExample(_REPLACED, '{"label": np.int64(-1)}'),
        fix="Where -1 means that a split has no labels, declare unlabeled: -1 for that split; where it marks places "
        "that the loss must skip, declare it under ignore. Otherwise the record is wrong.",
    ),
    Rule(
        "LG103",
        "label-dtype",
        "The dtype is not the declared one.",
        why="Without x64, JAX wraps int64 to int32 on the way to the device and says nothing: label 2**32 + 1 arrives "
        "as 1. A dtype that is too narrow is worse, because labels that are right go wrong: jax.nn.one_hot of uint8"
        " 10 with 300 classes is hot at 10 and at 266. bool and object arrays stop a step, or are cast by the "
        "loader.",
        breaks=RecordExample(_INT32, '{"label": np.int64(3)}'),
        holds=RecordExample(_INT32, '{"label": np.int32(3)}'),
        fix="Declare the dtype that is stored, and emit: int32 for the one that training shall get. Numbers "
        "of Python, CSV and JSON have a kind and no width: where floats are declared 40 is 40.0, but the id 1 is never "
        "written 1.0.",
    ),
    Rule(
        "LG104",
        "label-missing",
        "The label is absent or None.",
        why="A record without the feature yields None: TFDS decodes it so, without an error. Batching then makes an "
        "object array that no device takes, or, in a worker process of Grain, ends the worker.",
        breaks=RecordExample(_TEN, '{"image": np.zeros((8, 8, 1), np.uint8)}'),
        holds=RecordExample(_TEN, '{"image": np.zeros((8, 8, 1), np.uint8), "label": np.int64(3)}'),
        fix="Check the path of the label in the schema first: nested features are written objects/label. If the path is"
        " right, the record has no label.",
    ),
    Rule(
        "LG105",
        "label-shape",
        "The rank or a fixed dimension differs from the declared shape.",
        why="Labels of shape [batch, 1] broadcast against one row of logits each: through jax.nn.one_hot the loss has "
        "shape [batch, batch], every record is trained towards the labels of all others, and the gradient has a "
        "cosine of 0.15 to the right one. A single label of shape [1] is broadcast to the whole batch.",
        breaks=RecordExample(_TEN, '{"label": np.array([3])}'),
        holds=RecordExample(_TEN, '{"label": np.int64(3)}'),
        fix="Squeeze the axis in a map before the guard, or declare the shape that is stored: shape: [1]. For what a "
        "crop or a pad makes of a mask, declare a view.",
    ),
    Rule(
        "LG106",
        "label-not-integral",
        "A float such as 2.7 where a class index is declared.",
        why="jax.nn.one_hot of 2.7 is a row of zeros: softmax cross-entropy gives loss 0 and gradient 0, a sigmoid loss"
        " trains 'none of the classes'. TFDS's ClassLabel truncates it to 2 when the dataset is written.",
        breaks=RecordExample(_FLOATS, '{"label": np.float32(2.7)}'),
        holds=RecordExample(_FLOATS, '{"label": np.float32(2.0)}'),
        fix="A float with a fraction is not a class id: find the step that averaged, resized or normalised the labels. "
        "Masks are resized with the nearest neighbour. For targets that are real numbers use kind: real_label.",
    ),
    Rule(
        "LG107",
        "label-not-finite",
        "A value is NaN or infinite.",
        why="One NaN or infinity among the targets makes loss and gradient NaN, and the next update makes every weight "
        "NaN. As an integer it is worse: jnp casts NaN to class 0.",
        breaks=RecordExample(_REAL, '{"score": np.float32("nan")}'),
        holds=RecordExample(_REAL, '{"score": np.float32(2.5)}'),
        fix="NaN often marks a target that was not measured: drop these records, or mask them.",
    ),
    Rule(
        "LG108",
        "label-not-binary",
        "A multi_label value is not 0 or 1, or too few or too many are 1.",
        why="A sigmoid loss takes any number for a target. With 255 for 1 it has no lower bound: -160 on a row where it"
        " should be 3, and training runs away. With -1 for 'unknown' it falls below the clean loss, so the model is"
        " paid for it. Hinge losses want -1 and 1 instead: with 0 and 1 the negatives have no gradient.",
        breaks=RecordExample(_TAGS, '{"tags": np.array([0, 255, 0], np.uint8)}'),
        holds=RecordExample(_TAGS, '{"tags": np.array([0, 1, 0], np.uint8)}'),
        fix="Divide 255 by 255 where the mask was a picture; declare values for 'unknown' under ignore. Where a row has"
        " too few or too many ones, check min_positive and max_positive.",
    ),
    Rule(
        "LG109",
        "label-not-normalized",
        "A soft_label is negative or does not sum to 1.",
        why="Softmax cross-entropy is linear in the labels: a row that sums to 2 counts twice, one of zeros not at all,"
        " and neither shows. A negative entry is finite in softmax cross-entropy and NaN, with a finite gradient, "
        "in optax's KL divergence.",
        breaks=RecordExample(_SOFT, '{"label": np.array([0.5, 0.6, 0.2], np.float32)}'),
        holds=RecordExample(_SOFT, '{"label": np.array([0.5, 0.3, 0.2], np.float32)}'),
        fix="Divide votes by their number. Labels rounded to float16 or to percent need a larger tolerance.",
    ),
    Rule(
        "LG110",
        "label-unlabeled",
        "A value that only another split declares as unlabeled.",
        why="The schema says what the value means, but not for this split: SNLI marks pairs without a verdict with -1 "
        "in train as well as in test, 785 of them. They train the last class.",
        breaks=RecordExample(_SNLI, '{"label": np.int64(-1)}', split="train"),
        holds=RecordExample(_SNLI, '{"label": np.int64(-1)}', split="test"),
        fix="Declare it for this split too, with on_unlabeled: skip, or look for a test file among the training files.",
    ),
    Rule(
        "LG111",
        "label-length",
        "A ragged label is too short, too long, or repeats an id.",
        why="Once it is batched, an image without any label holds only padding. 3,163 of the 50,000 images of "
        "ImageNet ReaL have no label, and how they are counted decides the accuracy. An id that repeats counts "
        "twice in a loss that sums over ids.",
        breaks=RecordExample(_IDS, '{"ids": np.array([], np.int64)}'),
        holds=RecordExample(_IDS, '{"ids": np.array([17, 21])}'),
        fix="Where empty or repeated ids are meant, leave min_length or unique out. Otherwise drop the record.",
    ),
    Rule(
        "LG112",
        "label-outside-limits",
        "A real_label lies outside minimum..maximum.",
        why="A sentinel such as -999 is a number to a regression loss: one in a batch of 1,024 adds nearly 1,000 to a "
        "mean squared error that should be near 1, and its gradient outweighs that of all others.",
        breaks=RecordExample(_REAL, '{"score": np.float32(-999)}'),
        holds=RecordExample(_REAL, '{"score": np.float32(5)}'),
        fix="Drop sentinels before training. Where the value is real, widen minimum and maximum.",
    ),
    Rule(
        "LG113",
        "label-unknown-name",
        "A stored class name is not one of class_names.",
        why="A name that is not in class_names has no index. Code that looks it up with a default trains the default "
        "class; code that builds its own table from the data gives every class another index.",
        breaks=RecordExample(_NAMED, '{"label": "Dog"}'),
        holds=RecordExample(_NAMED, '{"label": "dog"}'),
        fix="Compare the name with class_names: case, white space and spelling count. Correct the record, or add the "
        "name to the end of class_names.",
    ),
    Rule(
        "LG120",
        "record-unreadable",
        "The record cannot be decoded.",
        why="A record that cannot be decoded has no label to check. A loader that raises for it ends the epoch or loses"
        " the rest of its file; one that skips it makes the dataset smaller than its metadata says.",
        breaks=DatasetExample(_CSV, r'"label,id\n3,a\n4\n"'),
        holds=DatasetExample(_CSV, r'"label,id\n3,a\n4,b\n"'),
        fix="Compare the file's checksum with its origin and copy it again. To train meanwhile, let the source pass the"
        " record by: keyed(source, on_unreadable=...).",
    ),
)
