"""Index and number of the processes of a run, without starting JAX."""

from __future__ import annotations

import sys
from typing import Any


def process_index_of(given: int | None) -> int:
    """Index of this process: ``given`` if set, else JAX's once it is distributed, else 0."""
    if given is not None:
        return given
    jax = _distributed_jax()
    return 0 if jax is None else int(jax.process_index())


def process_count() -> int:
    """Number of JAX processes, 1 where JAX is not distributed."""
    jax = _distributed_jax()
    return 1 if jax is None else int(jax.process_count())


def _distributed_jax() -> Any:
    """The jax module, only if it is imported and distributed: asking earlier breaks multi-host start-up."""
    jax = sys.modules.get("jax")
    distributed = getattr(jax, "distributed", None)
    return jax if distributed is not None and distributed.is_initialized() else None
