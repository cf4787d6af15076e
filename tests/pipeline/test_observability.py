"""Metrics and events: flat numbers with the same keys at every step, plain dicts, and the recipes of the docs."""

from __future__ import annotations

import contextlib
import functools
import json
import pickle
import re
import shlex
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import RecordWriter  # noqa: F401  # the writer that the recipe uses is installed

from label_guard import (
    DatasetSchema,
    Guard,
    GuardEvent,
    InvalidLabelError,
    LabelGuardError,
    Summary,
    UsageError,
    audit_dataset,
    guard_batches,
    read_quarantine,
)
from label_guard.cli import app as cli
from label_guard.grain import guard_labels, keyed, summary
from tests.schemas import one_label

SCHEMA = one_label("y", 4)
PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


def pipeline(folder: Path, **options: Any) -> Any:
    """Batches of 4, of which the second has a bad record."""
    data = [{"y": np.int64(9 if k == 5 else k % 4)} for k in range(20)]
    dataset = grain.MapDataset.source(data).to_iter_dataset(grain.ReadOptions(0, 0))
    return dataset.pipe(guard_labels, SCHEMA, batch_size=4, quarantine=folder / "q", stop_above=None, **options)


def test_the_keys_are_the_same_at_every_step(tmp_path: Path) -> None:
    """A metrics writer gets one set of numbers, from the first step to the last."""
    iterator = iter(pipeline(tmp_path))
    before = summary(iterator).as_metrics()
    for _ in iterator:
        now = summary(iterator).as_metrics()
        assert list(now) == list(before)
        assert all(type(number) in (int, float) for number in now.values())
    assert (now["labels/seen"], now["labels/LG101"], now["labels/invalid_ratio"]) == (20, 1, 0.05)
    assert set(summary(iterator).as_metrics("x.")) == {key.replace("labels/", "x.") for key in now}


def test_events(tmp_path: Path) -> None:
    """The first bad record and the end are reported once each, as plain data."""
    events: list[dict[str, Any]] = []
    list(pipeline(tmp_path, on_event=events.append))
    assert [event["event"] for event in events] == ["first_invalid", "ended"]
    assert events[0]["dataset"] == "n"
    assert "LG101 y: row" in events[0]["message"]
    assert events[1]["metrics"]["quarantined"] == 1
    assert json.loads(json.dumps(events)) == events


@pytest.mark.parametrize("policy", ["drop", "mask", "report", "raise"])
@pytest.mark.parametrize("form", ["records", "batches", "records out", "MapDataset"])
@pytest.mark.parametrize("bad", [{5}, set(range(200))])
def test_the_metrics_of_an_event_add_up(tmp_path: Path, bad: set[int], form: str, policy: Any) -> None:
    """At every event each record seen is in one other count; those of the batch at hand are pending."""
    events: list[Any] = []
    source = grain.MapDataset.source([{"y": np.int64(9 if k in bad else k % 4)} for k in range(200)])
    read = source.to_iter_dataset(grain.ReadOptions(0, 0))
    ds = {"MapDataset": source, "batches": read.batch(4)}.get(form, read)
    own = {"records": {"batch_size": 4}, "records out": {"batched": False}}.get(form, {})
    guarded = ds.pipe(guard_labels, SCHEMA, on_invalid=policy, quarantine=tmp_path / "q", on_event=events.append, **own)
    with contextlib.suppress(LabelGuardError):
        list(guarded)
    assert events
    for event in events:
        metrics = event["metrics"]
        parts = ("delivered", "quarantined", "skipped", "remainder", "pending", "refused")
        assert metrics["seen"] == sum(metrics[part] for part in parts)


@pytest.mark.parametrize("coordinated", [False, True])
def test_a_stop_is_reported_once(coordinated: bool) -> None:
    """Raise stops at the first bad record; trying again does not report it again."""
    events: list[dict[str, Any]] = []
    data = [{"y": np.array([0, 9])}] * 2
    guarded = guard_batches(data, SCHEMA, on_invalid="raise", on_event=events.append, coordinated=coordinated)
    for _ in range(2):
        try:
            next(guarded)
        except InvalidLabelError:
            assert not coordinated
    assert [event["event"] for event in events] == ["first_invalid", "stopped"]
    assert "1 of 2 records is bad" in events[1]["message"]


def test_a_resumed_run_reports_no_second_first_record(tmp_path: Path) -> None:
    """The counts are in the state, so the first bad record of a run is the first of all its lives."""
    iterator = iter(pipeline(tmp_path))
    for _ in range(3):
        next(iterator)
    events: list[dict[str, Any]] = []
    again = iter(pipeline(tmp_path, on_event=events.append))
    again.set_state(iterator.get_state())
    list(again)
    assert [event["event"] for event in events] == ["ended"]


async def alert_later(event: object) -> None:
    """A coroutine, of which a plain call runs nothing."""


class Later:
    """Its call makes a coroutine."""

    async def __call__(self, event: object) -> None:
        """As ``alert_later``."""


def alert_lazily(event: object) -> Any:
    """A generator, of which a plain call runs nothing."""
    yield event


@pytest.mark.parametrize("value", ["log", alert_later, functools.partial(alert_later), Later(), alert_lazily])
def test_on_event_must_be_a_function(tmp_path: Path, value: Any) -> None:
    """Another value, or a function of which a call runs nothing, is refused when the guard is made."""
    with pytest.raises(UsageError, match=r"on_event is .*it must be a function of one dict"):
        pipeline(tmp_path, on_event=value)


def exhausted(event: object) -> object:
    """Takes the next item where none is left: a StopIteration, which ``for`` takes for the end of its stream."""
    return next(iter([]))


RECORDS = [{"y": np.int64(9 if k == 5 else k % 4)} for k in range(20)]
PLACES: dict[str, Any] = {
    "records": lambda **own: iter(in_memory(RECORDS).pipe(guard_labels, SCHEMA, batch_size=4, **own)),
    "batches": lambda **own: iter(in_memory(RECORDS).batch(4).pipe(guard_labels, SCHEMA, **own)),
    "records out": lambda **own: iter(in_memory(RECORDS).pipe(guard_labels, SCHEMA, batched=False, **own)),
    "guard_batches": lambda **own: guard_batches(RECORDS, SCHEMA, batched=False, batch_size=4, **own),
    "MapDataset": lambda **own: iter(grain.MapDataset.source(RECORDS).pipe(guard_labels, SCHEMA, **own)),
}


def in_memory(records: Any) -> Any:
    """A dataset that reads without threads."""
    return grain.MapDataset.source(records).to_iter_dataset(grain.ReadOptions(0, 0))


@pytest.mark.parametrize("policy", ["drop", "mask", "report", "raise"])
@pytest.mark.parametrize("place", PLACES)
def test_on_event_ends_no_stream_in_silence(place: str, policy: str, tmp_path: Path) -> None:
    """A StopIteration of on_event is an error; as it is, the loop would end as if every record had been read."""
    with pytest.raises(RuntimeError, match="on_event raised StopIteration at the event 'first_invalid'"):
        list(PLACES[place](on_invalid=policy, quarantine=tmp_path / "q", on_event=exhausted))


@pytest.mark.parametrize("failure", [ValueError("no network"), StopIteration()])
@pytest.mark.parametrize("place", PLACES)
def test_an_alert_that_fails_does_not_hide_the_stop(place: str, failure: Exception, tmp_path: Path) -> None:
    """The error that ends the run is raised, whatever on_event raises when it is reported, and notes that."""

    def alert(event: GuardEvent) -> None:
        if event["event"] == "stopped":
            raise failure

    with pytest.raises(InvalidLabelError) as caught:
        list(PLACES[place](on_invalid="raise", on_event=alert))
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert any("on_event raised" in note for note in error.__notes__)


@pytest.mark.parametrize("stage", ["source", "parse"])
def test_a_source_ends_no_stream_in_silence(stage: str) -> None:
    """A StopIteration of a keyed source or of its parse is an error, not the end of the records."""

    class Source(list[Any]):
        def __getitem__(self, position: Any) -> Any:
            return exhausted(position) if position == 5 and stage == "source" else super().__getitem__(position)

    def parse(record: Any) -> Any:
        return exhausted(record) if record["y"] == 9 and stage == "parse" else record

    with pytest.raises(RuntimeError, match="record 5 cannot be read: StopIteration"):
        list(in_memory(keyed(Source(RECORDS), parse=parse)))


def test_summaries_are_readable() -> None:
    """Repr is the conservation line; notebooks show a table; both survive pickling."""
    found = Summary(seen=1_234, delivered=1_230, quarantined=4, invalid=4, by_rule={"LG101": 4})
    assert repr(found).startswith("Summary(seen 1,234 = delivered 1,230 + quarantined 4")
    assert "<tr><th>LG101 label-out-of-range</th><td>4</td></tr>" in found._repr_html_()
    assert pickle.loads(pickle.dumps(found)) == found
    assert Summary.from_numbers(found.to_numbers()) == found
    assert found + found == Summary.from_numbers([2 * number for number in found.to_numbers()])


@pytest.mark.parametrize("policy", ["drop", "mask", "report", "raise"])
@pytest.mark.parametrize("form", ["loader", "stateless"])
def test_names_of_others_are_escaped(form: str, policy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names of a schema and keys of records break no line of log, events or ``repr``, and hold no control character."""
    hostile, events = "a\x1b[31m\u202e\n::error::b", []
    labels = {hostile: {"kind": "class_label", "num_classes": 2, "class_names": ["a", hostile], "dtype": "string"}}
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": hostile, "version": "1.0.0", "record_key": "id", "labels": labels}
    )
    records = [{hostile: np.str_("c" if k == 2 else hostile), "id": f"{hostile}{k}"} for k in range(40)]
    options = {"on_invalid": policy, "quarantine": tmp_path, "on_event": events.append, "batched": False}
    shown: list[str] = []
    with contextlib.suppress(InvalidLabelError), caplog.at_level("INFO"):
        if form == "loader":
            guarded: Any = guard_batches(records, schema, batch_size=4, **options)
            shown += [repr(guarded), repr(Guard(schema))]
            shown += [repr(guarded) for _ in guarded]
        else:
            guarded = grain.MapDataset.source(records).pipe(guard_labels, schema, **options)
            shown += [repr(guarded), *(str(guarded[k]) for k in range(3) if k < 2)]
            guarded[2]
    shown += [line for record in caplog.records for line in record.getMessage().split("\n")]
    shown += [line for event in events for line in event["message"].split("\n")]
    assert any("LG113" in line for line in shown)
    for line in shown:
        assert line.isprintable()
        assert not line.startswith("::")


def test_datasets_and_reports_are_readable(tmp_path: Path) -> None:
    """A guarded dataset, its iterator, guarded batches and an audit show what they are and their counts."""
    dataset = pipeline(tmp_path)
    iterator = iter(dataset)
    list(iterator)
    guarded = guard_batches([{"y": np.array([1, 9])}], SCHEMA, on_invalid="mask", stop_above=None)
    list(guarded)
    (tmp_path / "a.jsonl").write_text('{"y": 1}\n{"y": 7}\n')
    report = audit_dataset(SCHEMA, source=f"jsonl:{tmp_path}/a.jsonl")
    shown = {
        dataset: ["schema=n 1.0.0", "on_invalid=drop", "batch_size=4"],
        iterator: ["on_invalid=drop", "seen 20 = delivered 19 + quarantined 1"],
        guarded: ["on_invalid=mask", "seen 2 = delivered 2", "0 written to the quarantine"],
    }
    for value, texts in shown.items():
        assert all(text in repr(value) for text in texts), repr(value)
        assert "<th>schema</th><td>n 1.0.0</td>" in value._repr_html_()
    assert "<th>quarantined</th><td>1</td>" in iterator._repr_html_()
    assert repr(report).startswith("AuditReport(n 1.0.0: records 2 (1 bad), findings ")
    assert "<th>error LG101 label-out-of-range</th>" in report._repr_html_()


@pytest.mark.parametrize("folder", ["-q", "--help", "a b", "it's", "$HOME", "q;ls"])
def test_the_command_of_a_stop_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Whatever the folder is called, the command is copied and run as it is."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidLabelError) as stopped:
        list(guard_batches([{"y": np.array([10])}], SCHEMA, on_invalid="raise", batched=True, quarantine=folder))
    command = str(stopped.value).rpartition(": run ")[2]
    arguments = shlex.split(command)
    assert arguments[:3] == ["label-guard", "quarantine", "summary"]
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments[1:])
    assert ended.value.code == 0


def test_a_stop_says_what_to_do_next(tmp_path: Path) -> None:
    """The error names the batch, the folder with the bad records, the schema file and the next command."""
    path = tmp_path / "n.yaml"
    path.write_text("format: 1\nname: n\nversion: 1.0.0\nlabels:\n  y: {kind: class_label, num_classes: 4}\n")
    data = [{"y": np.array([0, 1])}, {"y": np.array([0, 9])}]
    folder = tmp_path / "q"
    for options in ({"on_invalid": "raise"}, {"on_invalid": "mask", "stop_above": 0.0}):
        guarded = guard_batches(data, path, quarantine=folder, batch_size=2, batched=True, **options)
        with pytest.raises(LabelGuardError) as caught:
            list(guarded)
        assert f"the bad records are in {folder}: run label-guard quarantine summary {folder} --schema {path}" in str(
            caught.value
        )
        assert re.search(r"Batch \d of this run", str(caught.value))
    guarded = guard_batches(data, path, on_invalid="raise", batched=True)
    with pytest.raises(InvalidLabelError, match=f"label-guard audit {re.escape(str(path))} --source URI"):
        list(guarded)


@pytest.mark.parametrize("place", ["batch_size", "after batch", "records"])
@pytest.mark.parametrize("policy", ["drop", "mask", "report", "raise"])
def test_the_step_of_an_error_is_that_of_the_quarantine(tmp_path: Path, place: str, policy: str) -> None:
    """Batches are counted as batches, with or without batch_size=, in a short last one too; single records as such."""
    labels = np.arange(22) % 4
    labels[21] = 9
    records = [{"y": label} for label in labels]
    batches = [{"y": labels[at : at + 4]} for at in range(0, 22, 4)]
    options: dict[str, Any] = {"batch_size": 4} if place == "batch_size" else {"batched": place == "after batch"}
    guarded = guard_batches(
        batches if place == "after batch" else records,
        SCHEMA,
        on_invalid=policy, quarantine=tmp_path / "q", stop_above=0.0, remainder="short", **options,
    )  # fmt: skip
    with pytest.raises(LabelGuardError) as caught:
        list(guarded)
    (entry,) = read_quarantine(tmp_path / "q").entries
    assert entry.written is not None
    assert entry.written.step == (21 if place == "records" else 5)
    assert f"{'Record 22' if place == 'records' else 'Batch 5'} of this run" in str(caught.value)


def test_the_tensorboard_recipe_runs(tmp_path: Path) -> None:
    """The recipe of docs/observability.md writes every metric at its step."""
    (code,) = re.findall(r"```python\n# recipe: tensorboard\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    iterator = iter(pipeline(tmp_path))
    exec(code, {"logdir": str(tmp_path / "log"), "iterator": iterator, "summary": summary})
    (path,) = (tmp_path / "log").iterdir()
    raw = path.read_bytes()
    found: dict[str, float] = {}
    at = 0
    while at < len(raw):  # TFRecord framing: length, its checksum, data, its checksum
        length = int.from_bytes(raw[at : at + 8], "little")
        event = event_pb2.Event.FromString(raw[at + 12 : at + 12 + length])
        found |= {value.tag: value.simple_value for value in event.summary.value}
        at += 16 + length
    assert set(found) == set(summary(iterator).as_metrics())
    assert found["labels/delivered"] == 4
