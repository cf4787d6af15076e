"""Folders that may not be read: what they hold was not checked, which is never said to be clean."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_guard import DatasetSchema, audit_dataset
from label_guard.cli import app
from label_guard.errors import SourceError
from label_guard.schema.discovery import find_files
from label_guard.sources.files import find_shards

pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights of folders")
NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Runs with the rights of a user who is not root, who may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed() -> Iterator[Path]:
    """Files in an open folder, and in ``shut`` (no rights), ``blind`` (names only) and ``dark`` (no names)."""
    folder = Path(tempfile.mkdtemp())  # others may not enter tmp_path
    folder.chmod(0o755)
    schema = "format: 1\nname: d\nversion: 1.0.0\nlabels: {y: {kind: class_label, num_classes: 3}}\n"
    for name, mode in {"open": 0o755, "shut": 0, "blind": 0o444, "dark": 0o711}.items():
        (folder / name / "in").mkdir(parents=True)
        (folder / name / "x.csv").write_text("y\n1\n")
        (folder / name / "in" / "x.yaml").write_text(schema)
        (folder / name).chmod(mode)
    yield folder
    for name in ("shut", "blind", "dark"):
        (folder / name).chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("pattern", "readable"),
    [
        ("open/*.csv", True), ("[od]*/x.csv", True), ("dark/x.csv", True), ("shut/*.csv", False), ("s*/x.csv", False),
        ("*/x.csv", False), ("s*/*.csv", False), ("d*/*.csv", False), ("**/*.csv", False), ("**/x.csv", False),
        ("b*/x.csv", False), ("o*/**/*.csv", True),
    ],
)  # fmt: skip
def test_a_glob_that_looks_into_one_is_an_error(closed: Path, pattern: str, readable: bool) -> None:
    """A folder that may hold files of the dataset is not passed over; one that need not be listed does no harm."""
    with as_nobody():
        if readable:
            assert all(shard.path.endswith("x.csv") for shard in find_shards(f"{closed}/{pattern}"))
        else:
            with pytest.raises(SourceError, match="cannot read"):
                find_shards(f"{closed}/{pattern}")


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("", {"shut", "dark", "open/in/x.yaml"}),
        ("open", {"open/in/x.yaml"}),
        ("*/in/*.yaml", {"shut", "blind/in", "dark/in/x.yaml", "open/in/x.yaml"}),
        ("**/*.yaml", {"shut", "dark", "open/in/x.yaml"}),
        ("o*", {"open/in/x.yaml"}),
    ],
)
def test_lint_names_them(closed: Path, pattern: str, named: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The gate does not pass over a folder of schemas; it exits with 2."""
    with pytest.raises(SystemExit):  # what is imported on the way may not be read later
        app.main(["lint", f"{closed}/open", f"{closed}/nothing"])
    capsys.readouterr()
    with as_nobody():
        found, _ = find_files([f"{closed}/{pattern}"])
    names = {str(Path(name).relative_to(closed)) for name in found}
    assert named <= names
    with as_nobody(), pytest.raises(SystemExit) as stopped:
        app.main(["lint", f"{closed}/{pattern}"])
    shut = [name for name in names if not name.startswith(("open", "dark/in"))]
    assert stopped.value.code == (2 if shut else 0)
    assert capsys.readouterr().out.count("Permission denied") == len(shut)


@pytest.mark.parametrize("scheme", ["masks", "yolo"])
@pytest.mark.parametrize("kind", ["broken link", "ring of links", "pipe"])
def test_a_record_whose_file_cannot_be_opened_makes_the_audit_incomplete(
    tmp_path: Path, scheme: str, kind: str
) -> None:
    """It keeps its place, the others are checked, and no limit of invalid records turns it into a warning."""
    ending = "png" if scheme == "masks" else "txt"
    for number in range(3):
        if scheme == "masks":
            Image.fromarray(np.full((2, 2), number, np.uint8)).save(tmp_path / f"{number}.png")
        else:
            (tmp_path / f"{number}.txt").write_text(f"{number} 0.5 0.5 0.1 0.1\n")
    closed = tmp_path / f"1.{ending}"
    closed.unlink()
    if kind == "pipe":
        os.mkfifo(closed)
    else:
        closed.symlink_to("gone" if kind == "broken link" else closed.name)
    label = {"kind": "class_label", "num_classes": 2, "shape": [None, None] if scheme == "masks" else [None]}
    content = {"format": 1, "name": "x", "version": "1.0.0", "labels": {"label": label}}
    schema = DatasetSchema.model_validate({**content, "limits": {"max_invalid_ratio": 0.7}})
    report = audit_dataset(schema, source=f"{scheme}:{tmp_path}")
    (split,) = report.splits
    assert (report.exit_code, report.complete) == (2, False)
    assert (split.records, split.invalid, split.unreadable) == (3, 1, 1)
    assert f"cannot read 1 file of {tmp_path}; first 1.{ending}: " in split.shards[0].error
