"""label_guard.testing: records with known faults, and assertions that see each kind of broken pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_guard import ClassLabel, DatasetSchema, Guard, MultiLabel, RealLabel, SoftLabel, guard_batches
from label_guard.core import tree
from label_guard.errors import UsageError
from label_guard.testing import assert_conserved, assert_guarded, breakable_rules, faulty_records

SCHEMAS: dict[str, dict[str, Any]] = {
    "class": {"label": ClassLabel(num_classes=10)},
    "ids with gaps": {"label": ClassLabel(num_classes=3, class_ids=(1, 5, 90), dtype=("int64",), emit="int32")},
    "ignore": {"label": ClassLabel(num_classes=21, dtype=("uint8",), shape=(4, 4), ignore=(255,))},
    "ids": {"label": ClassLabel(num_classes=9, shape=(None,), unique=True, max_length=3)},
    "multi": {"label": MultiLabel(num_classes=5, min_positive=1)},
    "soft": {"label": SoftLabel(num_classes=4)},
    "real": {"label": RealLabel(minimum=0.5, maximum=2.0)},
    "two, nested": {"a/label": ClassLabel(num_classes=4), "real": RealLabel()},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_records_break_just_the_rule_that_is_named(name: str) -> None:
    """Each invalid record breaks its rule alone, the others none; every breakable rule can be asked for."""
    schema = SCHEMAS[name]
    rules = breakable_rules(schema)
    assert len(rules) >= 3
    for chosen in [(), *[(rule,) for rule in rules]]:
        faulty = faulty_records(schema, 40, rate=0.3, rules=chosen)
        guard = Guard(faulty.schema)
        found = {k: list(guard.check(record, batched=False).counts) for k, record in enumerate(faulty.records)}
        assert {k: rule for k, [rule] in ((k, v) for k, v in found.items() if v)} == faulty.broken
        assert len(faulty.broken) == 12
        assert set(faulty.broken.values()) == set(chosen or rules)


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.5, 1.0])
def test_our_own_pipelines_hold(policy: Any, name: str, rate: float, tmp_path: Path) -> None:
    """Records of every kind at every rate: nothing invalid leaves, nothing is lost, the counts add up."""
    if policy == "mask" and name == "ids":
        return  # a free shape cannot be masked
    faulty = faulty_records(SCHEMAS[name], 50, rate=rate, stackable=policy == "mask")
    guarded = guard_batches(
        faulty.records, SCHEMAS[name], batch_size=8, batched=False, on_invalid=policy, quarantine=tmp_path,
        stop_above=None,
    )  # fmt: skip
    assert_guarded(list(guarded), faulty, quarantine=tmp_path)
    assert_conserved(guarded.summary)


def pipelines(faulty: Any) -> dict[str, tuple[list[Any], str]]:
    """Broken pipelines, and what the assertion says of them."""
    sound = [record for k, record in enumerate(faulty.records) if k not in faulty.broken]
    batch = {name: np.stack([record[name] for record in sound]) for name in ("label", "id")}
    lost = {name: values[1:] for name, values in batch.items()}
    return {
        "invalid": (faulty.batches(10), "a delivered batch is invalid"),
        "lost": ([lost], "neither delivered nor in the quarantine"),
        "twice": ([batch, batch], "was delivered 2 times"),
        "clipped": ([{**b, "label": np.clip(b["label"], 0, 9)} for b in faulty.batches(10)], "without a mask"),
    }


@pytest.mark.parametrize("name", ["invalid", "lost", "twice", "clipped"])
def test_a_broken_pipeline_is_seen(name: str) -> None:
    """Invalid, lost, repeated and silently changed records each fail the assertion in words of their own."""
    faulty = faulty_records(SCHEMAS["class"], 40, rules=["LG101"], stackable=True)
    batches, message = pipelines(faulty)[name]
    with pytest.raises(AssertionError, match=message):
        assert_guarded(batches, faulty)


@pytest.mark.parametrize("name", SCHEMAS)
def test_labels_that_change_places_are_seen(name: str, tmp_path: Path) -> None:
    """Labels delivered with the id of another record, each of them legal, fail the assertion for every kind."""
    faulty = faulty_records(SCHEMAS[name], 60)
    guarded = guard_batches(
        faulty.records, SCHEMAS[name], batch_size=8, batched=False, quarantine=tmp_path, stop_above=None
    )
    batches = list(guarded)
    for path in SCHEMAS[name]:
        changed = [tree.put(b, path, tree.get(b, path)[::-1]) for b in batches]
        with pytest.raises(AssertionError, match=rf"was delivered with '{path}' .* the guard emits"):
            assert_guarded(changed, faulty, quarantine=tmp_path)
    assert_guarded(batches, faulty, quarantine=tmp_path)


def test_a_mask_that_hides_valid_records_is_seen(tmp_path: Path) -> None:
    """A pipeline that masks what is valid trains on less than it says, down to nothing."""
    faulty = faulty_records(SCHEMAS["ignore"], 40, stackable=True)
    guarded = guard_batches(
        faulty.records, SCHEMAS["ignore"], batch_size=8, batched=False, on_invalid="mask", quarantine=tmp_path,
        stop_above=None,
    )  # fmt: skip
    batches = list(guarded)
    masked = [{**b, "label_valid": np.zeros_like(b["label_valid"])} for b in batches]
    with pytest.raises(AssertionError, match="was delivered with 'label' under the mask"):
        assert_guarded(masked, faulty, quarantine=tmp_path)
    assert_guarded(batches, faulty, quarantine=tmp_path)


def test_wrong_calls_are_refused() -> None:
    """A rule that the labels cannot break, and a rate that is not a share, are errors that say what is possible."""
    with pytest.raises(UsageError, match=r"cannot break LG109; they can break LG101, .*LG105"):
        faulty_records(SCHEMAS["class"], 10, rules=["LG109"])
    with pytest.raises(UsageError, match="rate is 2"):
        faulty_records(SCHEMAS["class"], 10, rate=2)


def test_the_same_seed_makes_the_same_records() -> None:
    """Records are drawn by the seed alone."""
    first, again, other = (faulty_records(SCHEMAS["soft"], 30, seed=seed) for seed in (1, 1, 2))
    assert (repr(first.records), first.broken) == (repr(again.records), again.broken)
    assert first.broken != other.broken


@pytest.mark.parametrize(
    "label",
    [
        {"kind": "class_label"},
        {"kind": "class_label", "separator": " ", "shape": [None]},
        {"kind": "class_label", "shape": [None], "min_length": 2},
        {"kind": "multi_label", "encoding": "ids"},
        {"kind": "multi_label", "encoding": "ids", "separator": ", ", "min_length": 2, "unique": True},
    ],
    ids=str,
)
def test_labels_stored_as_names(label: dict[str, Any], tmp_path: Path) -> None:
    """Records of labels that are texts: the valid ones leave the guard, the others are in the quarantine."""
    names = {"num_classes": 3, "class_names": ["cat", "dog", "hen"], "dtype": "string"}
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "n", "version": "1.0.0", "labels": {"y": {**label, **names}}}
    )
    faulty = faulty_records(schema, 30, rate=0.2)
    assert len({repr(record.get("y")) for record in faulty.records}) > 3
    guarded = guard_batches(
        faulty.records, schema, batched=False, batch_size=1, quarantine=str(tmp_path), stop_above=None
    )
    assert_guarded(guarded, faulty, quarantine=tmp_path)
