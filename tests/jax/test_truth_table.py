"""What optax does with bad labels, asserted against the installed version; and that none of them passes the guard."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from label_guard import DatasetSchema, Guard

BATCH, CLASSES = 4, 5
TRUE = np.array([2, 0, 1, 4])
LOGITS = np.random.default_rng(0).normal(size=(BATCH, CLASSES)).astype(np.float32)


def one_hot(labels: jax.Array) -> jax.Array:
    """The usual route from ids to rows."""
    return jax.nn.one_hot(labels, CLASSES)


ID_LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "integer_ce": optax.softmax_cross_entropy_with_integer_labels,
    "one_hot_ce": lambda x, y: optax.softmax_cross_entropy(x, one_hot(y)),
    "smoothed_ce": lambda x, y: optax.softmax_cross_entropy(x, optax.smooth_labels(one_hot(y), 0.1)),
    "one_hot_bce": lambda x, y: optax.sigmoid_binary_cross_entropy(x, one_hot(y)).sum(-1),
    "one_hot_focal": lambda x, y: optax.losses.sigmoid_focal_loss(x, one_hot(y)).sum(-1),
    "one_hot_kl": lambda x, y: optax.losses.kl_divergence(jax.nn.log_softmax(x), one_hot(y)),
    "poly": lambda x, y: optax.losses.poly_loss_cross_entropy(x, one_hot(y)),
    "hinge": optax.losses.multiclass_hinge_loss,
    "perceptron": optax.losses.multiclass_perceptron_loss,
}


def with_first(value: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """The true ids with a bad one in row 0."""
    labels = TRUE.astype(dtype)
    labels[0] = value
    return labels


# Label batch, what the integer loss does, what every one-hot route does.
BAD_IDS: dict[str, tuple[np.ndarray[Any, Any], str, str]] = {
    "equal to C": (with_first(CLASSES, np.int32), "nan", "silent"),
    "C + 1000": (with_first(CLASSES + 1000, np.int32), "nan", "silent"),
    "255 in int32": (with_first(255, np.int32), "nan", "silent"),
    "255 in uint8": (with_first(255, np.uint8), "nan", "silent"),
    "-1": (with_first(-1, np.int32), "silent", "silent"),
    "-1 in int8": (with_first(-1, np.int8), "silent", "silent"),
    "-C": (with_first(-CLASSES, np.int32), "silent", "silent"),
    "-100": (with_first(-100, np.int32), "nan", "silent"),
    "int64 2**31": (with_first(2**31, np.int64), "nan", "silent"),
    "int64 2**32 + 1": (with_first(2**32 + 1, np.int64), "silent", "silent"),
    "uint32 2**32 - 1": (with_first(2**32 - 1, np.uint32), "silent", "silent"),
    "float 2.7": (with_first(2.7, np.float32), "raises", "silent"),
    "float NaN": (with_first(np.nan, np.float32), "raises", "silent"),
    "shape [B, 1]": (TRUE[:, None].astype(np.int32), "raises", "broadcast"),
    "shape [1, B]": (TRUE[None].astype(np.int32), "raises", "broadcast"),
}


@lru_cache
def training_step(loss: Callable[[Any, Any], Any]) -> Any:
    """The jitted gradient of a loss, and the loss of each record: compiled once for each dtype and shape of labels."""

    def total(x: Any, y: Any) -> tuple[Any, Any]:
        values = loss(x, y)
        return jnp.sum(values), values

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def outcome(loss: Callable[[Any, Any], Any], labels: np.ndarray[Any, Any], shape: tuple[int, ...] = (BATCH,)) -> str:
    """What a jitted training step makes of ``labels``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float ids: a DeprecationWarning is all that one_hot says
        try:
            (value, out), gradient = training_step(loss)(LOGITS, labels)
        except (TypeError, ValueError, AssertionError):
            return "raises"
    if out.shape != shape:
        return "broadcast"
    if np.isfinite(value):
        return "silent"
    return "nan" if np.isfinite(np.asarray(gradient)).all() else "nan gradient"


@pytest.mark.parametrize("name", BAD_IDS)
def test_the_integer_loss_never_says_that_an_id_is_bad(name: str) -> None:
    """A bad id gives NaN with a finite gradient or trains another class silently; only dtype and shape may raise."""
    labels, expected, _ = BAD_IDS[name]
    assert outcome(ID_LOSSES["integer_ce"], labels) == expected


@pytest.mark.parametrize("name", BAD_IDS)
@pytest.mark.parametrize("loss", ["one_hot_ce", "smoothed_ce", "one_hot_bce", "one_hot_focal", "one_hot_kl", "poly"])
def test_no_one_hot_route_says_anything(loss: str, name: str) -> None:
    """Through one_hot every bad id is silent, and a wrong shape broadcasts."""
    labels, _, expected = BAD_IDS[name]
    assert outcome(ID_LOSSES[loss], labels) == expected


@pytest.mark.parametrize("loss", ["hinge", "perceptron"])
@pytest.mark.parametrize("name", ["equal to C", "-1", "-100", "int64 2**32 + 1"])
def test_margin_losses_are_silent(loss: str, name: str) -> None:
    """Margin losses take a bad id for none of the classes, silently."""
    assert outcome(ID_LOSSES[loss], BAD_IDS[name][0]) == "silent"


@pytest.mark.parametrize(("bad", "like"), [(-1, CLASSES - 1), (-CLASSES, 0), (2**32 + 1, 1)])
def test_silent_ids_train_another_class(bad: int, like: int) -> None:
    """-1 trains the last class, -C class 0 and int64 2**32 + 1 class 1: the same loss and gradient, to the bit."""
    dtype = np.int64 if bad > 2**31 else np.int32
    step = jax.jit(jax.value_and_grad(lambda x, y: ID_LOSSES["integer_ce"](x, y).mean()))
    wrong, right = step(LOGITS, with_first(bad, dtype)), step(LOGITS, with_first(like, np.int32))
    assert wrong[0] == right[0]
    np.testing.assert_array_equal(wrong[1], right[1])


@pytest.mark.parametrize("name", BAD_IDS)
def test_no_bad_id_passes_the_guard(name: str) -> None:
    """Behind the guard none of the bad batches reaches the loss: row 0, or all rows, are named."""
    label = {"kind": "class_label", "num_classes": CLASSES}
    guard = Guard(DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": label}}))
    result = guard.check({"y": BAD_IDS[name][0]}, batched=True)
    assert not result.valid[0]
    clean = guard.check({"y": TRUE}, batched=True)
    assert clean.ok


ROW = np.eye(CLASSES, dtype=np.float32)[TRUE]


def with_row(values: list[float]) -> np.ndarray[Any, Any]:
    """One-hot rows with a bad row 0."""
    rows = ROW.copy()
    rows[0] = values
    return rows


# Rows, what softmax cross entropy does, what binary cross entropy does.
BAD_ROWS: dict[str, tuple[np.ndarray[Any, Any], str, str]] = {
    "all zero": (with_row([0, 0, 0, 0, 0]), "silent", "silent"),
    "two hot": (with_row([1, 1, 0, 0, 0]), "silent", "silent"),
    "sum 0.9": (with_row([0.9, 0, 0, 0, 0]), "silent", "silent"),
    "sum 1.01": (with_row([1.01, 0, 0, 0, 0]), "silent", "silent"),
    "negative": (with_row([-0.2, 1.2, 0, 0, 0]), "silent", "silent"),
    "255": (with_row([255, 0, 0, 0, 0]), "silent", "silent"),
    "NaN": (with_row([np.nan, 0, 0, 0, 0]), "nan gradient", "nan gradient"),
    "infinity": (with_row([np.inf, 0, 0, 0, 0]), "nan gradient", "nan gradient"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_losses_over_rows_do_not_say_that_a_row_is_bad(name: str) -> None:
    """Rows that are not a distribution are silent in softmax and sigmoid losses; only NaN shows, in the gradient."""
    rows, softmax, sigmoid = BAD_ROWS[name]
    assert outcome(optax.softmax_cross_entropy, rows) == softmax
    assert outcome(optax.sigmoid_binary_cross_entropy, rows, (BATCH, CLASSES)) == sigmoid


@pytest.mark.parametrize("name", BAD_ROWS)
def test_no_bad_row_passes_the_guard(name: str) -> None:
    """Behind the guard none of the bad rows reaches the loss."""
    label = {"kind": "soft_label", "num_classes": CLASSES}
    guard = Guard(DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": label}}))
    result = guard.check({"y": BAD_ROWS[name][0]}, batched=True)
    assert result.valid.tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("dtype", "classes", "right"), [(np.uint8, 256, True), (np.uint8, 300, False), (np.int8, 300, False)]
)
def test_narrow_ids_are_hot_twice(dtype: Any, classes: int, right: bool) -> None:
    """one_hot builds its iota in the label's dtype, so legal narrow ids go wrong; the guard refuses such a dtype."""
    hot = np.asarray(jax.nn.one_hot(np.array([10], dtype), classes)).sum()
    assert bool(hot == 1) is right
    schema = {
        "format": 1, "name": "t", "version": "1.0.0",
        "labels": {"y": {"kind": "class_label", "num_classes": classes, "dtype": "integer"}},
    }  # fmt: skip
    result = Guard(DatasetSchema.model_validate(schema)).check({"y": np.array([10, 3], dtype)}, batched=True)
    assert result.ok is right
