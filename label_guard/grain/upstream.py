# pyright: basic
"""What comes before the guard in a Grain pipeline: batches, keyed sources, another guard, an endless repeat."""

from __future__ import annotations

from typing import Any

import grain

from label_guard.errors import UsageError
from label_guard.grain import _private
from label_guard.grain.record_keys import AddKey
from label_guard.pipeline.config import GuardConfig
from label_guard.pipeline.record_keys import KeyedSource, RecordNames


def _guard_at(node: Any) -> GuardConfig | None:
    config = getattr(node, "config", None) or getattr(_private.transform_of(node), "config", None)
    return config if isinstance(config, GuardConfig) else None


def is_batched(ds: Any, config: GuardConfig) -> bool | None:
    """Whether ``ds`` yields batches: ``batched=`` if given, True after a Batch or a guard that batches, else None."""
    if config.batched is not None:
        return config.batched
    for node in _private.nodes_before(ds):
        before = _guard_at(node) if isinstance(node, grain.IterDataset) else None
        yields_batches = before is not None and not (before.batched is False and before.batch_size is None)
        if yields_batches or _private.is_batch(node):
            return True
    return None


def drops_remainder(ds: Any) -> bool:
    """Whether the nearest batch upstream leaves out an incomplete last batch."""
    batch = next((node for node in _private.nodes_before(ds) if _private.is_batch(node)), None)
    return _private.drops_remainder(batch)


def refuse_second_remap(ds: Any, config: GuardConfig) -> None:
    """Refuse a guard on stored labels where another already mapped them to dense ids.

    Raises:
        UsageError: as ``GuardConfig.refuse_second_remap``.
    """
    for node in _private.nodes_before(ds):
        before = _guard_at(node)
        if before is not None:
            config.refuse_second_remap(before)


def with_names(ds: Any, config: GuardConfig, batched: bool | None) -> GuardConfig:
    """Adds to ``config`` the names of records that keyed sources upstream give.

    Args:
        ds: the dataset to be guarded.
        config: the resolved options.
        batched: whether its elements are batches; None decides by the first.

    Raises:
        UsageError: two of them have one name, one replays the guard's own quarantine, or one hands on unreadable
            records to a guard that cannot take them.
    """
    sources: dict[int, KeyedSource] = {}
    for node in _private.nodes_before(ds):
        config.refuse_replay(_private.source(node))
    for node in _private.nodes_before(ds, ends_at=_leaves_keys_out):
        transform = _private.transform_of(node)
        for found in (_private.source(node), transform.keyed if isinstance(transform, AddKey) else None):
            if not isinstance(found, KeyedSource):
                continue
            if sources.setdefault(found.tag, found).identity != found.identity:
                raise UsageError("two keyed sources share their positions; give each a name: keyed(source, name=...)")
            _check_unreadable(ds, found, config, batched)
    ids = sorted(source.source_id for source in sources.values())
    names = RecordNames(sources, unique=not any(map(_private.repeats_keys, _private.nodes_before(ds))))
    return config.replace(names=names, source_id=config.source_id or "+".join(ids))


def _leaves_keys_out(node: Any) -> bool:
    """Whether elements have no record key behind ``node``: a guard takes it off, packing cannot carry it."""
    before = _guard_at(node)
    return _private.packs(node) or (before is not None and before.dropped_key is not None)


def _check_unreadable(ds: Any, source: KeyedSource, config: GuardConfig, batched: bool | None) -> None:
    if source.on_unreadable == "raise":
        return
    of_records = not batched and (
        config.batch_size is not None or config.batched is False or isinstance(ds, grain.MapDataset)
    )
    if not of_records or config.on_invalid not in ("drop", "raise"):
        raise UsageError(
            'keyed(on_unreadable="quarantine") needs a guard that takes records out before they are batched: '
            'on_invalid="drop" or "raise", on unbatched records'
        )
