"""A quarantine as a source: records come back once, whole, named, and can be guarded and selected again."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, QuarantineError, UsageError, audit_dataset, guard_batches, read_quarantine
from label_guard.cli import app as cli
from label_guard.grain import data_loader_operations, guard_labels
from label_guard.pipeline.record_keys import keyed
from label_guard.pipeline.select import select_records
from label_guard.quarantine import compact_quarantine, replay
from tests.schemas import one_label

RECORDS = [{"image": np.full(3, k, np.uint8), "label": np.int64(k)} for k in range(12)]


def guard(records: Any, num_classes: int, folder: Path, **options: Any) -> list[Any]:
    """The labels that a guard for so many classes delivers."""
    label = ClassLabel(num_classes=num_classes)
    batches = guard_batches(
        records, {"label": label}, batch_size=4, quarantine=folder, stop_above=None, batched=False, **options
    )
    return [int(value) for batch in batches for value in batch["label"]]


def test_records_come_back_whole_and_are_guarded_again(tmp_path: Path) -> None:
    """What a wrong schema rejected passes the corrected one, with types and names; the rest is quarantined again."""
    assert guard(keyed(RECORDS), 8, tmp_path / "q") == list(range(8))
    source = replay(tmp_path / "q")
    assert [int(record["label"]) for record in source] == [8, 9, 10, 11]
    assert (source[0]["image"].dtype, source[0]["image"].tolist()) == (np.uint8, [8, 8, 8])
    assert [source.record_key(k) for k in range(4)] == [str(entry.name) for entry in source.entries]
    again = pickle.loads(pickle.dumps(source))
    assert (again.source_id, repr(again), len(again)) == (source.source_id, repr(source), 4)
    assert guard(keyed(source), 10, tmp_path / "again") == [8, 9]
    left = read_quarantine(tmp_path / "again").entries
    assert sorted(int(entry.payload["label"]) for entry in left) == [10, 11]
    with pytest.raises(IndexError):
        source[4]


def test_two_quarantines_are_two_sources(tmp_path: Path) -> None:
    """Positions of one replay are not those of another: no record is taken for one of an earlier replay."""
    guard(keyed(RECORDS), 11, tmp_path / "q")
    first = replay(tmp_path / "q")
    guard(keyed(RECORDS), 10, tmp_path / "q")
    assert replay(tmp_path / "q").source_id != first.source_id


def test_what_is_not_kept_whole_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Labels alone are not a record; how many are left out is logged."""
    from label_guard import QuarantineOptions

    list(
        guard_batches(
            RECORDS, {"label": ClassLabel(num_classes=8)}, batch_size=4, batched=False, stop_above=None,
            quarantine=QuarantineOptions(tmp_path / "q", payload="labels"),
        )
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "label_guard"):
        assert len(replay(tmp_path / "q")) == 0
    assert "4 of 4 records are not kept whole" in caplog.text


def test_recheck_writes_positions_for_select_records(tmp_path: Path) -> None:
    """``--keys F.npy`` holds positions of the first source, where the schema names records by a feature."""
    records = [{**record, "id": f"img-{k % 2}"} for k, record in enumerate(RECORDS)]
    text = (
        "format: 1\nname: d\nversion: 1.0.0\nrecord_key: id\nlabels:\n  label: {kind: class_label, num_classes: %d}\n"
    )
    for classes in (8, 10):
        (tmp_path / f"{classes}.yaml").write_text(text % classes)
    dataset = keyed(records, name="photos")
    elements = [dataset[k] for k in range(12)]
    from label_guard.pipeline.checker import ElementChecker
    from label_guard.pipeline.config import GuardConfig
    from label_guard.pipeline.options import resolve_options
    from label_guard.pipeline.record_keys import RecordNames

    config: GuardConfig = resolve_options(
        str(tmp_path / "8.yaml"), "guard_batches", quarantine=str(tmp_path / "q"), batched=False, batch_size=12
    )
    config = config.replace(names=RecordNames({dataset.tag: dataset}), stop_above=None)
    ElementChecker(config).check_records(elements)
    keys = tmp_path / "keys.npy"
    with pytest.raises(SystemExit) as ended:
        cli.main(
            ["quarantine", "recheck", str(tmp_path / "q"), "--schema", str(tmp_path / "10.yaml"), "--keys", str(keys)]
        )
    assert ended.value.code == 1
    assert [int(record["label"]) for record in select_records(dataset, str(keys))] == [8, 9]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"split": "trian"}, "is of split 'trian'; they"),
        ({"dataset": "dog"}, "is of dataset 'dog'; they"),
    ],
)
def test_a_misspelt_split_or_dataset_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: dict[str, str], says: str
) -> None:
    """A source of 0 records out of a quarantine that holds some is never silent."""
    guard(RECORDS, 8, tmp_path / "q")
    caplog.clear()
    assert len(replay(tmp_path / "q")) == 4
    assert not caplog.records
    assert len(replay(tmp_path / "q", **asked)) == 0  # type: ignore[arg-type]
    assert says in caplog.text
    assert "unnamed (no split)" in caplog.text


def test_a_part_that_was_compacted_since_is_named(tmp_path: Path) -> None:
    """The records of an open source are read from its parts; once these are merged, it must be opened again."""
    guard(RECORDS[:10], 8, tmp_path / "q")
    guard(RECORDS, 8, tmp_path / "q")
    source = replay(tmp_path / "q")
    compact_quarantine(tmp_path / "q")
    with pytest.raises(QuarantineError, match=r"deleted or compacted.*read it again"):
        source[0]
    assert len([record["label"] for record in replay(tmp_path / "q")]) == 4


def test_positions_of_several_sources_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two sources in one stream only keys say which record is meant; those of one source select its records."""
    sources = {name: keyed(RECORDS[skip:], name=name) for name, skip in (("a", 0), ("b", 3))}
    both = grain.MapDataset.mix([grain.MapDataset.source(source) for source in sources.values()])
    for classes in (8, 12):
        text = f"format: 1\nname: d\nversion: 1.0.0\nlabels:\n  label: {{kind: class_label, num_classes: {classes}}}\n"
        (tmp_path / f"{classes}.yaml").write_text(text)
    options: dict[str, Any] = {"quarantine": tmp_path / "q", "stop_above": None}
    list(both.to_iter_dataset().pipe(guard_labels, tmp_path / "8.yaml", batch_size=4, **options))
    for name, code in (("keys.npy", 2), ("keys.txt", 0)):
        arguments = [tmp_path / "q", "--schema", tmp_path / "12.yaml", "--keys", tmp_path / name]
        with pytest.raises(SystemExit) as ended:
            cli.main(["quarantine", "recheck", *map(str, arguments)])
        assert (ended.value.code, (tmp_path / name).exists()) == (code, code == 0)
    assert "from 2 sources of one stream" in capsys.readouterr().err
    keys = (tmp_path / "keys.txt").read_text().split()
    with pytest.raises(UsageError, match="pass only the keys of this source, which begin with 'a/'"):
        select_records(sources["a"], keys)
    for name, source in sources.items():
        chosen = select_records(source, [key for key in keys if key.startswith(f"{name}/")])
        assert chosen
        assert {int(record["label"]) for record in chosen} <= {8, 9, 10, 11}


@pytest.mark.parametrize("form", ["keyed", "named", "no keys"])
@pytest.mark.parametrize("reversed_ids", [True, False])
def test_numbers_of_a_record_key_are_not_taken_for_positions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, reversed_ids: bool
) -> None:
    """``select_records`` reads the key 3 as the fourth record: keys that would select other records are not written."""
    records = [{**record, "id": np.int64(11 - k if reversed_ids else k)} for k, record in enumerate(RECORDS)]
    text = (
        "format: 1\nname: d\nversion: 1.0.0\nrecord_key: id\nlabels:\n  label: {kind: class_label, num_classes: %d}\n"
    )
    for classes in (8, 12):
        (tmp_path / f"{classes}.yaml").write_text(text % classes)
    source: Any = {"keyed": keyed(records), "named": keyed(records, name="a"), "no keys": records}[form]
    dataset = grain.MapDataset.source(source).to_iter_dataset()
    list(dataset.pipe(guard_labels, tmp_path / "8.yaml", batch_size=4, quarantine=tmp_path / "q", stop_above=None))
    arguments = ["quarantine", "recheck", str(tmp_path / "q"), "--schema", str(tmp_path / "12.yaml"), "--keys"]
    for name in ("keys.txt", "keys.npy"):
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, str(tmp_path / name)])
        message = capsys.readouterr().err
        if ended.value.code == 0:
            chosen = select_records(source, str(tmp_path / name))
            assert sorted(int(record["label"]) for record in chosen) == [8, 9, 10, 11]
        else:
            assert ended.value.code == 2
            assert "for the position of a record" in message or "no known position" in message


def _schema_of_dataset(folder: Path, name: str, num_classes: int) -> Path:
    label = f"{{kind: class_label, num_classes: {num_classes}}}"
    text = f"format: 1\nname: {name}\nversion: 1.0.0\nlabels:\n  label: {label}\n"
    path = folder / f"{name}-{num_classes}.yaml"
    path.write_text(text)
    return path


def test_records_of_two_datasets_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One folder may hold several datasets: a source of its records is of one, and an audit of all is not complete."""
    for name, num_classes in (("cats", 8), ("dogs", 10)):
        schema = _schema_of_dataset(tmp_path, name, num_classes)
        list(guard_batches(RECORDS, schema, batched=False, quarantine=tmp_path / "q", stop_above=None))
    with pytest.raises(UsageError, match=r"holds records of the datasets cats, dogs; pass dataset="):
        replay(tmp_path / "q")
    assert [int(record["label"]) for record in replay(tmp_path / "q", dataset="dogs")] == [10, 11]
    corrected = _schema_of_dataset(tmp_path, "cats", 12)
    code, output = audited(capsys, corrected, "--source", f"quarantine:{tmp_path / 'q'}")
    assert code == 2
    assert "holds records of the datasets cats, dogs" in output


def audited(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and output of an audit."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["audit", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(str(ended.value.code)), captured.out + captured.err


def test_an_audit_reads_a_quarantine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``quarantine:DIR`` audits the newest labels of each record by their names; a damaged line is never "ok"."""
    guard(keyed(RECORDS), 8, tmp_path / "q")
    text = "format: 1\nname: d\nversion: 1.0.0\nlabels:\n  label: {kind: class_label, num_classes: %d}\n"
    for classes in (10, 12):
        (tmp_path / f"{classes}.yaml").write_text(text % classes)
    source = f"quarantine:{tmp_path / 'q'}"
    code, said = audited(capsys, tmp_path / "12.yaml", "--source", source)
    assert (code, "4 records" in said) == (0, True)
    code, said = audited(capsys, tmp_path / "10.yaml", "--source", source)
    assert (code, "LG101" in said, "record 10" in said or "10:" in said) == (1, True, True)
    [part] = (tmp_path / "q").iterdir()
    part.write_bytes(part.read_bytes() + b"damaged\n")
    code, said = audited(capsys, tmp_path / "12.yaml", "--source", source)
    assert (code, "1 damaged line was skipped" in said) == (2, True)
    code, said = audited(capsys, tmp_path / "12.yaml", "--source", f"quarantine:{tmp_path / 'none'}")
    assert (code, "no such folder" in said) == (2, True)


@pytest.mark.parametrize("how", ["", "link", "URL", "relative"])
@pytest.mark.parametrize("form", ["keyed", "bare", "map", "DataLoader", "loader", "keyed loader"])
def test_a_replay_is_not_written_into_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, how: str
) -> None:
    """Records that are still bad would be records of another source in it: twice there, and twice as many each time."""
    guard(keyed(RECORDS), 8, tmp_path / "q")
    (tmp_path / "link").symlink_to(tmp_path / "q")
    monkeypatch.chdir(tmp_path)
    folder = {"": str(tmp_path / "q"), "link": "link", "URL": f"file://{tmp_path}/q", "relative": "./q/"}[how]
    source, labels = replay(tmp_path / "q"), {"label": ClassLabel(num_classes=8)}
    named = keyed(source)
    forms: dict[str, Any] = {
        "keyed": lambda q: grain.MapDataset.source(named).pipe(guard_labels, labels, quarantine=q),
        "bare": lambda q: grain.MapDataset.source(source).to_iter_dataset().pipe(guard_labels, labels, quarantine=q),
        "map": lambda q: (
            grain.MapDataset.source(named).shuffle(seed=0).map(dict).pipe(guard_labels, labels, quarantine=q)
        ),
        "DataLoader": lambda q: data_loader_operations(labels, source=named, quarantine=q),
        "loader": lambda q: guard_batches(source, labels, quarantine=q),
        "keyed loader": lambda q: guard_batches(named, labels, quarantine=q),
    }
    with pytest.raises(UsageError, match="name another folder"):
        forms[form](folder)
    forms[form](str(tmp_path / "again"))


@pytest.mark.parametrize("how", ["", "link", "URL"])
def test_an_audit_is_not_written_into_the_quarantine_that_it_reads(tmp_path: Path, how: str) -> None:
    """``audit --source quarantine:Q --quarantine Q`` would double each record that is still bad."""
    guard(keyed(RECORDS), 8, tmp_path / "q")
    (tmp_path / "link").symlink_to(tmp_path / "q")
    folder = {"": f"{tmp_path}/q/", "link": f"{tmp_path}/link", "URL": f"file://{tmp_path}/q"}[how]
    with pytest.raises(UsageError, match="name another one"):
        audit_dataset(one_label("label", 8), source=f"quarantine:{tmp_path}/q", quarantine=folder)
    audit_dataset(one_label("label", 8), source=f"quarantine:{tmp_path}/q", quarantine=str(tmp_path / "again"))
    assert len(read_quarantine(tmp_path / "q").records) == 4
    assert len(read_quarantine(tmp_path / "again").records) == 4


@pytest.mark.parametrize(("start", "end"), [("\ufeff", "\n"), ("", "\r\n"), ("\ufeff", "\r\n")])
def test_keys_that_an_editor_of_windows_wrote(tmp_path: Path, start: str, end: str) -> None:
    """A byte-order mark and carriage returns are not of the keys, unless a record has such a key."""
    source = keyed(RECORDS, name="d")
    keys = tmp_path / "again.txt"
    keys.write_bytes((start + end.join(["d/3", "d/5", "", ""])).encode())
    assert [int(record["label"]) for record in select_records(source, keys)] == [3, 5]
    keys.write_bytes((start + end.join(["d/3", "d/55", ""])).encode())
    with pytest.raises(UsageError, match="no record 'd/55'"):
        select_records(source, keys)
