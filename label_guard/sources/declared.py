"""What a dataset declares of its own features, whatever keeps it: TFDS, Hugging Face, COCO, YOLO, class folders."""

from __future__ import annotations

from label_guard.errors import UsageError
from label_guard.sources.open import declared_features
from label_guard.sources.tfds_metadata import TfdsMetadata, read_metadata
from label_guard.sources.uris import full_uri


def source_metadata(uri: str) -> TfdsMetadata:
    """What the dataset at ``uri`` declares of its features; a relative path counts from the working folder.

    Raises:
        UsageError: a source that declares nothing, such as CSV.
        SourceError: the dataset is missing, or its metadata are damaged.
    """
    if uri.startswith("tfds:") and uri != "tfds:":
        return read_metadata(uri.removeprefix("tfds:"))
    full = full_uri(uri)
    scheme, _, where = full.partition(":")
    if scheme == "tfds":
        return read_metadata(where)
    features = {} if scheme in ("quarantine", "python") else dict(declared_features(full))
    if not features:
        raise UsageError(f"{uri} declares no features to compare with; to read its records: label-guard audit")
    return TfdsMetadata("", "", scheme, features=features, complete=scheme in ("parquet", "arrow"))
