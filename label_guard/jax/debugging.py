# pyright: basic
"""Checks that raise from inside jit. For one device and debugging: see each function for where it hangs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import checkify

from label_guard.check.columns import spec_text
from label_guard.errors import InvalidLabelError
from label_guard.jax.losses import invalid_count
from label_guard.schema.labels import Label


def debug_check(labels: jax.Array, spec: Label) -> None:
    """Raise from inside jit if a label is illegal: ``lax.cond`` and ``jax.debug.callback``.

    For one device. On several, the error leaves the others in a collective forever; with ``donate_argnums`` the state
    is lost with the step; and the error arrives as JAX's own with this one's text. It costs a callback a step only
    where a label is bad, and the branch always.

    Args:
        labels: as in ``label_guard.jax.check_logits``.
        spec: a label of an emitted schema.
    """

    def complain(values: Any) -> None:
        array = np.asarray(values)
        raise InvalidLabelError(f"illegal labels inside jit: expected {spec.legal}, got {_shown(array)}")

    count = invalid_count(labels, spec)
    jax.lax.cond(count > 0, lambda x: jax.debug.callback(complain, x), lambda _: None, labels)


def _shown(array: np.ndarray[Any, Any]) -> str:
    flat = array.reshape(-1)
    more = f" and {flat.size - 8} more" if flat.size > 8 else ""
    return f"{spec_text(array.dtype, array.shape)} {flat[:8].tolist()}{more}"


def check_values(labels: jax.Array, spec: Label) -> None:
    """Note illegal labels for ``checked``; does nothing outside a function that ``checked`` wraps."""
    count = invalid_count(labels, spec)
    checkify.debug_check(count == 0, f"labels inside jit: {{count}} illegal, expected {spec.legal}", count=count)


def checked(fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` jitted, raising what its ``check_values`` noted: the checkify form.

    Safe on several devices, as the error leaves the step as data; but it blocks until each step is done, and a bad
    step has been computed by then. Without ``donate_argnums``, so the state before the step survives.

    Args:
        fn: a function that calls ``check_values(labels, spec)``.

    Returns:
        A function of the same arguments that raises ``InvalidLabelError``.
    """
    compiled = jax.jit(checkify.checkify(fn, errors=checkify.user_checks))

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        """Calls the compiled ``fn``; raises the error that it returned as data."""
        error, out = compiled(*args, **kwargs)
        message = error.get()
        if message:
            raise InvalidLabelError(message)
        return out

    return run
