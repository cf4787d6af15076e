"""The stream against an oracle list: random records, sizes, policies, restores and upstream errors."""

from __future__ import annotations

import json
import tempfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.errors import (
    InvalidLabelError,
    LabelGuardError,
    NoValidRecordsError,
    QuarantineError,
    TooManyInvalidError,
    UsageError,
)
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.options import resolve_options
from label_guard.pipeline.record_keys import KEY, key_of
from label_guard.pipeline.stream import GuardStream
from label_guard.quarantine.options import QuarantineOptions
from label_guard.quarantine.reader import read_quarantine
from label_guard.schema.dataset import DatasetSchema
from label_guard.testing import assert_conserved

GOOD, BAD, SKIPPED = "good", "bad", "skipped"
SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "digits",
        "version": "1.0.0",
        "labels": {"label": {"kind": "class_label", "num_classes": 10, "unlabeled": -9, "on_unlabeled": "skip"}},
    }
)
PLAIN = SCHEMA.model_copy(
    update={"labels": {"label": SCHEMA.labels["label"].model_copy(update={"unlabeled": None, "on_unlabeled": None})}}
)


class Listed:
    """An upstream over a list that fails once at each of ``failures``."""

    def __init__(self, elements: list[Any], failures: frozenset[int] = frozenset()) -> None:
        self.elements = elements
        self.failures = set(failures)
        self.position = 0

    def __next__(self) -> Any:
        if self.position in self.failures:
            self.failures.remove(self.position)
            raise OSError(f"lost the connection at {self.position}")
        if self.position == len(self.elements):
            raise StopIteration
        self.position += 1
        return self.elements[self.position - 1]

    def get_state(self) -> dict[str, int]:
        return {"position": self.position}

    def set_state(self, state: dict[str, int]) -> None:
        self.position = state["position"]


def _label(kind: str, position: int, of_batches: bool) -> Any:
    if kind == GOOD:
        return np.int64(position % 10)
    if kind == SKIPPED:
        return np.int64(-9)
    stackable = [np.int64(10), np.int64(-1), np.int64(2**32 + 1)]
    choices = stackable if of_batches else [*stackable, None, np.float32(2.5), np.int64([1, 2]), "cat", 10**30]
    return choices[position % len(choices)]


def _records(kinds: list[str], of_batches: bool) -> list[dict[str, Any]]:
    return [{"id": np.int64(k), "label": _label(kind, k, of_batches), KEY: key_of(k)} for k, kind in enumerate(kinds)]


def _batch(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.array([record[name] for record in records], np.int64) for name in ("id", "label", KEY)}


def _plan(folder: str, schema: DatasetSchema = SCHEMA, **options: Any) -> GuardConfig:
    return resolve_options(schema, **{"quarantine": f"{folder}/q", "stop_above": None, **options})


def _drain(plan: GuardConfig, upstream: Listed, saves: set[int]) -> tuple[list[dict[str, Any]], Any]:
    """Every batch; the stream is saved and restored into a new one after the steps in ``saves``."""
    stream = GuardStream(plan, upstream)
    found: list[dict[str, Any]] = []
    while True:
        try:
            found.append(next(stream))
        except StopIteration:
            break
        except OSError:
            saves = {*saves, len(found)}  # an error: the state is the one before the batch that it ended
            assert_conserved(stream.summary())
        assert_conserved(stream.summary())
        if len(found) in saves:
            saves = saves - {len(found)}
            state = json.loads(json.dumps(stream.get_state()))
            stream = GuardStream(plan, Listed(upstream.elements, frozenset(upstream.failures)))
            upstream = stream._upstream  # type: ignore[assignment]
            stream.set_state(state)
            assert_conserved(stream.summary())
    assert_conserved(stream.summary())
    assert stream.summary().pending == 0
    return found, stream.summary()


def _ids(found: list[dict[str, Any]]) -> list[int]:
    return [int(k) for batch in found for k in batch["id"]]


def _quarantined(folder: str) -> list[int]:
    if not Path(folder, "q").exists():
        return []
    return sorted(int(entry.record or -1) for entry in read_quarantine(f"{folder}/q").entries)


KINDS = st.lists(st.sampled_from([GOOD, GOOD, GOOD, BAD, SKIPPED]), max_size=40) | st.lists(
    st.sampled_from([GOOD] * 9 + [BAD]), max_size=40
)
POINTS = st.frozensets(st.integers(0, 40), max_size=4)


@settings(deadline=None, max_examples=80)
@given(
    KINDS,
    st.integers(1, 9),
    st.sampled_from(["drop", "mask", "report"]),
    st.sampled_from(["short", "drop", "pad"]),
    POINTS,
    POINTS,
)
def test_records(
    kinds: list[str], size: int, policy: str, remainder: str, saves: frozenset[int], failures: frozenset[int]
) -> None:
    """Records are delivered in order, each once, in full batches but the last; the quarantine holds the bad ones."""
    if policy == "report":
        kinds = [GOOD if kind == BAD else kind for kind in kinds]  # what does not stack cannot be delivered as it is
    with tempfile.TemporaryDirectory() as folder:
        plan = _plan(folder, on_invalid=policy, remainder=remainder, batch_size=size)
        found, total = _drain(plan, Listed(_records(kinds, False), failures), set(saves))
        kept = [k for k, kind in enumerate(kinds) if policy != "drop" or kind == GOOD]
        full = len(kept) - len(kept) % size
        expected = [kept[at : at + size] for at in range(0, len(kept), size)]
        if remainder == "drop":
            expected = [batch for batch in expected if len(batch) == size]
        if remainder == "pad" and expected:
            expected[-1] = expected[-1] + [expected[-1][0]] * (size - len(expected[-1]))
        assert [batch["id"].tolist() for batch in found] == expected
        assert total.seen == len(kinds)
        assert total.remainder == (len(kept) - full if remainder == "drop" else 0)
        assert _quarantined(folder) == [k for k, kind in enumerate(kinds) if kind == BAD]
        if policy == "mask" or remainder == "pad":
            legal = [kinds[k] == GOOD for batch in expected for k in batch]
            if remainder == "pad" and len(kept) > full:
                legal[len(kept) :] = [False] * (len(legal) - len(kept))
            assert [bool(ok) for batch in found for ok in batch["label_valid"]] == legal
        assert all(batch["label"].dtype.kind == "i" and (batch["label"] < 10).all() for batch in found)
        assert policy == "report" or all((batch["label"] >= 0).all() for batch in found)


@settings(deadline=None, max_examples=80)
@given(
    KINDS,
    st.integers(1, 7),
    st.sampled_from(["drop", "mask", "report"]),
    st.sampled_from(["short", "pad"]),
    POINTS,
    POINTS,
    st.booleans(),
)
def test_batches(
    kinds: list[str],
    size: int,
    policy: str,
    remainder: str,
    saves: frozenset[int],
    failures: frozenset[int],
    ragged: bool,
) -> None:
    """Under drop, batches (short ones too) are topped up to one size; every good record comes exactly once."""
    records = _records(kinds, True)
    cuts = [max(1, size - k % 3) for k in range(len(kinds))] if ragged else [size] * len(kinds)
    elements, at = [], 0
    for cut in cuts:
        if at < len(records):
            elements.append(_batch(records[at : at + cut]))
        at += cut
    with tempfile.TemporaryDirectory() as folder:
        schema = SCHEMA if SKIPPED in kinds else PLAIN  # of which clean batches take a shorter way
        plan = _plan(folder, schema, on_invalid=policy, remainder=remainder, batch_size=size, batched=True)
        found, total = _drain(plan, Listed(elements, failures), set(saves))
        assert total.seen == len(kinds)
        if policy == "drop":
            sizes = [len(batch["id"]) for batch in found]
            assert sizes[:-1] == [size] * (len(sizes) - 1)
            kept = [k for k, kind in enumerate(kinds) if kind == GOOD]
            valid = [batch["label_valid"] if remainder == "pad" else np.ones(len(batch["id"]), bool) for batch in found]
            assert sorted(int(k) for b, ok in zip(found, valid, strict=True) for k in b["id"][ok]) == kept
            assert total.delivered == len(kept)
        elif remainder == "short":
            assert _ids(found) == list(range(len(kinds)))
        assert _quarantined(folder) == [k for k, kind in enumerate(kinds) if kind == BAD]


def _stream(folder: Path, labels: list[Any], size: int = 4, **options: Any) -> GuardStream:
    records = [{"id": np.int64(k), "label": label, KEY: key_of(k)} for k, label in enumerate(labels)]
    return GuardStream(_plan(str(folder), batch_size=size, **options), Listed(records))


def test_an_error_keeps_the_place(tmp_path: Path) -> None:
    """After raise, the state is the one before the refused batch; summary counts it; another next refuses it again."""
    stream = _stream(tmp_path, [np.int64(k) for k in (1, 2, 3, 4, 5, 99, 7, 8)], on_invalid="raise")
    next(stream)
    for _ in range(2):
        with pytest.raises(InvalidLabelError):
            next(stream)
        assert_conserved(stream.summary())
        assert (stream.summary().delivered, stream.summary().refused) == (4, 4)
        assert stream.get_state()["parent"] == {"position": 4}


def test_a_valid_batch_without_a_place_for_its_mask(tmp_path: Path) -> None:
    """A later batch that is valid but has no place for the mask is refused with its place in the stream, each time."""
    bare = namedtuple("bare", "label")(np.arange(4))
    plan = _plan(str(tmp_path), PLAIN, on_invalid="mask", batched=True)
    stream = GuardStream(plan, Listed([{"label": np.arange(4)}, {"label": np.arange(4)}, bare]))
    next(stream), next(stream)
    for _ in range(2):
        with pytest.raises(UsageError, match="mask"):
            next(stream)
        assert_conserved(stream.summary())
        assert (stream.summary().delivered, stream.summary().refused) == (8, 4)
        assert stream.get_state()["parent"] == {"position": 2}


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """Where the quarantine cannot be written, the run stops; once it can, the same iterator goes on without loss."""
    stream = _stream(tmp_path, [np.int64(k) for k in (1, 99, 3, 4, 5, 6)])
    (tmp_path / "q").write_text("in the way")
    with pytest.raises(QuarantineError):
        next(stream)
    assert stream.get_state()["parent"] == {"position": 0}
    (tmp_path / "q").unlink()
    assert next(stream)["id"].tolist() == [0, 2, 3, 4]
    assert _quarantined(str(tmp_path)) == [1]
    assert_conserved(stream.summary())


def test_batches_of_nothing_but_bad_records(tmp_path: Path) -> None:
    """Thousands of bad batches in a row are read through; where they never end, NoValidRecordsError is raised."""
    plan = _plan(str(tmp_path), quarantine=QuarantineOptions(str(tmp_path / "q"), payload="none"))
    bad, good = {"label": np.full(4, 99)}, {"label": np.arange(4)}
    stream = GuardStream(plan, Listed([bad] * 1_500 + [good]))
    assert next(stream) is good
    endless = GuardStream(plan, Listed([{"label": np.full(1_000, -9)}] * 200))
    with pytest.raises(NoValidRecordsError, match="100,000 records in a row"):
        next(endless)
    assert_conserved(endless.summary())
    assert endless.summary().refused == 100_000


def test_the_form_is_pinned(tmp_path: Path) -> None:
    """The first element that leaves no doubt decides record or batch; an element of the other form is LG105."""
    image = np.zeros((4, 2))
    records = [{"image": image, "label": label} for label in (None, np.int64(1), np.int64([1]), np.int64(2))]
    stream = GuardStream(_plan(str(tmp_path), batch_size=2), Listed(records))
    assert [batch["label"].tolist() for batch in stream] == [[1, 2]]
    assert dict(stream.summary().by_rule) == {"LG104": 1, "LG105": 1}
    batches = [{"image": np.zeros((2, 3)), "label": label} for label in (np.int64([1, 2]), np.int64(1))]
    stream = GuardStream(_plan(str(tmp_path)), Listed(batches))
    assert [batch["label"].tolist() for batch in stream] == [[1, 2]]
    assert dict(stream.summary().by_rule) == {"LG105": 2}


def test_doubt_about_the_form_is_reported(tmp_path: Path) -> None:
    """Elements that leave a doubt need batched=; records need batch_size=, or batched=False to stay records."""
    with pytest.raises(UsageError, match="batched="):
        next(GuardStream(_plan(str(tmp_path)), Listed([{"label": np.int64([1])}])))
    with pytest.raises(UsageError, match="batch_size=N"):
        next(GuardStream(_plan(str(tmp_path)), Listed([{"label": np.int64(1)}])))


def test_an_empty_stream(tmp_path: Path) -> None:
    """A stream without elements ends at once, in every form."""
    for options in ({}, {"batch_size": 4}, {"batched": True}, {"batched": False}):
        stream = GuardStream(_plan(str(tmp_path), **options), Listed([]))
        assert list(stream) == []
        assert stream.summary().seen == 0


def test_clean_batches_pass_untouched(tmp_path: Path) -> None:
    """A clean batch is the very object that came, and read-only arrays do not prevent a dirty one."""
    clean, dirty = {"label": np.arange(4)}, {"label": np.array([1, 99, 2, 3])}
    for batch in (clean, dirty):
        batch["label"].flags.writeable = False
    plan = resolve_options(PLAIN, quarantine=str(tmp_path / "q"), stop_above=None)
    stream = GuardStream(plan, Listed([clean, dirty, clean]))
    assert next(stream) is clean
    assert next(stream)["label"].tolist() == [1, 2, 3, 0]
    assert dirty["label"].tolist() == [1, 99, 2, 3]


def test_a_larger_batch_is_refused(tmp_path: Path) -> None:
    """Topping up needs one size: a batch larger than the first is an error, with the remedy."""
    stream = GuardStream(_plan(str(tmp_path)), Listed([{"label": np.arange(2)}, {"label": np.arange(4)}]))
    next(stream)
    with pytest.raises(UsageError, match="pass batch_size="):
        next(stream)


def test_features_that_belong_to_the_batch(tmp_path: Path) -> None:
    """A scalar next to batched features is carried along, and a list of one value for each record is refilled too."""
    batch = {"label": np.array([1, 99]), "step": np.int64(7), "name": ["a", "b"]}
    stream = GuardStream(_plan(str(tmp_path)), Listed([batch, batch]))
    (found,) = list(stream)
    assert found["label"].tolist() == [1, 1]
    assert found["step"] == 7
    assert found["name"] == ["a", "a"]


@pytest.mark.parametrize("size", [None, 32])
def test_records_that_pass_are_sampled(tmp_path: Path, size: int | None) -> None:
    """Records that pass one by one count for the likely cause: class 0 is there, so a second reading of 10 is named."""
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 11, 3_000)
    labels[rng.choice(3_000, 90, replace=False)] = 0
    options: dict[str, Any] = {"batched": False, "on_invalid": "drop", "quarantine": QuarantineOptions(str(tmp_path))}
    plan = resolve_options(PLAIN, batch_size=size, **options)
    with pytest.raises(TooManyInvalidError, match=r"num_classes is one too few; or: .* two conventions"):
        list(GuardStream(plan, Listed([{"label": label} for label in labels])))


def test_a_clean_batch_passes_while_a_spare_is_held(tmp_path: Path) -> None:
    """Clean batches after a dirty one are the upstream's own objects, counted, and the spare fills the next hole."""
    batches = [{"label": np.array(ids)} for ids in ([1, 2], [1, 99], [3, 4], [5, 6], [98, 7], [8, 9])]
    stream = GuardStream(_plan(str(tmp_path), PLAIN, on_invalid="drop", batched=True), Listed(batches))
    found = list(stream)
    assert [batch["label"].tolist() for batch in found] == [[1, 2], [1, 3], [5, 6], [7, 4], [8, 9]]
    assert [found[2]["label"] is batches[3]["label"], found[4]["label"] is batches[5]["label"]] == [True, True]
    assert_conserved(stream.summary())


@pytest.mark.parametrize("policy", ["drop", "mask", "raise", "report"])
@pytest.mark.parametrize("remainder", ["drop", "pad"])
def test_a_larger_batch_is_not_a_remainder(tmp_path: Path, policy: str, remainder: str) -> None:
    """Where batches are to have one size, one that is larger than the first is an error, and never left out."""
    plan = _plan(str(tmp_path), PLAIN, on_invalid=policy, remainder=remainder, batched=True)
    stream = GuardStream(plan, Listed([{"label": np.arange(size)} for size in (3, 8, 8)]))
    assert len(next(stream)["label"]) == 3
    with pytest.raises(UsageError, match=r"a batch of 8 records came after batches of 3.*pass batch_size="):
        next(stream)


@pytest.mark.parametrize("policy", ["drop", "mask", "raise", "report"])
@pytest.mark.parametrize("remainder", ["short", "drop", "pad"])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_empty_batch(tmp_path: Path, policy: str, remainder: str, at: int) -> None:
    """A batch without records holds nothing to check; where batches have one size it is not delivered."""
    elements = [{"id": np.arange(4), "label": np.arange(4)} for _ in range(3)]
    elements.insert(at, {"id": np.arange(0), "label": np.arange(0)})
    plan = _plan(str(tmp_path), PLAIN, on_invalid=policy, remainder=remainder, batched=True)
    stream = GuardStream(plan, Listed(elements))
    assert [len(batch["id"]) for batch in stream if len(batch["id"])] == [4, 4, 4]
    assert_conserved(stream.summary())
    assert stream.summary().seen == 12


def test_one_empty_label_of_a_batch_is_a_violation(tmp_path: Path) -> None:
    """A label without records next to labels of two is LG105 in both: it does not make the batch an empty one."""
    labels = {"a": {"kind": "class_label", "num_classes": 3}, "b": {"kind": "class_label", "num_classes": 3}}
    schema = DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0", "labels": labels})
    plan = _plan(str(tmp_path), schema, on_invalid="report", batched=True)
    good, empty = np.array([1, 2]), np.arange(0)
    batches = [{"a": good, "b": good}, {"a": empty, "b": good}, {"a": good, "b": empty}, {"a": empty, "b": np.int64(1)}]
    stream = GuardStream(plan, Listed(batches))
    assert len(list(stream)) == 4
    assert stream.summary().by_rule == {"LG105": 4}


def test_an_error_upstream_after_a_coordinated_stop(tmp_path: Path) -> None:
    """Records of a batch that the guard's stop and then an error of upstream ended are counted as refused."""
    plan = _plan(str(tmp_path), on_invalid="raise", batched=True, coordinated=True, batch_size=2)
    upstream = Listed([{"label": np.array(labels)} for labels in ([1, 2], [1, 99], [3, 4])], frozenset({2}))
    stream = GuardStream(plan, upstream)
    next(stream)
    with pytest.raises(OSError, match="lost the connection"):
        next(stream)
    assert_conserved(stream.summary())
    assert not next(stream)["label_valid"].any()
    assert_conserved(stream.summary())


class _EveryCheck(GuardStream):
    """The same stream without its shorter way for what is plainly valid."""

    def _next_plain(self) -> Any:
        element = next(self._upstream, None)
        self._ahead += [] if element is None else [element]


ODD: dict[str, Any] = {
    "list": lambda y: y.tolist(),
    "tuple": lambda y: tuple(y.tolist()),
    "big-endian": lambda y: y.astype(">i8"),
    "column of a table": lambda y: np.stack([y, y], axis=1)[:, 0],
    "subclass": lambda y: y.view(np.recarray),
    "objects": lambda y: y.astype(object),
    "floats": lambda y: y.astype(float),
    "one axis too many": lambda y: y[:, None],
    "shorter": lambda y: y[:-1],
    "scalar": lambda y: np.array(3),
    "absent": lambda y: None,
    "out of range": lambda y: np.where(np.arange(len(y)) == 0, 10, y),
}
FORMS = st.lists(st.tuples(st.sampled_from([*["plain"] * 8, *ODD]), st.sampled_from([None, None, 0, 1])), max_size=14)


@settings(deadline=None, max_examples=60)
@given(FORMS, st.integers(1, 4), st.sampled_from(["drop", "mask", "raise", "report"]), POINTS, st.booleans())
def test_the_shorter_way_of_valid_batches(
    forms: list[tuple[str, int | None]], size: int, policy: str, saves: frozenset[int], pads: bool
) -> None:
    """What is plainly valid leaves as after every check: batches, states, counts and quarantine are the same."""
    batches: list[dict[str, Any]] = []
    for k, (form, mask) in enumerate(forms):
        labels = np.arange(k, k + size) % 10
        batches.append({"id": np.arange(k, k + size), "label": ODD.get(form, np.asarray)(labels)})
        batches[-1] |= {} if mask is None else {"label_valid": np.full(size, bool(mask))}
    found: list[list[str]] = []
    for kind in (GuardStream, _EveryCheck):
        with tempfile.TemporaryDirectory() as folder:
            remainder = "pad" if pads else "short"
            plan = _plan(folder, PLAIN, on_invalid=policy, remainder=remainder, batched=True, batch_size=size)
            stream, seen = kind(plan, Listed(batches)), []
            for step in range(len(batches) + 2):
                try:
                    seen.append(repr(next(stream)))
                except (StopIteration, LabelGuardError) as error:
                    seen.append(f"{type(error).__name__}: {error}".replace(folder, ""))
                state = json.dumps(stream.get_state())
                seen += [state, str(stream.summary())]
                if step in saves:
                    stream = kind(plan, Listed(batches))
                    stream.set_state(json.loads(state))
            contents = read_quarantine(f"{folder}/q").entries if Path(folder, "q").exists() else ()
            found.append([*seen, *(str((entry.payload, entry.violations)) for entry in contents)])
    assert found[0] == found[1]
