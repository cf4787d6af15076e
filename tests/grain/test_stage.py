"""Grain's checkpoint contract, conservation and delivery, for every policy and place of the guard."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest
from absl import flags

from label_guard.errors import SchemaChangedError
from label_guard.grain import guard_labels, keyed, strip_state, summary
from label_guard.quarantine.reader import read_quarantine
from label_guard.schema.dataset import DatasetSchema
from label_guard.testing import assert_conserved

N = 40
PLACES = ("records", "batch", "short", "thread")
WORKER_PLACES = ("records after", "batch after", "records inside", "batch inside")
POLICIES = ("drop", "mask", "report")


@pytest.fixture(autouse=True)
def _parsed_flags() -> None:
    """Grain's worker start-up reads an absl flag, which must have been parsed."""
    flags.FLAGS.mark_as_parsed()


def _make_schema(**label: Any) -> DatasetSchema:
    fields = {"kind": "class_label", "num_classes": 10, **label}
    splits = {"train": {}}
    return DatasetSchema.model_validate(
        {"format": 1, "name": "digits", "version": "1.0.0", "labels": {"label": fields}, "splits": splits}
    )


SCHEMA = _make_schema(emit="int32")
SKIPPING = _make_schema(unlabeled=-1, on_unlabeled="skip")


def _make_records(share: float, size: int = N, unlabeled: float = 0.0) -> tuple[list[dict[str, Any]], set[int]]:
    """Records with their position as id, and the positions whose label is bad."""
    rng = np.random.default_rng(7)
    bad = set(rng.choice(size, round(share * size), replace=False).tolist())
    skipped = set(rng.choice(size, round(unlabeled * size), replace=False).tolist()) - bad
    labels = [10 if k in bad else -1 if k in skipped else k % 10 for k in range(size)]
    return [{"id": np.int64(k), "label": np.int64(label)} for k, label in enumerate(labels)], bad


def _build(place: str, records: list[dict[str, Any]], **options: Any) -> grain.IterDataset:
    """A guarded pipeline of batches of 8, or of 4 with workers."""
    ds = grain.MapDataset.source(keyed(records)).shuffle(seed=3).to_iter_dataset(grain.ReadOptions(0, 0))
    schema = options.pop("schema", SCHEMA)
    workers = grain.MultiprocessingOptions(num_workers=2)
    if place == "records":
        return ds.pipe(guard_labels, schema, batch_size=8, **options)
    if place == "batch":
        return ds.batch(8).pipe(guard_labels, schema, **options)
    if place == "short":
        return ds.batch(5).pipe(guard_labels, schema, batch_size=8, **options)
    if place == "thread":
        ds = grain.experimental.ThreadPrefetchIterDataset(ds.batch(8), prefetch_buffer_size=2)
        return ds.pipe(guard_labels, schema, **options)
    if place == "records after":
        return ds.mp_prefetch(workers).pipe(guard_labels, schema, batch_size=4, **options)
    if place == "batch after":
        return ds.batch(4).mp_prefetch(workers).pipe(guard_labels, schema, **options)
    if place == "records inside":
        return ds.pipe(guard_labels, schema, batch_size=4, **options).mp_prefetch(workers)
    return ds.batch(4).pipe(guard_labels, schema, **options).mp_prefetch(workers)


def _options_of(policy: str, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"on_invalid": policy, "quarantine": str(tmp_path / "q"), "stop_above": None, "split": "train", **more}


def _ids_of(batches: list[dict[str, Any]]) -> list[int]:
    return [int(k) for batch in batches for k in batch["id"]]


def _walk(ds: grain.IterDataset, restores: int = N) -> tuple[list[Any], grain.DatasetIterator]:
    """All batches; conservation is asserted at every step, and after a restore from the first ``restores`` of them."""
    it = iter(ds)
    found = []
    states = [it.get_state()]
    for batch in it:
        found.append(batch)
        total = summary(it)
        assert total.is_conserved, str(total)
        states.append(json.loads(json.dumps(it.get_state())))
    assert_conserved(summary(it))
    for state in states[1:-1][:restores]:
        resumed = iter(ds)
        resumed.set_state(state)
        assert summary(resumed) == summary(state)
        next(resumed, None)
        assert summary(resumed).is_conserved, str(summary(resumed))
        resumed.close()
    assert len({json.dumps(_shape_of(state)) for state in states}) == 1
    return found, it


def _shape_of(state: Any) -> Any:
    """The structure of a state without its values."""
    if isinstance(state, dict):
        return {key: _shape_of(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_shape_of(value) for value in state]
    return type(state).__name__


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("place", PLACES)
def test_checkpoints_hold_at_every_step(tmp_path: Path, place: str, policy: str, share: float) -> None:
    """Every policy, place and share of bad records passes Grain's contract, conserves, and quarantines each once."""
    records, bad = _make_records(share)
    ds = _build(place, records, **_options_of(policy, tmp_path))
    found, it = _walk(ds)
    if not (policy == "drop" and share == 1.0):
        grain.experimental.assert_equal_output_after_checkpoint(ds)
    expected = set(range(N)) - bad if policy == "drop" else set(range(N))
    assert sorted(_ids_of(found)) == sorted(expected)
    assert summary(it).invalid == len(bad)
    written = read_quarantine(str(tmp_path / "q")).entries if bad else ()
    assert {int(entry.record or -1) for entry in written} == bad
    assert len(written) == len(bad)


@pytest.mark.parametrize("remainder", ["short", "drop", "pad"])
@pytest.mark.parametrize(
    ("place", "policy"),
    [
        (place, policy)
        for place in PLACES
        for policy in ("drop", "mask", "raise")
        if place != "short" or policy == "drop"
    ],
)
def test_remainder(tmp_path: Path, place: str, policy: str, remainder: str) -> None:
    """The last batch is short, left out and counted, or padded; never anything else, and checkpoints hold."""
    records, bad = _make_records(0.0 if policy == "raise" else 0.1, size=N - 3)
    ds = _build(place, records, **_options_of(policy, tmp_path, remainder=remainder))
    found, it = _walk(ds)
    grain.experimental.assert_equal_output_after_checkpoint(ds)
    total = summary(it)
    good = len(records) - (len(bad) if policy == "drop" else 0)
    sizes = [len(batch["label"]) for batch in found]
    assert sizes[:-1] == [8] * (len(sizes) - 1)
    if remainder == "drop":
        assert total.remainder == good % 8
        assert total.delivered == good - good % 8
    elif remainder == "pad":
        assert sizes[-1] == 8
        assert sum(int(batch["label_valid"].sum()) for batch in found) == good - (len(bad) if policy == "mask" else 0)
    else:
        assert sizes[-1] == (good % 8 or 8)


@pytest.mark.parametrize("policy", ["drop", "raise", "mask", "report"])
@pytest.mark.parametrize("place", PLACES)
def test_skipped_records(tmp_path: Path, place: str, policy: str) -> None:
    """Unlabeled records to skip leave the stream uncounted as bad; under mask and report they are masked instead."""
    records, bad = _make_records(0.0 if policy == "raise" else 0.2, unlabeled=0.3)
    skipped = {k for k, record in enumerate(records) if record["label"] == -1}
    ds = _build(place, records, schema=SKIPPING, **_options_of(policy, tmp_path))
    found, it = _walk(ds)
    grain.experimental.assert_equal_output_after_checkpoint(ds)
    if policy in ("drop", "raise"):
        assert sorted(_ids_of(found)) == sorted(set(range(N)) - bad - skipped)
        assert summary(it).skipped == len(skipped)
    else:
        masked = {int(k) for b in found for k, ok in zip(b["id"], b["label_valid"], strict=True) if not ok}
        assert masked == (skipped | bad if policy == "mask" else skipped)


def _worker_case(tmp_path: Path, place: str, policy: str, share: float, size: int, restores: int) -> Any:
    records, bad = _make_records(share, size=size)
    ds = _build(place, records, **_options_of(policy, tmp_path))
    found, it = _walk(ds, restores)
    it.close()
    expected = set(range(size)) - bad if policy == "drop" else set(range(size))
    assert sorted(_ids_of(found)) == sorted(expected)
    if not bad:
        assert not (tmp_path / "q").exists()
        return it
    assert {int(entry.record or -1) for entry in read_quarantine(str(tmp_path / "q")).entries} == bad
    return it


@pytest.mark.parametrize("place", ["batch after", "records inside"])
def test_workers(tmp_path: Path, place: str) -> None:
    """With two Grain workers, records arrive once, bad ones lie in the quarantine, parts carry the worker's index."""
    it = _worker_case(tmp_path, place, "drop", 0.25, size=16, restores=0)
    parts = {path.name.split("-")[2] for path in (tmp_path / "q").glob("*.jsonl")}
    assert parts == ({"0", "1"} if place == "records inside" else {"0"})
    records, _ = _make_records(0.0, size=16)
    plain = grain.MapDataset.source(records).shuffle(seed=3).to_iter_dataset(grain.ReadOptions(0, 0)).batch(4)
    back = iter(plain.mp_prefetch(grain.MultiprocessingOptions(num_workers=2)))
    stripped = strip_state(it.get_state())
    assert "label_guard" not in json.dumps(stripped)
    back.set_state(stripped)
    assert back.get_state() == stripped


@pytest.mark.parametrize("place", [pytest.param("batch after", marks=pytest.mark.long), "records inside"])
def test_checkpoints_hold_with_workers(tmp_path: Path, place: str) -> None:
    """Grain's contract holds with workers behind and before the guard."""
    records, _ = _make_records(0.25, size=8)
    grain.experimental.assert_equal_output_after_checkpoint(_build(place, records, **_options_of("drop", tmp_path)))


@pytest.mark.long
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("place", WORKER_PLACES)
def test_checkpoints_hold_with_workers_everywhere(tmp_path: Path, place: str, policy: str, share: float) -> None:
    """The full matrix with workers: contract, conservation, exactly once."""
    _worker_case(tmp_path, place, policy, share, size=N, restores=N)
    if not (policy == "drop" and share == 1.0):
        records, _ = _make_records(share, size=N)
        grain.experimental.assert_equal_output_after_checkpoint(_build(place, records, **_options_of(policy, tmp_path)))


@pytest.mark.parametrize("place", PLACES)
def test_state_from_before_the_guard(tmp_path: Path, place: str) -> None:
    """A checkpoint of the pipeline without the guard goes on in the one with it, and back by strip_state."""
    records, _ = _make_records(0.0)
    guarded = _build(place, records, **_options_of("drop", tmp_path))
    size = 5 if place == "short" else 8
    plain = grain.MapDataset.source(records).shuffle(seed=3).to_iter_dataset(grain.ReadOptions(0, 0)).batch(size)
    if place == "thread":
        plain = grain.experimental.ThreadPrefetchIterDataset(plain, prefetch_buffer_size=2)
    before = iter(plain)
    next(before)
    after = iter(guarded)
    after.set_state(before.get_state())
    if place == "short":
        assert sorted(_ids_of(list(after))) == sorted(_ids_of(list(before)))
        return
    np.testing.assert_array_equal(next(after)["id"], next(before)["id"])
    back = iter(plain)
    back.set_state(strip_state(after.get_state()))
    np.testing.assert_array_equal(next(back)["id"], next(before)["id"])


def test_other_rules_are_refused(tmp_path: Path) -> None:
    """A checkpoint made under other label rules is refused, unless it is allowed."""
    records, _ = _make_records(0.0)
    state = _next_state(_build("records", records, **_options_of("drop", tmp_path)))
    other = _make_schema(num_classes=12)
    it = iter(_build("records", records, schema=other, **_options_of("drop", tmp_path)))
    with pytest.raises(SchemaChangedError, match="allow_schema_change"):
        it.set_state(state)
    reported = iter(_build("records", records, schema=other, **_options_of("drop", tmp_path, allow_schema_change=True)))
    reported.set_state(state)
    assert summary(reported).seen == 8


def test_other_rules_check_the_spare_again(tmp_path: Path) -> None:
    """Where rules change, rows read ahead are checked by the new rules, and what is bad by now is quarantined."""
    records, _ = _make_records(0.3)
    state = _next_state(_build("batch", records, **_options_of("drop", tmp_path)))
    assert state["label_guard"]["pending"] > 0
    stricter = _make_schema(num_classes=5)
    options = _options_of("drop", tmp_path, allow_schema_change=True)
    it = iter(_build("batch", records, schema=stricter, **options))
    it.set_state(state)
    assert_conserved(summary(it))
    rest = list(it)
    assert all(label < 5 for batch in rest for label in batch["label"])
    assert_conserved(summary(it))
    written = {int(entry.record or -1) for entry in read_quarantine(str(tmp_path / "q")).entries}
    first = {int(k) for k in next(iter(_build("batch", records, **_options_of("drop", tmp_path))))["id"]}
    assert written | first | set(_ids_of(rest)) == set(range(N))


def _next_state(ds: grain.IterDataset) -> Any:
    it = iter(ds)
    next(it)
    return it.get_state()


def test_another_batch_size_holds(tmp_path: Path) -> None:
    """A run that goes on with another batch_size gets it; the one in the checkpoint does not stick."""
    records, _ = _make_records(0.0)
    state = _next_state(_build("records", records, **_options_of("drop", tmp_path)))
    ds = grain.MapDataset.source(keyed(records)).shuffle(seed=3).to_iter_dataset(grain.ReadOptions(0, 0))
    it = iter(ds.pipe(guard_labels, SCHEMA, batch_size=16, **_options_of("drop", tmp_path)))
    it.set_state(state)
    assert len(next(it)["label"]) == 16


def test_repeat_of_the_iterator_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """RepeatIterDataset starts the counts again at each epoch: one warning; the quarantine stays exact."""
    records, bad = _make_records(0.2)
    ds = grain.experimental.RepeatIterDataset(_build("records", records, **_options_of("drop", tmp_path)), num_epochs=3)
    with caplog.at_level(logging.WARNING, logger="label_guard"):
        assert len(_ids_of(list(ds))) == 3 * (N - len(bad))
    assert sum("MapDataset.repeat" in message for message in caplog.messages) == 1
    assert len(read_quarantine(str(tmp_path / "q")).entries) == len(bad)


def test_repeat_of_the_map_counts_on(tmp_path: Path) -> None:
    """MapDataset.repeat keeps one run of counts, and the quarantine holds each bad record once."""
    records, bad = _make_records(0.2)
    ds = grain.MapDataset.source(keyed(records)).repeat(3).to_iter_dataset(grain.ReadOptions(0, 0))
    it = iter(ds.pipe(guard_labels, SCHEMA, batch_size=8, **_options_of("drop", tmp_path)))
    list(it)
    assert (summary(it).seen, summary(it).quarantined) == (3 * N, 3 * len(bad))
    assert len(read_quarantine(str(tmp_path / "q")).entries) == len(bad)


def test_views_of_upstream_survive_workers(tmp_path: Path) -> None:
    """A guard after mp_prefetch still finds the keyed source and the Batch inside the workers."""
    records, _ = _make_records(0.5, size=16)
    ds = _build("batch after", records, **_options_of("drop", tmp_path))
    assert ds._batched is True
    assert list(ds.config.names.sources) == [0]
    assert ds.config.source_id


class ToRecord(grain.transforms.Map):
    """A record for each position, with the spec that Grain's sources do not give."""

    def map(self, element: int) -> dict[str, Any]:
        return {"id": np.int64(element), "label": np.int64(element % 10)}

    def output_spec(self, input_spec: Any) -> Any:
        return {"id": input_spec, "label": input_spec}


@pytest.mark.parametrize("remainder", ["short", "drop", "pad"])
def test_element_spec(tmp_path: Path, remainder: str) -> None:
    """The element spec has shapes and dtypes of what is delivered, keys gone and masks added."""
    ds = grain.MapDataset.range(N).map(ToRecord()).to_iter_dataset(grain.ReadOptions(0, 0))
    ds = ds.pipe(guard_labels, SCHEMA, batch_size=8, **_options_of("drop", tmp_path, remainder=remainder))
    spec = grain.experimental.get_element_spec(ds)
    first = next(iter(ds))
    assert set(spec) == set(first)
    for name, leaf in spec.items():
        assert leaf.dtype == first[name].dtype
        assert leaf.shape == ((None,) if remainder == "short" else (8,))
