"""The benchmark of likely causes in short: no suggested change and no draft ever does harm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from bench.causes.adversary import ADVERSARY
from bench.causes.hostile import HOSTILE
from bench.causes.kinds import KINDS
from bench.causes.natural import NATURAL
from bench.causes.random_kinds import RANDOM
from bench.causes.score import harm, scores
from bench.causes.situations import Column, Kind, one

from label_guard import DatasetSchema

SETS: dict[str, Sequence[Kind]] = {
    "kinds": KINDS, "adversary": ADVERSARY, "hostile": HOSTILE, "natural": NATURAL, "random": RANDOM,
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_no_change_and_no_draft_does_harm(name: str) -> None:
    """Over one or two variants of every kind, drawn from a fixed seed: no harm, and hardly a wrong cause."""
    found = list(scores(SETS[name], seed=11, variants=1 if name == "hostile" else 2))
    assert [one for one in found if one.outcome == "harmful" or one.draft == "harmful"] == []
    assert sum(one.outcome == "wrong" for one in found) <= len(found) // 50
    assert sum(one.outcome == "right" for one in found) >= 0.9 * len(found)


def test_harm_is_seen() -> None:
    """The check that everything above relies on can fail: each way of doing harm is named."""
    values = np.array([0, 1, 2, 7])
    column = Column(values, np.array([0, 1, 2, -2]))
    situation = one(column, 3)
    labels = {"label": situation.labels["label"]}
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "t", "version": "1.0.0", "labels": labels, "splits": {"train": {}}}
    )

    def found(**fields: object) -> str:
        return harm(situation, schema, {"labels": {"label": fields}})

    assert "a corrupt value becomes legal" in found(ignore=[7])
    assert "a corrupt value becomes legal" in found(num_classes=8)
    assert "a value gets a wrong class" in found(class_ids={"start": -1})
    assert "a right value becomes illegal" in found(num_classes=2)
    assert found(ignore=[255]) == ""
