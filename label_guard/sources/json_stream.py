"""JSON read value by value, so that a file of gigabytes takes the memory of its largest element."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from label_guard.core.strict_json import unique_pairs
from label_guard.sources.jsonl import MAX_LINE_BYTES

_NUMBER_REST = 3  # characters by which a number that raw_decode left unfinished goes on, where it does
_BLOCK = 1 << 18
_SPACE = " \t\n\r"
_DECODER = json.JSONDecoder(object_pairs_hook=unique_pairs)


class JsonStream:
    """A JSON text under a cursor.

    Every method raises ``ValueError`` where the text is not JSON, ends too early, or has an element beyond 32 MiB.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._start = self._place = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is not space, which is not consumed; empty at the end."""
        while True:
            while self._start < len(self._text):
                if self._text[self._start] not in _SPACE:
                    return self._text[self._start]
                self._start += 1
            if not self._more():
                return ""

    def value(self) -> Any:
        """The value under the cursor, as a whole."""
        self.peek()
        while True:
            fault: ValueError | None = None
            try:
                found, end = _DECODER.raw_decode(self._text, self._start)
            except RecursionError:
                raise ValueError(f"nested too deeply at character {self._place + self._start:,}") from None
            except ValueError as error:
                fault = error
            else:
                # A number may go on behind the text that was read, or was cut off there: 0 of 0.5, of 0e1 and of 0e-1.
                rest = self._text[end : end + _NUMBER_REST]
                goes_on = rest[:1] in (".", "e", "E")
                if rest and not goes_on:
                    self._start = end
                    return found
                if len(rest) == _NUMBER_REST:
                    raise ValueError(f"expected ',' but found {rest[0]!r} at character {self._place + end:,}")
            if len(self._text) - self._start > MAX_LINE_BYTES:
                raise ValueError(f"the element at character {self._place + self._start:,} is longer than 32 MiB")
            if not self._more(max(_BLOCK, len(self._text) - self._start)):
                message = getattr(fault, "msg", str(fault)) if fault is not None else "the text ends too early"
                raise ValueError(f"{message} at character {self._place + getattr(fault, 'pos', self._start):,}")

    def elements(self) -> Iterator[None]:
        """Stops at each element of the array under the cursor; the caller consumes it with ``value``."""
        yield from self._list("[", "]")

    def members(self) -> Iterator[str]:
        """The keys of the object under the cursor; after each the caller consumes its value."""
        for _ in self._list("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"a key is not text at character {self._place + self._start:,}")
            self.step(":")
            yield key

    def skip_member(self) -> int | None:
        """Steps over a value inside an object; returns the number of elements of an array, None of anything else."""
        if self.peek() != "[":
            self.value()
            return None
        count = 0
        for _ in self.elements():
            self.value()
            count += 1
        return count

    def finish(self) -> None:
        """Checks that nothing follows."""
        if self.peek():
            raise ValueError(f"more than one value, at character {self._place + self._start:,}")

    def _list(self, first: str, last: str) -> Iterator[None]:
        self.step(first)
        if self.peek() == last:
            self._start += 1
            return
        while True:
            yield
            if self.peek() == last:
                self._start += 1
                return
            self.step(",")

    def step(self, sign: str) -> None:
        """Steps over the character ``sign``."""
        if self.peek() != sign:
            found = repr(self.peek()) if self.peek() else "the end"
            raise ValueError(f"expected {sign!r} but found {found} at character {self._place + self._start:,}")
        self._start += 1

    def _more(self, size: int = _BLOCK) -> bool:
        if self._ended:
            return False
        data = self._file.read(size)
        self._ended = not data
        more = self._decoder.decode(data, final=not data)
        self._text = self._text[self._start :] + more
        self._place += self._start
        self._start = 0
        return True
