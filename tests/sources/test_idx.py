"""IDX files: MNIST's labels and pictures, found by content, streamed, and never read beyond what they hold."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from label_guard.audit.runner import audit_dataset
from label_guard.errors import SourceError
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources import idx
from label_guard.sources.open import open_source
from label_guard.sources.uris import full_uri

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def encoded(array: np.ndarray) -> bytes:
    """An IDX file."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def read(path: Path) -> list[object]:
    """All records; raises what reading raises."""
    source = open_source(f"idx:{path}", labels=["label"])
    return [
        value.tolist() for shard in source.shards() for chunk in source.read(shard) for value in chunk.columns["label"]
    ]


@given(
    array=st.sampled_from(list(CODES)).flatmap(
        lambda name: hnp.arrays(
            name, hnp.array_shapes(max_dims=3, max_side=6), elements={"allow_nan": False} if "float" in name else None
        )
    ),
    zipped=st.booleans(),
    chunk=st.sampled_from([1, 16, 2 << 20]),
    cut=st.floats(0, 1),
)
def test_an_array_is_read_as_it_was_written_and_a_cut_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, zipped: bool, chunk: int, cut: float
) -> None:
    """Every dtype and shape, zipped or not, in chunks of any size; a file that is cut off or too long is an error."""
    path = tmp_path_factory.mktemp("idx") / ("a-ubyte.gz" if zipped else "a-ubyte")
    pack = gzip.compress if zipped else bytes
    data = encoded(array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idx, "CHUNK_BYTES", chunk)
        path.write_bytes(pack(data))
        assert full_uri(str(path)) == f"idx:{path}"
        assert read(path) == array.tolist()
        for damaged in (data[: int(cut * (len(data) - 1))], data + b"x"):
            path.write_bytes(pack(damaged))
            with pytest.raises(SourceError):
                read(path)


def test_labels_of_mnist_are_audited_with_workers_as_without(tmp_path: Path) -> None:
    """A label outside the classes is found under its row number."""
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encoded(np.array([0, 3, 10, 9], np.uint8)))
    schema = DatasetSchema.model_validate(
        {
            "format": 1, "name": "mnist", "version": "1.0.0",
            "labels": {"digit": {"kind": "class_label", "num_classes": 10, "dtype": "uint8"}},
        }
    )  # fmt: skip
    alone, shared = (audit_dataset(schema, source=str(tmp_path / "train-labels-idx1-ubyte"), workers=n) for n in (0, 2))
    assert alone.to_json() == shared.to_json()
    assert alone.splits[0].labels["digit"].examples["LG101"][0].record == "2"


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\0\0\x08", b"\0\0\x07\x01", b"\0\0\x08\x01\0\0", b"\0\0\x08\x02" + b"\xff" * 8,
        b"\0\0\x08\x02" + b"\xff" * 4 + b"\0" * 4, b"\0\0\x08\x03" + b"\xff" * 4 + b"\0" * 4 + b"\xff" * 4,
    ],
)  # fmt: skip
def test_a_header_that_is_damaged_or_promises_too_much_is_an_error(tmp_path: Path, head: bytes) -> None:
    """Nothing is allocated for what a header promises, and no records without values are counted up to it."""
    (tmp_path / "a").write_bytes(head)
    with pytest.raises(SourceError):
        read(tmp_path / "a")
