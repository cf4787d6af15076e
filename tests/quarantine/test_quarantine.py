"""Promises of quarantine.py and quarantine_reader.py: written once, never lost, read back exactly."""

import json
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.core import tree
from label_guard.errors import MissingDependencyError, QuarantineError, UsageError
from label_guard.quarantine import BadRecord, Origin, QuarantineOptions, QuarantineWriter, read_quarantine
from label_guard.rules.findings import Violation

ORIGIN = Origin("digits", "1.0.0", "d1", "train", None, "s1")


@pytest.fixture(params=["path", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh quarantine place of each kind."""
    if request.param == "memory":
        yield "memory://bucket/quarantine"
        fsspec.filesystem("memory").store.clear()
        fsspec.filesystem("memory").pseudo_dirs[:] = [""]
    else:
        yield f"{'file://' if request.param == 'file' else ''}{tmp_path}/new/quarantine"


def bad(record: str | None, label: Any = 10, **features: Any) -> BadRecord:
    """A record with a bad ``label``."""
    violation = Violation("label", "LG101", 10, "[0, 10)", row=3, record=record)
    return BadRecord(record, {"label": label, **features}, {"label": label}, (violation,))


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
    assert writer.append([BadRecord("k", element, {"label": np.int64(10)}, violations)]) == 1
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


def test_a_record_is_written_once(url: str) -> None:
    """The same record again, in one batch, later, or by a restarted run, is not written a second time."""
    writer = writer_of(url)
    assert writer.append([bad("a"), bad("b"), bad("a")]) == 2
    assert writer.append([bad("b"), bad("c")]) == 1
    assert writer_of(url).append([bad("a"), bad("b"), bad("c"), bad("d")]) == 1
    contents = read_quarantine(url)
    assert (names(url), contents.lines) == (["a", "b", "c", "d"], 4)


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
    """A record that was judged again under other label rules or a new version is the same entry."""
    writer_of(str(tmp_path)).append([bad("a")])
    assert writer_of(str(tmp_path), Origin("digits", "2.0.0", "d2", "train", None, "s1")).append([bad("a")]) == 0


def test_a_changed_label_is_a_new_entry_of_the_same_record(url: str) -> None:
    """Entries of one record are merged, the newest first, also when a later run wrote it."""
    writer_of(url).append([bad("a", 10), bad("b", 10)])
    writer_of(url).append([bad("a", 11)])
    writer_of(url).append([bad("a", 9), bad("a", 8)])
    records = read_quarantine(url).records
    assert [[entry.payload["label"] for entry in group] for group in records] == [[8, 9, 11, 10], [10]]


def test_records_without_a_key_are_told_apart_by_content(tmp_path: Path) -> None:
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


def test_an_object_store_gets_a_part_for_each_dirty_batch() -> None:
    """Objects cannot grow: each batch is an object of its own, and repeats are found through all of them."""
    url = "memory://store/parts"
    writer = writer_of(url)
    assert [writer.append([bad(key), bad("a")]) for key in "abc"] == [1, 1, 1]
    contents = read_quarantine(url)
    assert (contents.parts, contents.lines) == (3, 3)
    assert writer_of(url).append([bad(key) for key in "abc"]) == 0
    fsspec.filesystem("memory").store.clear()


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
    """Records appended by many threads at once each stand in one whole line."""
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


RECORDS = [bad(str(key), note="x" * key) for key in range(4)]


@given(cut=st.integers(0, 10_000), torn_keys=st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_part_cut_anywhere_loses_at_most_what_a_restart_writes_again(
    tmp_path_factory: pytest.TempPathFactory, cut: int, torn_keys: bool
) -> None:
    """Cut a part at any byte: the reader sees just the whole lines, and a restarted run makes the set complete."""
    folder = tmp_path_factory.mktemp("q")
    writer_of(str(folder)).append(RECORDS[:2])
    again = writer_of(str(folder))
    again.append(RECORDS)
    [part] = [file for file in folder.glob("*.jsonl") if '"record":"3"' in file.read_text()]
    for file in (part, *([part.with_suffix(".keys")] if torn_keys else [])):
        data = file.read_bytes()
        file.write_bytes(data[: cut % (len(data) + 1)])
    whole = part.read_bytes().count(b"\n")
    torn = bool(part.read_bytes()) and not part.read_bytes().endswith(b"\n")
    contents = read_quarantine(str(folder))
    assert (len(contents.entries), contents.lines) == (2 + whole, 2 + whole)
    assert [(found.part, found.line, found.kind) for found in contents.problems] == (
        [(part.name, whole + 1, "torn")] if torn else []
    )
    again.append([bad("late")])
    restarted = writer_of(str(folder))
    assert restarted.append(RECORDS) >= 2 - whole
    assert names(str(folder)) == ["0", "1", "2", "3", "late"]


def test_keys_never_vouch_for_a_part_that_is_gone(tmp_path: Path) -> None:
    """A ``.keys`` file whose part was deleted, or that holds garbage, keeps no record from being written."""
    writer_of(str(tmp_path)).append(RECORDS)
    [part] = tmp_path.glob("*.jsonl")
    part.with_suffix(".keys").write_bytes(b"garbage\n\xff\n" + part.with_suffix(".keys").read_bytes())
    assert writer_of(str(tmp_path)).append(RECORDS) == 0
    part.unlink()
    assert writer_of(str(tmp_path)).append(RECORDS) == len(RECORDS)


def test_damaged_lines_are_skipped_and_named(tmp_path: Path) -> None:
    """Garbage, another version, NaN literals and wrong types are problems with file and line; the rest is read."""
    writer_of(str(tmp_path)).append([bad("a")])
    [part] = tmp_path.glob("*.jsonl")
    good = part.read_bytes()
    line = json.loads(good)
    damaged = [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"",
        json.dumps({**line, "v": 2}).encode(),
        json.dumps({**line, "record": 3}).encode(),
        json.dumps({**line, "violations": [3]}).encode(),
        json.dumps({**line, "payload": {"label": {"dtype": "|O", "shape": [], "data": ""}}}).encode(),
        json.dumps({key: value for key, value in line.items() if key != "digest"}).encode(),
        good.replace(b"10", b"NaN").rstrip(),
        b"[" * 100_000,
    ]
    part.write_bytes(b"\n".join(damaged) + b"\n" + good)
    contents = read_quarantine(str(tmp_path))
    assert [entry.record for entry in contents.entries] == ["a"]
    assert [(found.part, found.line, found.kind) for found in contents.problems] == [
        (part.name, number, "corrupt") for number in range(1, len(damaged) + 1)
    ]
    assert "newer label-guard" in str(contents.problems[4])


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
    """When the cause is mended, the same writer writes the same records."""
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


def test_a_file_system_with_real_folders_gets_them_made(tmp_path: Path) -> None:
    """Behind fsspec a missing folder is made where its place exists; a missing place (a bucket) is an error."""
    url = f"simplecache::file://{tmp_path}/new/q"
    writer = writer_of(url)
    assert (writer.append([bad("a")]), writer.append([bad("a"), bad("b")])) == (1, 1)
    assert names(url) == names(f"{tmp_path}/new/q") == ["a", "b"]
    with pytest.raises(QuarantineError, match="no record was dropped without it"):
        writer_of("simplecache::file:///no-such-place-for-label-guard/q").append([bad("a")])


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
        ({"url": Path("q")}, "give a folder"),
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
