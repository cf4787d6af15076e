"""Legal values proved by the footer of a Parquet file, without reading its rows (``--trust-statistics``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.errors import UsageError
from label_guard.schema.labels import ClassLabel, Label
from label_guard.sources.base import Shard
from label_guard.sources.parquet import GroupStatistics, column_statistics
from label_guard.sources.source import Source


def require_statistics(source: Source) -> None:
    """Refuses a source whose files keep no statistics.

    Raises:
        UsageError: it is not Parquet.
    """
    if source.format.name != "parquet":
        raise UsageError(f"--trust-statistics reads Parquet footers; {source.uri} has none")


def certify(shard: Shard, labels: Mapping[str, Label]) -> dict[str, LabelStatistics] | None:
    """What the footer proves of one file; None where a row could be illegal, so that it must be read.

    Proven legal is a column of a declared integer dtype without nulls whose least and greatest value of every row group
    lie within ids that have no gap. Sentinels and gaps lie where a range proves nothing.

    Args:
        shard: a Parquet file.
        labels: the resolved labels of its split.

    Raises:
        SourceError: the file cannot be read, or lacks a label.
    """
    found: dict[str, LabelStatistics] = {}
    for path, label in labels.items():
        groups = column_statistics(shard.path, path)
        known = [group for group in groups if group is not None]
        if len(known) < len(groups) or not known or not all(_is_legal(label, group) for group in known):
            return None
        found[path] = _statistics(known)
    return found


def _is_legal(label: Label, group: GroupStatistics) -> bool:
    if not isinstance(label, ClassLabel) or label.rank or group.null_count or group.dtype not in label.stored_dtypes:
        return False
    ids = label.raw_ids
    low, high = min(ids), max(ids)
    return high - low + 1 == len(set(ids)) and low <= group.minimum and group.maximum <= high


def _statistics(groups: Sequence[GroupStatistics]) -> LabelStatistics:
    rows = sum(group.rows for group in groups)
    return LabelStatistics(
        records=rows,
        low=min(group.minimum for group in groups),
        high=max(group.maximum for group in groups),
        dtypes=Counter({groups[0].dtype: rows}),
        shapes={"[]": rows},
    )
