"""Reads ahead in a thread, so that one process reads and unpacks while it checks."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from label_guard.sources.base import CHUNK_BYTES, Chunk, Shard
from label_guard.sources.files import is_remote
from label_guard.sources.source import Source

_BY_ARROW = ("parquet", "arrow")  # formats whose reader lets other threads run
T = TypeVar("T")
# A read that hangs is left behind after that: it must not keep Ctrl-C from ending the process.
_END_SECONDS = 3.0
_KEPT_BYTES = 4 * CHUNK_BYTES


def read_chunks(source: Source, shard: Shard) -> Iterator[Chunk]:
    """As ``source.read``, ahead in a thread where that saves time; it does not for text in local files.

    Raises:
        SourceError: as ``source.read``.
    """
    keep_freed_memory()
    chunks = source.read(shard)
    return read_ahead(chunks) if is_remote(shard.path) or source.format.name in _BY_ARROW else chunks


@cache
def keep_freed_memory() -> None:
    """Has the C library keep the memory of freed chunks: to take it from the system again costs more than to read.

    glibc returns the end of its heap to the system where it is larger than twice the largest block that was ever
    freed. So one larger block is made and freed, once in a process; nothing is written to it. At most twice its size is
    kept. With another C library this does nothing.
    """
    bytes(_KEPT_BYTES)


def read_ahead(items: Iterator[T]) -> Generator[T]:
    """Yields ``items``, of which a thread makes the next one while the caller works on the last one.

    It helps where making an item waits, or lets other threads run: a file system over a network, Arrow. One item is
    made ahead and no more. An error of ``items`` is raised after what precedes it. Where the caller stops early,
    ``items`` is closed in the thread, and with it its files.

    Args:
        items: an iterator that nobody else uses from now on.
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()  # None: the end
    thread = Thread(target=_make, args=(items, wanted, made), name="label-guard-read-ahead", daemon=True)
    thread.start()
    try:
        wanted.put(True)
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            wanted.put(True)
            yield item[0]
    finally:
        wanted.put(False)
        thread.join(_END_SECONDS)


def _make(items: Iterator[T], wanted: SimpleQueue[bool], made: SimpleQueue[tuple[T] | BaseException | None]) -> None:
    while wanted.get():
        try:
            made.put((next(items),))
        except StopIteration:
            made.put(None)
        except BaseException as error:
            made.put(error)
    if isinstance(items, Generator):
        items.close()
