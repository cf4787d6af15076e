"""An audit of objects in a store: what it asks for."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from label_guard import audit_dataset
from tests.schemas import one_label

CALLS: Counter[str] = Counter()
SCHEMA = one_label("label", 10)


class CountingStore(MemoryFileSystem):
    """An object store in memory that counts requests."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("s3://"))

    def info(self, path: str, **options: Any) -> Any:
        """Counts requests for metadata."""
        CALLS["info"] += 1
        return super().info(path, **options)

    def isfile(self, path: str) -> bool:
        """Not counted: before 2025 fsspec's store in memory asks for it whenever a file is opened."""
        return path in self.store


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> CountingStore:
    """The store, under s3://."""
    monkeypatch.setitem(_registry, "s3", CountingStore)
    return CountingStore()


def test_requests_for_metadata_do_not_grow_with_the_objects(store: CountingStore) -> None:
    """Sizes come from the one listing; the report has their sum."""
    asked: list[int] = []
    for count in (10, 40):
        for number in range(count):
            store.pipe_file(f"/data/of-{count}/{number:05}.csv", b"label\n1\n2\n")
        CALLS.clear()
        report = audit_dataset(SCHEMA, source=f"csv:s3://data/of-{count}/*.csv")
        assert (report.splits[0].records, report.splits[0].source.bytes) == (2 * count, 10 * count)
        asked.append(CALLS["info"])
    assert asked[1] <= asked[0] + 2
