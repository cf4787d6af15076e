"""What is fuzzed: each target reads foreign bytes and raises where a promise breaks; for ``fuzz.py`` and the tests.

A reader may refuse bytes with a ``LabelGuardError`` and with nothing else; and what it accepts must go through all that
comes after it. Text of data never reaches a page or a terminal as it is: outputs are rendered and looked through.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from emission import cases, check_case
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy

from label_guard.audit.baseline import read_baseline
from label_guard.audit.conclude import read_report
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.core.plural import counted
from label_guard.diff.schemas import diff_files
from label_guard.errors import LabelGuardError
from label_guard.lint.linter import lint_file
from label_guard.quarantine import BadRecord, Origin, QuarantineOptions, QuarantineWriter, read_quarantine
from label_guard.quarantine.export import write_csv, write_jsonl
from label_guard.report import render_diagnostics
from label_guard.report.audit_text import AUDIT_FORMATS, render_audit
from label_guard.rules.diagnostic import DiagnosticReport
from label_guard.rules.violation import Violation
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.reader import read_schema_bytes
from label_guard.schema.writer import dump_schema
from label_guard.sources.tfds_metadata import read_features, read_metadata

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SCHEMA = DatasetSchema.model_validate(
    {"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": {"kind": "class_label", "num_classes": 3}}}
)
_YAML = b"""format: 1
name: digits
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 3, class_names: [a, "b", 'c'], ignore: [255]}  # noqa: LG301
  seg: &seg {kind: multi_label, num_classes: 4, shape: [null, 4]}
splits:
  train: {num_examples: 10, source: "jsonl:a-*.jsonl", labels: {label: {unlabeled: -1, on_unlabeled: skip}}}
limits: {max_invalid_ratio: 0.1}
"""


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        run: reads the bytes; raises where a promise breaks.
        seeds: inputs to start from, sound ones among them.
    """

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


class BrokenError(AssertionError):
    """A promise that an input breaks."""


def _tame(text: str, what: str) -> None:
    found = _CONTROL.search(text)
    if found:
        raise BrokenError(f"{what} lets {found.group()!r} through")


# Schema files ---------------------------------------------------------------------------------------------------------


def schema(data: bytes) -> None:
    """Lint in every format; a sound schema is dumped, read back the same, and differs from itself in nothing."""
    file = read_schema_bytes(data, "s.yaml")
    found = lint_file(file)
    for style in ("text", "json", "github", "sarif", "junit", "markdown"):
        _tame(render_diagnostics(DiagnosticReport(found, "lint", files_checked=1), style), f"lint --format {style}")
    if file.schema is None:
        if not found:
            raise BrokenError("no schema, and no word of why")
        return
    again = read_schema_bytes(dump_schema(file.schema).encode(), "dumped.yaml")
    if again.schema != file.schema:
        raise BrokenError("a schema changes when it is dumped and read")
    if diff_files(file, file):
        raise BrokenError("a schema differs from itself")


# The quarantine -------------------------------------------------------------------------------------------------------


def quarantine(data: bytes) -> None:
    """A part of any bytes gives entries and problems; what is exported reads as one line a record."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "part-0-0-fuzz.jsonl").write_bytes(data)
        contents = read_quarantine(folder)
        for write in (write_jsonl, write_csv):
            file = BytesIO()
            write(file, contents.entries)
            _tame(file.getvalue().decode().replace("\r\n", "\n"), write.__name__)
        for problem in contents.problems:
            _tame(str(problem), "a problem of the quarantine")


def _quarantine_seed() -> bytes:
    origin = Origin("d", "1.0.0", "x", "train", None, "s")
    with tempfile.TemporaryDirectory() as folder:
        writer = QuarantineWriter(QuarantineOptions(folder), origin)
        values = {
            "label": np.int64(9),
            "image": np.arange(6, dtype=np.uint8).reshape(2, 3),
            "t": "a",
            "b": b"\x00",
            "f": [1.5],
        }
        writer.append([BadRecord("r", values, {"label": np.int64(9)}, (Violation("label", "LG101", 9, "[0, 3)"),))])
        writer.close()
        return next(Path(folder).glob("*.jsonl")).read_bytes()


# Files of data --------------------------------------------------------------------------------------------------------


def _reader(scheme: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        """Audit a file of any bytes: a report that every format can show, or one clear error."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, f"a.{scheme}").write_bytes(data)
            try:
                report = audit_dataset(
                    _SCHEMA, source=f"{scheme}:{folder}/a.{scheme}", duplicates=scheme in ("jsonl", "csv")
                )
            except LabelGuardError as error:
                _tame(str(error), "an error")
                return
            _shown(report)

    return run


def _shown(report: AuditReport) -> None:
    split = report.splits[0]
    if split.invalid > split.records:
        raise BrokenError(f"{split.invalid} bad of {counted(split.records, 'record')}")
    for style in sorted({*AUDIT_FORMATS} - {"html"}):  # which takes longer than all the rest; ``reports`` renders it
        _tame(render_audit(report, style), f"audit --report {style}")
    if report.exit_code == 0 and (not report.complete or split.invalid):
        raise BrokenError("an audit that found something ends with 0")


def _framed(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", _masked(length)) + payload + struct.pack("<I", _masked(payload))


def _masked(data: bytes) -> int:
    value = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def example(data: bytes) -> None:
    """A tf.Example of any bytes, in a frame whose checksums hold."""
    _reader("tfrecord")(_framed(data) + _framed(_EXAMPLE))


def _example(label: int) -> bytes:
    varint = bytes([0x1A, 1 + 1 + 1, 0x0A, 1, label])  # Feature.int64_list, packed
    entry = b"\x0a\x05label\x12" + bytes([len(varint)]) + varint
    feature = b"\x0a" + bytes([len(entry)]) + entry
    return b"\x0a" + bytes([len(feature)]) + feature


_EXAMPLE = _example(2)


def _npy(array: Any) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(**arrays: Any) -> bytes:
    file = BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


# JSON of ours and of TFDS ---------------------------------------------------------------------------------------------


def tfds_metadata(data: bytes) -> None:
    """The metadata files of TFDS are read, or refused in one error."""
    with tempfile.TemporaryDirectory() as folder:
        for name, read in (("dataset_info.json", read_metadata), ("features.json", read_features)):
            Path(folder, name).write_bytes(data)
            try:
                read(folder)
            except LabelGuardError as error:
                _tame(str(error), "an error")


def reports(data: bytes) -> None:
    """Reports and baselines are read and shown, or refused in one error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_bytes(data)
        try:
            read_baseline(str(path))
        except LabelGuardError as error:
            _tame(str(error), "an error")
        try:
            report = read_report(path)
        except LabelGuardError as error:
            _tame(str(error), "an error")
            return
        for style in AUDIT_FORMATS:
            _tame(render_audit(report, style), f"report --format {style}")


def _report_seed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.csv").write_text("label,text\n0,a\n7,b\n1,a\n")
        found = audit_dataset(_SCHEMA, source=f"csv:{folder}/a.csv", duplicates=True).to_json()
    return json.dumps(found).encode()


def _features_seed() -> bytes:
    label = {
        "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": "3"},
    }
    kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    return json.dumps({"pythonClassName": kind, "featuresDict": {"features": {"label": label}}}).encode()


def _property(check: Callable[[Any], None], strategy: SearchStrategy[Any]) -> Callable[[bytes], None]:
    """A property test driven by the fuzzer's bytes."""

    @settings(database=None, deadline=None)
    @given(strategy)
    def run(case: Any) -> None:
        check(case)

    return run.hypothesis.fuzz_one_input  # type: ignore[attr-defined]


TARGETS = {
    "schema": Target(schema, (_YAML, json.dumps({"format": 1, "labels": {}}).encode(), b"a: &a [*a]", b"- \t{")),
    "quarantine": Target(quarantine, (_quarantine_seed(), b"{}\n", b"\xff\n")),
    "tfrecord": Target(_reader("tfrecord"), (_framed(_EXAMPLE) * 2, _framed(b""), b"\xff" * 12)),
    "example": Target(example, (_EXAMPLE, _example(9), b"")),
    "npy": Target(_reader("npy"), (_npy(np.arange(5)), _npy(np.array([1.5], ">f2")), b"\x93NUMPY\x01\x00")),
    "npz": Target(_reader("npz"), (_npz(label=np.arange(5)), _npz(other=np.arange(2)), b"PK\x05\x06" + bytes(18))),
    "jsonl": Target(_reader("jsonl"), (b'{"label": 1, "x": "a"}\n{"label": -1}\n', b"[1]\n", b'{"label": 1e400}')),
    "csv": Target(_reader("csv"), (b'label,x\n1,"a\nb"\n7,\n', b"label\n", b'label\n"1')),
    "tfds": Target(
        tfds_metadata, (_features_seed(), b'{"name": "d", "splits": [{"name": "train", "shardLengths": ["3"]}]}')
    ),
    "emission": Target(_property(check_case, cases()), (b"", bytes(64), bytes(range(256)) * 4)),
    "reports": Target(reports, (_report_seed(), b'{"version": 1, "splits": {}}', b"[]")),
}


def main() -> int:
    """``python targets.py TARGET FILE...``: run inputs that were found."""
    for path in sys.argv[2:]:
        TARGETS[sys.argv[1]].run(Path(path).read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
