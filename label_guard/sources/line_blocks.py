"""Text files in blocks of whole lines, so that what is plain can be read a block at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from typing_extensions import override

_BLOCK = 1 << 20  # larger ones do not fit into the cache of a processor


class LineBlocks:
    """The bytes of a file in blocks that end behind a newline; what precedes a fault comes before it is raised.

    The last block may end without a newline. So does one with a line of more than ``longest`` bytes, of which the rest
    is left in the file; it is the last one too.

    Args:
        file: the file.
        longest: bytes of a line that are kept.
    """

    def __init__(self, file: IO[bytes], longest: int) -> None:
        self._read_some = getattr(file, "read1", file.read)  # read() would lose what precedes a fault
        self._fault: Exception | None = None
        self._longest = longest
        self._parts: list[bytes] = []  # what was read and not yet yielded

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        while True:
            try:
                data = self._read(_BLOCK)
            except Exception:
                held = b"".join(self._parts)
                stop = held.rfind(b"\n") + 1
                self._parts = [held[stop:]]
                if stop:
                    yield held[:stop]
                raise
            self._parts.append(data)
            size += len(data)
            if not data:
                if size:
                    yield self._taken(0)
                return
            if size >= _BLOCK:
                stop = data.rfind(b"\n") + 1
                if stop:
                    yield self._taken(stop)
                    size = len(data) - stop
                elif size > self._longest:
                    yield self._taken(len(data))
                    return

    def _read(self, size: int) -> bytes:
        """Reads, and raises a fault again on each call: gzip takes a header that is cut for the end on the next one."""
        if self._fault is not None:
            raise self._fault
        try:
            return self._read_some(size)
        except Exception as fault:
            self._fault = fault
            raise

    def _taken(self, stop: int) -> bytes:
        """Everything up to ``stop`` in the last part, which is copied once."""
        last = self._parts.pop()
        block = b"".join((*self._parts, memoryview(last)[:stop]))
        self._parts = [last[stop:]]
        return block

    def rest(self, block: bytes) -> IO[bytes]:
        """Returns a file that holds ``block``, the last one that was taken, and everything behind it."""
        return cast("IO[bytes]", io.BufferedReader(_Joined(b"".join((block, *self._parts)), self._read)))


class _Joined(io.RawIOBase):
    def __init__(self, block: bytes, read: Callable[[int], bytes]) -> None:
        self._reads = [io.BytesIO(block).read, read]

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        while self._reads:
            data = self._reads[0](len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            del self._reads[0]
        return 0
