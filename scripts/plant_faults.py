"""Copy a prepared digits folder with faults planted into the labels of train, and write down where.

    python scripts/plant_faults.py data/digits/1.0.0 data/digits_faulty/1.0.0

``planted.json`` in the copy lists record keys by fault:

* ``out_of_range``: 10 or 255. The loss is NaN while its gradient is finite.
* ``negative``: -1. The loss trains class 9 and shows nothing.
* ``wide``: 2**32 + 1. Truncated to 1 on the way to the device; nothing shows.
* ``float``: 2.7 as a float. The reader of TFDS makes 2 of it.
* ``missing``: no label at all.
* ``one_based``: a block of records in a row, labels + 1, as an annotator that counts from 1 delivers them. A 9 became
  10, which a range check sees; ``one_based_in_range`` lists the others, which are legal values: no range check can
  see them, only a histogram of a shard or another look at the pictures can.
"""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from label_guard.sources.tfds_metadata import read_metadata, record_name

# By fault: in how many records, and the labels stored there in turn (None: no label).
FAULTS: dict[str, tuple[int, tuple[float | None, ...]]] = {
    "out_of_range": (12, (10, 255)),
    "negative": (16, (-1,)),
    "wide": (6, (2**32 + 1,)),
    "float": (6, (2.7,)),
    "missing": (6, (None,)),
}
BLOCK = range(30, 70)  # positions in train of the records whose labels count from 1


def _store(example: Any, value: float | None) -> None:
    feature = example.features.feature["label"]
    feature.Clear()
    if value is None:
        del example.features.feature["label"]
    elif isinstance(value, float):
        feature.float_list.value.append(value)
    else:
        feature.int64_list.value.append(value)


def plant(clean: Path, faulty: Path, seed: int = 0) -> dict[str, list[str]]:
    """Write the faulty copy; record keys by fault."""
    shutil.rmtree(faulty, ignore_errors=True)
    shutil.copytree(clean, faulty)
    files = [faulty / name for name in read_metadata(clean).splits["train"].filenames]
    places = [(file, row) for file in files for row in range(_count(file))]
    examples = {place: _parse(raw) for file in files for place, raw in _records(file)}
    planted: dict[str, list[str]] = {name: [] for name in (*FAULTS, "one_based", "one_based_in_range")}
    for file, row in places[BLOCK.start : BLOCK.stop]:
        shifted = examples[file, row].features.feature["label"].int64_list.value[0] + 1
        _store(examples[file, row], shifted)
        planted["one_based" if shifted > 9 else "one_based_in_range"].append(record_name(file, row))
    others = sorted(set(range(len(places))) - set(BLOCK))
    chosen = iter(np.random.default_rng(seed).permutation(others).tolist())
    for name, (count, values) in FAULTS.items():
        for value in islice(cycle(values), count):
            place = places[next(chosen)]
            _store(examples[place], value)
            planted[name].append(record_name(*place))
    for file in files:
        _write(file, [examples[place].SerializeToString() for place in places if place[0] == file])
    (faulty / "planted.json").write_text(json.dumps(planted, indent=1) + "\n")
    return planted


def _count(file: Path) -> int:
    reader = ArrayRecordReader(str(file))
    try:
        return reader.num_records()
    finally:
        reader.close()


def _records(file: Path) -> list[tuple[tuple[Path, int], bytes]]:
    reader = ArrayRecordReader(str(file))
    try:
        return [((file, row), raw) for row, raw in enumerate(reader.read_all())]
    finally:
        reader.close()


def _parse(raw: bytes) -> Any:
    return tf_example_pb2.Example.FromString(raw)


def _write(file: Path, records: list[bytes]) -> None:
    writer = ArrayRecordWriter(str(file), "group_size:1")  # as TFDS writes, and Grain reads best
    for record in records:
        writer.write(record)
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("faulty", type=Path)
    arguments = parser.parse_args()
    for fault, keys in plant(arguments.clean, arguments.faulty).items():
        print(f"{fault:20} {len(keys):4}")
