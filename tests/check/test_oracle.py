"""``Guard.check`` equals a slow, obvious oracle: row by row, rule by rule, value by value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from label_guard import CheckResult, DatasetSchema, Guard

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
FAMILIES = {
    "integer": INTEGERS, "signed": INTEGERS[:4], "unsigned": INTEGERS[4:], "floating": FLOATS,
}  # fmt: skip
DEFAULTS = {
    "class_label": ["integer"], "multi_label": ["bool", "integer", "floating"],
    "soft_label": ["floating"], "real_label": ["floating"],
}  # fmt: skip


# The oracle: one record, one value at a time, plain Python numbers, straight from the design ------------------------


def admitted(label: dict[str, Any]) -> set[str]:
    """Dtypes that the label may be stored in; ids that JAX would index wrongly are out unless ``emit`` widens them."""
    declared = label.get("dtype", DEFAULTS[label["kind"]])
    if "dtype" not in label and label.get("ignore") and label["kind"] == "multi_label":
        declared = ["integer", "floating"]  # bool holds 0 and 1 alone
    names = {n for d in ([declared] if isinstance(declared, str) else declared) for n in FAMILIES.get(d, [d])}
    if label["kind"] != "class_label" or "emit" in label:
        return names
    classes = label["num_classes"]
    return {
        n for n in names
        if n not in INTEGERS or np.iinfo(n).max >= (classes if n.startswith("int") else classes - 1)
    }  # fmt: skip


def class_rule(value: Any, label: dict[str, Any], elsewhere: set[int]) -> str | None:
    """The rule that one class id breaks."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return "LG107"
        if value != int(value):
            return "LG106"
    number = int(value)
    ids = label.get("class_ids", range(label["num_classes"]))
    if isinstance(ids, dict):
        ids = range(ids["start"], ids["start"] + label["num_classes"])
    if number in ids or number in label.get("ignore", []) or number == label.get("unlabeled"):
        return None
    if number in elsewhere:
        return "LG110"
    return "LG102" if number < 0 else "LG101"


def row_rules(row: list[Any], label: dict[str, Any]) -> dict[str, tuple[int, Any]]:
    """Rule -> (count, first value) of one row of the class axis."""
    ignore = label.get("ignore", [])
    if label["kind"] == "multi_label":
        bad = [v for v in row if v not in (0, 1) and v not in ignore]
        broken = [v for v in bad if isinstance(v, float) and not math.isfinite(v)]
        rest = [v for v in bad if not (isinstance(v, float) and not math.isfinite(v))]
        found: dict[str, tuple[int, Any]] = {}
        if broken:
            found["LG107"] = (len(broken), broken[0])
        if rest:
            found["LG108"] = (len(rest), rest[0])
        ones = sum(1 for v in row if v == 1)
        low, high = label.get("min_positive", 0), label.get("max_positive", len(row))
        if not rest and not low <= ones <= high:
            found["LG108"] = (1, f"{ones} ones")
        return found
    broken = [v for v in row if not math.isfinite(v)]
    if broken:
        return {"LG107": (len(broken), broken[0])}
    wrong = [v for v in row if (v not in (0, 1) if label.get("one_hot") else v < 0)]
    if wrong:
        return {"LG109": (len(wrong), wrong[0])}
    total = float(np.add.reduce(np.array([row]), axis=1, dtype=np.float64)[0])
    if label.get("one_hot"):
        return {} if total == 1 else {"LG109": (1, total)}
    return {} if abs(total - 1) <= label.get("tolerance", 1e-3) else {"LG109": (1, total)}


def oracle(value: Any, label: dict[str, Any], elsewhere: set[int]) -> dict[str, tuple[int, Any]]:
    """Rule -> (count of positions, first value) of one record's label: an array, or a Python number or list."""
    if value is None:
        return {"LG104": (1, "missing")}
    classes = [label["num_classes"]] if label["kind"] in ("multi_label", "soft_label") else []
    shape = [*label.get("shape", []), *classes]
    if value.dtype.name not in admitted(label) or not value.dtype.isnative:
        return {"LG103": (1, None)}
    if len(shape) != value.ndim or any(w is not None and w != h for w, h in zip(shape, value.shape, strict=True)):
        return {"LG105": (1, None)}
    if label["kind"] in ("multi_label", "soft_label"):
        return rows_of(value, label)
    found: dict[str, list[Any]] = {}
    for item in (item.item() for item in value.reshape(-1)):
        rule = real_rule(item, label) if label["kind"] == "real_label" else class_rule(item, label, elsewhere)
        if rule:
            found.setdefault(rule, []).append(item)
    return {rule: (len(values), values[0]) for rule, values in found.items()}


def rows_of(value: np.ndarray[Any, Any], label: dict[str, Any]) -> dict[str, tuple[int, Any]]:
    """Rules of every row of the class axis, added up."""
    counted: dict[str, tuple[int, Any]] = {}
    for row in value.reshape(-1, label["num_classes"]):
        for rule, (count, first) in row_rules([item.item() for item in row], label).items():
            before = counted.get(rule)
            counted[rule] = (count, first) if before is None else (before[0] + count, before[1])
    return counted


def real_rule(value: float, label: dict[str, Any]) -> str | None:
    """The rule that one regression target breaks."""
    if not math.isfinite(value):
        return "LG107"
    return None if label.get("minimum", -math.inf) <= value <= label.get("maximum", math.inf) else "LG112"


# Comparing --------------------------------------------------------------------------------------------------------


def reported(result: CheckResult) -> list[dict[str, tuple[int, Any]]]:
    """What the guard found, in the oracle's form."""
    return [{v.rule: (v.count, v.value) for v in result.of_row(row)} for row in range(result.num_records)]


def same(ours: dict[str, tuple[int, Any]], theirs: dict[str, tuple[int, Any]]) -> bool:
    """Whether rules, counts and values agree; what a whole label's value is called is not the oracle's business."""
    if set(ours) != set(theirs):
        return False
    for rule, (count, value) in theirs.items():
        mine = ours[rule]
        if rule in ("LG103", "LG104", "LG105"):
            continue
        equal = mine[1] == value or (value != value and mine[1] != mine[1])
        if mine[0] != count or not equal:
            return False
    return True


def guard_of(label: dict[str, Any], elsewhere: set[int]) -> Guard:
    """A guard for one label and a split whose sibling declares ``elsewhere`` as unlabeled."""
    splits: dict[str, Any] = {"test": {}}
    splits |= {f"other{i}": {"labels": {"y": {"unlabeled": value}}} for i, value in enumerate(sorted(elsewhere))}
    schema = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": label}, "splits": splits}
    return Guard(DatasetSchema.model_validate(schema), split="test")


# Strategies -------------------------------------------------------------------------------------------------------


@st.composite
def class_labels(draw: st.DrawFn) -> tuple[dict[str, Any], set[int]]:
    """A class label and the values other splits declare as unlabeled."""
    classes = draw(st.sampled_from([1, 2, 10, 127, 128, 255, 256, 257, 300]))
    label: dict[str, Any] = {"kind": "class_label", "num_classes": classes}
    label["dtype"] = draw(st.sampled_from(["integer", "signed", "unsigned", "floating", ["int64", "int32"]]))
    offset = draw(st.sampled_from([None, 0, 1, 5]))
    if offset is not None:
        label["class_ids"] = {"start": offset}
    elif classes == 10 and draw(st.booleans()):
        label["class_ids"] = [1, 2, 3, 5, 8, 13, 40, 41, 90, 5000]
    free = [-1, 255, -100, 70000]
    taken = set(range((offset or 0), (offset or 0) + classes)) | set(
        label.get("class_ids", []) if offset is None else []
    )
    legal = [v for v in free if v not in taken]
    label["ignore"] = draw(st.lists(st.sampled_from(legal), unique=True, max_size=2)) if legal else []
    label["on_ignore"] = "replace"
    rest = [v for v in legal if v not in label["ignore"]]
    elsewhere = set(draw(st.lists(st.sampled_from(rest), unique=True, max_size=1))) if rest else set()
    return label, elsewhere


def values_for(label: dict[str, Any], dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    """Values near every border of the label, as far as the dtype holds them."""
    classes = label.get("num_classes", 2)
    near = [0, 1, 2, classes - 1, classes, classes + 1, -1, -2, -100, 255, 254, 256, 2**31, 2**32 + 1, 2**63, 5000, 90]
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        held = [v for v in near if info.min <= v <= info.max]
        return st.sampled_from(held) | st.integers(int(info.min), int(info.max))
    if dtype.kind == "b":
        return st.booleans()
    width = 8 * dtype.itemsize
    specials: list[float] = [0.0, 1.0, 2.7, 0.5, -1.0, float(classes), math.nan, math.inf, -math.inf]
    fitting = [v for v in specials if not math.isfinite(v) or abs(v) < float(np.finfo(dtype).max)]
    exact = [float(dtype.type(v)) for v in fitting]
    return st.sampled_from(exact) | st.floats(width=width)  # type: ignore[arg-type]


def columns(label: dict[str, Any], shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Batches ``[0..6, *shape]`` of any native or foreign dtype."""
    names = [*INTEGERS, *FLOATS, "bool", ">i4", ">f4"]

    def arrays(name: str) -> st.SearchStrategy[np.ndarray[Any, Any]]:
        dtype = np.dtype(name)
        lengths = st.integers(0, 6)
        return lengths.flatmap(
            lambda n: hnp.arrays(dtype, (n, *shape), elements=values_for(label, dtype.newbyteorder("=")))
        )

    return st.sampled_from(names).flatmap(arrays)


SHAPES: list[tuple[list[int | None], tuple[int, ...]]] = [
    ([], ()), ([], (1,)), ([3], (3,)), ([None], (2,)), ([None], (0,)), ([2, None], (2, 2)), ([3], (2,)), ([3], (3, 1)),
]  # fmt: skip


def assert_checked_as_oracle(label: dict[str, Any], elsewhere: set[int], batch: np.ndarray[Any, Any]) -> None:
    """The batch, its rows as records, and a read-only strided copy are all checked as the oracle does."""
    guard = guard_of(label, elsewhere)
    rows = [batch[i, ...] for i in range(len(batch))]  # 0-d arrays: a scalar would lose a foreign byte order
    expected = [oracle(row, label, elsewhere) for row in rows]
    before = batch.tobytes()
    strided = np.repeat(batch, 2, axis=0)[::2]
    strided.flags.writeable = False
    for ours in (guard.check({"y": batch}, batched=True), guard.check({"y": strided}, batched=True)):
        assert ours.num_records == len(batch)
        assert all(map(same, reported(ours), expected)), (reported(ours), expected)
        assert ours.valid.tolist() == [not rules for rules in expected]
        counts = {rule for rules in expected for rule in rules}
        assert ours.counts == {rule: sum(rule in rules for rules in expected) for rule in sorted(counts)}
    records = guard.check_records([{"y": row} for row in rows]) if len(batch) else None
    if records is not None:
        assert all(map(same, reported(records), expected))
        single = guard.check({"y": rows[0]}, batched=False)
        assert same(reported(single)[0], expected[0])
    assert batch.tobytes() == before


@settings(max_examples=400)
@given(class_labels(), st.sampled_from(SHAPES), st.data())
def test_class_labels_are_checked_as_the_oracle_does(
    pair: tuple[dict[str, Any], set[int]], shapes: tuple[list[int | None], tuple[int, ...]], data: st.DataObject
) -> None:
    """Every integer and float dtype, offsets and gaps, sentinels, every shape: rows, rules, values and counts."""
    label, elsewhere = {**pair[0], "shape": shapes[0]}, pair[1]
    assert_checked_as_oracle(label, elsewhere, data.draw(columns(label, shapes[1])))


@settings(max_examples=200)
@given(
    st.fixed_dictionaries(
        {"num_classes": st.sampled_from([1, 3])},
        optional={
            "ignore": st.just([-1]), "min_positive": st.just(1), "max_positive": st.just(1),
            "dtype": st.sampled_from(["integer", "floating", "bool", "int8"]),
        },
    ),
    st.sampled_from([([], ()), ([2], (2,)), ([None], (1,))]),
    st.booleans(), st.data(),
)  # fmt: skip
def test_multi_labels_are_checked_as_the_oracle_does(
    fields: dict[str, Any], shapes: tuple[list[int | None], tuple[int, ...]], right: bool, data: st.DataObject
) -> None:
    """0, 1 and ignore values, the number of ones, NaN, every dtype and the class axis."""
    if fields.get("dtype") == "bool":
        fields.pop("ignore", None)
    label = {"kind": "multi_label", "shape": shapes[0], **fields}
    axis = fields["num_classes"] if right else 2
    assert_checked_as_oracle(label, set(), data.draw(columns(label, (*shapes[1], axis))))


@settings(max_examples=200)
@given(
    st.fixed_dictionaries(
        {"num_classes": st.sampled_from([1, 3])},
        optional={
            "one_hot": st.just(True), "tolerance": st.just(0.25), "dtype": st.sampled_from(["float32", "floating"]),
        },
    ),
    st.booleans(), st.data(),
)  # fmt: skip
def test_soft_labels_are_checked_as_the_oracle_does(
    fields: dict[str, Any], normalized: bool, data: st.DataObject
) -> None:
    """Finite, not negative, summing to one, one-hot: every dtype."""
    label = {"kind": "soft_label", **fields}
    batch = data.draw(columns(label, (fields["num_classes"],)))
    if normalized and batch.dtype.kind == "f" and len(batch):
        with np.errstate(all="ignore"):
            rows = np.abs(np.nan_to_num(batch.astype(np.float64), nan=0, posinf=1, neginf=1)) % 7 + 0.1
        batch = (rows / rows.sum(axis=-1, keepdims=True)).astype(batch.dtype)
    assert_checked_as_oracle(label, set(), batch)


@settings(max_examples=150)
@given(
    st.fixed_dictionaries({}, optional={"minimum": st.just(-1.0), "maximum": st.sampled_from([5, 2.5])}),
    st.sampled_from([([], ()), ([2], (2,)), ([None], (3,))]), st.data(),
)  # fmt: skip
def test_real_labels_are_checked_as_the_oracle_does(
    fields: dict[str, Any], shapes: tuple[list[int | None], tuple[int, ...]], data: st.DataObject
) -> None:
    """Finite and within inclusive limits, every dtype."""
    label = {"kind": "real_label", "shape": shapes[0], **fields}
    assert_checked_as_oracle(label, set(), data.draw(columns(label, shapes[1])))


ITEMS = st.sampled_from(
    [0, 9, 10, -1, 255, 2**63, 2**70, -(2**70), 2.7, 2.0, math.nan, math.inf, True, None, "3", b"3", 1j]
)


def item_rule(item: Any, elsewhere: set[int]) -> str | None:
    """The rule a Python object breaks as a class id of 10 classes stored as integers: it has a kind, no width."""
    if item is None:
        return "LG104"
    if isinstance(item, bool) or not isinstance(item, int | float):
        return "LG103"
    if isinstance(item, float):
        return "LG107" if not math.isfinite(item) else "LG106" if item != int(item) else "LG103"
    if 0 <= item < 10:
        return None
    return "LG110" if item in elsewhere else "LG102" if item < 0 else "LG101"


@settings(max_examples=300)
@given(st.lists(ITEMS, min_size=1, max_size=6), st.sampled_from([set(), {-1}]))
def test_python_values_have_a_kind_and_no_width(items: list[Any], elsewhere: set[int]) -> None:
    """A list, an object array and single records of Python values are checked item by item, all alike."""
    guard = guard_of({"kind": "class_label", "num_classes": 10}, elsewhere)
    expected = [item_rule(item, elsewhere) for item in items]
    boxed = np.empty(len(items), object)
    boxed[:] = items
    results = [
        guard.check({"y": items}, batched=True),
        guard.check({"y": boxed}, batched=True),
        guard.check_records([{"y": item} for item in items]),
    ]
    for result in results:
        assert [next(iter(rules), None) for rules in reported(result)] == expected


@settings(max_examples=150)
@given(
    st.lists(st.lists(st.sampled_from([0, 1, 2, 9, 10, -1, -7]), max_size=5), min_size=1, max_size=5),
    st.booleans(), st.sampled_from([None, 1, 2]), st.sampled_from([None, 2, 3]),
    st.sampled_from([list, np.array, "object"]),
)  # fmt: skip
def test_ragged_lists_are_checked_one_by_one(
    lists: list[list[int]], unique: bool, low: int | None, high: int | None, form: Any
) -> None:
    """Length without sentinels, repeats, and every id, for ragged lists of ints and of arrays."""
    label: dict[str, Any] = {
        "kind": "class_label",
        "num_classes": 10,
        "shape": [None],
        "ignore": [-7],
        "unique": unique,
    }
    if low is not None:
        label["min_length"] = low
    if high is not None:
        label["max_length"] = high
    rows: Any = [np.array(ids, np.int64) if form is np.array else list(ids) for ids in lists]
    if form == "object":
        boxed = np.empty(len(rows), object)
        boxed[:] = rows
        rows = boxed
    result = guard_of(label, set()).check({"y": rows}, batched=True)
    for ids, ours in zip(lists, reported(result), strict=True):
        expected = {rule for rule in (class_rule(i, label, set()) for i in ids) if rule}
        kept = [i for i in ids if i != -7]
        short = (low is not None and len(kept) < low) or (high is not None and len(kept) > high)
        if short or (unique and len(set(kept)) < len(kept)):
            expected.add("LG111")
        assert set(ours) == expected
