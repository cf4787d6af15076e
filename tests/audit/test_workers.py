"""Worker processes of an audit: real ones, killed, stuck, stopped, and left by their parent."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from label_guard import UsageError
from label_guard.audit import workers
from label_guard.audit.plan import plan_audit
from label_guard.audit.runner import audit_dataset, open_splits
from label_guard.audit.workers import AuditControl, run_shards
from label_guard.core.temporary import temporary_folder
from tests.schemas import one_label

LIMIT_SECONDS = 300.0  # a machine may be busy; a hang is forever
GoOn = Callable[[int], bool]
SCHEMA = one_label("label", 10)


def wait_for(ready: Callable[[], bool], seconds: float = LIMIT_SECONDS) -> bool:
    """Whether ``ready`` becomes true within some time."""
    until = time.monotonic() + seconds
    while not ready() and time.monotonic() < until:
        time.sleep(0.02)
    return ready()


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def write_tables(folder: Path, count: int) -> str:
    """CSV files, the URI of all of them."""
    for number in range(count):
        (folder / f"part-{number:05}.csv").write_text("label\n1\n12\n")
    return f"csv:{folder}/part-*.csv"


# Killed ---------------------------------------------------------------------------------------------------------------


def die_once(folder: str, task: int, go_on: GoOn) -> int:
    """Reads a shard; the first process that reads shard 1 is killed, after it has counted records."""
    go_on(1)
    if task == 1 and not Path(folder, "died").exists():
        Path(folder, "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task * 10


def test_the_shard_of_a_killed_worker_is_read_again_and_the_others_go_on(tmp_path: Path) -> None:
    """A worker takes the place of a killed one, its shard is tried once more, and every result is there."""
    found = dict(run_shards(range(6), partial(die_once, str(tmp_path)), workers=2))
    assert found == {task: task * 10 for task in range(6)}
    assert (tmp_path / "died").exists()


def die_at(place: str, task: int, go_on: GoOn) -> Any:
    """A worker that is killed while it reads, counts, or sends its result, each time it reads shard 2."""
    if task == 2 and place == "read":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 2 and place == "exit":
        os._exit(0)
    go_on(1)
    return KilledWhilePickled() if task == 2 and place == "send" else task


class KilledWhilePickled:
    """Its process dies while it is sent."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("place", ["read", pytest.param("exit", marks=pytest.mark.long), "send"])
def test_a_shard_that_kills_each_reader_costs_itself_alone(place: str) -> None:
    """It is named as not read; nothing hangs, wherever its process died."""
    found = dict(run_shards([0, 1, 2, 3], partial(die_at, place), workers=2))
    assert {task: found[task] for task in (0, 1, 3)} == {0: 0, 1: 1, 3: 3}
    assert "died" in str(found[2])


UNGUARDED = """
from label_guard.audit.workers import run_shards

def work(task, go_on):
    return task

print(dict(run_shards([1, 2, 3], work, workers=2)))
"""


def test_a_script_without_a_main_guard_is_one_clear_error(tmp_path: Path) -> None:
    """Workers that end before they start are not started endlessly; the error says what the script lacks."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


# Stopped --------------------------------------------------------------------------------------------------------------


def be_stuck(folder: str, task: int, go_on: GoOn) -> int:
    """Never returns from shard 0."""
    Path(folder, f"{os.getpid()}.pid").touch()
    while task == 0:
        time.sleep(1000)
    return task


def pids(folder: Path) -> list[int]:
    """The worker processes that ``be_stuck`` ran in."""
    return [int(path.stem) for path in folder.glob("*.pid")]


def test_a_worker_that_does_not_answer_a_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the word to stop a stuck worker gets a little time; then its shard is named as not read."""
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.3)
    control = AuditControl(should_stop=lambda: len(pids(tmp_path)) == 2)
    found = dict(run_shards(range(3), partial(be_stuck, str(tmp_path)), workers=2, control=control))
    assert "did not answer" in str(found[0])
    assert not any(map(is_running, pids(tmp_path)))


def test_an_interrupt_ends_stuck_workers_at_once(tmp_path: Path) -> None:
    """A second Ctrl-C, which is raised as KeyboardInterrupt, leaves no process behind."""

    def interrupt(_: Any) -> None:
        if len(pids(tmp_path)) == 2:
            raise KeyboardInterrupt

    runs = run_shards(range(2), partial(be_stuck, str(tmp_path)), workers=2, control=AuditControl(progress=interrupt))
    with pytest.raises(KeyboardInterrupt), closing(runs) as results:
        list(results)
    assert wait_for(lambda: not any(map(is_running, pids(tmp_path))))


AUDIT = [sys.executable, "-m", "label_guard", "audit", "schema.yaml", "--workers", "2", "--allow-python"]
SOURCE = """
import multiprocessing, os, time
from pathlib import Path
import numpy as np

def records():
    yield {"label": np.arange(10)}
    if multiprocessing.parent_process() is not None:
        Path(f"{os.getpid()}.pid").touch()
        for _ in range(1000):
            time.sleep(SECONDS)
            yield {"label": np.arange(10)}

records.batched = True
"""
YAML = """format: 1
name: demo
version: 1.0.0
labels:
  label: {kind: class_label, num_classes: 10}
splits:
  a: {source: 'python:slow:records'}
  b: {source: 'python:slow:records'}
"""


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """An audit with two workers that read for ``seconds`` at a time; both have begun."""
    (folder / "schema.yaml").write_text(YAML)
    (folder / "slow.py").write_text(SOURCE.replace("SECONDS", str(seconds)))
    audit = subprocess.Popen(
        AUDIT, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert wait_for(lambda: len(pids(folder)) == 2), audit.communicate(timeout=5)
    return audit


@pytest.mark.parametrize("seconds", [pytest.param(0.02, marks=pytest.mark.long), 1000], ids=["reading", "stuck"])
def test_workers_end_with_their_parent(tmp_path: Path, seconds: float) -> None:
    """An audit that is killed leaves no worker, and nobody holds its output open."""
    with start(tmp_path, seconds) as audit:
        audit.kill()
        audit.communicate(timeout=LIMIT_SECONDS)  # returns only once no process has the pipe
        assert wait_for(lambda: not any(map(is_running, pids(tmp_path))))


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.long) for one in (signal.SIGHUP, signal.SIGINT))],
)
def test_a_request_to_end_gives_a_report(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and a closed terminal are Ctrl-C: a report marked incomplete, exit 2, no process left."""
    with start(tmp_path, 0.02) as audit:
        os.killpg(audit.pid, number)
        out, err = audit.communicate(timeout=LIMIT_SECONDS)
    assert audit.returncode == 2
    assert "NOT COMPLETE" in out
    assert "Traceback" not in err
    assert not any(map(is_running, pids(tmp_path)))


# What work raises -----------------------------------------------------------------------------------------------------


class ForeignError(Exception):
    """An exception that cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


def fail(task: int, go_on: GoOn) -> int:
    """Fails in three ways."""
    if task == 1:
        raise ForeignError("of a library\nin two lines")
    if task == 2:
        raise MemoryError
    return task


@pytest.mark.parametrize("count", [0, 2])
def test_an_unexpected_exception_costs_its_shard(count: int) -> None:
    """It is one line with where to report it, and the other shards are read."""
    found = dict(run_shards(range(4), fail, workers=count))
    assert (found[0], found[3]) == (0, 3)
    assert "unexpected ForeignError: of a library in two lines (test_workers.py:" in str(found[1])
    assert "please report this line" in str(found[1])
    assert "unexpected MemoryError" in str(found[2])


def refuse(task: int, go_on: GoOn) -> int:
    """A mistake of the user."""
    raise UsageError("pass something else")


@pytest.mark.parametrize("count", [0, 2])
def test_a_mistake_of_the_user_ends_the_run(count: int) -> None:
    """It is raised as it is, from a worker too."""
    with pytest.raises(UsageError, match="pass something else"):
        list(run_shards(range(4), refuse, workers=count))


# Executors ------------------------------------------------------------------------------------------------------------


class LosesWorkers(Executor):
    """An executor that loses the workers of its first tasks together, and later that of each task ending in ``bad``.

    As Dask's, it answers a call with what came of an equal one.
    """

    def __init__(self, first: int = 0, bad: str = "-", refuses: bool = False) -> None:
        self.first, self.bad, self.refuses = first, bad, refuses
        self.known: dict[bytes, Future[Any]] = {}

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Runs at once, fails, or refuses the task."""
        call = pickle.dumps((fn, args, kwargs))
        if call in self.known:
            return self.known[call]
        future: Future[Any] = Future()
        self.first -= 1
        if self.first < 0 and not args[1][1].name.endswith(self.bad):
            future.set_result(fn(*args, **kwargs))
        elif self.refuses:
            raise RuntimeError("the pool is broken")
        else:
            future.set_exception(RuntimeError("KilledWorker"))
        self.known[call] = future
        return future


def test_any_executor_gives_the_report_of_a_local_run(tmp_path: Path) -> None:
    """Threads, processes, and an executor that loses all tasks of its first workers: the same bytes."""
    uri = write_tables(tmp_path, 5)
    alone = audit_dataset(SCHEMA, source=uri).to_json()
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, get_context("spawn")) as processes:
        for executor in (threads, processes, LosesWorkers(5), LosesWorkers(3, refuses=True)):
            assert audit_dataset(SCHEMA, source=uri, executor=executor).to_json() == alone


@pytest.mark.parametrize("refuses", [False, True])
def test_a_file_that_an_executor_loses_twice_is_named(tmp_path: Path, refuses: bool) -> None:
    """The others are read, though their workers were lost with it the first time."""
    found = audit_dataset(SCHEMA, source=write_tables(tmp_path, 5), executor=LosesWorkers(5, "3.csv", refuses))
    assert [bool(shard.error) for shard in found.splits[0].shards] == [False, False, False, True, False]
    assert (found.exit_code, found.complete) == (2, False)


def test_an_executor_that_remembers_calls_reads_a_changed_file_again(tmp_path: Path) -> None:
    """A second audit is one of the files as they are now."""
    executor, uri = LosesWorkers(), write_tables(tmp_path, 2)
    before = audit_dataset(SCHEMA, source=uri, executor=executor)
    first = next(iter(sorted(tmp_path.glob("*.csv"))))
    first.write_text(first.read_text().replace("\n1\n", "\n8\n"))
    after = audit_dataset(SCHEMA, source=uri, executor=executor)
    assert after.to_json() == audit_dataset(SCHEMA, source=uri).to_json() != before.to_json()


def test_a_pool_that_lost_a_process_names_every_file_that_it_refuses(tmp_path: Path) -> None:
    """``ProcessPoolExecutor`` takes no task any more then: a report of exit code 2, and no traceback."""
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        processes.submit(os.getpid).result()  # it has started
        with pytest.raises(BrokenProcessPool):
            processes.submit(os._exit, 9).result()
        found = audit_dataset(SCHEMA, source=write_tables(tmp_path, 3), executor=processes)
    assert ["the executor could not run it: BrokenProcessPool" in str(s.error) for s in found.splits[0].shards] == [
        True
    ] * 3
    assert found.exit_code == 2


def test_a_stop_reaches_an_executor(tmp_path: Path) -> None:
    """Tasks that have not begun are left out, and the report says that it is incomplete."""
    control = AuditControl(should_stop=lambda: True)
    with ThreadPoolExecutor(1) as threads:
        found = audit_dataset(SCHEMA, source=write_tables(tmp_path, 4), executor=threads, control=control)
    assert (found.complete, found.splits[0].records) == (False, 0)


def test_what_travels_to_a_worker_does_not_grow_with_the_shards(tmp_path: Path) -> None:
    """A job, an item and what the report is made of have the same size for 10 and for 1,000 shards."""
    sizes: list[tuple[int, ...]] = []
    for count in (10, 1000):
        folder = tmp_path / f"of-{count:05}"
        folder.mkdir()
        plan = plan_audit(SCHEMA, open_splits(SCHEMA, write_tables(folder, count)))
        sizes.append(tuple(len(pickle.dumps(thing)) for thing in (plan.jobs, plan.items[3], plan.without_items())))
    assert sizes[0][:2] == sizes[1][:2]
    assert abs(sizes[0][2] - sizes[1][2]) < 10  # the digits of the number of files and of their bytes
    assert sizes[0][1] < 300


# What killed processes leave ------------------------------------------------------------------------------------------

LEFT = """
import os, sys, signal
from pathlib import Path
from label_guard.core.temporary import temporary_folder
from label_guard.quarantine.storage import whole_file

with temporary_folder(".cache-", Path(sys.argv[1])) as folder:
    (folder / "labels").write_text("1")
    with whole_file(sys.argv[1] + "/report.json") as file:
        file.write(b"{")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """Labels of a dataset do not stay in hidden folders; what is in use, and files of the user, do."""
    from label_guard.quarantine.storage import whole_file

    subprocess.run([sys.executable, "-c", LEFT, str(tmp_path)], timeout=LIMIT_SECONDS)
    left = sorted(tmp_path.iterdir())
    assert len(left) == 2
    mine = [tmp_path / ".cache-notes", tmp_path / ".report.json.backup"]
    for path in mine:
        path.write_text("mine")
    for path in left:
        os.utime(path, (1, 1))
    with temporary_folder(".cache-", tmp_path) as used:
        os.utime(used, (1, 1))
        with temporary_folder(".cache-", tmp_path) as other, whole_file(str(tmp_path / "report.json")) as file:
            file.write(b"{}")
            assert {used, other, *mine} <= set(tmp_path.iterdir())
            assert not any(path.exists() for path in left)
    assert sorted(tmp_path.iterdir()) == sorted([*mine, tmp_path / "report.json"])
