"""The quarantine's writer and reader: each record is written once, never lost, and read back exactly."""

import dataclasses
import enum
import json
import os
import pickle
import re
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import fsspec.implementations.local
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.core import tree
from label_guard.errors import MissingDependencyError, QuarantineError, UsageError
from label_guard.quarantine import (
    BadRecord,
    Origin,
    QuarantineOptions,
    QuarantineWriter,
    compact_quarantine,
    read_quarantine,
    summarize_quarantine,
)
from label_guard.quarantine.line import sealed
from label_guard.rules.violation import Violation
from tests.quarantine_records import ORIGIN, bad, unsealed


@pytest.fixture(params=["path", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh quarantine place of each kind."""
    if request.param == "memory":
        yield "memory://bucket/quarantine"
        fsspec.filesystem("memory").store.clear()
        fsspec.filesystem("memory").pseudo_dirs[:] = [""]
    else:
        yield f"{'file://' if request.param == 'file' else ''}{tmp_path}/new/quarantine"


def writer_of(url: str, origin: Origin = ORIGIN, **options: Any) -> QuarantineWriter:
    """A new writer, as a restarted run makes it."""
    return QuarantineWriter(QuarantineOptions(url, **options), origin)


def names(url: str) -> list[str | None]:
    """Keys of the entries read back."""
    return [entry.record for entry in read_quarantine(url).entries]


def test_a_record_is_read_back_as_it_was_written(url: str) -> None:
    """Key, origin, violations and the payload's exact types come back through any kind of place."""
    image = np.arange(6, dtype=">u2").reshape(2, 3)
    element = {"label": np.int64(10), "image": image, "boxes": [[1, 2.5], []], "name": "a\x1b[31m", "raw": b"\0"}
    writer = writer_of(url)
    violations = (
        Violation("label", "LG101", 2**60, "[0, 10)", count=2),
        Violation("real", "LG107", float("nan"), "finite"),
    )
    assert writer.append([BadRecord("k", element, {"label": np.int64(10)}, violations, "k")]) == 1
    [entry] = read_quarantine(url).entries
    assert (entry.dataset, entry.schema_version, entry.schema_digest) == ("digits", "1.0.0", "d1")
    assert (entry.split, entry.view, entry.source, entry.record, entry.content) == ("train", None, "s1", "k", None)
    assert entry.violations == (
        Violation("label", "LG101", str(2**60), "[0, 10)", record="k", count=2),
        Violation("real", "LG107", "nan", "finite", record="k"),
    )
    assert (entry.payload_kind, entry.payload_limit) == ("full", None)
    payload = entry.payload
    assert list(payload) == ["label", "image", "boxes", "name", "raw"]
    assert type(payload["label"]) is np.int64
    assert payload["image"].dtype == np.dtype(">u2")
    assert payload["image"].tolist() == image.tolist()
    assert (payload["boxes"], payload["name"], payload["raw"]) == ([[1, 2.5], []], "a\x1b[31m", b"\0")


def test_nothing_is_opened_before_the_first_bad_record(tmp_path: Path) -> None:
    """A run without bad records leaves no folder behind."""
    writer = writer_of(str(tmp_path / "q"))
    assert writer.append([]) == 0
    pickle.loads(pickle.dumps(writer)).close()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_written_once(tmp_path: Path) -> None:
    """The same record again, in one batch, later, or by a restarted run, is not written a second time."""
    url = str(tmp_path)
    writer = writer_of(url)
    assert writer.append([bad("a"), bad("b"), bad("a")]) == 2
    assert writer.append([bad("b"), bad("c")]) == 1
    assert writer_of(url).append([bad("a"), bad("b"), bad("c"), bad("d")]) == 1
    contents = read_quarantine(url)
    assert (names(url), contents.lines) == (["a", "b", "c", "d"], 4)


def test_a_writer_reads_nobody_elses_lines(tmp_path: Path) -> None:
    """What another process or worker index wrote is not read: the reader merges what both wrote."""
    url = str(tmp_path)
    for process, worker in [(0, 0), (1, 0), (0, 1), (0, 10), (0, 0)]:
        writer = QuarantineWriter(QuarantineOptions(url), ORIGIN, process_index=process, worker=worker)
        writer.append([bad("a")])
    contents = read_quarantine(url)
    assert (names(url), contents.lines, contents.parts) == (["a"], 4, 4)


def test_the_newest_entry_comes_first_even_if_the_clock_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts on a disk are ordered by what was there before, whatever the clock says."""
    for label, now in [(10, 3_000_000_000), (11, 1_000_000_000), (12, 2_000_000_000)]:
        monkeypatch.setattr("time.time_ns", lambda now=now: now * 1_000_000_000)
        writer_of(str(tmp_path)).append([bad("a", label)])
    [group] = read_quarantine(str(tmp_path)).records
    assert [entry.payload["label"] for entry in group] == [12, 11, 10]


@pytest.mark.parametrize(
    "change",
    [{"dataset": "other"}, {"source": "s2"}, {"split": "test"}, {"split": None}, {"view": "batch"}],
)
def test_what_identity_tells_apart(tmp_path: Path, change: dict[str, Any]) -> None:
    """The same key under another dataset, source, split or view is another entry."""
    fields = {name: getattr(ORIGIN, name) for name in Origin.__slots__}
    writer_of(str(tmp_path)).append([bad("a")])
    assert writer_of(str(tmp_path), Origin(**{**fields, **change})).append([bad("a")]) == 1
    assert len(read_quarantine(str(tmp_path)).entries) == 2


def test_rules_are_not_identity(tmp_path: Path) -> None:
    """A record that was checked again under other label rules or a new version is the same entry."""
    writer_of(str(tmp_path)).append([bad("a")])
    assert writer_of(str(tmp_path), Origin("digits", "2.0.0", "d2", "train", None, "s1")).append([bad("a")]) == 0


def test_a_changed_label_is_a_new_entry_of_the_same_record(url: str) -> None:
    """Entries of one record are merged, the newest first, also when a later run wrote it."""
    writer_of(url).append([bad("a", 10), bad("b", 10)])
    writer_of(url).append([bad("a", 11)])
    writer_of(url).append([bad("a", 9), bad("a", 8)])
    records = read_quarantine(url).records
    assert [[entry.payload["label"] for entry in group] for group in records] == [[8, 9, 11, 10], [10]]


def test_records_without_a_key_are_distinguished_by_content(tmp_path: Path) -> None:
    """Without keys equal contents are one entry, and any other leaf makes another."""
    writer = writer_of(str(tmp_path), payload="labels")
    image = np.zeros(3)
    assert writer.append([bad(None, image=image), bad(None, image=image), bad(None, image=image + 1)]) == 2
    assert writer_of(str(tmp_path)).append([bad(None, image=image)]) == 0
    assert {entry.record for entry in read_quarantine(str(tmp_path)).entries} == {None}


def test_a_missing_label_is_left_out_of_the_payload(tmp_path: Path) -> None:
    """An absent label has no value in the payload, and is another entry than a None."""
    writer = writer_of(str(tmp_path))
    missing = BadRecord("a", {"x": 1}, {"label": tree.MISSING}, (Violation("label", "LG104", None, "present"),))
    assert writer.append([missing, bad("a", None)]) == 2
    assert [entry.payload for entry in read_quarantine(str(tmp_path)).entries] == [{"label": None}, {"x": 1}]


def test_payload_kinds(tmp_path: Path) -> None:
    """``labels`` keeps the labels alone and ``none`` keeps nothing; neither is called a limit."""
    for kind, expected in {"full": {"label": 10, "image": 5}, "labels": {"label": 10}, "none": {}}.items():
        writer_of(str(tmp_path / kind), payload=kind).append([bad("a", image=5)])
        [entry] = read_quarantine(str(tmp_path / kind)).entries
        assert (entry.payload_kind, entry.payload_limit, entry.payload) == (kind, None, expected)


def test_a_record_above_max_payload_bytes_keeps_its_labels(tmp_path: Path) -> None:
    """A large record falls back to its labels, large labels to a digest, and the line says so and why."""
    writer = writer_of(str(tmp_path), max_payload_bytes=200)
    writer.append([bad("image", image=np.zeros(1000)), bad("label", np.zeros(1000)), bad("small", image=1)])
    found = {entry.record: entry for entry in read_quarantine(str(tmp_path)).entries}
    kinds = {name: (entry.payload_kind, entry.payload_limit) for name, entry in found.items()}
    limit = "max_payload_bytes"
    assert kinds == {"image": ("labels", limit), "label": ("none", limit), "small": ("full", None)}
    assert found["image"].payload == {"label": 10}
    assert found["label"].digest != found["image"].digest


def test_a_writer_above_max_bytes_keeps_labels_and_loses_no_record(tmp_path: Path) -> None:
    """Beyond ``max_bytes`` every record is still written, with its labels."""
    writer = writer_of(str(tmp_path), max_bytes=4000)
    writer.append([bad(str(key), image=np.full(50, key)) for key in range(10)])
    writer.append([bad(str(key), image=np.full(50, key)) for key in range(10, 20)])
    entries = read_quarantine(str(tmp_path)).entries
    kinds = [(entry.payload_kind, entry.payload_limit) for entry in entries]
    assert len(entries) == 20
    assert set(kinds) == {("full", None), ("labels", "max_bytes")}
    assert kinds == sorted(kinds)


def test_lines_are_strict_ascii_json_in_a_part_of_the_promised_name(tmp_path: Path) -> None:
    """A part is JSON lines without raw text from the data, named for its process and worker."""
    writer = QuarantineWriter(QuarantineOptions(str(tmp_path)), ORIGIN, process_index=3, worker=7)
    writer.append([bad("\u202ekey\x1b\n", float("inf"), name="\x07ü\ud800")])
    writer.append([bad("b")])
    [part] = tmp_path.glob("*.jsonl")
    assert re.fullmatch(r"part-3-7-[0-9a-f-]+\.jsonl", part.name)
    data = part.read_bytes()
    assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in data)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in data.splitlines()]
    assert [line["record"] for line in lines] == ["\u202ekey\x1b\n", "b"]


def test_an_object_store_gets_one_object_for_each_dirty_batch() -> None:
    """Objects cannot grow: each batch is one object, and nothing else is written. Repeats are merged by the reader."""
    url = "memory://store/parts"
    writer = writer_of(url)
    assert [writer.append([bad(key), bad("a")]) for key in "abc"] == [1, 1, 1]
    assert len(fsspec.filesystem("memory").store) == 3
    contents = read_quarantine(url)
    assert (contents.parts, contents.lines) == (3, 3)
    assert writer_of(url).append([bad(key) for key in "abc"]) == 3
    assert names(url) == ["a", "b", "c"]
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("refused", ["ls", "cat_file", "info", "exists"])
def test_an_object_store_need_only_allow_to_put(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """Rights to list and to read are not needed to write; a refused put still stops the run."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Access Denied")

    filesystem = fsspec.filesystem("memory")
    filesystem.makedirs("/bucket", exist_ok=True)
    with monkeypatch.context() as patched:
        patched.setattr(type(filesystem), refused, refuse)
        assert writer_of("memory://bucket/q").append([bad("a")]) == 1
        assert writer_of("memory://bucket/q").append([bad("b")]) == 1
        patched.setattr(type(filesystem), "pipe_file", refuse)
        with pytest.raises(QuarantineError, match="Access Denied"):
            writer_of("memory://bucket/q").append([bad("c")])
    assert names("memory://bucket/q") == ["a", "b"]
    filesystem.store.clear()


def test_a_copy_writes_a_part_of_its_own(tmp_path: Path) -> None:
    """Two writers never share a file: a pickled copy starts another part, and knows what is written already."""
    writer = writer_of(str(tmp_path))
    writer.append([bad("a")])
    copy = pickle.loads(pickle.dumps(writer))
    assert copy.append([bad("a"), bad("b")]) == 1
    writer.append([bad("c")])
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert names(str(tmp_path)) == ["a", "b", "c"]


def test_threads_share_a_writer(tmp_path: Path) -> None:
    """Records appended by many threads at once are each one whole line."""
    writer = writer_of(str(tmp_path))
    added: list[int] = []

    def work(first: int) -> None:
        added.extend(writer.append([bad(str(key)), bad(str(key + 1))]) for key in range(first, 60))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 40, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    contents = read_quarantine(str(tmp_path))
    assert (contents.lines, contents.problems, sum(added)) == (61, (), 61)
    assert len(contents.entries) == 61


def test_after_close_a_writer_starts_another_part(tmp_path: Path) -> None:
    """``close`` may be called at any time and again; a late record is still written."""
    writer = writer_of(str(tmp_path))
    writer.append([bad("a")])
    writer.close()
    writer.close()
    assert writer.append([bad("a"), bad("b")]) == 1
    assert (names(str(tmp_path)), read_quarantine(str(tmp_path)).parts) == (["a", "b"], 2)


def test_a_folder_deleted_during_the_run_is_made_again(tmp_path: Path) -> None:
    """Records found after someone removed the folder are not lost into a deleted file."""
    folder = tmp_path / "q"
    writer = writer_of(str(folder))
    writer.append([bad("a")])
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    writer.append([bad("b")])
    assert names(str(folder)) == ["b"]


@pytest.mark.parametrize("lost", ["the folder", "its own part", "a part of an earlier run"])
def test_records_whose_part_was_deleted_are_written_again(tmp_path: Path, lost: str) -> None:
    """A second epoch does not count a record as kept whose line someone deleted, as in a notebook that starts over."""
    folder = tmp_path / "q"
    writer_of(str(folder)).append([bad("a")])
    (earlier,) = folder.iterdir()
    writer = writer_of(str(folder))
    assert writer.append([bad("a"), bad("b")]) == 1
    for file in folder.iterdir():
        if lost == "the folder" or (file == earlier) == (lost == "a part of an earlier run"):
            file.unlink()
    if lost == "the folder":
        folder.rmdir()
    assert writer.append([bad("a"), bad("b")]) == (2 if lost == "the folder" else 1)
    assert writer.append([bad("a"), bad("b")]) == 0
    assert sorted(names(str(folder)), key=str) == ["a", "b"]


@pytest.mark.parametrize("form", ["{}", "./{}", "file://{}", "other/../{}"])
def test_a_change_of_the_working_directory_does_not_move_the_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A relative folder is that of the moment when it was given: for later records, and for workers started later."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    writer = writer_of(form.format("q"))
    writer.append([bad("a")])
    monkeypatch.chdir(tmp_path / "other")
    assert writer.append([bad("a"), bad("b")]) == 1
    pickle.loads(pickle.dumps(writer)).append([bad("c")])
    assert sorted(names(str(tmp_path / "q")), key=str) == ["a", "b", "c"]
    assert not list((tmp_path / "other").iterdir())


RECORDS = [bad(str(key), note="x" * key) for key in range(4)]


@given(cut=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_part_cut_anywhere_loses_at_most_what_a_restart_writes_again(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """Cut a part at any byte: the reader sees just the whole lines, and a restarted run makes the set complete."""
    folder = tmp_path_factory.mktemp("q")
    writer_of(str(folder)).append(RECORDS[:2])
    again = writer_of(str(folder))
    again.append(RECORDS)
    [part] = [file for file in folder.glob("*.jsonl") if '"record":"3"' in file.read_text()]
    data = part.read_bytes()
    part.write_bytes(data[: cut % (len(data) + 1)])
    whole = part.read_bytes().count(b"\n")
    torn = bool(part.read_bytes()) and not part.read_bytes().endswith(b"\n")
    contents = read_quarantine(str(folder))
    assert (len(contents.entries), contents.lines) == (2 + whole, 2 + whole)
    assert [(found.part, found.line, found.kind) for found in contents.problems] == (
        [(part.name, whole + 1, "torn")] if torn else []
    )
    again.append([bad("late")])
    assert writer_of(str(folder)).append(RECORDS) == 2 - whole
    assert names(str(folder)) == ["0", "1", "2", "3", "late"]


@given(start=st.integers(0, 4000), length=st.integers(0, 4000), filler=st.sampled_from([b"\0", b"\xff", b"\n", b" "]))
@settings(max_examples=60, deadline=None)
def test_a_restart_writes_again_what_cannot_be_read(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, filler: bytes
) -> None:
    """After a power loss any run of a part may hold other bytes: a record counts as written only if its line is read.

    Spaces may join two lines into one that is JSON again.
    """
    folder = tmp_path_factory.mktemp("q")
    writer_of(str(folder)).append(RECORDS)
    [part] = folder.glob("*.jsonl")
    data = part.read_bytes()
    end = min(len(data), start + length)
    part.write_bytes(data[:start] + filler * max(0, end - start) + data[end:] if start < len(data) else data)
    left = len(read_quarantine(str(folder)).entries)
    assert writer_of(str(folder)).append(RECORDS) == len(RECORDS) - left
    assert [entry.payload["note"] for entry in read_quarantine(str(folder)).entries] == ["", "x", "xx", "xxx"]


def test_a_part_that_is_gone_or_replaced_is_written_again(tmp_path: Path) -> None:
    """Deleted, zeroed, or overwritten by the part of another dataset: the records are written again."""
    writer_of(str(tmp_path)).append(RECORDS)
    [part] = tmp_path.glob("*.jsonl")
    assert writer_of(str(tmp_path)).append(RECORDS) == 0
    part.write_bytes(bytes(part.stat().st_size))
    assert writer_of(str(tmp_path)).append(RECORDS) == len(RECORDS)
    for file in tmp_path.glob("*.jsonl"):
        lines = [
            unsealed(line).replace(b'"dataset":"digits"', b'"dataset":"others"')
            for line in file.read_bytes().splitlines()
        ]
        file.write_bytes(b"".join(map(sealed, lines)))
    assert writer_of(str(tmp_path)).append(RECORDS) == len(RECORDS)


@pytest.mark.parametrize("text", [np.str_, enum.StrEnum("Text", {"TRAIN": "train"})], ids=["numpy", "enum"])
def test_a_restart_knows_records_whose_names_are_texts_of_another_type(tmp_path: Path, text: Any) -> None:
    """A split, source or key that is a NumPy text or an enum is the same text once it is read back."""
    train = text("train")
    origin = dataclasses.replace(ORIGIN, dataset=train, split=train, view=train, source=train)
    record = BadRecord(train, {"label": 10}, {"label": 10}, (), train)
    assert writer_of(str(tmp_path), origin).append([record, record]) == 1
    assert writer_of(str(tmp_path), origin).append([record]) == 0


def test_two_records_of_one_key_are_two_records(tmp_path: Path) -> None:
    """A key without a unique position is a name: records that share it and their label stay apart by content."""
    writer = writer_of(str(tmp_path))
    same = [BadRecord("b", {"label": 9, "x": x}, {"label": 9}, (), None) for x in (1.0, 2.0, 2.0)]
    assert writer.append(same) == 2
    assert writer_of(str(tmp_path)).append(same) == 0
    records = read_quarantine(str(tmp_path)).records
    assert sorted(group[0].payload["x"] for group in records) == [1.0, 2.0]
    unreadable = [BadRecord("b", None, {"label": tree.MISSING}, (), None) for _ in range(2)]
    assert writer.append(unreadable) == 2, "nothing is known of them: they are not taken for one"


def test_features_without_an_exact_form_fall_back_to_labels(tmp_path: Path) -> None:
    """A leaf that could not be read back leaves the labels, labels without one leave nothing; the line says so."""
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    laughs: Any = []
    for _ in range(40):  # 2**40 items, should anybody walk them
        laughs = [laughs, laughs]
    writer = writer_of(str(tmp_path))
    writer.append(
        [bad("deep", x=deep), bad("object", x=object()), bad("laughs", x=laughs), bad("label", label=object())]
    )
    writer.append([bad(None, x=laughs), bad(None, x=laughs)])
    found = {entry.name: (entry.payload_kind, entry.payload_limit) for entry in read_quarantine(str(tmp_path)).entries}
    assert found["deep"] == found["object"] == ("labels", "not_encodable")
    assert found["laughs"] == ("labels", "max_payload_bytes")
    assert found["label"] == ("none", "not_encodable")
    assert len(found) == 6


def test_payload_none_keeps_no_value_and_no_digest_of_one(tmp_path: Path) -> None:
    """Neither the value, nor a digest by which a small value can be guessed; the record's key stays."""
    secret = "Jane Doe"
    found = (Violation("label", "LG103", secret, "integer", record="k"),)
    writer_of(str(tmp_path), payload="none").append([BadRecord("k", {"label": secret}, {"label": secret}, found, "k")])
    [part] = tmp_path.glob("*.jsonl")
    text = part.read_text()
    assert secret not in text
    assert (json.loads(text)["digest"], json.loads(text)["violations"][0]["value"]) == ("", "(not kept)")
    [entry] = read_quarantine(str(tmp_path)).entries
    assert (entry.record, entry.violations[0].rule, entry.payload_kind) == ("k", "LG103", "none")


@pytest.mark.parametrize(("mode", "folder_mode"), [(0o600, 0o700), (0o640, 0o750), (0o664, 0o775), (None, None)])
def test_the_rights_of_files_can_be_chosen(tmp_path: Path, mode: int | None, folder_mode: int | None) -> None:
    """``file_mode`` is exact whatever the umask; without it files follow the umask."""
    before = os.umask(0o027)
    try:
        writer_of(str(tmp_path / "q"), file_mode=mode).append([bad("a")])
    finally:
        os.umask(before)
    [part] = (tmp_path / "q").iterdir()
    assert stat.S_IMODE(part.stat().st_mode) == (0o640 if mode is None else mode)
    assert stat.S_IMODE((tmp_path / "q").stat().st_mode) == (0o750 if folder_mode is None else folder_mode)


def test_entries_say_when_where_and_at_which_step(tmp_path: Path) -> None:
    """Time, host, process, worker and step are stored, for people."""
    writer = QuarantineWriter(QuarantineOptions(str(tmp_path)), ORIGIN, process_index=3, worker=7)
    writer.append([bad("a")], step=12)
    [entry] = read_quarantine(tmp_path).entries
    written = entry.written
    assert written is not None
    assert (written.process, written.worker, written.step, written.host) == (3, 7, 12, socket.gethostname())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", written.time)


def test_damaged_lines_are_skipped_and_named(tmp_path: Path) -> None:
    """Garbage, another version, NaN literals and wrong types are problems with file and line; the rest is read."""
    writer_of(str(tmp_path)).append([bad("a")])
    [part] = tmp_path.glob("*.jsonl")
    good = part.read_bytes()
    line = json.loads(unsealed(good))
    damaged = [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"",
        *(
            sealed(json.dumps(changed).encode()).rstrip()
            for changed in [
                {**line, "v": 3},
                {**line, "v": True},
                {**line, "record": 3},
                {**line, "violations": [3]},
                {**line, "payload": {"label": {"dtype": "|O", "shape": [], "data": ""}}},
                {key: value for key, value in line.items() if key != "digest"},
            ]
        ),
        sealed(unsealed(good).replace(b"10", b"NaN")).rstrip(),
        b"[" * 100_000,
    ]
    part.write_bytes(b"\n".join(damaged) + b"\n" + good)
    contents = read_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == ["a"]
    assert [(found.part, found.line, found.kind) for found in contents.problems] == [
        (part.name, number, "corrupt") for number in range(1, len(damaged) + 1)
    ]
    assert "newer label-guard" in str(contents.problems[4])


def hostile_lines(line: dict[str, Any]) -> list[bytes]:
    """Lines that ask a reader for memory, time or trust, made of a sound one."""
    payloads: list[Any] = [
        {"dtype": "|V0", "shape": [10**15], "data": ""},
        {"dtype": "|u1", "shape": [-1], "data": "AA=="},
        {"dtype": "|u1", "shape": [0, 2**63], "data": ""},
        {"dtype": "|u1", "shape": [3], "data": "AAA"},
        {"dtype": f"<U{2**31}", "shape": [], "scalar": True, "data": "AA"},
        {"int": "0x" + "f" * 100 + "g"},
        {"dict": [[{"int": hex(k * (2**61 - 1))}, 0] for k in range(1, 500)]},
    ]
    changed = [
        *({**line, "payload": {"label": value}} for value in payloads),
        {**line, "written": {"time": 1}},
        {**line, "payload_kind": ["full"]},
        {**line, "position": 7},
    ]
    text = json.dumps(line).encode()
    wide = text.replace(b'"payload": {', b'"payload": {"wide": [' + b"[]," * 1_100_000 + b"[]], ")
    number = text.replace(b'"count": 1', b'"count": ' + b"9" * 5000)
    # Whoever makes such a line knows how to make its checksum.
    lines = [wide, number, *(json.dumps(fields).encode() for fields in changed)]
    return [
        *(sealed(made).rstrip() for made in lines),
        b"\0" * 10_000,
        b'{"v": 1, "dataset": "\xff\xfe"}',
        b"{" * 100_000,
        b"[" * 500 + b"]" * 500,
    ]


def test_a_hostile_line_costs_nothing_and_is_named(tmp_path: Path) -> None:
    """Every line that asks for memory, time or trust is a problem with its place; the sound lines are read."""
    writer_of(str(tmp_path)).append([bad("a"), bad("b")])
    [part] = tmp_path.glob("*.jsonl")
    first, second = part.read_bytes().splitlines()
    hostile = hostile_lines(json.loads(unsealed(first)))
    part.write_bytes(b"\n".join([first, *hostile, first, second]) + b"\n")
    contents = read_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == ["a", "b"]
    assert [found.line for found in contents.problems] == list(range(2, 2 + len(hostile)))
    assert all(len(str(found)) < 800 for found in contents.problems)


@pytest.mark.parametrize("line", [b"\n", b"\0\n", b"{}\n", b"1\n"])
def test_many_damaged_lines_are_counted_and_few_are_kept(tmp_path: Path, line: bytes) -> None:
    """Memory does not grow with damaged lines, which may be as short as one byte; every reader knows the number."""
    writer_of(str(tmp_path)).append([bad("a"), bad("b")])
    [part] = tmp_path.glob("*.jsonl")
    part.write_bytes(line * 3000 + part.read_bytes() + b'{"torn')
    contents, counted = read_quarantine(str(tmp_path)), summarize_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == ["a", "b"]
    for found in (contents, counted):
        assert (len(found.problems), found.num_problems, found.num_torn) == (1000, 3001, 1)
    (tmp_path / "part-0-0-9-x.jsonl").write_bytes(part.read_bytes())
    done = compact_quarantine(str(tmp_path))
    assert (len(done.problems), done.num_problems, done.parts_after) == (1000, 6000, 2)


def test_a_line_longer_than_the_limit_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is never read into memory beyond the limit, and reading goes on behind it."""
    monkeypatch.setattr("label_guard.quarantine.reader.MAX_LINE_BYTES", 2000)
    writer_of(str(tmp_path)).append([bad("a"), bad("b")])
    [part] = tmp_path.glob("*.jsonl")
    first, second = part.read_bytes().splitlines()
    part.write_bytes(first + b"\n" + b" " * 3_000_000 + b"\n" + second + b"\n" + b"x" * 5000)
    contents = read_quarantine(str(tmp_path))
    assert [(entry.record, entry.payload) for entry in contents.entries] == [("a", {"label": 10}), ("b", {"label": 10})]
    assert [(found.line, found.kind) for found in contents.problems] == [(2, "corrupt"), (4, "corrupt")]


def test_what_is_not_a_regular_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    """A FIFO, a folder, a dangling link, a device and an unreadable file in place of a part are problems."""
    writer_of(str(tmp_path)).append([bad("a")])
    os.mkfifo(tmp_path / "part-0-0-000001-fifo.jsonl")
    (tmp_path / "part-0-0-000002-folder.jsonl").mkdir()
    (tmp_path / "part-0-0-000003-dangling.jsonl").symlink_to(tmp_path / "none")
    (tmp_path / "part-0-0-000004-device.jsonl").symlink_to("/dev/zero")
    (tmp_path / "part-0-0-999999999999999999999-sequence.jsonl").write_bytes(b"")
    contents = read_quarantine(tmp_path)
    assert [entry.record for entry in contents.entries] == ["a"]
    assert [(found.line, found.kind) for found in contents.problems] == [(0, "unreadable")] * 4
    assert writer_of(str(tmp_path)).append([bad("a"), bad("b")]) == 1


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_foreign_bytes_never_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, position: int, byte: int
) -> None:
    """Any bytes as a part, and any flipped byte of a real one, give entries and problems, no exception."""
    folder = tmp_path_factory.mktemp("q")
    writer_of(str(folder)).append([bad("a", np.arange(3)), bad(None, [2**60, "x"])])
    [part] = folder.glob("*.jsonl")
    data = bytearray(part.read_bytes())
    data[position % len(data)] = byte
    part.write_bytes(bytes(data))
    (folder / "part-0-0-noise.jsonl").write_bytes(noise)
    for entry in read_quarantine(str(folder)).entries:
        assert isinstance(entry.payload, dict)


def test_a_missing_or_false_folder_is_one_clear_error(tmp_path: Path) -> None:
    """Reading what is not there, or is a file, says so; an empty folder is an empty quarantine."""
    with pytest.raises(QuarantineError, match="no such folder"):
        read_quarantine(str(tmp_path / "none"))
    with pytest.raises(QuarantineError, match="no such folder"):
        read_quarantine("memory://nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(QuarantineError, match="is a file"):
        read_quarantine(str(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    assert read_quarantine(str(tmp_path / "empty")).entries == ()


def test_a_file_in_place_of_the_folder_stops_the_run(tmp_path: Path) -> None:
    """The error names the place, the reason and what to do, and survives pickling."""
    (tmp_path / "file").write_text("x")
    for url in (str(tmp_path / "file"), str(tmp_path / "file" / "below")):
        with pytest.raises(QuarantineError, match=r"cannot write the quarantine .*file.* choose another") as caught:
            writer_of(url).append([bad("a")])
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_writer_goes_on_after_a_failure(tmp_path: Path) -> None:
    """When the cause is fixed, the same writer writes the same records."""
    place = tmp_path / "q"
    place.write_text("in the way")
    writer = writer_of(str(place))
    with pytest.raises(QuarantineError):
        writer.append([bad("a")])
    place.unlink()
    assert writer.append([bad("a")]) == 1
    assert names(str(place)) == ["a"]


def test_an_object_store_that_fails_is_a_quarantine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a file system behind fsspec raises arrives as one QuarantineError."""
    filesystem = fsspec.filesystem("memory")

    def refuse(path: str, data: bytes, **_: Any) -> None:
        raise RuntimeError("slow down")

    writer = writer_of("memory://failing")
    with monkeypatch.context() as patched:
        patched.setattr(filesystem, "pipe_file", refuse)
        with pytest.raises(QuarantineError, match="slow down"):
            writer.append([bad("a")])
    assert writer.append([bad("a")]) == 1
    filesystem.store.clear()


class _Disk(fsspec.implementations.local.LocalFileSystem):
    """A disk that fsspec reaches under a protocol of its own."""

    protocol = "disk"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("disk://")


def test_a_file_system_with_real_folders_gets_them_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind fsspec a missing folder is made where its place exists; a missing place (a bucket) is an error."""
    fsspec.register_implementation("disk", _Disk, clobber=True)
    monkeypatch.setenv("LABEL_GUARD_PROTOCOLS", "disk")
    url = f"disk://{tmp_path}/new/q"
    writer = writer_of(url)
    assert (writer.append([bad("a")]), writer.append([bad("a"), bad("b")])) == (1, 1)
    assert names(url) == names(f"{tmp_path}/new/q") == ["a", "b"]
    with pytest.raises(QuarantineError, match="no record was dropped without it"):
        writer_of("disk:///no-such-place-for-label-guard/q").append([bad("a")])


def test_fsync_writes_what_flush_writes(tmp_path: Path) -> None:
    """Durability changes when bytes reach the disk, not what is read back."""
    writer = writer_of(str(tmp_path / "deep" / "q"), durability="fsync")
    writer.append([bad("a")])
    writer.append([bad("b")])
    assert names(str(tmp_path / "deep" / "q")) == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": ""}, "give a folder"),
        ({"url": b"q"}, "give a folder"),
        ({"url": 7}, "give a folder"),
        ({"url": "~"}, "'~' would be a folder of that name; give /"),
        ({"url": "~/runs/q"}, "'~' would be a folder of that name; give /.*/runs/q"),
        ({"url": Path("~/q")}, "'~' would be a folder of that name"),
        ({"url": "q", "max_payload_bytes": 1 << 40}, "at most"),
        ({"url": "q", "file_mode": 0o1777}, "such as 0o600"),
        ({"url": "q", "file_mode": 0o400}, "read and write"),
        ({"url": "q", "file_mode": "600"}, "such as 0o600"),
        ({"url": "memory://q", "file_mode": 0o600}, "local folders"),
        ({"url": "q", "payload": "some"}, "one of: full, labels, none"),
        ({"url": "q", "durability": "never"}, "one of: flush, fsync"),
        ({"url": "q", "max_payload_bytes": -1}, "number of bytes"),
        ({"url": "q", "max_bytes": True}, "number of bytes"),
        ({"url": "q", "max_bytes": 1.5}, "number of bytes"),
        ({"url": "nosuchprotocol://q"}, "nosuchprotocol"),
    ],
)
def test_wrong_options_are_refused_when_made(options: dict[str, Any], message: str) -> None:
    """A wrong option is found when the pipeline is built, with what would be right."""
    with pytest.raises(UsageError, match=message):
        QuarantineOptions(**options)


def test_an_uninstalled_file_system_is_named_when_the_pipeline_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL whose fsspec package is missing fails at once and says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingDependencyError, match="s3fs"):
        QuarantineOptions("s3://bucket/q")


def test_entries_sort_as_people_count(tmp_path: Path) -> None:
    """Records are in the order of their keys, numbers by value, whatever the order of writing."""
    keys = ["f-00001__10", "f-00001__9", "f-00000__11", "10", "9"]
    writer_of(str(tmp_path)).append([bad(key) for key in keys])
    assert names(str(tmp_path)) == ["9", "10", "f-00000__11", "f-00001__9", "f-00001__10"]


def test_options_and_entries_are_plain_values(tmp_path: Path) -> None:
    """Options, entries and contents pickle, and an entry still finds its payload afterwards."""
    writer_of(str(tmp_path)).append([bad("a")])
    contents = pickle.loads(pickle.dumps(read_quarantine(str(tmp_path))))
    assert contents.entries[0].payload == {"label": 10}
    for file in tmp_path.glob("*.jsonl"):
        file.unlink()
    with pytest.raises(QuarantineError, match="cannot read"):
        _ = contents.entries[0].payload
