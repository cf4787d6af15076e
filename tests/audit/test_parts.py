"""A large file is read in parts: the report is that of the file read at once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from array_record.python import array_record_module
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import QuarantineOptions, audit_dataset, read_quarantine
from label_guard.audit import merge_reports, plan
from label_guard.audit.good_index import write_good_index
from label_guard.audit.report import AuditReport
from label_guard.sources import raw_numbers
from label_guard.sources.base import FilePart
from label_guard.sources.open import open_source
from label_guard.sources.tf_example import _example_class  # pyright: ignore[reportPrivateUsage]
from tests.schemas import one_label

SCHEMA = one_label("label", 5)
Rows = list[int]


def write_npy(path: Path, rows: Rows, group: int) -> str:
    """One array."""
    np.save(path, np.array(rows, np.int64))
    return f"npy:{path}.npy"


def write_raw(path: Path, rows: Rows, group: int) -> str:
    """Bare numbers, and where the last group is odd a cut record behind them."""
    path.write_bytes(np.array(rows, "<i8").tobytes())
    return f"raw:{path}?dtype=int64"


def write_megatron(path: Path, rows: Rows, group: int) -> str:
    """Sequences of one token; every fifth lies outside the file."""
    numbers = np.array(rows, "<i4")
    numbers.tofile(path.with_suffix(".bin"))
    places = 4 * np.arange(len(rows), dtype=np.int64)
    places[::5] += 4 * len(rows)
    head = b"MMIDIDX\0\0" + raw_numbers._HEAD.pack(1, 4, len(rows), 0)  # pyright: ignore[reportPrivateUsage]
    path.with_suffix(".idx").write_bytes(head + np.ones(len(rows), "<i4").tobytes() + places.tobytes())
    return f"raw:{path}.bin"


def write_parquet(path: Path, rows: Rows, group: int) -> str:
    """Row groups of ``group`` rows, pages of a few; the page of each value above 100 is damaged."""
    pq.write_table(
        pa.table({"label": rows}), path, row_group_size=group, use_dictionary=False, compression="none",
        data_page_size=24, write_page_checksum=True, write_statistics=False,
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for value in {row for row in rows if row > 100}:
        at = data.rfind(np.array(value, "<i8").tobytes(), 0, end)
        data[at + 7] ^= 0xFF
    path.write_bytes(data)
    return f"parquet:{path}"


def write_array_record(path: Path, rows: Rows, group: int) -> str:
    """Records in groups; one of a value above 100 is damaged."""
    example = _example_class()
    writer = array_record_module.ArrayRecordWriter(str(path), f"group_size:{group},uncompressed")
    for row in rows:
        message = example()
        message.features.feature["label"].int64_list.value.append(row)
        writer.write(message.SerializeToString() if row <= 100 else b"\xff")
    writer.close()
    return f"array_record:{path}"


WRITERS: list[Callable[[Path, Rows, int], str]] = [
    write_npy, write_raw, write_megatron, write_parquet, write_array_record
]  # fmt: skip


def audit(uri: str, part_bytes: int, **options: Any) -> AuditReport:
    """An audit that cuts files into parts of some size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PART_BYTES", part_bytes)
        return audit_dataset(SCHEMA, source=uri, **options)


@pytest.mark.parametrize("write", WRITERS)
@given(
    rows=st.lists(st.sampled_from([*range(5)] * 4 + [7, -1, 255, 300]), min_size=1, max_size=40),
    group=st.integers(1, 9),
    parts=st.integers(2, 12),
)
@settings(max_examples=30)
def test_the_report_does_not_show_the_parts(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[..., str], rows: Rows, group: int, parts: int
) -> None:
    """Any labels, damage included, in parts of any size read by any worker: one report, one list of bad records."""
    folder = tmp_path_factory.mktemp("parts")
    uri = write(folder / "data", [0, *rows], group)
    part_bytes = -(-next(path for path in folder.iterdir() if path.suffix != ".idx").stat().st_size // parts)
    whole = audit(uri, 1 << 40, keep_bad=True)
    with ThreadPoolExecutor(2) as threads:
        cut = audit(uri, part_bytes, keep_bad=True, executor=threads)
    assert json.dumps(cut.to_json()) == json.dumps(whole.to_json())


def test_parts_are_disjoint_and_together_the_whole() -> None:
    """Every position is in one part, whatever their number."""
    for total in range(20):
        for count in range(1, 25):
            assert [row for index in range(count) for row in FilePart(index, count).of(total)] == list(range(total))


def test_a_large_file_is_many_tasks(tmp_path: Path) -> None:
    """Where records are found by their position; not with a limit, which is for each file, nor of footers."""
    source = open_source(write_npy(tmp_path / "a", [1] * 1000, 1), labels=["label"])
    assert {shard.part for shard in source.parts(1000)} == {FilePart(index, 9) for index in range(9)}
    (tmp_path / "a.csv").write_text("label\n" + "1\n" * 1000)
    assert [shard.part for shard in open_source(f"csv:{tmp_path}/a.csv", labels=["label"]).parts(100)] == [None]
    limited = audit(f"npy:{tmp_path}/a.npy", 1000, limit=300)
    assert (limited.splits[0].records, limited.complete) == (300, False)


def test_parts_of_an_audit_are_whole_files(tmp_path: Path) -> None:
    """``shards`` takes files, of all splits in turn; merged they are the report of all."""
    rng = np.random.default_rng(0)
    for name in "abcde":
        pq.write_table(pa.table({"label": rng.integers(0, 6, 50)}), tmp_path / f"{name}.parquet", row_group_size=7)
    uri = f"parquet:{tmp_path}/*.parquet"
    pieces = [audit(uri, 100, shards=(index, 3)) for index in range(3)]
    assert [[shard.name[0] for shard in piece.splits[0].shards] for piece in pieces] == [["a", "d"], ["b", "e"], ["c"]]
    assert merge_reports(pieces).to_json() == audit(uri, 1 << 40).to_json()


def test_what_is_written_of_parts(tmp_path: Path) -> None:
    """Good index, quarantine and label cache of a file read in parts are those of the file read at once."""
    rows = [1, 7, 2, 3, -1, 4] * 20
    uri = write_parquet(tmp_path / "data", rows, 9)
    found: list[bytes] = []
    for part_bytes, folder in ((100, "parts"), (1 << 40, "whole")):
        cache = str(tmp_path / f"{folder}.zip")
        options = QuarantineOptions(str(tmp_path / folder), payload="labels")
        first = audit(uri, part_bytes, keep_bad=True, quarantine=options, label_cache=cache)
        before = Path(cache).read_bytes()
        again = audit(uri, part_bytes, keep_bad=True, label_cache=cache)
        assert (again.to_json(), Path(cache).read_bytes()) == (first.to_json(), before)
        index = io.BytesIO()
        write_good_index(first, index, "good.txt")
        found.append(index.getvalue())
        entries = read_quarantine(str(tmp_path / folder)).entries
        assert sorted(entry.record for entry in entries) == sorted(
            f"data__{row}" for row, label in enumerate(rows) if not 0 <= label < 5
        )
    assert found[0] == found[1]
    other = tmp_path / "parts.zip"
    assert audit(uri, 60, keep_bad=True, label_cache=str(other)).to_json() == first.to_json()
