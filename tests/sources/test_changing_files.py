"""Files that something writes to while they are read: what was read is not all, or not of one file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from label_guard import DatasetSchema
from label_guard.audit import AuditControl
from label_guard.audit.runner import audit_dataset
from label_guard.errors import SourceError
from label_guard.sources import folders
from label_guard.sources.open import open_source
from tests.sources.test_formats import LABELS, WRITERS


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(path.read_bytes())


def _replace(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())
    new.replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "appended": _append,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: path.write_bytes(b""),
    "written again": lambda path: path.write_bytes(path.read_bytes()),
    "replaced": _replace,
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [name for name in WRITERS if name != "yolo"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, name: str, change: str) -> None:
    """In every format and however it changes, after the first records were given out; an untouched file is none."""
    file, write = WRITERS[name]
    write(tmp_path / file, [0, 1, 2])
    uri = f"{tmp_path}/{file}" + ("?dtype=int64" if name == "raw" else "")
    source = open_source(uri, labels=[LABELS.get(name, "label")])
    (shard, *_) = source.shards()
    assert list(source.read(shard))
    chunks = source.read(shard)
    assert len(next(chunks))
    before = Path(shard.path).stat()
    CHANGES[change](Path(shard.path))
    if change in ("written again", "replaced"):  # in less than a tick of the clock of the file system
        os.utime(shard.path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(SourceError):
        list(chunks)


@pytest.mark.parametrize("scheme", ["masks", "yolo", "folder"])
@pytest.mark.parametrize("change", ["added", "removed"])
def test_a_folder_that_gains_or_loses_files_is_an_error(
    tmp_path: Path, scheme: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units of work are counted off: with one file more, those behind it would move, and the last would be in none."""
    monkeypatch.setattr(folders, "_FILES", 2)
    ending = "txt" if scheme == "yolo" else "png"
    (tmp_path / "a").mkdir()
    for number in (1, 2, 3, 4):
        (tmp_path / "a" / f"{number}.{ending}").touch()
    source = open_source(f"{scheme}:{tmp_path}", labels=["label"])
    first, last = source.shards()
    assert [sum(len(chunk) + len(chunk.unreadable) for chunk in source.read(one)) for one in (first, last)] == [2, 2]
    (tmp_path / "a" / "note.md").touch()
    assert list(source.read(last))
    if change == "added":
        (tmp_path / "a" / f"0.{ending}").touch()
    else:
        (tmp_path / "a" / f"2.{ending}").unlink()
    for shard in (first, last):
        with pytest.raises(SourceError, match=r"a has [35] files of records and had 4; read it again once nothing"):
            list(source.read(shard))


def test_an_audit_of_a_file_that_was_cut_meanwhile_is_incomplete(tmp_path: Path) -> None:
    """The records that were read are counted, and the report names the file; it was called complete."""
    path = tmp_path / "a.csv"
    path.write_text("label\n" + "1\n" * 2_000_000)
    labels = {"label": {"kind": "class_label", "num_classes": 4}}
    schema = DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": labels})
    control = AuditControl(progress=lambda now: os.truncate(path, 1_000_000) if now.records else None)
    report = audit_dataset(schema, source=str(path), control=control)
    assert (report.complete, report.exit_code, report.splits[0].invalid) == (False, 2, 0)
    (finding,) = [one for one in report.findings if one.rule == "LG402"]
    assert "a.csv changed while it was read" in finding.message


_MAPPED = """
import os, struct, sys
import numpy as np, pyarrow as pa
from label_guard.errors import SourceError
from label_guard.sources.open import open_source

folder = sys.argv[1]
values = np.arange(1_500_000) % 4
table = pa.table({"label": values})
np.save(f"{folder}/a.npy", values)
values.tofile(f"{folder}/a.bin")
values.tofile(f"{folder}/m.bin")
count, length = 750, 2000
with open(f"{folder}/m.idx", "wb") as index:  # Megatron's
    index.write(b"MMIDIDX\\0\\0" + struct.pack("<QBQQ", 1, 5, count, 1))
    np.full(count, length, "<i4").tofile(index)
    (np.arange(count) * length * 8).astype("<i8").tofile(index)
for form, name in ((pa.ipc.new_file, "file"), (pa.ipc.new_stream, "stream")):
    for rows in (10_000, 1_500_000):
        with form(f"{folder}/{name}-{rows}.arrow", table.schema) as writer:
            writer.write_table(table, rows)
for name in sorted(name for name in os.listdir(folder) if not name.endswith("idx")):
    source = open_source(f"{folder}/{name}" + ("?dtype=int64" if name == "a.bin" else ""), labels=["label"])
    (shard,) = source.shards()
    chunks = source.read(shard)
    next(chunks)
    os.truncate(shard.path, 400_000)
    try:
        print(name, sum(int(chunk.columns["label"].sum()) for chunk in chunks))
    except SourceError:
        print(name, "refused")
"""


def test_a_mapped_file_that_is_cut_does_not_end_the_process(tmp_path: Path) -> None:
    """Reading a page that is gone is a signal that no handler survives: the length is looked at before each step."""
    command = [sys.executable, "-c", _MAPPED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["refused"] * 7
