"""A line is a record only where its bytes are those that were written."""

import json
from pathlib import Path

import pytest

from label_guard.errors import QuarantineError
from label_guard.quarantine import (
    BadRecord,
    QuarantineOptions,
    QuarantineWriter,
    compact_quarantine,
    read_quarantine,
)
from label_guard.quarantine.line import LineProblem, Place, parse_line
from tests.quarantine_records import ORIGIN, bad, unsealed


def write(folder: Path, *records: BadRecord) -> tuple[Path, Place, int]:
    """Writes records; the newest part, a place in it, and how many were new."""
    new = QuarantineWriter(QuarantineOptions(str(folder)), ORIGIN).append(records)
    part = max(folder.iterdir())
    return part, Place(str(folder), part.name, 1, 0, 0), new


def cuts(line: bytes) -> list[int]:
    """Places between two tokens, and within one."""
    return [place for place, byte in enumerate(line) if byte in b'",:{}[] '][::2]


def test_bytes_of_two_lines_joined_are_no_record(tmp_path: Path) -> None:
    """Lines spliced at any pair of places, a part of them JSON again, are damaged, whichever lies first."""
    part, place, _ = write(tmp_path, bad("a", [1, 10]), bad("b", [3, 11]))
    first, second = part.read_bytes().splitlines()
    joined = {
        one[:head] + filler + other[tail:]
        for one, other in ((first, second), (second, first))
        for head in cuts(one)
        for tail in cuts(other)
        for filler in (b"", b" ")
    }
    as_json = [line for line in joined if line.strip() not in (first, second) and parses(line)]
    assert len(as_json) > 1000
    assert {type(parse_line(line, place)) for line in as_json} == {LineProblem}


def parses(line: bytes) -> bool:
    """Whether the line is JSON."""
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


def test_any_changed_byte_of_a_line_is_found(tmp_path: Path) -> None:
    """Every byte replaced by a space, a digit or a letter makes the line damaged, or leaves it the same record."""
    part, place, _ = write(tmp_path, bad("a", 10))
    line = part.read_bytes()
    for position in range(len(line) - 1):
        for byte in b" 0f":
            changed = line[:position] + bytes([byte]) + line[position + 1 :]
            assert changed == line or isinstance(parse_line(changed, place), LineProblem), changed


def test_lines_of_earlier_releases_are_read(tmp_path: Path) -> None:
    """A line of version 1 has no checksum; ``compact`` keeps it as it is, next to lines that have one."""
    part, _, _ = write(tmp_path, bad("a", 10), bad("b", 10))
    old = b"".join(unsealed(line).replace(b'{"v":2', b'{"v":1') + b"\n" for line in part.read_bytes().splitlines())
    part.write_bytes(old)
    assert write(tmp_path, bad("a", 10), bad("b", 10), bad("c", 10))[2] == 1
    compact_quarantine(tmp_path)
    contents = read_quarantine(tmp_path)
    assert [(entry.record, entry.payload) for entry in contents.entries] == [(key, {"label": 10}) for key in "abc"]
    assert (contents.parts, contents.problems) == (1, ())
    [part] = tmp_path.glob("*.jsonl")
    assert part.read_bytes().startswith(old)
    assert len({line.count(b'"crc"') for line in part.read_bytes().splitlines()}) == 2


def test_a_line_that_names_version_1_does_not_escape_its_checksum(tmp_path: Path) -> None:
    """The head of an old line and the tail of a new one, or the reverse, are damaged."""
    part, place, _ = write(tmp_path, bad("a", 10))
    new = part.read_bytes()
    for line in (new.replace(b'{"v":2', b'{"v":1'), unsealed(new), unsealed(new)[:-1] + b',"crc":null}'):
        assert isinstance(parse_line(line, place), LineProblem)


def test_a_line_changed_between_two_reads_is_an_error(tmp_path: Path) -> None:
    """An entry reads its payload later: bytes that changed since then are refused."""
    part, _, _ = write(tmp_path, bad("a", 10))
    [entry] = read_quarantine(tmp_path).entries
    part.write_bytes(part.read_bytes().replace(b'"payload":{"label":10}', b'"payload":{"label":11}'))
    with pytest.raises(QuarantineError, match="changed while it was read"):
        _ = entry.payload
