"""Names that are not declared: the message shows the one that was meant, and how it differs."""

from __future__ import annotations

import numpy as np
import pytest

from label_guard import DatasetSchema, Guard


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Tea", "'Tea' (did you mean 'tea'?)"),
        ("tea ", "'tea ' (did you mean 'tea'?)"),
        ("cafe\u0301", r"'cafe\u0301' (did you mean 'caf\xe9'?)"),
        ("te\u0430", r"'te\u0430' (did you mean 'tea'?)"),
        ("t\u200bea", r"'t\u200bea' (did you mean 'tea'?)"),
        ("\uff54\uff45\uff41", r"'\uff54\uff45\uff41' (did you mean 'tea'?)"),
        ("milk", "'milk'"),
    ],
)
def test_a_name_that_looks_like_a_declared_one(stored: str, shown: str) -> None:
    """It is illegal, and two names that would look the same are shown with escapes."""
    label = {"kind": "class_label", "num_classes": 2, "class_names": ["caf\u00e9", "tea"], "dtype": "string"}
    schema = DatasetSchema.model_validate({"format": 1, "name": "d", "version": "1.0.0", "labels": {"label": label}})
    (found,) = Guard(schema).check({"label": np.array([stored])}, batched=True).violations
    assert found.rule == "LG113"
    assert f"{shown}, expected" in str(found)
