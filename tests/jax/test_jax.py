"""label_guard.jax on one device: values, transforms, errors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import InvalidLabelError, UsageError
from label_guard.jax import (
    LabelMonitor,
    check_logits,
    check_values,
    checked,
    cross_entropy,
    debug_check,
    invalid_count,
    masked_mean,
)
from label_guard.schema.labels import ClassLabel, MultiLabel, RealLabel, SoftLabel

IDS = ClassLabel(kind="class_label", num_classes=5, ignore=(-1, 255))
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)
LABELS = jnp.array([0, 4, -1, 255])
VALID = np.array([True, True, False, False])


def test_cross_entropy_is_optax_where_labels_count_and_zero_elsewhere() -> None:
    """Places with a sentinel have loss 0, the others optax's own loss."""
    loss = jax.jit(lambda x, y: cross_entropy(x, y, IDS))(LOGITS, LABELS)
    reference = optax.softmax_cross_entropy_with_integer_labels(LOGITS, jnp.array([0, 4, 0, 0]))
    np.testing.assert_allclose(loss, np.where(VALID, reference, 0), rtol=1e-6)


def test_ignored_places_have_no_gradient() -> None:
    """The gradient of an ignored row is exactly zero, and finite everywhere."""
    gradient = jax.grad(lambda x: masked_mean(cross_entropy(x, LABELS, IDS), jnp.asarray(VALID)))(LOGITS)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[~VALID].any()
    assert np.asarray(gradient)[VALID].any(axis=1).all()


def test_where_of_the_batch_masks_dense_labels() -> None:
    """A mask per record broadcasts over the places of a dense label."""
    dense = ClassLabel(kind="class_label", num_classes=5, shape=(3,))
    loss = cross_entropy(jnp.zeros((2, 3, 5)), jnp.zeros((2, 3), int), dense, where=jnp.array([True, False]))
    np.testing.assert_allclose(loss, [[np.log(5)] * 3, [0] * 3], rtol=1e-6)


def test_soft_and_multi_labels_use_their_own_loss() -> None:
    """soft_label goes to softmax cross entropy, multi_label to binary cross entropy with ignored places at 0."""
    soft = SoftLabel(kind="soft_label", num_classes=5)
    rows = jax.nn.softmax(LOGITS)
    np.testing.assert_allclose(cross_entropy(LOGITS, rows, soft), optax.softmax_cross_entropy(LOGITS, rows))
    multi = MultiLabel(kind="multi_label", num_classes=5, ignore=(-1,))
    hot = jnp.array([[1, 0, -1, 0, 1]] * 4)
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, jnp.where(hot < 0, 0, hot).astype(jnp.float32))
    np.testing.assert_allclose(cross_entropy(LOGITS, hot, multi), jnp.where(hot < 0, 0, expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "spec", "reported"),
    [
        ((4, 6), ((4,), "int32"), IDS, "num_classes 5"),
        ((4, 5), ((4, 1), "int32"), IDS, "must have \\(4,\\)"),
        ((4, 5), ((1,), "int32"), IDS, "must have \\(4,\\)"),
        ((4, 5), ((4,), "float32"), IDS, "must be integers"),
        ((4, 5), ((4,), "bool"), IDS, "must be integers"),
        ((4, 300), ((4,), "uint8"), ClassLabel(kind="class_label", num_classes=300), "cannot index 300"),
        ((5, 5), ((5,), "float32"), SoftLabel(kind="soft_label", num_classes=5), "must have \\(5, 5\\)"),
        ((4, 5), ((4, 5), "int32"), SoftLabel(kind="soft_label", num_classes=5), "must be floating"),
        ((4,), ((4, 1), "float32"), RealLabel(kind="real_label"), "must have \\(4,\\)"),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused_at_trace_time(logits: Any, labels: Any, spec: Any, reported: str) -> None:
    """Every shape that would broadcast, and every dtype that would go wrong, raises before anything is computed."""
    with pytest.raises(UsageError, match=reported):
        jax.eval_shape(
            lambda x, y: check_logits(x, y, spec) or x,
            jax.ShapeDtypeStruct(logits, jnp.float32),
            jax.ShapeDtypeStruct(*labels),
        )


def test_a_real_label_has_no_cross_entropy() -> None:
    """A regression target is refused with the loss to use."""
    with pytest.raises(UsageError, match="l2_loss"):
        cross_entropy(jnp.zeros(4), jnp.zeros(4), RealLabel(kind="real_label"))


@given(st.lists(st.tuples(st.floats(-10, 10, width=32), st.booleans()), min_size=8, max_size=8))
def test_masked_mean_is_the_mean_of_what_counts(pairs: list[tuple[float, bool]]) -> None:
    """The mean of the kept values, and 0 where none is kept; what is left out may be NaN."""
    keep = [value for value, kept in pairs if kept]
    values = jnp.array([value if kept else np.nan for value, kept in pairs])
    mean = float(masked_mean(values, jnp.array([kept for _, kept in pairs])))
    assert mean == pytest.approx(np.mean(keep) if keep else 0.0, abs=1e-4)


def test_masked_mean_takes_weights_below_one() -> None:
    """Float weights are weights: their sum divides, also below 1."""
    assert float(masked_mean(jnp.array([2.0, 4.0]), jnp.array([0.25, 0.25]))) == pytest.approx(3.0)


def test_masked_mean_over_an_axis_is_one_mean() -> None:
    """With axis_name the sum and the count are taken over all shards, not the mean of their means."""
    values, keep = jnp.array([[1.0, 2.0], [9.0, 9.0]]), jnp.array([[True, True], [True, False]])
    means = jax.vmap(lambda v, k: masked_mean(v, k, axis_name="i"), axis_name="i")(values, keep)
    np.testing.assert_allclose(means, [4.0, 4.0])


@pytest.mark.parametrize(
    ("labels", "spec", "count"),
    [
        ([0, 4, -1, 255, 5, -2], IDS, 2),
        (np.array([0, 255, 254], np.uint8), IDS, 1),
        (np.array([7, 200], np.uint8), ClassLabel(kind="class_label", num_classes=256), 0),
        ([[1, 0], [2, -1]], MultiLabel(kind="multi_label", num_classes=2, ignore=(-1,)), 1),
        ([[0.5, 0.5], [0.9, 0.3], [np.nan, 1.0], [-0.5, 1.5]], SoftLabel(kind="soft_label", num_classes=2), 3),
        ([0.0, 5.0, 5.1, np.inf], RealLabel(kind="real_label", minimum=0, maximum=5), 2),
    ],
)
def test_invalid_count_counts_illegal_places(labels: Any, spec: Any, count: int) -> None:
    """The in-jit count is exact for what is left on the device."""
    assert int(jax.jit(lambda y: invalid_count(y, spec))(jnp.asarray(labels))) == count


def test_invalid_count_travels_through_scan_and_vmap() -> None:
    """A count is plain data: scan stacks it, vmap maps it."""
    batches = jnp.array([[0, 1], [5, 9], [2, -2]])
    _, scanned = jax.lax.scan(lambda carry, y: (carry, invalid_count(y, IDS)), 0, batches)
    assert scanned.tolist() == [0, 2, 1]
    assert jax.vmap(lambda y: invalid_count(y, IDS))(batches).tolist() == [0, 2, 1]


def test_the_monitor_reads_one_step_late_and_names_the_records() -> None:
    """A bad step is reported at the next step, with its number and its record keys; a clean run says nothing."""
    monitor = LabelMonitor()
    monitor.step(jnp.int32(0), jnp.float32(1.0), keys=["a"])
    monitor.step(jnp.int32(2), jnp.float32(1.0), keys=["train__7", "train__8"])
    with pytest.raises(InvalidLabelError, match=r"step 1: 2 illegal labels; records train__7, train__8"):
        monitor.step(jnp.int32(0), jnp.float32(1.0))


def test_the_monitor_stops_on_a_loss_that_is_not_finite() -> None:
    """Legal labels and a NaN loss are distinguished from illegal labels."""
    monitor = LabelMonitor()
    monitor.step(jnp.int32(0), jnp.float32(np.nan))
    with pytest.raises(InvalidLabelError, match="loss of nan with legal labels"):
        monitor.finish()


def test_donated_buffers_survive_the_monitor() -> None:
    """The count leaves a step with donated state as data, so the state after it is still there."""

    def train(state: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        return state + 1, invalid_count(y, IDS)

    step = jax.jit(train, donate_argnums=0)
    state, count = step(jnp.zeros(3), jnp.array([9]))
    monitor = LabelMonitor()
    monitor.step(count)
    with pytest.raises(InvalidLabelError):
        monitor.finish()
    assert state.tolist() == [1, 1, 1]


def test_checked_raises_our_error_and_lets_good_steps_through() -> None:
    """The checkify form raises InvalidLabelError with the count, also from under grad."""

    def loss(x: jax.Array, y: jax.Array) -> jax.Array:
        check_values(y, IDS)
        return jax.grad(lambda z: cross_entropy(z, jnp.clip(y, 0, 4), IDS).sum())(x)

    step = checked(loss)
    assert step(LOGITS, jnp.array([0, 1, 2, 3])).shape == LOGITS.shape
    with pytest.raises(InvalidLabelError, match="labels inside jit: 1 illegal"):
        step(LOGITS, jnp.array([0, 1, 2, 9]))


def test_check_values_does_nothing_outside_checked() -> None:
    """A library may call check_values: without checked it costs and says nothing."""
    assert int(jax.jit(lambda y: (check_values(y, IDS), y.sum())[1])(jnp.array([9]))) == 9


def test_debug_check_raises_from_inside_jit() -> None:
    """The callback form raises with our text, and lets legal labels through."""
    step = jax.jit(lambda y: (debug_check(y, IDS), y.sum())[1])
    assert int(step(jnp.array([1, 2]))) == 3

    def bad_step() -> None:
        jax.block_until_ready(step(jnp.array([1, 9])))
        jax.effects_barrier()

    with pytest.raises(Exception, match="illegal labels inside jit: expected \\[0, 5\\) or ignore -1, 255"):
        bad_step()


@pytest.mark.parametrize("logit", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("labels", "spec"),
    [
        (jnp.array([1, 2]), IDS),
        (jnp.array([[0.0, 1, 0, 0, 0]] * 2), SoftLabel(num_classes=5)),
        (jnp.array([[0, 1, 0, 1, 0]] * 2), MultiLabel(num_classes=5)),
    ],
)
def test_logits_that_do_not_count_leave_the_gradient_finite(labels: Any, spec: Any, logit: float) -> None:
    """Where the mask is False the model may say anything."""
    logits = jnp.zeros((2, 5)).at[0].set(logit)
    where = jnp.array([False, True])
    gradient = jax.grad(lambda x: masked_mean(cross_entropy(x, labels, spec, where), where))(logits)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[0])


def test_logits_of_a_sentinel_leave_the_gradient_finite() -> None:
    """A declared sentinel leaves its place out as the mask does."""
    logits = jnp.zeros((2, 5)).at[0].set(np.nan)
    gradient = jax.grad(lambda x: cross_entropy(x, jnp.array([255, 1]), IDS).sum())(logits)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_masked_mean_of_more_places_than_float16_counts(dtype: str) -> None:
    """The sum and the count are kept in float32 at least."""
    values = jnp.full(70_000, 3, dtype)
    for where in (None, jnp.ones(70_000, bool), jnp.ones(70_000, dtype)):
        mean = masked_mean(values, where)
        assert mean.dtype == dtype
        assert float(mean) == 3


def test_masked_mean_of_integers_takes_weights() -> None:
    """Weights below one are not rounded to 0."""
    assert float(masked_mean(jnp.array([1, 3]), jnp.array([0.5, 0.5]))) == 2
