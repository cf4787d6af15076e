"""Text files in blocks of whole lines, so that what is plain can be read a block at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, cast

from typing_extensions import override

_BLOCK = 1 << 20  # larger ones do not fit into the cache of a processor
_STEP = 1 << 16


class LineBlocks:
    """The bytes of a file in blocks that end behind a newline; what precedes a fault comes before it is raised.

    The last block may end without a newline. So does one with a line of more than ``longest`` bytes, of which the rest
    is left in the file; it is the last one too.

    Args:
        file: the file.
        longest: bytes of a line that are kept.
    """

    def __init__(self, file: IO[bytes], longest: int) -> None:
        self._file = file
        self._longest = longest
        self._held = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        read = getattr(self._file, "read1", self._file.read)  # read() would lose what precedes a fault
        held = self._held
        while True:
            try:
                data = read(min(_STEP, _BLOCK))
            except Exception:
                if stop := held.rfind(b"\n") + 1:
                    yield self._taken(stop)
                raise
            held += data
            if not data:
                if held:
                    yield self._taken(len(held))
                return
            if len(held) >= _BLOCK:
                stop = held.rfind(b"\n", len(held) - len(data)) + 1
                if stop:
                    yield self._taken(stop)
                elif len(held) > self._longest:
                    yield self._taken(len(held))
                    return

    def _taken(self, stop: int) -> bytes:
        block = bytes(self._held[:stop])
        del self._held[:stop]
        return block

    def rest(self, block: bytes) -> IO[bytes]:
        """Returns a file that holds ``block``, the last one that was taken, and everything behind it."""
        return cast("IO[bytes]", io.BufferedReader(_Joined(block + bytes(self._held), self._file)))


class _Joined(io.RawIOBase):
    def __init__(self, block: bytes, file: IO[bytes]) -> None:
        self._parts = [io.BytesIO(block), file]

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        while self._parts:
            part: Any = self._parts[0]
            data = getattr(part, "read1", part.read)(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            del self._parts[0]
        return 0
