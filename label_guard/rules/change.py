"""Rules of changes, LG3xx.

A change breaks its rule while the version does not declare it; the example that holds is the same change, declared.
"""

from __future__ import annotations

from typing import Literal

from label_guard.rules.rule import ChangeExample, Rule

_VERSIONS = {"major": "2.0.0", "minor": "1.1.0", "patch": "1.0.1"}
_MEANT = {
    "major": "If it is intended, write version: 2.0.0, so that everyone who trains on the old version learns of it.",
    "minor": "If it is intended, write version: 1.1.0.",
    "patch": "Write version: 1.0.1.",
}
_TWO = "kind: class_label, num_classes: 2, class_names: [cat, dog]"


def _change(
    code: str,
    name: str,
    summary: str,
    why: str,
    old: str,
    new: str,
    *,
    bump: Literal["major", "minor", "patch"] = "major",
    fix: str = "",
) -> Rule:
    breaks = ChangeExample(_file(old), _file(new))
    holds = ChangeExample(_file(old), _file(new, _VERSIONS[bump]))
    severity = "error" if bump == "major" else "warning"
    return Rule(code, name, summary, why, breaks, holds, f"{_MEANT[bump]} {fix}".rstrip(), severity)


def _file(body: str, version: str = "1.0.0") -> str:
    name = "" if body.startswith("name:") else "name: pets\n"
    return f"format: 1\n{name}version: {version}\n{body}"


def _label(fields: str) -> str:
    return f"labels:\n  label: {{{fields}}}\n"


def _ids(fields: str) -> str:
    return _label(f"kind: class_label, num_classes: 10, {fields}")


def _split(text: str) -> str:
    return f"{_label(_TWO)}splits:\n  train: {{num_examples: 100}}\n{text}"


def _view(text: str) -> str:
    return f"{_label(_TWO)}views:\n  batch: {{labels: {{label: {{shape: [4]}}}}}}\n{text}"


RULES = (
    _change(
        "LG301",
        "label-removed",
        "A label is no longer declared.",
        "Nothing checks the label any more: pipelines that still use it train on whatever is stored.",
        _label(_TWO) + "  age: {kind: real_label}\n",
        _label(_TWO),
    ),
    _change(
        "LG302",
        "label-added",
        "A label is declared that records may not have.",
        "Records without the label, legal until now, are refused: a pipeline loses them all.",
        _label(_TWO),
        _label(_TWO) + "  age: {kind: real_label}\n",
    ),
    _change(
        "LG303",
        "label-renamed",
        "A label has another path.",
        "A loss that looks for the old key in the batch stops with a KeyError, or takes a default.",
        "labels:\n  label: {kind: class_label, num_classes: 2}\n",
        "labels:\n  breed: {kind: class_label, num_classes: 2}\n",
        fix="Or rename the feature in a map, after the guard.",
    ),
    _change(
        "LG304",
        "kind-changed",
        "A label is of another kind.",
        "Another kind of label needs another loss and another last layer. Class ids in a loss for distributions are "
        "silent nonsense where the batch size happens to equal the number of classes.",
        _label("kind: class_label, num_classes: 2"),
        _label("kind: soft_label, num_classes: 2"),
    ),
    _change(
        "LG305",
        "class-count-changed",
        "A label has more or fewer classes.",
        "A trained model has an output for each old class. For an id past them the loss is NaN with a finite gradient, "
        "and the weights are damaged while they stay finite.",
        _label("kind: class_label, num_classes: 2"),
        _label("kind: class_label, num_classes: 3"),
        fix="Retrain, or give the last layer its new rows.",
    ),
    _change(
        "LG306",
        "class-reordered",
        "Class names have other ids: permuted, or shifted.",
        "Every old label and every old output now means another class. Loss and gradient look as good as ever; only "
        "people who look at pictures see it.",
        _label(_TWO),
        _label("kind: class_label, num_classes: 2, class_names: [dog, cat]"),
        fix="Names in another order are seldom meant: a sorted list is the usual cause. Append new classes at the end.",
    ),
    _change(
        "LG307",
        "class-renamed",
        "A class has another name at the same id.",
        "An output that meant one class has the name of another, and no machine can distinguish a better word "
        "from another thing. Pipelines see no difference; trained models do. Where the data hold the names "
        "(dtype: string), another spelling is enough: data with the old one is refused.",
        _label(_TWO),
        _label("kind: class_label, num_classes: 2, class_names: [cat, wolf]"),
    ),
    _change(
        "LG308",
        "class-respelled",
        "A class name differs by case, white space, or a - or _ between two letters or digits.",
        "The same class in another spelling: models and pipelines see no difference, a lookup by name does.",
        _label(_TWO),
        _label("kind: class_label, num_classes: 2, class_names: [Cat, dog]"),
        bump="patch",
    ),
    _change(
        "LG309",
        "class-names-removed",
        "The classes have no names any more.",
        "Without names nothing says which class an id is, so a later change of their order could not be seen.",
        _label(_TWO),
        _label("kind: class_label, num_classes: 2"),
    ),
    _change(
        "LG310",
        "class-names-added",
        "The classes have names now.",
        "The classes get names and keep their ids: nothing breaks.",
        _label("kind: class_label, num_classes: 2"),
        _label(_TWO),
        bump="minor",
    ),
    _change(
        "LG311",
        "class-ids-changed",
        "A class has another raw id.",
        "The guard turns raw ids into dense ones by this table. With another table the same record trains another "
        "class, and nothing shows it: 70 of COCO's 80 dense ids are legal raw ids as well.",
        _label("kind: class_label, num_classes: 3, class_ids: [1, 2, 3]"),
        _label("kind: class_label, num_classes: 3, class_ids: [1, 3, 2]"),
        fix="Append new ids at the end, as new classes.",
    ),
    _change(
        "LG312",
        "dtype-changed",
        "The stored dtypes changed.",
        "Data stored in a dtype that is no longer declared are refused; one that is newly emitted may be too narrow "
        "for the loss, or make jit compile again.",
        _ids("dtype: int64"),
        _ids("dtype: uint8"),
        fix="To accept both, declare a list, and emit: int32 for one dtype in training.",
    ),
    _change(
        "LG313",
        "emit-changed",
        "The emitted dtype changed.",
        "The loss gets a dtype it never got: jit compiles again, and code that tested for the old one fails.",
        _ids("emit: int32"),
        _ids("emit: int16"),
    ),
    _change(
        "LG314",
        "shape-changed",
        "The shape of a label changed.",
        "Labels of the old shape are refused, or the loss gets a shape it never got, and [batch, 1] with [batch] "
        "broadcasts silently.",
        _ids("shape: []"),
        _ids("shape: [1]"),
    ),
    _change(
        "LG315",
        "ignore-removed",
        "An ignore value is no longer declared.",
        "Data that hold the value are refused, and where it was the last one the batch loses its validity mask.",
        _ids("ignore: [255], on_ignore: replace"),
        _ids("ignore: []"),
    ),
    _change(
        "LG316",
        "ignore-added",
        "A value is newly declared as ignored.",
        "A loss that does not skip the value trains on it: -1 is the last class, 255 a NaN. The batch may gain a "
        "validity mask that the loss does not know.",
        _ids("ignore: []"),
        _ids("ignore: [255]"),
        fix="With on_ignore: replace a loss that ignores the mask trains class 0 rather than NaN.",
    ),
    _change(
        "LG317",
        "unlabeled-changed",
        "The value for unlabeled records changed, was added or was removed.",
        "Records that were refused are delivered, or the other way round, and a validity mask comes or goes.",
        _ids("unlabeled: -1, on_unlabeled: replace"),
        _ids("unlabeled: -2, on_unlabeled: replace"),
    ),
    _change(
        "LG318",
        "sentinel-handling-changed",
        "on_ignore or on_unlabeled changed.",
        "Such positions of the array hold something else: a loss that looks for the sentinel finds class 0, "
        "or one that relied on the mask alone meets the sentinel.",
        _ids("ignore: [255]"),
        _ids("ignore: [255], on_ignore: replace"),
    ),
    _change(
        "LG319",
        "label-rule-tightened",
        "A rule of a label refuses what it accepted.",
        "Records that were legal are refused: epochs become shorter, and stop_above may stop a run.",
        _label("kind: real_label, minimum: 0, maximum: 9"),
        _label("kind: real_label, minimum: 0, maximum: 5"),
    ),
    _change(
        "LG320",
        "label-rule-loosened",
        "A rule of a label accepts what it refused.",
        "The loss gets what was refused before, such as targets out of the range that a last layer is scaled to.",
        _label("kind: real_label, minimum: 0, maximum: 5"),
        _label("kind: real_label, minimum: 0, maximum: 9"),
    ),
    _change(
        "LG321",
        "split-removed",
        "A split is no longer declared.",
        "A pipeline that asks for the split stops when it is built.",
        _split("  test: {num_examples: 20}\n"),
        _split(""),
    ),
    _change(
        "LG322",
        "split-added",
        "A split is newly declared.",
        "No pipeline asks for it yet. Where the schema had one split, or none, pipelines that name none must now say "
        "which, and then it is a breaking change.",
        _split("  test: {num_examples: 20}\n"),
        _split("  test: {num_examples: 20}\n  extra: {num_examples: 5}\n"),
        bump="minor",
    ),
    _change(
        "LG323",
        "split-renamed",
        "A split has another name.",
        "A pipeline that asks for the old name stops when it is built.",
        _split("  val: {num_examples: 20}\n"),
        _split("  validation: {num_examples: 20}\n"),
    ),
    _change(
        "LG324",
        "split-size-changed",
        "A split declares another number of records.",
        "No label rule changes, but an epoch has another length, and schedules that count steps depend on it.",
        _split("  test: {num_examples: 20}\n"),
        _split("  test: {num_examples: 25}\n"),
        bump="minor",
    ),
    _change(
        "LG325",
        "view-removed",
        "A view is no longer declared.",
        "A pipeline that asks for the view stops when it is built.",
        _view("  crop: {labels: {label: {shape: [8]}}}\n"),
        _view(""),
    ),
    _change(
        "LG326",
        "view-added",
        "A view is newly declared.",
        "No pipeline asks for it yet.",
        _view(""),
        _view("  crop: {labels: {label: {shape: [8]}}}\n"),
        bump="minor",
    ),
    _change(
        "LG327",
        "view-renamed",
        "A view has another name.",
        "A pipeline that asks for the old name stops when it is built.",
        _view("  crop: {labels: {label: {shape: [8]}}}\n"),
        _view("  cropped: {labels: {label: {shape: [8]}}}\n"),
    ),
    _change(
        "LG330",
        "name-changed",
        "The dataset has another name.",
        "Quarantines and reports know a dataset by its name: what they hold belongs to the old one.",
        "name: pets\n" + _label(_TWO),
        "name: cats_and_dogs\n" + _label(_TWO),
    ),
    _change(
        "LG331",
        "record-key-changed",
        "Records are known by another key.",
        "Records have other keys: those in quarantines, indexes and reports no longer match a record.",
        "record_key: id\n" + _label(_TWO),
        "record_key: file_name\n" + _label(_TWO),
    ),
    _change(
        "LG332",
        "limit-tightened",
        "An audit accepts less.",
        "Only audits apply limits: data that passed may fail now.",
        _label(_TWO) + "limits: {max_invalid_ratio: 0.01}\n",
        _label(_TWO) + "limits: {max_invalid_ratio: 0.0}\n",
        bump="minor",
    ),
    _change(
        "LG333",
        "limit-loosened",
        "An audit accepts more.",
        "Only audits apply limits: data that failed may pass now, so look twice at why.",
        _label(_TWO) + "limits: {max_invalid_ratio: 0.0}\n",
        _label(_TWO) + "limits: {max_invalid_ratio: 0.01}\n",
        bump="minor",
    ),
    _change(
        "LG334",
        "documentation-changed",
        "A description or source changed.",
        "It is for people: no label, model or pipeline is concerned.",
        "description: Cats and dogs.\n" + _label(_TWO),
        "description: Photographs of cats and dogs.\n" + _label(_TWO),
        bump="patch",
    ),
    _change(
        "LG335",
        "encoding-changed",
        "A label is stored in another form: encoding, values, separator, columns.",
        "Data in the old form is refused. Where columns change places, or positive and negative, every value is taken "
        "for another class or for its opposite. A separator that is added to lists of ids refuses nothing.",
        _label("kind: multi_label, num_classes: 2, dtype: int8"),
        _label("kind: multi_label, num_classes: 2, dtype: int8, negative: -1"),
    ),
    _change(
        "LG336",
        "where-changed",
        "Another feature says which positions of a label count.",
        "Positions that were checked are no longer checked, or the reverse, and the validity mask is False at others.",
        _label(_TWO),
        _label(_TWO + ", where: weights"),
    ),
    Rule(
        "LG340",
        "schema-removed",
        "A schema file was removed.",
        why="Nothing checks the labels any more, and a pipeline that names the file does not start.",
        breaks=ChangeExample(_file(_label(_TWO)), ""),
        holds=ChangeExample(_file(_label(_TWO)), _file(_label(_TWO))),
        fix="Restore the file. Where it is meant to go, leave it out of the files to compare.",
    ),
    Rule(
        "LG341",
        "schema-added",
        "A schema file is new.",
        why="Nothing depends on it yet; it is reported so that a review sees it, and is an error under "
        "--fail-on any only.",
        breaks=ChangeExample("", _file(_label(_TWO)), fail_on="any"),
        holds=ChangeExample("", _file(_label(_TWO))),
        fix="Nothing to do.",
        severity="warning",
    ),
    Rule(
        "LG342",
        "schema-moved",
        "A schema file has another place.",
        why="The path of a file is not part of its label rules, but pipelines name the file by it. It is an error "
        "under --fail-on any only.",
        breaks=ChangeExample(_file(_label(_TWO)), _file(_label(_TWO)), moved=True, fail_on="any"),
        holds=ChangeExample(_file(_label(_TWO)), _file(_label(_TWO)), moved=True),
        fix="Correct the paths in training configurations.",
        severity="warning",
    ),
    Rule(
        "LG343",
        "old-schema-unreadable",
        "The earlier schema cannot be read, so nothing can be compared.",
        why="What cannot be read cannot be compared, so a breaking change could pass unseen: exit code 2.",
        breaks=ChangeExample(_file("labels: {}\n"), _file(_label(_TWO))),
        holds=ChangeExample(_file(_label(_TWO)), _file(_label(_TWO))),
        fix="Compare with a revision whose file is sound: --against REF --exact.",
    ),
    _change(
        "LG350",
        "version-not-moved",
        "The version does not declare what changed.",
        "The version is how a training job learns that its labels changed their meaning; a change without a new "
        "version goes unnoticed.",
        _label("kind: class_label, num_classes: 2"),
        _label("kind: class_label, num_classes: 3"),
        fix="The message gives the version to write.",
    ),
    Rule(
        "LG351",
        "version-went-back",
        "The version is lower than before.",
        why="A lower version says that older rules hold again; two sets of rules under one version cannot be "
        "distinguished.",
        breaks=ChangeExample(_file(_label(_TWO), "1.1.0"), _file(_label(_TWO), "1.0.0")),
        holds=ChangeExample(_file(_label(_TWO), "1.1.0"), _file(_label(_TWO), "1.1.0")),
        fix="To go back, release the old rules under a new, higher version.",
    ),
)
