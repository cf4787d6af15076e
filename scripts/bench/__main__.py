"""``python -m bench``: measures every promise of speed, prints a table, writes JSON."""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import checks, clients, commands, dataset, pipeline, training
from bench.measure import Row, table

SECTIONS: dict[str, Callable[[bool], list[Row]]] = {
    "check": checks.clean_batch,
    "masks": checks.masks,
    "validity": checks.validity,
    "locate": checks.locate,
    "pipeline": pipeline.stage,
    "keyed": pipeline.keyed_records,
    "records": pipeline.single_records,
    "clients": clients.programs,
    "training": training.step,
    "files": dataset.files,
    "tfds": dataset.data_source,
    "parquet": dataset.parquet,
    "text": dataset.text,
    "memory": dataset.memory,
    "lint": commands.lint,
}
_VERSIONS = ("numpy", "jax", "optax", "grain", "tensorflow-datasets", "array-record", "pydantic", "pyarrow")
_PEERS = ("pandera", "polars", "duckdb", "great-expectations", "equinox", "chex")


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    found = {"python": platform.python_version(), "cores": str(os.cpu_count()), "processor": _processor()}
    for name in (*_VERSIONS, *_PEERS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> int:
    """Run the sections that were asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all, if none is named")
    parser.add_argument("--quick", action="store_true", help="few rounds, small data, no peers: about a minute")
    parser.add_argument("--json", type=Path, default=Path("runs/bench.json"), help="where the figures go")
    options = parser.parse_args()
    logging.getLogger("label_guard").setLevel(logging.ERROR)  # thousands of streams end here
    rows: list[Row] = []
    for name in options.sections or SECTIONS:
        gc.collect()
        gc.freeze()  # what the peers of one section have imported must not be searched during the next
        start = time.perf_counter()
        rows += SECTIONS[name](options.quick)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    print(table(rows))
    missed = [row for row in rows if row.holds is False]
    held = sum(row.holds is True for row in rows)
    print(f"\n{held} of {held + len(missed)} targets hold" + "".join(f"; missed: {r.group}: {r.name}" for r in missed))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": about, "rows": [row.to_json() for row in rows]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
