"""Runs one function over many shards: in this process, in worker processes, or on an executor.

Each worker process has a pipe of its own to this process, and they share no lock, queue or flag that a killed
process could keep. Workers send record counts and results; this process sends tasks and the word to stop.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import Any, Generic, TypeVar

from label_guard.errors import LabelGuardError, MissingDependencyError, UsageError, unexpected

T = TypeVar("T")
R = TypeVar("R")
Work = Callable[[T, Callable[[int], bool]], R]
POLL_SECONDS = 0.2
STOP_SECONDS = 3.0  # a worker that has not answered so long after the word to stop is killed
_END_SECONDS = 1.0
_MAX_FAILED_STARTS = 3
_WINDOW = 256  # tasks handed to an executor at a time: a million futures would fill the memory
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_DIED = "the process that read it died; the system kills a process that takes too much memory"
_NO_ANSWER = f"its process did not answer within {STOP_SECONDS:g} s after the audit was stopped, and was killed"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit has come.

    Attributes:
        records: records read so far.
        shards_done: shards read.
        shards: shards in all.
        promised: records that the schema or the metadata promise in all, or None.
        task: number of a shard that is being read, the first of several; None where none is, or an executor reads.
        reading: its name, empty where ``task`` is None.
    """

    records: int
    shards_done: int
    shards: int
    promised: int | None = None
    task: int | None = None
    reading: str = ""

    @property
    def expected(self) -> int | None:
        """An estimate of all records, from the promise or from the shards read; None before there is either."""
        if self.promised is not None:
            return max(self.promised, self.records)
        return self.records * self.shards // self.shards_done if self.shards_done else None


@dataclass(frozen=True, slots=True)
class AuditControl:
    """How a running audit reports its progress, and how it is stopped.

    Attributes:
        progress: called a few times a second with how far the audit has come.
        should_stop: called as often; once it returns True the audit ends, and its report is incomplete.
    """

    progress: Callable[[Progress], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


def run_shards(
    tasks: Sequence[T],
    work: Work[T, R],
    *,
    workers: int = 0,
    executor: Executor | None = None,
    control: AuditControl = AuditControl(),
) -> Generator[tuple[T, R | str]]:
    """Yields every task with its result, in the order they end. After a stop, tasks not begun are left out.

    Close the generator (``contextlib.closing``) where it may be left early: that ends the worker processes.

    Args:
        tasks: what to do; picklable for workers and executors.
        work: does one task; is called with the task and a function that takes the number of records of a chunk and
            returns whether to go on. Pickled once for each worker process.
        workers: worker processes; 0: none.
        executor: any ``concurrent.futures.Executor``, in place of worker processes.
        control: progress and stop.

    Yields:
        The task and its result, or a text that says why there is none: its process died, or ``work`` raised.

    Raises:
        UsageError: ``work`` raised it, or worker processes cannot start.
        MissingDependencyError: ``work`` raised it.
    """
    if executor is not None:
        yield from _run_on_executor(tasks, work, executor, control)
    elif workers < 1 or len(tasks) < 2:
        yield from _run_here(tasks, work, control)
    else:
        yield from _Pool(tasks, work, min(workers, len(tasks)), control).run()


def _attempt(work: Work[T, R], task: T, go_on: Callable[[int], bool]) -> R | str | LabelGuardError:
    """The result of ``work``; why there is none; or an error that ends the whole run."""
    try:
        return work(task, go_on)
    except (UsageError, MissingDependencyError) as error:
        return error
    except LabelGuardError as error:
        return str(error)
    except Exception as error:
        return unexpected(error)


def _result(outcome: R | str | LabelGuardError) -> R | str:
    if isinstance(outcome, LabelGuardError):
        raise outcome
    return outcome


def _run_here(tasks: Sequence[T], work: Work[T, R], control: AuditControl) -> Iterator[tuple[T, R | str]]:
    records = 0
    for done, task in enumerate(tasks):
        if control.should_stop():
            return

        def go_on(count: int, done: int = done) -> bool:
            """Reports ``count`` more records of this task; returns whether to continue."""
            nonlocal records
            records += count
            control.progress(Progress(records, done, len(tasks), task=done))
            return not control.should_stop()

        yield task, _result(_attempt(work, task, go_on))
        control.progress(Progress(records, done + 1, len(tasks)))


# On an executor -------------------------------------------------------------------------------------------------------


def _attempt_there(work: Work[T, R], task: T, call: str) -> tuple[R | str | LabelGuardError, int]:
    del call  # Dask answers a call with what came of an equal one, also if that one was lost or the file has changed
    records = 0

    def go_on(count: int) -> bool:
        nonlocal records
        records += count
        return True

    return _attempt(work, task, go_on), records


def _submit(executor: Executor, work: Work[T, R], task: T) -> Future[tuple[R | str | LabelGuardError, int]]:
    try:
        return executor.submit(_attempt_there, work, task, uuid.uuid4().hex)
    except Exception as error:  # a pool of processes refuses every task once it has lost a process
        refused: Future[tuple[R | str | LabelGuardError, int]] = Future()
        refused.set_exception(error)
        return refused


def _run_on_executor(
    tasks: Sequence[T], work: Work[T, R], executor: Executor, control: AuditControl
) -> Iterator[tuple[T, R | str]]:
    """Runs a task that the executor lost once more, alone: Dask also gives up tasks that shared the lost worker."""
    waiting, again = deque(range(len(tasks))), deque[int]()
    lost: set[int] = set()
    running: dict[Future[tuple[R | str | LabelGuardError, int]], int] = {}
    records = done = 0
    while waiting or again or running:
        if stopped := control.should_stop():
            waiting.clear()
            again.clear()
            running = {future: number for future, number in running.items() if not future.cancel()}
        while (waiting and len(running) < _WINDOW) or (again and not running):
            number = waiting.popleft() if waiting else again.popleft()
            running[_submit(executor, work, tasks[number])] = number
        finished, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
        for future in finished:
            number = running.pop(future)
            try:
                outcome, count = future.result()
            except Exception as error:  # an executor raises what it likes for a worker that it lost
                if number not in lost and not stopped:
                    lost.add(number)
                    again.append(number)
                    continue
                outcome, count = f"the executor could not run it: {type(error).__name__}: {error}", 0
            records, done = records + count, done + 1
            yield tasks[number], _result(outcome)
        control.progress(Progress(records, done, len(tasks)))


# In worker processes --------------------------------------------------------------------------------------------------


def _serve(pipe: connection.Connection, work: Work[Any, Any]) -> None:
    """Does the tasks that come through ``pipe``, in a worker process.

    It sends None once it has started, the number of records of each chunk, and a tuple of what came of the task.
    """
    for number in _SIGNALS:  # these reach the whole process group; the parent decides what they mean
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def go_on(count: int) -> bool:
        pipe.send(count)
        return not pipe.poll()  # while a task runs, all that the parent sends is the word to stop

    with suppress(EOFError, OSError):  # the pipe: this process has no parent any more
        pipe.send(None)
        while (task := pipe.recv()) is not None:
            pipe.send((_attempt(work, task[0], go_on),))


def _end_with_parent() -> None:
    """Ends this process as soon as its parent has, also in the middle of a read."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(2)


class _Worker:
    """A worker process, the pipe to it, and the number of the task that it has."""

    def __init__(self, work: Work[Any, Any]) -> None:
        # Spawned, not forked: frameworks with threads (gRPC, XLA) do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work))
        self.task: int | None = None
        self.ready = False
        with _signals_held():
            self.process.start()
        theirs.close()

    @property
    def dead(self) -> bool:
        """Whether the process has ended and everything that it sent was received."""
        return not self.process.is_alive() and not self.pipe.poll()

    def send(self, message: Any) -> None:
        """Sends to a worker that may be dead, which is seen later."""
        with suppress(OSError):
            self.pipe.send(message)

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class _Pool(Generic[T, R]):
    """Worker processes, each with one task at a time.

    A task whose process died is tried once more when all others are done, so that it has the memory for itself.
    """

    def __init__(self, tasks: Sequence[T], work: Work[T, R], size: int, control: AuditControl) -> None:
        self._tasks = tasks
        self._work = work
        self._size = size
        self._control = control
        self._waiting = deque(range(len(tasks)))
        self._again: deque[int] = deque()
        self._failed: set[int] = set()
        self._workers: list[_Worker] = []
        self._records = self._done = self._failed_starts = 0
        self._stopped = False

    def run(self) -> Iterator[tuple[T, R | str]]:
        """Yields every task with its result."""
        kill_at = math.inf
        try:
            while self._waiting or self._again or self._busy():
                if not self._stopped and self._control.should_stop():
                    kill_at = time.monotonic() + STOP_SECONDS
                    self._stopped = True
                    self._waiting.clear()
                    self._again.clear()
                    self._send_to_all(None)
                self._hand_out()
                yield from self._receive()
                reading = min(self._busy(), default=None)
                self._control.progress(Progress(self._records, self._done, len(self._tasks), task=reading))
                if time.monotonic() > kill_at:
                    yield from [(self._tasks[number], _NO_ANSWER) for number in self._busy()]
                    return
            self._end()
        finally:
            for worker in self._workers:
                worker.kill()

    def _end(self) -> None:
        """Lets idle workers end by themselves, so that what their task started is ended too."""
        self._send_to_all(None)
        until = time.monotonic() + _END_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))

    def _busy(self) -> list[int]:
        return [worker.task for worker in self._workers if worker.task is not None]

    def _send_to_all(self, message: Any) -> None:
        for worker in self._workers:
            worker.send(message)

    def _hand_out(self) -> None:
        """Gives tasks to idle workers, and starts those that are missing."""
        idle = [worker for worker in self._workers if worker.task is None]
        while self._waiting and (idle or len(self._workers) < self._size):
            self._give(self._waiting.popleft(), idle)
        if self._again and not self._busy():
            self._give(self._again.popleft(), idle)

    def _give(self, number: int, idle: list[_Worker]) -> None:
        if idle:
            worker = idle.pop()
        else:
            worker = _Worker(self._work)
            self._workers.append(worker)
        worker.task = number
        worker.send((self._tasks[number],))

    def _receive(self) -> Iterator[tuple[T, R | str]]:
        """Yields what came within ``POLL_SECONDS``; replaces workers that died."""
        ready = connection.wait([worker.pipe for worker in self._workers], POLL_SECONDS)
        for worker in list(self._workers):
            if worker.pipe in ready:
                try:
                    yield from self._take(worker, worker.pipe.recv())
                    continue
                except (EOFError, OSError, pickle.UnpicklingError):  # died, maybe in the middle of a message
                    worker.process.kill()
                    yield from self._lose(worker)
            elif worker.dead:
                yield from self._lose(worker)

    def _take(self, worker: _Worker, message: int | tuple[Any] | None) -> Iterator[tuple[T, R | str]]:
        if message is None:
            worker.ready, self._failed_starts = True, 0
        elif isinstance(message, tuple):
            number, worker.task = worker.task, None
            self._done += 1
            if number is not None:
                yield self._tasks[number], _result(message[0])
        else:
            self._records += message

    def _lose(self, worker: _Worker) -> Iterator[tuple[T, R | str]]:
        self._workers.remove(worker)
        worker.kill()
        self._failed_starts += not worker.ready
        if self._failed_starts > _MAX_FAILED_STARTS:
            raise UsageError(
                f"worker processes end before they start (exit code {worker.process.exitcode}); in a script, call this "
                'under: if __name__ == "__main__":'
            )
        number = worker.task
        if number is None:
            return
        if self._stopped or number in self._failed:
            self._done += 1
            yield self._tasks[number], _DIED
        elif worker.ready:
            self._failed.add(number)
            self._again.append(number)
        else:
            self._waiting.appendleft(number)


@contextmanager
def _signals_held() -> Generator[None]:
    """Holds signals back: a process started here inherits that, and shows no traceback while it still imports."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it, which the first worker would, lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # one that came meanwhile arrives now
