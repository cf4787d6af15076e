"""Installs a wheel with each extra into an environment of its own, and tries what the extra is for.

usage: python scripts/extras.py WHEEL [EXTRA...]    (all extras where none is named; "base" is the wheel alone)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = r"\n\x10\n\x0e\n\x05label\x12\x05\x1a\x03\n\x01\x07"  # a tf.Example whose label is 7
CHECK = """
import subprocess, sys
def check(data, code, text):
    command = [sys.executable, "-I", "-m", "label_guard", "check", data, "--num-classes", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, text in done.stdout + done.stderr) == (code, True), (done.stdout, done.stderr)
"""
# What must work with an extra alone. The label is 7, and there are 3 classes.
PROBES = {
    "base": CHECK + """
open("a.csv", "w").write("label\\n7\\n")
check("a.csv", 1, "LG101")
open("a.parquet", "wb").write(b"PAR1")
check("a.parquet", 2, 'pip install "label-guard[parquet]"')
""",
    "parquet": CHECK + """
import pyarrow, pyarrow.parquet
pyarrow.parquet.write_table(pyarrow.table({"label": [7]}), "a.parquet")
check("a.parquet", 1, "LG101")
""",
    "records": CHECK + f"""
from array_record.python.array_record_module import ArrayRecordWriter
writer = ArrayRecordWriter("a.array_record", "group_size:1")
writer.write(b"{EXAMPLE}")
writer.close()
check("array_record:a.array_record", 1, "LG101")
""",
    "grain": """
import grain
from label_guard import ClassLabel
from label_guard.grain import guard_labels
records = grain.MapDataset.source([{"label": 1}, {"label": 7}]).to_iter_dataset()
schema = {"label": ClassLabel(num_classes=3)}
[batch] = records.pipe(guard_labels, schema, batch_size=2, quarantine="q", stop_above=None)
assert batch["label"].tolist() == [1]
""",
    "jax": """
import jax.numpy as jnp
from label_guard.jax import masked_mean
assert masked_mean(jnp.ones(2), jnp.zeros(2, bool)) == 0
""",
    "rich": "from label_guard.report.screen import screen; import rich.console; assert screen() is None",
    "tfds": "import label_guard.tfds",
    "beam": "import label_guard.engines.beam",
    "ray": "import label_guard.engines.ray",
    "spark": "import label_guard.engines.spark",
    "all": "import label_guard.grain, label_guard.jax, label_guard.tfds, label_guard.engines.beam",
}  # fmt: skip


def try_extra(wheel: Path, extra: str) -> int:
    """Installs and tries one extra.

    Returns:
        The size of what was installed, in MiB.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        before = size_of(Path(folder))
        name = str(wheel) if extra == "base" else f"{wheel}[{extra}]"
        install = [python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), name]
        subprocess.run(install, check=True)
        subprocess.run([python, "-I", "-c", PROBES[extra]], check=True, cwd=folder)
        return (size_of(Path(folder)) - before) >> 20


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, compiled ones left out."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def main(arguments: list[str]) -> None:
    """Prints the size of each extra; a failure ends it."""
    wheel = Path(arguments[1]).resolve()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(PROBES) == {"base", *declared}, "each extra needs a probe"
    for extra in arguments[2:] or PROBES:
        print(f"{extra:8} {try_extra(wheel, extra):5} MiB", flush=True)


if __name__ == "__main__":
    main(sys.argv)
