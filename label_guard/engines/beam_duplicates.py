# pyright: basic
"""Records of the same content on Beam: digests grouped by key; the same as the search on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsList, AsSingleton, TaggedOutput

from label_guard.audit.content import content_features, digest_shard, fields_of, record_prefix
from label_guard.audit.duplicates import ROW, DigestRows, FoundGroups, reported_places, thinned
from label_guard.audit.plan import NumberedItem
from label_guard.audit.shard import SplitJob
from label_guard.errors import LabelGuardError, MissingDependencyError, UsageError, unexpected

_DIGEST = 16  # bytes of a row: its first fields are the digest
_HELD = 64  # records of one content, before those that say nothing more are only counted


class Merging(beam.CombineFn):
    """Merges elements, in place where ``merge`` does.

    Args:
        create: makes the unit, which changes nothing that is merged with it.
        merge: returns its first argument with the second added to it.
    """

    def __init__(self, create: Callable[[], Any], merge: Callable[[Any, Any], Any]) -> None:
        self._create = create
        self._merge = merge

    def create_accumulator(self) -> Any:
        return self._create()

    def add_input(self, mutable_accumulator: Any, element: Any) -> Any:
        return self._merge(mutable_accumulator, element)

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return reduce(self._merge, accumulators, self._create())

    def extract_output(self, accumulator: Any) -> Any:
        return accumulator


class FindDuplicates(beam.PTransform):
    """Finds records of the same content among the items of a plan, each with its number; yields one ``Duplicates``.

    An element is the digest of a record, and about 200 bytes of what a report says of it. A worker that reads records
    and one that compares them share no disk. Of one content that fills a dataset a handful of records is held.

    Args:
        jobs: those of the plan.
    """

    def __init__(self, jobs: Sequence[SplitJob]) -> None:
        super().__init__()
        self._jobs = tuple(jobs)

    def expand(self, input_or_inputs: Any) -> Any:
        """Items to what was found."""
        content = (
            input_or_inputs
            | beam.Values()
            | "Fields" >> beam.Map(partial(fields_of, self._jobs))
            | "Features" >> beam.CombineGlobally(Merging(frozenset, frozenset.union))
            | beam.Map(partial(content_features, self._jobs))
        )
        digests = input_or_inputs | "Digest" >> beam.FlatMap(_digested, self._jobs, AsSingleton(content)).with_outputs(
            "unread", main="records"
        )
        splits = [job.split or "" for job in self._jobs]
        return (
            digests.records
            | "Group" >> beam.CombinePerKey(Merging(list, _merge_records))
            | "Compare" >> beam.FlatMap(_groups, splits)
            | "Count" >> beam.CombineGlobally(Merging(partial(FoundGroups, splits), FoundGroups.merge))
            | "Found" >> beam.Map(FoundGroups.result, AsList(digests.unread))
        )


def _digested(numbered: NumberedItem, jobs: Sequence[SplitJob], content: tuple[str, ...]) -> Iterator[Any]:
    """The digest of each record with what a report says of it; and why a file could not be read to its end."""
    number, (split, shard) = numbered
    prefix = record_prefix(jobs[split], shard).encode()
    try:
        for rows in digest_shard(jobs, split, number, shard, content):
            for row in thinned(rows):
                data = row.tobytes()
                yield data[:_DIGEST], [data + prefix]
    except (UsageError, MissingDependencyError):
        raise
    except Exception as error:
        why = str(error) if isinstance(error, LabelGuardError) else unexpected(error)
        yield TaggedOutput("unread", (jobs[split].split or "", shard.name, why))


def _merge_records(records: list[bytes], others: list[bytes]) -> list[bytes]:
    """The records of one content, as many as decide what a report says of it."""
    records += others
    return records if len(records) < _HELD else _condensed(records)


def _rows(records: Sequence[bytes]) -> DigestRows:
    return np.frombuffer(b"".join(record[: ROW.itemsize] for record in records), ROW).copy()


def _condensed(records: Sequence[bytes]) -> list[bytes]:
    rows = _rows(records)
    order = np.lexsort((rows["row"], rows["shard"]))
    group = rows[order]
    places = reported_places(group)
    kept = group[places]
    kept["count"][-1] += rows["count"].sum() - kept["count"].sum()
    prefixes = [records[order[place]][ROW.itemsize :] for place in places]
    return [row.tobytes() + prefix for row, prefix in zip(kept, prefixes, strict=True)]


def _groups(content: tuple[bytes, list[bytes]], splits: Sequence[str]) -> Iterator[FoundGroups]:
    """A content of more than one record, by what is wrong with it."""
    records = content[1]
    if len(records) > 1:
        rows = _rows(records)
        prefixes = {
            int(number): record[ROW.itemsize :].decode() for number, record in zip(rows["shard"], records, strict=True)
        }
        found = FoundGroups(splits)
        found.add(rows[np.lexsort((rows["row"], rows["shard"]))], prefixes)
        yield found
