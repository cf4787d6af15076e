"""The schemes of source URIs: how each finds its files and reads them. What is not in this table does not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from label_guard.errors import SourceError
from label_guard.sources import array_record, arrow_files, folders, json_array, parquet, tf_record, yolo_layout
from label_guard.sources.base import Format, Shard
from label_guard.sources.csv import csv_format
from label_guard.sources.files import find_shards
from label_guard.sources.idx import IdxFormat
from label_guard.sources.jsonl import JsonLinesFormat
from label_guard.sources.numpy_files import NpyFormat, NpzFormat
from label_guard.sources.raw_numbers import raw_format
from label_guard.sources.tfds_metadata import Feature
from label_guard.sources.webdataset import WebDatasetFormat

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of source.

    Attributes:
        form: makes the format from the options of the query.
        shards: the units of work, from the path and the split.
        declared: what the dataset's own metadata declare, from the path, the split and the units of work.
        options: names of the options of the query.
        suffixes: endings of the names of such files.
        one_file: whether a source is one file, rather than the files of a pattern.
        named: whether a label is looked for under its name; without, the one label is whatever it is called.
        numbered: whether keys are bare row numbers instead of ``file__index``.
        splits: whether one path may hold several splits.
        split_names: the splits that a path holds, as far as its folders name them.
    """

    form: Callable[[Options], Format]
    shards: Callable[[str, str | None], tuple[Shard, ...]] = lambda where, _split: find_shards(where)
    declared: Callable[[str, str | None, tuple[Shard, ...]], Mapping[str, Feature]] = lambda _where, _split, _files: {}
    options: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    one_file: bool = False
    named: bool = True
    numbered: bool = False
    splits: bool = False
    split_names: Callable[[str], list[str]] = lambda _: []

    def find(self, where: str, split: str | None) -> tuple[Shard, ...]:
        """The units of work at a path.

        Raises:
            SourceError: there are none, or several where a source is one file.
        """
        files = self.shards(where, split)
        if self.one_file and len(files) > 1:
            raise SourceError(f"{where} names {len(files)} files; expected one")
        return files


def _yolo_shards(where: str, split: str | None) -> tuple[Shard, ...]:
    folder, inner = yolo_layout.label_folders(where, split)
    return folders.file_shards(folder, folders.is_label_text, "YOLO label files (*.txt)", inner)


SCHEMES: dict[str, Scheme] = {
    "array_record": Scheme(lambda _: array_record.FORMAT, suffixes=("array_record", "arrayrecord")),
    "tfrecord": Scheme(lambda _: tf_record.FORMAT, suffixes=("tfrecord", "tfrecords", "tfrec")),
    "parquet": Scheme(
        lambda _: parquet.ParquetFormat(),
        declared=lambda _where, _split, files: parquet.declared(files[0].path),
        suffixes=("parquet", "pq"),
    ),
    "csv": Scheme(csv_format, options=("delimiter", "header", "encoding"), suffixes=("csv", "tsv")),
    "json": Scheme(lambda _: json_array.JsonFormat(), suffixes=("json",)),
    "jsonl": Scheme(lambda _: JsonLinesFormat(), suffixes=("jsonl", "ndjson", "jsonlines")),
    "npy": Scheme(lambda _: NpyFormat(), suffixes=("npy",), one_file=True, named=False, numbered=True),
    "npz": Scheme(lambda _: NpzFormat(), suffixes=("npz",), one_file=True, numbered=True),
    "idx": Scheme(lambda _: IdxFormat(), suffixes=("idx1", "idx2", "idx3"), one_file=True, named=False, numbered=True),
    "raw": Scheme(raw_format, options=("dtype", "shape", "offset"), suffixes=("bin",), named=False),
    "arrow": Scheme(
        lambda _: arrow_files.ArrowFormat(),
        arrow_files.arrow_shards,
        lambda _where, _split, files: arrow_files.declared(files[0].path),
        suffixes=("arrow", "feather"),
        splits=True,
        split_names=arrow_files.split_names,
    ),
    "webdataset": Scheme(lambda _: WebDatasetFormat(), suffixes=("tar", "tgz")),
    "coco": Scheme(
        lambda _: json_array.CocoFormat(), declared=lambda _where, _split, files: json_array.categories(files[0].path)
    ),
    "coco_images": Scheme(
        lambda _: json_array.CocoImagesFormat(),
        declared=lambda _where, _split, files: json_array.image_categories(files[0].path),
    ),
    "yolo": Scheme(
        lambda _: folders.YoloFolder(),
        lambda where, split: _yolo_shards(where, split),
        lambda where, _split, _files: yolo_layout.class_names(where),
        splits=True,
        split_names=yolo_layout.split_names,
    ),
    "folder": Scheme(
        lambda _: folders.ClassFolders(),
        lambda where, split: folders.class_shards(folders.split_folder(where, split)),
        lambda where, split, _files: folders.declared_classes(folders.split_folder(where, split)),
        named=False,
        splits=True,
        split_names=folders.class_splits,
    ),
    "masks": Scheme(
        lambda _: folders.MaskFolder(),
        folders.mask_shards,
        suffixes=("png",),
        named=False,
        splits=True,
        split_names=folders.whole_mask_splits,
    ),
}
NAMES = ("tfds", *SCHEMES, "quarantine", "python")
