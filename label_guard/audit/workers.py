"""Shards spread over processes: progress while they run, a way to stop, and processes that die."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Audit = Callable[[T, Callable[[int], bool]], R]
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit has come.

    Attributes:
        records: records read so far.
        shards_done: shards read.
        shards: shards in all.
        promised: records that the schema or the metadata promise in all, or None.
    """

    records: int
    shards_done: int
    shards: int
    promised: int | None = None

    @property
    def expected(self) -> int | None:
        """How many records there may be in all, shards being of about one size; None where nothing tells yet."""
        if self.promised is not None:
            return max(self.promised, self.records)
        return self.records * self.shards // self.shards_done if self.shards_done else None


def run_shards(
    tasks: Sequence[T],
    audit: Audit[T, R],
    workers: int,
    on_progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> Iterator[tuple[T, R | str]]:
    """Every task with its result, in the order they end; those not begun are left out once ``stop`` says True.

    Args:
        tasks: what to do; picklable where there are workers.
        audit: does one; is given a callable that takes the records of a chunk and says whether to go on.
        workers: processes beside this one; 0: none.
        on_progress: told how far it has come.
        stop: asked between chunks, and a few times a second.

    A task whose process died, most often for want of memory, has words for a result.
    """
    stop, on_progress = stop or (lambda: False), on_progress or (lambda _: None)
    if workers < 1 or len(tasks) < 2:
        yield from _run_here(tasks, audit, on_progress, stop)
    else:
        yield from _run_there(tasks, audit, min(workers, len(tasks)), on_progress, stop)


def _run_here(
    tasks: Sequence[T], audit: Audit[T, R], on_progress: Callable[[Progress], None], stop: Callable[[], bool]
) -> Iterator[tuple[T, R]]:
    records = 0
    for done, task in enumerate(tasks):
        if stop():
            return

        def go_on(count: int, done: int = done) -> bool:
            nonlocal records
            records += count
            on_progress(Progress(records, done, len(tasks)))
            return not stop()

        yield task, audit(task, go_on)
        on_progress(Progress(records, done + 1, len(tasks)))


# In a worker process: the counter and the flag it shares with its parent. Globals are the one way into a pool.
_records: Any = None
_stopped: Any = None


def _start(records: Any, stopped: Any) -> None:
    global _records, _stopped
    _records, _stopped = records, stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides


def _audit_there(audit: Audit[T, R], task: T) -> R:
    def go_on(count: int) -> bool:
        with _records.get_lock():
            _records.value += count
        return not _stopped.is_set()

    return audit(task, go_on)


def _run_there(
    tasks: Sequence[T],
    audit: Audit[T, R],
    workers: int,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Iterator[tuple[T, R | str]]:
    # Spawned, not forked: frameworks with threads (gRPC, XLA) do not survive a fork.
    context = multiprocessing.get_context("spawn")
    shared = (context.Value("q", 0), context.Event())
    orphans: list[T] = []
    with ProcessPoolExecutor(workers, context, _start, shared) as pool:
        with _interrupts_held():
            futures = {pool.submit(_audit_there, audit, task): task for task in tasks}
        for future in _as_completed(futures, shared, on_progress, stop):
            try:
                result: R = future.result()
            except BrokenProcessPool:
                orphans.append(futures[future])
                continue
            yield futures[future], result
    for task in orphans:  # one of them killed its process and took the others along: each alone will tell
        if not stop():
            yield task, _alone(audit, task, context, shared)


@contextmanager
def _interrupts_held() -> Generator[None]:
    """Processes started here inherit a mask that holds Ctrl-C back: one that still imports would show a traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # one that came meanwhile arrives now


def _as_completed(
    futures: dict[Future[R], T],
    shared: tuple[Any, Any],
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Iterator[Future[R]]:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
        yield from finished
        on_progress(Progress(shared[0].value, len(futures) - len(pending), len(futures)))
        if stop() and not shared[1].is_set():
            shared[1].set()
            pending = {future for future in pending if not future.cancel()}


def _alone(audit: Audit[T, R], task: T, context: Any, shared: tuple[Any, Any]) -> R | str:
    with ProcessPoolExecutor(1, context, _start, shared) as pool:
        with _interrupts_held():
            future = pool.submit(_audit_there, audit, task)
        try:
            return future.result()
        except BrokenProcessPool:
            return "the process that read it died, which the system does to one that takes too much memory"
