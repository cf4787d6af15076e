"""Compaction keeps every entry once, in order, next to writers that go on; summaries count what a reader finds."""

from __future__ import annotations

import os
import random
import stat
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest

from label_guard.errors import QuarantineError
from label_guard.quarantine import (
    BadRecord,
    QuarantineOptions,
    QuarantineWriter,
    compact_quarantine,
    read_quarantine,
    storage,
    summarize_quarantine,
)
from label_guard.quarantine.line import sealed
from label_guard.quarantine.storage import LocalFolder
from tests.quarantine_records import ORIGIN, bad


def write(url: str, *records: BadRecord, process: int = 0, step: int | None = None, **options: Any) -> None:
    """Write records as a new writer."""
    writer = QuarantineWriter(QuarantineOptions(url, **options), ORIGIN, process_index=process)
    for record in records:
        writer.append([record], step=step)


def contents(url: str) -> list[list[tuple[str, Any]]]:
    """What a reader finds: records in order, with their labels from new to old."""
    return [[(entry.name, entry.payload["label"]) for entry in group] for group in read_quarantine(url).records]


@pytest.mark.parametrize("remote", [False, True])
def test_compaction_keeps_what_a_reader_finds(remote: bool, tmp_path: Path) -> None:
    """Parts of several writers, with repeats and changed labels, read the same before and after, twice."""
    url = "memory://store/q" if remote else str(tmp_path / "q")
    generator = random.Random(3)
    for process in range(8):
        write(url, *[bad(str(generator.randrange(9)), generator.randrange(10, 14)) for _ in range(6)], process=process)
    before, lines = contents(url), read_quarantine(url).lines
    done = compact_quarantine(url)
    entries = sum(map(len, before))
    assert (done.parts_after, done.lines, done.entries, done.problems) == (1, lines, entries, ())
    assert contents(url) == before
    assert (read_quarantine(url).parts, read_quarantine(url).lines) == (1, entries)
    write(url, bad("new", 99), bad("0", 99))
    after = contents(url)
    compact_quarantine(url)
    assert contents(url) == after
    assert ("0", 99) in [group[0] for group in after]
    fsspec.filesystem("memory").store.clear()


def test_damaged_parts_are_left_as_they_are(tmp_path: Path) -> None:
    """A damaged line may be one that a newer release reads: its part stays; a torn line is what a crash leaves."""
    for key in "abc":
        write(str(tmp_path), bad(key))
    first, second, third = sorted(tmp_path.iterdir())
    first.write_bytes(first.read_bytes() + b'{"v": 99}\n')
    second.write_bytes(second.read_bytes() + b'{"v": 1, "da')
    damaged = first.read_bytes()
    done = compact_quarantine(tmp_path)
    assert [(found.line, found.kind) for found in done.problems] == [(2, "corrupt")]
    assert first.read_bytes() == damaged
    assert not second.exists()
    assert not third.exists()
    assert done.parts_after == 2
    assert [entry.record for entry in read_quarantine(tmp_path).entries] == ["a", "b", "c"]


def test_a_crash_at_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where renaming, writing or deleting fails, all entries are read, and the next compaction ends the work."""
    for step in ("rename", "create", "remove"):
        folder = str(tmp_path / step)
        for key in "abc":
            write(folder, bad(key))

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(LocalFolder, step, fail)
            with pytest.raises(QuarantineError, match=r"No space left.*no record was lost"):
                compact_quarantine(folder)
        assert [entry.record for entry in read_quarantine(folder).entries] == ["a", "b", "c"]
        compact_quarantine(folder)
        assert [entry.record for entry in read_quarantine(folder).entries] == ["a", "b", "c"]
        assert read_quarantine(folder).parts == 1


def test_writers_go_on_during_compaction(tmp_path: Path) -> None:
    """A writer that has a part open when it is merged loses no record."""
    url, written = str(tmp_path), 300

    def work(process: int) -> None:
        writer = QuarantineWriter(QuarantineOptions(url), ORIGIN, process_index=process)
        for number in range(written):
            writer.append([bad(f"{process}-{number}")])

    threads = [threading.Thread(target=work, args=(process,)) for process in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if tmp_path.is_dir():
            compact_quarantine(url)
    for thread in threads:
        thread.join()
    found = read_quarantine(url)
    assert len(found.entries) == 3 * written
    assert found.problems == ()


def test_a_part_that_is_merged_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that a compaction takes while it is still empty is made again, a writer's and a merged one."""
    folder, real, waiting = str(tmp_path), storage._write, [True, True]

    def interrupted(descriptor: int, data: bytes, *, sync: bool = False) -> None:
        if waiting:
            waiting.pop()
            compact_quarantine(folder)
        real(descriptor, data, sync=sync)

    for key in "ab":
        write(folder, bad(key))
    monkeypatch.setattr(storage, "_write", interrupted)
    write(folder, bad("c"))
    assert [entry.record for entry in read_quarantine(folder).entries] == ["a", "b", "c"]


def test_merged_parts_are_no_more_open_than_their_parts(tmp_path: Path) -> None:
    """Files that only their owner may read are not merged into one that others may read."""
    before = os.umask(0o022)
    try:
        write(str(tmp_path), bad("a"), file_mode=0o600)
        write(str(tmp_path), bad("b"))
        compact_quarantine(tmp_path)
    finally:
        os.umask(before)
    [part] = tmp_path.iterdir()
    assert stat.S_IMODE(part.stat().st_mode) == 0o600


def test_a_summary_counts_what_a_reader_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted line by line, the newest entries of each record give the same numbers as a full read."""
    monkeypatch.setattr("label_guard.quarantine.summary._FIRST_MERGE", 8)  # merge often, as with millions of lines
    generator = random.Random(5)
    rules = ("LG101", "LG102", "LG103")
    for process in range(5):
        records = [
            bad(str(generator.randrange(40)), generator.randrange(3), generator.choice(rules)) for _ in range(60)
        ]
        write(str(tmp_path), *records, process=process, step=process * 10)
    for part in sorted(tmp_path.iterdir())[:1]:
        part.write_bytes(part.read_bytes() + b"x\n" + b"torn")
    full, counted = read_quarantine(tmp_path), summarize_quarantine(tmp_path)
    newest = [group[0] for group in full.records]
    assert counted.rules == Counter(found.rule for entry in newest for found in entry.violations)
    assert (counted.records, counted.contents, counted.lines, counted.parts) == (len(newest), 0, full.lines, 5)
    assert counted.changed == sum(len(group) > 1 for group in full.records)
    assert (counted.num_problems, counted.num_torn, counted.problems) == (2, 1, list(full.problems))
    assert sorted(key[1] for key in counted.writers) == list(range(5))
    assert {key[1]: wrote.steps for key, wrote in counted.writers.items()} == {k: (10 * k, 10 * k) for k in range(5)}
    assert sum(wrote.lines for wrote in counted.writers.values()) == full.lines


@pytest.mark.long
def test_a_million_entries_are_summarised_in_little_memory(tmp_path: Path) -> None:
    """Memory does not grow with the payloads, and little with the entries."""
    import subprocess
    import sys

    write(str(tmp_path), bad("K"))
    [part] = tmp_path.iterdir()
    line = part.read_bytes().partition(b',"crc":')[0] + b"}"
    with part.open("wb") as file:
        for number in range(1_000_000):
            file.write(sealed(line.replace(b'"K"', b'"%d"' % number)))
    # Not ru_maxrss: a new process inherits that of the one that started it.
    program = (
        "import pathlib, sys; from label_guard.quarantine import summarize_quarantine; "
        "records = summarize_quarantine(sys.argv[1]).records; status = pathlib.Path('/proc/self/status').read_text(); "
        "print(records, int(status.partition('VmHWM:')[2].split()[0]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    records, megabytes = map(int, done.stdout.split())
    assert records == 1_000_000
    assert megabytes < 300


def test_two_at_once_lose_nothing_and_say_why_one_ended(tmp_path: Path) -> None:
    """Each removes only what it has written again; one that finds parts gone says that another may be running."""
    for turn in range(6):
        folder = str(tmp_path / str(turn))
        for process in range(25):
            write(folder, *(bad(f"{process}_{row}") for row in range(4)), process=process)
        failures: list[str] = []

        def run(folder: str = folder, failures: list[str] = failures) -> None:
            try:
                compact_quarantine(folder)
            except QuarantineError as error:
                failures.append(str(error))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        contents = read_quarantine(folder)
        assert (len(contents.entries), contents.num_problems) == (100, 0)
        assert all("perhaps by another compact; no record was lost" in text for text in failures), failures
