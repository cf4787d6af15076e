"""A quarantine as a source of its records, for a pipeline that reads them again."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Sequence
from typing import Any

from label_guard.core.log import logger
from label_guard.core.plural import counted
from label_guard.core.similar import listed
from label_guard.core.strict_json import to_json
from label_guard.errors import UsageError
from label_guard.quarantine.line import QuarantineEntry
from label_guard.quarantine.reader import read_quarantine
from label_guard.schema.split_spec import split_bases


class ReplaySource:
    """A random-access source of quarantined records. Made by ``replay``.

    Attributes:
        entries: the entry of each record, in order.
        url: the folder.
    """

    def __init__(self, entries: Sequence[QuarantineEntry], url: str) -> None:
        self.entries = tuple(entries)
        self.url = url
        # Positions are unique within just these records: another quarantine is another source.
        identities = to_json([entry.identity for entry in self.entries])
        self.source_id = f"replay-{hashlib.sha256(identities).hexdigest()[:16]}"

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, position: Any) -> dict[str, Any]:
        return self.entries[operator.index(position)].payload

    def record_key(self, position: int) -> str:
        """The record's key in its first source; the digest of its content where it had none."""
        return self.entries[position].name

    def __repr__(self) -> str:
        return f"ReplaySource({counted(len(self), 'record')}, {self.source_id})"


def replay(url: str | os.PathLike[str], *, split: str | None = None, dataset: str | None = None) -> ReplaySource:
    """The records of a quarantine, each once with its newest labels, as a source.

    Elements are dicts of leaves by path, with their exact types: nested features come as ``objects/label``. They are
    what reached the guard, after any augmentation before it. Wrap the source in ``keyed`` to keep the names.

    Args:
        url: the folder.
        split: only records of this split; ``train`` includes ``train[:90%]``.
        dataset: only records of the dataset (the schema) of this name; needed where a folder holds several.

    Returns:
        A source of the records that are kept whole; how many are not is logged as a warning, and so is a ``split`` or
        ``dataset`` of which the folder holds none.

    Raises:
        QuarantineError: the folder does not exist, or cannot be listed.
        UsageError: ``split`` is malformed, or records of several datasets are there and ``dataset`` is not given.
    """
    if split is not None:
        split_bases(split)
    contents = read_quarantine(url)
    newest = [group[0] for group in contents.records if split is None or is_split(group[0].split, split)]
    newest = [entry for entry in newest if dataset is None or entry.dataset == dataset]
    if contents.records and not newest:
        asked = " and ".join(f"{word} {name!r}" for word, name in (("dataset", dataset), ("split", split)) if name)
        held = listed(sorted({f"{entry.dataset} ({entry.split or 'no split'})" for entry in contents.entries}))
        logger.warning("replay of %s: none of its records is of %s; they are of %s", contents.url, asked, held)
    names = sorted({entry.dataset for entry in newest})
    if len(names) > 1:
        raise UsageError(
            f"{contents.url} holds records of the datasets {listed(names)}; pass dataset= for those of one"
        )
    whole = [entry for entry in newest if entry.payload_kind == "full"]
    left_out = len(newest) - len(whole)
    if left_out or contents.problems:
        logger.warning(
            "replay of %s: %d of %d records are not kept whole and left out; %d damaged lines were skipped",
            contents.url, left_out, len(newest), contents.num_problems,
        )  # fmt: skip
    return ReplaySource(whole, contents.url)


def is_split(split: str | None, asked: str) -> bool:
    """Whether a record of split ``split`` (``train[:90%]``) belongs to the split ``asked`` (``train``)."""
    return split is not None and (split == asked or split.partition("[")[0] == asked)


def may_be_of(split: str | None, asked: str) -> bool:
    """Whether a record of ``split`` (None, ``train+test``) may be one of ``asked`` (``train``, ``train[:9]``)."""
    return split is None or not _bases(split).isdisjoint(_bases(asked))


def _bases(split: str) -> set[str]:
    """As ``split_bases``, of text that a line of a quarantine holds: whatever it is."""
    return {term.partition("[")[0].strip() for term in split.split("+")}
