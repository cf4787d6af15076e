"""``label-guard quarantine``: what is printed and written, exit codes, nothing raw from the data."""

import csv
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from label_guard.cli import app as cli
from label_guard.core import tree
from label_guard.quarantine import BadRecord, Origin, QuarantineOptions, QuarantineWriter, read_quarantine
from label_guard.rules.violation import Violation
from tests.quarantine_records import bad

GOLDEN = Path(__file__).parents[1] / "golden"
SCHEMA = """
format: 1
name: digits
version: 2.0.0
labels:
  label: {kind: class_label, num_classes: 11, dtype: int64}
splits:
  train: {}
  test: {}
"""


def origin(split: str | None = "train", dataset: str = "digits", view: str | None = None) -> Origin:
    """Where a record came from."""
    return Origin(dataset, "1.0.0", "d1", split, view, "s1")


def write(folder: Path, where: Origin, *records: BadRecord, **options: Any) -> None:
    """Quarantine ``records`` from one origin."""
    QuarantineWriter(QuarantineOptions(str(folder), **options), where).append(records)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A quarantine with records of two splits, one of them changed, one without a key, one hostile, one unreadable."""
    place = tmp_path / "q"
    image = np.zeros((8, 8, 3), np.uint8)
    write(place, origin(), bad("f__2", np.int64(10), image=image), bad("f__10", np.int64(-1), "LG102", image=image))
    write(place, origin(), bad("f__2", np.int64(12), image=image), bad(None, np.int64(10), note="no key"))
    hostile = bad("=cmd|' /C calc'!A1\x1b[2J\u202e", "\x1b]0;owned\x07", "LG103", name="a\nb", raw=b"\x00\x01")
    write(place, origin("test"), hostile)
    unreadable = Violation("", "LG120", "checksum", "a whole record")
    write(place, origin("test"), BadRecord("f__9", None, {"label": tree.MISSING}, (unreadable,), position="f__9"))
    write(place, origin(), bad("f__3", np.int64(2**40), image=image), max_payload_bytes=100)
    return place


@pytest.fixture
def schema(tmp_path: Path) -> str:
    """A corrected schema that takes 10 as a class."""
    path = tmp_path / "new.yaml"
    path.write_text(SCHEMA)
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, output and messages of ``label-guard quarantine``."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["quarantine", *args])
    output = capsys.readouterr()
    assert all(character.isprintable() or character == "\n" for character in output.out + output.err)
    return int(str(stopped.value.code)), output.out, output.err


def golden(name: str, text: str, folder: Path) -> None:
    """Hold ``text`` against the golden file; delete the file to write it again."""
    path = GOLDEN / name
    text = text.replace(str(folder.parent), "").replace(socket.gethostname(), "HOST")
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    if not path.exists():
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_summary_counts_records_by_rule_label_split_and_source(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """The summary counts distinct records by their newest entry and exits 0."""
    code, output, messages = run(capsys, "summary", str(folder))
    assert (code, messages) == (0, "")
    golden("quarantine_summary.txt", output, folder)


def test_show_writes_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Arrays and encoded pictures become PNG files in the folder, whatever the names of record and feature hold."""
    image = np.full((4, 6, 3), 200, np.uint8)
    place, pictures = tmp_path / "q", tmp_path / "new" / "pictures"
    write(place, origin(), bad("a/../b\x1b__2", np.int64(10), **{"image/raw": image, "text": "no picture"}))
    code, output, _ = run(capsys, "show", str(place), "--pictures", str(pictures))
    [path] = pictures.iterdir()
    assert (code, path.name) == (0, "1-a_.._b___2-image_raw.png")
    assert f"    image/raw: picture in {path}\n" in output
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


def test_show_keeps_pictures_apart_and_says_where_none_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Names that differ in signs alone are two files; records without a picture are reported, not passed over."""
    place, pictures = tmp_path / "q", tmp_path / "pictures"
    images = {name: np.full((4, 6, 3), k, np.uint8) for k, name in enumerate(["a/b", "a_b", "a.b", "a b"])}
    write(place, origin(), bad("f__1", np.int64(10), **images))
    run(capsys, "show", str(place), "--pictures", str(pictures))
    assert sorted(np.asarray(Image.open(path)).max() for path in pictures.iterdir()) == [0, 1, 2, 3]
    write(tmp_path / "none", origin(), bad("f__1", np.int64(10)), bad("f__2", np.int64(10)))
    code, _, messages = run(capsys, "show", str(tmp_path / "none"), "--pictures", str(tmp_path / "new"))
    assert code == 0
    assert (
        messages == f"label-guard: no picture is kept in 2 shown records; nothing was written to {tmp_path / 'new'}\n"
    )
    assert not (tmp_path / "new").exists()


def test_show_names_the_place_of_a_value(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The index of the first such value in an array, with when and by whom the record was written."""
    mask = np.zeros((20, 30), np.uint8)
    mask[17, 3] = 77
    found = Violation("mask", "LG101", 77, "[0, 10)", record="m__1")
    write(tmp_path / "q", origin(), BadRecord("m__1", {"mask": mask}, {"mask": mask}, (found,), position="m__1"))
    _, output, _ = run(capsys, "show", str(tmp_path / "q"))
    assert "LG101 mask: 77 at [17, 3], expected [0, 10)" in output
    assert re.search(r"written \d{4}-\S+ by host \S+, process 0, worker 0", output)


def test_show_says_what_is_wrong_and_what_is_kept(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Every record is shown with its reasons and its payload, escaped for the terminal."""
    code, output, messages = run(capsys, "show", str(folder))
    assert (code, messages) == (0, "")
    golden("quarantine_show.txt", output, folder)


def test_show_narrows_by_rule_record_and_limit(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """``--rule``, ``--record`` and ``--limit`` choose records, and what is left out is said."""
    assert run(capsys, "show", str(folder), "--rule", "LG102")[1].count("record ") == 1
    code, output, _ = run(capsys, "show", str(folder), "--record", "f__2")
    assert (code, output.splitlines()[0]) == (0, "record f__2 (digits 1.0.0, split train, source s1)")
    assert "and 5 more" in run(capsys, "show", str(folder), "--limit", "1")[1]
    assert run(capsys, "show", str(folder), "--rule", "LG112")[:2] == (0, "no such record\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "--rule", "LG999"], "unknown rule 'LG999'"),
        (["show", "--record", "nothing\x1b"], "no record nothing\\x1b"),
        (["export", "--format", "xml", "--output", "x"], "xml"),
        (["export", "--format", "csv"], "--output"),
        (["recheck"], "--schema"),
    ],
)
def test_wrong_arguments_exit_2_with_one_message(
    capsys: pytest.CaptureFixture[str], folder: Path, arguments: list[str], message: str
) -> None:
    """A rule, record or format that is not there is an error, never an empty answer."""
    code, output, messages = run(capsys, arguments[0], str(folder), *arguments[1:])
    assert (code, output) == (2, "")
    assert message in messages


@pytest.mark.parametrize("name", ["summary", "show", "export", "recheck"])
def test_a_missing_folder_exits_2(capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str, name: str) -> None:
    """Every command says that the quarantine does not exist, and writes no file."""
    extra = {"export": ["--format", "csv", "--output", str(tmp_path / "out")], "recheck": ["--schema", schema]}
    code, output, messages = run(capsys, name, str(tmp_path / "none"), *extra.get(name, []))
    assert (code, output) == (2, "")
    assert "no such folder" in messages
    assert not (tmp_path / "out").exists()


def test_damaged_lines_are_reported(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """A torn last line is reported and exits 0; a corrupt line means that not all could be read, and exits 2."""
    part = min(folder.glob("*.jsonl"))
    part.write_bytes(part.read_bytes() + b'{"v": 1, "da\x1b')
    code, _, messages = run(capsys, "summary", str(folder))
    assert code == 0
    assert f"skipped {part.name}:3: torn" in messages
    part.write_bytes(part.read_bytes() + b"\n")
    code, _, messages = run(capsys, "show", str(folder))
    assert code == 2
    assert f"skipped {part.name}:3: corrupt" in messages


def test_export_jsonl_is_a_quarantine_again(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    """Exported lines are strict JSON, each entry once, and read back as the same entries."""
    target = tmp_path / "merged" / "part-0-0-exported.jsonl"
    target.parent.mkdir()
    copy = min(folder.glob("*.jsonl"))
    copy.with_name("part-0-0-000001-copy.jsonl").write_bytes(copy.read_bytes())
    assert run(capsys, "export", str(folder), "--format", "jsonl", "--output", str(target))[0] == 0
    for line in target.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    before, after = read_quarantine(str(folder)), read_quarantine(str(target.parent))
    assert (before.lines, after.lines) == (9, 7)
    pictures = [
        sorted(
            (repr(entry.record_id), entry.digest, entry.violations, repr(entry.payload)) for entry in contents.entries
        )
        for contents in (before, after)
    ]
    assert pictures[0] == pictures[1]


def test_export_csv_is_safe_in_a_spreadsheet(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    """One row for each violation; no cell starts a formula or holds a control character; negative numbers stay."""
    target = tmp_path / "out.csv"
    assert run(capsys, "export", str(folder), "--format", "csv", "--output", str(target))[0] == 0
    golden("quarantine_export.csv", target.read_text(encoding="utf-8"), folder)
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    cells = [cell for row in rows for cell in row.values()]
    assert all(cell.isprintable() for cell in cells)
    assert [cell for cell in cells if cell.startswith(tuple("=+-@"))] == ["-1"]


def test_export_npz_holds_uniform_labels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Labels of one form become one array with their dtype, loadable without pickle, the same bytes each time."""
    folder = tmp_path / "q"
    write(folder, origin(), bad("b", np.int64(11)), bad("a", np.int64(12)), bad("a", np.int64(13)))
    write(folder, origin(), BadRecord(None, {"file": 1}, {"file": np.uint8([7, 8]), "label": np.int64(14)}, ()))
    target = tmp_path / "out.npz"
    code, _, messages = run(capsys, "export", str(folder), "--format", "npz", "--output", str(target))
    assert code == 2
    assert "label file is left out" in messages
    first = target.read_bytes()
    run(capsys, "export", str(folder), "--format", "npz", "--output", str(target))
    assert target.read_bytes() == first
    with np.load(target, allow_pickle=False) as arrays:
        assert set(arrays) == {"record", "dataset", "source", "split", "rule", "labels/label"}
        assert arrays["record"].tolist()[:2] == ["a", "b"]
        assert (arrays["labels/label"].dtype, arrays["labels/label"].tolist()) == (np.dtype("int64"), [13, 11, 14])


def test_export_npz_refuses_names_that_leave_the_archive(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A label path that would unpack elsewhere is left out and named."""
    violation = Violation("../x", "LG101", 1, "[0, 1)")
    write(tmp_path / "q", origin(), BadRecord("a", {}, {"../x": np.int64(1)}, (violation,)))
    target = tmp_path / "out.npz"
    code, _, messages = run(capsys, "export", str(tmp_path / "q"), "--format", "npz", "--output", str(target))
    assert code == 2
    assert "not a safe name" in messages


FULL_DISK = """
import resource, sys
from label_guard.cli.app import main

resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
main(sys.argv[1:])
"""


def test_a_failed_export_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    """On a full disk the command is one error; what was at the target stays, and no temporary file is left."""
    target = tmp_path / "out"
    target.write_text("before")
    for form in ("jsonl", "csv", "npz"):
        arguments = ["quarantine", "export", str(folder), "--format", form, "--output", str(target)]
        ended = subprocess.run(
            [sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 2
        assert "File too large" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert target.read_text() == "before"
        assert {path.name for path in tmp_path.iterdir()} == {"q", "out"}


def test_an_export_to_a_place_that_cannot_be_is_one_error(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    """A missing folder or a folder as target exits 2."""
    for target in (tmp_path / "none" / "out", folder):
        code, _, messages = run(capsys, "export", str(folder), "--format", "csv", "--output", str(target))
        assert code == 2
        assert messages.count("\n") == 1


def test_recheck_says_which_records_a_corrected_schema_accepts(
    capsys: pytest.CaptureFixture[str], folder: Path, schema: str
) -> None:
    """Each newest entry is checked against the rules of its own split; records still bad exit 1."""
    code, output, messages = run(capsys, "recheck", str(folder), "--schema", schema)
    assert (code, messages) == (1, "")
    golden("quarantine_recheck.txt", output, folder)
    code, output, _ = run(capsys, "summary", str(folder), "--schema", schema)
    assert code == 0
    assert output.endswith("1 resolved, 5 open, 0 not checked\n")


def test_recheck_exits_0_when_all_are_accepted(capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str) -> None:
    """Accepted records are written as keys for a source, and whole where they are kept as stored."""
    folder = tmp_path / "q"
    write(folder, origin(), bad("f__10", np.int64(10), image=np.zeros(3)), bad("f__9", np.int64(10)))
    keys, whole = tmp_path / "keys.txt", tmp_path / "whole.jsonl"
    arguments = ["--schema", schema, "--keys", str(keys), "--output", str(whole)]
    assert run(capsys, "recheck", str(folder), *arguments)[0] == 0
    assert keys.read_text() == "f__9\nf__10\n"
    assert [json.loads(line)["record"] for line in whole.read_text().splitlines()] == ["f__9", "f__10"]


def test_recheck_by_split(capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str) -> None:
    """``--split`` takes the records of one split, parts of it included; keys of several splits are refused."""
    folder, keys = tmp_path / "q", tmp_path / "keys.txt"
    for split in ("train", "train[:90%]", "test"):
        write(folder, origin(split), bad(f"f__{len(split)}", np.int64(10)))
    arguments = ["recheck", str(folder), "--schema", schema]
    code, _, messages = run(capsys, *arguments, "--keys", str(keys))
    assert code == 2
    assert "pass --split" in messages
    assert not keys.exists()
    assert run(capsys, *arguments, "--split", "test", "--keys", str(keys))[0] == 0
    assert keys.read_text() == "f__4\n"
    assert "2 accepted" in run(capsys, *arguments, "--split", "train")[1]


@pytest.mark.parametrize("split", ["tran", "Train", "tran[:90%]"])
def test_recheck_of_a_misspelt_split(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str, split: str
) -> None:
    """Neither the quarantine nor the schema has the split: an error that lists the splits, not an exit with 0."""
    folder = tmp_path / "q"
    write(folder, origin("train"), bad("f__1", np.int64(10)))
    code, output, messages = run(capsys, "recheck", str(folder), "--schema", schema, "--split", split)
    assert (code, output) == (2, "")
    assert "has no split" in messages
    assert "train, test" in messages
    assert run(capsys, "recheck", str(folder), "--schema", schema, "--split", "test")[0] == 0  # declared, and clean


def test_recheck_never_calls_unchecked_records_accepted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str
) -> None:
    """Records without labels, of another dataset, split or view, or lacking a label are not checked: exit 2."""
    folder = tmp_path / "q"
    write(folder, origin(), bad("none", np.int64(10)), payload="none")
    write(folder, origin("validation"), bad("split", np.int64(10)))
    write(folder, origin(dataset="other"), bad("other", np.int64(10)))
    write(folder, origin(view="crop"), bad("view", np.int64(10)))
    other = BadRecord("label", {"x": 1}, {"x": np.int64(10)}, (Violation("x", "LG101", 10, "[0, 10)"),))
    write(folder, origin(), other, payload="labels")
    code, output, messages = run(capsys, "recheck", str(folder), "--schema", schema)
    assert (code, output.splitlines()) == (2, [f"{folder} with {schema}: 0 accepted, 0 still bad, 5 not checked"])
    assert messages.count("not checked") == 5


@pytest.mark.parametrize("payload", ["labels", "full"])
def test_recheck_under_a_where_that_was_not_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str, payload: str
) -> None:
    """With payload="labels" a mask that the corrected schema names is not there: not checked, rather than still bad."""
    folder = tmp_path / "q"
    Path(schema).write_text(SCHEMA.replace("int64}", "int64, where: real}"))
    write(folder, origin(), bad("f__1", np.int64(10), real=np.bool_(True)), payload=payload)
    code, output, messages = run(capsys, "recheck", str(folder), "--schema", schema)
    assert code == (0 if payload == "full" else 2)
    assert ("0 accepted, 0 still bad, 1 not checked" in output) == (payload == "labels")
    assert ("real (where of label 'label') was not kept" in messages) == (payload == "labels")


@pytest.mark.parametrize("declared", ["train: {}\n  test: {}", "train: {}", None])
@pytest.mark.parametrize("written", [None, "train", "train+test"])
@pytest.mark.parametrize("split", [None, "train"])
def test_a_record_of_no_known_split_is_never_left_out_in_silence(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    schema: str,
    split: str | None,
    written: str | None,
    declared: str | None,
) -> None:
    """The schema got its splits after the stop: each record is checked, or the exit code is 2 (an audit: 1 or 2)."""
    folder = tmp_path / "q"
    head, _, _ = SCHEMA.partition("splits:")
    Path(schema).write_text(head if declared is None else f"{head}splits:\n  {declared}\n")
    write(folder, origin(written), bad("f__1", np.int64(10)))
    chosen = [] if split is None else ["--split", split]
    code, output, messages = run(capsys, "recheck", str(folder), "--schema", schema, *chosen)
    assert code == (0 if "1 accepted" in output else 2)
    assert code == 0 or "1 not checked" in output or "has no split" in messages
    with pytest.raises(SystemExit) as stopped:
        cli.main(["audit", schema, "--source", f"quarantine:{folder}", *chosen])
    assert (stopped.value.code == 0) == ("1 record in 1 file" in capsys.readouterr().out)


def test_an_audit_of_a_quarantine_takes_it_for_a_part(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its records and classes are some of the split's: the declared count, unused and rare classes are not compared."""
    folder, schema = tmp_path / "q", tmp_path / "s.yaml"
    head, _, _ = SCHEMA.partition("splits:")
    limits = "limits: {min_class_count: 5}\n"
    schema.write_text(f"{head}splits:\n  train: {{num_examples: 1500}}\n  test: {{num_examples: 297}}\n{limits}")
    write(folder, origin(), *(bad(f"f__{k}", np.int64(10)) for k in range(50)))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["audit", str(schema), "--source", f"quarantine:{folder}"])
    output = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "train: 50 records in 1 file, 0 bad" in output
    assert "train: rules about a split as a whole (LG401, LG403, LG404, LG405): a quarantine holds some" in output


def test_an_audit_of_a_quarantine_without_these_splits_is_not_clean(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str
) -> None:
    """No record of it is of a split of the schema, which was renamed: exit 1, not "nothing found"."""
    folder = tmp_path / "q"
    write(folder, origin("training"), bad("f__1", np.int64(10)))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["audit", schema, "--source", f"quarantine:{folder}"])
    assert stopped.value.code == 1
    assert "the quarantine holds no record of these splits" in capsys.readouterr().out


def test_an_audit_of_a_corrected_quarantine_may_ignore_every_record(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str
) -> None:
    """It declares an ignore value: its records hold nothing to learn, which is not an error of the split."""
    folder = tmp_path / "q"
    Path(schema).write_text(SCHEMA.replace("int64}", "int64, ignore: [255]}"))
    write(folder, origin(), bad("f__1", np.int64(255)))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["audit", schema, "--source", f"quarantine:{folder}"])
    assert "LG408 nothing-to-learn: [warning]" in capsys.readouterr().out
    assert stopped.value.code == 0


def test_recheck_says_what_it_cannot_write(capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str) -> None:
    """Accepted records without a key, or not kept whole, are counted and exit 2."""
    folder = tmp_path / "q"
    write(folder, origin(), bad(None, np.int64(10)), payload="labels")
    code, _, messages = run(capsys, "recheck", str(folder), "--schema", schema, "--keys", str(tmp_path / "k"))
    assert code == 2
    assert "1 accepted have no key" in messages
    code, _, messages = run(capsys, "recheck", str(folder), "--schema", schema, "--output", str(tmp_path / "o"))
    assert code == 2
    assert "not kept as they were stored" in messages


def test_an_empty_quarantine_is_clean(capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str) -> None:
    """A folder without parts holds no records: every command exits 0."""
    (tmp_path / "q").mkdir()
    assert run(capsys, "summary", str(tmp_path / "q"))[:2] == (0, f"{tmp_path}/q: 0 records, 0 lines in 0 parts\n")
    assert run(capsys, "show", str(tmp_path / "q"))[:2] == (0, "no such record\n")
    assert run(capsys, "recheck", str(tmp_path / "q"), "--schema", schema)[0] == 0
    for form in ("jsonl", "csv", "npz"):
        target = tmp_path / f"out.{form}"
        assert run(capsys, "export", str(tmp_path / "q"), "--format", form, "--output", str(target))[0] == 0
        assert target.exists()


@pytest.mark.parametrize("command", ["summary", "show", "recheck", "export", "compact"])
def test_a_folder_of_other_things(capsys: pytest.CaptureFixture[str], folder: Path, schema: str, command: str) -> None:
    """The folder above a quarantine is an error that names what is there: nothing was read."""
    more = {
        "recheck": ["--schema", schema],
        "export": ["--format", "csv", "--output", str(folder.parent / "out.csv")],
    }
    code, out, messages = run(capsys, command, str(folder.parent), *more.get(command, []))
    assert (code, out) == (2, "")
    assert "it holds no part file" in messages
    assert folder.name in messages
