"""A split is a name, a part of it, or a sum; anything else is refused wherever a split is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from label_guard import DatasetSchema, Guard, UsageError, guard_batches
from label_guard.audit import audit_dataset
from label_guard.cli import app
from label_guard.quarantine import replay
from label_guard.schema.split_spec import split_bases
from label_guard.sources.open import open_source

MALFORMED = [
    "train[:10", "train[", "train]", "train[]", "train[:10%", "train[0:5]x", "train[a:b]", "train[:10][:5]", "+", "",
    "train[:1:2]", "train[1.2.3:]", "train[--1:]", "train(closest)", "train+", "[:10]", "train[:10]test", "train[%:]",
    "train[:5 %]", "train[:10](other)",
]  # fmt: skip
SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1, "name": "d", "version": "1.0.0", "splits": {"train": {}, "test-2.b": {}},
        "labels": {"label": {"kind": "class_label", "num_classes": 3}},
    }
)  # fmt: skip


def _command(folder: Path, *arguments: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        app.main(list(arguments))
    if stopped.value.code == 2:
        raise UsageError("split")


TAKERS: dict[str, Callable[[Path, str], object]] = {
    "schema": lambda _, split: SCHEMA.stored(split),
    "guard": lambda _, split: Guard(SCHEMA, split),
    "loader": lambda p, split: guard_batches([], SCHEMA, split=split, quarantine=str(p / "q")),
    "audit": lambda p, split: audit_dataset(SCHEMA, source=f"csv:{p}/a.csv", splits=[split]),
    "replay": lambda p, split: replay(p / "q", split=split),
    "quarantine source": lambda p, split: open_source(f"quarantine:{p}/q", split=split, labels={"label": ()}),
    "recheck": lambda p, split: _command(
        p, "quarantine", "recheck", str(p / "q"), "--schema", str(p / "s.yaml"), "--split", split or " "
    ),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("split", MALFORMED)
def test_a_malformed_split_is_refused(tmp_path: Path, taker: str, split: str) -> None:
    """A bracket that was forgotten never means the whole split."""
    (tmp_path / "q").mkdir()
    (tmp_path / "a.csv").write_text("label\n1\n")
    (tmp_path / "s.yaml").write_text(
        "format: 1\nname: d\nversion: 1.0.0\nsplits: {train: {}}\n"
        "labels: {label: {kind: class_label, num_classes: 3}}\n"
    )
    with pytest.raises(UsageError, match="split"):
        TAKERS[taker](tmp_path, split)


@pytest.mark.parametrize(
    "part",
    [
        "",
        "[:10]",
        "[10:]",
        "[:]",
        "[-10:]",
        "[5%:10%]",
        "[1_000:2000]",
        "[2.5%:]",
        "[:1shard]",
        "[1shard]",
        "[:5%](closest)",
    ],
)
def test_the_forms_of_tfds_are_taken(part: str) -> None:
    """Names, slices by number, percent and shard, and sums."""
    assert split_bases(f"train{part}") == {"train"}
    assert split_bases(f"train{part}+test-2.b{part} + x") == {"train", "test-2.b", "x"}
    assert SCHEMA.split_name(f"train{part}") == "train"


def test_an_audit_of_a_part_of_a_split_is_refused(tmp_path: Path) -> None:
    """It would read all of the file and say that it read a part."""
    (tmp_path / "a.csv").write_text("label\n1\n")
    with pytest.raises(UsageError, match=r"part of a split; an audit reads whole splits: train"):
        audit_dataset(SCHEMA, source=f"csv:{tmp_path}/a.csv", splits=["train[:10]"])
