"""Quarantine entries as files for other tools: JSON lines, CSV for spreadsheets, NumPy arrays of the labels."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from label_guard.check.columns import spec_text
from label_guard.core import tree
from label_guard.core.escape import csv_cell
from label_guard.core.types import Array
from label_guard.quarantine.line import QuarantineEntry, raw_line
from label_guard.rules.registry import RULES

COLUMNS = (
    "dataset", "schema_version", "split", "view", "source", "record", "content",
    "rule", "rule_name", "label", "value", "legal", "count", "payload_kind",
)  # fmt: skip


def write_jsonl(file: BinaryIO, entries: Sequence[QuarantineEntry]) -> None:
    """The lines of ``entries`` as they lie in their parts: strict JSON, payloads included, repeats gone."""
    for entry in entries:
        file.write(raw_line(entry) + b"\n")


def write_csv(file: BinaryIO, entries: Sequence[QuarantineEntry]) -> None:
    """One row for each violation, safe to open in a spreadsheet."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry in entries:
        for found in entry.violations:
            rule = RULES.get(found.rule)
            cells: list[Any] = [
                entry.dataset, entry.schema_version, entry.split, entry.view, entry.source, entry.record, entry.content,
                found.rule, rule and rule.name, found.label, found.value, found.legal, found.count, entry.payload_kind,
            ]  # fmt: skip
            rows.writerow([csv_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    text.detach()


def write_npz(file: BinaryIO, entries: Sequence[QuarantineEntry]) -> list[str]:
    """Arrays ``[records]`` named record, dataset, source, split, rule, and ``labels/<path>`` where all have one form.

    Returns:
        Why each label left out is not there.
    """
    arrays: dict[str, Array] = {
        "record": np.array([entry.name for entry in entries], np.str_),
        "dataset": np.array([entry.dataset for entry in entries], np.str_),
        "source": np.array([entry.source for entry in entries], np.str_),
        "split": np.array([entry.split or "" for entry in entries], np.str_),
        "rule": np.array([next((found.rule for found in entry.violations), "") for entry in entries], np.str_),
    }
    columns: dict[str, list[Array | str]] = {path: [] for entry in entries for path in entry.labels}
    for entry in entries:
        payload = entry.payload
        for path, column in columns.items():
            column.append(_array(tree.get(payload, path)))
    problems: list[str] = []
    for path, column in columns.items():
        forms = sorted({value if isinstance(value, str) else spec_text(value.dtype, value.shape) for value in column})
        found = [value for value in column if not isinstance(value, str)]
        if len(forms) > 1 or len(found) < len(column):
            problems.append(f"label {path} is left out, as it is not one form of array: {', '.join(forms)}")
        elif not path.isprintable() or "\\" in path or {"", "..", "."} & set(path.split("/")):
            problems.append(f"label {path} is left out, because its path is not a safe name in an archive")
        else:
            arrays[f"labels/{path}"] = np.stack(found)
    _write_archive(file, arrays)
    return problems


def _write_archive(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """As ``np.savez``, which takes a label named "file" for an argument of its own, and may pickle."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")  # with a fixed date: the same quarantine gives the same bytes
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _array(value: Any) -> Array | str:
    """``value`` as an array that needs no pickle, or what it is instead."""
    if value is tree.MISSING or value is None:
        return "absent"
    try:
        array: Array = np.asarray(value)
    except (ValueError, OverflowError):
        return "ragged list"
    if array.dtype.hasobject or (array.dtype.kind == "V" and array.dtype.type is not np.void):
        return f"{array.dtype.name}"
    return array
