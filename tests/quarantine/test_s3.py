"""A quarantine in an object store that speaks S3: moto's server on loopback, through s3fs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import numpy as np
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from label_guard import guard_batches, read_quarantine
from label_guard.errors import QuarantineError
from label_guard.quarantine import (
    BadRecord,
    Origin,
    QuarantineOptions,
    QuarantineWriter,
    compact_quarantine,
    storage,
    summarize_quarantine,
)
from label_guard.rules.violation import Violation
from tests.schemas import one_label

SCHEMA = one_label("y", 4)
# A host: guards its own records of a shared range. argv: URL, first, last, host, batches before it dies, or -1.
HOST = """
import itertools, os, sys
import numpy as np
from label_guard import DatasetSchema, guard_batches

url, first, last, host, deadline = sys.argv[1], *map(int, sys.argv[2:])
schema = DatasetSchema.model_validate(
    {"format": 1, "name": "n", "version": "1.0.0", "record_key": "id",
     "labels": {"y": {"kind": "class_label", "num_classes": 4}}})
batches = [
    {"id": np.array([f"r{k}" for k in range(at, at + 4)]), "y": np.array([k % 5 for k in range(at, at + 4)])}
    for at in range(first, last, 4)]
guarded = guard_batches(batches, schema, on_invalid="drop", stop_above=None, quarantine=url, process_index=host)
for step, _ in enumerate(guarded):
    if step == deadline:
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server with the bucket ``bad``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }.items():  # fmt: skip
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bad")
        yield url
    server.stop()


def host(url: str, first: int, last: int, index: int = 0, deadline: int = -1) -> subprocess.Popen[str]:
    """A host as a process of its own."""
    arguments = map(str, (first, last, index, deadline))
    command = [sys.executable, "-W", "ignore", "-c", HOST, url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def planted(last: int) -> list[str]:
    """The bad records of a range."""
    return [f"r{k}" for k in range(last) if k % 5 == 4]


@pytest.mark.usefixtures("endpoint")
def test_hosts_that_are_killed_leave_each_record_once() -> None:
    """Two hosts write under one prefix, are killed and start again: read back, each bad record is there once."""
    url = "s3://bad/killed/q"
    for deadline in (3, 7, -1):
        for process in [host(url, 0, 60, 0, deadline), host(url, 40, 100, 1, deadline)]:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == (0 if deadline < 0 else -9), errors
    contents = read_quarantine(url)
    assert [entry.record for entry in contents.entries] == planted(100)
    assert contents.problems == ()
    assert [int(entry.payload["y"]) for entry in contents.entries] == [4] * 20


@pytest.mark.usefixtures("endpoint")
def test_a_misspelt_bucket_is_a_clear_error() -> None:
    """No bucket is made of a slip of the pen, and no record is dropped."""
    batches = [{"y": np.array([0, 4])}]
    guarded = guard_batches(batches, SCHEMA, on_invalid="drop", stop_above=None, quarantine="s3://bda/q")
    with pytest.raises(QuarantineError, match="cannot write the quarantine s3://bda/q"):
        next(iter(guarded))
    with pytest.raises(QuarantineError, match="s3://bda/q"):
        read_quarantine("s3://bda/q")


@pytest.mark.usefixtures("endpoint")
def test_the_commands_read_it(tmp_path: Path) -> None:
    """``label-guard quarantine`` works on the store as on a folder."""
    process = host("s3://bad/commands/q", 0, 20)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    command = [sys.executable, "-W", "ignore", "-m", "label_guard", "quarantine", "summary", "s3://bad/commands/q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 records" in done.stdout


class Requests:
    """Requests to the store: how many by method, and how many reads were in flight at most.

    With ``hold`` reads wait until so many are in flight, or a minute.
    """

    def __init__(self) -> None:
        self.methods: Counter[str] = Counter()
        self.most = self.reading = self.hold = 0

    async def read(self, request: Awaitable[Any]) -> Any:
        """Make a request that reads an object."""
        self.reading += 1
        self.most = max(self.most, self.reading)
        deadline = time.monotonic() + 60
        while self.most < self.hold and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        try:
            return await request
        finally:
            self.reading -= 1


@pytest.fixture
def requests(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Counts the requests that s3fs makes of the server."""
    assert endpoint
    counted, call = Requests(), s3fs.S3FileSystem._call_s3

    async def counting(self: Any, method: str, *args: Any, **options: Any) -> Any:
        counted.methods[method] += 1
        request = call(self, method, *args, **options)
        return await (counted.read(request) if method == "get_object" else request)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counting)
    return counted


def test_writers_read_nothing_and_put_one_object_for_each_dirty_batch(requests: Requests) -> None:
    """64 writers of 4 dirty batches make 256 PUTs and not one GET; readers fetch parts in parallel; parts merge."""
    url, origin = "s3://bad/many/q", Origin("n", "1.0.0", "d", None, None, "s")
    found = (Violation("y", "LG101", 9, "[0, 4)"),)
    for process in range(64):
        writer = QuarantineWriter(QuarantineOptions(url), origin, process_index=process)
        for batch in range(4):
            keys = [f"{process}-{batch}-{row}" for row in range(2)]
            writer.append(
                [BadRecord(key, {"y": np.int64(9)}, {"y": np.int64(9)}, found, key) for key in keys], step=batch
            )
    assert requests.methods == {"put_object": 256}
    requests.hold = 16
    counted = summarize_quarantine(url)
    assert counted.problems == []
    assert (counted.records, counted.parts, len(counted.writers)) == (512, 256, 64)
    assert requests.most >= 16
    connections = fsspec.filesystem(
        "s3", config_kwargs={"max_pool_connections": 32}
    ).s3.meta.config.max_pool_connections
    assert connections >= 16, "the client has a connection for each of them"
    assert (compact_quarantine(url).parts_after, len(read_quarantine(url).entries)) == (1, 512)


def test_a_large_part_is_read_in_blocks(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What compact makes of many objects is read as they are, though it is not held in memory as a whole."""
    url, found = "s3://bad/large/q", (Violation("y", "LG101", 9, "[0, 4)"),)
    writer = QuarantineWriter(QuarantineOptions(url), Origin("n", "1.0.0", "d", None, None, "s"))
    for batch in range(3):
        records = [{"y": np.full(1000, batch * 10 + row)} for row in range(10)]
        writer.append([BadRecord(str(r["y"][0]), r, r, found, str(r["y"][0])) for r in records])
    before = read_quarantine(url)
    monkeypatch.setattr(storage, "_WHOLE_OBJECT_BYTES", 1000)
    assert read_quarantine(url) == before
    assert (compact_quarantine(url).parts_after, len(before.entries)) == (1, 30)
    assert [entry.record for entry in read_quarantine(url).entries] == [entry.record for entry in before.entries]
    assert summarize_quarantine(url).records == 30
