"""The contents of records as digests: everything a record holds but its labels and its key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import numpy as np

from label_guard.audit.duplicates import KEY, NO_LABEL, ROW, TEXT, DigestRows
from label_guard.audit.plan import AuditPlan, Item
from label_guard.audit.shard import SplitJob
from label_guard.core.escape import terminal
from label_guard.errors import SourceError, UsageError
from label_guard.quarantine.digest import digest
from label_guard.quarantine.payload import NotEncodableError, encode
from label_guard.schema.labels import ClassLabel, Label
from label_guard.sources.base import Chunk, Shard
from label_guard.sources.read_ahead import read_chunks


def refuse_incomparable(plan: AuditPlan) -> None:
    """Refuses what cannot be compared as a whole.

    Raises:
        UsageError: a source is a function, or records are left out.
    """
    if plan.limited or plan.part is not None:
        raise UsageError(
            "duplicates are looked for among all records: leave out the limit, and audit all files rather than a part"
        )
    for job in plan.jobs:
        if job.source.format.name == "python":
            raise UsageError(f"duplicates are looked for among records in files; {job.source.uri} is a function")


def fields_of(jobs: Sequence[SplitJob], item: Item) -> frozenset[str]:
    """What the records of a file hold, for its first part; nothing where it cannot be read: reading names the fault."""
    job, shard = item
    if shard.part is None or shard.part.number == 0:
        with suppress(SourceError):
            return frozenset(jobs[job].source.format.fields(shard.path))
    return frozenset()


def content_features(jobs: Sequence[SplitJob], fields: Set[str]) -> tuple[str, ...]:
    """The features that are not labels, not the key, and hold none: the same for all splits, in one order.

    Args:
        jobs: one for each split, 1 or more.
        fields: what the records of any file hold.

    Raises:
        UsageError: records hold nothing but labels.
    """
    schema = jobs[0].schema
    if len(fields) == 1 and fields.isdisjoint(schema.labels):  # the one label, which the schema calls as it likes
        fields = frozenset()
    others = {*schema.labels, *([schema.record_key] if schema.record_key else [])}
    content = {name for name in fields - others if not any(other.startswith(f"{name}/") for other in others)}
    if not content:
        uris = ", ".join(sorted({job.source.uri for job in jobs}))
        raise UsageError(f"duplicates are found by the features that are not labels; records of {uris} have none")
    return tuple(sorted(content))


def digest_shard(
    jobs: Sequence[SplitJob], split: int, number: int, shard: Shard, content: Sequence[str]
) -> Iterator[DigestRows]:
    """Digests the records of one file, or of one part of it, in pieces of about 2 MiB.

    Args:
        jobs: one for each split.
        split: the number of the job.
        number: the number of the file among all.
        shard: the file.
        content: the features to digest, from ``content_features``.

    Raises:
        SourceError: the file cannot be read to its end. What could be read has been yielded.
    """
    # One column for each field as it is stored: no shape is known of what is not a label.
    job = jobs[split]
    source, key, labels = job.source, job.source.record_key, job.schema.stored(job.split)
    here = set(source.format.fields(shard.path)) if source.format.name == "parquet" else None
    mine = [name for name in content if here is None or name in here]
    wanted = {**dict.fromkeys(mine), **{path: source.labels.get(path) for path in labels}}
    wanted |= {} if key is None else {key: ()}
    for chunk in read_chunks(replace(source, labels=wanted, record_key=None), shard):
        rows = _digests(chunk, labels, mine, key)
        rows["split"], rows["shard"] = split, number
        yield rows


def record_prefix(job: SplitJob, shard: Shard) -> str:
    """What precedes the position in the name of a record that has no key."""
    return "" if job.source.numbered else f"{shard.name}__"


def _digests(chunk: Chunk, declared: Mapping[str, Label], content: Sequence[str], key: str | None) -> DigestRows:
    rows = np.zeros(len(chunk), ROW)
    keys = None if key is None else chunk.columns[key]
    for place in range(len(chunk)):
        # A feature that a record lacks is left out, so that one may also be missing from a whole file.
        held = {name: v for name in content if (v := chunk.columns[name][place]) is not None}
        found = bytes.fromhex(digest(held))
        labels = {path: _plain(chunk.columns[path][place]) for path in declared}
        rows[place] = (
            int.from_bytes(found[:8], "big"), int.from_bytes(found[8:], "big"), _label_digest(declared, labels),
            0, 0, chunk.rows[place], 1, _short(_shown(labels), TEXT),
            b"" if keys is None else _short(keys[place], KEY),
        )  # fmt: skip
    return rows


def _label_digest(declared: Mapping[str, Label], labels: Mapping[str, Any]) -> int:
    """By values, whatever their widths; of a record that is declared to have no label, ``NO_LABEL``."""
    for path, label in declared.items():
        if isinstance(label, ClassLabel) and label.unlabeled is not None and labels[path] == label.unlabeled:
            return NO_LABEL
    return int(digest(dict(labels))[:16], 16)


def _shown(labels: Mapping[str, Any]) -> str:
    texts: list[str] = []
    for path, value in labels.items():
        try:
            texts.append(f"{path}: {json.dumps(encode(value))}")
        except NotEncodableError:
            texts.append(f"{path}: a {type(value).__name__}")
    return ", ".join(texts)


def _short(value: Any, size: int) -> bytes:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return terminal(text).encode("ascii", "backslashreplace")[:size]


def _plain(value: Any) -> Any:
    return cast("DigestRows", value).tolist() if isinstance(value, np.ndarray | np.generic) else value
