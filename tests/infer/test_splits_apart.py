"""What the draft says of values that only some splits hold, and of rare values that it takes for classes."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_guard.core.types import Array
from label_guard.infer.draft import Draft, infer

RNG = np.random.default_rng(14)


def draft_of_splits(folder: Path, **splits: Array | Sequence[str]) -> Draft:
    """The draft of one Parquet file for each split."""
    for name, values in splits.items():
        pq.write_table(pa.table({"label": values}), folder / f"{name}-00000-of-00001.parquet")
    return infer(f"parquet:{folder}/*.parquet")


def draft_of_values(folder: Path, values: Array) -> Draft:
    """The draft of one array."""
    np.save(folder / "values.npy", values)
    return infer(f"npy:{folder}/values.npy")


@pytest.mark.parametrize("strays", [0, 1, 2, 5])
@pytest.mark.parametrize("unlabeled", [300, 30])
def test_an_unlabeled_split_makes_no_stray_of_another_legal(tmp_path: Path, strays: int, unlabeled: int) -> None:
    """Where a split is all -1, it alone is declared unlabeled: a few -1 in the training split stay illegal."""
    train = RNG.integers(0, 3, 1_000)
    train[:strays] = -1
    draft = draft_of_splits(tmp_path, train=train, test=np.full(unlabeled, -1))
    assert "unlabeled" not in draft.schema["labels"]["label"]
    assert draft.schema["splits"]["test"]["labels"] == {"label": {"unlabeled": -1}}
    assert any("in train" in line and "-1" in line for line in draft.head) == bool(strays)


def test_a_rare_void_of_one_split_stays_illegal_though_it_is_frequent_in_another(tmp_path: Path) -> None:
    """-1 in half of a split is not declared for a split in which it occurs twice."""
    train, test = RNG.integers(0, 3, 1_000), RNG.integers(0, 3, 300)
    train[:2], test[::2] = -1, -1
    draft = draft_of_splits(tmp_path, train=train, test=test)
    assert "unlabeled" not in draft.schema["labels"]["label"]
    assert "left illegal" in draft.to_yaml()


def test_an_unlabeled_training_split_is_an_error_in_the_draft(tmp_path: Path) -> None:
    """A training split of nothing but -1 is never declared unlabeled."""
    draft = draft_of_splits(tmp_path, train=np.full(1_000, -1), test=RNG.integers(0, 3, 300))
    assert "unlabeled" not in draft.schema["labels"]["label"]
    assert "labels" not in draft.schema["splits"]["train"]
    assert any(line.startswith("error") and "in train" in line for line in draft.head)


def test_classes_that_the_training_split_never_holds_are_marked(tmp_path: Path) -> None:
    """A test split that counts from 1, or holds other names, leaves the set of classes in doubt."""
    draft = draft_of_splits(tmp_path, train=RNG.integers(0, 3, 1_000), test=RNG.integers(1, 4, 300))
    (mark,) = draft.marks["label"]["num_classes"]
    assert mark.startswith("3 occurs")
    assert mark.endswith("times in test and never in train")
    names = [np.array(names)[RNG.integers(0, 2, 400)] for names in (["cat", "dog"], ["cats", "dogs"])]
    draft = draft_of_splits(tmp_path, train=names[0], test=names[1])
    assert "'cats' occurs" in draft.marks["label"]["num_classes"][0]


def test_classes_that_a_smaller_split_lacks_are_not_marked(tmp_path: Path) -> None:
    """A test split without some classes, and a class too rare for the training split to show it, are as usual."""
    draft = draft_of_splits(tmp_path, train=RNG.integers(0, 5, 1_000), test=RNG.integers(0, 2, 300))
    assert "TODO" not in draft.to_yaml()


def test_every_rare_value_among_listed_ids_is_marked(tmp_path: Path) -> None:
    """Of ids with gaps each one that occurs once is named, or counted where there are more than five."""
    values = np.r_[np.zeros(200, np.int64), np.repeat(np.arange(1, 7), [1, 2, 2, 2, 3, 5])]
    mark = "; ".join(draft_of_values(tmp_path, np.r_[values, [73, 188, 189, 216, 217]]).marks["label"]["num_classes"])
    assert all(f"{value} occurs once" in mark for value in (73, 188, 189, 216)), mark
    assert "more rare values are taken for classes" in mark


def test_a_single_class_and_a_class_that_is_rare_by_the_others_are_marked(tmp_path: Path) -> None:
    """A column of one value, and a value 50 times rarer than the only frequent class, are in doubt."""
    marks = draft_of_values(tmp_path, np.zeros(1_000, np.int64)).marks["label"]["num_classes"]
    assert marks == ["0 is the only class that was seen"]
    values = np.repeat([0, 1, 2], [6, 288, 6])
    marks = draft_of_values(tmp_path, values).marks["label"]["num_classes"]
    assert marks == ["0 occurs 6 times in 300", "2 occurs 6 times in 300"]


@pytest.mark.parametrize("extra", ["__MACOSX", "@eaDir", "unsorted"])
def test_a_folder_of_a_few_pictures_is_marked(tmp_path: Path, extra: str) -> None:
    """A folder that a program left among those of the classes is in doubt, and folders of classes are not."""
    for name, size in (("cat", 30), ("dog", 40), (extra, 2)):
        (tmp_path / name).mkdir()
        for number in range(size):
            (tmp_path / name / f"{number}.png").write_bytes(b"png")
    marks = infer(f"folder:{tmp_path}").marks["label"]
    assert marks == {"num_classes": [f"{extra!r} occurs 2 times in 72"]}
    shutil.rmtree(tmp_path / extra)
    assert not infer(f"folder:{tmp_path}").marks["label"]


def spoiled(rows: Array, *changed: object) -> Array:
    """``rows`` with the first replaced."""
    rows = rows.copy()
    rows[: len(changed)] = changed
    return rows


ONE_HOT = np.eye(5, dtype=np.int8)[RNG.integers(0, 5, 1_000)]
K_HOT = (RNG.random((1_000, 5)) < 0.4).astype(np.uint8)
SHARES = RNG.dirichlet(np.ones(4), 1_000).astype(np.float32)


@pytest.mark.parametrize(
    ("rows", "kind", "mark"),
    [
        (spoiled(ONE_HOT, [0, 0, 2, 0, 0]), "soft_label", "999 of 1,000 rows are one 1 and zeros"),
        (spoiled(ONE_HOT, [1, 1, 0, 0, 0]), "multi_label", "though 999 of 1,000 are one 1 and zeros"),
        (spoiled(K_HOT, [255, 0, 0, 0, 0], [2, 0, 0, 0, 0]), "multi_label", "998 of 1,000 rows are zeros and ones"),
        (spoiled(SHARES, [0, 0, 0, 0]), "soft_label", "999 of 1,000 rows are numbers that sum to 1"),
        (spoiled(SHARES, [2, -1, 0, 0], [0.5, 0.4, 0, 0]), "soft_label", "998 of 1,000 rows are numbers that sum to 1"),
    ],
)
def test_a_few_damaged_rows_do_not_make_another_kind_of_label(
    tmp_path: Path, rows: Array, kind: str, mark: str
) -> None:
    """Rows are drafted as what nearly all are; what the others are is marked, and left illegal where it can be."""
    draft = draft_of_values(tmp_path, rows)
    assert draft.schema["labels"]["label"]["kind"] == kind
    assert mark in draft.marks["label"]["kind"][0]
    assert any(line.startswith("error") for line in draft.head) == (
        "left illegal" in mark + draft.marks["label"]["kind"][0]
    )


def test_a_real_target_says_what_is_odd_about_it(tmp_path: Path) -> None:
    """A fraction among whole numbers may be a stray among ids, and -999 a value for "not measured"."""
    whole = RNG.integers(0, 5, 1_000).astype(np.float32)
    whole[3] = 2.5
    assert (
        "of 1,000 values 1 value has a fraction: strays among class ids?"
        in draft_of_values(tmp_path, whole).marks["label"]["kind"]
    )
    real = RNG.normal(size=1_000)
    assert len(draft_of_values(tmp_path, real).marks["label"]["kind"]) == 1
    real[5] = -999
    assert "-999 may mean that nothing was measured" in draft_of_values(tmp_path, real).marks["label"]["kind"]


@pytest.mark.parametrize("lacking", ["train", "val", "both"])
def test_a_class_folder_that_a_split_lacks_is_a_class(tmp_path: Path, lacking: str) -> None:
    """The draft declares the class folders of all splits, and says which one a split lacks."""
    names = ["bird", "cat", "dog", "fish"]
    absent = {("train", "dog"), ("val", "bird")} if lacking == "both" else {(lacking, "dog")}
    for split, name in itertools.product(("train", "val"), names):
        folder = tmp_path / "data" / split / name
        for number in range(30 if (split, name) not in absent else 0):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.jpg").write_bytes(b"")
    draft = infer(f"folder:{tmp_path}/data")
    assert draft.schema["labels"]["label"]["class_names"] == names
    found = [line for line in draft.head if "LG23" in line]
    expected = [f"{split}: label: num_classes is 4 but the dataset lacks {name!r}" for split, name in sorted(absent)]
    assert [line.partition(" in ")[2] for line in found] == expected
    assert not [line for line in draft.head if "LG113" in line]
