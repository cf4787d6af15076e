"""A training step of an MLP: without a check, with the guard on the host, with the in-jit variants."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from bench.checks import CLASSES, schema
from bench.measure import Row, measure, row
from jax.experimental import checkify

from label_guard import Guard
from label_guard.jax import LabelMonitor, debug_check, invalid_count
from label_guard.schema.labels import Label

WIDTHS = (784, 512, 512, CLASSES)


def _initial() -> Any:
    keys = jax.random.split(jax.random.key(0), len(WIDTHS) - 1)
    return [
        (jax.random.normal(k, (a, b)) / np.sqrt(a), jnp.zeros(b))
        for k, a, b in zip(keys, WIDTHS, WIDTHS[1:], strict=False)
    ]


def _logits(parameters: Any, images: Any) -> Any:
    for weights, bias in parameters[:-1]:
        images = jax.nn.relu(images @ weights + bias)
    weights, bias = parameters[-1]
    return images @ weights + bias


OPTIMIZER = optax.adam(1e-3)


def _update(state: Any, images: Any, labels: Any) -> Any:
    parameters, moments = state

    def loss_of(p: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(_logits(p, images), labels).mean()

    loss, gradient = jax.value_and_grad(loss_of)(parameters)
    updates, moments = OPTIMIZER.update(gradient, moments)
    return (optax.apply_updates(parameters, updates), moments), loss


def variants(spec: Label, guard: Guard) -> dict[str, Callable[[Any, Any, Any], Any]]:
    """Steps of ``(state, images, labels on the host)`` by name."""
    plain = jax.jit(_update)
    counted = jax.jit(lambda s, x, y: (*_update(s, x, y), invalid_count(y, spec)))
    monitor = LabelMonitor()

    def unguarded(state: Any, images: Any, labels: Any) -> Any:
        return plain(state, images, jnp.asarray(labels))

    def guarded(state: Any, images: Any, labels: Any) -> Any:
        if not guard.check_batch({"label": labels}).ok:
            raise ValueError("the benchmark's labels are clean")
        return plain(state, images, jnp.asarray(labels))

    def with_count(state: Any, images: Any, labels: Any) -> Any:
        state, loss, count = counted(state, images, jnp.asarray(labels))
        monitor.step(count)
        return state, loss

    def cond_callback(state: Any, images: Any, labels: Any) -> Any:
        debug_check(labels, spec)
        return _update(state, images, labels)

    def callback(state: Any, images: Any, labels: Any) -> Any:
        jax.debug.callback(lambda flag: None if not flag else 1 / 0, invalid_count(labels, spec))
        return _update(state, images, labels)

    steps = {
        "unguarded": unguarded,
        "unguarded again": unguarded,
        "guard on the host": guarded,
        "invalid_count, read one step late": with_count,
        "lax.cond + debug.callback": _jitted(cond_callback),
        "debug.callback": _jitted(callback),
        "checkify + throw": _checkify_throw(spec),
    }
    return {**steps, **_others(spec)}


def _checkify_throw(spec: Label) -> Callable[..., Any]:
    def checked(state: Any, images: Any, labels: Any) -> Any:
        checkify.check(invalid_count(labels, spec) == 0, "bad label")
        return _update(state, images, labels)

    compiled = jax.jit(checkify.checkify(checked, errors=checkify.user_checks))

    def step(state: Any, images: Any, labels: Any) -> Any:
        error, out = compiled(state, images, jnp.asarray(labels))
        error.throw()
        return out

    return step


def _jitted(step: Callable[..., Any]) -> Callable[..., Any]:
    compiled = jax.jit(step)
    return lambda state, images, labels: compiled(state, images, jnp.asarray(labels))


def _others(spec: Label) -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    if importlib.util.find_spec("equinox"):
        equinox = importlib.import_module("equinox")

        def error_if(state: Any, images: Any, labels: Any) -> Any:
            labels = equinox.error_if(labels, invalid_count(labels, spec) > 0, "bad label")
            return _update(state, images, labels)

        found["equinox.error_if"] = _jitted(error_if)
    if importlib.util.find_spec("chex"):
        chex = importlib.import_module("chex")

        def asserted(state: Any, images: Any, labels: Any) -> Any:
            chex.assert_trees_all_equal(invalid_count(labels, spec), jnp.int32(0))
            return _update(state, images, labels)

        chexified = chex.chexify(jax.jit(asserted), async_check=True)
        found["chex.chexify"] = lambda state, images, labels: chexified(state, images, jnp.asarray(labels))
    return found


def step(quick: bool, batch: int = 1024) -> list[Row]:
    """One training step with labels from the host, batch 1,024."""
    promised = schema(dtype="int32")
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(batch, WIDTHS[0])), jnp.float32)
    labels = rng.integers(0, CLASSES, batch, dtype=np.int32)
    parameters = _initial()
    state = (parameters, OPTIMIZER.init(parameters))
    steps = variants(promised.emitted().labels["label"], Guard(promised))
    functions = {
        name: (lambda run=run: jax.block_until_ready(run(state, images, labels))) for name, run in steps.items()
    }
    guard = Guard(promised)
    functions["guard on the host: its own"] = lambda: guard.check_batch({"label": labels})
    timings = measure(functions, rounds=9 if quick else 31, seconds=0.05)
    group = f"training step, MLP, batch {batch:,}"
    rows = [row(group, name, timings, against="unguarded", cpu=False) for name in steps]
    check = timings["guard on the host: its own"].median_wall
    value = 1 + check / timings["unguarded"].median_wall  # steps differ by more from round to round
    own = Row(group, "guard on the host: its own", check, check, "unguarded", value, None, "<= 1.01x", value <= 1.01)
    return [*rows, own]
