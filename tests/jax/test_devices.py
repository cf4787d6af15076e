"""Several devices and several processes, each in a subprocess with a time limit of its own: nothing may hang."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIMIT_SECONDS = 300  # start-up of jax on a loaded machine; a hang is forever

FOUR_DEVICES = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from label_guard import InvalidLabelError
from label_guard.jax import LabelMonitor, check_values, checked, cross_entropy, invalid_count, masked_mean
from label_guard.schema.labels import ClassLabel

spec = ClassLabel(kind="class_label", num_classes=5, ignore=(-1,))
mesh = Mesh(np.array(jax.devices()), ("data",))
rng = np.random.default_rng(0)
logits = rng.normal(size=(8, 5)).astype(np.float32)
labels = np.array([0, 1, 2, 3, 4, -1, -1, -1], np.int32)
keep = labels != -1

def loss(x, y, w, axis=None):
    return masked_mean(cross_entropy(x, y, spec), w, axis_name=axis)

mapped = jax.jit(jax.shard_map(
    lambda x, y, w: (loss(x, y, w, "data"), jax.lax.psum(invalid_count(y, spec), "data")),
    mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False))
shard = NamedSharding(mesh, P("data"))
put = lambda *xs: [jax.device_put(x, shard) for x in xs]
bad = labels.copy(); bad[7] = 9
seen = {"devices": len(jax.devices())}
seen["mapped"], seen["count"] = [float(v) for v in mapped(*put(logits, labels, keep))]
seen["reference"] = float(loss(logits, labels, keep))
seen["all_masked"] = float(mapped(*put(logits, labels, keep & False))[0])
seen["bad_count"] = int(mapped(*put(logits, bad, keep))[1])
gspmd = jax.jit(lambda x, y, w: (loss(x, y, w), invalid_count(y, spec)), donate_argnums=0)
seen["gspmd"] = float(gspmd(*put(logits, labels, keep))[0])
monitor = LabelMonitor()
try:
    for step in range(4):
        value, count = mapped(*put(logits, bad if step == 1 else labels, keep))
        monitor.step(count, value)
except InvalidLabelError as error:
    seen["monitor"] = str(error)
def noted(y):
    check_values(y, spec)
    return jnp.sum(y)
try:
    checked(noted)(jax.device_put(bad, shard))
except InvalidLabelError as error:
    seen["checked"] = str(error)
print(json.dumps(seen))
"""

TWO_PROCESSES = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]), initialization_timeout=240)
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from label_guard import DatasetSchema, LabelGuardError, Summary, guard_batches
from label_guard.jax import cross_entropy, masked_mean, sum_summaries, sync_stop

rank = jax.process_index()
schema = DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {
    "y": {"kind": "class_label", "num_classes": 5, "emit": "int32"}}})
spec = schema.emitted().labels["y"]
rng = np.random.default_rng(0)
x, y = rng.normal(size=(6, 2, 4, 5)).astype(np.float32), rng.integers(0, 5, (6, 2, 4))
y[1, 0, 2], y[3, 1] = 5, -1                      # different faults on the two hosts, one batch bad as a whole
batches = [{"x": x[i, rank], "y": y[i, rank]} for i in range(6)]
mesh = Mesh(np.array(jax.devices()), ("data",))
shard = NamedSharding(mesh, P("data"))
step = jax.jit(lambda x, y, w: masked_mean(cross_entropy(x, y, spec), w))
losses = []
counted = guard_batches(batches, schema, on_invalid="mask", stop_above=None, quarantine=sys.argv[3])
for batch in counted:
    args = [multihost_utils.host_local_array_to_global_array(batch[k], mesh, P("data")) for k in ("x", "y", "y_valid")]
    losses.append(float(step(*args)))
total = sum_summaries(counted.summary)
wide = sum_summaries(Summary(seen=2**40 + rank, delivered=2**40, by_rule={"LG101": 2**31, "LG102": rank}))
sums = {"own": counted.summary.to_numbers(), "total": total.to_numbers(), "invalid": total.invalid,
        "wide": [wide.seen, wide.by_rule]}
calm = np.zeros_like(y)
calm[2, 1, 3] = 7                                # one host meets its end at its third batch; both stop at step 4
batches = [{"x": x[i % 6, rank], "y": calm[i % 6, rank]} for i in range(12)]
guarded = guard_batches(batches, schema, on_invalid="raise", coordinated=True)
stopped, steps, masked_losses = "", 0, []
try:
    for batch in guarded:
        args = [multihost_utils.host_local_array_to_global_array(batch[k], mesh, P("data"))
                for k in ("x", "y", "y_valid")]
        masked_losses.append(float(step(*args)))
        steps += 1
        sync_stop(guarded, every=4)
except LabelGuardError as error:
    stopped = f"{type(error).__name__}: {error}"
ends = {}
for position in (0, 3, 4):                       # the loop of the docs; the fault in each batch of a finite stream
    for every in (1, 2, 9):
        labels = np.zeros((5, 4), np.int64)
        if rank == 1:
            labels[position, 2] = 7
        finite = guard_batches([{"x": x[0, rank], "y": row} for row in labels], schema, on_invalid="raise",
                               coordinated=True)
        try:
            for batch in finite:
                step(*[multihost_utils.host_local_array_to_global_array(batch[k], mesh, P("data"))
                       for k in ("x", "y", "y_valid")])
                sync_stop(finite, every=every)
            sync_stop(finite)
            ends[f"{position}/{every}"] = "ended"
        except LabelGuardError as error:
            ends[f"{position}/{every}"] = type(error).__name__
if rank == 0:
    good = (y >= 0) & (y < 5)
    reference = []
    for i in range(6):
        xs, ys, ws = x[i].reshape(8, 5), np.where(good[i], y[i], 0).reshape(8), good[i].reshape(8)
        reference.append(float(masked_mean(cross_entropy(jnp.asarray(xs), jnp.asarray(ys), spec), jnp.asarray(ws))))
    print(json.dumps({"losses": losses, "reference": reference, "stopped": stopped, "steps": steps, "ends": ends,
                      "sums": sums}))
else:
    print(json.dumps({"losses": losses, "stopped": stopped, "steps": steps, "ends": ends, "sums": sums}))
jax.distributed.shutdown()
"""


def test_nothing_hangs_on_four_devices(tmp_path: Path) -> None:
    """Under shard_map and gspmd losses, counts, the monitor and checked work on 4 devices and agree with one."""
    flags = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=flags,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["devices"] == 4
    assert seen["mapped"] == pytest.approx(seen["reference"], rel=1e-6)
    assert seen["gspmd"] == pytest.approx(seen["reference"], rel=1e-6)
    assert (seen["count"], seen["bad_count"], seen["all_masked"]) == (0, 1, 0.0)
    assert seen["monitor"].startswith("step 1: 1 illegal label.")
    assert "labels inside jit: 1 illegal" in seen["checked"]


def test_two_processes_take_the_same_steps_under_mask(tmp_path: Path) -> None:
    """Two real JAX processes with different faults take equal steps with the losses of one; they stop together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
    env.pop("XLA_FLAGS", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, address, str(rank), str(tmp_path / "quarantine")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outs = [process.communicate(timeout=LIMIT_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], [err[-1500:] for _, err in outs]
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in outs)
    assert first["losses"] == pytest.approx(second["losses"])
    assert len(first["losses"]) == 6
    assert first["losses"] == pytest.approx(first["reference"], rel=1e-5)
    assert first["steps"] == second["steps"] == 4
    assert first["stopped"] == (
        "HostStoppedError: step 4: stopped by process 1 (InvalidLabelError); the log and the quarantine there say why"
    )
    assert second["stopped"].startswith("InvalidLabelError: t: 1 of 4 records is bad")
    assert len(list((tmp_path / "quarantine").glob("part-*.jsonl"))) == 2
    assert set(first["ends"].values()) == {"HostStoppedError"}
    assert set(second["ends"].values()) == {"InvalidLabelError"}
    _check_sums(first["sums"], second["sums"], tmp_path / "quarantine")


def _check_sums(first: dict[str, Any], second: dict[str, Any], quarantine: Path) -> None:
    """Counts of both hosts add up on both, beyond 32 bits too, and are those of the quarantine of all writers."""
    assert first["total"] == second["total"] == [a + b for a, b in zip(first["own"], second["own"], strict=True)]
    assert first["own"] != second["own"]
    assert first["wide"] == second["wide"] == [2**41 + 1, {"LG101": 2**32, "LG102": 1}]
    done = subprocess.run(
        [sys.executable, "-m", "label_guard", "quarantine", "summary", str(quarantine)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{first['invalid']} lines in 2 parts" in done.stdout
