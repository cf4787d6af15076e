"""The table of formats in docs/sources.md: each of its cells is what this test finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import fsspec
import pytest

from label_guard.audit.runner import audit_prepared, open_splits
from label_guard.audit.shard import ReadOptions
from label_guard.audit.thumbnails import gather_thumbnails
from label_guard.errors import LabelGuardError, UsageError
from label_guard.infer.check import CheckReport, check_labels
from label_guard.infer.draft import infer
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.open import open_source
from label_guard.sources.schemes import NAMES
from label_guard.sources.sniff import readable_uri

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
COLUMNS = ("read", "infer", "check", "workers", "remote", "thumbnails")


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Two worker processes."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool


def schema_of(report: CheckReport, uri: str, split: str | None) -> DatasetSchema:
    """One class, so that most records are invalid."""
    (label,) = report.labels
    text = bool(label.profile.texts)
    shape = [None] * max(map(len, label.profile.shapes), default=0)
    fields = {"kind": "class_label", "num_classes": 1, "shape": [] if text else shape}
    fields |= {"class_names": ["bee"], "dtype": "string"} if text else {}
    splits = {split or "all": {"source": uri}}
    values = {"format": 1, "name": "x", "version": "1.0.0", "labels": {label.path: fields}, "splits": splits}
    return DatasetSchema.model_validate(values)


def yes(condition: bool) -> str:
    """A cell."""
    return "yes" if condition else "no"


def found(scheme: str, file: str, folder: Path, pool: Executor) -> dict[str, str]:
    """The row of a scheme, by the dataset in ``file``."""
    uri = readable_uri(f"{folder}/{file}")[0]
    uri = f"{scheme}:{uri.partition(':')[2]}"
    report = check_labels(uri)
    split = "train" if len(report.splits) > 1 else None
    records = report.splits[split or next(iter(report.splits))][0]
    schema = schema_of(report, uri, split)
    opened = open_splits(schema)
    prepared = schema, opened, ReadOptions(keep_bad=True), None
    alone = audit_prepared(prepared)
    shared = audit_prepared(prepared, executor=pool)
    assert alone.splits[0].invalid
    return {
        "read": yes(alone.complete and alone.splits[0].records == records),
        "infer": yes(_drafts(uri)),
        "check": yes(report.ok and bool(report.labels)),
        "workers": yes(alone.to_json() == shared.to_json()),
        "remote": yes(_reads_remote(scheme, folder / file.partition("?")[0], uri, report)),
        "thumbnails": yes(bool(gather_thumbnails(alone, opened).thumbnails)),
    }


def _drafts(uri: str) -> bool:
    try:
        return bool(infer(uri).schema["labels"])
    except UsageError as error:  # a vocabulary, whose size must be written by hand
        return "whose size the data do not show" in str(error)


def _reads_remote(scheme: str, path: Path, uri: str, report: CheckReport) -> bool:
    store = fsspec.filesystem("memory")
    for one in [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]:
        store.pipe_file(f"/matrix/{one.relative_to(path.parent)}", one.read_bytes())
    query = uri.partition("?")[2]
    remote = f"{scheme}:memory://matrix/{path.name}{'?' + query if query else ''}"
    try:
        split, (records, _) = next(iter(report.splits.items()))
        source = open_source(remote, labels=[report.labels[0].path], split=split)
        return sum(len(chunk) for shard in source.shards() for chunk in source.read(shard)) == records
    except LabelGuardError:
        return False


@pytest.mark.parametrize("scheme", sorted(set(NAMES) - {"python", "quarantine"}))
def test_each_cell_of_the_table(scheme: str, insects: Path, dataset_files: dict[str, str], pool: Executor) -> None:
    """What the page promises of a format, and what it does not, is so."""
    table = PAGE.read_text(encoding="utf-8").partition("| format | read |")[2]
    cells = re.search(rf"^\| `{scheme}` \|(.*)\|$", table, re.M)
    shown = {"coco_images": "coco", "parquet": "hf_parquet"}.get(scheme, scheme)
    row = found(scheme, dataset_files[shown], insects, pool)
    assert cells is not None, f"add: | `{scheme}` | {' | '.join(row.values())} |"
    assert dict(zip(COLUMNS, map(str.strip, cells[1].split("|")), strict=True)) == row
