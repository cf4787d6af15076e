# pyright: basic
"""Shapes and dtypes at trace time, losses that honour ignore values, counts as data. Pure, for any transform."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from label_guard.core import dtypes
from label_guard.core.plural import counted
from label_guard.errors import UsageError
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel


def check_logits(logits: Any, labels: Any, spec: Label) -> None:
    """Hold shapes and dtypes of a loss's arguments against ``spec``, at trace time and so at no cost.

    Broadcasting makes a wrong shape train silently: labels ``[batch, 1]`` through ``one_hot`` give a ``[batch, batch]``
    loss.

    Args:
        logits: ``[batch, ..., num_classes]`` (``real_label``: predictions of the labels' shape).
        labels: class ids ``[batch, ...]``, or rows ``[batch, ..., num_classes]`` of the other kinds.
        spec: a label of an emitted schema, such as ``schema.emitted("train").labels["label"]``.

    Raises:
        UsageError: a shape or dtype differs.

    >>> import jax.numpy as jnp
    >>> spec = ClassLabel(kind="class_label", num_classes=10)
    >>> check_logits(jnp.zeros((4, 10)), jnp.zeros(4, jnp.int32), spec)
    """
    if not isinstance(spec, RealLabel) and (not logits.ndim or logits.shape[-1] != spec.num_classes):
        raise UsageError(f"logits have shape {logits.shape}; their last axis must be num_classes {spec.num_classes}")
    want = logits.shape[:-1] if isinstance(spec, ClassLabel) else logits.shape
    if labels.shape != want:
        raise UsageError(f"labels have shape {labels.shape}, logits {logits.shape}; they must have {want}")
    name = jnp.dtype(labels.dtype).name
    if isinstance(spec, ClassLabel):
        if not dtypes.is_integer(name):
            raise UsageError(f"class ids have dtype {name}; they must be integers")
        if not dtypes.can_index(name, spec.num_classes):
            raise UsageError(f"{name} cannot index {counted(spec.num_classes, 'class')} in JAX; emit int32")
    elif isinstance(spec, SoftLabel) and not jnp.issubdtype(labels.dtype, jnp.floating):
        raise UsageError(f"soft labels have dtype {name}; they must be floating")


def _skipped(labels: jax.Array, spec: Label) -> jax.Array | None:
    """Where in ``labels`` (a bool array like it) there is a declared sentinel; None if none is declared."""
    hits = [labels == value for value in spec.sentinels if _fits(int(value), labels.dtype)]
    return None if not hits else jnp.any(jnp.stack(hits), axis=0)


def _fits(value: int, dtype: Any) -> bool:
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        return int(info.min) <= value <= int(info.max)
    return dtype != jnp.bool_


def cross_entropy(logits: jax.Array, labels: jax.Array, spec: Label, where: jax.Array | None = None) -> jax.Array:
    """The optax loss for ``spec`` behind ``check_logits``; 0 where a sentinel is or ``where`` is False.

    ``class_label``: ``optax.softmax_cross_entropy_with_integer_labels``. ``soft_label``:
    ``optax.softmax_cross_entropy``. ``multi_label``: ``optax.sigmoid_binary_cross_entropy`` per class.

    Args:
        logits: ``[batch, ..., num_classes]``, floating.
        labels: guarded labels; see ``check_logits``.
        spec: a label of an emitted schema.
        where: bool, the validity mask; of the loss's shape, or ``[batch]``.

    Returns:
        The loss of each place: ``[batch, ...]``, for ``multi_label`` ``[batch, ..., num_classes]``. Take its mean with
        ``masked_mean``: a plain mean divides by the places that were left out, too.

    Raises:
        UsageError: shapes or dtypes differ, or the label is a ``real_label``.
    """
    check_logits(logits, labels, spec)
    if isinstance(spec, RealLabel):
        raise UsageError("a real_label has no cross entropy; use optax.l2_loss with masked_mean")
    keep = _kept(logits if isinstance(spec, MultiLabel) else logits[..., 0], labels, spec, where)
    if keep is not None:
        # What is left out goes before the loss does: NaN * 0 is NaN, so a mask alone would not save the gradient.
        row = keep if isinstance(spec, MultiLabel) else keep[..., None]
        logits = jnp.where(row, logits, 0)
        labels = jnp.where(keep if isinstance(spec, ClassLabel) else row, labels, jnp.zeros((), labels.dtype))
    if isinstance(spec, ClassLabel):
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    elif isinstance(spec, SoftLabel):
        loss = optax.softmax_cross_entropy(logits, labels)
    else:
        loss = optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype))
    return loss if keep is None else jnp.where(keep, loss, 0)


def _kept(positions: jax.Array, labels: jax.Array, spec: Label, where: jax.Array | None) -> jax.Array | None:
    """Bool of the shape of ``positions``: which count in the loss; None where all do."""
    skipped = _skipped(labels, spec)
    keep = None if where is None else _broadcast(positions, where).astype(bool)
    if skipped is None:
        return keep
    return ~skipped if keep is None else keep & ~skipped


def _broadcast(values: jax.Array, where: jax.Array) -> jax.Array:
    """``where`` over the trailing axes of ``values``; it must match the leading ones."""
    if where.shape != values.shape[: where.ndim]:
        raise UsageError(f"where has shape {where.shape}; it must be {values.shape} or its leading axes")
    return jnp.broadcast_to(where.reshape(where.shape + (1,) * (values.ndim - where.ndim)), values.shape)


def masked_mean(values: jax.Array, where: jax.Array | None = None, axis_name: Any = None) -> jax.Array:
    """Mean of ``values`` where ``where`` is True; 0 and not NaN where nothing is.

    Args:
        values: ``[batch, ...]``.
        where: bool or weights, of the values' shape or ``[batch]``; None: everything.
        axis_name: mapped axis (shard_map, pmap, vmap) to take the sum and the count over: one mean over all devices,
            not the mean of their means.

    >>> import jax.numpy as jnp
    >>> float(masked_mean(jnp.array([1.0, jnp.nan]), jnp.array([True, False])))
    1.0
    >>> float(masked_mean(jnp.array([1.0]), jnp.array([False])))
    0.0
    """
    if where is None:
        where = jnp.ones(values.shape, bool)
    # A float16 ends at 65504, fewer than a batch may have places; an integer holds no weight of 0.5.
    wide = jnp.promote_types(values.dtype, jnp.float32)
    weights = _broadcast(values, where).astype(wide)
    total = jnp.sum(jnp.where(weights != 0, values, 0).astype(wide) * weights)
    count = jnp.sum(weights)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    # Weights below one in sum must still divide: only an empty mask is replaced.
    mean = total / jnp.where(count > 0, jnp.maximum(count, jnp.finfo(wide).tiny), 1)
    return mean.astype(values.dtype) if jnp.issubdtype(values.dtype, jnp.floating) else mean


def invalid_count(labels: jax.Array, spec: Label) -> jax.Array:
    """int32 scalar: places of ``labels`` that ``spec`` does not allow; return it with the loss.

    Sees what is left on the device: an int64 2**32+1 has become 1 by then, which only the guard on the host sees.

    Args:
        labels: as in ``check_logits``.
        spec: a label of an emitted schema.
    """
    if isinstance(spec, SoftLabel):
        sums = jnp.abs(jnp.sum(labels, axis=-1, dtype=jnp.float32) - 1) > max(spec.tolerance, 1e-6)
        bad = sums | jnp.any((labels < 0) | ~jnp.isfinite(labels), axis=-1)
    elif isinstance(spec, RealLabel):
        bad = _outside_limits(labels, spec)
    elif isinstance(spec, MultiLabel):
        bad = (labels != 0) & (labels != 1)
    else:
        bad = _outside_range(labels, spec)
    skipped = _skipped(labels, spec)
    return jnp.sum(bad if skipped is None else bad & ~skipped, dtype=jnp.int32)


def _outside_range(labels: jax.Array, spec: ClassLabel) -> jax.Array:
    high = int(jnp.iinfo(labels.dtype).max) if jnp.issubdtype(labels.dtype, jnp.integer) else np.inf
    above = labels > spec.num_classes - 1 if spec.num_classes - 1 < high else jnp.zeros(labels.shape, bool)
    return above | (labels < 0)


def _outside_limits(labels: jax.Array, spec: RealLabel) -> jax.Array:
    bad = ~jnp.isfinite(labels)
    if spec.minimum is not None:
        bad |= labels < spec.minimum
    if spec.maximum is not None:
        bad |= labels > spec.maximum
    return bad
