"""The audit on a real Beam DirectRunner with several worker processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
    there = audit_on_beam(schema, options, source=source, quarantine=QuarantineOptions(quarantine))
    here = audit_dataset(schema, source=source)
    print(json.dumps([json.dumps(there.to_json()), json.dumps(here.to_json())]))
"""


def test_beam_gives_the_report_of_the_local_run_byte_for_byte(tmp_path: Path) -> None:
    """Two worker processes audit four shards to the same JSON, and write each bad record into the quarantine once."""
    rng = np.random.default_rng(0)
    planted = set()
    for number in range(4):
        labels = rng.integers(0, 10, 100)
        labels[[3, 50]] = [10, -1]
        planted |= {f"train-{number}.parquet__{row}" for row in (3, 50)}
        pq.write_table(pa.table({"label": labels}), tmp_path / f"train-{number}.parquet")
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
    assert {entry.record for entry in read_quarantine(str(quarantine)).entries} == planted
