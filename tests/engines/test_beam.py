"""The audit on a real Beam DirectRunner with several worker processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_guard import read_quarantine

SCRIPT = """
import json, sys
from label_guard import DatasetSchema, QuarantineOptions
from label_guard.audit.runner import audit_dataset
from label_guard.engines.beam import audit_on_beam

if __name__ == "__main__":
    folder, quarantine = sys.argv[1:]
    label = {"kind": "class_label", "num_classes": 10}
    schema = DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": label},
        "splits": {"train": {"num_examples": 400}}})
    source = f"parquet:{folder}/train-*.parquet"
    options = ["--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    there = audit_on_beam(schema, options, source=source, quarantine=QuarantineOptions(quarantine), duplicates=True)
    here = audit_dataset(schema, source=source, duplicates=True)
    print(json.dumps([json.dumps(there.to_json()), json.dumps(here.to_json())]))
"""


LOST = """
import os, signal, sys
from label_guard import DatasetSchema
from label_guard.audit.shard import ShardAuditor
from label_guard.engines import beam

class Mortal(ShardAuditor):
    def __call__(self, item, go_on=None):
        os.kill(os.getpid(), signal.SIGKILL)

    def __reduce__(self):
        return Mortal, (self.jobs,)

if __name__ == "__main__":
    import run_lost  # as the workers import it
    beam.ShardAuditor = run_lost.Mortal
    label = {"kind": "class_label", "num_classes": 10}
    schema = DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"label": label}})
    options = ["--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    try:
        beam.audit_on_beam(schema, options, source=f"parquet:{sys.argv[1]}/train-*.parquet")
    except beam.SourceError as error:
        sys.exit(f"SOURCE ERROR {error}")
"""


@pytest.mark.long
def test_a_lost_worker_is_an_error_that_says_so(tmp_path: Path) -> None:
    """Beam's own multi-process runner does not run lost work again: there is no report, and never a clean one."""
    for number in range(2):
        pq.write_table(pa.table({"label": [1, 2]}), tmp_path / f"train-{number}.parquet")
    (tmp_path / "run_lost.py").write_text(LOST)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "run_lost.py", str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert last.startswith("SOURCE ERROR the run on DirectRunner failed before the report was made: "), done.stderr[
        -2000:
    ]
    assert last.endswith("a worker may have died, and this runner does not run its work again")


def test_beam_gives_the_report_of_the_local_run_byte_for_byte(tmp_path: Path) -> None:
    """Two processes audit four shards, find records of the same content, and write each bad record down once."""
    rng = np.random.default_rng(0)
    planted = set()
    for number in range(4):
        labels = rng.integers(0, 10, 100)
        labels[[3, 50]] = [10, -1]
        planted |= {f"train-{number}.parquet__{row}" for row in (3, 50)}
        texts = [f"text {row % 10}" for row in range(100)]
        pq.write_table(pa.table({"label": labels, "text": texts}), tmp_path / f"train-{number}.parquet")
    quarantine = tmp_path / "quarantine"
    script = tmp_path / "run_audit.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(quarantine)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    there, here = json.loads(done.stdout.splitlines()[-1])
    assert there == here
    assert json.loads(there)["splits"][0]["invalid"] == 8
    conflicting = json.loads(there)["duplicates"]["conflicting"]
    assert (conflicting["groups"], conflicting["records"]) == (10, 400)
    assert {entry.record for entry in read_quarantine(str(quarantine)).entries} == planted
