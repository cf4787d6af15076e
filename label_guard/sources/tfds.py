"""Prepared TFDS folders, ArrayRecord or TFRecord, read without TensorFlow and without tensorflow_datasets."""

from __future__ import annotations

from label_guard.sources.base import Wanted
from label_guard.sources.source import Source


def open_tfds(uri: str, folder: str, split: str | None, labels: Wanted, record_key: str | None) -> Source:
    """The records of one split of the prepared dataset in ``folder``."""
    raise NotImplementedError
